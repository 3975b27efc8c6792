//! Transactions of two tenants, begun and dropped anywhere, over two connections: none may leave its
//! tenant, or itself, to the next one.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use quire_store::{Placement, Store, notebooks};
use quire_testkit::postgres::{TestStore, eventually};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::Connection;
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
                    polled(rng.random_range(1..14), work).await
                } else {
                    let wait = Duration::from_micros(rng.random_range(0..4_000));
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
    assert!(cancelled >= 2_000 && finished >= 500);

    let mut admin = connect_as(&test, "quire_admin").await;
    let open = "select count(*) from pg_stat_activity
                where datname = current_database() and usename = 'quire_app' and state like 'idle in transaction%'";
    let admin = &mut admin;
    let open = tokio::sync::Mutex::new((admin, open));
    eventually("no transaction is left open", || async {
        let mut guard = open.lock().await;
        let (admin, open) = &mut *guard;
        let open: i64 = sqlx::query_scalar(*open)
            .fetch_one(&mut **admin)
            .await
            .unwrap();
        open == 0
    })
    .await;
    for number in 0..500 {
        let placement = placements[number % 2];
        assert!(current_tenant(&store, placement).await.unwrap());
    }
    // What was written is where it belongs, and no transaction lost the row it committed.
    let (admin, _) = open.into_inner();
    let foreign: i64 = sqlx::query_scalar(
        "select count(*) from shard.notebooks where tenant_id not in (select id from directory.tenants)",
    )
    .fetch_one(&mut *admin)
    .await
    .unwrap();
    assert_eq!(foreign, 0);
    admin.ping().await.unwrap();
}
