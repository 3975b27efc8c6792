//! What becomes of a task however its attempts, its worker and the database end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quire_queue::{Wishes, WorkerOptions, enqueue, enqueue_with};
use quire_testkit::postgres::{TestStore, eventually};
use quire_types::ErrorKind;
use tokio::sync::Notify;

use crate::support::*;

#[tokio::test]
async fn every_committed_task_runs_and_a_rolled_back_one_does_not() {
    let test = TestStore::new().await;
    let tenants = [test.tenant("a").await, test.tenant("b").await];
    let world = World::new();
    // A worker that would not look for an hour: the bell wakes it, and it goes on while there is more.
    let bell = Arc::new(Notify::new());
    let idle = WorkerOptions {
        poll: Duration::from_secs(3_600),
        ..options()
    };
    let worker = Running::with_bell(&test, &world, idle, bell.clone());

    let mut tx = test.tx(&tenants[0]).await;
    let undone = Scripted {
        label: 999,
        act: Act::Succeed,
    };
    enqueue(&mut tx, &undone).await.unwrap();
    drop(tx);
    for (label, tenant) in (0..60).zip(tenants.iter().cycle()) {
        add(&test, tenant, label, Act::Succeed).await;
        bell.notify_one();
    }
    eventually("the queue is empty", || async {
        tasks(&test).await.is_empty()
    })
    .await;
    for label in 0..60 {
        assert_eq!(world.attempts(label), [1], "task {label}");
    }
    assert_eq!(world.attempts(999), [0; 0]);
    worker.stop().await;
}

#[tokio::test]
async fn a_failure_is_tried_again_or_not_by_its_kind() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let worker = Running::start(&test, &world, options());
    for (label, act, attempts, kind, text) in [
        (
            1,
            Act::FailForNow,
            &[1, 2, 3][..],
            ErrorKind::Unavailable,
            "later",
        ),
        (2, Act::Panic, &[1, 2, 3], ErrorKind::Internal, "panicked"),
        (3, Act::FailForGood, &[1], ErrorKind::Invalid, "never"),
    ] {
        add(&test, &tenant, label, act).await;
        eventually("it is dead", || async {
            // Each wait in between is planned within the backoff of its attempt: a null is refused.
            sql(&test, TOO_LATE).await;
            sql(&test, HURRY).await;
            states(&test).await == ["dead"]
        })
        .await;
        assert_eq!(world.attempts(label), attempts);
        let gave_up = std::mem::take(&mut *world.gave_up.lock().unwrap());
        assert_eq!(gave_up.len(), 1, "told once: {gave_up:?}");
        assert!(
            gave_up[0].1 == kind && gave_up[0].2.contains(text),
            "{gave_up:?}"
        );

        let row = tasks(&test).await.remove(0);
        assert_eq!(
            (row.attempt, row.error_kind.as_deref()),
            (attempts[attempts.len() - 1], Some(kind.as_str()))
        );
        sql(&test, CLEAR).await;
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_does_not_end_or_cannot_be_read_is_dead() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let worker = Running::start(&test, &world, options());
    let mut tx = test.tx(&tenant).await;
    enqueue(&mut tx, &Endless).await.unwrap();
    tx.commit().await.unwrap();
    eventually("it is dead", || async { states(&test).await == ["dead"] }).await;
    assert_eq!(world.gave_up.lock().unwrap()[0].1, ErrorKind::Timeout);

    // Nobody can be told of a task that can't be read, and it must not come back for ever.
    let unreadable = r#"with old as (delete from queue.dead returning *)
        insert into queue.ready (tenant_id, id, shard, kind, priority, payload)
        select tenant_id, id, shard, 'scripted', priority, '{"label": -1}' from old"#;
    sql(&test, unreadable).await;
    eventually("it is dead again", || async {
        let rows = tasks(&test).await;
        let error = rows.first().and_then(|row| row.error.as_deref());
        rows.iter().all(|row| row.state == "dead")
            && error.is_some_and(|error| error.contains("payload"))
    })
    .await;
    worker.stop().await;
}

