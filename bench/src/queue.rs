//! The task queue: speed, fairness, faults, and other queues on the same server in the same run.
//!
//! Every scenario gets a fresh database on one private PostgreSQL with durable commits. Workers run in this
//! process, except in `crash`, where they are processes that get killed.

mod crash;
mod fairness;
mod lab;
mod peers;
mod speed;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::lab::{Address, Lab};
use crate::report::{Report, Target, line};
use crate::until_interrupted;

#[derive(Args)]
pub(crate) struct Options {
    /// Only these scenarios; may be repeated [default: all].
    #[arg(long = "only", value_enum)]
    only: Vec<Scenario>,
    /// Tasks of the speed scenarios.
    #[arg(long, default_value_t = 200_000)]
    tasks: u32,
    /// Seconds for which an old snapshot is held.
    #[arg(long, default_value_t = 300)]
    held_s: u64,
    /// Ready tasks of the whale scenario.
    #[arg(long, default_value_t = 1_000_000)]
    backlog: u32,
    /// How often workers are killed.
    #[arg(long, default_value_t = 100)]
    crashes: u32,
    /// Where the drivers of the peers are and get installed.
    #[arg(long, default_value = "bench/peers", value_name = "DIR")]
    peers: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// No-op tasks end to end, WAL, and the peers.
    Noop,
    /// The same while a snapshot is held open.
    Held,
    /// One task of a new tenant behind a million of others.
    Whale,
    /// Tenants whose tasks cost ten times as much.
    Skew,
    /// A saturated concurrency key at the head of the queue.
    SaturatedHead,
    /// From commit to start on an idle system.
    Pickup,
    /// Millions of tasks and schedules that wait for their time.
    Future,
    /// Tenants that do nothing.
    Idle,
    /// Workers that get killed.
    Crash,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let lab = Lab::open().await?;
    let measured = Box::pin(until_interrupted(measure(options, &lab))).await;
    lab.report(measured).await
}

async fn measure(options: &Options, lab: &Lab) -> Result<Report, Failure> {
    let mut report = Report::begin(env!("CARGO_PKG_VERSION"), &lab.version());
    let wanted = |scenario: Scenario| options.only.is_empty() || options.only.contains(&scenario);
    if wanted(Scenario::Noop) {
        let ours = speed::noop(lab, options.tasks).await?;
        line(format!(
            "quire            {:>9.0} tasks/s end to end · added {:.0}/s alone · done {:.0}/s alone",
            ours.end_to_end, ours.added, ours.drained
        ));
        report.metric(
            "noop_per_s",
            ours.end_to_end,
            "tasks/s",
            Some(Target::AtLeast(30_000.0)),
        );
        report.metric("noop_add_per_s", ours.added, "tasks/s", None);
        report.metric("noop_drain_per_s", ours.drained, "tasks/s", None);
        report.metric(
            "wal_bytes_per_task",
            ours.wal_bytes,
            "B",
            Some(Target::AtMost(300.0)),
        );
        let best = peers::run(lab, &options.peers, options.tasks).await?;
        if let Some(best) = best {
            let ratio = ours.end_to_end / best;
            report.metric("noop_vs_best_peer", ratio, "", Some(Target::AtLeast(1.0)));
        }
    }
    if wanted(Scenario::Pickup) {
        let waits = speed::pickup(lab).await?;
        report.metric("pickup_p50_ms", waits.p50, "ms", Some(Target::AtMost(5.0)));
        report.metric("pickup_p99_ms", waits.p99, "ms", Some(Target::AtMost(25.0)));
    }
    if wanted(Scenario::SaturatedHead) {
        let ratio = speed::saturated_head(lab, options.tasks / 2).await?;
        report.metric(
            "saturated_head_ratio",
            ratio,
            "",
            Some(Target::AtLeast(0.95)),
        );
    }
    if wanted(Scenario::Skew) {
        let error = fairness::skew(lab).await?;
        report.metric(
            "cost_skew_share_error_pct",
            error,
            "%",
            Some(Target::AtMost(5.0)),
        );
    }
    if wanted(Scenario::Whale) {
        let whale = fairness::whale(lab, options.backlog).await?;
        report.metric(
            "whale_wait_ratio_p95",
            whale.wait_ratio,
            "×",
            Some(Target::AtMost(2.0)),
        );
        report.metric("jain", whale.jain, "", Some(Target::AtLeast(0.99)));
    }
    if wanted(Scenario::Future) {
        let future = speed::future(lab, options.tasks).await?;
        let target = Some(Target::AtLeast(0.95));
        report.metric("future_rows_ratio", future.ratio, "", target);
        report.metric("due_late_p95_ms", future.late_p95_ms, "ms", None);
    }
    if wanted(Scenario::Idle) {
        let queries = fairness::idle(lab).await?;
        report.metric(
            "idle_tenant_queries_per_s",
            queries,
            "/s",
            Some(Target::AtMost(0.5)),
        );
    }
    if wanted(Scenario::Held) {
        let ratio = speed::held_snapshot(lab, options.held_s).await?;
        report.metric(
            "held_snapshot_ratio",
            ratio,
            "",
            Some(Target::AtLeast(0.95)),
        );
    }
    if wanted(Scenario::Crash) {
        let crash = crash::run(lab, options.crashes).await?;
        report.metric("crash_lost", crash.lost, "tasks", Some(Target::AtMost(0.0)));
        report.metric(
            "crash_duplicated",
            crash.duplicated,
            "tasks",
            Some(Target::AtMost(0.0)),
        );
        report.metric(
            "crash_recover_s_max",
            crash.recover_s_max,
            "s",
            Some(Target::AtMost(10.0)),
        );
    }
    Ok(report)
}

/// A worker process of the `crash` scenario.
pub(crate) async fn work(address: &Address) -> Result<(), Failure> {
    crash::work(address).await
}
