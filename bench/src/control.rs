//! The control plane: what admission costs, and whether money, rates, fairness and usage hold when everybody
//! comes at once.
//!
//! Every scenario gets a fresh database on one private PostgreSQL with durable commits. What has to hold
//! between processes is measured with processes, of which some get killed.

mod admission;
mod budget;
mod idle;
mod neighbour;
mod onboard;
mod overload;
mod rate;
mod scene;
mod usage;

pub(crate) use scene::{Customer, Running, caller, customer, open};

use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::lab::{Address, Lab};
use crate::report::{Report, Target, line};
use crate::{Program, until_interrupted};

#[derive(Args)]
pub(crate) struct Options {
    /// Only these scenarios; may be repeated [default: all].
    #[arg(long = "only", value_enum)]
    only: Vec<Scenario>,
    /// Shorter and smaller: to see that it works.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    program: Program,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// What letting a request in adds to its time.
    Admission,
    /// Spenders in several processes on the same money, some of which get killed.
    Budget,
    /// A tenant with a hundred times the load of the others.
    Neighbour,
    /// Ten times as much as can be done.
    Overload,
    /// Several processes against one rate.
    Rate,
    /// Writing usage events and summing them.
    Usage,
    /// New tenants.
    Onboard,
    /// Tenants that do nothing.
    Idle,
    /// How to run the simulation of the seats.
    Simulation,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let lab = Lab::open().await?;
    let measured = Box::pin(until_interrupted(measure(options, &lab))).await;
    lab.report(measured).await
}

async fn measure(options: &Options, lab: &Lab) -> Result<Report, Failure> {
    let mut report = Report::begin(env!("CARGO_PKG_VERSION"), &lab.version());
    let wanted = |scenario: Scenario| options.only.is_empty() || options.only.contains(&scenario);
    let size = |full: u32, quick: u32| if options.quick { quick } else { full };
    let at_most = |bound| Some(Target::AtMost(bound));
    let at_least = |bound| Some(Target::AtLeast(bound));
    if wanted(Scenario::Admission) {
        let found = admission::run(lab, size(20, 5), false).await?;
        report.metric("admission_p50_ms", found.all.p50, "ms", at_most(0.3));
        report.metric("admission_p99_ms", found.all.p99, "ms", at_most(2.0));
        report.metric("admission_warm_p50_ms", found.warm.p50, "ms", None);
        report.metric("admission_warm_p99_ms", found.warm.p99, "ms", None);
        report.metric("admission_cold_p50_ms", found.cold.p50, "ms", None);
        report.metric("admission_cold_p99_ms", found.cold.p99, "ms", None);
        let named = admission::run(lab, size(20, 5), true).await?.all;
        report.metric("admission_named_p50_ms", named.p50, "ms", None);
        report.metric("admission_named_p99_ms", named.p99, "ms", None);
    }
    if wanted(Scenario::Budget) {
        let found = budget::run(lab, size(60, 12)).await?;
        let over = found.overshoot_nanos;
        report.metric("budget_overshoot_nanousd", over, "n$", at_most(0.0));
        let off = found.mismatch_nanos;
        report.metric("budget_mismatch_nanousd", off, "n$", at_most(0.0));
        report.metric("budget_free_attempts", found.free, "events", at_most(0.0));
        report.metric("deadlocks", found.deadlocks, "", at_most(0.0));
    }
    if wanted(Scenario::Neighbour) {
        let found = neighbour::run(lab, size(40, 8)).await?;
        report.metric("neighbour_p99_ratio", found.p99_ratio, "", at_most(1.2));
        report.metric("jain", found.jain, "", at_least(0.99));
    }
    if wanted(Scenario::Overload) {
        let found = overload::run(lab, size(60, 20)).await?;
        let untyped = f64::from(found.untyped);
        report.metric("overload_errors_untyped", untyped, "requests", at_most(0.0));
        let growth = found.rss_growth_mib;
        report.metric("overload_rss_growth_mb", growth, "MiB", at_most(20.0));
        report.metric("overload_left_over", found.left_over(), "", at_most(0.0));
    }
    if wanted(Scenario::Rate) {
        let excess = rate::run(lab, size(60, 15)).await?;
        report.metric("rate_excess_pct", excess, "%", at_most(1.0));
    }
    if wanted(Scenario::Usage) {
        let found = usage::run(lab, size(1_000_000, 100_000)).await?;
        let per_s = found.events_per_s;
        report.metric("usage_events_per_s", per_s, "events/s", at_least(50_000.0));
        report.metric("usage_lost_or_twice", found.wrong, "events", at_most(0.0));
        report.metric("usage_sum_s", found.sum_s, "s", None);
    }
    if wanted(Scenario::Onboard) {
        let found = onboard::run(&options.program.path()?, size(3_000, 300)).await?;
        let per_min = found.per_min;
        report.metric("onboard_per_min", per_min, "tenants/min", at_least(1_000.0));
        report.metric("onboard_failed", found.failed, "tenants", at_most(0.0));
    }
    if wanted(Scenario::Idle) {
        let found = idle::run(lab, size(100_000, 10_000)).await?;
        report.metric("rss_mb_100k", found.rss_mib, "MiB", at_most(600.0));
        let per_s = found.queries_per_s;
        report.metric("idle_queries_per_s", per_s, "/s", at_most(0.0));
    }
    if wanted(Scenario::Simulation) {
        line("simulation       QUIRE_SIM_SEEDS=10000 cargo test -p quire-tenancy seats");
    }
    Ok(report)
}

#[derive(Args)]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    address: Address,
    #[arg(long, value_enum)]
    role: Role,
    #[arg(long, default_value_t = 0)]
    seconds: u32,
}

/// What a process of the suite does.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Role {
    Spend,
    Flood,
    Hurry,
    Visit,
}

/// A process of a scenario.
pub(crate) async fn work(args: &WorkerArgs) -> Result<(), Failure> {
    let (address, seconds) = (&args.address, args.seconds);
    match args.role {
        Role::Spend => budget::spend(address, seconds).await,
        Role::Flood => overload::flood(address, seconds).await,
        Role::Hurry => rate::hurry(address, seconds).await,
        Role::Visit => idle::visit(address).await,
    }
}
