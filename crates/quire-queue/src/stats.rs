//! How the queue is doing, for operators and for whoever scales workers: what waits, what is held back, who is
//! busy, and how many workers there should be. Single tasks are the matter of [`crate::operate`].

use std::collections::BTreeMap;

use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use quire_store::SystemTx;
use quire_types::Timestamp;

use crate::rules::{self, KindRow};
use crate::upkeep::KEPT_DAYS;
use crate::work::Report;
use crate::{Error, Priority};

/// Ready tasks of all workers from which on producers are told to slow down; those that nobody may run do not count.
pub const SLOW_DOWN_AT: u64 = 10_000;
/// Ready tasks of all workers from which on somebody should know.
pub const ALERT_AT: u64 = 5_000;

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
    /// What an operator says about kinds.
    pub kinds: Vec<KindRow>,
    /// Schedules that fire no more because something is wrong with them.
    pub broken_schedules: i64,
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
    /// So many tasks wait for workers.
    const fn of(waiting: u64) -> Self {
        match waiting {
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
    /// Of these, tasks that nobody may run: their tenant or kind is paused, or no version that runs knows the kind.
    pub held: u64,
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

    /// Ready tasks that wait for workers. What nobody may run is not among them: it would stop all producers for as
    /// long as somebody is paused, and their waiting would change nothing about it.
    pub fn waiting(&self) -> u64 {
        let held: u64 = self.priorities.iter().map(|priority| priority.held).sum();
        self.ready().saturating_sub(held)
    }

    /// How much waits.
    pub fn level(&self) -> Level {
        Level::of(self.waiting())
    }
}

/// How much waits, as the workers said at their last beat; counted, as far as it matters, when none of them lives.
pub async fn level(tx: &mut SystemTx) -> Result<Level, Error> {
    let look = i64::try_from(SLOW_DOWN_AT).unwrap_or(i64::MAX);
    let waiting: i64 = sqlx::query_scalar(
        "select coalesce((select sum((b ->> 'queued')::bigint - coalesce((b ->> 'held')::bigint, 0))::bigint
                          from queue.workers, jsonb_array_elements(report -> 'backlog') b
                          where lease_until > clock_timestamp()),
                         (select count(*) from (select tenant_id, kind from queue.ready limit $1 * 10) r
                          where tenant_id not in (select tenant_id from queue.tenants where is_paused)
                            and kind not in (select kind from queue.kinds where is_paused)))",
    )
    .bind(look)
    .fetch_one(tx.connection())
    .await?;
    Ok(Level::of(u64::try_from(waiting).unwrap_or(0)))
}

/// What all workers said at their last beat. Costs the same at any depth of the queue.
pub async fn stats(tx: &mut SystemTx) -> Result<Stats, Error> {
    let workers: Vec<(i32, serde_json::Value)> = sqlx::query_as(
        "select seats, report from queue.workers where lease_until > clock_timestamp()",
    )
    .fetch_all(tx.connection())
    .await?;
    // Estimates of the planner's statistics would do for large tables, but lie about small ones.
    let (deferred, dead, broken_schedules): (i64, i64, i64) = sqlx::query_as(
        "select (select count(*) from (select from queue.deferred limit 100000) d),
                (select count(*) from (select from queue.dead limit 100000) d),
                (select count(*) from (select from queue.schedules where problem is not null limit 100000) s)",
    )
    .fetch_one(tx.connection())
    .await?;
    let mut stats = Stats {
        deferred,
        dead,
        broken_schedules,
        kinds: rules::kinds(tx).await?,
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
            sum.held += backlog.held;
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
            held: u64::from(sum.held),
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
    let kept = i32::try_from(KEPT_DAYS * 24).unwrap_or(i32::MAX);
    if !(1..=kept).contains(&hours) {
        return Err(Error::Invalid(format!(
            "what was done is kept for {kept} hours: ask for 1 to {kept}"
        )));
    }
    check_limit(limit)?;
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
    check_limit(limit)?;
    let events = sqlx::query_as(
        "select tenant_id, at, what, detail from queue.events order by at desc limit $1",
    )
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(events)
}

fn check_limit(limit: i64) -> Result<(), Error> {
    match (1..=1_000).contains(&limit) {
        true => Ok(()),
        false => Err(Error::Invalid("a list has 1 to 1000 entries".to_owned())),
    }
}
