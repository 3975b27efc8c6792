//! What producers can wish for: one at a time, one that waits, an order, a time.

use std::time::Duration;

use quire_queue::{
    Existing, Missed, Plan, Rule, Unique, Wishes, WorkerOptions, enqueue_all, enqueue_with,
    schedule, unschedule,
};
use quire_store::tenants::Tenant;
use quire_testkit::postgres::{TestStore, eventually};
use quire_types::{ErrorKind, Kind};

use crate::support::*;

fn scripted(label: u32, act: Act) -> Scripted {
    Scripted { label, act }
}

async fn add_with(test: &TestStore, tenant: &Tenant, task: &Scripted, wishes: Wishes) -> String {
    let mut tx = test.tx(tenant).await;
    let id = enqueue_with(&mut tx, task, wishes).await.unwrap();
    tx.commit().await.unwrap();
    id.to_string()
}

fn unique(key: &str, existing: Existing) -> Wishes {
    Wishes {
        unique: Some(Unique {
            key: key.to_owned(),
            existing,
        }),
        ..Wishes::default()
    }
}

fn keyed(key: &str) -> Wishes {
    Wishes {
        key: Some(key.to_owned()),
        ..Wishes::default()
    }
}

#[tokio::test]
async fn of_tasks_with_one_unique_key_one_waits() {
    let test = TestStore::new().await;
    let (a, b) = (test.tenant("a").await, test.tenant("b").await);
    let world = World::new();
    let keep = unique("record 7", Existing::Keep);
    let replace = unique("record 7", Existing::ReplacePayload);
    let first = add_with(&test, &a, &scripted(1, Act::Succeed), keep.clone()).await;
    let kept = add_with(&test, &a, &scripted(2, Act::Succeed), keep.clone()).await;
    assert_eq!(kept, first, "the one that waits is told");
    let replaced = add_with(&test, &a, &scripted(3, Act::Block), replace.clone()).await;
    assert_eq!(replaced, first);
    // Another tenant's key is another key.
    let other = add_with(&test, &b, &scripted(4, Act::Succeed), keep.clone()).await;
    assert_ne!(other, first);
    // Twins in one call.
    let mut tx = test.tx(&a).await;
    let twins = [scripted(5, Act::Succeed), scripted(6, Act::Succeed)];
    let twin_key = unique("twins", Existing::ReplacePayload);
    let ids = enqueue_all(&mut tx, twins.iter().map(|task| (task, twin_key.clone()))).await;
    let ids = ids.unwrap();
    assert_eq!(ids[0], ids[1]);
    tx.commit().await.unwrap();
    assert_eq!(tasks(&test).await.len(), 3);

    let worker = Running::start(&test, &world, options());
    eventually("all run", || async {
        world.attempts(3) == [1] && world.ended(4) == 1 && world.ended(6) == 1
    })
    .await;
    // The key is free while the task runs: what changes now is not lost.
    let next = add_with(&test, &a, &scripted(7, Act::Succeed), keep).await;
    assert_ne!(next, first);
    eventually("it runs too", || async { world.ended(7) == 1 }).await;
    world.open.send_replace(true);
    eventually("the queue is empty", || async {
        tasks(&test).await.is_empty()
    })
    .await;
    for label in [1, 2, 5] {
        assert_eq!(
            world.attempts(label),
            [0; 0],
            "task {label} was never needed"
        );
    }
    let keys = "select count(*) from queue.keyed";
    let mut tx = test.store.system().await.unwrap();
    let keys: i64 = sqlx::query_scalar(keys)
        .fetch_one(tx.connection())
        .await
        .unwrap();
    assert_eq!(keys, 0, "keys end with their tasks");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn producers_that_race_for_a_unique_key_end_with_one_task() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let racers = (0..20).map(|label| {
        let (store, placement) = (test.store.clone(), tenant.placement());
        tokio::spawn(async move {
            let mut tx = store.tenant(placement).await.unwrap();
            let wishes = unique("the one", Existing::ReplacePayload);
            let task = scripted(label, Act::Succeed);
            let id = enqueue_with(&mut tx, &task, wishes).await.unwrap();
            tx.commit().await.unwrap();
            id
        })
    });
    let mut ids = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        ids.push(racer.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "all were told the same task");
    assert_eq!(tasks(&test).await.len(), 1);
}

