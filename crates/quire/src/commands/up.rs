//! `quire up`: everything on this machine, with the first steps printed.

use std::fs;

use tokio_util::sync::CancellationToken;

use quire_store::keys;

use super::serve::{finished, http, listen};
use crate::cli::UpArgs;
use crate::demo;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    args: &UpArgs,
    node: &Node,
    output: &Output,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    output.note(format!("data directory: {}", node.data.display()));
    let services = node.services().await?;
    // Listening first: a port that is taken is better known before the demonstration than after it.
    let address = args.listen.unwrap_or(node.config.server.listen);
    let listener = if args.once {
        None
    } else {
        Some(listen(address).await?)
    };
    let worker = node.work(&services, None, stop.clone());
    let over = CancellationToken::new();
    let control = node.keep_control(over.clone());
    let copies = node.keep_copies(over.clone());
    let rereading = node.plan_rereading(&services, over.clone());

    let result = async {
        first_admin_key(node, output).await?;
        if args.demo {
            tokio::select! {
                shown = demo::run(node, &services, output, address) => shown?,
                () = stop.cancelled() => return Ok(()),
            }
        }
        match listener {
            Some(listener) => http(listener, node, &services, output, stop).await,
            None => Ok(()),
        }
    };
    let result = Box::pin(result).await;
    stop.cancel();
    finished(worker).await?;
    over.cancel();
    finished(control).await?;
    finished(copies).await?;
    finished(rereading).await?;
    result
}

/// The first start on a terminal makes the operator's key and shows it; it is stored as a hash only.
/// Without a terminal the messages end in some log, where no key belongs.
async fn first_admin_key(node: &Node, output: &Output) -> Result<(), Failure> {
    let marker = node.data.join("secrets/admin-key-was-shown");
    if marker.exists() {
        return Ok(());
    }
    if !output.is_interactive() {
        output.note("make the operator's key with: quire key create --role admin --name ops");
        return Ok(());
    }
    let mut tx = node.store.system().await?;
    let (_, text) = keys::create_admin(&mut tx, "first start").await?;
    tx.commit().await?;
    output.note("the operator's key (makes tenants and their keys; not shown again):");
    output.note(format!("  {}", text.expose()));
    fs::write(&marker, "")
        .map_err(|error| Failure::internal(format!("{}: {error}", marker.display())))
}
