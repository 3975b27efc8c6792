//! What quire tells whoever runs it: the log, to stderr, as text on a terminal and as JSON lines otherwise for servers;
//! and spans to a collector, where one is configured.

mod export;
mod otlp;
mod spans;

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::cli::{Cli, Command};
use crate::config::{Config, Places};
use crate::failure::Failure;

pub(crate) use export::{Destination, Exporter};

/// Starts the log, and gives what exports spans if that is configured.
pub(crate) fn start(cli: &Cli) -> Result<Option<Exporter>, Failure> {
    let is_server = matches!(cli.command, Command::Serve(_))
        || matches!(&cli.command, Command::Up(up) if !up.demo);
    let default = if is_server {
        "info,sqlx=warn,tantivy=warn"
    } else {
        "warn,tantivy=error"
    };
    let mut filter = EnvFilter::try_new(cli.log.as_deref().unwrap_or(default))
        .unwrap_or_else(|_| EnvFilter::new(default));
    // Spans that are there for a collector alone.
    if let Ok(directive) = format!("{}=off", quire_server::EXPORTED_ONLY).parse() {
        filter = filter.add_directive(directive);
    }
    let log = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let log: Box<dyn Layer<Registry> + Send + Sync> = if std::io::stderr().is_terminal() {
        log.boxed()
    } else if is_server {
        log.json().flatten_event(true).boxed()
    } else {
        log.with_ansi(false).boxed()
    };
    // The errors of a configuration are told by who needs it.
    let destination = match &cli.command {
        Command::Doctor | Command::Openapi => None,
        _ => Config::load(cli, &Places::find())?
            .telemetry
            .destination()?,
    };
    let (layer, exporter) = match destination {
        None => (None, None),
        Some(destination) => {
            let (layer, exporter) = export::exporter(destination)?;
            let exported = filter_fn(spans::is_exported).with_max_level_hint(LevelFilter::INFO);
            let layer = layer.with_filter(exported);
            (Some(layer), Some(exporter))
        }
    };
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(layer)
        .init();
    Ok(exporter)
}
