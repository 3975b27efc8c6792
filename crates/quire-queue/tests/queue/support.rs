//! Tasks that do what they are told, workers that vanish, and a look behind the worker's back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use quire_queue::{
    Attempt, Failure, Retry, Selection, Task, Wishes, Worker, WorkerOptions, enqueue, enqueue_all,
};
use quire_store::tenants::{self, Tenant};
use quire_store::{Store, TenantTx};
use quire_testkit::postgres::TestStore;
use quire_types::{ErrorKind, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// What happened so far, and whether blocked tasks may go on.
pub(crate) struct World {
    store: Option<Store>,
    /// How many tasks ran at once at most.
    pub(crate) most: Mutex<(usize, usize)>,
    pub(crate) runs: Mutex<Vec<(u32, i16)>>,
    pub(crate) ends: Mutex<Vec<u32>>,
    pub(crate) gave_up: Mutex<Vec<(u32, ErrorKind, String)>>,
    pub(crate) open: watch::Sender<bool>,
}

pub(crate) type Context = Arc<World>;

impl World {
    pub(crate) fn new() -> Context {
        Self::with(None)
    }

    /// A world whose tasks can have effects in the database.
    pub(crate) fn on(test: &TestStore) -> Context {
        Self::with(Some(test.store.clone()))
    }

    fn with(store: Option<Store>) -> Context {
        Arc::new(World {
            store,
            most: Mutex::default(),
            runs: Mutex::default(),
            ends: Mutex::default(),
            gave_up: Mutex::default(),
            open: watch::Sender::new(false),
        })
    }

    /// The attempts at a task that were begun.
    pub(crate) fn attempts(&self, label: u32) -> Vec<i16> {
        let runs = self.runs.lock().unwrap();
        let of_task = runs.iter().filter(|run| run.0 == label);
        of_task.map(|run| run.1).collect()
    }

    pub(crate) async fn transaction(&self, tenant: TenantId) -> TenantTx {
        let store = self.store.as_ref().unwrap();
        let mut tx = store.system().await.unwrap();
        let tenant = tenants::get(&mut tx, tenant).await.unwrap();
        drop(tx);
        store.tenant(tenant.placement()).await.unwrap()
    }

    /// Notes that one more task runs, or one less.
    fn count(&self, more: bool) {
        let mut most = self.most.lock().unwrap();
        most.0 = if more { most.0 + 1 } else { most.0 - 1 };
        most.1 = most.1.max(most.0);
    }

    pub(crate) fn ended(&self, label: u32) -> usize {
        let ends = self.ends.lock().unwrap();
        ends.iter().filter(|end| **end == label).count()
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Act {
    Succeed,
    FailForNow,
    FailForGood,
    /// Wants to be tried again after the end of time.
    AskForEver,
    Panic,
    /// Ends when the world opens.
    Block,
    /// Fails for good, and panics when it is told so for the first time.
    FailAndPanic,
    /// Ends the task in the transaction of an effect, then says that it failed.
    CompleteAndFail,
    /// Ends the task in a transaction that does not commit, the first time.
    CompleteInVain,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Scripted {
    pub(crate) label: u32,
    pub(crate) act: Act,
}

#[async_trait]
impl Task for Scripted {
    const KIND: &'static str = "scripted";
    const MAX_ATTEMPTS: i16 = 3;
    const TIMEOUT: Duration = Duration::from_secs(60);
    type Context = Context;

    async fn run(&self, world: &Context, attempt: &Attempt) -> Result<(), Failure> {
        world
            .runs
            .lock()
            .unwrap()
            .push((self.label, attempt.number));
        let _seat = Seat::take(world);
        match self.act {
            Act::Succeed => {}
            Act::FailForNow => return Err(Failure::new(ErrorKind::Unavailable, "later")),
            Act::FailForGood | Act::FailAndPanic => {
                return Err(Failure::new(ErrorKind::Invalid, "never"));
            }
            Act::AskForEver => {
                let failure = Failure::new(ErrorKind::Unavailable, "not in this world");
                return Err(failure.retry_after(Duration::MAX));
            }
            Act::Panic => panic!("a task that panics"),
            Act::CompleteInVain if attempt.number == 1 => {
                let mut tx = world.transaction(attempt.tenant).await;
                attempt.complete(&mut tx).await.unwrap();
                drop(tx);
                return Err(Failure::new(ErrorKind::Unavailable, "the commit failed"));
            }
            Act::CompleteInVain => {}
            Act::CompleteAndFail => {
                let mut tx = world.transaction(attempt.tenant).await;
                attempt.complete(&mut tx).await.unwrap();
                tx.commit().await.unwrap();
                return Err(Failure::new(ErrorKind::Internal, "too late to say so"));
            }
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

/// Counted as running for as long as it lives.
struct Seat(Context);

impl Seat {
    fn take(world: &Context) -> Self {
        world.count(true);
        Self(world.clone())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.count(false);
    }
}

/// A task with an effect in the same database. A second one would stand beside the first.
#[derive(Serialize, Deserialize)]
pub(crate) struct Effect {
    pub(crate) label: u32,
}

impl Effect {
    /// Where effects are.
    pub(crate) async fn prepare(test: &TestStore) {
        owner(
            test,
            "create table queue.effects (tenant_id uuid not null, label bigint not null);
             grant insert on queue.effects to quire_app; grant select on queue.effects to quire_worker",
        )
        .await;
    }

    /// How often each effect is there.
    pub(crate) async fn counts(test: &TestStore) -> Vec<(u32, i64)> {
        let mut tx = test.store.system().await.unwrap();
        let counts: Vec<(i64, i64)> = sqlx::query_as(
            "select label, count(*) from queue.effects group by label order by label",
        )
        .fetch_all(tx.connection())
        .await
        .unwrap();
        let labelled = |(label, count)| (u32::try_from(label).unwrap(), count);
        counts.into_iter().map(labelled).collect()
    }

    async fn happen(&self, world: &World, attempt: &Attempt) -> Result<(), quire_queue::Error> {
        let store = world.store.as_ref().unwrap();
        let mut tx = store.system().await?;
        let tenant = tenants::get(&mut tx, attempt.tenant).await?;
        tx.commit().await?;
        let mut tx = store.tenant(tenant.placement()).await?;
        sqlx::query("insert into queue.effects (tenant_id, label) values ($1, $2)")
            .bind(tx.tenant_id())
            .bind(i64::from(self.label))
            .execute(tx.connection())
            .await?;
        attempt.complete(&mut tx).await?;
        Ok(tx.commit().await?)
    }
}

#[async_trait]
impl Task for Effect {
    const KIND: &'static str = "effect";
    // An outage must not use them up.
    const MAX_ATTEMPTS: i16 = 100;
    const TIMEOUT: Duration = Duration::from_secs(60);
    const RETRY: Retry = Retry {
        base: Duration::from_millis(20),
        cap: Duration::from_millis(200),
    };
    type Context = Context;

    async fn run(&self, world: &Context, attempt: &Attempt) -> Result<(), Failure> {
        let happened = self.happen(world, attempt).await;
        happened.map_err(|error| match error {
            quire_queue::Error::Lost => Failure::of(&error),
            error => Failure::new(ErrorKind::Unavailable, error.to_string()),
        })
    }

    async fn gave_up(&self, _: &Context, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        Ok(())
    }
}

/// A task that never ends in time.
#[derive(Serialize, Deserialize)]
pub(crate) struct Endless;

#[async_trait]
impl Task for Endless {
    const KIND: &'static str = "endless";
    const MAX_ATTEMPTS: i16 = 1;
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

pub(crate) fn options() -> WorkerOptions {
    WorkerOptions {
        seats: 4,
        lease: Duration::from_secs(30),
        poll: Duration::from_millis(20),
        grace: Duration::from_secs(20),
        ..WorkerOptions::default()
    }
}

pub(crate) fn with_lease(milliseconds: u64) -> WorkerOptions {
    WorkerOptions {
        lease: Duration::from_millis(milliseconds),
        ..options()
    }
}

/// A worker at work.
pub(crate) struct Running {
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(test: &TestStore, world: &Context, options: WorkerOptions) -> Running {
        Self::with_bell(test, world, options, Arc::default())
    }

    pub(crate) fn with_bell(
        test: &TestStore,
        world: &Context,
        options: WorkerOptions,
        bell: Arc<Notify>,
    ) -> Running {
        let stop = CancellationToken::new();
        let worker = Worker::new(test.store.clone(), world.clone(), bell, options)
            .with::<Scripted>()
            .with::<Effect>()
            .with::<Endless>();
        let task = tokio::spawn(worker.run(stop.clone()));
        Running { stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    /// The worker vanishes without a word, as when its process is killed.
    pub(crate) async fn abort(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

pub(crate) async fn add(test: &TestStore, tenant: &Tenant, label: u32, act: Act) {
    let mut tx = test.tx(tenant).await;
    enqueue(&mut tx, &Scripted { label, act }).await.unwrap();
    tx.commit().await.unwrap();
}

pub(crate) async fn add_many(
    test: &TestStore,
    tenant: &Tenant,
    labels: std::ops::Range<u32>,
    act: Act,
) {
    let scripted: Vec<Scripted> = labels.map(|label| Scripted { label, act }).collect();
    let mut tx = test.tx(tenant).await;
    let tasks = scripted.iter().map(|task| (task, Wishes::default()));
    enqueue_all(&mut tx, tasks).await.unwrap();
    tx.commit().await.unwrap();
}

/// Every task in the queue, oldest first.
pub(crate) async fn tasks(test: &TestStore) -> Vec<quire_queue::TaskRow> {
    let mut tx = test.store.system().await.unwrap();
    quire_queue::list(&mut tx, &Selection::default(), None, 1_000)
        .await
        .unwrap()
}

pub(crate) async fn states(test: &TestStore) -> Vec<String> {
    tasks(test).await.into_iter().map(|row| row.state).collect()
}

/// Runs SQL behind the worker's back: so time passes faster in a test.
pub(crate) async fn sql(test: &TestStore, statement: &str) {
    let mut tx = test.store.system().await.unwrap();
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .execute(tx.connection())
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

/// Runs statements as the login that may do anything.
pub(crate) async fn owner(test: &TestStore, statements: &str) {
    let mut owner = test.store.owner().await.unwrap();
    for statement in ["reset role", statements] {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut owner)
            .await
            .unwrap();
    }
}

/// How many shards each worker has.
pub(crate) async fn shards(test: &TestStore) -> Vec<i64> {
    let mut tx = test.store.system().await.unwrap();
    let owned =
        "select count(*) from queue.shards where owner is not null group by owner order by 1";
    sqlx::query_scalar(owned)
        .fetch_all(tx.connection())
        .await
        .unwrap()
}

pub(crate) const HURRY: &str = "update queue.deferred set run_at = now()";
/// The workers look dead to others.
pub(crate) const EXPIRE: &str =
    "update queue.workers set lease_until = now() - interval '1 second'";
pub(crate) const TOO_LATE: &str = "update queue.deferred set run_at = null
     where attempt > 0 and run_at > clock_timestamp() + make_interval(secs => 2 ^ attempt)";
pub(crate) const CLEAR: &str = "delete from queue.dead";
