//! What was done: sums by tenant and kind, written every half minute, and what a worker says about itself.
//! From the sums come the shares of tenants and the notice of one that crowds out the others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use quire_store::SystemTx;

use crate::lease::Identity;
use crate::owner::Held;
use crate::policy::Backlog;
use crate::rows::Outcome;
use crate::{Error, Priority};

/// What a worker says about itself at every beat.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) seats_used: u32,
    pub(crate) backlog: [Backlog; Priority::COUNT],
    /// The share of its seats' time that was spent on tasks lately.
    pub(crate) busy_share: f64,
    /// The time that tasks took in the last period that ended.
    #[serde(default)]
    pub(crate) busy_ms: u64,
    /// Kinds of tasks that nobody here can run.
    pub(crate) unknown_kinds: Vec<String>,
}

/// How tasks ended in this process since it started, for counters. Clones share the numbers.
#[derive(Clone, Debug, Default)]
pub struct Tally(Arc<Mutex<BTreeMap<(&'static str, Priority), Totals>>>);

/// What happened to the tasks of one kind and priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Tasks done.
    pub done: u64,
    /// Attempts that failed and are repeated.
    pub failed: u64,
    /// Tasks that failed for good.
    pub dead: u64,
    /// Time that attempts took.
    pub busy: Duration,
}

impl Tally {
    /// The numbers by kind and priority.
    pub fn totals(&self) -> Vec<(&'static str, Priority, Totals)> {
        let totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        totals
            .iter()
            .map(|((kind, priority), totals)| (*kind, *priority, *totals))
            .collect()
    }

    fn note(&self, kind: &'static str, priority: Priority, outcome: &Outcome, took: Duration) {
        let mut totals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let totals = totals.entry((kind, priority)).or_default();
        match outcome {
            Outcome::Done => totals.done += 1,
            Outcome::Again { .. } => totals.failed += 1,
            Outcome::Dead { .. } => totals.dead += 1,
            Outcome::Cancelled => {}
        }
        totals.busy += took;
    }
}

/// Sums since the last page.
pub(crate) struct Ledger {
    tally: Tally,
    sums: HashMap<(Uuid, &'static str, Priority), Sum>,
    since: Instant,
    last_busy: Option<(Duration, Duration)>,
}

impl Ledger {
    pub(crate) fn new(tally: Tally) -> Self {
        Self {
            tally,
            sums: HashMap::new(),
            since: Instant::now(),
            last_busy: None,
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    done: i32,
    failed: i32,
    dead: i32,
    busy: Duration,
    waited_ms: u64,
}

/// What is written: sums, and the tenants that may crowd out others.
pub(crate) struct Page {
    sums: Vec<((Uuid, &'static str, Priority), Sum)>,
    /// The tenants with work in this period.
    tenants: usize,
    busy: Duration,
    running: u32,
    large: Vec<Large>,
}

/// A tenant with so much work that it is noisy if others have little.
#[derive(Clone, Copy)]
struct Large {
    tenant: Uuid,
    time: Duration,
    running: u32,
}

impl Large {
    const RUNNING: u32 = 30;
    const TIME: Duration = Duration::from_secs(Ledger::PERIOD.as_secs() / 10);
    const SHARE: f64 = 0.1;

    fn is_so(&self) -> bool {
        self.running >= Self::RUNNING || self.time > Self::TIME
    }
}

/// What the other workers that serve everybody are doing.
#[derive(Clone, Copy, Default)]
struct Others {
    running: u32,
    busy: Duration,
}

struct Noisy {
    tenant: Uuid,
    running: u32,
    running_share: f64,
    time_share: f64,
}

impl Page {
    /// The tenants that crowd out others. All tasks of a tenant are at the worker that owns its shard, so each worker
    /// judges its own tenants, by their shares of what all workers do.
    fn noisy(&self, others: Others) -> Vec<Noisy> {
        // Alone in the house nobody is noisy.
        if self.tenants < 2 && others.running == 0 && others.busy.is_zero() {
            return Vec::new();
        }
        let all_running = f64::from(self.running.saturating_add(others.running).max(1));
        let busy = (self.busy + others.busy).as_secs_f64().max(f64::EPSILON);
        let shares = self.large.iter().map(|large| Noisy {
            tenant: large.tenant,
            running: large.running,
            running_share: f64::from(large.running) / all_running,
            time_share: large.time.as_secs_f64() / busy,
        });
        // The rule by which Amazon SQS calls a tenant of a fair queue noisy.
        let is_noisy = |(large, noisy): &(&Large, Noisy)| {
            (large.running >= Large::RUNNING && noisy.running_share > Large::SHARE)
                || (large.time > Large::TIME && noisy.time_share > Large::SHARE)
        };
        let noisy = self.large.iter().zip(shares).filter(is_noisy);
        noisy.map(|(_, noisy)| noisy).collect()
    }
}

impl Ledger {
    pub(crate) const PERIOD: Duration = Duration::from_secs(30);

    pub(crate) fn note(
        &mut self,
        task: &Held,
        kind: &'static str,
        outcome: &Outcome,
        took: Duration,
        waited_ms: u64,
    ) {
        let sum = self
            .sums
            .entry((task.tenant, kind, task.priority))
            .or_default();
        self.tally.note(kind, task.priority, outcome, took);
        match outcome {
            Outcome::Done => sum.done += 1,
            Outcome::Again { .. } => sum.failed += 1,
            Outcome::Dead { .. } => sum.dead += 1,
            Outcome::Cancelled => {}
        }
        sum.busy += took;
        sum.waited_ms += waited_ms;
    }

    /// The share of all seats' time spent on tasks, in this period and the last.
    pub(crate) fn busy_share(&self, seats: usize) -> f64 {
        let busy: Duration = self.sums.values().map(|sum| sum.busy).sum();
        let (last_busy, last_time) = self.last_busy.unwrap_or_default();
        let time = (self.since.elapsed() + last_time).as_secs_f64() * seats as f64;
        (busy + last_busy).as_secs_f64() / time.max(f64::EPSILON)
    }

    /// The time that tasks took in the last period that ended.
    pub(crate) fn last_busy(&self) -> Duration {
        self.last_busy.map_or(Duration::ZERO, |(busy, _)| busy)
    }

    /// Ends the period. `running` is what runs now, by tenant.
    pub(crate) fn close(&mut self, running: &[(Uuid, u32)]) -> Page {
        let sums: Vec<_> = self.sums.drain().collect();
        let busy: Duration = sums.iter().map(|(_, sum)| sum.busy).sum();
        self.last_busy = Some((busy, self.since.elapsed()));
        self.since = Instant::now();

        let mut by_tenant: HashMap<Uuid, Duration> = HashMap::new();
        for ((tenant, ..), sum) in &sums {
            *by_tenant.entry(*tenant).or_default() += sum.busy;
        }
        let now: HashMap<Uuid, u32> = running.iter().copied().collect();
        let tenants = by_tenant.len();
        let large = by_tenant.into_iter().map(|(tenant, time)| Large {
            tenant,
            time,
            running: now.get(&tenant).copied().unwrap_or(0),
        });
        Page {
            sums,
            tenants,
            busy,
            running: running.iter().map(|(_, running)| running).sum(),
            large: large.filter(Large::is_so).collect(),
        }
    }
}

/// Writes a page of this worker down.
pub(crate) async fn write(tx: &mut SystemTx, me: &Identity, page: &Page) -> Result<(), Error> {
    if !page.sums.is_empty() {
        let column = |value: fn(&Sum) -> i64| -> Vec<i64> {
            page.sums.iter().map(|(_, sum)| value(sum)).collect()
        };
        sqlx::query(
            "insert into queue.work (tenant_id, minute, kind, priority, done, failed, dead, busy_ms, waited_ms)
             select s.tenant_id, date_trunc('minute', now()), s.kind, s.priority, s.done, s.failed, s.dead,
                    s.busy_ms, s.waited_ms
             from unnest($1::uuid[], $2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[],
                         $7::bigint[], $8::bigint[])
                  as s (tenant_id, kind, priority, done, failed, dead, busy_ms, waited_ms)",
        )
        .bind(page.sums.iter().map(|((tenant, ..), _)| *tenant).collect::<Vec<_>>())
        .bind(page.sums.iter().map(|((_, kind, _), _)| *kind).collect::<Vec<_>>())
        .bind(page.sums.iter().map(|((.., priority), _)| *priority as i16).collect::<Vec<_>>())
        .bind(column(|sum| i64::from(sum.done)))
        .bind(column(|sum| i64::from(sum.failed)))
        .bind(column(|sum| i64::from(sum.dead)))
        .bind(column(|sum| i64::try_from(sum.busy.as_millis()).unwrap_or(i64::MAX)))
        .bind(column(|sum| i64::try_from(sum.waited_ms).unwrap_or(i64::MAX)))
        .execute(tx.connection())
        .await?;
    }
    // A tenant with a worker of its own takes nothing from anybody there.
    if page.large.is_empty() || me.dedicated.is_some() {
        return Ok(());
    }
    for noisy in page.noisy(others(tx, me.id).await?) {
        let detail = json!({
            "running": noisy.running, "running_share": noisy.running_share, "time_share": noisy.time_share,
        });
        // Told once in ten minutes.
        sqlx::query(
            "insert into queue.events (tenant_id, id, what, detail)
             select $1, $2, 'noisy-neighbour', $3
             where not exists (select from queue.events where tenant_id = $1 and what = 'noisy-neighbour'
                                                          and at > now() - interval '10 minutes')",
        )
        .bind(noisy.tenant)
        .bind(Uuid::now_v7())
        .bind(detail)
        .execute(tx.connection())
        .await?;
    }
    Ok(())
}

/// What the other workers said at their last beat.
async fn others(tx: &mut SystemTx, me: Uuid) -> Result<Others, Error> {
    let (running, busy_ms): (i64, i64) = sqlx::query_as(
        "select coalesce(sum((report ->> 'seats_used')::bigint), 0)::bigint,
                coalesce(sum((report ->> 'busy_ms')::bigint), 0)::bigint
         from queue.workers where id <> $1 and dedicated is null and lease_until > clock_timestamp()",
    )
    .bind(me)
    .fetch_one(tx.connection())
    .await?;
    Ok(Others {
        running: u32::try_from(running).unwrap_or(0),
        busy: Duration::from_millis(u64::try_from(busy_ms).unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUSY: Duration = Duration::from_secs(9);

    const ALONE: Others = Others {
        running: 0,
        busy: Duration::ZERO,
    };

    /// The tenants that are called noisy after a period in which each was busy for this long, in seconds,
    /// and has so many tasks running.
    fn noisy(tenants: &[(u128, f64, u32)], others: Others) -> Vec<u128> {
        let mut ledger = Ledger::new(Tally::default());
        for (tenant, busy, _) in tenants {
            let sum = Sum {
                busy: Duration::from_secs_f64(*busy),
                ..Sum::default()
            };
            let of = (Uuid::from_u128(*tenant), "work", Priority::Normal);
            ledger.sums.insert(of, sum);
        }
        let running: Vec<(Uuid, u32)> = tenants
            .iter()
            .map(|(tenant, _, running)| (Uuid::from_u128(*tenant), *running))
            .collect();
        let noisy = ledger.close(&running).noisy(others);
        let mut noisy: Vec<u128> = noisy.iter().map(|noisy| noisy.tenant.as_u128()).collect();
        noisy.sort_unstable();
        noisy
    }

    #[test]
    fn a_tenant_is_noisy_by_its_time_or_by_what_it_runs_beside_others() {
        let busy = BUSY.as_secs_f64();
        assert_eq!(noisy(&[(1, busy, 0), (2, 0.1, 0)], ALONE), [1]);
        assert_eq!(noisy(&[(1, 0.1, 30), (2, 0.1, 5)], ALONE), [1]);
        // Little of both, and alone in the house.
        assert!(noisy(&[(1, 0.1, 29), (2, 0.1, 5)], ALONE).is_empty());
        assert!(noisy(&[(1, busy, 90)], ALONE).is_empty());
    }

    #[test]
    fn all_workers_together_are_the_house() {
        let busy = BUSY.as_secs_f64();
        let others = |running, times: u32| Others {
            running,
            busy: BUSY * times,
        };
        // The others are at work for others: alone here is not alone.
        assert_eq!(noisy(&[(1, busy, 0)], others(1, 1)), [1]);
        // A large part of what is done here is a small part of what is done.
        assert!(noisy(&[(1, busy, 0), (2, 0.1, 0)], others(0, 10)).is_empty());
        assert!(noisy(&[(1, 0.1, 30), (2, 0.1, 5)], others(300, 0)).is_empty());
    }

    #[test]
    fn a_period_begins_empty_and_remembers_how_busy_it_was() {
        let mut ledger = Ledger::new(Tally::default());
        let of = (Uuid::nil(), "work", Priority::Normal);
        ledger.sums.insert(
            of,
            Sum {
                busy: BUSY,
                ..Sum::default()
            },
        );
        assert_eq!(ledger.close(&[]).sums.len(), 1);
        assert!(ledger.close(&[]).sums.is_empty());
    }
}
