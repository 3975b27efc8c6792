//! What is called: pools with their keys, and the registry of models. For the operator. A key goes in and
//! never comes out.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_models::Quota;
use quire_models::registry::{Capability, Model};
use quire_tenancy::models as registry;
use quire_tenancy::pools::{self as rows, NewPool, PoolRow};
use quire_types::Secret;

use super::tenants::tenant_id;
use crate::body::{Body, ListOut, time};
use crate::caller::Admin;
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// What a provider allows a pool, for each model. What is left out is unlimited.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct QuotaBody {
    #[schema(example = 600)]
    requests_per_minute: Option<u64>,
    #[schema(example = 400000)]
    input_tokens_per_minute: Option<u64>,
    output_tokens_per_minute: Option<u64>,
    requests_per_day: Option<u64>,
    tokens_per_day: Option<u64>,
}

impl From<QuotaBody> for Quota {
    fn from(body: QuotaBody) -> Self {
        Self {
            requests_per_minute: body.requests_per_minute,
            input_tokens_per_minute: body.input_tokens_per_minute,
            output_tokens_per_minute: body.output_tokens_per_minute,
            requests_per_day: body.requests_per_day,
            tokens_per_day: body.tokens_per_day,
        }
    }
}

impl From<Quota> for QuotaBody {
    fn from(quota: Quota) -> Self {
        Self {
            requests_per_minute: quota.requests_per_minute,
            input_tokens_per_minute: quota.input_tokens_per_minute,
            output_tokens_per_minute: quota.output_tokens_per_minute,
            requests_per_day: quota.requests_per_day,
            tokens_per_day: quota.tokens_per_day,
        }
    }
}

/// An AI project: a key at a provider, in a region, with a quota.
#[derive(Serialize, ToSchema)]
pub(super) struct PoolOut {
    #[schema(example = "eu-1")]
    id: String,
    region: String,
    /// None for a pool that only places tenants.
    provider: Option<String>,
    /// Where it is, unless where its provider is.
    base_url: Option<String>,
    /// The models it has; all of its provider when this is empty.
    models: Vec<String>,
    quota: QuotaBody,
    /// `active`, `full` (for the tenants that are in it) or `maintenance` (for nobody).
    #[schema(example = "active")]
    status: String,
    /// The one tenant it is for.
    reserved_for: Option<String>,
    has_key: bool,
    /// Tenants that are in it.
    tenants: i64,
    changed_at: String,
}