/// Whoever waits is told at least once, even if telling goes wrong.
#[tokio::test]
async fn a_report_that_panics_is_made_again() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let worker = Running::start(&test, &world, with_lease(600));
    add(&test, &tenant, 1, Act::FailAndPanic).await;
    eventually("it is dead", || async {
        sql(&test, HURRY).await;
        states(&test).await == ["dead"]
    })
    .await;
    assert_eq!(world.gave_up.lock().unwrap().len(), 2);
    worker.stop().await;
}

#[tokio::test]
async fn a_lease_is_kept_while_a_task_runs_and_free_when_its_worker_is_gone() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let first = Running::start(&test, &world, with_lease(3_000));
    add(&test, &tenant, 1, Act::Block).await;
    eventually("it runs", || async { world.attempts(1) == [1] }).await;

    // A second worker gets nothing for longer than a lease, because the first one keeps it.
    let second = Running::start(&test, &world, with_lease(3_000));
    let started = Instant::now();
    eventually("a lease is over", || async {
        started.elapsed() > Duration::from_millis(4_500)
    })
    .await;
    assert_eq!(world.attempts(1), [1]);

    first.abort().await;
    eventually("the other has it", || async { world.attempts(1) == [1, 2] }).await;
    world.open.send_replace(true);
    eventually("it is done", || async { tasks(&test).await.is_empty() }).await;
    assert_eq!(world.ended(1), 1);
    second.stop().await;
}

#[tokio::test]
async fn a_late_outcome_is_refused() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let (late, next) = (World::new(), World::new());
    let one_seat = WorkerOptions {
        seats: 1,
        ..with_lease(600_000)
    };
    let slow = Running::start(&test, &late, one_seat);
    add(&test, &tenant, 1, Act::Block).await;
    eventually("it runs", || async { late.attempts(1) == [1] }).await;
    // After the first heartbeat, the first worker hears of nothing for minutes.
    let started = Instant::now();
    eventually("the first heartbeat is over", || async {
        started.elapsed() > Duration::from_millis(400)
    })
    .await;

    sql(&test, EXPIRE).await;
    let other = Running::start(&test, &next, options());
    eventually("the other has it", || async { next.attempts(1) == [2] }).await;
    late.open.send_replace(true);
    slow.stop().await;
    assert_eq!(late.ended(1), 1, "the late worker did finish");
    let rows = tasks(&test).await;
    assert_eq!(
        (rows[0].state.as_str(), rows[0].attempt),
        ("running", 1),
        "and was not heard"
    );

    next.open.send_replace(true);
    eventually("it is done", || async { tasks(&test).await.is_empty() }).await;
    other.stop().await;
}

/// A worker that learns of its lost lease stops the attempt.
#[tokio::test]
async fn a_lost_lease_ends_the_attempt() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let one_seat = WorkerOptions {
        seats: 1,
        ..with_lease(900)
    };
    let worker = Running::start(&test, &world, one_seat);
    add(&test, &tenant, 1, Act::Block).await;
    eventually("it runs", || async { world.attempts(1) == [1] }).await;
    let taken = "update queue.shards set epoch = epoch + 1, owner = null";
    sql(&test, taken).await;
    // Its only seat is free again, although the world never opened; it takes the shards back, and
    // begins the attempt anew.
    let other = test.tenant("b").await;
    add(&test, &other, 2, Act::Succeed).await;
    eventually("the task is tried again", || async {
        world.attempts(1).len() == 2
    })
    .await;
    assert_eq!(world.ended(1), 0);
    world.open.send_replace(true);
    eventually("both end", || async { tasks(&test).await.is_empty() }).await;
    assert_eq!((world.ended(1), world.ended(2)), (1, 1));
    worker.stop().await;
}

