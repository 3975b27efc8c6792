//! Schedules: what enqueues tasks in time.
//!
//! A schedule is a row with the moment it fires next. Any worker fires what is due: in one transaction it
//! locks the due rows, adds their tasks and moves the rows on, so a moment fires once and needs no leader.
//! Moments are spread by a part of the schedule's id, so that a hundred thousand nightly schedules do not
//! fire in one second.

use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use chrono_tz::Tz;
use croner::Cron;
use sqlx::FromRow;
use uuid::Uuid;

use quire_store::{SystemTx, TenantTx};
use quire_types::{ScheduleId, Timestamp};

use crate::enqueue::shard_of;
use crate::{Error, Task};

mod operate;

pub use operate::{ScheduleRow, ScheduleSelection, pause_schedule, schedules};

/// A moment that is further back was missed, not late.
const LATE: TimeDelta = TimeDelta::seconds(60);

/// When a schedule fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// At the moments of a cron expression of five fields, in the schedule's time zone.
    Cron(String),
    /// Every so often, counted from when it was made.
    Every(Duration),
    /// Once.
    Once(Timestamp),
}

/// What happens to moments at which no worker lived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Nothing.
    Skip,
    /// One task for all of them.
    Once,
    /// A task for each.
    All,
}

impl Missed {
    /// The name in the database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }
}

/// A schedule to be made.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Unique for the tenant; making it again changes the one that is there.
    pub name: String,
    /// When it fires.
    pub rule: Rule,
    /// The IANA name of the zone that cron expressions are meant in.
    pub time_zone: String,
    /// Moments are moved by up to this much, always the same for one schedule.
    pub jitter: Duration,
    /// What happens to moments that were missed.
    pub missed: Missed,
}

impl Plan {
    /// A plan in UTC without jitter, which makes up for missed moments with one task.
    pub fn new(name: impl Into<String>, rule: Rule) -> Self {
        Self {
            name: name.into(),
            rule,
            time_zone: "UTC".to_owned(),
            jitter: Duration::ZERO,
            missed: Missed::Once,
        }
    }
}

/// Makes or changes a schedule of the transaction's tenant; `task` is what it enqueues.
pub async fn schedule<T: Task>(
    tx: &mut TenantTx,
    task: &T,
    plan: &Plan,
) -> Result<ScheduleId, Error> {
    if plan.name.is_empty() || plan.name.chars().count() > 200 || plan.name.contains('\0') {
        return Err(Error::Invalid(
            "the name of a schedule has 1 to 200 characters".to_owned(),
        ));
    }
    let jitter_s = i32::try_from(plan.jitter.as_secs()).unwrap_or(i32::MAX);
    if jitter_s > 86_400 {
        return Err(Error::Invalid("a jitter is at most a day".to_owned()));
    }
    let clock = Clock::parse(&plan.rule.to_text(), &plan.time_zone)?;
    // Whoever makes it may be on a machine whose clock is wrong; the database's decides when it is due.
    let (now, known): (Timestamp, Option<Uuid>) = sqlx::query_as(
        "select now(), (select id from queue.schedules where tenant_id = $1 and name = $2)",
    )
    .bind(tx.tenant_id())
    .bind(&plan.name)
    .fetch_one(tx.connection())
    .await?;
    let due = clock.first(now)?;
    // Made again, it keeps its id, which its jitter comes from.
    let id = known.unwrap_or_else(Uuid::now_v7);
    let id: Uuid = sqlx::query_scalar(
        "insert into queue.schedules (tenant_id, id, name, kind, priority, payload, rule, time_zone, jitter_s, missed,
                                      due_at, next_at)
         values ($1, $2, $3, $4, $5, $6::json, $7, $8, $9, $10, $11, $11 + make_interval(secs => $12))
         on conflict (tenant_id, name) do update
         set kind = excluded.kind, priority = excluded.priority, payload = excluded.payload, rule = excluded.rule,
             time_zone = excluded.time_zone, jitter_s = excluded.jitter_s, missed = excluded.missed,
             due_at = excluded.due_at, next_at = excluded.next_at, problem = null
         returning id",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .bind(&plan.name)
    .bind(T::KIND)
    .bind(T::PRIORITY as i16)
    .bind(serde_json::to_string(task)?)
    .bind(plan.rule.to_text())
    .bind(&plan.time_zone)
    .bind(jitter_s)
    .bind(plan.missed.as_str())
    .bind(due)
    .bind(f64::from(spread(id, jitter_s)))
    .fetch_one(tx.connection())
    .await?;
    Ok(id.into())
}

