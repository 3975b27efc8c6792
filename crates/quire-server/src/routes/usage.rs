//! What was used: a tenant's own view, and the operator's over all tenants.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use chrono::{Days, NaiveDate, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use quire_store::tenants;
use quire_tenancy::budgets::{self, BudgetRow, Period};
use quire_tenancy::invoice::{self, Drift, Invoice};
use quire_tenancy::notices::{self, NoticeRow};
use quire_tenancy::sums::{self, ModelSum, Sum};
use quire_tenancy::usage::{self as events, EventCursor};
use quire_tenancy::{LimitName, plans};
use quire_types::{NanoUsd, NotebookId, TenantId};

use super::limits::LimitOut;
use super::tenants::tenant_id;
use crate::body::{Body, ListOut, Params, time};
use crate::caller::{Admin, Reader};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// What to pass as `cursor` for the next page of events.
const NEXT_CURSOR: HeaderName = HeaderName::from_static("quire-next-cursor");
const MOST_ROWS: i64 = 1_000;

/// What a tenant may use and did use.
#[derive(Serialize, ToSchema)]
pub(super) struct UsedOut {
    #[schema(example = "professional")]
    plan: String,
    limits: Vec<LimitOut>,
    /// Budgets that something was spent from in their running period.
    budgets: Vec<BudgetOut>,
    /// Absent as long as nothing was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    today: Option<SumOut>,
    /// Absent as long as nothing was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    this_month: Option<SumOut>,
    /// Features that are on.
    features: Vec<String>,
}

/// A budget whose period is running.
#[derive(Serialize, ToSchema)]
pub(super) struct BudgetOut {
    /// What is counted, for whom and how long: of the tenant, of `user:<name>` or of `notebook:<id>`.
    #[schema(example = "cost/tenant/day")]
    scope: String,
    /// The limit behind it.
    #[schema(example = "cost_per_day")]
    limit: String,
    /// How much may be spent; absent is unlimited. Nano-dollars, questions, or seconds of audio.
    #[serde(skip_serializing_if = "Option::is_none")]
    most: Option<u64>,
    spent: i64,
    /// Reserved for requests that run.
    held: i64,
    /// The day on which the next period begins, at midnight UTC.
    resets_on: NaiveDate,
}

/// What was used in a day or a month.
#[derive(Serialize, ToSchema)]
pub(super) struct SumOut {
    tenant: String,
    /// `day` or `month`.
    period: String,
    starts_on: NaiveDate,
    /// Questions that were answered.
    questions: i64,
    /// Searches without an answer.
    searches: i64,
    /// Sources that were read.
    sources: i64,
    input_tokens: i64,
    cached_tokens: i64,
    output_tokens: i64,
    reasoning_tokens: i64,
    pages: i64,
    images: i64,
    audio_ms: i64,
    characters: i64,
    stored_bytes: i64,
    /// What models cost.
    cost_nanousd: i64,
    #[schema(example = "$1.50")]
    cost: String,
    models: BTreeMap<String, ModelUsageOut>,
}

/// What one model did.
#[derive(Serialize, ToSchema)]
pub(super) struct ModelUsageOut {
    calls: i64,
    cost_nanousd: i64,
}

