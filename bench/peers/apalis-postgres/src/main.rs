//! apalis-postgres with batches and without a lock for each task, as in its own example; it keeps what is
//! done.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_postgres::{Config, PostgresStorage};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

static DONE: AtomicU32 = AtomicU32::new(0);

#[derive(Serialize, Deserialize)]
struct Noop {
    n: u32,
    pad: String,
}

async fn noop(_: Noop) -> Result<(), BoxDynError> {
    DONE.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

async fn half(
    mut storage: PostgresStorage<Noop>,
    part: u32,
    tasks: u32,
) -> Result<(), Box<dyn Error>> {
    let pad = "x".repeat(80);
    for n in (part * 500..tasks).step_by(1000) {
        let batch = (n..tasks.min(n + 500)).map(|n| Noop {
            n,
            pad: pad.clone(),
        });
        storage.push_bulk(batch.collect()).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let tasks: u32 = std::env::var("TASKS")?.parse()?;
    let pool = PgPoolOptions::new()
        .max_connections(20)
        .connect_with(PgConnectOptions::new())
        .await?;
    PostgresStorage::setup(&pool).await?;
    let config = Config::default()
        .queue("noop")
        .batch_size(500)
        .lock_tasks(false);
    let storage = PostgresStorage::new(&pool).with_config(config);
    // With notices instead of polls, the end of the last tasks is written at the next heartbeat.
    let polls = Strategy::new().interval(Duration::from_millis(10));
    let worker = WorkerBuilder::new("noop")
        .backend(storage.clone().poll_with_strategy(polls))
        .parallelize(tokio::spawn)
        .build(noop);
    tokio::spawn(worker.run());

    let started = Instant::now();
    tokio::try_join!(half(storage.clone(), 0, tasks), half(storage, 1, tasks))?;
    while DONE.load(Ordering::Relaxed) < tasks {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let done = "select count(*) from apalis.jobs where status = 'Done'";
    while sqlx::query_scalar::<_, i64>(done).fetch_one(&pool).await? < i64::from(tasks) {}
    let per_s = f64::from(tasks) / started.elapsed().as_secs_f64();
    let (_, version) = include_str!("../Cargo.lock")
        .split_once("name = \"apalis-postgres\"\nversion = \"")
        .ok_or("the lock file has no apalis-postgres")?;
    let version = version.split('"').next();
    println!(
        "{}",
        serde_json::json!({ "version": version, "per_s": per_s })
    );
    Ok(())
}