/// Removes a schedule; tasks that it made stay.
pub async fn unschedule(tx: &mut TenantTx, name: &str) -> Result<(), Error> {
    let removed = sqlx::query("delete from queue.schedules where tenant_id = $1 and name = $2")
        .bind(tx.tenant_id())
        .bind(name)
        .execute(tx.connection())
        .await?;
    match removed.rows_affected() {
        0 => Err(Error::NotFound("schedule")),
        _ => Ok(()),
    }
}

impl Rule {
    fn to_text(&self) -> String {
        match self {
            Self::Cron(expression) => format!("cron {expression}"),
            Self::Every(period) => format!("every {}", period.as_secs()),
            Self::Once(at) => format!("once {}", at.to_rfc3339()),
        }
    }
}

/// A rule that can be computed with.
enum Clock {
    Cron(Box<Cron>, Tz),
    Every(TimeDelta),
    Once(Timestamp),
}

impl Clock {
    fn parse(rule: &str, time_zone: &str) -> Result<Self, Error> {
        let zone: Tz = time_zone.parse().map_err(|_| {
            Error::Invalid(format!(
                "'{time_zone}' is no time zone: use a name like Europe/Berlin"
            ))
        })?;
        let bad =
            |why: &dyn std::fmt::Display| Error::Invalid(format!("'{rule}' is no rule: {why}"));
        match rule.split_once(' ') {
            Some(("cron", expression)) => {
                let cron = Cron::from_str(expression).map_err(|error| bad(&error))?;
                Ok(Self::Cron(Box::new(cron), zone))
            }
            Some(("every", seconds)) => match seconds.parse::<u32>() {
                Ok(seconds) if seconds > 0 => {
                    Ok(Self::Every(TimeDelta::seconds(i64::from(seconds))))
                }
                _ => Err(bad(&"a period has from 1 to 4294967295 seconds")),
            },
            Some(("once", at)) => match DateTime::parse_from_rfc3339(at) {
                Ok(at) => Ok(Self::Once(at.to_utc())),
                Err(error) => Err(bad(&error)),
            },
            _ => Err(bad(&"it begins with cron, every or once")),
        }
    }

    /// The first moment of a new schedule.
    fn first(&self, now: Timestamp) -> Result<Timestamp, Error> {
        let first = match self {
            Self::Once(at) => Some(*at),
            _ => self.after(now),
        };
        first.ok_or_else(|| Error::Invalid("this rule never fires".to_owned()))
    }

    /// The moment after a moment; none when there is no further one.
    fn after(&self, moment: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron, zone) => {
                let next = cron.find_next_occurrence(&moment.with_timezone(zone), false);
                next.ok().map(|next| next.to_utc())
            }
            Self::Every(period) => moment.checked_add_signed(*period),
            Self::Once(_) => None,
        }
    }

    /// The first moment after `moment` that lies in the future.
    fn after_now(&self, moment: Timestamp, now: Timestamp) -> Option<Timestamp> {
        match self {
            // A period of a second after a week of silence must not be stepped through.
            Self::Every(period) if moment < now => {
                let missed = (now - moment).num_seconds() / period.num_seconds().max(1);
                let seconds = missed
                    .saturating_add(1)
                    .saturating_mul(period.num_seconds());
                moment.checked_add_signed(TimeDelta::seconds(seconds))
            }
            _ => self.after(moment.max(now)),
        }
    }
}

/// How far a schedule's moments are moved, in seconds.
fn spread(id: Uuid, jitter_s: i32) -> i32 {
    // The last bytes of a version 7 UUID are random.
    let random = u32::from_be_bytes(id.as_bytes()[12..].try_into().unwrap_or_default());
    let within = u32::try_from(jitter_s).unwrap_or(0) + 1;
    i32::try_from(random % within).unwrap_or(0)
}

#[derive(FromRow)]
struct Due {
    tenant_id: Uuid,
    id: Uuid,
    kind: String,
    priority: i16,
    payload: serde_json::Value,
    rule: String,
    time_zone: String,
    jitter_s: i32,
    missed: String,
    due_at: Timestamp,
    next_at: Timestamp,
    now: Timestamp,
}

/// What one due schedule does.
struct Firing {
    fires: bool,
    due: Option<Timestamp>,
    problem: Option<String>,
}

