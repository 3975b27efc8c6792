//! quire: a private AI notebook service for every customer of a SaaS company.
//!
//! The binary reads the command line and the configuration, and wires the other crates together. It is
//! the only place that knows environment variables, files of the operator, and signals.

mod cli;
mod commands;
mod config;
mod demo;
mod failure;
mod node;
mod output;
mod progress;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use telemetry::Exporter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The reading child confines itself before any thread exists.
    if let Command::Parse {
        name,
        limits,
        cpu_seconds,
        ask,
    } = &cli.command
    {
        return quire_ingest::sandbox::parse_child(
            name,
            limits.as_deref(),
            *cpu_seconds,
            ask.as_deref(),
        );
    }
    let output = output::Output::new(cli.json);
    let exporter = match telemetry::start(&cli) {
        Ok(exporter) => exporter,
        Err(failure) => return output.failed(&failure),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return output.failed(&failure::Failure::internal(format!(
                "can't start threads: {error}"
            )));
        }
    };
    let run = async {
        let spans = exporter.as_ref().map(Exporter::totals);
        let exporting = exporter.map(Exporter::start);
        let result = commands::run(cli, &output, spans).await;
        if let Some(exporting) = exporting {
            exporting.close().await;
        }
        result
    };
    match runtime.block_on(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => output.failed(&failure),
    }
}
