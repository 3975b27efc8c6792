//! What operators ask the queue and tell it: where tasks are, why they died, what to do about them, and
//! how many workers there should be.

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use quire_store::SystemTx;
use quire_types::{TaskId, TenantId, Timestamp};

use crate::work::Report;
use crate::{Error, Priority};

/// Ready tasks of all workers from which on producers are told to slow down.
pub const SLOW_DOWN_AT: u64 = 10_000;
/// Ready tasks of all workers from which on somebody should know.
pub const ALERT_AT: u64 = 5_000;

/// A task wherever it is.
#[derive(Clone, Debug, FromRow)]
pub struct TaskRow {
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Its id.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// `ready`, `running`, `deferred` or `dead`.
    pub state: String,
    /// From 0, the most urgent.
    pub priority: i16,
    /// Attempts that ended.
    pub attempt: i16,
    /// The concurrency key.
    pub key: Option<String>,
    /// When it will be ready, or died.
    pub at: Option<Timestamp>,
    /// What went wrong last.
    pub error: Option<String>,
    /// The kind of what went wrong last.
    pub error_kind: Option<String>,
    /// What it was asked to do.
    pub payload: Option<serde_json::Value>,
}

/// Which tasks are meant. What is left out lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// One task.
    pub task: Option<TaskId>,
    /// Of one tenant.
    pub tenant: Option<TenantId>,
    /// Of one kind.
    pub kind: Option<String>,
    /// Of one group of dead tasks.
    pub signature: Option<String>,
}

impl Selection {
    /// What ends tasks for good wants to know which.
    fn check(&self) -> Result<(), Error> {
        let names_any = self.task.is_some() || self.tenant.is_some();
        match names_any || self.kind.is_some() || self.signature.is_some() {
            true => Ok(()),
            false => Err(Error::Invalid(
                "say which tasks: one, those of a tenant, of a kind or of a group".to_owned(),
            )),
        }
    }
}

const TASKS: &str = "with open as materialized (select unnest(tasks) as id from queue.receipts), t as (
    (select tenant_id, id, kind, case when id in (select id from open) then 'running' else 'ready' end as state,
            priority, attempt, key, null::timestamptz as at, error, error_kind, payload
     from queue.ready
     where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2) and ($3::text is null or kind = $3)
       and ($4::text is null or $4 = case when id in (select id from open) then 'running' else 'ready' end)
       and not is_cancelled
     order by id limit $5)
    union all
    (select tenant_id, id, kind, 'deferred', priority, attempt, key, run_at, error, error_kind, payload
     from queue.deferred
     where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2) and ($3::text is null or kind = $3)
       and ($4::text is null or $4 = 'deferred') and not is_cancelled
     order by id limit $5)
    union all
    (select tenant_id, id, kind, 'dead', priority, attempt, key, died_at, error, error_kind, payload
     from queue.dead
     where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2) and ($3::text is null or kind = $3)
       and ($4::text is null or $4 = 'dead')
     order by id limit $5)
)
select t.tenant_id, t.id, t.kind, t.state, t.priority, t.attempt, t.key, t.at, t.error, t.error_kind,
       coalesce(t.payload, (select payload from queue.keyed k where k.tenant_id = t.tenant_id and k.id = t.id)) as payload
from t order by id limit $5";

/// Tasks, oldest first.
pub async fn list(
    tx: &mut SystemTx,
    selection: &Selection,
    state: Option<&str>,
    limit: i64,
) -> Result<Vec<TaskRow>, Error> {
    if !(1..=1_000).contains(&limit) {
        return Err(Error::Invalid("a list has 1 to 1000 tasks".to_owned()));
    }
    if let Some(state) = state
        && !["ready", "running", "deferred", "dead"].contains(&state)
    {
        return Err(Error::Invalid(format!(
            "'{state}' is no state of a task: ready, running, deferred or dead"
        )));
    }
    let tasks = sqlx::query_as(TASKS)
        .bind(selection.task.map(TaskId::uuid))
        .bind(selection.tenant.map(TenantId::uuid))
        .bind(&selection.kind)
        .bind(state)
        .bind(limit)
        .fetch_all(tx.connection())
        .await?;
    Ok(tasks)
}

