//! Subscriptions: validated at the address before they exist, renewed, removed, and told of.

use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch};
use axum::{Json, Router};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{
    Cloud, ORGANISATION, Parameters, Shared, Subscription, TeamsDouble, failure, lock, time,
};

pub(super) fn routes() -> Router<Arc<Mutex<Cloud>>> {
    Router::new()
        .route("/v1.0/subscriptions", get(list).post(create))
        .route("/v1.0/subscriptions/{id}", patch(renew).delete(end_one))
}

impl TeamsDouble {
    /// Ids, resources and ends of the subscriptions there are.
    pub fn subscriptions(&self) -> Vec<(String, String, DateTime<Utc>)> {
        let cloud = lock(&self.cloud);
        let all = cloud.subscriptions.iter();
        all.map(|(id, own)| (id.clone(), own.resource.clone(), own.end))
            .collect()
    }

    /// Removes all subscriptions, as Graph does when conditions of access change.
    pub fn remove_subscriptions(&self) {
        lock(&self.cloud).subscriptions.clear();
    }

    /// Notifications of these parts (`transcripts` or `recordings`, meeting, id), each to whoever subscribed.
    pub fn told(&self, parts: &[(&str, &str, &str)]) -> Value {
        let cloud = lock(&self.cloud);
        let about = |(what, meeting, id): &(&str, &str, &str)| -> Option<Value> {
            let mut all = cloud.subscriptions.iter();
            let end = format!("getall{what}");
            let (own, subscription) =
                all.find(|(_, own)| own.resource.to_lowercase().ends_with(&end))?;
            let kind = match *what {
                "transcripts" => "callTranscript",
                _ => "callRecording",
            };
            let resource = format!("communications/onlineMeetings('{meeting}')/{what}('{id}')");
            Some(json!({
                "subscriptionId": own, "changeType": "created", "tenantId": ORGANISATION,
                "clientState": subscription.state, "subscriptionExpirationDateTime": time(subscription.end),
                "resource": resource,
                "resourceData": { "id": id, "@odata.type": format!("#Microsoft.Graph.{kind}"), "@odata.id": resource },
            }))
        };
        let value: Vec<Value> = parts.iter().filter_map(about).collect();
        json!({ "value": value })
    }

    /// Notifications of what becomes of the subscriptions.
    pub fn lifecycle(&self, event: &str) -> Value {
        let cloud = lock(&self.cloud);
        let all = cloud.subscriptions.iter();
        let value = all.map(|(id, own)| {
            json!({ "subscriptionId": id, "subscriptionExpirationDateTime": time(own.end), "tenantId": ORGANISATION,
                    "clientState": own.state, "lifecycleEvent": event })
        });
        json!({ "value": value.collect::<Vec<Value>>() })
    }
}

fn shown(id: &str, own: &Subscription) -> Value {
    json!({
        "@odata.type": "#microsoft.graph.subscription", "id": id, "resource": own.resource, "changeType": "created",
        "notificationUrl": own.address, "lifecycleNotificationUrl": own.address, "clientState": null,
        "expirationDateTime": time(own.end), "applicationId": super::CLIENT.0,
    })
}

async fn list(State(cloud): Shared, headers: HeaderMap, Query(query): Parameters) -> Response {
    let mut cloud = lock(&cloud);
    cloud.requests.push("GET /subscriptions".to_owned());
    if let Err(answer) = cloud.lets_in(&headers) {
        return *answer;
    }
    let all = cloud.subscriptions.iter();
    let all = all.map(|(id, own)| shown(id, own)).collect();
    cloud.page("/subscriptions", all, &query)
}

fn end(cloud: &Cloud, wanted: &Value) -> Option<DateTime<Utc>> {
    let end: DateTime<Utc> = wanted["expirationDateTime"].as_str()?.parse().ok()?;
    let longest = Utc::now() + TimeDelta::minutes(cloud.longest_m);
    (Utc::now()..=longest).contains(&end).then_some(end)
}

async fn create(State(cloud): Shared, headers: HeaderMap, Json(wanted): Json<Value>) -> Response {
    let bad = |why: &str| failure(400, "ValidationError", why);
    let (address, real) = {
        let mut cloud = lock(&cloud);
        cloud.requests.push("POST /subscriptions".to_owned());
        if let Err(answer) = cloud.lets_in(&headers) {
            return *answer;
        }
        if end(&cloud, &wanted).is_none() {
            return bad("Subscription expiration can only be so many minutes in the future.");
        }
        let address = wanted["notificationUrl"].as_str().unwrap_or_default();
        if wanted["lifecycleNotificationUrl"] != address || wanted["changeType"] != "created" {
            return bad(
                "lifecycleNotificationUrl is required for subscription creation on this resource",
            );
        }
        let (public, real) = &cloud.installation;
        (address.to_owned(), address.replace(public.as_str(), real))
    };
    // With what has to be encoded on the way there and decoded on the way back.
    let token =
        "Validation: Testing client application reachability for subscription Request-Id: 7-a/b+c";
    let is_wanted = asked(&real, token).await;
    if is_wanted.as_deref() != Some(token) {
        return bad(
            "Subscription validation request failed. Notification endpoint must respond with 200 OK.",
        );
    }
    let mut cloud = lock(&cloud);
    let resource = wanted["resource"].as_str().unwrap_or_default();
    let mut there = cloud.subscriptions.values();
    if there.any(|own| own.resource == resource) {
        return failure(
            403,
            "ExtensionError",
            "MaxNumberOfSubscriptionsPerAppAndTenantReached",
        );
    }
    let Some(end) = end(&cloud, &wanted) else {
        return bad("Subscription expiration is in the past.");
    };
    let own = Subscription {
        resource: resource.to_owned(),
        address,
        state: wanted["clientState"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        end,
    };
    cloud.given += 1;
    let id = format!("subscription-{}", cloud.given);
    let answer = shown(&id, &own);
    cloud.subscriptions.insert(id, own);
    (StatusCode::CREATED, Json(answer)).into_response()
}

async fn renew(
    State(cloud): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
    Json(wanted): Json<Value>,
) -> Response {
    let mut cloud = lock(&cloud);
    cloud.requests.push("PATCH /subscriptions".to_owned());
    if let Err(answer) = cloud.lets_in(&headers) {
        return *answer;
    }
    let end = end(&cloud, &wanted);
    let Some(own) = cloud.subscriptions.get_mut(&id) else {
        return failure(404, "ResourceNotFound", "The object was not found.");
    };
    let Some(end) = end else {
        return failure(
            400,
            "ValidationError",
            "Subscription expiration is too late.",
        );
    };
    own.end = end;
    Json(shown(&id, own)).into_response()
}

async fn end_one(State(cloud): Shared, headers: HeaderMap, Path(id): Path<String>) -> Response {
    let mut cloud = lock(&cloud);
    cloud.requests.push("DELETE /subscriptions".to_owned());
    if let Err(answer) = cloud.lets_in(&headers) {
        return *answer;
    }
    match cloud.subscriptions.remove(&id) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => failure(404, "ResourceNotFound", "The object was not found."),
    }
}

/// What an address answers to the question whether it wants notifications, if it answers with 200 and plain text.
async fn asked(address: &str, token: &str) -> Option<String> {
    let (host, path) = address.strip_prefix("http://")?.split_once('/')?;
    let token: String = token.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let request = format!(
        "POST /{path}?validationToken={token} HTTP/1.1\r\nhost: {host}\r\ncontent-type: text/plain\r\n\
         content-length: 0\r\nconnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(host).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let is_right = head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("text/plain");
    is_right.then(|| body.to_owned())
}
