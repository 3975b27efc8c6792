//! Where an administrator agrees and signs in, and where tokens are given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{CLIENT, Cloud, DANA, ORGANISATION, Parameters, Shared, failure, lock};

pub(super) fn routes() -> Router<Arc<Mutex<Cloud>>> {
    Router::new()
        .route("/organizations/v2.0/adminconsent", get(agree))
        .route("/organizations/oauth2/v2.0/authorize", get(authorize))
        .route("/{organisation}/oauth2/v2.0/token", post(token))
}

fn back(to: &str, with: &str) -> Response {
    let back = format!("{to}?{with}");
    (StatusCode::FOUND, [(header::LOCATION, back)]).into_response()
}

/// An administrator agrees at once and comes back.
async fn agree(State(cloud): Shared, Query(query): Parameters) -> Response {
    let of = |name: &str| query.get(name).cloned().unwrap_or_default();
    let mut cloud = lock(&cloud);
    let scope = format!("{}/.default", cloud.base);
    if of("client_id") != CLIENT.0 || of("state").is_empty() || of("scope") != scope {
        return failure(400, "invalid_request", "AADSTS900144");
    }
    cloud.is_open |= cloud.is_administrator;
    let with = format!(
        "admin_consent=True&tenant={ORGANISATION}&state={}",
        of("state")
    );
    back(&of("redirect_uri"), &with)
}

/// Somebody signs in at once and comes back.
async fn authorize(State(cloud): Shared, Query(query): Parameters) -> Response {
    let of = |name: &str| query.get(name).cloned().unwrap_or_default();
    let is_right = of("response_type") == "code" && of("scope").contains("openid");
    if !is_right || of("client_id") != CLIENT.0 || of("state").is_empty() {
        return failure(400, "invalid_request", "AADSTS900144");
    }
    let mut cloud = lock(&cloud);
    cloud.given += 1;
    let code = format!("code-{}", cloud.given);
    cloud.codes.insert(code.clone());
    back(
        &of("redirect_uri"),
        &format!("code={code}&state={}&session_state=1", of("state")),
    )
}

fn refused(error: &str, description: &str) -> Response {
    let body = json!({ "error": error, "error_description": description });
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}

fn id_token(is_administrator: bool) -> String {
    let role = match is_administrator {
        true => "62e90394-69f5-4237-9190-012177145e10",
        false => "b79fbf4d-3ef9-4689-8143-76b194e85509",
    };
    let claims = json!({
        "aud": CLIENT.0, "iss": format!("https://login.microsoftonline.com/{ORGANISATION}/v2.0"),
        "oid": DANA, "tid": ORGANISATION, "preferred_username": "dana@northgate.example", "ver": "2.0",
        "wids": [role],
    });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({ "typ": "JWT" })), part(&claims))
}

async fn token(State(cloud): Shared, Path(organisation): Path<String>, body: String) -> Response {
    // A form is written like a query.
    let form: BTreeMap<String, String> = format!("/?{body}")
        .parse::<Uri>()
        .ok()
        .and_then(|uri| Query::try_from_uri(&uri).ok())
        .map(|Query(form)| form)
        .unwrap_or_default();
    let of = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    let mut cloud = lock(&cloud);
    cloud.requests.push("/oauth2/v2.0/token".to_owned());
    if of("client_id") != CLIENT.0 || of("client_secret") != CLIENT.1 {
        return refused(
            "invalid_client",
            "AADSTS7000215: Invalid client secret provided.",
        );
    }
    let mut granted = json!({ "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599 });
    match of("grant_type") {
        "authorization_code" if organisation == "organizations" => {
            if !cloud.codes.remove(of("code")) || of("redirect_uri").is_empty() {
                return refused("invalid_grant", "AADSTS70008: The code has expired.");
            }
            granted["id_token"] = id_token(cloud.is_administrator).into();
            granted["access_token"] = "of-a-person".into();
        }
        "client_credentials" if organisation == ORGANISATION => {
            if !cloud.is_open || of("scope") != format!("{}/.default", cloud.base) {
                return refused(
                    "unauthorized_client",
                    "AADSTS700016: Application not found.",
                );
            }
            cloud.given += 1;
            let access = format!("at-{}", cloud.given);
            cloud.access.insert(access.clone());
            granted["access_token"] = access.into();
        }
        _ => return refused("unsupported_grant_type", "AADSTS70003"),
    }
    Json(granted).into_response()
}
