//! Endpoints: addresses of a tenant that are told what happens, by signed requests (Standard Webhooks).

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use quire_store::outbox::{self as rows, Delivery, Endpoint, Wish};
use quire_types::{EndpointId, EndpointState, MessageId, Timestamp};

use crate::body::{Body, ListOut, Paged, Params, path, time};
use crate::caller::{Reader, TenantReader, Writer};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// An endpoint the caller may see.
pub(super) struct SeenEndpoint {
    caller: Reader,
    endpoint: Endpoint,
}

/// An endpoint the caller may change.
pub(super) struct OwnEndpoint(SeenEndpoint);

async fn find(caller: Reader, parts: &mut Parts, app: &App) -> ApiResult<SeenEndpoint> {
    let id: EndpointId = path(parts, app, "endpoint").await?;
    let mut tx = app.store.tenant(caller.placement()).await?;
    let endpoint = rows::endpoint(&mut tx, id).await?;
    tx.commit().await?;
    Ok(SeenEndpoint { caller, endpoint })
}

impl FromRequestParts<App> for SeenEndpoint {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let TenantReader(caller) = TenantReader::from_request_parts(parts, app).await?;
        find(caller, parts, app).await
    }
}

impl FromRequestParts<App> for OwnEndpoint {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let Writer(caller) = Writer::from_request_parts(parts, app).await?;
        Ok(Self(find(caller, parts, app).await?))
    }
}

/// An endpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct EndpointOut {
    #[schema(example = "whk_0198c0de00007000a000000000000001")]
    id: String,
    url: String,
    description: String,
    /// Types of events it wants; none means all.
    types: Vec<String>,
    /// Events that came from there are not sent back.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// `active`, `paused` or `disabled`.
    state: String,
    /// Why it was disabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Since when every attempt has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<String>,
    created_at: String,
}

impl EndpointOut {
    fn of(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id.to_string(),
            url: endpoint.url,
            description: endpoint.description,
            types: endpoint.types,
            origin: endpoint.origin,
            state: endpoint.state.to_string(),
            reason: endpoint.reason,
            failing_since: endpoint.failing_since.map(time),
            created_at: time(endpoint.created_at),
        }
    }
}

/// A new endpoint with the key of its signatures.
#[derive(Serialize, ToSchema)]
pub(super) struct NewEndpointOut {
    #[serde(flatten)]
    endpoint: EndpointOut,
    /// Shown once: what the receiver checks signatures with.
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: String,
}

/// An endpoint to make.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointIn {
    /// `https`, on the public Internet unless the operator allows more.
    #[schema(example = "https://app.example.com/hooks/quire")]
    url: String,
    #[serde(default)]
    description: String,
    /// Types of events; none means all.
    #[serde(default)]
    types: Vec<String>,
    /// Events with this origin are not sent: they came from there.
    origin: Option<String>,
}

/// List endpoints.
#[utoipa::path(get, path = "/v1/endpoints", tag = "endpoints", security(("tenant_key" = [])),
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = ListOut<EndpointOut>)))]
pub(super) async fn list(
    TenantReader(caller): TenantReader,
    State(app): State<App>,
    page: Paged<EndpointId>,
) -> ApiResult<Json<ListOut<EndpointOut>>> {
    let mut tx = app.store.tenant(caller.placement()).await?;
    let page = rows::endpoints(&mut tx, page.request).await?;
    tx.commit().await?;
    Ok(Json(ListOut::of(
        page,
        |endpoint| endpoint.id.to_string(),
        EndpointOut::of,
    )))
}

/// Make an endpoint. Its key is shown in this answer only.
#[utoipa::path(post, path = "/v1/endpoints", tag = "endpoints", security(("tenant_key" = [])), request_body = EndpointIn,
    responses((status = 201, body = NewEndpointOut), (status = 400, body = Problem)))]
