//! The cache of answers, for the operator.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use quire_store::tenants::{self, Tenant};

use super::tenants::tenant_id;
use crate::caller::Admin;
use crate::problem::{ApiResult, Problem};
use crate::state::App;

/// What is remembered of a tenant.
#[derive(Serialize, ToSchema)]
pub(super) struct CacheOut {
    /// Entries in Redis; absent where none is configured. `/metrics` has hits and misses of each process.
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_entries: Option<u64>,
}

/// How much is remembered of a tenant.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/cache", tag = "tenants", security(("admin_key" = [])),
    params(("tenant" = String, Path)),
    responses((status = 200, body = CacheOut), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn get(
    _: Admin,
    State(app): State<App>,
    Path(id): Path<String>,
) -> ApiResult<Json<CacheOut>> {
    let tenant = tenant(&app, &id).await?;
    let redis_entries = app.caches.shared_entries(Some(tenant.id)).await?;
    Ok(Json(CacheOut { redis_entries }))
}

/// Forget the answers of a tenant: none is given again that was given before this answers. `redis_entries` says how
/// many left Redis.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/cache", tag = "tenants", security(("admin_key" = [])),
    params(("tenant" = String, Path)),
    responses((status = 200, body = CacheOut), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn purge(
    _: Admin,
    State(app): State<App>,
    Path(id): Path<String>,
) -> ApiResult<Json<CacheOut>> {
    let tenant = tenant(&app, &id).await?;
    let removed = app.caches.purge(tenant.placement()).await?;
    Ok(Json(CacheOut {
        redis_entries: Some(removed),
    }))
}

async fn tenant(app: &App, id: &str) -> ApiResult<Tenant> {
    let mut tx = app.store.system().await?;
    let tenant = tenants::get(&mut tx, tenant_id(id)?).await?;
    tx.commit().await?;
    Ok(tenant)
}