impl SumOut {
    fn of(sum: Sum) -> Self {
        let of = sum.quantities;
        let model = |(name, ModelSum { calls, cost })| {
            let cost_nanousd = cost;
            (
                name,
                ModelUsageOut {
                    calls,
                    cost_nanousd,
                },
            )
        };
        Self {
            tenant: TenantId::from(sum.tenant_id).to_string(),
            period: sum.period,
            starts_on: sum.starts_on,
            questions: sum.questions,
            searches: sum.searches,
            sources: sum.sources,
            input_tokens: of.input_tokens,
            cached_tokens: of.cached_tokens,
            output_tokens: of.output_tokens,
            reasoning_tokens: of.reasoning_tokens,
            pages: of.pages,
            images: of.images,
            audio_ms: of.audio_ms,
            characters: of.characters,
            stored_bytes: of.stored_bytes,
            cost_nanousd: sum.cost,
            cost: NanoUsd::from_nanos(sum.cost).to_string(),
            models: sum.models.0.into_iter().map(model).collect(),
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SumsIn {
    /// The first day [default: the first of this month].
    from: Option<NaiveDate>,
    /// The day after the last [default: tomorrow].
    until: Option<NaiveDate>,
    /// `day` or `month` [default: day].
    period: Option<String>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TopIn {
    /// `day` or `month` [default: month].
    period: Option<String>,
    /// A day in it [default: today].
    day: Option<NaiveDate>,
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 20)]
    limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventsIn {
    /// The first day [default: the first of this month].
    from: Option<NaiveDate>,
    /// The day after the last [default: tomorrow].
    until: Option<NaiveDate>,
    /// `cloudevents` (one JSON document a line) or `csv` [default: cloudevents].
    format: Option<String>,
    /// The header `Quire-Next-Cursor` of the page before.
    cursor: Option<String>,
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 1000)]
    limit: Option<i64>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct NoticesIn {
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<i64>,
}

/// Something to look at.
#[derive(Serialize, ToSchema)]
pub(super) struct NoticeOut {
    tenant: String,
    /// `cost-spike` (level: percent of the usual hour), `noisy-neighbour` (level: percent of the work) or
    /// `throttled`.
    kind: String,
    /// The hour it is about.
    hour: String,
    level: i32,
    at: String,
    detail: serde_json::Value,
}

impl NoticeOut {
    fn of(notice: NoticeRow) -> Self {
        Self {
            tenant: TenantId::from(notice.tenant_id).to_string(),
            kind: notice.kind,
            hour: time(notice.hour),
            level: notice.level,
            at: time(notice.at),
            detail: notice.detail,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReconcileIn {
    /// The provider, as usage events name it.
    #[schema(example = "openai")]
    provider: String,
    /// CSV with the columns `day`, `model` and `cost_usd`; further ones are ignored.
    #[schema(example = "day,model,cost_usd\n2026-11-01,gpt-4o-mini,0.12\n")]
    invoice: String,
    /// Differences up to this many percent are none.
    #[serde(default = "one")]
    #[schema(default = 1)]
    tolerance_percent: u32,
}

const fn one() -> u32 {
    1
}

/// An invoice beside quire's own count.
#[derive(Serialize, ToSchema)]
pub(super) struct ReconcileOut {
    /// The first day that the invoice covers.
    from: NaiveDate,
    /// The day after the last.
    until: NaiveDate,
    /// Where both differ; none is good.
    drifts: Vec<DriftOut>,
}

/// Where an invoice and quire's own count differ.
#[derive(Serialize, ToSchema)]
pub(super) struct DriftOut {
    day: NaiveDate,
    model: String,
    invoiced: String,
    counted: String,
    /// Invoiced beyond what was counted.
    difference_nanousd: i64,
}

impl DriftOut {
    fn of(drift: Drift) -> Self {
        Self {
            difference_nanousd: drift.difference(),
            day: drift.day,
            model: drift.model,
            invoiced: drift.invoiced.to_string(),
            counted: drift.counted.to_string(),
        }
    }
}

fn limit(wanted: Option<i64>, usual: i64) -> ApiResult<i64> {
    match wanted.unwrap_or(usual) {
        limit @ 1..=MOST_ROWS => Ok(limit),
        _ => Err(ApiError::invalid(format!(
            "limit must be between 1 and {MOST_ROWS}"
        ))),
    }
}

fn period(text: Option<&str>, usual: Period) -> ApiResult<Period> {
    match text {
        None => Ok(usual),
        Some("day") => Ok(Period::Day),
        Some("month") => Ok(Period::Month),
        Some(_) => Err(ApiError::invalid("period must be day or month")),
    }
}

fn today() -> NaiveDate {
    Utc::now().date_naive()
}

/// Days `from` until before `until`: this month so far, unless said otherwise.
fn days(from: Option<NaiveDate>, until: Option<NaiveDate>) -> ApiResult<(NaiveDate, NaiveDate)> {
    let today = today();
    let from = from.unwrap_or_else(|| Period::Month.start(today));
    let until = until.unwrap_or_else(|| today + Days::new(1));
    if from >= until {
        return Err(ApiError::invalid(
            "from must be a day before until, which is the day after the last one",
        ));
    }
    Ok((from, until))
}

/// What the tenant may use, what it used of it, and which features are on.
#[utoipa::path(get, path = "/v1/usage", tag = "usage", security(("tenant_key" = [])),
    responses((status = 200, body = UsedOut), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn own(caller: Reader, State(app): State<App>) -> ApiResult<Json<UsedOut>> {
    let account = &caller.caller.account;
    let (tenant, today) = (account.tenant.id, today());
    sums::sum(&app.store, Some(tenant)).await?;
    let mut tx = app.store.system().await?;
    let budgets = budgets::of_tenant(&mut tx, tenant, today).await?;
    let mut latest = async |period: Period| {
        let days = (period.start(today), period.next(today));
        let sums = sums::of_tenant(&mut tx, tenant, period, days).await?;
        Ok::<_, ApiError>(sums.into_iter().next().map(SumOut::of))
    };
    let (day, month) = (latest(Period::Day).await?, latest(Period::Month).await?);
    let named = plans::features(&mut tx).await?;
    tx.commit().await?;
    let mut features = Vec::new();
    for (feature, _) in named {
        if app.control.feature(account, &feature).await? {
            features.push(feature);
        }
    }
    let budgets = budgets.iter().filter_map(|row| BudgetOut::of(row, &caller));
    Ok(Json(UsedOut {
        plan: account.tenant.plan.clone(),
        limits: LimitOut::all(&account.terms),
        budgets: budgets.collect(),
        today: day,
        this_month: month,
        features,
    }))
}

impl BudgetOut {
    /// A budget, if the caller reaches what it is about.
    fn of(row: &BudgetRow, caller: &Reader) -> Option<Self> {
        // `cost/user:<name>/day`; the name may hold a slash.
        let (counted, rest) = row.scope.split_once('/')?;
        let (owner, period) = rest.rsplit_once('/')?;
        let period = match period {
            "day" => Period::Day,
            _ => Period::Month,
        };
        let (kind, name) = owner.split_once(':').unwrap_or((owner, ""));
        let mut scope = row.scope.clone();
        let is_reached = match kind {
            "user" => caller.only_notebook().is_none() && caller.groups().is_none(),
            "notebook" => {
                let notebook = NotebookId::from(Uuid::try_parse(name).ok()?);
                scope = row.scope.replace(name, &notebook.to_string());
                caller.reaches(notebook)
            }
            _ => true,
        };
        let limit = match (counted, kind, period) {
            ("questions", ..) => LimitName::QuestionsPerMonth,
            ("audio", ..) => LimitName::TranscribedMinutesPerMonth,
            (_, "user", Period::Day) => LimitName::UserCostPerDay,
            (_, "user", Period::Month) => LimitName::UserCostPerMonth,
            (_, "notebook", Period::Day) => LimitName::NotebookCostPerDay,
            (_, "notebook", Period::Month) => LimitName::NotebookCostPerMonth,
            (_, _, Period::Day) => LimitName::CostPerDay,
            (_, _, Period::Month) => LimitName::CostPerMonth,
        };
        let most = caller.caller.account.terms.limit(limit).most();
        let units = if counted == "audio" { 60 } else { 1 };
        is_reached.then(|| Self {
            scope,
            limit: limit.to_string(),
            most: most.map(|most| most.saturating_mul(units)),
            spent: row.spent,
            held: row.held,
            resets_on: period.next(row.starts_on),
        })
    }
}

/// What a tenant used, newest first.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/usage", tag = "usage", security(("admin_key" = [])),
    params(("tenant" = String, Path), SumsIn),
    responses((status = 200, body = ListOut<SumOut>), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn of_tenant(
    _: Admin,
    State(app): State<App>,
    Path(tenant): Path<String>,
    Params(wanted): Params<SumsIn>,
) -> ApiResult<Json<ListOut<SumOut>>> {
    let tenant = tenant_id(&tenant)?;
    let period = period(wanted.period.as_deref(), Period::Day)?;
    let (from, until) = days(wanted.from, wanted.until)?;
    sums::sum(&app.store, Some(tenant)).await?;
    let mut tx = app.store.system().await?;
    tenants::get(&mut tx, tenant).await?;
    let sums = sums::of_tenant(&mut tx, tenant, period, (period.start(from), until)).await?;
    tx.commit().await?;
    Ok(Json(list_of(sums)))
}

/// The tenants that cost most in a day or month.
#[utoipa::path(get, path = "/v1/usage/top", tag = "usage", security(("admin_key" = [])), params(TopIn),
    responses((status = 200, body = ListOut<SumOut>), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn top(
    _: Admin,
    State(app): State<App>,
    Params(wanted): Params<TopIn>,
) -> ApiResult<Json<ListOut<SumOut>>> {
    let period = period(wanted.period.as_deref(), Period::Month)?;
    let limit = limit(wanted.limit, 20)?;
    sums::sum(&app.store, None).await?;
    let mut tx = app.store.system().await?;
    let day = wanted.day.unwrap_or_else(today);
    let sums = sums::top(&mut tx, period, day, limit).await?;
    tx.commit().await?;
    Ok(Json(list_of(sums)))
}

fn list_of(sums: Vec<Sum>) -> ListOut<SumOut> {
    ListOut {
        items: sums.into_iter().map(SumOut::of).collect(),
        next_cursor: None,
    }
}

/// A tenant's usage events, for billing. The header `Quire-Next-Cursor` is there until the last page; the
/// pages of a CSV one after another are one table.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/usage/events", tag = "usage", security(("admin_key" = [])),
    params(("tenant" = String, Path), EventsIn),
    responses((status = 200, content((String = "application/x-ndjson"), (String = "text/csv"))),
        (status = 400, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn events(
    _: Admin,
    State(app): State<App>,
    Path(tenant): Path<String>,
    Params(wanted): Params<EventsIn>,
) -> ApiResult<Response> {
    let is_csv = match wanted.format.as_deref() {
        None | Some("cloudevents") => false,
        Some("csv") => true,
        Some(_) => return Err(ApiError::invalid("format must be cloudevents or csv")),
    };
    let days = days(wanted.from, wanted.until)?;
    let limit = limit(wanted.limit, MOST_ROWS)?;
    let after = wanted.cursor.as_deref().map(cursor).transpose()?;
    let mut tx = app.store.system().await?;
    let tenant = tenants::get(&mut tx, tenant_id(&tenant)?).await?.id;
    // One more than is shown tells whether there is a next page.
    let mut page = events::events(&mut tx, tenant, days, after, limit + 1).await?;
    tx.commit().await?;
    let shown = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = page.len() > shown;
    page.truncate(shown);
    let mut text = String::new();
    if is_csv && after.is_none() {
        text.push_str(invoice::CSV_HEADER);
    }
    for event in &page {
        match is_csv {
            true => text.push_str(&invoice::csv_line(event)),
            false => {
                text.push_str(&invoice::cloud_event(event).to_string());
                text.push('\n');
            }
        }
    }
    let content_type = match is_csv {
        true => "text/csv; charset=utf-8",
        false => "application/x-ndjson",
    };
    let next = page.last().filter(|_| has_more);
    let next = next.map(|last| [(NEXT_CURSOR, format!("{}_{}", last.day(), last.id))]);
    Ok(([(header::CONTENT_TYPE, content_type)], next, text).into_response())
}

fn cursor(text: &str) -> ApiResult<EventCursor> {
    text.split_once('_')
        .and_then(|(day, id)| Some((day.parse().ok()?, id.parse().ok()?)))
        .ok_or_else(|| {
            ApiError::invalid("the cursor is not one of this list: start again without it")
        })
}

/// What an operator should look at, newest first.
#[utoipa::path(get, path = "/v1/notices", tag = "usage", security(("admin_key" = [])), params(NoticesIn),
    responses((status = 200, body = ListOut<NoticeOut>), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn notices(
    _: Admin,
    State(app): State<App>,
    Params(wanted): Params<NoticesIn>,
) -> ApiResult<Json<ListOut<NoticeOut>>> {
    let limit = limit(wanted.limit, 50)?;
    let mut tx = app.store.system().await?;
    let notices = notices::list(&mut tx, limit).await?;
    tx.commit().await?;
    Ok(Json(ListOut {
        items: notices.into_iter().map(NoticeOut::of).collect(),
        next_cursor: None,
    }))
}

/// Compare a provider's invoice with what quire counted, by day and model.
#[utoipa::path(post, path = "/v1/usage/reconcile", tag = "usage", security(("admin_key" = [])), request_body = ReconcileIn,
    responses((status = 200, body = ReconcileOut), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn reconcile(
    _: Admin,
    State(app): State<App>,
    Body(wanted): Body<ReconcileIn>,
) -> ApiResult<Json<ReconcileOut>> {
    let invoice = Invoice::parse(&wanted.invoice)?;
    let (from, until) = invoice
        .days()
        .ok_or_else(|| ApiError::invalid("the invoice has no lines"))?;
    let mut tx = app.store.system().await?;
    let counted = events::by_model(&mut tx, &wanted.provider, (from, until)).await?;
    tx.commit().await?;
    let drifts = invoice.compare(&counted, wanted.tolerance_percent);
    Ok(Json(ReconcileOut {
        from,
        until,
        drifts: drifts.into_iter().map(DriftOut::of).collect(),
    }))
}
