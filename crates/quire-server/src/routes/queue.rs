//! The queue as a whole, for the operator: what waits, whose work it was, schedules, and what is held back.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use quire_queue::{Event, KindRow, ScheduleRow, ScheduleSelection, TenantWork, advise};
use quire_types::{ScheduleId, TenantId};

use super::tasks::tenant_id;
use crate::body::{Body, Params, time};
use crate::caller::Admin;
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// One priority of the queue.
#[derive(Serialize, ToSchema)]
pub(super) struct PriorityOut {
    #[schema(example = "normal")]
    priority: String,
    ready: u64,
    /// Of the ready: their tenant or kind is paused, or no version that runs knows the kind.
    held: u64,
    running: u64,
    /// How long the ready tasks that nothing holds back would take all seats.
    drain_s: f64,
    /// The longest wait of a ready task that nothing holds back.
    oldest_s: f64,
}

/// The queue as its workers see it.
#[derive(Serialize, ToSchema)]
pub(super) struct QueueOut {
    workers: u32,
    seats: u64,
    seats_used: u64,
    /// The share of the seats' time that was spent on tasks in the last minute.
    busy_share: f64,
    priorities: Vec<PriorityOut>,
    deferred: i64,
    dead: i64,
    /// Kinds that have tasks and nobody who can run them.
    unknown_kinds: Vec<String>,
    /// What was said about kinds.
    kinds: Vec<KindOut>,
    /// Schedules that fire no more because something is wrong with them.
    broken_schedules: i64,
    /// `normal`, `alert` (5,000 ready tasks that somebody may run) or `full` (10,000: uploads are told to wait).
    level: String,
    /// How many workers there should be.
    wanted_workers: u32,
    /// Why.
    why: String,
}

/// What an operator says about a kind of tasks.
#[derive(Serialize, ToSchema)]
pub(super) struct KindOut {
    kind: String,
    /// Nothing of it is handed out.
    paused: bool,
    /// Tasks that all workers together may run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    most_running: Option<i32>,
}

