//! graphile_worker, the one in Rust, as its guide sets it up for many small jobs: a local queue and batches
//! for what is done.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, TaskHandler, WorkerContext, WorkerOptions,
    WorkerUtils,
};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

static DONE: AtomicU32 = AtomicU32::new(0);

#[derive(Clone, Serialize, Deserialize)]
struct Noop {
    n: u32,
    pad: String,
}

impl TaskHandler for Noop {
    const IDENTIFIER: &'static str = "noop";

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        DONE.fetch_add(1, Ordering::Relaxed);
        Ok::<(), String>(())
    }
}

async fn half(utils: &WorkerUtils, part: u32, tasks: u32) -> Result<(), Box<dyn Error>> {
    let spec = JobSpec::default();
    let pad = "x".repeat(80);
    for n in (part * 500..tasks).step_by(1000) {
        let jobs: Vec<_> = (n..tasks.min(n + 500))
            .map(|n| Noop {
                n,
                pad: pad.clone(),
            })
            .map(|job| (job, &spec))
            .collect();
        utils.add_jobs(&jobs).await?;
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
    let worker = WorkerOptions::default()
        .pg_pool(pool.clone())
        .concurrency(24)
        .local_queue(LocalQueueConfig::default().with_size(500))
        .complete_job_batch_delay(Duration::ZERO)
        .fail_job_batch_delay(Duration::ZERO)
        .define_job::<Noop>()
        .init()
        .await?;
    let utils = worker.create_utils();
    tokio::spawn(async move { worker.run().await });

    let started = Instant::now();
    tokio::try_join!(half(&utils, 0, tasks), half(&utils, 1, tasks))?;
    while DONE.load(Ordering::Relaxed) < tasks {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let left = "select count(*) from graphile_worker._private_jobs";
    while sqlx::query_scalar::<_, i64>(left).fetch_one(&pool).await? > 0 {}
    let per_s = f64::from(tasks) / started.elapsed().as_secs_f64();
    let (_, version) = include_str!("../Cargo.lock")
        .split_once("name = \"graphile_worker\"\nversion = \"")
        .ok_or("the lock file has no graphile_worker")?;
    let version = version.split('"').next();
    println!(
        "{}",
        serde_json::json!({ "version": version, "per_s": per_s })
    );
    Ok(())
}
