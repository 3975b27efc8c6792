//! What operators can do, and what many workers do together.

use std::time::{Duration, Instant};

use quire_queue::{
    Selection, TenantShare, Wishes, WorkerOptions, dead, dedicate, discard, enqueue_all,
    pause_kind, pause_tenant, retry, set_tenant_share, stats,
};
use quire_store::tenants::Tenant;
use quire_testkit::postgres::{TestStore, eventually};
use quire_types::{ErrorKind, Kind};

use crate::support::*;

async fn add_many(test: &TestStore, tenant: &Tenant, labels: std::ops::Range<u32>, act: Act) {
    let scripted: Vec<Scripted> = labels.map(|label| Scripted { label, act }).collect();
    let mut tx = test.tx(tenant).await;
    let tasks = scripted.iter().map(|task| (task, Wishes::default()));
    enqueue_all(&mut tx, tasks).await.unwrap();
    tx.commit().await.unwrap();
}

fn of_tenant(tenant: &Tenant) -> Selection {
    Selection {
        tenant: Some(tenant.id),
        ..Selection::default()
    }
}

/// How many shards each worker has.
async fn shards(test: &TestStore) -> Vec<i64> {
    let mut tx = test.store.system().await.unwrap();
    let owned =
        "select count(*) from queue.shards where owner is not null group by owner order by 1";
    sqlx::query_scalar(owned)
        .fetch_all(tx.connection())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_cancelled_task_is_gone_whether_it_waits_or_runs() {
    let test = TestStore::new().await;
    let (a, b) = (test.tenant("a").await, test.tenant("b").await);
    let world = World::new();
    // The beat, at which a running task is found to be cancelled, comes four times a lease.
    let worker = Running::start(
        &test,
        &world,
        WorkerOptions {
            seats: 2,
            ..with_lease(1_000)
        },
    );
    add_many(&test, &a, 0..6, Act::Block).await;
    add_many(&test, &b, 10..11, Act::Succeed).await;
    eventually("some run", || async {
        !world.runs.lock().unwrap().is_empty()
    })
    .await;
    let mut tx = test.store.system().await.unwrap();
    let refused = quire_queue::cancel(&mut tx, &Selection::default()).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        ErrorKind::Invalid,
        "everything is too much"
    );
    let cancelled = quire_queue::cancel(&mut tx, &of_tenant(&a)).await.unwrap();
    assert_eq!(cancelled, 6);
    tx.commit().await.unwrap();
    eventually("the other tenant's task runs", || async {
        world.ended(10) == 1
    })
    .await;
    eventually("nothing runs", || async {
        world.most.lock().unwrap().0 == 0
    })
    .await;
    eventually("the queue is empty", || async {
        tasks(&test).await.is_empty()
    })
    .await;
    assert!((0..6).all(|label| world.ended(label) == 0));
    worker.stop().await;
}

#[tokio::test]
async fn dead_tasks_are_grouped_by_what_went_wrong_and_tried_again_or_discarded() {
    let test = TestStore::new().await;
    let (a, b) = (test.tenant("a").await, test.tenant("b").await);
    let world = World::new();
    let worker = Running::start(&test, &world, options());
    add_many(&test, &a, 0..3, Act::FailForGood).await;
    add_many(&test, &b, 3..5, Act::FailForGood).await;
    eventually("all are dead", || async {
        let states = states(&test).await;
        states.len() == 5 && states.iter().all(|state| state == "dead")
    })
    .await;
    let mut tx = test.store.system().await.unwrap();
    let groups = dead(&mut tx, &Selection::default()).await.unwrap();
    assert_eq!(
        (groups.len(), groups[0].tasks, groups[0].tenants),
        (1, 5, 2),
        "{groups:?}"
    );
    assert_eq!(groups[0].sample_error, "never");
    assert!(groups[0].sample_payload.is_some());
    assert_eq!(discard(&mut tx, &of_tenant(&a)).await.unwrap(), 3);
    let one_group = Selection {
        signature: Some(groups[0].signature.clone()),
        ..Selection::default()
    };
    assert_eq!(retry(&mut tx, &one_group).await.unwrap(), 2);
    tx.commit().await.unwrap();
    eventually("they are tried again", || async {
        world.attempts(4) == [1, 1]
    })
    .await;
    eventually("and dead again", || async {
        states(&test).await == ["dead", "dead"]
    })
    .await;
    worker.stop().await;
}

