//! What operators say about kinds and schedules, and what they are told about shares and limits.

use std::time::Duration;

use quire_queue::{
    KindRow, Level, Missed, Plan, Rule, ScheduleRow, ScheduleSelection, Selection, Wishes, cancel,
    enqueue_all, enqueue_with, events, get, kinds, level, limit_kind, pause_kind, pause_schedule,
    pause_tenant, retry, schedule, schedules, stats, top_tenants,
};
use quire_testkit::postgres::{TestStore, eventually};
use quire_types::{ErrorKind, Kind, ScheduleId, TaskId};

use crate::support::*;

#[tokio::test]
async fn a_kind_is_limited_and_the_limit_is_lifted() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let limit = async |most: Option<i32>| {
        let mut tx = test.store.system().await.unwrap();
        limit_kind(&mut tx, "scripted", most).await.unwrap();
        tx.commit().await.unwrap();
    };
    limit(Some(1)).await;
    let mut tx = test.store.system().await.unwrap();
    for (kind, most) in [("scripted", 0), ("scripted", -1), ("", 1), ("nul\0", 1)] {
        let refused = limit_kind(&mut tx, kind, Some(most)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{kind} {most}");
    }
    drop(tx);
    add_many(&test, &tenant, 0..4, Act::Block).await;
    let worker = Running::start(&test, &world, with_lease(1_000));
    eventually("one runs", || async { world.most.lock().unwrap().0 == 1 }).await;
    let mut tx = test.store.system().await.unwrap();
    let told = stats(&mut tx).await.unwrap().kinds;
    let expected = KindRow {
        kind: "scripted".to_owned(),
        is_paused: false,
        most_running: Some(1),
    };
    assert_eq!(told, [expected]);
    drop(tx);
    assert_eq!(world.most.lock().unwrap().1, 1);
    limit(None).await;
    // One of the four seats is kept for critical tasks.
    eventually("as many run as may", || async {
        world.most.lock().unwrap().0 == 3
    })
    .await;
    let mut tx = test.store.system().await.unwrap();
    assert_eq!(kinds(&mut tx).await.unwrap(), []);
    world.open.send_replace(true);
    worker.stop().await;
}