pub(super) async fn create(
    Writer(caller): Writer,
    State(app): State<App>,
    Body(new): Body<EndpointIn>,
) -> ApiResult<(StatusCode, Json<NewEndpointOut>)> {
    let wish = Wish {
        url: &new.url,
        description: &new.description,
        types: &new.types,
        origin: new.origin.as_deref(),
    };
    let (endpoint, secret) = app
        .connect
        .create_endpoint(caller.placement(), &wish)
        .await?;
    let out = NewEndpointOut {
        endpoint: EndpointOut::of(endpoint),
        secret: secret.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(out)))
}

/// Get an endpoint.
#[utoipa::path(get, path = "/v1/endpoints/{endpoint}", tag = "endpoints", security(("tenant_key" = [])),
    params(("endpoint" = String, Path)),
    responses((status = 200, body = EndpointOut), (status = 404, body = Problem)))]
pub(super) async fn get(found: SeenEndpoint) -> Json<EndpointOut> {
    Json(EndpointOut::of(found.endpoint))
}

/// What is to be different; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointPatch {
    url: Option<String>,
    description: Option<String>,
    types: Option<Vec<String>>,
    origin: Option<String>,
    /// `active` or `paused`; what happens while it is paused is sent afterwards.
    #[schema(value_type = Option<String>)]
    state: Option<EndpointState>,
}

/// Change, pause or resume an endpoint.
#[utoipa::path(patch, path = "/v1/endpoints/{endpoint}", tag = "endpoints", security(("tenant_key" = [])),
    params(("endpoint" = String, Path)), request_body = EndpointPatch,
    responses((status = 200, body = EndpointOut), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn change(
    OwnEndpoint(found): OwnEndpoint,
    State(app): State<App>,
    Body(patch): Body<EndpointPatch>,
) -> ApiResult<Json<EndpointOut>> {
    let SeenEndpoint { caller, endpoint } = found;
    let wish = Wish {
        url: patch.url.as_deref().unwrap_or(&endpoint.url),
        description: patch
            .description
            .as_deref()
            .unwrap_or(&endpoint.description),
        types: patch.types.as_deref().unwrap_or(&endpoint.types),
        origin: patch.origin.as_deref().or(endpoint.origin.as_deref()),
    };
    let state = patch.state.unwrap_or(endpoint.state);
    let changed = app
        .connect
        .change_endpoint(caller.placement(), endpoint.id, &wish, state)
        .await?;
    Ok(Json(EndpointOut::of(changed)))
}

/// Delete an endpoint with its log.
#[utoipa::path(delete, path = "/v1/endpoints/{endpoint}", tag = "endpoints", security(("tenant_key" = [])),
    params(("endpoint" = String, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn delete(
    OwnEndpoint(found): OwnEndpoint,
    State(app): State<App>,
) -> ApiResult<StatusCode> {
    let mut tx = app.store.tenant(found.caller.placement()).await?;
    rows::delete_endpoint(&mut tx, found.endpoint.id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The new key of an endpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct SecretOut {
    /// Shown once.
    secret: String,
}

/// Give an endpoint another key. For a day messages are signed with both.
#[utoipa::path(post, path = "/v1/endpoints/{endpoint}/rotate", tag = "endpoints", security(("tenant_key" = [])),
    params(("endpoint" = String, Path)),
    responses((status = 200, body = SecretOut), (status = 404, body = Problem)))]
pub(super) async fn rotate(
    OwnEndpoint(found): OwnEndpoint,
    State(app): State<App>,
) -> ApiResult<Json<SecretOut>> {
    let placement = found.caller.placement();
    let secret = app
        .connect
        .rotate_endpoint(placement, found.endpoint.id)
        .await?;
    Ok(Json(SecretOut {
        secret: secret.expose().to_owned(),
    }))
}

/// A message that was queued.
#[derive(Serialize, ToSchema)]
pub(super) struct MessageOut {
    #[schema(example = "msg_0198c0de00007000a000000000000001")]
    message: String,
}

/// Send an endpoint a test message; its log tells whether it arrived.
#[utoipa::path(post, path = "/v1/endpoints/{endpoint}/test", tag = "endpoints", security(("tenant_key" = [])),
    params(("endpoint" = String, Path)),
    responses((status = 202, body = MessageOut), (status = 404, body = Problem)))]
pub(super) async fn test(
    OwnEndpoint(found): OwnEndpoint,
    State(app): State<App>,
) -> ApiResult<(StatusCode, Json<MessageOut>)> {
    let placement = found.caller.placement();
    let message = app
        .connect
        .test_endpoint(placement, found.endpoint.id)
        .await?;
    let message = message.to_string();
    Ok((StatusCode::ACCEPTED, Json(MessageOut { message })))
}

/// A range of time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayIn {
    /// From this moment on.
    #[schema(value_type = String, example = "2025-06-01T00:00:00Z")]
    from: Timestamp,
    /// Before this moment.
    #[schema(value_type = String, example = "2025-06-02T00:00:00Z")]
    to: Timestamp,
}

