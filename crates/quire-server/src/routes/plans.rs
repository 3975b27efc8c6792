//! What is sold to whom and where: plans and prices, features and regions. For the operator.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_store::SystemTx;
use quire_tenancy::catalogue::{Catalogue, Isolation, Plan, PlanId, QuestionType, Refresh};
use quire_tenancy::placement::{self, Region};
use quire_tenancy::plans as rows;
use quire_tenancy::terms::Terms;

use super::limits::LimitOut;
use crate::body::{Body, ListOut};
use crate::caller::Admin;
use crate::problem::{ApiResult, Problem};
use crate::state::App;

/// What a tenant gets for its money.
#[derive(Serialize, ToSchema)]
pub(super) struct PlanOut {
    #[schema(value_type = String, example = "professional")]
    id: PlanId,
    name: String,
    /// Whether a tenant that names no plan gets this one.
    is_default: bool,
    /// A month's price.
    #[schema(example = "$199.00")]
    price: String,
    /// The share against other tenants.
    weight: u16,
    /// `shared` or `dedicated`.
    #[schema(value_type = String, example = "shared")]
    isolation: Isolation,
    /// Seats that serve nobody else.
    dedicated_seats: u32,
    /// How often insights are made anew: `hourly`, `daily` or `weekly`.
    #[schema(value_type = String, example = "daily")]
    refresh: Refresh,
    /// What may be asked.
    #[schema(value_type = Vec<String>)]
    question_types: Vec<QuestionType>,
    /// What passages are turned into vectors with.
    embedding_model: String,
    embedding_dimensions: u32,
    /// What a new tenant's notebook begins with.
    templates: Vec<String>,
    limits: Vec<LimitOut>,
}

impl PlanOut {
    fn of(plan: Plan, default: &PlanId) -> Self {
        let terms = Terms::of_plan(Arc::new(plan));
        let limits = LimitOut::all(&terms);
        let plan = Arc::unwrap_or_clone(terms.plan);
        Self {
            is_default: plan.id == *default,
            id: plan.id,
            name: plan.name,
            price: plan.price.to_string(),
            weight: plan.weight,
            isolation: plan.isolation,
            dedicated_seats: plan.dedicated_seats,
            refresh: plan.refresh,
            question_types: plan.question_types,
            embedding_model: plan.embedding.model,
            embedding_dimensions: plan.embedding.dimensions,
            templates: plan.templates,
            limits,
        }
    }
}

/// Plans and prices as one TOML document.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CatalogueDocument {
    document: String,
}

/// A feature and for how many tenants it is on.
#[derive(Serialize, ToSchema)]
pub(super) struct FeatureOut {
    #[schema(example = "insights")]
    feature: String,
    /// Percent of all tenants.
    percent: i16,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FeatureIn {
    /// 0 to 100. Raising it turns the feature off for nobody.
    #[schema(example = 10)]
    percent: u8,
}

/// A legal area.
#[derive(Serialize, ToSchema)]
pub(super) struct RegionOut {
    #[schema(example = "eu")]
    id: String,
    name: String,
    /// ISO 3166-1 codes of the countries it takes; `*` is every country that no other region names.
    countries: Vec<String>,
}

impl RegionOut {
    fn of(region: Region) -> Self {
        Self {
            id: region.id,
            name: region.name,
            countries: region.countries,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegionIn {
    #[schema(example = "European Union")]
    name: String,
    /// ISO 3166-1 codes, or `*`.
    #[schema(example = json!(["DE", "FR"]))]
    countries: Vec<String>,
}

/// List plans.
#[utoipa::path(get, path = "/v1/plans", tag = "plans", security(("admin_key" = [])),
    responses((status = 200, body = ListOut<PlanOut>), (status = 403, body = Problem)))]
pub(super) async fn list(_: Admin, State(app): State<App>) -> ApiResult<Json<ListOut<PlanOut>>> {
    let mut tx = app.store.system().await?;
    let document = rows::document(&mut tx).await?;
    tx.commit().await?;
    let Catalogue { default, plans, .. } = Catalogue::parse(&document)?;
    let plans = plans.into_values();
    Ok(Json(ListOut {
        items: plans.map(|plan| PlanOut::of(plan, &default)).collect(),
        next_cursor: None,
    }))
}

/// The catalogue of plans and prices, as it was applied.
#[utoipa::path(get, path = "/v1/catalogue", tag = "plans", security(("admin_key" = [])),
    responses((status = 200, body = CatalogueDocument), (status = 403, body = Problem)))]
