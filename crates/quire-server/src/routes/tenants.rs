//! Tenants and their keys, for the operator. The operator's key reaches no content.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_store::keys as rows;
use quire_store::tenants::{self, Tenant};
use quire_tenancy::lifecycle::{self, Newcomer};
use quire_tenancy::plans;
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
    /// ISO 3166-1 code of where it is, if it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    /// Where its data stays.
    region: String,
    /// The AI project that works for it.
    pool: String,
    plan: String,
    /// `active`, `suspended`, `closing` or `closed`.
    state: String,
    created_at: String,
    /// When everything it begins with was there; absent when that was broken off: create it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready_at: Option<String>,
}

/// A tenant that was asked for.
#[derive(Serialize, ToSchema)]
pub(super) struct OnboardedOut {
    #[serde(flatten)]
    tenant: TenantOut,
    /// Its first key, for all of it: shown now and never again, and only when the tenant is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl TenantOut {
    fn of(tenant: Tenant) -> Self {
        Self {
            id: tenant.id.to_string(),
            slug: tenant.slug,
            name: tenant.name,
            country: tenant.country,
            region: tenant.region,
            pool: tenant.pool,
            plan: tenant.plan,
            state: tenant.state.to_string(),
            created_at: time(tenant.created_at),
            ready_at: tenant.ready_at.map(time),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantIn {
    /// 1 to 64 of a-z, 0-9 and inner hyphens. Unique: the same again is the same tenant.
    #[schema(example = "northgate")]
    slug: String,
    #[schema(example = "Northgate Builders")]
    name: String,
    /// Where it is, as ISO 3166-1 code; decides the region.
    country: Option<String>,
    /// Its plan; the catalogue's default if left out.
    plan: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TenantPatch {
    /// `active`, `suspended`, `closing` or `closed`. The last two can't be taken back.
    #[schema(example = "suspended")]
    state: Option<String>,
    /// Another plan, from the next request on.
    #[schema(example = "professional")]
    plan: Option<String>,
}

pub(super) fn tenant_id(text: &str) -> ApiResult<TenantId> {
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

/// Make a customer a tenant: with region, plan, first key and a notebook to begin with. Repeating it is safe:
/// it goes on where it was broken off and answers 200 when the tenant is there, 409 when that one differs.
#[utoipa::path(post, path = "/v1/tenants", tag = "tenants", security(("admin_key" = [])), request_body = TenantIn,
    responses((status = 200, body = OnboardedOut), (status = 201, body = OnboardedOut), (status = 400, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn create(
    _: Admin,
    State(app): State<App>,
    Body(new): Body<TenantIn>,
) -> ApiResult<Response> {
    let newcomer = Newcomer {
        slug: new.slug,
        name: Some(new.name),
        country: new.country,
        plan: new.plan,
    };
    let onboarded = app.ingest.onboard(&newcomer).await?;
    let status = match onboarded.is_new {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let out = OnboardedOut {
        tenant: TenantOut::of(onboarded.tenant),
        secret: onboarded.key.map(|(_, text)| text.expose().to_owned()),
    };
    Ok((status, Json(out)).into_response())
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

/// Move a tenant to another state or plan. Anything but active refuses its calls, ends its streams and holds
/// back its tasks; nothing is deleted.
#[utoipa::path(patch, path = "/v1/tenants/{tenant}", tag = "tenants", security(("admin_key" = [])),
    params(("tenant" = String, Path)), request_body = TenantPatch,
    responses((status = 200, body = TenantOut), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn update(
    _: Admin,
    State(app): State<App>,
    Path(id): Path<String>,
    Body(patch): Body<TenantPatch>,
) -> ApiResult<Json<TenantOut>> {
    let state = patch.state.as_deref().map(state).transpose()?;
    if state.is_none() && patch.plan.is_none() {
        return Err(ApiError::invalid("name a state or a plan"));
    }
    let mut tx = app.store.system().await?;
    let mut tenant = tenants::get(&mut tx, tenant_id(&id)?).await?;
    if let Some(plan) = &patch.plan {
        tenant = plans::set_plan(&mut tx, tenant.id, plan).await?;
    }
    if let Some(state) = state {
        tenant = lifecycle::set_state(&mut tx, tenant.id, state).await?;
    }
    tx.commit().await?;
    app.control.forget(tenant.id);
    Ok(Json(TenantOut::of(tenant)))
}

fn state(text: &str) -> ApiResult<TenantState> {
    text.parse()
        .map_err(|_| ApiError::invalid("state must be active, suspended, closing or closed"))
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
    let groups = new.groups()?;
    let mut tx = app.store.system().await?;
    let tenant = tenants::get(&mut tx, tenant_id(&id)?).await?;
    check_notebook(&app, tenant.placement(), notebook).await?;
    let (key, text) = rows::create(
        &mut tx,
        tenant.id,
        role,
        notebook,
        groups.as_ref(),
        &new.name,
    )
    .await?;
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
    let tenant = tenant_id(&id)?;
    let mut tx = app.store.system().await?;
    let key = rows::revoke(&mut tx, tenant, key).await?;
    tx.commit().await?;
    app.control.forget(tenant);
    Ok(Json(KeyOut::of(key)))
}
