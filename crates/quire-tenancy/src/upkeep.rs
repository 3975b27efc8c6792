//! What a running process does beside admitting: hears of changes, writes usage, settles holds that are over,
//! sums usage, sweeps what dead processes held, and keeps the tables in shape. While nobody calls, nothing
//! of this asks the database.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{Months, NaiveDate, Utc};
use serde_json::json;
use sqlx::PgConnection;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use quire_store::{Store, partitions};

use crate::budgets::{self, Account};
use crate::control::Inner;
use crate::notices::{self, Notice};
use crate::{Error, sums};

/// How often holds that are over are settled.
const SETTLE_EVERY: Duration = Duration::from_secs(1);
/// How often usage is summed and dead holds are looked for.
const SUM_EVERY: Duration = Duration::from_secs(60);
/// How often the tables are looked after.
const TABLES_EVERY: Duration = Duration::from_secs(3_600);
/// Accounts that are settled in one statement.
const SETTLE_ROWS: usize = 500;
/// Months for which events are kept; sums are kept for ever.
const KEPT_MONTHS: u32 = 13;
/// Months for which partitions are made ahead.
const AHEAD_MONTHS: u32 = 2;
/// Days for which budgets of the past are kept.
const KEPT_BUDGET_DAYS: i32 = 40;
/// A tenant that takes more than this percentage of the seats' time stands out.
const NOISY_PERCENT: u64 = 10;
/// Less time of seats than this in a minute is no reason to look, in microseconds.
const QUIET_US: u64 = 20_000_000;

pub(crate) async fn run(inner: &Arc<Inner>, stop: CancellationToken) {
    let listening = inner.known.listen(stop.clone());
    let writing = stop.run_until_cancelled(inner.meter.run(&inner.store));
    let settling = stop.run_until_cancelled(keep_settling(inner));
    tokio::join!(listening, writing, settling);
    if let Err(error) = settle(inner, true).await {
        warn!(%error, "what was held can't be settled now; it is when it expires");
    }
}

