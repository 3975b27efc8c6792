//! `quire connection`.

use serde_json::{Value, json};

use quire_connect::connections::{Told, Wanted};
use quire_store::connections::{self as rows, Connection};
use quire_store::{Placement, TenantTx, every};
use quire_types::{ConnectionId, ErrorKind, Secret, TenantId};

use super::{notebook, read_key, tenant};
use crate::cli::{ConnectionArg, ConnectionCommand, ConnectionCreateArgs};
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &ConnectionCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        ConnectionCommand::List { tenant: arg } => {
            let placement = tenant(&node.store, arg).await?.placement();
            let mut tx = node.store.tenant(placement).await?;
            let all = all(&mut tx).await?;
            tx.commit().await?;
            show(output, &all)
        }
        ConnectionCommand::Create(args) => create(args, node, output).await,
        ConnectionCommand::Show(arg) => {
            let (_, connection) = named(node, arg).await?;
            output.json(&shown(&connection))
        }
        ConnectionCommand::Authorize(arg) => {
            let (placement, connection) = named(node, arg).await?;
            let connect = node.services().await?.connect;
            output.line(connect.consent_link(placement, connection.id).await?);
            Ok(())
        }
        ConnectionCommand::Test(arg) => {
            let (placement, connection) = named(node, arg).await?;
            let connect = node.services().await?.connect;
            output.line(connect.test_connection(placement, connection.id).await?);
            Ok(())
        }
        ConnectionCommand::Sync(arg) => {
            let (placement, connection) = named(node, arg).await?;
            let connect = node.services().await?.connect;
            connect.sync_now(placement, connection.id).await?;
            output.note("it is read as soon as a worker is free");
            Ok(())
        }
        ConnectionCommand::Pause(arg) => set(arg, false, node, output).await,
        ConnectionCommand::Resume(arg) => set(arg, true, node, output).await,
        ConnectionCommand::Renew {
            connection: arg,
            secret_file,
        } => {
            let (placement, connection) = named(node, arg).await?;
            let secret = read_key(secret_file)?;
            let connect = node.services().await?.connect;
            let renewed = connect.renew_connection(placement, connection.id, &secret);
            show(output, &[renewed.await?])
        }
        ConnectionCommand::Configure {
            connection: arg,
            settings: text,
        } => {
            let (placement, connection) = named(node, arg).await?;
            let settings = settings(Some(text.as_str()))?;
            let connect = node.services().await?.connect;
            let configured = connect.configure_connection(placement, connection.id, &settings);
            show(output, &[configured.await?])
        }
        ConnectionCommand::Delete {
            connection: arg,
            purge,
        } => {
            let (placement, connection) = named(node, arg).await?;
            let connect = node.services().await?.connect;
            let sources = connect.disconnect(placement, connection.id, *purge).await?;
            output.note(match purge {
                true => format!("removed with {sources} sources"),
                false => "removed; its sources stay".to_owned(),
            });
            Ok(())
        }
    }
}

async fn create(args: &ConnectionCreateArgs, node: &Node, output: &Output) -> Result<(), Failure> {
    let placement = tenant(&node.store, &args.tenant).await?.placement();
    let notebook = match &args.notebook {
        Some(name) => {
            let mut tx = node.store.tenant(placement).await?;
            let notebook = notebook(&mut tx, name).await?;
            tx.commit().await?;
            Some(notebook.id)
        }
        None => None,
    };
    let secret = args.secret_file.as_deref().map(read_key).transpose()?;
    let settings = settings(args.settings.as_deref())?;
    let wanted = Wanted {
        kind: &args.kind,
        name: &args.name,
        notebook,
        groups: args.groups.as_ref(),
        settings: &settings,
        secret: secret.as_ref(),
    };
    let connect = node.services().await?.connect;
    let (connection, told) = connect.connect(placement, &wanted).await?;
    made(output, placement.tenant, &connection, &told)
}

async fn set(
    arg: &ConnectionArg,
    is_active: bool,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    let (placement, connection) = named(node, arg).await?;
    let connect = node.services().await?.connect;
    let connection = connect.set_connection(placement, connection.id, is_active);
    show(output, &[connection.await?])
}

async fn all(tx: &mut TenantTx) -> Result<Vec<Connection>, Failure> {
    let all = every(
        async |page| rows::list(tx, page).await,
        |connection: &Connection| connection.id.uuid(),
    );
    Ok(all.await?)
}

/// A connection by id or by name, and where its tenant lives.
async fn named(node: &Node, arg: &ConnectionArg) -> Result<(Placement, Connection), Failure> {
    let placement = tenant(&node.store, &arg.tenant).await?.placement();
    let name = &arg.connection;
    let mut tx = node.store.tenant(placement).await?;
    let all = all(&mut tx).await?;
    tx.commit().await?;
    let id = name.parse::<ConnectionId>().ok();
    let mut found = all.into_iter();
    let found = found.find(|one| one.name == *name || Some(one.id) == id);
    let connection = found.ok_or_else(|| {
        Failure::new(
            ErrorKind::NotFound,
            format!("there is no connection '{name}': see `quire connection list`"),
        )
    })?;
    Ok((placement, connection))
}

fn settings(text: Option<&str>) -> Result<Value, Failure> {
    match text {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Failure::invalid(format!("--settings is no JSON: {error}"))),
        None => Ok(json!({})),
    }
}

fn made(
    output: &Output,
    tenant: TenantId,
    connection: &Connection,
    told: &Told,
) -> Result<(), Failure> {
    let hook = format!("/hooks/{tenant}/{}", connection.id);
    let (name, value, note) = match told {
        Told::Account(account) => (
            "account",
            account.as_str(),
            "connected; whose account it is:".to_owned(),
        ),
        Told::Signing(secret) => (
            "secret",
            secret.as_ref().map_or("", Secret::expose),
            format!("events are sent to {hook}, signed with this secret; it is not shown again:"),
        ),
        Told::Link(link) => (
            "authorize_url",
            link.as_str(),
            "whoever has the account follows this link within a quarter of an hour:".to_owned(),
        ),
    };
    if output.is_json() {
        let mut shown = shown(connection);
        shown[name] = value.into();
        if let Told::Signing(_) = told {
            shown["hook"] = hook.into();
        }
        return output.json(&shown);
    }
    output.note(note);
    output.line(value);
    Ok(())
}

fn shown(connection: &Connection) -> Value {
    json!({
        "id": connection.id, "kind": connection.kind, "name": connection.name,
        "notebook": connection.notebook, "groups": connection.groups, "settings": connection.settings, "state": connection.state,
        "reason": connection.reason, "last_success_at": connection.last_success_at,
        "last_error": connection.last_error, "last_error_at": connection.last_error_at,
        "created_at": connection.created_at,
    })
}

fn show(output: &Output, connections: &[Connection]) -> Result<(), Failure> {
    if output.is_json() {
        let all: Vec<Value> = connections.iter().map(shown).collect();
        return output.json(&json!({ "connections": all }));
    }
    let rows: Vec<Vec<String>> = connections
        .iter()
        .map(|connection| {
            let read_at = connection.last_success_at.map(|at| at.to_rfc3339());
            vec![
                connection.name.clone(),
                connection.kind.clone(),
                connection.state.to_string(),
                read_at.unwrap_or_default(),
                connection.reason.clone().unwrap_or_default(),
                connection.id.to_string(),
            ]
        })
        .collect();
    output.table(&["name", "kind", "state", "read", "reason", "id"], &rows);
    Ok(())
}
