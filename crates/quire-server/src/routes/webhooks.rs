//! What comes in without a key: webhooks, which are signed, and people who come back from agreeing elsewhere, who
//! carry a state that was sealed here.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use quire_connect::connections::{Heard, Incoming, Notice, TEAMS, Verdict, ZOOM};
use quire_connect::standard::Doubt;
use quire_types::{ConnectionId, ErrorKind, Kind, TenantId, TenantState};

use crate::body::{Params, Raw};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// Microsoft Graph slows an address down for everybody when answers take three seconds.
const GRAPH_WAITS: Duration = Duration::from_millis(2_500);

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
    opened(&app, ZOOM, &params).await
}

async fn opened(app: &App, kind: &str, params: &ConsentParams) -> ApiResult<String> {
    let opened = app.connect.consented(kind, &params.state, &params.code);
    let (name, account) = opened.await?;
    Ok(format!(
        "'{name}' is connected to the account of {account}. You can close this page.\n"
    ))
}

/// Where administrators come back to after they agreed at Microsoft, and once more after they signed in.
#[utoipa::path(get, path = "/oauth/teams", tag = "service",
    params(ConsentParams, ("admin_consent" = Option<String>, Query)),
    responses((status = 200, body = String), (status = 303), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn consented_teams(
    State(app): State<App>,
    Params(params): Params<ConsentParams>,
    Params(agreed): Params<AgreedParams>,
) -> ApiResult<Response> {
    if params.error.is_none() && !params.code.is_empty() {
        return Ok(opened(&app, TEAMS, &params).await?.into_response());
    }
    let has_agreed = agreed.admin_consent.eq_ignore_ascii_case("true");
    if params.error.is_some() || !has_agreed {
        return Err(ApiError::invalid(
            "Microsoft was not allowed to let quire in: follow the link again and agree",
        ));
    }
    let sign_in = app.connect.sign_in_link(&params.state)?;
    Ok(Redirect::to(&sign_in).into_response())
}

/// What comes back when somebody agreed for a whole organisation.
#[derive(Deserialize)]
pub(super) struct AgreedParams {
    #[serde(default)]
    admin_consent: String,
}

/// What Microsoft Graph asks before it sends anything.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct ValidationParams {
    /// To be repeated as it is.
    validation_token: Option<String>,
}

/// Take in notifications of Microsoft Graph about meetings of whichever organisations are open to quire. Sending them
/// again changes nothing; what nobody asked for has no effect.
#[utoipa::path(post, path = "/hooks/teams", tag = "service", params(ValidationParams), request_body = String,
    responses((status = 200, body = String), (status = 202), (status = 400, body = Problem),
        (status = 404, body = Problem), (status = 413, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn receive_teams(
    State(app): State<App>,
    Params(validation): Params<ValidationParams>,
    Raw(body): Raw,
) -> ApiResult<Response> {
    let nobody = || ApiError::not_found("connection");
    if let Some(token) = validation.validation_token {
        return match app.connect.hears_teams() {
            true => Ok(harmless(&token).into_response()),
            false => Err(nobody()),
        };
    }
    // What could not be kept in time is sent again.
    let heard = tokio::time::timeout(GRAPH_WAITS, app.connect.receive_teams(&body)).await;
    let heard = heard.map_err(|_| {
        ApiError::new(
            ErrorKind::Unavailable,
            "notifications can't be kept in time: send them again",
        )
    })?;
    match heard? {
        Heard::Nobody => Err(nobody()),
        _ => Ok(StatusCode::ACCEPTED.into_response()),
    }
}

/// Text that means nothing to a browser, whatever it takes it for.
fn harmless(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
