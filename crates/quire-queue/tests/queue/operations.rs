//! What operators can do, and what many workers do together.

use std::time::Duration;

use quire_queue::{
    Existing, Selection, TenantShare, Unique, Wishes, WorkerOptions, dead, dedicate, discard,
    enqueue_with, limit_kind, pause_kind, pause_tenant, retry, set_tenant_share, stats,
};
use quire_store::tenants::Tenant;
use quire_testkit::postgres::{TestStore, eventually};
use quire_types::{ErrorKind, Kind};

use crate::support::*;

fn of_tenant(tenant: &Tenant) -> Selection {
    Selection {
        tenant: Some(tenant.id),
        ..Selection::default()
    }
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

/// Whatever is still in the queue's tables, shown to operators or not.
async fn rows(test: &TestStore) -> i64 {
    let mut tx = test.store.system().await.unwrap();
    sqlx::query_scalar(
        "select (select count(*) from queue.ready) + (select count(*) from queue.deferred)
              + (select count(*) from queue.dead) + (select count(*) from queue.keyed)",
    )
    .fetch_one(tx.connection())
    .await
    .unwrap()
}

#[tokio::test]
async fn of_a_cancelled_task_its_kind_is_told_once_whether_it_ran_or_waited() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let options = WorkerOptions {
        seats: 4,
        ..with_lease(1_000)
    };
    let tally = options.tally.clone();
    let worker = Running::start(&test, &world, options);
    let mut tx = test.store.system().await.unwrap();
    let share = TenantShare {
        most_running: Some(1),
        ..TenantShare::default()
    };
    set_tenant_share(&mut tx, &[tenant.id], share)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let add = async |label: u32, act: Act, delay: Duration| {
        let wishes = Wishes {
            delay,
            unique: Some(Unique {
                key: format!("record {}", label % 10),
                existing: Existing::Keep,
            }),
            ..Wishes::default()
        };
        let mut tx = test.tx(&tenant).await;
        let task = Scripted { label, act };
        enqueue_with(&mut tx, &task, wishes).await.unwrap();
        tx.commit().await.unwrap();
    };
    let hour = Duration::from_secs(3_600);
    add(1, Act::Block, Duration::ZERO).await;
    eventually("one runs", || async { world.attempts(1) == [1] }).await;
    add(2, Act::Succeed, Duration::ZERO).await;
    add(3, Act::Succeed, hour).await;
    // A kind that no version knows any more: nobody to tell.
    sql(
        &test,
        "insert into queue.ready (tenant_id, id, shard, kind, priority, payload)
         select tenant_id, gen_random_uuid(), shard, 'former', 2, '{}' from queue.ready limit 1",
    )
    .await;

    // That the tenant is paused keeps nobody from being told.
    let mut tx = test.store.system().await.unwrap();
    pause_tenant(&mut tx, tenant.id, true).await.unwrap();
    let cancelled = quire_queue::cancel(&mut tx, &of_tenant(&tenant)).await;
    assert_eq!(cancelled.unwrap(), 4);
    let again = quire_queue::cancel(&mut tx, &of_tenant(&tenant)).await;
    assert_eq!(again.unwrap(), 0);
    tx.commit().await.unwrap();
    assert!(tasks(&test).await.is_empty());
    eventually("all are told and forgotten", || async {
        rows(&test).await == 0
    })
    .await;
    let mut told = world.gave_up.lock().unwrap().clone();
    told.sort_by_key(|told| told.0);
    let expected = [1, 2, 3].map(|label| (label, ErrorKind::Conflict, "cancelled".to_owned()));
    assert_eq!(told, expected);
    eventually("none runs", || async { world.most.lock().unwrap().0 == 0 }).await;

    // Their keys were free at once, and what is new has nothing to do with them.
    for label in 11..14 {
        add(label, Act::Succeed, Duration::ZERO).await;
    }
    let mut tx = test.store.system().await.unwrap();
    pause_tenant(&mut tx, tenant.id, false).await.unwrap();
    tx.commit().await.unwrap();
    eventually("the new ones are done", || async { rows(&test).await == 0 }).await;
    let runs = world.runs.lock().unwrap().clone();
    assert_eq!(runs, [(1, 1), (11, 1), (12, 1), (13, 1)]);
    assert_eq!(*world.ends.lock().unwrap(), [11, 12, 13]);
    assert_eq!(world.gave_up.lock().unwrap().len(), 3);
    let totals = tally.totals();
    let (done, dead) = (totals[0].2.done, totals[0].2.dead);
    assert_eq!((totals.len(), done, dead), (1, 3, 0));
    worker.stop().await;
}

