//! What the scenarios of the queue share: workers, and tasks that do little.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use quire_queue::{
    Attempt, Failure as TaskFailure, Task, Wishes, Worker, WorkerOptions, enqueue_all,
};
use quire_store::{Placement, Store};
use quire_types::TenantId;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::failure::Failure;

pub(super) use crate::lab::{Lab, Waits, number, sql};

/// What the tasks of a scenario report to.
#[derive(Clone, Default)]
pub(super) struct World {
    pub(super) done: Arc<AtomicU64>,
    /// Time that tasks of each group took, in microseconds.
    pub(super) busy: Arc<Mutex<Vec<u64>>>,
    /// When tasks with a number began.
    pub(super) begun: Arc<Mutex<Vec<(u32, Instant)>>>,
}

impl World {
    pub(super) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until this many tasks are done, and says how long it took.
    pub(super) async fn until(&self, tasks: u64) -> Duration {
        let started = Instant::now();
        while self.done() < tasks {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        started.elapsed()
    }
}

/// Does nothing. The padding makes the payload about 100 bytes.
#[derive(Serialize, Deserialize)]
pub(super) struct Noop {
    pub(super) n: u32,
    pub(super) pad: String,
}

impl Noop {
    pub(super) fn new(n: u32) -> Self {
        Self {
            n,
            pad: "x".repeat(80),
        }
    }
}

#[async_trait]
impl Task for Noop {
    const KIND: &'static str = "noop";
    const TIMEOUT: Duration = Duration::from_secs(10);
    type Context = World;

    async fn run(&self, world: &World, _: &Attempt) -> Result<(), TaskFailure> {
        world.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn gave_up(&self, _: &World, _: &Attempt, _: &TaskFailure) -> Result<(), TaskFailure> {
        Ok(())
    }
}

/// Says when it began, and takes a while.
#[derive(Serialize, Deserialize)]
pub(super) struct Timed {
    pub(super) n: u32,
    pub(super) group: usize,
    pub(super) takes_us: u64,
}

#[async_trait]
impl Task for Timed {
    const KIND: &'static str = "timed";
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Context = World;

    async fn run(&self, world: &World, _: &Attempt) -> Result<(), TaskFailure> {
        let begun = Instant::now();
        if self.n > 0
            && let Ok(mut all) = world.begun.lock()
        {
            all.push((self.n, begun));
        }
        if self.takes_us > 0 {
            tokio::time::sleep(Duration::from_micros(self.takes_us)).await;
        }
        let took = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        if let Ok(mut busy) = world.busy.lock() {
            if busy.len() <= self.group {
                busy.resize(self.group + 1, 0);
            }
            busy[self.group] += took;
        }
        world.done.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn gave_up(&self, _: &World, _: &Attempt, _: &TaskFailure) -> Result<(), TaskFailure> {
        Ok(())
    }
}

/// A worker of this process.
pub(super) struct Running {
    pub(super) bell: Arc<Notify>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    pub(super) fn start(store: &Store, world: &World, seats: usize) -> Self {
        let bell = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let options = WorkerOptions {
            seats,
            ..WorkerOptions::default()
        };
        let worker = Worker::new(store.clone(), world.clone(), bell.clone(), options)
            .with::<Noop>()
            .with::<Timed>();
        let task = tokio::spawn(worker.run(stop.clone()));
        Self { bell, stop, task }
    }

    pub(super) async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        self.task
            .await
            .map_err(Failure::doing("stopping the worker"))
    }
}

/// A tenant that only the queue knows.
pub(super) fn tenant() -> Placement {
    Placement {
        tenant: TenantId::generate(),
        incarnation: Uuid::nil(),
        shard: 0,
    }
}

/// Adds tasks of a tenant in one transaction.
pub(super) async fn add<T: Task>(
    store: &Store,
    tenant: Placement,
    tasks: &[T],
    wishes: &Wishes,
) -> Result<(), Failure> {
    let mut tx = store.tenant(tenant).await?;
    enqueue_all(&mut tx, tasks.iter().map(|task| (task, wishes.clone()))).await?;
    Ok(tx.commit().await?)
}
