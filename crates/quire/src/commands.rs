//! What each command does.

mod add;
mod ask;
mod cache;
mod connection;
mod doctor;
mod feature;
mod index;
mod key;
mod limits;
mod model;
mod notebook;
mod plan;
mod pool;
mod records;
mod region;
mod search;
mod serve;
mod source;
mod tasks;
mod tenant;
mod up;
mod usage;
mod watch;

use std::future::Future;
use std::io::{IsTerminal, Read};
use std::path::Path;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use quire_server::SpanTotals;
use quire_store::notebooks::{self, Notebook};
use quire_store::tenants::{self, Tenant};
use quire_store::{PageRequest, Placement, Store, SystemTx, TenantTx};
use quire_types::{ErrorKind, NotebookId, Place, Secret, TenantState};

use crate::cli::{Cli, Command, TenantArg};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(crate) use add::wait as wait_for;
pub(crate) use ask::show as show_answer;

/// Runs the command. The private server is left in order however the command ends.
/// `spans` counts those that are exported.
pub(crate) async fn run(
    cli: Cli,
    output: &Output,
    spans: Option<SpanTotals>,
) -> Result<(), Failure> {
    match &cli.command {
        Command::Doctor => return doctor::run(&cli, output).await,
        Command::Openapi => return output.json(&quire_server::openapi()),
        _ => {}
    }
    let stop = stop_on_signal()?;
    let opening = Node::open(&cli);
    let mut node = match until(&stop, Box::pin(opening)).await {
        Some(node) => node?,
        None => return Err(interrupted()),
    };
    node.spans = spans;
    let result = dispatch(&cli.command, &node, output, &stop).await;
    let closed = node.close().await;
    result.and(closed)
}

async fn dispatch(
    command: &Command,
    node: &Node,
    output: &Output,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    match command {
        // These stop in their own order.
        Command::Up(args) => return Box::pin(up::run(args, node, output, stop)).await,
        Command::Serve(args) => return Box::pin(serve::run(args, node, output, stop)).await,
        Command::Add(args) => return Box::pin(add::run(args, node, output, stop)).await,
        Command::Watch(args) => return Box::pin(watch::run(args, node, output, stop)).await,
        Command::Source(command) => {
            return Box::pin(source::run(command, node, output, stop)).await;
        }
        _ => {}
    }
    let work = async {
        match command {
            Command::Tenant(command) => tenant::run(command, node, output).await,
            Command::Plan(command) => plan::run(command, node, output).await,
            Command::Pool(command) => pool::run(command, node, output).await,
            Command::Model(command) => model::run(command, node, output).await,
            Command::Limits(command) => limits::run(command, node, output).await,
            Command::Feature(command) => feature::run(command, node, output).await,
            Command::Region(command) => region::run(command, node, output).await,
            Command::Usage(args) => usage::run(args, node, output).await,
            Command::Connection(command) => connection::run(command, node, output).await,
            Command::Records(command) => records::run(command, node, output).await,
            Command::Notebook(command) => notebook::run(command, node, output).await,
            Command::Key(command) => key::run(command, node, output).await,
            Command::Ask(args) => ask::run(args, node, output).await,
            Command::Cache(command) => cache::run(command, node, output).await,
            Command::Search(args) => search::run(args, node, output).await,
            Command::Index(command) => index::run(command, node, output).await,
            Command::Tasks(command) => tasks::run(command, node, output).await,
            Command::Up(_)
            | Command::Add(_)
            | Command::Watch(_)
            | Command::Source(_)
            | Command::Serve(_)
            | Command::Doctor
            | Command::Openapi
            | Command::Parse { .. } => Ok(()),
        }
    };
    until(stop, Box::pin(work))
        .await
        .unwrap_or_else(|| Err(interrupted()))
}

/// The result of `work`, or none when it was told to stop first.
async fn until<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        () = stop.cancelled() => None,
    }
}

fn interrupted() -> Failure {
    Failure::internal("interrupted; what was stored stays stored, and the command can be repeated")
}

