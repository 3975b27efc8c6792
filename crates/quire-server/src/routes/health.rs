//! Whether the process lives, whether it can work, and its counters.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use quire_types::ErrorKind;

use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

#[derive(Serialize, ToSchema)]
pub(super) struct HealthOut {
    /// Always `ok`; anything else is an error.
    #[schema(example = "ok")]
    status: String,
}

impl HealthOut {
    fn ok() -> Json<Self> {
        Json(Self {
            status: "ok".to_owned(),
        })
    }
}

/// Is the process alive?
#[utoipa::path(get, path = "/healthz", tag = "service", responses((status = 200, body = HealthOut)))]
pub(super) async fn alive() -> Json<HealthOut> {
    HealthOut::ok()
}

/// Can it work? Asks the database.
#[utoipa::path(get, path = "/readyz", tag = "service",
    responses((status = 200, body = HealthOut), (status = 503, body = Problem)))]
pub(super) async fn ready(State(app): State<App>) -> ApiResult<Json<HealthOut>> {
    app.store.ping().await?;
    Ok(HealthOut::ok())
}

/// Counters in the OpenMetrics text format. No label names a tenant.
#[utoipa::path(get, path = "/metrics", tag = "service",
    responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(app): State<App>) -> ApiResult<impl IntoResponse> {
    let mut tx = app.store.system().await?;
    app.metrics.queue(&quire_queue::stats(&mut tx).await?);
    tx.commit().await?;
    app.metrics.control(&app.control);
    app.metrics.models(app.providers.models());
    app.metrics
        .search(&app.search, app.ingest.fold_totals(), app.asker.degraded());
    app.metrics.cache(&app.asker);
    let text = app.metrics.text().map_err(|error| {
        ApiError::new(
            ErrorKind::Internal,
            format!("the metrics can't be written: {error}"),
        )
    })?;
    Ok((
        [(
            header::CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        text,
    ))
}
