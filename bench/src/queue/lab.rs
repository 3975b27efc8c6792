//! A PostgreSQL for all scenarios, a database for each, and workers with tasks that do little.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use quire_postgres::Server;
use quire_queue::{
    Attempt, Failure as TaskFailure, Task, Wishes, Worker, WorkerOptions, enqueue_all,
};
use quire_store::{Database, Objects, Placement, Store, StoreConfig};
use quire_types::TenantId;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::failure::Failure;

/// What is set on the server for every queue alike.
const SETTINGS: [(&str, &str); 4] = [
    ("shared_buffers", "512MB"),
    ("max_wal_size", "4GB"),
    ("checkpoint_timeout", "15min"),
    ("autovacuum_naptime", "10s"),
];

pub(super) struct Lab {
    server: Server,
    folder: TempDir,
    databases: AtomicU32,
}

impl Lab {
    pub(super) async fn open() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new()
            .prefix("quire-bench-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .map_err(Failure::doing("making a folder"))?;
        let mut options = quire_postgres::Options::new(folder.path().join("pg"));
        options.settings = SETTINGS
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let server = Server::open(options).await?;
        Ok(Self {
            server,
            folder,
            databases: AtomicU32::new(0),
        })
    }

    pub(super) fn version(&self) -> String {
        self.server.version().to_string()
    }

    pub(super) async fn close(self) -> Result<(), Failure> {
        Ok(self.server.close().await?)
    }

    pub(super) fn socket(&self) -> (PathBuf, u16) {
        (self.server.socket_dir(), self.server.port())
    }

    /// A fresh database. Its name can be given to another process.
    pub(super) async fn database(&self) -> Result<(String, Store), Failure> {
        let name = format!("bench_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let (socket, port) = self.socket();
        let store = connect(&socket, port, self.server.admin_user(), &name).await?;
        Ok((name, store))
    }

    pub(super) fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    pub(super) fn admin_user(&self) -> String {
        self.server.admin_user().to_owned()
    }
}

pub(super) async fn connect(
    socket: &std::path::Path,
    port: u16,
    admin: &str,
    name: &str,
) -> Result<Store, Failure> {
    let objects = socket.join("objects");
    Ok(Store::connect(StoreConfig {
        database: Database::private(socket, port, admin, name),
        objects: Objects::directory(&objects)?,
        connections: 16,
        migrations: &[quire_queue::MIGRATIONS],
    })
    .await?)
}

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

/// Runs SQL that only a measurement needs.
pub(super) async fn sql(store: &Store, statement: &str) -> Result<(), Failure> {
    let mut owner = store.owner().await?;
    let run = sqlx::raw_sql(AssertSqlSafe(format!("reset role; {statement}")));
    run.execute(&mut owner)
        .await
        .map_err(Failure::doing("running SQL"))?;
    Ok(())
}

/// A number from the database.
pub(super) async fn number(store: &Store, query: &'static str) -> Result<i64, Failure> {
    let mut owner = store.owner().await?;
    sqlx::raw_sql("reset role")
        .execute(&mut owner)
        .await
        .map_err(Failure::doing("running SQL"))?;
    sqlx::query_scalar(query)
        .fetch_one(&mut owner)
        .await
        .map_err(Failure::doing("running SQL"))
}

/// The middle and the tail of some waits, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waits {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
}

impl Waits {
    pub(super) fn of(mut waits: Vec<Duration>) -> Self {
        waits.sort_unstable();
        let at = |share: f64| {
            let index = ((waits.len() as f64 * share) as usize).min(waits.len().saturating_sub(1));
            waits
                .get(index)
                .map_or(f64::NAN, |wait| wait.as_secs_f64() * 1e3)
        };
        Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        }
    }
}