#[tokio::test]
async fn schedules_are_listed_held_back_let_go_and_say_what_is_wrong() {
    let test = TestStore::new().await;
    let (a, b) = (test.tenant("a").await, test.tenant("b").await);
    let world = World::new();
    let hourly = |name: &str, missed| Plan {
        missed,
        ..Plan::new(name, Rule::Every(Duration::from_secs(3_600)))
    };
    let mut tx = test.tx(&a).await;
    for (label, name, missed) in [
        (1, "zero", Missed::Once),
        (2, "negative", Missed::Once),
        (3, "nowhere", Missed::All),
        (4, "made up for", Missed::Once),
        (5, "skipped", Missed::Skip),
    ] {
        let act = Act::Succeed;
        schedule(&mut tx, &Scripted { label, act }, &hourly(name, missed))
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let mut tx = test.tx(&b).await;
    let task = Scripted {
        label: 6,
        act: Act::Succeed,
    };
    let good = schedule(&mut tx, &task, &hourly("good", Missed::Once)).await;
    tx.commit().await.unwrap();
    let list = async |selection: &ScheduleSelection| {
        let mut tx = test.store.system().await.unwrap();
        schedules(&mut tx, selection, 100).await.unwrap()
    };
    let pause = async |row: &ScheduleRow, paused: bool| {
        let mut tx = test.store.system().await.unwrap();
        pause_schedule(&mut tx, row.id.into(), paused)
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    let of_a = ScheduleSelection {
        tenant: Some(a.id),
        kind: Some("scripted".to_owned()),
        ..ScheduleSelection::default()
    };
    let rows = list(&of_a).await;
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(
        names,
        ["zero", "negative", "nowhere", "made up for", "skipped"]
    );
    for row in &rows[3..] {
        pause(row, true).await;
    }
    // No producer could say so.
    for wrong in [
        "rule = 'every 0' where name = 'zero'",
        "rule = 'every -5' where name = 'negative'",
        "time_zone = 'Mars/Olympus' where name = 'nowhere'",
        "due_at = now() - interval '1 day', next_at = now() - interval '1 day' where true",
    ] {
        sql(&test, &format!("update queue.schedules set {wrong}")).await;
    }
    let refused = "insert into queue.schedules (tenant_id, id, name, kind, priority, payload, rule)
                   select tenant_id, gen_random_uuid(), 'urgent', kind, 9, payload, rule from queue.schedules";
    let mut tx = test.store.system().await.unwrap();
    let refused = sqlx::query(refused).execute(tx.connection()).await;
    assert!(refused.unwrap_err().to_string().contains("priority"));
    drop(tx);

    let worker = Running::start(&test, &world, options());
    let broken = ScheduleSelection {
        is_broken: true,
        ..ScheduleSelection::default()
    };
    eventually("three fire no more, and that holds up nobody", || async {
        list(&broken).await.len() == 3 && world.ended(6) == 1
    })
    .await;
    for row in list(&broken).await {
        let problem = row.problem.unwrap();
        assert!(
            problem.contains("no rule") || problem.contains("no time zone"),
            "{problem}"
        );
        assert_eq!(row.next_at, None);
    }
    let mut tx = test.store.system().await.unwrap();
    assert_eq!(stats(&mut tx).await.unwrap().broken_schedules, 3);
    drop(tx);
    for row in &rows[3..] {
        pause(row, false).await;
    }
    eventually("what was missed is made up for or not", || async {
        let rows = list(&of_a).await;
        let now = chrono::Utc::now();
        rows[3..]
            .iter()
            .all(|row| !row.is_paused && row.next_at.is_some_and(|at| at > now))
    })
    .await;
    eventually("it is done", || async { world.ended(4) == 1 }).await;
    for label in [1, 2, 3, 5] {
        assert_eq!(world.attempts(label), [0; 0], "schedule {label}");
    }
    let good = ScheduleSelection {
        schedule: Some(good.unwrap()),
        ..ScheduleSelection::default()
    };
    let good = list(&good).await;
    assert!(good.len() == 1 && good[0].fired_at.is_some(), "{good:?}");
    let mut tx = test.store.system().await.unwrap();
    let missing = pause_schedule(&mut tx, ScheduleId::generate(), true).await;
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
    for limit in [-1, 0, 1_001] {
        let refused = schedules(&mut tx, &broken, limit).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
        let refused = top_tenants(&mut tx, 1, limit).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
    for hours in [i32::MIN, 0, i32::MAX] {
        let refused = top_tenants(&mut tx, hours, 10).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
    worker.stop().await;
}

#[tokio::test]
async fn what_nobody_may_run_stops_no_producer() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let pause = async |paused: bool| {
        let mut tx = test.store.system().await.unwrap();
        pause_tenant(&mut tx, tenant.id, paused).await.unwrap();
        tx.commit().await.unwrap();
    };
    let is = async || {
        let mut tx = test.store.system().await.unwrap();
        level(&mut tx).await.unwrap()
    };
    add_many(&test, &tenant, 0..10_000, Act::Succeed).await;
    assert_eq!(is().await, Level::Full, "nobody works, so it is counted");
    pause(true).await;
    assert_eq!(is().await, Level::Normal);
    let worker = Running::start(&test, &World::new(), with_lease(1_000));
    eventually("its worker tells", || async {
        let mut tx = test.store.system().await.unwrap();
        let stats = stats(&mut tx).await.unwrap();
        let held: u64 = stats.priorities.iter().map(|row| row.held).sum();
        stats.ready() == 10_000 && held == 10_000 && stats.level() == Level::Normal
    })
    .await;
    assert_eq!(is().await, Level::Normal);
    pause(false).await;
    eventually("all is done", || async { tasks(&test).await.is_empty() }).await;
    worker.stop().await;
}

/// A task that died and was told to try again is another one to the receipt that is still open for its batch.
#[tokio::test]
async fn a_receipt_of_an_earlier_attempt_says_nothing_about_the_next() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let batch = [
        Scripted {
            label: 1,
            act: Act::Block,
        },
        Scripted {
            label: 2,
            act: Act::FailForGood,
        },
    ];
    let mut tx = test.tx(&tenant).await;
    let tasks_of_batch = batch.iter().map(|task| (task, Default::default()));
    enqueue_all(&mut tx, tasks_of_batch).await.unwrap();
    tx.commit().await.unwrap();
    let worker = Running::start(&test, &world, options());
    eventually("one is dead and one runs", || async {
        states(&test).await == ["running", "dead"]
    })
    .await;
    worker.abort().await;
    let mut tx = test.store.system().await.unwrap();
    assert_eq!(retry(&mut tx, &Selection::default()).await.unwrap(), 1);
    tx.commit().await.unwrap();
    assert_eq!(states(&test).await, ["running", "ready"]);

    sql(&test, EXPIRE).await;
    let other = Running::start(&test, &world, options());
    eventually("both are tried again", || async {
        world.attempts(1) == [1, 2] && world.attempts(2).len() == 2
    })
    .await;
    assert_eq!(world.attempts(2), [1, 1], "its new attempts are all there");
    world.open.send_replace(true);
    other.stop().await;
}

#[tokio::test]
async fn a_tenant_is_noisy_by_what_all_workers_do() {
    let test = TestStore::new().await;
    let (large, small) = (test.tenant("large").await, test.tenant("small").await);
    // Another worker, which is busy with others.
    sql(
        &test,
        r#"insert into queue.workers (id, name, seats, is_draining, lease_until, report)
           values (gen_random_uuid(), 'elsewhere', 100, true, now() + interval '1 hour', '{"seats_used": 0, "busy_ms": 900000}')"#,
    )
    .await;
    for is_noisy in [false, true] {
        let world = World::new();
        let worker = Running::start(&test, &world, options());
        add(&test, &large, 1, Act::Block).await;
        add(&test, &small, 2, Act::Succeed).await;
        eventually("both run", || async {
            world.attempts(1) == [1] && world.ended(2) == 1
        })
        .await;
        // More than a tenth of the time that a worker sums up.
        tokio::time::sleep(Duration::from_millis(3_200)).await;
        world.open.send_replace(true);
        eventually("both are done", || async { tasks(&test).await.is_empty() }).await;
        worker.stop().await;
        let mut tx = test.store.system().await.unwrap();
        let told = events(&mut tx, 10).await.unwrap();
        let of: Vec<_> = told.iter().map(|event| event.tenant_id).collect();
        let expected = is_noisy.then(|| large.id.uuid());
        assert_eq!(of, Vec::from_iter(expected), "{told:?}");
        drop(tx);
        sql(&test, "delete from queue.workers").await;
    }
}

/// However it came to where it is.
#[tokio::test]
async fn a_single_task_is_found_and_cancelled_by_its_id_wherever_it_is() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let hour = Duration::from_secs(3_600);
    let add = async |label: u32, act: Act, wishes: Wishes| {
        let mut tx = test.tx(&tenant).await;
        let id = enqueue_with(&mut tx, &Scripted { label, act }, wishes).await;
        tx.commit().await.unwrap();
        id.unwrap()
    };
    let state = async |id: TaskId| {
        let mut tx = test.store.system().await.unwrap();
        get(&mut tx, id).await.map(|task| task.state)
    };
    let worker = Running::start(&test, &world, options());
    let failed = add(1, Act::AskForEver, Wishes::default()).await;
    let died = add(2, Act::FailForGood, Wishes::default()).await;
    let runs = add(3, Act::Block, Wishes::default()).await;
    eventually("each is somewhere else", || async {
        states(&test).await == ["deferred", "dead", "running"]
    })
    .await;
    worker.abort().await;
    let plain = add(4, Act::Succeed, Wishes::default()).await;
    let unique = add(5, Act::Succeed, Wishes::once("unique", Duration::ZERO)).await;
    let later = add(6, Act::Succeed, Wishes::once("later", hour)).await;
    for (id, expected) in [
        (failed, "deferred"),
        (died, "dead"),
        (runs, "running"),
        (plain, "ready"),
        (unique, "ready"),
        (later, "deferred"),
    ] {
        assert_eq!(state(id).await.unwrap(), expected);
    }

    // All of them become ready: where they were added, or where they were moved to.
    let mut tx = test.store.system().await.unwrap();
    pause_kind(&mut tx, "scripted", true).await.unwrap();
    assert_eq!(retry(&mut tx, &Selection::default()).await.unwrap(), 1);
    tx.commit().await.unwrap();
    sql(&test, EXPIRE).await;
    sql(&test, HURRY).await;
    let other = Running::start(&test, &world, options());
    eventually("all are ready", || async {
        states(&test).await == ["ready"; 6]
    })
    .await;
    for id in [failed, died, runs, plain, unique, later] {
        assert_eq!(state(id).await.unwrap(), "ready");
        let mut tx = test.store.system().await.unwrap();
        let selection = Selection {
            task: Some(id),
            ..Selection::default()
        };
        let others = Selection {
            kind: Some("endless".to_owned()),
            ..selection.clone()
        };
        assert_eq!(cancel(&mut tx, &others).await.unwrap(), 0);
        assert_eq!(cancel(&mut tx, &selection).await.unwrap(), 1);
        assert_eq!(cancel(&mut tx, &selection).await.unwrap(), 0);
        tx.commit().await.unwrap();
        assert_eq!(state(id).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    other.stop().await;
}
