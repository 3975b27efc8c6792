//! Tenants and their first keys, for the operator. The operator's key reaches no content.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_store::keys as rows;
use quire_store::tenants::{self, NewTenant, Tenant};
use quire_types::{KeyId, TenantId, TenantState};

use super::keys::{KeyIn, KeyOut, NewKeyOut, check_notebook};
use crate::body::{Body, ListOut, Paged, time};
use crate::caller::Admin;
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// A tenant.
#[derive(Serialize, ToSchema)]
pub(super) struct TenantOut {
    #[schema(example = "ten_0198c0de00007000a000000000000001")]
    id: String,
    /// Short name, unique in the installation.
    #[schema(example = "northgate")]
    slug: String,
    name: String,
    region: String,
    plan: String,
    /// `active`, `suspended` or `closing`.
    state: String,
    created_at: String,
}

impl TenantOut {
    fn of(tenant: Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            slug: tenant.slug,
            name: tenant.name,
            region: tenant.region,
            plan: tenant.plan,
            state: tenant.state.to_string(),
            created_at: time(tenant.created_at),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantIn {
    /// 1 to 64 of a-z, 0-9 and inner hyphens. Unique, so repeating a creation is safe: it answers 409.
    #[schema(example = "northgate")]
    slug: String,
    #[schema(example = "Northgate Builders")]
    name: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantPatch {
    /// `active` or `suspended`.
    state: String,
}

fn tenant_id(text: &str) -> ApiResult<TenantId> {
    text.parse().map_err(|_| ApiError::not_found("tenant"))
}

/// List tenants.
#[utoipa::path(get, path = "/v1/tenants", tag = "tenants", security(("admin_key" = [])),
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = ListOut<TenantOut>), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    _: Admin,
    State(app): State<App>,
    page: Paged<TenantId>,
) -> ApiResult<Json<ListOut<TenantOut>>> {
    let mut tx = app.store.system().await?;
    let page = tenants::list(&mut tx, page.request).await?;
    tx.commit().await?;
    Ok(Json(ListOut::of(
        page,
        |tenant| tenant.id.to_string(),
        TenantOut::of,
    )))
}

/// Create a tenant.
#[utoipa::path(post, path = "/v1/tenants", tag = "tenants", security(("admin_key" = [])), request_body = TenantIn,
    responses((status = 201, body = TenantOut), (status = 400, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn create(
    _: Admin,
    State(app): State<App>,
    Body(new): Body<TenantIn>,
) -> ApiResult<Response> {
    let mut tx = app.store.system().await?;
    let tenant = tenants::create(&mut tx, &NewTenant::local(&new.slug, &new.name)).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(TenantOut::of(tenant))).into_response())
}

/// Get a tenant.
#[utoipa::path(get, path = "/v1/tenants/{tenant}", tag = "tenants", security(("admin_key" = [])),
    params(("tenant" = String, Path)),
    responses((status = 200, body = TenantOut), (status = 404, body = Problem)))]
pub(super) async fn get(
    _: Admin,
    State(app): State<App>,
    Path(id): Path<String>,
) -> ApiResult<Json<TenantOut>> {
    let mut tx = app.store.system().await?;
    let tenant = tenants::get(&mut tx, tenant_id(&id)?).await?;
    tx.commit().await?;
    Ok(Json(TenantOut::of(tenant)))
}

/// Suspend a tenant or let it work again.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}", tag = "tenants", security(("admin_key" = [])),
    params(("tenant" = String, Path)), request_body = TenantPatch,
    responses((status = 200, body = TenantOut), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn update(
    _: Admin,
    State(app): State<App>,
    Path(id): Path<String>,
    Body(patch): Body<TenantPatch>,
) -> ApiResult<Json<TenantOut>> {
    let state: TenantState = patch
        .state
        .parse()
        .ok()
        .filter(|state| *state != TenantState::Closing)
        .ok_or_else(|| ApiError::invalid("state must be active or suspended"))?;
    let mut tx = app.store.system().await?;
    let tenant = tenants::set_state(&mut tx, tenant_id(&id)?, state).await?;
    tx.commit().await?;
    Ok(Json(TenantOut::of(tenant)))
}

/// List a tenant's keys.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/keys", tag = "tenants", security(("admin_key" = [])),
    params(("tenant" = String, Path)),
    responses((status = 200, body = ListOut<KeyOut>), (status = 404, body = Problem)))]
pub(super) async fn list_keys(
    _: Admin,
    State(app): State<App>,
    Path(id): Path<String>,
) -> ApiResult<Json<ListOut<KeyOut>>> {
    let mut tx = app.store.system().await?;
    let tenant = tenants::get(&mut tx, tenant_id(&id)?).await?;
    let keys = rows::list(&mut tx, tenant.id).await?;
    tx.commit().await?;
    Ok(Json(ListOut {
        items: keys.into_iter().map(KeyOut::of).collect(),
        next_cursor: None,
    }))
}

/// Make a key for a tenant. The key is shown in this answer and never again.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/keys", tag = "tenants", security(("admin_key" = [])),
    params(("tenant" = String, Path)), request_body = KeyIn,
    responses((status = 201, body = NewKeyOut), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn create_key(
    _: Admin,
    State(app): State<App>,
    Path(id): Path<String>,
    Body(new): Body<KeyIn>,
) -> ApiResult<Response> {
    let (role, notebook) = new.role_and_notebook()?;
    let mut tx = app.store.system().await?;
    let tenant = tenants::get(&mut tx, tenant_id(&id)?).await?;
    check_notebook(&app, tenant.placement(), notebook).await?;
    let (key, text) = rows::create(&mut tx, tenant.id, role, notebook, &new.name).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(NewKeyOut::of(key, &text))).into_response())
}

/// Revoke a tenant's key.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/keys/{key}", tag = "tenants", security(("admin_key" = [])),
    params(("tenant" = String, Path), ("key" = String, Path)),
    responses((status = 200, body = KeyOut), (status = 404, body = Problem)))]
pub(super) async fn revoke_key(
    _: Admin,
    State(app): State<App>,
    Path((id, key)): Path<(String, String)>,
) -> ApiResult<Json<KeyOut>> {
    let key: KeyId = key.parse().map_err(|_| ApiError::not_found("key"))?;
    let mut tx = app.store.system().await?;
    let key = rows::revoke(&mut tx, tenant_id(&id)?, key).await?;
    tx.commit().await?;
    Ok(Json(KeyOut::of(key)))
}