impl PoolOut {
    fn of(pool: PoolRow) -> Self {
        Self {
            quota: pool.quota().into(),
            status: pool.state().as_str().to_owned(),
            reserved_for: pool.reserved_for().map(|tenant| tenant.to_string()),
            id: pool.id,
            region: pool.region,
            provider: pool.provider,
            base_url: pool.base_url,
            models: pool.models,
            has_key: pool.has_key,
            tenants: pool.tenants,
            changed_at: time(pool.changed_at),
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolIn {
    /// 1 to 32 of a-z, 0-9 and '-'.
    #[schema(example = "eu-1")]
    id: String,
    region: String,
    /// Whose it is, by its name in the registry.
    #[schema(example = "openai")]
    provider: String,
    base_url: Option<String>,
    /// What shows who is calling. Kept sealed, and never shown again.
    #[schema(value_type = Option<String>, format = "password")]
    key: Option<Secret>,
    #[serde(default)]
    models: Vec<String>,
    #[serde(default)]
    quota: QuotaBody,
    /// The one tenant it is to be for.
    reserved_for: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PoolPatch {
    /// `active`, `full` or `maintenance`.
    status: Option<String>,
    quota: Option<QuotaBody>,
    /// Replaces the key from the next call on.
    #[schema(value_type = Option<String>, format = "password")]
    key: Option<Secret>,
}

/// A model as the registry has it today.
#[derive(Serialize, ToSchema)]
pub(super) struct ModelOut {
    #[schema(example = "gpt-4o-mini")]
    name: String,
    provider: String,
    /// `chat`, `embed`, `rerank`, `score`, `transcribe`, `speak`, `read`.
    #[schema(value_type = Vec<String>)]
    does: Vec<Capability>,
    context_tokens: Option<u64>,
    output_tokens: Option<u64>,
    /// The day from which it is gone.
    ends: Option<String>,
    /// How many days that is away, when it is 90 or fewer.
    days_left: Option<i64>,
    /// Of a million tokens.
    #[schema(example = "$0.15")]
    input_price: Option<String>,
    output_price: Option<String>,
}

impl ModelOut {
    fn of(model: &Model) -> Self {
        let now = chrono::Utc::now();
        let price = model.price(now).ok();
        Self {
            name: model.name.clone(),
            provider: model.provider.clone(),
            does: model.does.clone(),
            context_tokens: model.context_tokens,
            output_tokens: model.output_tokens,
            ends: model.ends.map(|ends| ends.date_naive().to_string()),
            days_left: model.days_left(now),
            input_price: price.map(|price| price.input.to_string()),
            output_price: price.map(|price| price.output.to_string()),
        }
    }
}

/// What was applied beside the shipped registry, as one TOML document.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegistryDocument {
    document: String,
}

/// List pools.
#[utoipa::path(get, path = "/v1/pools", tag = "models", security(("admin_key" = [])),
    responses((status = 200, body = ListOut<PoolOut>), (status = 403, body = Problem)))]
pub(super) async fn list(_: Admin, State(app): State<App>) -> ApiResult<Json<ListOut<PoolOut>>> {
    let mut tx = app.store.system().await?;
    let pools = rows::list(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(ListOut {
        items: pools.into_iter().map(PoolOut::of).collect(),
        next_cursor: None,
    }))
}

/// Add a pool, or give a provider to one that only placed tenants so far.
#[utoipa::path(post, path = "/v1/pools", tag = "models", security(("admin_key" = [])), request_body = PoolIn,
    responses((status = 201, body = PoolOut), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn add(
    _: Admin,
    State(app): State<App>,
    Body(new): Body<PoolIn>,
) -> ApiResult<(StatusCode, Json<PoolOut>)> {
    let reserved_for = new.reserved_for.as_deref().map(tenant_id).transpose()?;
    let new = NewPool {
        id: new.id,
        region: new.region,
        provider: new.provider,
        base_url: new.base_url,
        key: new.key,
        models: new.models,
        quota: new.quota.into(),
        reserved_for,
    };
    let mut tx = app.store.system().await?;
    let pool = rows::add(&mut tx, &app.keyring, new).await?;
    tx.commit().await?;
    Ok((StatusCode::CREATED, Json(PoolOut::of(pool))))
}

/// Get a pool.
#[utoipa::path(get, path = "/v1/pools/{pool}", tag = "models", security(("admin_key" = [])),
    params(("pool" = String, Path)),
    responses((status = 200, body = PoolOut), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn get(
    _: Admin,
    State(app): State<App>,
    Path(pool): Path<String>,
) -> ApiResult<Json<PoolOut>> {
    let mut tx = app.store.system().await?;
    let pool = rows::get(&mut tx, &pool).await?;
    tx.commit().await?;
    Ok(Json(PoolOut::of(pool)))
}

/// Change for whom a pool works, its quota or its key. Calls that run go on with what they began with.
#[utoipa::path(patch, path = "/v1/pools/{pool}", tag = "models", security(("admin_key" = [])),
    params(("pool" = String, Path)), request_body = PoolPatch,
    responses((status = 200, body = PoolOut), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn update(
    _: Admin,
    State(app): State<App>,
    Path(pool): Path<String>,
    Body(patch): Body<PoolPatch>,
) -> ApiResult<Json<PoolOut>> {
    if patch.status.is_none() && patch.quota.is_none() && patch.key.is_none() {
        return Err(ApiError::invalid("name a status, a quota or a key"));
    }
    let mut tx = app.store.system().await?;
    let mut changed = rows::get(&mut tx, &pool).await?;
    if let Some(status) = patch.status {
        changed = rows::set_state(&mut tx, &pool, status.parse()?).await?;
    }
    if let Some(quota) = patch.quota {
        changed = rows::set_quota(&mut tx, &pool, quota.into()).await?;
    }
    if let Some(key) = patch.key {
        changed = rows::rotate(&mut tx, &app.keyring, &pool, &key).await?;
    }
    tx.commit().await?;
    Ok(Json(PoolOut::of(changed)))
}

/// Remove a pool that no tenant is in.
#[utoipa::path(delete, path = "/v1/pools/{pool}", tag = "models", security(("admin_key" = [])),
    params(("pool" = String, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn remove(
    _: Admin,
    State(app): State<App>,
    Path(pool): Path<String>,
) -> ApiResult<StatusCode> {
    let mut tx = app.store.system().await?;
    rows::remove(&mut tx, &pool).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the models of the registry with today's prices.
#[utoipa::path(get, path = "/v1/registry/models", tag = "models", security(("admin_key" = [])),
    responses((status = 200, body = ListOut<ModelOut>), (status = 403, body = Problem)))]
pub(super) async fn models(_: Admin, State(app): State<App>) -> ApiResult<Json<ListOut<ModelOut>>> {
    let mut tx = app.store.system().await?;
    let registry = registry::registry(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(ListOut {
        items: registry.models().map(|model| ModelOut::of(model)).collect(),
        next_cursor: None,
    }))
}

/// What was applied beside the shipped registry.
#[utoipa::path(get, path = "/v1/registry", tag = "models", security(("admin_key" = [])),
    responses((status = 200, body = RegistryDocument), (status = 403, body = Problem)))]
pub(super) async fn document(
    _: Admin,
    State(app): State<App>,
) -> ApiResult<Json<RegistryDocument>> {
    let mut tx = app.store.system().await?;
    let document = registry::document(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(RegistryDocument {
        document: document.unwrap_or_default(),
    }))
}

/// Add models and providers to the shipped registry, in place of what was applied before: all of it, or nothing
/// when something is wrong with it.
#[utoipa::path(put, path = "/v1/registry", tag = "models", security(("admin_key" = [])), request_body = RegistryDocument,
    responses((status = 200, body = RegistryDocument), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn apply(
    _: Admin,
    State(app): State<App>,
    Body(wanted): Body<RegistryDocument>,
) -> ApiResult<Json<RegistryDocument>> {
    let mut tx = app.store.system().await?;
    registry::apply(&mut tx, &wanted.document).await?;
    tx.commit().await?;
    Ok(Json(wanted))
}