/// One task.
pub async fn get(tx: &mut SystemTx, task: TaskId) -> Result<TaskRow, Error> {
    let selection = Selection {
        task: Some(task),
        ..Selection::default()
    };
    let tasks = list(tx, &selection, None, 1).await?;
    tasks.into_iter().next().ok_or(Error::NotFound("task"))
}

/// Dead tasks that failed alike.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct DeadGroup {
    /// Their kind.
    pub kind: String,
    /// The error without the parts that differ.
    pub signature: String,
    /// The kind of the error.
    pub error_kind: String,
    /// How many there are.
    pub tasks: i64,
    /// Of how many tenants.
    pub tenants: i64,
    /// When the first died.
    pub first: Timestamp,
    /// When the last died.
    pub last: Timestamp,
    /// The error of the last, in full.
    pub sample_error: String,
    /// The payload of the last.
    pub sample_payload: Option<serde_json::Value>,
}

/// Groups of dead tasks, largest first.
pub async fn dead(tx: &mut SystemTx, selection: &Selection) -> Result<Vec<DeadGroup>, Error> {
    let groups = sqlx::query_as(
        "select kind, signature, min(error_kind) as error_kind, count(*) as tasks,
                count(distinct tenant_id) as tenants, min(died_at) as first, max(died_at) as last,
                (array_agg(error order by died_at desc))[1] as sample_error,
                (array_agg(payload order by died_at desc))[1] as sample_payload
         from queue.dead
         where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2)
           and ($3::text is null or kind = $3) and ($4::text is null or signature = $4)
         group by kind, signature order by count(*) desc, kind, signature limit 200",
    )
    .bind(selection.task.map(TaskId::uuid))
    .bind(selection.tenant.map(TenantId::uuid))
    .bind(&selection.kind)
    .bind(&selection.signature)
    .fetch_all(tx.connection())
    .await?;
    Ok(groups)
}

/// Gives dead tasks all their attempts again. Returns how many there were.
pub async fn retry(tx: &mut SystemTx, selection: &Selection) -> Result<u64, Error> {
    let retried = sqlx::query(
        "with gone as (
             delete from queue.dead
             where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2)
               and ($3::text is null or kind = $3) and ($4::text is null or signature = $4)
             returning *
         )
         insert into queue.ready (tenant_id, id, shard, kind, priority, key, payload)
         select tenant_id, id, shard, kind, priority, key, payload from gone",
    )
    .bind(selection.task.map(TaskId::uuid))
    .bind(selection.tenant.map(TenantId::uuid))
    .bind(&selection.kind)
    .bind(&selection.signature)
    .execute(tx.connection())
    .await?;
    Ok(retried.rows_affected())
}

/// Removes dead tasks for good. Returns how many there were.
pub async fn discard(tx: &mut SystemTx, selection: &Selection) -> Result<u64, Error> {
    selection.check()?;
    let discarded = sqlx::query(
        "delete from queue.dead
         where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2)
           and ($3::text is null or kind = $3) and ($4::text is null or signature = $4)",
    )
    .bind(selection.task.map(TaskId::uuid))
    .bind(selection.tenant.map(TenantId::uuid))
    .bind(&selection.kind)
    .bind(&selection.signature)
    .execute(tx.connection())
    .await?;
    Ok(discarded.rows_affected())
}

/// Cancels tasks that are not dead; one that runs is stopped at its worker's next beat at the latest. A task
/// is its row: what is gone is not handed out, and what it says at its end is refused. The row that takes
/// its place has its kind told by the worker that owns it. Returns how many there were.
pub async fn cancel(tx: &mut SystemTx, selection: &Selection) -> Result<u64, Error> {
    selection.check()?;
    let mut cancelled = 0;
    // What becomes ready meanwhile was in neither, so the first look is repeated.
    for table in ["ready", "deferred", "ready"] {
        // Without its key, deadline and cost: telling waits for nobody and is quickly done.
        let statement = AssertSqlSafe(format!(
            "with gone as (
                 delete from queue.{table}
                 where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2)
                   and ($3::text is null or kind = $3) and not is_cancelled
                 returning *
             ), freed as (
                 delete from queue.keyed q using gone g where q.tenant_id = g.tenant_id and q.id = g.id
                 returning q.id, q.payload
             )
             insert into queue.ready (tenant_id, id, shard, kind, priority, attempt, cost_ms, is_cancelled, payload)
             select g.tenant_id, g.id, g.shard, g.kind, g.priority, g.attempt, 1, true,
                    coalesce(g.payload, f.payload, 'null')
             from gone g left join freed f on f.id = g.id"
        ));
        let moved = sqlx::query(statement)
            .bind(selection.task.map(TaskId::uuid))
            .bind(selection.tenant.map(TenantId::uuid))
            .bind(&selection.kind)
            .execute(tx.connection())
            .await?;
        cancelled += moved.rows_affected();
    }
    Ok(cancelled)
}