/// As events that come at once do: each counts on the task that waits, so it may not begin before they are committed.
#[tokio::test]
async fn producers_share_the_key_of_a_task_that_is_not_due() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let task = scripted(1, Act::Succeed);
    let wishes = Wishes::once("gather", Duration::from_secs(3_600));
    let first = add_with(&test, &tenant, &task, wishes.clone()).await;
    let mut slow = test.tx(&tenant).await;
    let held = enqueue_with(&mut slow, &task, wishes.clone())
        .await
        .unwrap();
    // This one would wait for ever.
    let mut quick = test.tx(&tenant).await;
    let passed = enqueue_with(&mut quick, &task, wishes.clone())
        .await
        .unwrap();
    quick.commit().await.unwrap();
    assert_eq!([held.to_string(), passed.to_string()], [&*first, &*first]);

    sql(&test, HURRY).await;
    let worker = Running::start(&test, &world, options());
    eventually("it is due", || async { states(&test).await == ["ready"] }).await;
    add(&test, &tenant, 2, Act::Succeed).await;
    eventually("the other one is done", || async { world.ended(2) == 1 }).await;
    assert_eq!(world.attempts(1), [0; 0], "somebody still counts on it");
    slow.commit().await.unwrap();
    eventually("it runs", || async { world.ended(1) == 1 }).await;
    worker.stop().await;
}

#[tokio::test]
async fn tasks_of_one_key_run_one_after_another_and_others_pass_them() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    for label in 0..10 {
        add_with(
            &test,
            &tenant,
            &scripted(label, Act::Block),
            keyed("narrow"),
        )
        .await;
    }
    let free = add_with(&test, &tenant, &scripted(10, Act::Succeed), keyed("other")).await;
    add_with(
        &test,
        &tenant,
        &scripted(11, Act::Succeed),
        Wishes::default(),
    )
    .await;
    let worker = Running::start(
        &test,
        &world,
        WorkerOptions {
            seats: 8,
            ..options()
        },
    );
    eventually("the others pass", || async {
        world.ended(10) == 1 && world.ended(11) == 1
    })
    .await;
    assert!(
        tasks(&test)
            .await
            .iter()
            .all(|task| task.id.to_string() != free)
    );
    let begun = (0..10)
        .filter(|label| !world.attempts(*label).is_empty())
        .count();
    assert_eq!(begun, 1, "of ten tasks with one key");
    world.open.send_replace(true);
    eventually("all are done", || async { tasks(&test).await.is_empty() }).await;
    worker.stop().await;
}

#[tokio::test]
async fn an_effect_in_the_same_database_happens_exactly_once() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::on(&test);
    let worker = Running::start(&test, &world, options());
    add(&test, &tenant, 1, Act::CompleteAndFail).await;
    eventually("it is done", || async { tasks(&test).await.is_empty() }).await;
    // What it says after its transaction changes nothing.
    add(&test, &tenant, 2, Act::Succeed).await;
    eventually("the next is done", || async { world.ended(2) == 1 }).await;
    eventually("the queue is empty", || async {
        tasks(&test).await.is_empty()
    })
    .await;
    assert_eq!(world.attempts(1), [1]);
    // A transaction that does not commit ends nothing.
    add(&test, &tenant, 3, Act::CompleteInVain).await;
    eventually("it is tried again", || async {
        sql(&test, HURRY).await;
        world.ended(3) == 1
    })
    .await;
    assert_eq!(world.attempts(3), [1, 2]);
    worker.stop().await;
}

#[tokio::test]
async fn a_task_whose_deadline_has_passed_dies_without_running() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let wishes = Wishes {
        deadline: Some(Duration::from_millis(1)),
        ..Wishes::default()
    };
    add_with(&test, &tenant, &scripted(1, Act::Succeed), wishes).await;
    let in_time = Wishes {
        deadline: Some(Duration::from_secs(3_600)),
        ..Wishes::default()
    };
    add_with(&test, &tenant, &scripted(2, Act::Succeed), in_time).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let worker = Running::start(&test, &world, options());
    eventually("both ended", || async { states(&test).await == ["dead"] }).await;
    assert_eq!(world.attempts(1), [0; 0]);
    assert_eq!(world.ended(2), 1);
    assert_eq!(world.gave_up.lock().unwrap()[0].1, ErrorKind::Timeout);
    worker.stop().await;
}

