//! Rates in Redis: the same as in PostgreSQL, and PostgreSQL when it is gone.

use std::time::Duration;

use quire_tenancy::{Control, Reason};
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
    let mut admitted = 0;
    for process in processes.iter().cycle().take(20) {
        admitted += u32::from(ask(process, &tenant, "0").await.is_ok());
    }
    assert_eq!(admitted, 3, "a burst of a quarter");
    let refusal = ask(&processes[0], &tenant, "0").await.err().unwrap();
    assert_eq!(refusal.reason, Reason::Rate);
    let wait = refusal.retry_after.unwrap();
    assert!(
        wait > Duration::from_secs(3) && wait <= Duration::from_secs(5),
        "{wait:?}"
    );
    let mut tx = lab.db.store.system().await.unwrap();
    let rows: i64 = sqlx::query_scalar("select count(*) from control.rates")
        .fetch_one(tx.connection())
        .await
        .unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn when_redis_goes_away_rates_are_still_limits() {
    let redis = RedisServer::start().await;
    let lab = Lab::new().await;
    let tenant = lab
        .tenant("redis-gone", &[("requests_per_minute", "12")])
        .await;
    let process: Control = lab.with_redis(&redis.url());
    assert!(ask(&process, &tenant, "0").await.is_ok());
    drop(redis);
    let mut admitted = 0;
    for _ in 0..20 {
        admitted += u32::from(ask(&process, &tenant, "0").await.is_ok());
    }
    assert_eq!(admitted, 3, "one burst more, and no error");
}
