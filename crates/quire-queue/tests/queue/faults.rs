//! What becomes of tasks when the server under them stops, cuts a connection, or has no space left.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use quire_queue::{Task, WorkerOptions, enqueue, relay};
use quire_store::tenants::Tenant;
use quire_testkit::postgres::{Cluster, TestStore, eventually};
use quire_types::{ErrorKind, Kind};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::support::*;

/// Adds a task after another, numbered from 0, and remembers those of which the server said that they are there.
struct Producer {
    acknowledged: Arc<Mutex<BTreeSet<u32>>>,
    enough: CancellationToken,
    task: JoinHandle<()>,
}

impl Producer {
    fn start<T: Task>(
        test: &Arc<TestStore>,
        tenants: Vec<Tenant>,
        number: impl Fn(u32) -> T + Send + 'static,
    ) -> Self {
        let acknowledged: Arc<Mutex<BTreeSet<u32>>> = Arc::default();
        let enough = CancellationToken::new();
        let (test, added, end) = (test.clone(), acknowledged.clone(), enough.clone());
        let task = tokio::spawn(async move {
            for (label, tenant) in (0..).zip(tenants.iter().cycle()) {
                if end.is_cancelled() {
                    break;
                }
                let task = number(label);
                let adding: Result<(), quire_queue::Error> = async {
                    let mut tx = test.store.tenant(tenant.placement()).await?;
                    enqueue(&mut tx, &task).await?;
                    Ok(tx.commit().await?)
                }
                .await;
                match adding {
                    Ok(()) => drop(added.lock().unwrap().insert(label)),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        Self {
            acknowledged,
            enough,
            task,
        }
    }

    fn added(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }

    /// Lets something happen to the server twice in the middle of work; ends, and returns what was acknowledged, when
    /// all of it went on and the queue is empty.
    async fn disturbed(
        self,
        test: &TestStore,
        done: impl AsyncFn() -> usize,
        disturb: impl AsyncFn(),
    ) -> BTreeSet<u32> {
        for _ in 0..2 {
            let (added_before, done_before) = (self.added(), done().await);
            eventually("work is going on", || async {
                self.added() > added_before + 50 && done().await > done_before + 20
            })
            .await;
            disturb().await;
        }
        let added_before = self.added();
        eventually("work goes on", || async {
            self.added() > added_before + 20
        })
        .await;
        self.enough.cancel();
        self.task.await.unwrap();
        eventually("the queue is empty", || async {
            tasks(test).await.is_empty()
        })
        .await;
        self.acknowledged.lock().unwrap().clone()
    }
}

/// The server is stopped at once, twice, under two workers and a producer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_and_nothing_ends_twice_when_postgresql_is_stopped_at_once() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let test = Arc::new(TestStore::on(cluster).await);
    Effect::prepare(&test).await;
    let tenants = vec![test.tenant("a").await, test.tenant("b").await];
    let world = World::on(&test);
    let workers = [1, 2].map(|_| Running::start(&test, &world, with_lease(2_000)));
    let producer = Producer::start(&test, tenants, |label| Effect { label });
    let acknowledged = producer
        .disturbed(
            &test,
            async || Effect::counts(&test).await.len(),
            async || {
                cluster.stop_at_once().await;
                cluster.restart().await;
            },
        )
        .await;

    let counts = Effect::counts(&test).await;
    let twice: Vec<_> = counts.iter().filter(|(_, count)| *count != 1).collect();
    assert!(twice.is_empty(), "more than once: {twice:?}");
    let done: BTreeSet<u32> = counts.into_iter().map(|(label, _)| label).collect();
    let lost: Vec<_> = acknowledged.difference(&done).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
    for worker in workers {
        worker.stop().await;
    }
}

/// The server is killed twice under two workers and a producer: what was acknowledged is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_postgresql_is_killed() {
    let cluster: &'static Cluster = Box::leak(Box::new(Cluster::start().await));
    let test = Arc::new(TestStore::on(cluster).await);
    let tenants = vec![test.tenant("a").await];
    let world = World::new();
    let workers = [1, 2].map(|_| Running::start(&test, &world, with_lease(2_000)));
    let producer = Producer::start(&test, tenants, |label| Scripted {
        label,
        act: Act::Succeed,
    });
    let acknowledged = producer
        .disturbed(
            &test,
            async || world.ends.lock().unwrap().len(),
            async || {
                cluster.kill().await;
                cluster.restart().await;
            },
        )
        .await;

    let ends: BTreeSet<u32> = world.ends.lock().unwrap().iter().copied().collect();
    let lost: Vec<_> = acknowledged.difference(&ends).collect();
    assert!(lost.is_empty(), "lost {lost:?} of {}", acknowledged.len());
    for worker in workers {
        worker.stop().await;
    }
}

/// The connections that listen for calls of other processes, and what was cut.
const CUT: &str = "select pg_terminate_backend(pid) from pg_stat_activity
                   where datname = current_database() and query ilike 'listen%'";

#[tokio::test]
async fn a_worker_whose_listener_was_cut_hears_again_and_misses_nothing() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    // It looks when it is called, and otherwise not for an hour.
    let idle = WorkerOptions {
        poll: Duration::from_secs(3_600),
        ..options()
    };
    let worker = Running::start(&test, &world, idle);
    // Another process, which adds tasks and runs none.
    let (bell, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let caller = tokio::spawn(relay(test.store.clone(), bell.clone(), stop.clone()));
    for label in 0..6 {
        add(&test, &tenant, label, Act::Succeed).await;
        bell.notify_one();
        eventually("it is done", || async { world.ended(label) == 1 }).await;
        // From now on until it has connected again nobody hears anything.
        owner(&test, CUT).await;
    }
    stop.cancel();
    caller.await.unwrap();
    worker.stop().await;
}

/// Whatever is written to the queue finds no space.
const FULL: &str = r#"
    create function queue.is_full() returns trigger language plpgsql as $$
    begin
        raise exception 'could not extend file "base/1/2": No space left on device' using errcode = 'disk_full';
    end $$;
    do $$
    declare
        name text;
    begin
        foreach name in array array['ready', 'deferred', 'dead', 'keyed', 'receipts', 'workers', 'shards'] loop
            execute format('create trigger is_full before insert or update or delete on queue.%I
                            for each statement execute function queue.is_full()', name);
        end loop;
    end $$"#;

#[tokio::test]
async fn a_full_disk_is_named_and_what_runs_is_recorded_once_there_is_space() {
    let test = TestStore::new().await;
    let tenant = test.tenant("a").await;
    let world = World::new();
    let workers = [1, 2].map(|_| Running::start(&test, &world, with_lease(1_000)));
    eventually("shared out evenly", || async {
        shards(&test).await == [32, 32]
    })
    .await;
    add(&test, &tenant, 1, Act::Block).await;
    add(&test, &tenant, 2, Act::Block).await;
    eventually("both run", || async { world.most.lock().unwrap().0 == 2 }).await;
    owner(&test, FULL).await;
    world.open.send_replace(true);
    eventually("both end", || async {
        world.ended(1) == 1 && world.ended(2) == 1
    })
    .await;
    let mut tx = test.tx(&tenant).await;
    let refused = Scripted {
        label: 3,
        act: Act::Succeed,
    };
    let refused = enqueue(&mut tx, &refused).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(
        refused.to_string().contains("disk of the database is full"),
        "{refused}"
    );
    drop(tx);
    // No lease can be renewed for longer than a lease.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(states(&test).await, ["running", "running"]);
    owner(&test, "drop function queue.is_full() cascade").await;

    eventually("their ends are recorded", || async {
        tasks(&test).await.is_empty()
    })
    .await;
    add(&test, &tenant, 4, Act::Succeed).await;
    eventually("it goes on", || async { world.ended(4) == 1 }).await;
    for (label, attempts) in [(1, &[1][..]), (2, &[1]), (3, &[]), (4, &[1])] {
        assert_eq!(world.attempts(label), attempts, "task {label}");
    }
    for worker in workers {
        worker.stop().await;
    }
}
