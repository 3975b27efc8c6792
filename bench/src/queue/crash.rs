//! Workers that are killed with hundreds of tasks running: what was lost, what ended twice, how long it took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use quire_queue::{Attempt, Failure as TaskFailure, Task, Wishes, Worker, WorkerOptions};
use quire_store::{Placement, Store};
use quire_types::ErrorKind;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::lab::{Lab, add, number, sql, tenant};
use crate::failure::Failure;
use crate::lab::{Address, Process};
use crate::report::{line, note};

const RUNNING: usize = 500;

/// Takes long, then ends in the transaction of its effect: a row that says so.
#[derive(Serialize, Deserialize)]
struct Effect {
    takes_ms: u64,
}

#[async_trait]
impl Task for Effect {
    const KIND: &'static str = "effect";
    const MAX_ATTEMPTS: i16 = 1_000;
    const TIMEOUT: Duration = Duration::from_secs(600);
    type Context = Store;

    async fn run(&self, store: &Store, attempt: &Attempt) -> Result<(), TaskFailure> {
        let failed = |error: &dyn std::fmt::Display| {
            TaskFailure::new(ErrorKind::Unavailable, error.to_string())
        };
        let note = async |table: &'static str, end: bool| {
            let placement = Placement {
                tenant: attempt.tenant,
                incarnation: Uuid::nil(),
                shard: 0,
            };
            let mut tx = store
                .tenant(placement)
                .await
                .map_err(|error| failed(&error))?;
            let insert = format!("insert into {table} values ('{}')", attempt.task.uuid());
            sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
                .execute(tx.connection())
                .await
                .map_err(|error| failed(&error))?;
            if end {
                attempt
                    .complete(&mut tx)
                    .await
                    .map_err(|error| failed(&error))?;
            }
            tx.commit().await.map_err(|error| failed(&error))
        };
        note("bench.begun", false).await?;
        tokio::time::sleep(Duration::from_millis(self.takes_ms)).await;
        note("bench.done", true).await
    }

    async fn gave_up(&self, _: &Store, _: &Attempt, _: &TaskFailure) -> Result<(), TaskFailure> {
        Ok(())
    }
}

/// Works until it is killed.
pub(super) async fn work(address: &Address) -> Result<(), Failure> {
    let store = address.connect().await?;
    let options = WorkerOptions {
        name: std::process::id().to_string(),
        seats: RUNNING * 2,
        ..WorkerOptions::default()
    };
    let worker =
        Worker::new(store.clone(), store, Arc::new(Notify::new()), options).with::<Effect>();
    worker.run(CancellationToken::new()).await;
    Ok(())
}

pub(super) struct Crash {
    pub(super) lost: f64,
    pub(super) duplicated: f64,
    pub(super) recover_s_max: f64,
}

/// Two workers with as many tasks each; one is killed and replaced, over and over.
pub(super) async fn run(lab: &Lab, crashes: u32) -> Result<Crash, Failure> {
    note(format!(
        "queue: a worker killed with {RUNNING} tasks running, {crashes} times"
    ));
    let (database, store) = lab.database().await?;
    sql(
        &store,
        "create schema bench; create table bench.begun (task uuid); create table bench.done (task uuid);
         grant usage on schema bench to quire_app; grant insert on bench.begun, bench.done to quire_app",
    )
    .await?;
    let address = lab.address(&database);
    let start = || Process::start("queue-worker", &address, &[]);
    let mut workers = [start()?, start()?];
    let mut recoveries = Vec::new();
    let mut interrupted_all = 0;
    for crash in 0..crashes {
        until(
            &store,
            "shares",
            "select count(*) from (select from queue.shards where owner is not null
                                 group by owner having count(*) = 32) s",
            2,
        )
        .await?;
        let tasks: Vec<Effect> = (0..2 * RUNNING)
            .map(|_| Effect { takes_ms: 3_000 })
            .collect();
        for batch in tasks.chunks(5) {
            add(&store, tenant(), batch, &Wishes::default()).await?;
        }
        let begun = number(&store, BEGUN).await?;
        let expected = i64::from(crash + 1) * 2 * RUNNING as i64 + interrupted_all;
        if begun < expected {
            until(&store, "all begun", BEGUN, expected).await?;
        }
        let victim = &workers[0];
        let interrupted = number_of(&store, victim).await?;
        workers.swap(0, 1);
        let [survivor, victim] = workers;
        victim.kill().await?;
        let killed = Instant::now();
        until(&store, "all begun again", BEGUN, expected + interrupted).await?;
        recoveries.push(killed.elapsed());
        interrupted_all += interrupted;
        workers = [survivor, start()?];
        while number(&store, "select count(*) from queue.ready").await? > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if (crash + 1) % 10 == 0 {
            note(format!("queue: {} of {crashes} crashes", crash + 1));
        }
    }
    let all = i64::from(crashes) * 2 * RUNNING as i64;
    let done = number(&store, "select count(distinct task) from bench.done").await?;
    let twice = number(
        &store,
        "select count(*) - count(distinct task) from bench.done",
    )
    .await?;
    recoveries.sort_unstable();
    let middle = recoveries
        .get(recoveries.len() / 2)
        .map_or(f64::NAN, Duration::as_secs_f64);
    let worst = recoveries.last().map_or(f64::NAN, Duration::as_secs_f64);
    line(format!(
        "crashes          {crashes}, {} running on average · {done} of {all} done · {twice} twice · running again \
         after {middle:.1} s (middle) to {worst:.1} s",
        interrupted_all / i64::from(crashes.max(1))
    ));
    Ok(Crash {
        lost: (all - done) as f64,
        duplicated: twice as f64,
        recover_s_max: worst,
    })
}

const BEGUN: &str = "select count(*) from bench.begun";

/// Waits until a number is reached; a minute is too long.
async fn until(
    store: &Store,
    what: &str,
    query: &'static str,
    expected: i64,
) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        let found = number(store, query).await?;
        if found >= expected {
            return Ok(());
        }
        if started.elapsed() > Duration::from_secs(60) {
            return Err(Failure::failed(format!(
                "{what}: {found} of {expected} after a minute"
            )));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The tasks that a worker process has begun and not ended.
async fn number_of(store: &Store, process: &Process) -> Result<i64, Failure> {
    let mut tx = store.system().await?;
    let query = "select count(*) from queue.receipts r join queue.workers w on w.id = r.worker,
                        unnest(r.tokens) as t (token)
                 where w.name = $1 and exists (select from queue.ready where run_token = t.token)";
    let count = sqlx::query_scalar(query)
        .bind(process.id().map(|id| id.to_string()))
        .fetch_one(tx.connection())
        .await
        .map_err(Failure::doing("counting running tasks"))?;
    tx.commit().await?;
    Ok(count)
}
