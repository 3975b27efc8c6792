//! Transactions of two tenants, begun and dropped anywhere, over two connections: none may leave its
//! tenant, or itself, to the next one.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use quire_store::{Placement, Store, notebooks};
use quire_testkit::postgres::TestStore;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::connect_as;

const TASKS: u64 = 8;
const EACH: u32 = 600;

async fn current_tenant(store: &Store, placement: Placement) -> Result<bool, quire_store::Error> {
    let mut tx = store.tenant(placement).await?;
    let tenant: String = sqlx::query_scalar("select current_setting('quire.tenant')")
        .fetch_one(tx.connection())
        .await?;
    Ok(tenant == placement.tenant.uuid().to_string())
}

/// A transaction with a read, a write and, mostly, a commit. Says whether it saw its own tenant.
async fn work(store: &Store, placement: Placement, commits: bool) -> bool {
    let mut tx = store.tenant(placement).await.unwrap();
    let tenant: String = sqlx::query_scalar("select current_setting('quire.tenant')")
        .fetch_one(tx.connection())
        .await
        .unwrap();
    notebooks::create(&mut tx, &Uuid::new_v4().to_string())
        .await
        .unwrap();
    if commits {
        tx.commit().await.unwrap();
    }
    tenant == placement.tenant.uuid().to_string()
}

/// The outcome of `future`, or none when it was dropped after so many polls.
async fn polled<F: Future>(times: u32, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = times;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        future.as_mut().poll(context).map(Some)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_transaction_leaves_nothing_behind() {
    let test = TestStore::new().await;
    let placements = [
        test.tenant("a").await.placement(),
        test.tenant("b").await.placement(),
    ];
    let store = test.reopened(2).await;
    static CANCELLED: AtomicU32 = AtomicU32::new(0);
    static FINISHED: AtomicU32 = AtomicU32::new(0);

    let tasks = (0..TASKS).map(|seed| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed);
            for _ in 0..EACH {
                let placement = placements[rng.random_range(0..2)];
                let work = work(&store, placement, rng.random_bool(0.8));
                let saw_own = if rng.random_bool(0.7) {
                    polled(rng.random_range(1..10), work).await
                } else {
                    let wait = Duration::from_micros(rng.random_range(0..1_000));
                    tokio::time::timeout(wait, work).await.ok()
                };
                match saw_own {
                    Some(own) => {
                        assert!(own, "a transaction saw another tenant");
                        FINISHED.fetch_add(1, Ordering::Relaxed);
                    }
                    None => {
                        CANCELLED.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let (cancelled, finished) = (
        CANCELLED.load(Ordering::Relaxed),
        FINISHED.load(Ordering::Relaxed),
    );
    println!("{cancelled} transactions cancelled, {finished} finished");
    assert!(cancelled >= 1_000 && finished >= 500);

    let mut admin = connect_as(&test, "quire_admin").await;
    settle(&mut admin).await;
    for number in 0..500 {
        let placement = placements[number % 2];
        assert!(current_tenant(&store, placement).await.unwrap());
    }
    let foreign: i64 = sqlx::query_scalar(
        "select count(*) from shard.notebooks where tenant_id not in (select id from directory.tenants)",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!(foreign, 0);
}

/// The next transaction on a connection would heal what the one before left open, so here there is none:
/// after every few cancellations the server must find its own way back to rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_beginning_leaves_no_transaction_open() {
    let test = TestStore::new().await;
    let placement = test.tenant("a").await.placement();
    let store = test.reopened(2).await;
    let mut admin = connect_as(&test, "quire_admin").await;
    let mut rng = StdRng::seed_from_u64(7);
    let mut cancelled = 0;
    for _ in 0..1_000 {
        let (first, second) = tokio::join!(
            polled(rng.random_range(1..8), work(&store, placement, true)),
            polled(rng.random_range(1..8), work(&store, placement, true)),
        );
        cancelled += u32::from(first.is_none()) + u32::from(second.is_none());
        settle(&mut admin).await;
    }
    println!("{cancelled} transactions cancelled, none left open");
    assert!(cancelled >= 1_000);
}

/// Waits until no connection of the tenant pool is inside a transaction.
async fn settle(admin: &mut PgConnection) {
    let open = "select state || ' after ' || query from pg_stat_activity
                where datname = current_database() and usename = 'quire_app' and state <> 'idle'";
    let started = Instant::now();
    loop {
        let open: Vec<String> = sqlx::query_scalar(open)
            .fetch_all(&mut *admin)
            .await
            .unwrap();
        if open.is_empty() {
            return;
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "left open: {open:?}"
        );
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A guard that finds fault with every connection would make each transaction pay for a new one.
#[tokio::test]
async fn connections_are_used_again() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let mut servers = std::collections::HashSet::new();
    for _ in 0..20 {
        let mut tx = test.tx(&tenant).await;
        let pid: i32 = sqlx::query_scalar("select pg_backend_pid()")
            .fetch_one(tx.connection())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        servers.insert(pid);
    }
    assert!(
        servers.len() < 12,
        "{} connections for 20 transactions",
        servers.len()
    );
}