async fn keep_settling(inner: &Inner) {
    let mut tick = interval(SETTLE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut worked = true;
    let mut summed = Instant::now();
    let mut tables: Option<Instant> = None;
    loop {
        tick.tick().await;
        if let Err(error) = settle(inner, false).await {
            warn!(%error, "holds can't be settled; trying again");
        }
        worked |= !inner.lives().is_empty();
        if worked && summed.elapsed() >= SUM_EVERY {
            summed = Instant::now();
            // A minute after the last request everything is summed, and nothing is asked any more.
            worked = !inner.lives().is_empty();
            if let Err(error) = minute(inner).await {
                warn!(%error, "usage can't be summed; trying again");
            }
        }
        if tables.is_none_or(|last| last.elapsed() >= TABLES_EVERY) {
            tables = Some(Instant::now());
            if let Err(error) = care(&inner.store).await {
                warn!(%error, "the tables of the control plane can't be looked after");
            }
        }
    }
}

/// Settles the holds that are over; all that nobody spends from when the process ends.
pub(crate) async fn settle(inner: &Inner, every: bool) -> Result<(), Error> {
    if every {
        inner.meter.flush(&inner.store).await?;
    }
    let now = Instant::now();
    let mut accounts = inner.take_unsettled();
    for (tenant, live) in inner.lives() {
        let due = {
            let mut purse = live.purse();
            accounts.extend(purse.close(tenant, now, every));
            purse.to_renew(now)
        };
        if due.is_empty() {
            continue;
        }
        match budgets::renew(&inner.store, tenant, &due).await {
            Ok(()) => live.purse().renewed(now, &due),
            Err(error) => warn!(%error, "holds can't be renewed; trying again"),
        }
    }
    let result = settle_all(inner, accounts).await;
    inner.forget_idle();
    result
}

/// What can't be settled now is kept for the next time: events first, since whoever counts anew counts them.
async fn settle_all(inner: &Inner, mut accounts: Vec<Account>) -> Result<(), Error> {
    let flushed = match accounts.is_empty() {
        true => Ok(()),
        false => inner.meter.flush(&inner.store).await,
    };
    let mut result = flushed;
    while result.is_ok() && !accounts.is_empty() {
        let rest = accounts.split_off(accounts.len().min(SETTLE_ROWS));
        // A hold that was settled already, before the connection broke, is not found again.
        result = budgets::settle(&inner.store, &accounts).await;
        match result {
            Ok(()) => accounts = rest,
            Err(_) => accounts.extend(rest),
        }
    }
    inner.keep_unsettled(accounts);
    result
}

async fn minute(inner: &Inner) -> Result<(), Error> {
    budgets::sweep(&inner.store).await?;
    sums::sum(&inner.store, None).await?;
    note_noise(inner).await
}

/// A tenant that took more than its tenth of the seats while others were there too.
async fn note_noise(inner: &Inner) -> Result<(), Error> {
    let now = Utc::now();
    for (tenant, percent) in noisy(&inner.gate.take_served()) {
        let notice = Notice {
            tenant: tenant.into(),
            kind: notices::NOISY_NEIGHBOUR,
            hour: notices::hour(now),
            level: i32::try_from(percent / 10 * 10).unwrap_or(100),
            detail: json!({ "resource": "seats", "percent": percent }),
        };
        let mut tx = inner.store.system().await?;
        notices::note(&mut tx, &notice).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Of the time that tenants held seats, in microseconds: who took more than a tenth, and how many percent.
fn noisy(served: &[(Uuid, u64)]) -> Vec<(Uuid, u64)> {
    let all: u64 = served.iter().map(|(_, us)| us).sum();
    if all < QUIET_US || served.len() < 2 {
        return Vec::new();
    }
    served
        .iter()
        .map(|(tenant, us)| (*tenant, us * 100 / all))
        .filter(|(_, percent)| *percent > NOISY_PERCENT)
        .collect()
}

/// Brings the tables in shape: partitions of the coming months, and nothing that nobody will ask about.
pub async fn care(store: &Store) -> Result<(), Error> {
    let mut owner = store.owner().await?;
    let month = budgets::Period::Month.start(Utc::now().date_naive());
    for ahead in 0..=AHEAD_MONTHS {
        if let Some(start) = month.checked_add_months(Months::new(ahead)) {
            make_partition(&mut owner, start).await?;
        }
    }
    if let Some(oldest) = month.checked_sub_months(Months::new(KEPT_MONTHS)) {
        let oldest = format!("control.usage_events_{}", oldest.format("%Y%m"));
        partitions::drop_before(&mut owner, "control.usage_events", &oldest).await?;
    }
    let mut tx = store.system().await?;
    sqlx::query("delete from control.budgets where starts_on < now() - make_interval(days => $1) and held = 0")
        .bind(KEPT_BUDGET_DAYS)
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "delete from control.rates where arrival < (extract(epoch from now() - interval '1 day') * 1000000)::bigint",
    )
    .execute(tx.connection())
    .await?;
    notices::forget_old(&mut tx).await?;
    tx.commit().await?;
    Ok(())
}

async fn make_partition(owner: &mut PgConnection, month: NaiveDate) -> Result<(), Error> {
    let name = format!("control.usage_events_{}", month.format("%Y%m"));
    let next = budgets::Period::Month.next(month);
    // Both values are dates of ours. What came before its partition was made moves out of the rest.
    let statements = format!(
        "create table {name} (like control.usage_events including all);
         alter table {name} enable row level security;
         alter table {name} force row level security;
         create policy owner on {name} to quire_owner using (true) with check (true);
         create policy moving on control.usage_events_rest to quire_owner using (true) with check (true);
         with moved as (
             delete from control.usage_events_rest where day >= '{month}' and day < '{next}' returning *
         )
         insert into {name} select * from moved;
         drop policy moving on control.usage_events_rest;
         drop policy owner on {name};
         alter table control.usage_events attach partition {name} for values from ('{month}') to ('{next}')"
    );
    Ok(partitions::make(owner, &name, &statements).await?)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "what a test can't do ends it")]
mod tests {
    use quire_store::tenants::Tenant;
    use quire_testkit::postgres::TestStore;
    use quire_types::RequestId;

    use super::*;
    use crate::{
        Admitted, Call, Caller, Class, Control, ControlConfig, GateConfig, Ladder, LimitName,
        lifecycle, plans,
    };

    /// A tenant that may take many seats.
    async fn tenant(db: &TestStore, slug: &str) -> Tenant {
        let newcomer = lifecycle::Newcomer {
            slug: slug.to_owned(),
            name: None,
            country: None,
            plan: None,
        };
        let onboarded = lifecycle::register(&db.store, &newcomer).await.unwrap();
        let id = onboarded.tenant.id;
        let mut tx = db.store.system().await.unwrap();
        for limit in [LimitName::RequestsPerMinute, LimitName::RunningRequests] {
            plans::set_override(&mut tx, id, limit, Some("1000"))
                .await
                .unwrap();
        }
        tx.commit().await.unwrap();
        onboarded.tenant
    }

    async fn seated(control: &Control, tenant: &Tenant) -> Admitted {
        let caller = Caller {
            account: control.account(tenant.id).await.unwrap(),
            key: None,
        };
        let call = Call::new(RequestId::generate().uuid(), Class::Interactive);
        control.admit(&caller, call).await.unwrap()
    }

    #[tokio::test]
    async fn a_noisy_neighbour_is_written_down_once_and_listed() {
        let db = TestStore::new().await;
        let mut tx = db.store.system().await.unwrap();
        plans::ensure_catalogue(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        let (loud, quiet) = (tenant(&db, "loud").await, tenant(&db, "quiet").await);
        let gate = GateConfig {
            seats: 100,
            ..GateConfig::default()
        };
        let control = Control::new(ControlConfig {
            store: db.store.clone(),
            gate,
            ladder: Ladder::default(),
        });
        for _ in 0..2 {
            let mut seats = vec![seated(&control, &quiet).await];
            for _ in 0..60 {
                seats.push(seated(&control, &loud).await);
            }
            // Sixty-one seats for a fiftieth of what is too little to look at.
            tokio::time::sleep(Duration::from_micros(QUIET_US / 50)).await;
            drop(seats);
            minute(&control.inner).await.unwrap();
        }
        let mut tx = db.store.system().await.unwrap();
        let notices = notices::list(&mut tx, 10).await.unwrap();
        for notice in &notices {
            assert_eq!(notice.tenant_id, loud.id.uuid());
            assert_eq!(notice.kind, notices::NOISY_NEIGHBOUR);
            assert_eq!(notice.level, 90);
            assert_eq!(notice.detail["resource"], "seats");
        }
        let mut hours: Vec<_> = notices.iter().map(|notice| notice.hour).collect();
        hours.dedup();
        assert!(!hours.is_empty());
        assert_eq!(hours.len(), notices.len(), "once for each hour");
    }

    #[test]
    fn who_takes_over_a_tenth_beside_others_is_noisy() {
        let tenant = Uuid::from_u128;
        let crowd = |loud: u64| -> Vec<(Uuid, u64)> {
            let quiet = (1..=20).map(|number| (tenant(number), QUIET_US / 20));
            quiet.chain([(tenant(99), loud)]).collect()
        };
        assert_eq!(noisy(&crowd(QUIET_US)), [(tenant(99), 50)]);
        assert_eq!(noisy(&crowd(QUIET_US / 10)), [], "nine percent");
        assert_eq!(
            noisy(&[(tenant(1), QUIET_US * 9)]),
            [],
            "nobody else was there"
        );
        assert_eq!(
            noisy(&[(tenant(1), 9), (tenant(2), 1)]),
            [],
            "hardly any work"
        );
    }
}