/// A wait can't be negative by its type; one that no timestamp could hold ends in a hundred years.
#[tokio::test]
async fn waits_beyond_the_end_of_time_are_cut() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let late = Wishes {
        delay: Duration::MAX,
        deadline: Some(Duration::MAX),
        cost: Some(Duration::MAX),
        unique: unique("late", Existing::Keep).unique,
        ..Wishes::default()
    };
    add_with(&test, &tenant, &scripted(1, Act::Succeed), late).await;
    let ready = Wishes {
        deadline: Some(Duration::MAX),
        cost: Some(Duration::MAX),
        ..Wishes::default()
    };
    add_with(&test, &tenant, &scripted(2, Act::AskForEver), ready).await;
    let worker = Running::start(&test, &world, options());
    eventually("both wait", || async {
        states(&test).await == ["deferred", "deferred"]
    })
    .await;
    worker.stop().await;
    assert_eq!((world.attempts(1), world.attempts(2)), (vec![], vec![1]));
    let mut waits: Vec<i64> = tasks(&test)
        .await
        .iter()
        .filter_map(|task| Some((task.at? - chrono::Utc::now()).num_days()))
        .collect();
    waits.sort_unstable();
    assert!(
        (29..=33).contains(&waits[0]) && (36_000..37_000).contains(&waits[1]),
        "{waits:?}"
    );
}

#[tokio::test]
async fn keys_that_make_no_sense_are_refused() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let long = "x".repeat(201);
    let mut tx = test.tx(&tenant).await;
    for key in ["", "nul\0", &long] {
        let task = scripted(1, Act::Succeed);
        let refused = enqueue_with(&mut tx, &task, keyed(key)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
        let refused = enqueue_with(&mut tx, &task, unique(key, Existing::Keep)).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[tokio::test]
async fn a_schedule_fires_once_a_moment_however_many_workers_look() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let mut tx = test.tx(&tenant).await;
    for label in 0..40 {
        let rule = match label % 2 {
            0 => Rule::Every(Duration::from_secs(3_600)),
            _ => Rule::Cron("0 6 * * 1-5".to_owned()),
        };
        let plan = Plan {
            time_zone: "America/New_York".to_owned(),
            jitter: Duration::from_secs(60),
            ..Plan::new(format!("schedule {label}"), rule)
        };
        schedule(&mut tx, &scripted(label, Act::Succeed), &plan)
            .await
            .unwrap();
    }
    let missed = Plan {
        missed: Missed::Skip,
        ..Plan::new("missed", Rule::Every(Duration::from_secs(3_600)))
    };
    schedule(&mut tx, &scripted(100, Act::Succeed), &missed)
        .await
        .unwrap();
    let once = Plan::new("once", Rule::Once(chrono::Utc::now()));
    schedule(&mut tx, &scripted(101, Act::Succeed), &once)
        .await
        .unwrap();
    let paused = Plan::new("paused", Rule::Once(chrono::Utc::now()));
    schedule(&mut tx, &scripted(102, Act::Succeed), &paused)
        .await
        .unwrap();
    // Made again, it is the same schedule.
    schedule(&mut tx, &scripted(101, Act::Succeed), &once)
        .await
        .unwrap();
    unschedule(&mut tx, "schedule 39").await.unwrap();
    assert_eq!(
        unschedule(&mut tx, "schedule 39").await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let wrong = Plan::new("wrong", Rule::Cron("every day".to_owned()));
    let refused = schedule(&mut tx, &scripted(1, Act::Succeed), &wrong).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    tx.commit().await.unwrap();
    sql(
        &test,
        "update queue.schedules set is_paused = true where name = 'paused'",
    )
    .await;
    sql(
        &test,
        "update queue.schedules set due_at = now(), next_at = now() where name <> 'missed'",
    )
    .await;
    let long_ago = "update queue.schedules set due_at = now() - interval '1 day',
                    next_at = now() - interval '1 day' where name = 'missed'";
    sql(&test, long_ago).await;

    let workers = [1, 2, 3].map(|_| Running::start(&test, &world, options()));
    eventually("each fired", || async {
        (0..39).all(|label| world.ended(label) == 1) && world.ended(101) == 1
    })
    .await;
    eventually("the queue is empty", || async {
        tasks(&test).await.is_empty()
    })
    .await;
    for label in (0..39).chain([101]) {
        assert_eq!(world.attempts(label), [1], "schedule {label}");
    }
    for label in [39, 100, 102] {
        assert_eq!(world.attempts(label), [0; 0], "schedule {label}");
    }
    let mut tx = test.store.system().await.unwrap();
    let future: (i64, i64) = sqlx::query_as(
        "select count(*) filter (where next_at > now()), count(*) filter (where next_at is null) from queue.schedules",
    )
    .fetch_one(tx.connection())
    .await
    .unwrap();
    assert_eq!(
        future,
        (40, 1),
        "39 and the missed one go on, the single moment is over"
    );
    for worker in workers {
        worker.stop().await;
    }
}
