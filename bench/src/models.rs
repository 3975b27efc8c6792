//! The model layer: what it adds to a call, whether any fault of a provider loses an answer or money, and whether
//! uneven pools are used evenly.
//!
//! The provider is the double of the tests in this process, over real HTTP. Everything is on: who is calling,
//! rates, a budget hold, a seat, the route, a usage event in PostgreSQL before the call is sent, the settlement.
//! quire is asked as its own ask path asks it, in process; gateways of others are asked over HTTP, the only way they have.

mod added;
mod balance;
mod faults;
mod gateways;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::gateways::Gateways;
use crate::lab::Lab;
use crate::report::{Report, Target};
use crate::until_interrupted;

#[derive(Args)]
pub(crate) struct Options {
    /// Only these scenarios; may be repeated [default: all].
    #[arg(long = "only", value_enum)]
    only: Vec<Scenario>,
    /// Shorter and smaller: to see that it works.
    #[arg(long)]
    quick: bool,
    /// The folder of the drivers of other gateways, which `PEERS=0` in the environment leaves out.
    #[arg(long, default_value = "bench/peers", value_name = "DIR")]
    peers: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// What quire adds to a call.
    Added,
    /// Every fault in every protocol, with a provider that is well behind it.
    Faults,
    /// Pools of uneven quota, used by two processes.
    Balance,
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
    if wanted(Scenario::Added) {
        let found = Box::pin(added::run(lab, size(4_000, 300))).await?;
        report.metric("direct_p50_ms", found.direct.p50, "ms", None);
        report.metric("direct_p99_ms", found.direct.p99, "ms", None);
        report.metric("added_p50_ms", found.added_p50(), "ms", at_most(0.5));
        report.metric("added_p99_ms", found.added_p99(), "ms", at_most(3.0));
        report.metric("added_ttft_ms", found.added_ttft(), "ms", at_most(0.7));
        report.metric("written_before_p50_ms", found.attempt.p50, "ms", None);
        if let Some(gateways) = Gateways::install(&options.peers).await {
            for others in Box::pin(gateways::run(&gateways, size(1_000, 100))).await? {
                let ratio = found.added_p50() / others.added_p50;
                let name = format!("ratio_{}_p50", others.name);
                report.metric(&name, ratio, "", at_most(1.0));
            }
        }
    }
    if wanted(Scenario::Faults) {
        let found = Box::pin(faults::run(lab)).await?;
        report.metric("fault_cases", found.cases, "", None);
        report.metric("streams_without_end", found.endless, "", at_most(0.0));
        report.metric("unsettled", found.unsettled, "events", at_most(0.0));
        report.metric("asks_failed_by_provider", found.failed, "", at_most(0.0));
    }
    if wanted(Scenario::Balance) {
        let found = balance::run(size(120, 20)).await?;
        report.metric("pool_sent", found.sent, "calls", None);
        report.metric("pool_429_pct", found.refused_pct(), "%", at_most(1.0));
        report.metric("pool_served_pct", found.served_pct(), "%", None);
    }
    Ok(report)
}