fn firing(schedule: &Due) -> Firing {
    let clock = match Clock::parse(&schedule.rule, &schedule.time_zone) {
        Ok(clock) => clock,
        Err(error) => {
            return Firing {
                fires: false,
                due: None,
                problem: Some(error.to_string()),
            };
        }
    };
    let is_missed = schedule.now - schedule.next_at > LATE;
    match schedule.missed.as_str() {
        "all" => Firing {
            fires: true,
            due: clock.after(schedule.due_at),
            problem: None,
        },
        missed => Firing {
            fires: !is_missed || missed == "once",
            // Moments are moved by the jitter, and so is the present they are compared with.
            due: clock.after_now(
                schedule.due_at,
                schedule.now
                    - TimeDelta::seconds(i64::from(spread(schedule.id, schedule.jitter_s))),
            ),
            problem: None,
        },
    }
}

/// Fires due schedules, at most `limit`. `since` as in [`crate::rows::promote`]. Returns how many were due
/// and the latest of their moments.
pub(crate) async fn fire(
    tx: &mut SystemTx,
    since: Option<Timestamp>,
    limit: i64,
) -> Result<(u64, Option<Timestamp>), Error> {
    let due: Vec<Due> = sqlx::query_as(
        "select tenant_id, id, kind, priority, payload, rule, time_zone, jitter_s, missed, due_at, next_at, now() as now
         from queue.schedules
         where next_at <= now() and not is_paused and ($2::timestamptz is null or next_at >= $2)
         order by next_at limit $1 for update skip locked",
    )
    .bind(limit)
    .bind(since)
    .fetch_all(tx.connection())
    .await?;
    if due.is_empty() {
        return Ok((0, None));
    }
    let firings: Vec<Firing> = due.iter().map(firing).collect();
    sqlx::query(
        "update queue.schedules s
         set due_at = f.due, next_at = f.due + make_interval(secs => f.spread), problem = f.problem,
             fired_at = case when f.fires then now() else s.fired_at end
         from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::float8[], $5::text[], $6::bool[])
              as f (tenant_id, id, due, spread, problem, fires)
         where s.tenant_id = f.tenant_id and s.id = f.id",
    )
    .bind(due.iter().map(|due| due.tenant_id).collect::<Vec<_>>())
    .bind(due.iter().map(|due| due.id).collect::<Vec<_>>())
    .bind(firings.iter().map(|firing| firing.due).collect::<Vec<_>>())
    .bind(due.iter().map(|due| f64::from(spread(due.id, due.jitter_s))).collect::<Vec<_>>())
    .bind(firings.iter().map(|firing| firing.problem.clone()).collect::<Vec<_>>())
    .bind(firings.iter().map(|firing| firing.fires).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;

    let fired: Vec<&Due> = due
        .iter()
        .zip(&firings)
        .filter(|(_, firing)| firing.fires)
        .map(|(due, _)| due)
        .collect();
    sqlx::query(
        "insert into queue.ready (tenant_id, id, shard, kind, payload, priority)
         select f.tenant_id, f.id, coalesce(t.shard, f.shard), f.kind, f.payload::json, f.priority
         from unnest($1::uuid[], $2::uuid[], $3::smallint[], $4::text[], $5::text[], $6::smallint[])
              as f (tenant_id, id, shard, kind, payload, priority)
         left join queue.tenants t on t.tenant_id = f.tenant_id",
    )
    .bind(fired.iter().map(|due| due.tenant_id).collect::<Vec<_>>())
    .bind(fired.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(
        fired
            .iter()
            .map(|due| shard_of(due.tenant_id.into()))
            .collect::<Vec<_>>(),
    )
    .bind(fired.iter().map(|due| due.kind.clone()).collect::<Vec<_>>())
    .bind(
        fired
            .iter()
            .map(|due| due.payload.to_string())
            .collect::<Vec<_>>(),
    )
    .bind(fired.iter().map(|due| due.priority).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    let count = u64::try_from(due.len()).unwrap_or(u64::MAX);
    Ok((count, due.iter().map(|due| due.next_at).max()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        DateTime::parse_from_rfc3339(text)
            .map(|at| at.to_utc())
            .unwrap_or_default()
    }

    fn next(rule: &str, zone: &str, after: &str) -> Option<String> {
        let clock = Clock::parse(rule, zone).ok()?;
        clock.after(at(after)).map(|next| next.to_rfc3339())
    }

    #[test]
    fn cron_is_meant_in_its_time_zone_across_summer_time() {
        let rule = "cron 30 2 * * *";
        assert_eq!(
            next(rule, "Europe/Berlin", "2026-06-01T12:00:00Z").as_deref(),
            Some("2026-06-02T00:30:00+00:00")
        );
        assert_eq!(
            next(rule, "Europe/Berlin", "2026-12-01T12:00:00Z").as_deref(),
            Some("2026-12-02T01:30:00+00:00")
        );
        // 2:30 does not exist on the last Sunday of March; the day is not left out.
        let skipped = next(rule, "Europe/Berlin", "2026-03-28T12:00:00Z");
        assert!(skipped.is_some_and(|next| next.starts_with("2026-03-29T01:")));
    }

    #[test]
    fn rules_that_make_no_sense_are_refused() {
        for rule in [
            "cron x",
            "cron 99 * * * *",
            "every 0",
            "every -5",
            "every 0.5",
            "every 4294967296",
            "every 18446744073709551615",
            "once +262142-12-31T23:59:59Z",
            "once noon",
            "daily",
            "",
        ] {
            assert!(Clock::parse(rule, "UTC").is_err(), "{rule}");
        }
        assert!(Clock::parse("every 5", "Mars/Olympus").is_err());
        let never = Clock::parse("cron 0 0 30 2 *", "UTC");
        assert!(
            never
                .and_then(|clock| clock.first(at("2026-01-01T00:00:00Z")))
                .is_err()
        );
    }

    fn due(rule: &str, missed: &str, due_at: &str, now: &str) -> Due {
        Due {
            tenant_id: Uuid::nil(),
            id: Uuid::nil(),
            kind: String::new(),
            priority: 2,
            payload: serde_json::Value::Null,
            rule: rule.to_owned(),
            time_zone: "UTC".to_owned(),
            jitter_s: 0,
            missed: missed.to_owned(),
            due_at: at(due_at),
            next_at: at(due_at),
            now: at(now),
        }
    }

    #[test]
    fn the_longest_rules_can_be_computed_with() {
        let now = at("2026-05-01T06:00:00Z");
        let longest = Clock::parse("every 4294967295", "UTC").and_then(|clock| clock.first(now));
        assert_eq!(
            longest.ok().map(|next| next.to_rfc3339()).as_deref(),
            Some("2162-06-07T12:28:15+00:00")
        );
        let last = Rule::Once(at("9999-12-31T23:59:59Z"));
        assert!(Clock::parse(&last.to_text(), "UTC").is_ok());
        let beyond = Rule::Once(Timestamp::MAX_UTC);
        assert!(Clock::parse(&beyond.to_text(), "UTC").is_err());
        let half = Rule::Every(Duration::from_millis(500));
        assert!(Clock::parse(&half.to_text(), "UTC").is_err());
        let endless = Rule::Every(Duration::MAX);
        assert!(Clock::parse(&endless.to_text(), "UTC").is_err());
    }

    #[test]
    fn what_was_missed_is_skipped_made_up_for_once_or_each() {
        let day = |missed| {
            let due = due(
                "cron 0 6 * * *",
                missed,
                "2026-05-01T06:00:00Z",
                "2026-05-04T07:00:00Z",
            );
            let firing = firing(&due);
            (
                firing.fires,
                firing.due.map(|due| due.to_rfc3339()).unwrap_or_default(),
            )
        };
        assert_eq!(day("skip"), (false, "2026-05-05T06:00:00+00:00".to_owned()));
        assert_eq!(day("once"), (true, "2026-05-05T06:00:00+00:00".to_owned()));
        assert_eq!(day("all"), (true, "2026-05-02T06:00:00+00:00".to_owned()));
        let on_time = due(
            "every 60",
            "skip",
            "2026-05-01T06:00:00Z",
            "2026-05-01T06:00:01Z",
        );
        let on_time = firing(&on_time);
        assert!(on_time.fires);
        assert_eq!(on_time.due, Some(at("2026-05-01T06:01:00Z")));
        // A week of silence at one a second is one step.
        let week = due(
            "every 1",
            "once",
            "2026-05-01T06:00:00Z",
            "2026-05-08T06:00:00.5Z",
        );
        assert_eq!(firing(&week).due, Some(at("2026-05-08T06:00:01Z")));
    }

    #[test]
    fn jitter_spreads_schedules_and_is_the_same_each_time() {
        let ids: Vec<Uuid> = (0..500).map(|_| Uuid::now_v7()).collect();
        let spreads: Vec<i32> = ids.iter().map(|id| spread(*id, 600)).collect();
        assert_eq!(
            spreads,
            ids.iter().map(|id| spread(*id, 600)).collect::<Vec<_>>()
        );
        assert!(spreads.iter().all(|spread| (0..=600).contains(spread)));
        assert!(spreads.iter().any(|spread| *spread < 100));
        assert!(spreads.iter().any(|spread| *spread > 500));
        assert_eq!(spread(ids[0], 0), 0);
    }
}
