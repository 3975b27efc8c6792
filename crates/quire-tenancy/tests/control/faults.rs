//! Clocks that differ and a database that takes long.

use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike, NaiveTime, TimeDelta, Utc};
use quire_store::tenants::Tenant;
use quire_tenancy::usage::{Kind, Quantities};
use quire_tenancy::{Control, Reason, Route};
use quire_testkit::postgres::eventually;
use quire_types::{ErrorKind, Kind as _, NanoUsd};

use crate::support::{Lab, ask, caller, question};

const DAY: &str = "cost/tenant/day";
const MONTH: &str = "cost/tenant/month";
const DIME: NanoUsd = NanoUsd::from_nanos(100_000_000);

/// Three minutes before a midnight in the middle of this month.
fn before_midnight() -> DateTime<Utc> {
    let day = Utc::now().date_naive().with_day(14).unwrap();
    day.and_time(NaiveTime::from_hms_opt(23, 57, 0).unwrap())
        .and_utc()
}

/// Pays a dime for a question to a process whose clock shows `at`. Whether there was a dime.
async fn pay_a_dime(process: &Control, tenant: &Tenant, at: DateTime<Utc>) -> bool {
    let caller = caller(process, tenant).await;
    let mut call = question("0.1");
    call.at = at;
    let admitted = process.admit(&caller, call).await.unwrap();
    if admitted.route != Route::Full {
        return false;
    }
    let attempt = admitted
        .attempt(Kind::Chat, 1, "test", "gpt", (DIME, DIME))
        .await
        .unwrap();
    attempt.close(Quantities::default(), DIME);
    true
}

async fn pay_dimes(process: &Control, tenant: &Tenant, at: DateTime<Utc>, times: u32) -> i64 {
    let mut paid = 0;
    for _ in 0..times {
        paid += i64::from(pay_a_dime(process, tenant, at).await);
    }
    paid
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_minutes_apart_share_the_money_of_their_day() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("skewed", &[("cost_per_day", "$1")]).await;
    let (slow, fast) = (lab.other(), lab.other());
    let noon = before_midnight() - TimeDelta::hours(12);
    let (a, b) = tokio::join!(
        pay_dimes(&slow, &tenant, noon, 15),
        pay_dimes(&fast, &tenant, noon + TimeDelta::minutes(7), 15)
    );
    // What one process held ahead while the other asked is lost to both until it is settled.
    assert!((5..=10).contains(&(a + b)), "{a} and {b} of 10");
    for process in [&slow, &fast] {
        process.settle().await.unwrap();
    }
    let day = noon.date_naive();
    let spent = (a + b) * DIME.nanos();
    assert_eq!(lab.budget_on(&tenant, day, DAY).await, (spent, 0));
    let rest = pay_dimes(&fast, &tenant, noon, 15).await;
    assert_eq!(a + b + rest, 10, "to the last dime, and not twice");
}

#[tokio::test]
async fn at_midnight_each_clock_spends_the_money_of_its_own_day_and_both_that_of_the_month() {
    let lab = Lab::new().await;
    let limits = [("cost_per_day", "$1"), ("cost_per_month", "$1.5")];
    let tenant = lab.tenant("midnight", &limits).await;
    let (slow, fast) = (lab.other(), lab.other());
    let before = before_midnight();
    let after = before + TimeDelta::minutes(7);
    assert_eq!(pay_dimes(&slow, &tenant, before, 15).await, 10);
    assert_eq!(pay_dimes(&fast, &tenant, after, 15).await, 5);
    for process in [&slow, &fast] {
        process.settle().await.unwrap();
    }
    let cents = |cents: i64| (cents * DIME.nanos() / 10, 0);
    let (today, tomorrow) = (before.date_naive(), after.date_naive());
    assert_eq!(lab.budget_on(&tenant, today, DAY).await, cents(100));
    assert_eq!(lab.budget_on(&tenant, tomorrow, DAY).await, cents(50));
    assert_eq!(lab.budget_on(&tenant, tomorrow, MONTH).await, cents(150));

    // With more for the month, a clock that is set back finds its old day as it left it, and one that
    // reaches the new day what others spent of it.
    lab.limit(&tenant, "cost_per_month", Some("$100")).await;
    for process in [&slow, &fast] {
        process.forget(tenant.id);
    }
    assert_eq!(pay_dimes(&fast, &tenant, before, 2).await, 0);
    assert_eq!(pay_dimes(&slow, &tenant, after, 15).await, 5);
}

