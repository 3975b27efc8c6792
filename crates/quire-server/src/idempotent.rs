//! Writes that happen once, however often they are sent (draft-ietf-httpapi-idempotency-key-header).
//!
//! Without the header a write simply runs. With it, the first request claims the key; a repetition gets
//! the stored answer, 409 while the first is running, 422 when it is a different request.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use quire_store::Placement;
use quire_store::idempotency::{self, Claim};
use quire_types::ErrorKind;

use crate::problem::{ApiError, ApiResult};
use crate::state::App;

/// A finished write.
pub(crate) struct Reply {
    status: StatusCode,
    body: Value,
    /// What repetitions get, where that must not be the body itself.
    stored: Option<Value>,
}

impl Reply {
    pub(crate) fn new(status: StatusCode, body: &impl Serialize) -> ApiResult<Self> {
        let body = serde_json::to_value(body).map_err(|error| {
            ApiError::new(
                ErrorKind::Internal,
                format!("a body can't be written: {error}"),
            )
        })?;
        Ok(Self {
            status,
            body,
            stored: None,
        })
    }

    /// Repetitions don't get `field`: it is a secret that is shown once and kept nowhere.
    pub(crate) fn shown_once(mut self, field: &str) -> Self {
        let mut stored = self.body.clone();
        if let Some(fields) = stored.as_object_mut() {
            fields.remove(field);
        }
        self.stored = Some(stored);
        self
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// Runs `work` once for the request's Idempotency-Key. `request` is its [`fingerprint`].
pub(crate) async fn once(
    app: &App,
    placement: Placement,
    headers: &HeaderMap,
    request: Vec<u8>,
    work: impl Future<Output = ApiResult<Reply>> + Send + 'static,
) -> ApiResult<Response> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(work.await?.into_response());
    };
    let key = key
        .to_str()
        .map_err(|_| ApiError::invalid("an Idempotency-Key has 1 to 255 visible characters"))?;
    let mut tx = app.store.tenant(placement).await?;
    let claim = idempotency::claim(&mut tx, key, &request).await?;
    tx.commit().await?;
    match claim {
        Claim::Fresh => {}
        Claim::InFlight => {
            return Err(ApiError::new(
                ErrorKind::Conflict,
                "a request with this Idempotency-Key is still running: wait for its answer",
            ));
        }
        Claim::OtherRequest => {
            return Err(ApiError::invalid(
                "this Idempotency-Key was used for another request: choose a new one",
            )
            .with_status(StatusCode::UNPROCESSABLE_ENTITY));
        }
        Claim::Done { status, body } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
            let mut response = (status, Json(body)).into_response();
            response
                .headers_mut()
                .insert("idempotency-replayed", HeaderValue::from_static("true"));
            return Ok(response);
        }
    }
    // In a task of its own: a client that goes away must not leave the key claimed and the work without
    // its answer, since that client is the one who will ask again.
    let (app, key) = (app.clone(), key.to_owned());
    tokio::spawn(async move {
        let result = work.await;
        let mut tx = app.store.tenant(placement).await?;
        match &result {
            Ok(reply) => {
                let body = reply.stored.as_ref().unwrap_or(&reply.body);
                idempotency::finish(&mut tx, &key, reply.status.as_u16(), body).await?;
            }
            Err(_) => idempotency::release(&mut tx, &key).await?,
        }
        tx.commit().await?;
        Ok(result?.into_response())
    })
    .await
    .map_err(|_| ApiError::new(ErrorKind::Internal, "the work of a request panicked"))?
}

/// What tells requests apart: method, path and body.
pub(crate) fn fingerprint(request: &[&[u8]]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in request {
        // The length keeps parts from running into each other.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}
