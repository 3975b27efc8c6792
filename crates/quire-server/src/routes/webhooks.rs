//! What comes in without a key: webhooks, which are signed, and people who come back from agreeing elsewhere, who
//! carry a state that was sealed here.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use quire_connect::connections::{Heard, Incoming, Notice, Verdict};
use quire_connect::standard::Doubt;
use quire_types::{ConnectionId, ErrorKind, Kind, TenantId, TenantState};

use crate::body::{Params, Raw};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// Take in a signed webhook (Standard Webhooks) with events of records. Sending it again changes nothing.
#[utoipa::path(post, path = "/hooks/{tenant}/{connection}", tag = "service",
    params(("tenant" = String, Path), ("connection" = String, Path), ("webhook-id" = String, Header),
        ("webhook-timestamp" = String, Header), ("webhook-signature" = String, Header)),
    request_body = String,
    responses((status = 202), (status = 400, body = Problem), (status = 401, body = Problem),
        (status = 404, body = Problem), (status = 413, body = Problem)))]
pub(super) async fn receive(
    State(app): State<App>,
    Path((tenant, connection)): Path<(String, String)>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> ApiResult<StatusCode> {
    let nobody = || ApiError::not_found("connection");
    let tenant: TenantId = tenant.parse().map_err(|_| nobody())?;
    let connection: ConnectionId = connection.parse().map_err(|_| nobody())?;
    let account = match app.control.account(tenant).await {
        Ok(account) if account.tenant.state == TenantState::Active => account,
        Ok(_) => return Err(nobody()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(nobody()),
        Err(error) => return Err(error.into()),
    };
    let incoming = Incoming {
        id: header(&headers, "webhook-id"),
        timestamp: header(&headers, "webhook-timestamp"),
        signature: header(&headers, "webhook-signature"),
        body: &body,
    };
    let placement = account.tenant.placement();
    match app.connect.receive(placement, connection, incoming).await? {
        Verdict::Taken | Verdict::Known => Ok(StatusCode::ACCEPTED),
        Verdict::Nobody => Err(nobody()),
        Verdict::Doubted(doubt) => Err(doubted(
            doubt,
            "webhook-id, webhook-timestamp and webhook-signature",
        )),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn doubted(doubt: Doubt, headers: &str) -> ApiError {
    match doubt {
        Doubt::Incomplete => ApiError::invalid(format!("the headers {headers} are needed")),
        Doubt::Time => ApiError::invalid(
            "the time of the webhook is more than five minutes from now: check the sender's clock",
        ),
        Doubt::Signature => ApiError::new(
            ErrorKind::Unauthenticated,
            "the signature does not belong to this body and the secret",
        ),
    }
}

/// What Zoom wants to see before it sends webhooks.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChallengeOut {
    plain_token: String,
    encrypted_token: String,
}

/// Take in a webhook of Zoom for whichever tenants were let into its account. Sending it again changes nothing.
#[utoipa::path(post, path = "/hooks/zoom", tag = "service",
    params(("x-zm-request-timestamp" = String, Header), ("x-zm-signature" = String, Header)),
    request_body = String,
    responses((status = 200, body = ChallengeOut), (status = 204), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 404, body = Problem), (status = 413, body = Problem)))]
pub(super) async fn receive_zoom(
    State(app): State<App>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> ApiResult<Response> {
    let notice = Notice {
        timestamp: header(&headers, "x-zm-request-timestamp"),
        signature: header(&headers, "x-zm-signature"),
        body: &body,
    };
    match app.connect.receive_zoom(notice).await? {
        Heard::Taken => Ok(StatusCode::NO_CONTENT.into_response()),
        Heard::Challenge { plain, encrypted } => Ok(Json(ChallengeOut {
            plain_token: plain,
            encrypted_token: encrypted,
        })
        .into_response()),
        Heard::Nobody => Err(ApiError::not_found("connection")),
        Heard::Doubted(doubt) => Err(doubted(doubt, "x-zm-request-timestamp and x-zm-signature")),
    }
}

/// What somebody comes back with.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ConsentParams {
    /// What the link carried.
    #[serde(default)]
    state: String,
    /// What the provider gives for tokens.
    #[serde(default)]
    code: String,
    /// Why it gives nothing.
    error: Option<String>,
}

/// Where people come back to after they agreed at Zoom.
#[utoipa::path(get, path = "/oauth/zoom", tag = "service", params(ConsentParams),
    responses((status = 200, body = String), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn consented(
    State(app): State<App>,
    Params(params): Params<ConsentParams>,
) -> ApiResult<String> {
    if params.error.is_some() || params.code.is_empty() {
        return Err(ApiError::invalid(
            "Zoom was not allowed to let quire in: follow the link again and agree",
        ));
    }
    let (name, account) = app.connect.consented(&params.state, &params.code).await?;
    Ok(format!(
        "'{name}' is connected to the account of {account}. You can close this page.\n"
    ))
}