impl KindOut {
    fn of(row: KindRow) -> Self {
        Self {
            kind: row.kind,
            paused: row.is_paused,
            most_running: row.most_running,
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BusiestIn {
    /// In so many hours, 1 to 720.
    #[param(minimum = 1, maximum = 720, default = 1)]
    hours: Option<i32>,
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 10)]
    limit: Option<i64>,
}

/// What was done for a tenant.
#[derive(Serialize, ToSchema)]
pub(super) struct BusyOut {
    tenant: String,
    /// Its part of the time of all tenants listed, from 0 to 1.
    share: f64,
    /// Tasks done.
    done: i64,
    /// Attempts that failed.
    failed: i64,
    /// Tasks that died.
    dead: i64,
    /// Time that tasks took.
    busy_ms: i64,
    /// Time that tasks waited.
    waited_ms: i64,
}

/// The tenants that used most of the workers' time.
#[derive(Serialize, ToSchema)]
pub(super) struct BusiestOut {
    items: Vec<BusyOut>,
}

impl BusiestOut {
    fn of(rows: Vec<TenantWork>) -> Self {
        let all: i64 = rows.iter().map(|row| row.busy_ms).sum();
        let items = rows.into_iter().map(|row| BusyOut {
            tenant: TenantId::from(row.tenant_id).to_string(),
            share: row.busy_ms as f64 / all.max(1) as f64,
            done: row.done,
            failed: row.failed,
            dead: row.dead,
            busy_ms: row.busy_ms,
            waited_ms: row.waited_ms,
        });
        Self {
            items: items.collect(),
        }
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LatestIn {
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<i64>,
}

/// Something to look at.
#[derive(Serialize, ToSchema)]
pub(super) struct EventOut {
    tenant: String,
    at: String,
    #[schema(example = "noisy-neighbour")]
    what: String,
    /// The figures: of `noisy-neighbour`, the tasks that ran, and the shares of what ran and of the time.
    detail: serde_json::Value,
}

impl EventOut {
    fn of(event: Event) -> Self {
        Self {
            tenant: TenantId::from(event.tenant_id).to_string(),
            at: time(event.at),
            what: event.what,
            detail: event.detail,
        }
    }
}

/// Events, latest first.
#[derive(Serialize, ToSchema)]
pub(super) struct EventsOut {
    items: Vec<EventOut>,
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SchedulesIn {
    /// One schedule.
    schedule: Option<String>,
    /// Those of one tenant.
    tenant: Option<String>,
    /// Those that add tasks of one kind.
    kind: Option<String>,
    /// Only those that fire no more because something is wrong with them.
    broken: bool,
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<i64>,
}

/// What adds tasks in time.
#[derive(Serialize, ToSchema)]
pub(super) struct ScheduleOut {
    #[schema(example = "sch_0198c0de00007000a000000000000001")]
    id: String,
    tenant: String,
    name: String,
    kind: String,
    /// From 0 (critical) to 4 (maintenance).
    priority: i16,
    /// `cron <expression>`, `every <seconds>` or `once <time>`.
    #[schema(example = "cron 0 6 * * 1-5")]
    rule: String,
    time_zone: String,
    /// What happens to moments that were missed: `skip`, `once` (one task for all of them) or `all`.
    missed: String,
    paused: bool,
    /// When it fires next; missing when it fires no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<String>,
    /// When it fired last.
    #[serde(skip_serializing_if = "Option::is_none")]
    fired_at: Option<String>,
    /// Why it fires no more.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl ScheduleOut {
    fn of(row: ScheduleRow) -> Self {
        Self {
            id: ScheduleId::from(row.id).to_string(),
            tenant: TenantId::from(row.tenant_id).to_string(),
            name: row.name,
            kind: row.kind,
            priority: row.priority,
            rule: row.rule,
            time_zone: row.time_zone,
            missed: row.missed,
            paused: row.is_paused,
            next_at: row.next_at.map(time),
            fired_at: row.fired_at.map(time),
            problem: row.problem,
        }
    }
}

/// Schedules by tenant, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct SchedulesOut {
    items: Vec<ScheduleOut>,
}

/// What is held back or let go: a kind, a tenant or a schedule.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PauseIn {
    kind: Option<String>,
    tenant: Option<String>,
    schedule: Option<String>,
    /// `false` lets go again.
    paused: bool,
}

/// What is held back.
#[derive(Serialize, ToSchema)]
pub(super) struct PauseOut {
    paused: bool,
}

/// How many tasks of a kind may run at once.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KindLimitIn {
    kind: String,
    /// All workers together, from 1; `null` for as many as the kind's code says.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(required, minimum = 1)]
    most_running: Option<i32>,
}

/// The state of the queue, and how many workers there should be.
#[utoipa::path(get, path = "/v1/queue", tag = "tasks", security(("admin_key" = [])),
    responses((status = 200, body = QueueOut), (status = 403, body = Problem)))]
pub(super) async fn queue(_: Admin, State(app): State<App>) -> ApiResult<Json<QueueOut>> {
    let mut tx = app.store.system().await?;
    let stats = quire_queue::stats(&mut tx).await?;
    tx.commit().await?;
    let advice = advise(&stats);
    Ok(Json(QueueOut {
        level: stats.level().as_str().to_owned(),
        workers: stats.workers,
        seats: stats.seats,
        seats_used: stats.seats_used,
        busy_share: stats.busy_share,
        priorities: stats
            .priorities
            .into_iter()
            .map(|row| PriorityOut {
                priority: row.priority.to_owned(),
                ready: row.ready,
                held: row.held,
                running: row.running,
                drain_s: row.drain_s,
                oldest_s: row.oldest_s,
            })
            .collect(),
        deferred: stats.deferred,
        dead: stats.dead,
        unknown_kinds: stats.unknown_kinds,
        kinds: stats.kinds.into_iter().map(KindOut::of).collect(),
        broken_schedules: stats.broken_schedules,
        wanted_workers: advice.wanted,
        why: advice.why,
    }))
}