/// The queue as its workers see it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Stats {
    /// Workers that live.
    pub workers: u32,
    /// Their seats.
    pub seats: u64,
    /// Seats with a task.
    pub seats_used: u64,
    /// The share of the seats' time that was spent on tasks in the last minute.
    pub busy_share: f64,
    /// By priority, most urgent first.
    pub priorities: Vec<PriorityStats>,
    /// Tasks that wait for their time.
    pub deferred: i64,
    /// Tasks that will not be tried again.
    pub dead: i64,
    /// Kinds that have tasks and nobody who can run them.
    pub unknown_kinds: Vec<String>,
}

/// How much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Nothing to see.
    Normal,
    /// Somebody should know.
    Alert,
    /// Producers of bulk work should wait.
    Full,
}

impl Level {
    /// So many ready tasks.
    const fn of(ready: u64) -> Self {
        match ready {
            SLOW_DOWN_AT.. => Self::Full,
            ALERT_AT.. => Self::Alert,
            _ => Self::Normal,
        }
    }

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Alert => "alert",
            Self::Full => "full",
        }
    }
}

/// One priority.
#[derive(Clone, Debug, Serialize)]
pub struct PriorityStats {
    /// Which one.
    pub priority: &'static str,
    /// Ready tasks.
    pub ready: u64,
    /// Running tasks.
    pub running: u64,
    /// How long the ready ones would take all seats, in seconds; held back ones do not count.
    pub drain_s: f64,
    /// The longest wait of a ready task that nothing holds back, in seconds.
    pub oldest_s: f64,
}

impl Stats {
    /// All ready tasks.
    pub fn ready(&self) -> u64 {
        self.priorities.iter().map(|priority| priority.ready).sum()
    }

    /// How much waits.
    pub fn level(&self) -> Level {
        Level::of(self.ready())
    }
}

/// How much waits, as the workers said at their last beat; counted, as far as it matters, when none of them lives.
pub async fn level(tx: &mut SystemTx) -> Result<Level, Error> {
    let ready: i64 = sqlx::query_scalar(
        "select coalesce((select sum((b ->> 'queued')::bigint)::bigint
                          from queue.workers, jsonb_array_elements(report -> 'backlog') b
                          where lease_until > clock_timestamp()),
                         (select count(*) from (select from queue.ready limit $1) r))",
    )
    .bind(i64::try_from(SLOW_DOWN_AT).unwrap_or(i64::MAX))
    .fetch_one(tx.connection())
    .await?;
    Ok(Level::of(u64::try_from(ready).unwrap_or(0)))
}

/// What all workers said at their last beat. Costs the same at any depth of the queue.
pub async fn stats(tx: &mut SystemTx) -> Result<Stats, Error> {
    let workers: Vec<(i32, serde_json::Value)> = sqlx::query_as(
        "select seats, report from queue.workers where lease_until > clock_timestamp()",
    )
    .fetch_all(tx.connection())
    .await?;
    // Estimates of the planner's statistics would do for large tables, but lie about small ones.
    let (deferred, dead): (i64, i64) = sqlx::query_as(
        "select (select count(*) from (select from queue.deferred limit 100000) d),
                (select count(*) from (select from queue.dead limit 100000) d)",
    )
    .fetch_one(tx.connection())
    .await?;
    let mut stats = Stats {
        deferred,
        dead,
        ..Stats::default()
    };
    let mut sums = [crate::policy::Backlog::default(); Priority::COUNT];
    let mut unknown = BTreeMap::new();
    for (seats, report) in workers {
        let report: Report = serde_json::from_value(report).unwrap_or_default();
        let seats = u64::try_from(seats).unwrap_or(0);
        stats.workers += 1;
        stats.seats += seats;
        stats.seats_used += u64::from(report.seats_used);
        stats.busy_share += report.busy_share * seats as f64;
        for (sum, backlog) in sums.iter_mut().zip(report.backlog) {
            sum.queued += backlog.queued;
            sum.running += backlog.running;
            sum.cost_us += backlog.cost_us;
            sum.oldest_ms = sum.oldest_ms.max(backlog.oldest_ms);
        }
        unknown.extend(report.unknown_kinds.into_iter().map(|kind| (kind, ())));
    }
    let seats = stats.seats.max(1) as f64;
    stats.busy_share /= seats;
    stats.unknown_kinds = unknown.into_keys().collect();
    stats.priorities = Priority::ALL
        .iter()
        .zip(sums)
        .map(|(priority, sum)| PriorityStats {
            priority: priority.as_str(),
            ready: u64::from(sum.queued),
            running: u64::from(sum.running),
            drain_s: sum.cost_us as f64 / 1e6 / seats,
            oldest_s: sum.oldest_ms as f64 / 1e3,
        })
        .collect();
    Ok(stats)
}

