//! What one tenant may use: its limits, and the features that are switched for it alone. For the operator.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_store::{SystemTx, tenants};
use quire_tenancy::terms::Terms;
use quire_tenancy::{LimitName, plans};
use quire_types::{ErrorKind, TenantId};

use super::tenants::tenant_id;
use crate::body::{Body, ListOut};
use crate::caller::Admin;
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// A limit that counts.
#[derive(Serialize, ToSchema)]
pub(super) struct LimitOut {
    #[schema(example = "requests_per_minute")]
    name: String,
    /// How much, in the unit; 0 is off, absent is unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    most: Option<u64>,
    /// The same as people write it and as a change takes it.
    #[schema(example = "30")]
    value: String,
    #[schema(example = "requests per minute")]
    unit: String,
    description: String,
    /// Where it comes from: `override`, `plan` or `default`.
    source: String,
}

impl LimitOut {
    fn of(terms: &Terms, name: LimitName) -> Self {
        let limit = terms.limit(name);
        Self {
            name: name.to_string(),
            most: limit.most(),
            value: name.show(limit),
            unit: name.unit().as_str().to_owned(),
            description: name.describe().to_owned(),
            source: terms.source_of(name).as_str().to_owned(),
        }
    }

    pub(super) fn all(terms: &Terms) -> Vec<Self> {
        let names = LimitName::ALL.iter();
        names.map(|name| Self::of(terms, *name)).collect()
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitIn {
    /// A number, `$20`, `100 GB` or `unlimited`, by the unit of the limit; 0 turns the thing off.
    #[schema(example = "30")]
    value: String,
}

/// A feature as it is for one tenant.
#[derive(Serialize, ToSchema)]
pub(super) struct SwitchOut {
    #[schema(example = "insights")]
    feature: String,
    on: bool,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SwitchIn {
    #[schema(example = true)]
    on: bool,
}

/// List a tenant's limits.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/limits", tag = "plans", security(("admin_key" = [])),
    params(("tenant" = String, Path)),
    responses((status = 200, body = ListOut<LimitOut>), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn list(
    _: Admin,
    State(app): State<App>,
    Path(tenant): Path<String>,
) -> ApiResult<Json<ListOut<LimitOut>>> {
    let account = app.control.account(tenant_id(&tenant)?).await?;
    Ok(Json(ListOut {
        items: LimitOut::all(&account.terms),
        next_cursor: None,
    }))
}

/// Agree on a limit with a tenant, whatever its plan says. It counts from the next request on.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/limits/{name}", tag = "plans", security(("admin_key" = [])),
    params(("tenant" = String, Path), ("name" = String, Path)), request_body = LimitIn,
    responses((status = 200, body = LimitOut), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn set(
    _: Admin,
    State(app): State<App>,
    Path((tenant, name)): Path<(String, String)>,
    Body(limit): Body<LimitIn>,
) -> ApiResult<Json<LimitOut>> {
    change(&app, &tenant, &name, Some(&limit.value)).await
}

/// Go back to the limit of the tenant's plan.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/limits/{name}", tag = "plans", security(("admin_key" = [])),
    params(("tenant" = String, Path), ("name" = String, Path)),
    responses((status = 200, body = LimitOut), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn unset(
    _: Admin,
    State(app): State<App>,
    Path((tenant, name)): Path<(String, String)>,
) -> ApiResult<Json<LimitOut>> {
    change(&app, &tenant, &name, None).await
}

async fn change(
    app: &App,
    tenant: &str,
    name: &str,
    value: Option<&str>,
) -> ApiResult<Json<LimitOut>> {
    let name: LimitName = name.parse()?;
    let mut tx = app.store.system().await?;
    let tenant = tenants::get(&mut tx, tenant_id(tenant)?).await?;
    plans::set_override(&mut tx, tenant.id, name, value).await?;
    tx.commit().await?;
    app.control.forget(tenant.id);
    let account = app.control.account(tenant.id).await?;
    Ok(Json(LimitOut::of(&account.terms, name)))
}

/// Turn a feature on or off for one tenant, whatever its percentage.
#[utoipa::path(put, path = "/v1/tenants/{tenant}/features/{feature}", tag = "plans", security(("admin_key" = [])),
    params(("tenant" = String, Path), ("feature" = String, Path)), request_body = SwitchIn,
    responses((status = 200, body = SwitchOut), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn switch(
    _: Admin,
    State(app): State<App>,
    Path((tenant, feature)): Path<(String, String)>,
    Body(wanted): Body<SwitchIn>,
) -> ApiResult<Json<SwitchOut>> {
    change_switch(&app, tenant_id(&tenant)?, feature, Some(wanted.on)).await
}

/// Let the percentage decide again.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/features/{feature}", tag = "plans", security(("admin_key" = [])),
    params(("tenant" = String, Path), ("feature" = String, Path)),
    responses((status = 200, body = SwitchOut), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn unswitch(
    _: Admin,
    State(app): State<App>,
    Path((tenant, feature)): Path<(String, String)>,
) -> ApiResult<Json<SwitchOut>> {
    change_switch(&app, tenant_id(&tenant)?, feature, None).await
}

async fn change_switch(
    app: &App,
    tenant: TenantId,
    feature: String,
    on: Option<bool>,
) -> ApiResult<Json<SwitchOut>> {
    let mut tx = app.store.system().await?;
    tenants::get(&mut tx, tenant).await?;
    must_exist(&mut tx, &feature).await?;
    plans::set_switch(&mut tx, tenant, &feature, on).await?;
    tx.commit().await?;
    app.control.forget(tenant);
    let account = app.control.account(tenant).await?;
    let on = app.control.feature(&account, &feature).await?;
    Ok(Json(SwitchOut { feature, on }))
}

/// A switch for a misspelt name would do nothing and say nothing.
async fn must_exist(tx: &mut SystemTx, feature: &str) -> ApiResult<()> {
    let known = plans::features(tx).await?;
    match known.iter().any(|(name, _)| name == feature) {
        true => Ok(()),
        false => Err(ApiError::new(
            ErrorKind::NotFound,
            "feature not found: give it a percentage first, which may be 0",
        )),
    }
}
