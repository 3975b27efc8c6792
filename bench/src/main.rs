//! Measurements of quire that anybody can repeat: one suite per question, numbers on standard output.
//!
//! A suite prints the machine, the versions and its command line, then a table, and ends with one line
//! `RESULT {json}`. It uses what quire itself uses: the library crates, or the program beside this one.

mod cache;
mod connect;
mod control;
mod failure;
mod first_run;
mod gateways;
mod ingest;
mod lab;
mod models;
mod provider;
mod python;
mod queue;
mod report;
mod retrieval;
mod router;
mod search;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use failure::Failure;

#[derive(Parser)]
#[command(name = "quire-bench", version, about = "Measures quire.")]
struct Cli {
    #[command(subcommand)]
    suite: Option<Suite>,
}

#[derive(Subcommand)]
enum Suite {
    /// How good search is: Cranfield (nDCG@10, recall@100) and span recall of passages.
    Retrieval(retrieval::Options),
    /// The first minutes: time to an answer, memory, latency, right answers, speed of adding.
    FirstRun(first_run::Options),
    /// The task queue: speed, fairness, faults, and other queues beside it.
    Queue(queue::Options),
    /// A worker process of the queue suite; started by the suite itself.
    #[command(hide = true)]
    QueueWorker(lab::Address),
    /// Search in one tenant's passages: speed, recall, size, and other engines beside it.
    Search(search::Options),
    /// Answers that are given again: how many in a second, and never to the wrong one.
    Cache(cache::Options),
    /// The router of questions: accuracy on labelled questions, and what it saves.
    Router(router::Options),
    /// The control plane: what admission costs, and whether money, rates, fairness and usage hold.
    Control(control::Options),
    /// The model layer: what it adds to a call, faults of providers, balance of pools.
    Models(models::Options),
    /// Records and webhooks: speed, order, a backfill beside others, deliveries over crashes, idle connections.
    Connect(connect::Options),
    /// Files: how many are read in a minute, pages of a PDF, memory, OCR.
    Ingest(ingest::Options),
    /// A process of the control suite; started by the suite itself.
    #[command(hide = true)]
    ControlWorker(control::WorkerArgs),
}

/// Where the evaluation data is.
#[derive(Args)]
struct Data {
    /// The folder with the evaluation data.
    #[arg(long, default_value = "../shared/data", value_name = "DIR")]
    data: PathBuf,
}

/// Where the program under test is.
#[derive(Args)]
struct Program {
    /// The quire program [default: the one beside quire-bench].
    #[arg(long, value_name = "FILE")]
    quire: Option<PathBuf>,
}

impl Program {
    fn path(&self) -> Result<PathBuf, Failure> {
        let path = match &self.quire {
            Some(path) => path.clone(),
            None => {
                let own = std::env::current_exe()
                    .map_err(|error| Failure::failed(format!("can't find my own file: {error}")))?;
                own.with_file_name("quire")
            }
        };
        if path.is_file() {
            return std::path::absolute(&path)
                .map_err(|error| Failure::failed(format!("{}: {error}", path.display())));
        }
        Err(Failure::Missing(format!(
            "{} is not there: build it with `cargo build --release -p quire`, or name it with --quire",
            path.display()
        )))
    }
}

/// quire's folder for what can be made again.
fn cache_dir() -> PathBuf {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || variable("HOME").map(|home| Path::new(&home).join(".cache"));
    cache.or_else(home).unwrap_or_default().join("quire")
}

/// Where `make model` puts the model.
fn model_dir() -> Result<PathBuf, Failure> {
    let cache = cache_dir();
    let cache = cache.parent().unwrap_or(&cache);
    quire_models::find_model(None, cache)
        .map_err(|error| Failure::Missing(format!("{error}; `make model` fetches it")))
}

fn main() -> ExitCode {
    let Some(suite) = Cli::parse().suite else {
        list();
        return ExitCode::SUCCESS;
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ran = match runtime {
        Ok(runtime) => runtime.block_on(run(&suite)),
        Err(error) => Err(Failure::failed(format!("can't start threads: {error}"))),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report::complain(&failure);
            failure.exit_code()
        }
    }
}

/// The result of `work`, or a failure once SIGINT or SIGTERM came: the caller then stops what it started.
async fn until_interrupted<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut terminate =
        signal(SignalKind::terminate()).map_err(Failure::doing("listening for signals"))?;
    tokio::select! {
        result = work => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::failed("interrupted")),
        _ = terminate.recv() => Err(Failure::failed("told to stop")),
    }
}

async fn run(suite: &Suite) -> Result<(), Failure> {
    match suite {
        Suite::Retrieval(options) => Box::pin(retrieval::run(options)).await,
        Suite::FirstRun(options) => Box::pin(first_run::run(options)).await,
        Suite::Queue(options) => Box::pin(queue::run(options)).await,
        Suite::QueueWorker(address) => Box::pin(queue::work(address)).await,
        Suite::Search(options) => Box::pin(search::run(options)).await,
        Suite::Cache(options) => Box::pin(cache::run(options)).await,
        Suite::Router(options) => Box::pin(router::run(options)).await,
        Suite::Control(options) => Box::pin(control::run(options)).await,
        Suite::Models(options) => Box::pin(models::run(options)).await,
        Suite::Connect(options) => Box::pin(connect::run(options)).await,
        Suite::Ingest(options) => Box::pin(ingest::run(options)).await,
        Suite::ControlWorker(options) => Box::pin(control::work(options)).await,
    }
}

fn list() {
    report::line("suites:");
    let cli = <Cli as clap::CommandFactory>::command();
    for command in cli
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
    {
        let about = command.get_about().map(ToString::to_string);
        report::line(format!(
            "  {:10} {}",
            command.get_name(),
            about.unwrap_or_default()
        ));
    }
    report::line("run one with: quire-bench <suite>, or make bench SUITE=<suite>");
}