#[tokio::test]
async fn telling_that_a_task_was_cancelled_is_repeated_when_it_fails() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    // Ready, and nobody there yet.
    add(&test, &tenant, 1, Act::FailAndPanic).await;
    let mut tx = test.store.system().await.unwrap();
    let cancelled = quire_queue::cancel(&mut tx, &of_tenant(&tenant)).await;
    assert_eq!(cancelled.unwrap(), 1);
    tx.commit().await.unwrap();
    let worker = Running::start(&test, &world, options());
    eventually("it is told and forgotten", || async {
        sql(&test, HURRY).await;
        rows(&test).await == 0
    })
    .await;
    let told = world.gave_up.lock().unwrap().clone();
    let expected = (1, ErrorKind::Conflict, "cancelled".to_owned());
    assert_eq!(told, [expected.clone(), expected]);
    assert_eq!(world.attempts(1), [0; 0]);
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
    set_tenant_share(&mut tx, &[a.id], share).await.unwrap();
    pause_tenant(&mut tx, b.id, true).await.unwrap();
    for wrong in [(0, None), (1_001, None), (1, Some(0))] {
        let share = TenantShare {
            weight: wrong.0,
            most_running: wrong.1,
        };
        let refused = set_tenant_share(&mut tx, &[a.id], share).await.unwrap_err();
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
    eventually("the worker has heard of it", || async {
        let mut tx = test.store.system().await.unwrap();
        let priorities = stats(&mut tx).await.unwrap().priorities;
        priorities.iter().map(|one| one.held).sum::<u64>() == 8
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
        .map(|_| Running::start(&test, &world, with_lease(4_000)))
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
    eventually("the others have its shards", || async {
        shards(&test).await == [32, 32]
    })
    .await;
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
    eventually("it says that it is alone and idle", || async {
        let mut tx = test.store.system().await.unwrap();
        let stats = stats(&mut tx).await.unwrap();
        (stats.workers, stats.seats, stats.ready()) == (1, 4, 0)
    })
    .await;
    workers.remove(0).stop().await;
}

#[tokio::test]
async fn the_limit_of_a_kind_holds_for_all_workers_together() {
    let test = TestStore::new().await;
    let world = World::new();
    let mut tx = test.store.system().await.unwrap();
    limit_kind(&mut tx, "scripted", Some(5)).await.unwrap();
    tx.commit().await.unwrap();
    let eight = || WorkerOptions {
        seats: 8,
        ..with_lease(4_000)
    };
    let workers = [(); 2].map(|()| Running::start(&test, &world, eight()));
    eventually("shared out evenly", || async {
        shards(&test).await == [32, 32]
    })
    .await;
    // So many that both have more than their part.
    let mut tenants = Vec::new();
    for number in 0..30 {
        tenants.push(test.tenant(&format!("t{number}")).await);
    }
    // Each has seen the other: a beat comes every second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (tenant, label) in tenants.iter().zip(0..) {
        add(&test, tenant, label, Act::Block).await;
    }
    eventually("as many run as may", || async {
        world.most.lock().unwrap().0 >= 5
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.open.send_replace(true);
    eventually("all is done", || async { tasks(&test).await.is_empty() }).await;
    assert_eq!(world.most.lock().unwrap().1, 5, "never more than the limit");
    for worker in workers {
        worker.stop().await;
    }
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