#[tokio::test]
async fn rates_do_not_look_at_the_clocks_of_processes() {
    let lab = Lab::new().await;
    let limits = [("requests_per_minute", "240")];
    let tenant = lab.tenant("skewed-rate", &limits).await;
    let processes = [lab.other(), lab.other()];
    let now = Utc::now();
    let clocks = [now - TimeDelta::minutes(5), now + TimeDelta::minutes(5)];
    let started = Instant::now();
    let (mut asked, mut admitted) = (0, 0_u32);
    while asked < 100 || started.elapsed() < Duration::from_millis(1_500) {
        for (process, at) in processes.iter().zip(clocks) {
            asked += 1;
            let mut call = question("0");
            call.at = at;
            let caller = caller(process, &tenant).await;
            admitted += u32::from(process.admit(&caller, call).await.is_ok());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // A burst of 60, then 4 a second.
    let most = 60 + (started.elapsed().as_secs_f64() * 4.0).ceil() as u32;
    assert!((60..=most).contains(&admitted), "{admitted}, {most}");
}

/// Whichever of its rows the database takes long with: refused in time, and nothing of it kept.
async fn stalls_and_recovers(lock: &'static str, slug: &str) {
    let lab = Lab::new().await;
    // Two at once, then one every 7.5 s: a refused request that kept its unit would be in the way of the next.
    let limits = [("requests_per_minute", "8"), ("cost_per_month", "$10")];
    let tenant = lab.tenant(slug, &limits).await;
    drop(lab.ask(&tenant, "0.01").await.unwrap());
    lab.control.settle().await.unwrap();

    let mut slow = lab.db.store.system().await.unwrap();
    sqlx::query(lock)
        .bind(tenant.id.uuid())
        .execute(slow.connection())
        .await
        .unwrap();
    for _ in 0..2 {
        let asked = tokio::time::timeout(Duration::from_secs(30), lab.ask(&tenant, "0.01"));
        let answer = asked.await.expect("an answer while the rows are locked");
        let refusal = answer.err().unwrap();
        assert_eq!(refusal.reason, Reason::Unknown, "{}", refusal.text);
        assert_eq!(refusal.kind(), ErrorKind::Unavailable);
        assert!(refusal.retry_after.is_some());
    }
    for (class, waiting, running) in lab.control.queue() {
        assert_eq!((waiting, running), (0, 0), "{class:?}");
    }
    drop(slow);

    eventually("it works again", async || {
        match lab.ask(&tenant, "0.01").await {
            Ok(admitted) => admitted.route == Route::Full,
            Err(refusal) => {
                assert_eq!(refusal.reason, Reason::Unknown, "{}", refusal.text);
                false
            }
        }
    })
    .await;
    eventually("what came too late is free again", async || {
        lab.control.settle().await.unwrap();
        lab.budget(&tenant, MONTH).await == (0, 0)
    })
    .await;
}

#[tokio::test]
async fn budgets_that_take_long_refuse_and_keep_nothing() {
    let lock = "select from control.budgets where tenant_id = $1 for update";
    stalls_and_recovers(lock, "slow-budgets").await;
}

#[tokio::test]
async fn rates_that_take_long_refuse_and_keep_nothing() {
    let lock = "select from control.rates where tenant_id = $1 for update";
    stalls_and_recovers(lock, "slow-rates").await;
}

#[tokio::test]
async fn a_tenant_that_takes_long_to_look_up_is_told_so() {
    let lab = Lab::new().await;
    let tenant = lab.tenant("slow-lookup", &[]).await;
    let fresh = lab.other();
    let mut slow = lab.db.store.system().await.unwrap();
    sqlx::query("lock table directory.tenants in access exclusive mode")
        .execute(slow.connection())
        .await
        .unwrap();
    let looked = tokio::time::timeout(Duration::from_secs(30), fresh.account(tenant.id));
    let error = looked.await.expect("an answer while the table is locked");
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Unavailable);
    drop(slow);
    eventually("it works again", async || {
        fresh.account(tenant.id).await.is_ok()
    })
    .await;
    assert!(ask(&fresh, &tenant, "0").await.is_ok());
}