/// Whose work it was lately.
#[utoipa::path(get, path = "/v1/queue/tenants", tag = "tasks", security(("admin_key" = [])), params(BusiestIn),
    responses((status = 200, body = BusiestOut), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn tenants(
    _: Admin,
    State(app): State<App>,
    Params(wanted): Params<BusiestIn>,
) -> ApiResult<Json<BusiestOut>> {
    let mut tx = app.store.system().await?;
    let (hours, limit) = (wanted.hours.unwrap_or(1), wanted.limit.unwrap_or(10));
    let tenants = quire_queue::top_tenants(&mut tx, hours, limit).await?;
    tx.commit().await?;
    Ok(Json(BusiestOut::of(tenants)))
}

/// What an operator should look at: tenants that crowd out others.
#[utoipa::path(get, path = "/v1/queue/events", tag = "tasks", security(("admin_key" = [])), params(LatestIn),
    responses((status = 200, body = EventsOut), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn events(
    _: Admin,
    State(app): State<App>,
    Params(wanted): Params<LatestIn>,
) -> ApiResult<Json<EventsOut>> {
    let mut tx = app.store.system().await?;
    let events = quire_queue::events(&mut tx, wanted.limit.unwrap_or(50)).await?;
    tx.commit().await?;
    Ok(Json(EventsOut {
        items: events.into_iter().map(EventOut::of).collect(),
    }))
}

/// List schedules of all tenants.
#[utoipa::path(get, path = "/v1/queue/schedules", tag = "tasks", security(("admin_key" = [])), params(SchedulesIn),
    responses((status = 200, body = SchedulesOut), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn schedules(
    _: Admin,
    State(app): State<App>,
    Params(wanted): Params<SchedulesIn>,
) -> ApiResult<Json<SchedulesOut>> {
    let selection = ScheduleSelection {
        schedule: wanted.schedule.as_deref().map(schedule_id).transpose()?,
        tenant: wanted.tenant.as_deref().map(tenant_id).transpose()?,
        kind: wanted.kind,
        is_broken: wanted.broken,
    };
    let mut tx = app.store.system().await?;
    let rows = quire_queue::schedules(&mut tx, &selection, wanted.limit.unwrap_or(50)).await?;
    tx.commit().await?;
    Ok(Json(SchedulesOut {
        items: rows.into_iter().map(ScheduleOut::of).collect(),
    }))
}

fn schedule_id(text: &str) -> ApiResult<ScheduleId> {
    text.parse().map_err(|_| ApiError::not_found("schedule"))
}

/// Hold back the tasks of a kind or of a tenant, or a schedule, or let them go again. What runs goes on.
#[utoipa::path(post, path = "/v1/tasks/pause", tag = "tasks", security(("admin_key" = [])), request_body = PauseIn,
    responses((status = 200, body = PauseOut), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn pause(
    _: Admin,
    State(app): State<App>,
    Body(wanted): Body<PauseIn>,
) -> ApiResult<Json<PauseOut>> {
    let mut tx = app.store.system().await?;
    match (&wanted.kind, &wanted.tenant, &wanted.schedule) {
        (Some(kind), None, None) => quire_queue::pause_kind(&mut tx, kind, wanted.paused).await?,
        (None, Some(tenant), None) => {
            let tenant = quire_store::tenants::get(&mut tx, tenant_id(tenant)?).await?;
            quire_queue::pause_tenant(&mut tx, tenant.id, wanted.paused).await?;
        }
        (None, None, Some(schedule)) => {
            quire_queue::pause_schedule(&mut tx, schedule_id(schedule)?, wanted.paused).await?;
        }
        _ => return Err(ApiError::invalid("name a kind, a tenant or a schedule")),
    }
    tx.commit().await?;
    Ok(Json(PauseOut {
        paused: wanted.paused,
    }))
}

/// Set how many tasks of a kind all workers together may run at once. What runs goes on.
#[utoipa::path(post, path = "/v1/tasks/limit", tag = "tasks", security(("admin_key" = [])), request_body = KindLimitIn,
    responses((status = 200, body = KindOut), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn limit(
    _: Admin,
    State(app): State<App>,
    Body(wanted): Body<KindLimitIn>,
) -> ApiResult<Json<KindOut>> {
    let mut tx = app.store.system().await?;
    quire_queue::limit_kind(&mut tx, &wanted.kind, wanted.most_running).await?;
    let rows = quire_queue::kinds(&mut tx).await?;
    tx.commit().await?;
    let row = rows.into_iter().find(|row| row.kind == wanted.kind);
    Ok(Json(row.map_or(
        KindOut {
            kind: wanted.kind,
            paused: false,
            most_running: None,
        },
        KindOut::of,
    )))
}
