//! Webhooks that come in. They carry no key: whoever knows the secret of a connection signed them.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};

use quire_connect::connections::{Incoming, Verdict};
use quire_connect::standard::Doubt;
use quire_types::{ConnectionId, ErrorKind, Kind, TenantId, TenantState};

use crate::body::Raw;
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
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    };
    let incoming = Incoming {
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp"),
        signature: header("webhook-signature"),
        body: &body,
    };
    let placement = account.tenant.placement();
    match app.connect.receive(placement, connection, incoming).await? {
        Verdict::Taken | Verdict::Known => Ok(StatusCode::ACCEPTED),
        Verdict::Nobody => Err(nobody()),
        Verdict::Doubted(Doubt::Incomplete) => Err(ApiError::invalid(
            "the headers webhook-id, webhook-timestamp and webhook-signature are needed",
        )),
        Verdict::Doubted(Doubt::Time) => Err(ApiError::invalid(
            "the webhook-timestamp is more than five minutes from now: check the sender's clock",
        )),
        Verdict::Doubted(Doubt::Signature) => Err(ApiError::new(
            ErrorKind::Unauthenticated,
            "the signature does not belong to this body and the connection's secret",
        )),
    }
}