/// How many workers there should be.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct Advice {
    /// Workers that live.
    pub workers: u32,
    /// Workers that there should be.
    pub wanted: u32,
    /// Why.
    pub why: String,
}

/// The fewest and the most workers that are ever advised.
const WORKERS: std::ops::RangeInclusive<u32> = 2..=50;
/// Ready work of the urgent three priorities should be done within this time.
const DRAIN_S: f64 = 60.0;

/// Advises on the number of workers from what waits and how busy they are. Work that a limit or a pause
/// holds back does not count, since more workers would not help it.
pub fn advise(stats: &Stats) -> Advice {
    let workers = stats.workers.max(1);
    let urgent = stats.priorities.iter().take(3);
    let drain: f64 = urgent.clone().map(|priority| priority.drain_s).sum();
    let by_backlog = f64::from(workers) * drain / DRAIN_S;
    let by_use = f64::from(workers) * stats.busy_share / 0.7;
    let wanted = by_backlog
        .max(by_use)
        .ceil()
        .clamp(0.0, f64::from(u16::MAX)) as u32;
    let wanted = wanted.clamp(*WORKERS.start(), *WORKERS.end());
    let why = if wanted == *WORKERS.start() {
        "the fewest that survive the loss of one".to_owned()
    } else if by_backlog >= by_use {
        format!("urgent work for {drain:.0} s is ready; it should be done within {DRAIN_S:.0} s")
    } else {
        format!(
            "seats are in use {:.0} % of the time; 70 % leaves room",
            stats.busy_share * 100.0
        )
    };
    Advice {
        workers: stats.workers,
        wanted,
        why,
    }
}

/// A tenant's share of what was done.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct TenantWork {
    /// The tenant.
    #[serde(skip)]
    pub tenant_id: Uuid,
    /// Tasks done.
    pub done: i64,
    /// Attempts that failed.
    pub failed: i64,
    /// Tasks that died.
    pub dead: i64,
    /// Time that tasks took, in milliseconds.
    pub busy_ms: i64,
    /// Time that tasks waited, in milliseconds.
    pub waited_ms: i64,
}

/// The tenants that used most of the workers' time in the last hours, at most `limit`.
pub async fn top_tenants(
    tx: &mut SystemTx,
    hours: i32,
    limit: i64,
) -> Result<Vec<TenantWork>, Error> {
    let tenants = sqlx::query_as(
        "select tenant_id, sum(done)::bigint as done, sum(failed)::bigint as failed, sum(dead)::bigint as dead,
                sum(busy_ms)::bigint as busy_ms, sum(waited_ms)::bigint as waited_ms
         from queue.work where minute >= date_trunc('minute', now() - make_interval(hours => $1))
         group by tenant_id order by sum(busy_ms) desc limit $2",
    )
    .bind(hours)
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(tenants)
}

/// Something an operator should look at.
#[derive(Clone, Debug, FromRow)]
pub struct Event {
    /// About whom.
    pub tenant_id: Uuid,
    /// When.
    pub at: Timestamp,
    /// `noisy-neighbour`.
    pub what: String,
    /// The figures.
    pub detail: serde_json::Value,
}

/// The latest events.
pub async fn events(tx: &mut SystemTx, limit: i64) -> Result<Vec<Event>, Error> {
    let events = sqlx::query_as(
        "select tenant_id, at, what, detail from queue.events order by at desc limit $1",
    )
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(events)
}