#[tokio::test]
async fn pauses_and_limits_count_at_once_and_end_in_seconds() {
    let test = TestStore::new().await;
    let (a, b) = (test.tenant("a").await, test.tenant("b").await);
    let world = World::new();
    let mut tx = test.store.system().await.unwrap();
    let share = TenantShare {
        weight: 4,
        most_running: Some(2),
    };
    set_tenant_share(&mut tx, a.id, share).await.unwrap();
    pause_tenant(&mut tx, b.id, true).await.unwrap();
    for wrong in [(0, None), (1_001, None), (1, Some(0))] {
        let share = TenantShare {
            weight: wrong.0,
            most_running: wrong.1,
        };
        let refused = set_tenant_share(&mut tx, a.id, share).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }
    tx.commit().await.unwrap();
    add_many(&test, &a, 0..8, Act::Block).await;
    add_many(&test, &b, 10..12, Act::Succeed).await;
    let worker = Running::start(
        &test,
        &world,
        WorkerOptions {
            seats: 8,
            ..with_lease(1_000)
        },
    );
    eventually("two run", || async { world.most.lock().unwrap().0 == 2 }).await;
    let mut tx = test.store.system().await.unwrap();
    pause_kind(&mut tx, "scripted", true).await.unwrap();
    tx.commit().await.unwrap();
    let started = Instant::now();
    eventually("several beats are over", || async {
        started.elapsed() > Duration::from_millis(600)
    })
    .await;
    world.open.send_replace(true);
    eventually("what ran is done", || async {
        world.most.lock().unwrap().0 == 0
    })
    .await;
    eventually("what ran is recorded", || async {
        tasks(&test).await.len() == 8
    })
    .await;
    assert_eq!(
        world.ends.lock().unwrap().len(),
        2,
        "nothing more was handed out"
    );
    assert_eq!(world.most.lock().unwrap().1, 2, "never more than the limit");

    let mut tx = test.store.system().await.unwrap();
    pause_kind(&mut tx, "scripted", false).await.unwrap();
    tx.commit().await.unwrap();
    eventually("the other tenant still waits", || async {
        tasks(&test).await.len() == 2
    })
    .await;
    let mut tx = test.store.system().await.unwrap();
    pause_tenant(&mut tx, b.id, false).await.unwrap();
    tx.commit().await.unwrap();
    eventually("all is done", || async { tasks(&test).await.is_empty() }).await;
    worker.stop().await;
}

#[tokio::test]
async fn workers_share_the_shards_and_take_over_from_the_dead() {
    let test = TestStore::new().await;
    let world = World::new();
    let mut owners = Vec::new();
    for number in 0..30 {
        owners.push(test.tenant(&format!("t{number}")).await);
    }
    let mut workers: Vec<Running> = (0..3)
        .map(|_| Running::start(&test, &world, with_lease(1_000)))
        .collect();
    eventually("shared out evenly", || async {
        shards(&test).await == [21, 21, 22]
    })
    .await;
    for (tenant, label) in owners.iter().zip(0..) {
        add(&test, tenant, label, Act::Succeed).await;
    }
    eventually("all is done", || async { tasks(&test).await.is_empty() }).await;
    assert!((0..30).all(|label| world.attempts(label) == [1]));

    workers.remove(0).abort().await;
    let died = Instant::now();
    eventually("the others have its shards", || async {
        shards(&test).await == [32, 32]
    })
    .await;
    assert!(died.elapsed() < Duration::from_secs(10));
    // One that goes in order leaves nothing behind.
    workers.remove(0).stop().await;
    eventually("the last has all", || async { shards(&test).await == [64] }).await;
    for (tenant, label) in owners.iter().zip(100..) {
        add(&test, tenant, label, Act::Succeed).await;
    }
    eventually("all is done again", || async {
        tasks(&test).await.is_empty()
    })
    .await;
    let mut tx = test.store.system().await.unwrap();
    let stats = stats(&mut tx).await.unwrap();
    assert_eq!((stats.workers, stats.seats, stats.ready()), (1, 4, 0));
    workers.remove(0).stop().await;
}

#[tokio::test]
async fn a_dedicated_worker_serves_its_tenant_and_nobody_else() {
    let test = TestStore::new().await;
    let (big, small) = (test.tenant("big").await, test.tenant("small").await);
    let mut tx = test.store.system().await.unwrap();
    dedicate(&mut tx, big.id).await.unwrap();
    dedicate(&mut tx, big.id).await.unwrap();
    tx.commit().await.unwrap();
    let (own, shared) = (World::new(), World::new());
    let options = WorkerOptions {
        dedicated: Some(big.id),
        ..with_lease(1_000)
    };
    let dedicated = Running::start(&test, &own, options);
    eventually("it has its shard", || async { shards(&test).await == [1] }).await;
    let others = Running::start(&test, &shared, with_lease(1_000));
    eventually("the rest is served", || async {
        shards(&test).await == [1, 64]
    })
    .await;
    add(&test, &big, 1, Act::Succeed).await;
    add(&test, &small, 2, Act::Succeed).await;
    eventually("both are done", || async { tasks(&test).await.is_empty() }).await;
    assert_eq!((own.ended(1), own.ended(2)), (1, 0));
    assert_eq!((shared.ended(1), shared.ended(2)), (0, 1));
    // Better served by others than not at all.
    dedicated.stop().await;
    add(&test, &big, 3, Act::Succeed).await;
    eventually("it is done", || async { shared.ended(3) == 1 }).await;
    others.stop().await;
}
