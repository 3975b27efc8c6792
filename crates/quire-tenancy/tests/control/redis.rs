//! Rates in Redis: the same as in PostgreSQL, and PostgreSQL when it is gone.

use std::time::Duration;

use quire_store::tenants::Tenant;
use quire_tenancy::{Control, Reason};
use quire_testkit::postgres::eventually;
use quire_testkit::redis::RedisServer;

use crate::support::{Lab, ask};

#[tokio::test]
async fn processes_share_one_rate_in_redis_and_nothing_of_it_in_the_database() {
    let redis = RedisServer::start().await;
    let lab = Lab::new().await;
    let tenant = lab
        .tenant("redis-rate", &[("requests_per_minute", "12")])
        .await;
    let processes = [lab.with_redis(&redis.url()), lab.with_redis(&redis.url())];
    for process in &processes {
        uses_redis(&lab, process).await;
    }
    let mut admitted = 0;
    for process in processes.iter().cycle().take(20) {
        admitted += u32::from(ask(process, &tenant, "0").await.is_ok());
    }
    assert_eq!(admitted, 3, "a burst of a quarter");
    let refusal = ask(&processes[0], &tenant, "0").await.err().unwrap();
    assert_eq!(refusal.reason, Reason::Rate);
    let wait = refusal.retry_after.unwrap();
    assert!(
        wait > Duration::ZERO && wait <= Duration::from_secs(5),
        "{wait:?}"
    );
    assert_eq!(rates_in_database(&lab, &tenant).await, 0);
}

async fn rates_in_database(lab: &Lab, tenant: &Tenant) -> i64 {
    let mut tx = lab.db.store.system().await.unwrap();
    sqlx::query_scalar("select count(*) from control.rates where tenant_id = $1")
        .bind(tenant.id.uuid())
        .fetch_one(tx.connection())
        .await
        .unwrap()
}

/// Returns once a process has reached Redis, which it gives little time, the first time as any other.
async fn uses_redis(lab: &Lab, process: &Control) {
    let number = std::cell::Cell::new(0);
    eventually("it uses Redis", || async {
        number.set(number.get() + 1);
        let tenant = lab
            .tenant(&format!("{:p}-{}", process, number.get()), &[])
            .await;
        ask(process, &tenant, "0").await.unwrap();
        rates_in_database(lab, &tenant).await == 0
    })
    .await;
}

#[tokio::test]
async fn when_redis_goes_away_rates_are_still_limits() {
    let redis = RedisServer::start().await;
    let lab = Lab::new().await;
    let tenant = lab
        .tenant("redis-gone", &[("requests_per_minute", "12")])
        .await;
    let process = lab.with_redis(&redis.url());
    uses_redis(&lab, &process).await;
    assert!(ask(&process, &tenant, "0").await.is_ok());
    drop(redis);
    let mut admitted = 0;
    for _ in 0..20 {
        admitted += u32::from(ask(&process, &tenant, "0").await.is_ok());
    }
    assert_eq!(admitted, 3, "one burst more, and no error");
}
