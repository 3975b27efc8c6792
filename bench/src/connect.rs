//! What flows in and out by itself: how fast events of records are taken and found, whether any is lost or counts
//! twice, how a backfill treats the others, how fast endpoints are told, and what idle connections cost.
//!
//! Every scenario gets a fresh database on one private PostgreSQL with durable commits. Workers run in this process, as
//! they do in `quire up`.

mod deliver;
mod records;
mod scene;
mod webhooks;

use clap::{Args, ValueEnum};

use crate::failure::Failure;
use crate::lab::Lab;
use crate::report::{Report, Target};
use crate::{Program, until_interrupted};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    program: Program,
    /// Only these scenarios; may be repeated [default: all].
    #[arg(long = "only", value_enum)]
    only: Vec<Scenario>,
    /// Shorter and smaller: to see that it works.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Events in batches, and single ones until they are found.
    Speed,
    /// A backfill of one tenant, and an update of another.
    Backfill,
    /// Webhooks at a steady pace while files are read.
    Webhooks,
    /// Events shuffled and repeated.
    Order,
    /// Messages to endpoints, with workers that stop and start.
    Deliver,
    /// A hundred thousand connections that do nothing.
    Idle,
}

pub(crate) async fn run(options: &Options) -> Result<(), Failure> {
    let lab = Lab::open().await?;
    let measured = Box::pin(until_interrupted(measure(options, &lab))).await;
    lab.report(measured).await
}

async fn measure(options: &Options, lab: &Lab) -> Result<Report, Failure> {
    let mut report = Report::begin(env!("CARGO_PKG_VERSION"), &lab.version());
    let wanted = |scenario: Scenario| options.only.is_empty() || options.only.contains(&scenario);
    let size = |full: usize, quick: usize| if options.quick { quick } else { full };
    let at_most = |bound| Some(Target::AtMost(bound));
    let at_least = |bound| Some(Target::AtLeast(bound));
    if wanted(Scenario::Speed) {
        let found = records::speed(lab, size(100_000, 5_000), size(200, 20)).await?;
        report.metric("events_per_s", found.events_per_s, "/s", at_least(2_000.0));
        report.metric(
            "record_to_searchable_p50_s",
            found.searchable.p50 / 1e3,
            "",
            None,
        );
        report.metric(
            "record_to_searchable_p99_s",
            found.searchable.p99 / 1e3,
            "",
            at_most(2.0),
        );
    }
    if wanted(Scenario::Backfill) {
        let found = records::backfill(lab, size(50_000, 2_000), size(10, 3)).await?;
        report.metric(
            "backfill_other_tenant_s",
            found.other_tenant_s,
            "",
            at_most(5.0),
        );
        report.metric("backfill_records_per_s", found.records_per_s, "/s", None);
    }
    if wanted(Scenario::Webhooks) {
        let program = options.program.path()?;
        let found = webhooks::run(&program, if options.quick { 2 } else { 20 }).await?;
        report.metric("webhook_p50_ms", found.p50, "ms", None);
        report.metric("webhook_p99_ms", found.p99, "ms", at_most(50.0));
    }
    if wanted(Scenario::Order) {
        let found = records::order(lab, size(1_000_000, 20_000)).await?;
        report.metric("sync_events", found.events, "", None);
        report.metric("sync_lost", found.lost, "", at_most(0.0));
        report.metric("sync_duplicated", found.duplicated, "", at_most(0.0));
    }
    if wanted(Scenario::Deliver) {
        let found = deliver::run(lab, size(20_000, 1_000)).await?;
        report.metric("deliveries_per_s", found.per_s, "/s", at_least(500.0));
        report.metric("deliveries_lost", found.lost, "", at_most(0.0));
        report.metric("deliveries_repeated", found.repeated, "", None);
    }
    if wanted(Scenario::Idle) {
        let found = records::idle(lab, size(100_000, 1_000), size(30, 5)).await?;
        report.metric("idle_queries_per_s", found, "/s", at_most(0.0));
    }
    Ok(report)
}
