//! The log: to stderr, as text on a terminal and as JSON lines otherwise for servers.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};

pub(crate) fn start(cli: &Cli) {
    let is_server = matches!(cli.command, Command::Serve(_))
        || matches!(&cli.command, Command::Up(up) if !up.demo);
    let default = if is_server {
        "info,sqlx=warn,tantivy=warn"
    } else {
        "warn,tantivy=error"
    };
    let filter = EnvFilter::try_new(cli.log.as_deref().unwrap_or(default))
        .unwrap_or_else(|_| EnvFilter::new(default));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    if std::io::stderr().is_terminal() {
        builder.init();
    } else if is_server {
        builder.json().flatten_event(true).init();
    } else {
        builder.with_ansi(false).init();
    }
}