#[tokio::test]
async fn a_task_that_takes_its_worker_down_ends_dead() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    add(&test, &tenant, 1, Act::Block).await;
    for attempt in [1, 2, 3] {
        let worker = Running::start(&test, &world, options());
        eventually("it runs", || async {
            world.attempts(1).last() == Some(&attempt)
        })
        .await;
        worker.abort().await;
        assert_eq!(states(&test).await, ["running"], "noted before it ran");
        sql(&test, EXPIRE).await;
    }
    let worker = Running::start(&test, &world, options());
    eventually("it is dead", || async { states(&test).await == ["dead"] }).await;
    assert_eq!(world.attempts(1), [1, 2, 3], "it was not run again");
    let gave_up = world.gave_up.lock().unwrap().clone();
    assert_eq!(gave_up.len(), 1);
    assert!(gave_up[0].2.contains("process ended"), "{gave_up:?}");
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_stops_finishes_what_it_can_and_gives_the_rest_back() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    for (grace_ms, opens) in [(100, false), (60_000, true)] {
        let world = World::new();
        let grace = WorkerOptions {
            grace: Duration::from_millis(grace_ms),
            ..options()
        };
        let worker = Running::start(&test, &world, grace);
        add(&test, &tenant, 1, Act::Block).await;
        eventually("it runs", || async { world.attempts(1) == [1] }).await;
        worker.stop.cancel();
        // A stopping worker takes nothing new.
        add(&test, &tenant, 2, Act::Succeed).await;
        world.open.send_replace(opens);
        worker.task.await.unwrap();

        assert_eq!(world.attempts(2), [0; 0]);
        let rows = tasks(&test).await;
        let is_fresh = |row: &quire_queue::TaskRow| row.state == "ready" && row.attempt == 0;
        assert!(
            rows.iter().all(is_fresh),
            "the attempt does not count: {rows:?}"
        );
        assert_eq!(rows.len(), if opens { 1 } else { 2 });
        sql(&test, "delete from queue.ready").await;
    }
}

/// Draining may take longer than a lease.
#[tokio::test]
async fn a_lease_is_kept_while_a_worker_drains() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let worker = Running::start(&test, &world, with_lease(3_000));
    add(&test, &tenant, 1, Act::Block).await;
    eventually("it runs", || async { world.attempts(1) == [1] }).await;
    worker.stop.cancel();
    let other = Running::start(&test, &world, with_lease(3_000));
    let started = Instant::now();
    eventually("a lease is over", || async {
        started.elapsed() > Duration::from_millis(4_500)
    })
    .await;
    world.open.send_replace(true);
    worker.task.await.unwrap();
    assert_eq!(world.attempts(1), [1]);
    assert!(tasks(&test).await.is_empty());
    other.stop().await;
}

#[tokio::test]
async fn a_delay_is_kept_and_an_unknown_kind_waits_for_a_worker_that_knows_it() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let mut tx = test.tx(&tenant).await;
    let later = Scripted {
        label: 1,
        act: Act::Succeed,
    };
    let hour = Duration::from_secs(3_600);
    let wishes = Wishes {
        delay: hour,
        ..Wishes::default()
    };
    enqueue_with(&mut tx, &later, wishes).await.unwrap();
    sqlx::query(
        "insert into queue.ready (tenant_id, id, shard, priority, kind, payload)
         values ($1, $1, 5, 0, 'unknown', '{}')",
    )
    .bind(tx.tenant_id())
    .execute(tx.connection())
    .await
    .unwrap();
    tx.commit().await.unwrap();
    let worker = Running::start(&test, &world, options());
    for label in 2..6 {
        add(&test, &tenant, label, Act::Succeed).await;
        eventually("it is done", || async { world.ended(label) == 1 }).await;
    }
    eventually("two wait", || async {
        let mut states = states(&test).await;
        states.sort();
        states == ["deferred", "ready"]
    })
    .await;
    assert_eq!(world.attempts(1), [0; 0]);
    sql(&test, HURRY).await;
    eventually("one waits", || async { tasks(&test).await.len() == 1 }).await;
    assert_eq!(world.attempts(1), [1]);
    assert_eq!(
        tasks(&test).await[0].attempt,
        0,
        "the unknown one was never handed out"
    );
    eventually("it is known to be unknown", || async {
        let mut tx = test.store.system().await.unwrap();
        let stats = quire_queue::stats(&mut tx).await.unwrap();
        stats.unknown_kinds == ["unknown"]
    })
    .await;
    worker.stop().await;
}