/// Cancelled by the first SIGINT or SIGTERM; the second ends the process at once.
fn stop_on_signal() -> Result<CancellationToken, Failure> {
    let failed =
        |error: std::io::Error| Failure::internal(format!("can't listen for signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let stop = CancellationToken::new();
    let told = stop.clone();
    tokio::spawn(async move {
        for count in 1_u8.. {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if count > 1 {
                std::process::exit(130);
            }
            told.cancel();
        }
    });
    Ok(stop)
}

/// The tenant that was named, or the only one, if it is in use.
async fn tenant(store: &Store, arg: &TenantArg) -> Result<Tenant, Failure> {
    let mut tx = store.system().await?;
    let tenant = tenant_in_any_state(&mut tx, arg).await?;
    tx.commit().await?;
    match tenant.state {
        TenantState::Active => Ok(tenant),
        state => Err(Failure::new(
            ErrorKind::Forbidden,
            format!("tenant '{}' is {state}", tenant.slug),
        )),
    }
}

/// The tenant that was named, or the only one.
async fn tenant_in_any_state(tx: &mut SystemTx, arg: &TenantArg) -> Result<Tenant, Failure> {
    if let Some(slug) = &arg.tenant {
        return tenant_named(tx, slug).await;
    }
    let two = PageRequest {
        after: None,
        limit: 2,
    };
    let page = tenants::list(tx, two).await?;
    match <[Tenant; 1]>::try_from(page.items) {
        Ok([only]) => Ok(only),
        Err(several) if several.is_empty() => Err(Failure::new(
            ErrorKind::NotFound,
            "there is no tenant yet: create one with `quire tenant create <slug>`",
        )),
        Err(_) => Err(Failure::invalid(
            "there are several tenants: name one with --tenant <slug>",
        )),
    }
}

async fn tenant_named(tx: &mut SystemTx, slug: &str) -> Result<Tenant, Failure> {
    tenants::by_slug(tx, slug).await.map_err(|error| {
        let failure = Failure::from(error);
        match failure.kind() {
            ErrorKind::NotFound => Failure::new(
                ErrorKind::NotFound,
                format!("there is no tenant '{slug}': see `quire tenant list`"),
            ),
            _ => failure,
        }
    })
}

/// What follows the name of a source where somebody is led to a place in it.
fn after_name(place: &Place) -> String {
    match place.to_string() {
        place if place.is_empty() => place,
        place => format!(", {place}"),
    }
}

/// What a file holds.
fn read_file(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::invalid(format!("{}: {error}", path.display())))
}

/// A key from a file, or from standard input for `-`; never from the command line, which others can see.
fn read_key(path: &Path) -> Result<Secret, Failure> {
    let text = match path.as_os_str() == "-" {
        false => read_file(path)?,
        true if std::io::stdin().is_terminal() => {
            return Err(Failure::invalid(
                "write the key to standard input, or name a file",
            ));
        }
        true => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::invalid(format!("standard input: {error}")))?;
            text
        }
    };
    match text.trim() {
        "" => Err(Failure::invalid("the key is empty")),
        key => Ok(Secret::new(key)),
    }
}

/// A notebook by id or by name.
async fn notebook(tx: &mut TenantTx, name_or_id: &str) -> Result<Notebook, Failure> {
    let found = match name_or_id.parse::<NotebookId>() {
        Ok(id) => notebooks::get(tx, id).await,
        Err(_) => notebooks::by_name(tx, name_or_id).await,
    };
    found.map_err(|error| match quire_types::Kind::kind(&error) {
        ErrorKind::NotFound => Failure::new(
            ErrorKind::NotFound,
            format!("there is no notebook '{name_or_id}': see `quire notebook list`"),
        ),
        _ => error.into(),
    })
}

/// The ids of the named notebooks; none when none was named.
async fn notebook_ids(
    store: &Store,
    placement: Placement,
    names: &[String],
) -> Result<Option<Vec<NotebookId>>, Failure> {
    if names.is_empty() {
        return Ok(None);
    }
    let mut tx = store.tenant(placement).await?;
    let mut ids = Vec::with_capacity(names.len());
    for name in names {
        ids.push(notebook(&mut tx, name).await?.id);
    }
    tx.commit().await?;
    Ok(Some(ids))
}