/// How many events are sent again.
#[derive(Serialize, ToSchema)]
pub(super) struct ReplayOut {
    events: u64,
}

/// Send everything that happened in a range of time again, what arrived included. Events are kept for 30 days.
#[utoipa::path(post, path = "/v1/endpoints/{endpoint}/replay", tag = "endpoints", security(("tenant_key" = [])),
    params(("endpoint" = String, Path)), request_body = ReplayIn,
    responses((status = 202, body = ReplayOut), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn replay(
    OwnEndpoint(found): OwnEndpoint,
    State(app): State<App>,
    Body(range): Body<ReplayIn>,
) -> ApiResult<(StatusCode, Json<ReplayOut>)> {
    let placement = found.caller.placement();
    let events = app
        .connect
        .replay(placement, found.endpoint.id, range.from, range.to)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(ReplayOut { events })))
}

/// An event on its way to an endpoint.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryOut {
    /// The `webhook-id`, the same in every attempt.
    message: String,
    r#type: String,
    /// When it happened.
    at: String,
    #[schema(value_type = Object)]
    data: Value,
    /// `waiting`, `delivered` or `failed`.
    state: String,
    attempts: i32,
    /// When it is tried next, while it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<String>,
    /// What the endpoint answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<i32>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<i32>,
    updated_at: String,
}

impl DeliveryOut {
    fn of(delivery: Delivery) -> Self {
        Self {
            message: delivery.event.to_string(),
            r#type: delivery.kind,
            at: time(delivery.at),
            data: delivery.data,
            next_at: (delivery.state == "waiting").then(|| time(delivery.next_at)),
            state: delivery.state,
            attempts: delivery.attempts,
            status: delivery.status,
            error: delivery.error,
            took_ms: delivery.took_ms,
            updated_at: time(delivery.updated_at),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct DeliveryParams {
    /// Only those that are `waiting`, `delivered` or `failed`.
    state: Option<String>,
}

/// See what was sent to an endpoint and how it answered.
#[utoipa::path(get, path = "/v1/endpoints/{endpoint}/deliveries", tag = "endpoints", security(("tenant_key" = [])),
    params(("endpoint" = String, Path), DeliveryParams, ("cursor" = Option<String>, Query),
        ("limit" = Option<u32>, Query)),
    responses((status = 200, body = ListOut<DeliveryOut>), (status = 404, body = Problem)))]
pub(super) async fn deliveries(
    found: SeenEndpoint,
    State(app): State<App>,
    Params(params): Params<DeliveryParams>,
    page: Paged<MessageId>,
) -> ApiResult<Json<ListOut<DeliveryOut>>> {
    let mut tx = app.store.tenant(found.caller.placement()).await?;
    let state = params.state.as_deref();
    let page = rows::deliveries(&mut tx, found.endpoint.id, state, page.request).await?;
    tx.commit().await?;
    Ok(Json(ListOut::of(
        page,
        |delivery| delivery.event.to_string(),
        DeliveryOut::of,
    )))
}
