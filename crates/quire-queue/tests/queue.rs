//! The queue on a real PostgreSQL: what becomes of a task however its attempts, its worker and the
//! database end.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use quire_queue::{Attempt, Failure, Task, Worker, WorkerOptions, depths, enqueue, enqueue_after};
use quire_store::tenants::Tenant;
use quire_testkit::postgres::{Cluster, TestStore, eventually};
use quire_types::ErrorKind;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What happened so far, and whether blocked tasks may go on.
struct World {
    runs: Mutex<Vec<(u32, i32)>>,
    ends: Mutex<Vec<u32>>,
    gave_up: Mutex<Vec<(u32, ErrorKind, String)>>,
    open: watch::Sender<bool>,
}

type Context = Arc<World>;

impl World {
    fn new() -> Context {
        Arc::new(World {
            runs: Mutex::default(),
            ends: Mutex::default(),
            gave_up: Mutex::default(),
            open: watch::Sender::new(false),
        })
    }

    /// The attempts at a task that were begun.
    fn attempts(&self, label: u32) -> Vec<i32> {
        let runs = self.runs.lock().unwrap();
        let of_task = runs.iter().filter(|run| run.0 == label);
        of_task.map(|run| run.1).collect()
    }

    fn ended(&self, label: u32) -> usize {
        let ends = self.ends.lock().unwrap();
        ends.iter().filter(|end| **end == label).count()
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Act {
    Succeed,
    FailForNow,
    FailForGood,
    Panic,
    /// Ends when the world opens.
    Block,
    /// Fails for good, and panics when it is told so for the first time.
    FailAndPanic,
}

#[derive(Serialize, Deserialize)]
struct Scripted {
    label: u32,
    act: Act,
}

#[async_trait]
impl Task for Scripted {
    const KIND: &'static str = "scripted";
    const MAX_ATTEMPTS: i32 = 3;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Context = Context;

    async fn run(&self, world: &Context, attempt: &Attempt) -> Result<(), Failure> {
        world
            .runs
            .lock()
            .unwrap()
            .push((self.label, attempt.number));
        match self.act {
            Act::Succeed => {}
            Act::FailForNow => return Err(Failure::new(ErrorKind::Unavailable, "later")),
            Act::FailForGood | Act::FailAndPanic => {
                return Err(Failure::new(ErrorKind::Invalid, "never"));
            }
            Act::Panic => panic!("a task that panics"),
            Act::Block => {
                let mut open = world.open.subscribe();
                open.wait_for(|open| *open).await.unwrap();
            }
        }
        world.ends.lock().unwrap().push(self.label);
        Ok(())
    }

    async fn gave_up(
        &self,
        world: &Context,
        _: &Attempt,
        failure: &Failure,
    ) -> Result<(), Failure> {
        let times = {
            let mut gave_up = world.gave_up.lock().unwrap();
            gave_up.push((self.label, failure.kind, failure.message.clone()));
            gave_up.len()
        };
        match self.act {
            Act::FailAndPanic if times == 1 => panic!("a report that panics"),
            _ => Ok(()),
        }
    }
}

/// A task that never ends in time.
#[derive(Serialize, Deserialize)]
struct Endless;

#[async_trait]
impl Task for Endless {
    const KIND: &'static str = "endless";
    const MAX_ATTEMPTS: i32 = 1;
    const TIMEOUT: Duration = Duration::from_millis(50);
    type Context = Context;

    async fn run(&self, _: &Context, _: &Attempt) -> Result<(), Failure> {
        std::future::pending().await
    }

    async fn gave_up(
        &self,
        world: &Context,
        _: &Attempt,
        failure: &Failure,
    ) -> Result<(), Failure> {
        let told = (0, failure.kind, failure.message.clone());
        world.gave_up.lock().unwrap().push(told);
        Ok(())
    }
}

fn options() -> WorkerOptions {
    WorkerOptions {
        seats: 4,
        lease: Duration::from_secs(30),
        poll: Duration::from_millis(20),
        grace: Duration::from_secs(20),
    }
}

fn with_lease(milliseconds: u64) -> WorkerOptions {
    WorkerOptions {
        lease: Duration::from_millis(milliseconds),
        ..options()
    }
}

/// A worker at work.
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(test: &TestStore, world: &Context, options: WorkerOptions) -> Running {
        Self::with_bell(test, world, options, Arc::default())
    }

    fn with_bell(
        test: &TestStore,
        world: &Context,
        options: WorkerOptions,
        bell: Arc<Notify>,
    ) -> Running {
        let stop = CancellationToken::new();
        let worker = Worker::new(test.store.clone(), world.clone(), bell, options)
            .with::<Scripted>()
            .with::<Endless>();
        let task = tokio::spawn(worker.run(stop.clone()));
        Running { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// The worker vanishes without a word, as when its process is killed.
    async fn abort(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

async fn add(test: &TestStore, tenant: &Tenant, label: u32, act: Act) {
    let mut tx = test.tx(tenant).await;
    enqueue(&mut tx, &Scripted { label, act }).await.unwrap();
    tx.commit().await.unwrap();
}

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Row {
    state: String,
    attempts: i32,
    error_kind: Option<String>,
    error: Option<String>,
}

/// Every task in the queue, oldest first.
async fn tasks(test: &TestStore) -> Vec<Row> {
    let mut tx = test.store.system().await.unwrap();
    sqlx::query_as("select state, attempts, error_kind, error from queue.tasks order by created_at")
        .fetch_all(tx.connection())
        .await
        .unwrap()
}

async fn states(test: &TestStore) -> Vec<String> {
    tasks(test).await.into_iter().map(|row| row.state).collect()
}

/// Runs SQL behind the worker's back: so time passes faster in a test.
async fn sql(test: &TestStore, statement: &str) {
    let mut tx = test.store.system().await.unwrap();
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(tx.connection())
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

const HURRY: &str = "update queue.tasks set run_at = now() where state = 'ready'";
const EXPIRE: &str =
    "update queue.tasks set lease_until = now() - interval '1 second' where state = 'running'";
const TOO_LATE: &str = "update queue.tasks set run_at = null
     where state = 'ready' and attempts > 0 and run_at > now() + make_interval(secs => 2 ^ attempts)";
const CLEAR: &str = "delete from queue.tasks";

#[tokio::test]
async fn every_committed_task_runs_and_a_rolled_back_one_does_not() {
    let test = TestStore::new().await;
    let tenants = [test.tenant("a").await, test.tenant("b").await];
    let world = World::new();
    // Workers that would not look for an hour: the bell wakes them, and they go on while there is more.
    let bell = Arc::new(Notify::new());
    let idle = WorkerOptions {
        poll: Duration::from_secs(3_600),
        ..options()
    };
    let workers = [1, 2].map(|_| Running::with_bell(&test, &world, idle.clone(), bell.clone()));

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
    for worker in workers {
        worker.stop().await;
    }
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
            (row.attempts, row.error_kind.as_deref()),
            (attempts[attempts.len() - 1], Some(kind.as_str()))
        );
        let mut tx = test.store.system().await.unwrap();
        let depths = depths(&mut tx).await.unwrap();
        assert_eq!(
            (depths.len(), depths[0].state.as_str(), depths[0].tasks),
            (1, "dead", 1)
        );
        drop(tx);
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
    let unreadable = r#"update queue.tasks set kind = 'scripted', payload = '{"label": -1}',
                        state = 'ready', attempts = 0, max_attempts = 3"#;
    sql(&test, unreadable).await;
    eventually("it is dead again", || async {
        sql(&test, EXPIRE).await;
        let rows = tasks(&test).await;
        rows[0].state == "dead"
            && rows[0]
                .error
                .as_deref()
                .is_some_and(|error| error.contains("payload"))
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
    eventually("it is dead", || async { states(&test).await == ["dead"] }).await;
    assert_eq!(world.gave_up.lock().unwrap().len(), 2);
    worker.stop().await;
}

#[tokio::test]
async fn a_lease_is_kept_while_a_task_runs_and_free_when_its_worker_is_gone() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let first = Running::start(&test, &world, with_lease(1_500));
    add(&test, &tenant, 1, Act::Block).await;
    eventually("it runs", || async { world.attempts(1) == [1] }).await;

    // A second worker gets nothing for longer than a lease, because the first one keeps it.
    let second = Running::start(&test, &world, with_lease(1_500));
    let started = Instant::now();
    eventually("a lease is over", || async {
        started.elapsed() > Duration::from_millis(2_500)
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
        (rows[0].state.as_str(), rows[0].attempts),
        ("running", 2),
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
    let taken = "update queue.tasks set lease_token = gen_random_uuid(), lease_until = now() + interval '1 hour'";
    sql(&test, taken).await;
    // Its only seat is free again, although the world never opened.
    add(&test, &tenant, 2, Act::Succeed).await;
    eventually("the next task runs", || async { world.ended(2) == 1 }).await;
    assert_eq!(world.ended(1), 0);
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
        assert_eq!(
            tasks(&test).await[0].attempts,
            attempt,
            "counted before it ran"
        );
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
        let is_fresh = |row: &Row| row.state == "ready" && row.attempts == 0;
        assert!(
            rows.iter().all(is_fresh),
            "the attempt does not count: {rows:?}"
        );
        assert_eq!(rows.len(), if opens { 1 } else { 2 });
        sql(&test, CLEAR).await;
    }
}

/// Draining may take longer than a lease.
#[tokio::test]
async fn a_lease_is_kept_while_a_worker_drains() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let worker = Running::start(&test, &world, with_lease(900));
    add(&test, &tenant, 1, Act::Block).await;
    eventually("it runs", || async { world.attempts(1) == [1] }).await;
    worker.stop.cancel();
    let other = Running::start(&test, &world, with_lease(900));
    let started = Instant::now();
    eventually("a lease is over", || async {
        started.elapsed() > Duration::from_millis(2_000)
    })
    .await;
    world.open.send_replace(true);
    worker.task.await.unwrap();
    assert_eq!(world.attempts(1), [1]);
    assert_eq!(tasks(&test).await, []);
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
    enqueue_after(&mut tx, &later, hour).await.unwrap();
    sqlx::query(
        "insert into queue.tasks (tenant_id, id, kind, payload, max_attempts)
         values ($1, $1, 'unknown', '{}', 1)",
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
        states(&test).await == ["ready", "ready"]
    })
    .await;
    assert_eq!(world.attempts(1), [0; 0]);
    sql(&test, HURRY).await;
    eventually("one waits", || async { tasks(&test).await.len() == 1 }).await;
    assert_eq!(world.attempts(1), [1]);
    assert_eq!(
        tasks(&test).await[0].attempts,
        0,
        "the unknown one was never claimed"
    );
    worker.stop().await;
}

/// The server is killed twice under two workers and a producer: what was acknowledged is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_postgresql_is_killed() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let test = Arc::new(TestStore::on(cluster).await);
    let tenant = test.tenant("a").await;
    let world = World::new();
    let workers = [1, 2].map(|_| Running::start(&test, &world, with_lease(2_000)));

    let acknowledged: Arc<Mutex<Vec<u32>>> = Arc::default();
    let enough = CancellationToken::new();
    let producer = {
        let (test, acknowledged, enough) = (test.clone(), acknowledged.clone(), enough.clone());
        async move {
            for label in 0.. {
                if enough.is_cancelled() {
                    break;
                }
                let task = Scripted {
                    label,
                    act: Act::Succeed,
                };
                let added: Result<(), quire_queue::Error> = async {
                    let mut tx = test.store.tenant(tenant.placement()).await?;
                    enqueue(&mut tx, &task).await?;
                    Ok(tx.commit().await?)
                }
                .await;
                match added {
                    Ok(()) => acknowledged.lock().unwrap().push(label),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        }
    };
    let producer = tokio::spawn(producer);
    let added = || acknowledged.lock().unwrap().len();
    let ended = || world.ends.lock().unwrap().len();
    for _ in 0..2 {
        let (added_before, ended_before) = (added(), ended());
        eventually("work is going on", || async {
            added() > added_before + 50 && ended() > ended_before + 20
        })
        .await;
        cluster.kill().await;
        cluster.restart().await;
    }
    let added_before = added();
    eventually("work goes on", || async { added() > added_before + 20 }).await;
    enough.cancel();
    producer.await.unwrap();
    eventually("the queue is empty", || async {
        tasks(&test).await.is_empty()
    })
    .await;

    let ends: HashSet<u32> = world.ends.lock().unwrap().iter().copied().collect();
    let acknowledged: HashSet<u32> = acknowledged.lock().unwrap().iter().copied().collect();
    let lost: Vec<&u32> = acknowledged.difference(&ends).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
    for worker in workers {
        worker.stop().await;
    }
}