pub(super) async fn catalogue(
    _: Admin,
    State(app): State<App>,
) -> ApiResult<Json<CatalogueDocument>> {
    let mut tx = app.store.system().await?;
    let document = rows::document(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(CatalogueDocument { document }))
}

/// Apply a catalogue: all of it, or nothing when something is wrong with it.
#[utoipa::path(put, path = "/v1/catalogue", tag = "plans", security(("admin_key" = [])), request_body = CatalogueDocument,
    responses((status = 200, body = CatalogueDocument), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn apply(
    _: Admin,
    State(app): State<App>,
    Body(catalogue): Body<CatalogueDocument>,
) -> ApiResult<Json<CatalogueDocument>> {
    let mut tx = app.store.system().await?;
    rows::apply(&mut tx, &catalogue.document).await?;
    tx.commit().await?;
    Ok(Json(catalogue))
}

/// List features.
#[utoipa::path(get, path = "/v1/features", tag = "plans", security(("admin_key" = [])),
    responses((status = 200, body = ListOut<FeatureOut>), (status = 403, body = Problem)))]
pub(super) async fn features(
    _: Admin,
    State(app): State<App>,
) -> ApiResult<Json<ListOut<FeatureOut>>> {
    let mut tx = app.store.system().await?;
    let items = all_features(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(ListOut {
        items,
        next_cursor: None,
    }))
}

async fn all_features(tx: &mut SystemTx) -> ApiResult<Vec<FeatureOut>> {
    let features = rows::features(tx).await?.into_iter();
    Ok(features
        .map(|(feature, percent)| FeatureOut { feature, percent })
        .collect())
}

/// Turn a feature on for so many percent of all tenants; a new name is a new feature.
#[utoipa::path(put, path = "/v1/features/{feature}", tag = "plans", security(("admin_key" = [])),
    params(("feature" = String, Path)), request_body = FeatureIn,
    responses((status = 200, body = FeatureOut), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn set_feature(
    _: Admin,
    State(app): State<App>,
    Path(feature): Path<String>,
    Body(wanted): Body<FeatureIn>,
) -> ApiResult<Json<FeatureOut>> {
    let mut tx = app.store.system().await?;
    rows::set_feature(&mut tx, &feature, wanted.percent).await?;
    tx.commit().await?;
    Ok(Json(FeatureOut {
        feature,
        percent: i16::from(wanted.percent),
    }))
}

/// List regions.
#[utoipa::path(get, path = "/v1/regions", tag = "plans", security(("admin_key" = [])),
    responses((status = 200, body = ListOut<RegionOut>), (status = 403, body = Problem)))]
pub(super) async fn regions(
    _: Admin,
    State(app): State<App>,
) -> ApiResult<Json<ListOut<RegionOut>>> {
    let mut tx = app.store.system().await?;
    let regions = placement::regions(&mut tx).await?;
    tx.commit().await?;
    Ok(Json(ListOut {
        items: regions.into_iter().map(RegionOut::of).collect(),
        next_cursor: None,
    }))
}

/// Say which countries a region takes; a new id is a new region.
#[utoipa::path(put, path = "/v1/regions/{region}", tag = "plans", security(("admin_key" = [])),
    params(("region" = String, Path)), request_body = RegionIn,
    responses((status = 200, body = RegionOut), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn set_region(
    _: Admin,
    State(app): State<App>,
    Path(region): Path<String>,
    Body(wanted): Body<RegionIn>,
) -> ApiResult<Json<RegionOut>> {
    let mut tx = app.store.system().await?;
    let region = placement::set_region(&mut tx, &region, &wanted.name, &wanted.countries).await?;
    tx.commit().await?;
    Ok(Json(RegionOut::of(region)))
}
