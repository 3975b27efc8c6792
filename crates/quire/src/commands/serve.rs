//! `quire serve`: a service, all roles or one.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use quire_server::{Limits, Parts, Prefetch};
use quire_store::tenants;
use quire_types::{ErrorKind, TenantId};

use crate::cli::{Role, ServeArgs};
use crate::failure::Failure;
use crate::node::{Node, Services};
use crate::output::Output;

pub(super) async fn run(
    args: &ServeArgs,
    node: &Node,
    output: &Output,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let dedicated = match &args.tenant {
        Some(slug) => {
            let mut tx = node.store.system().await?;
            let tenant = tenants::by_slug(&mut tx, slug).await?;
            tx.commit().await?;
            Some(tenant.id)
        }
        None => None,
    };
    let services = node.services().await?;
    // Requests that end in the grace after the signal are still counted, and still hear of suspensions.
    let over = CancellationToken::new();
    let control = node.keep_control(over.clone());
    let copies = node.keep_copies(over.clone());
    let rereading = node.plan_rereading(&services, over.clone());
    let result = role(args, node, &services, dedicated, output, stop).await;
    over.cancel();
    finished(control).await?;
    finished(copies).await?;
    finished(rereading).await?;
    result
}

async fn role(
    args: &ServeArgs,
    node: &Node,
    services: &Services,
    dedicated: Option<TenantId>,
    output: &Output,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    match args.role {
        Role::All => {
            let listener = listen(args.listen.unwrap_or(node.config.server.listen)).await?;
            let worker = node.work(services, dedicated, stop.clone());
            let served = http(listener, node, services, output, stop).await;
            stop.cancel();
            finished(worker).await?;
            served
        }
        Role::Api => {
            let listener = listen(args.listen.unwrap_or(node.config.server.listen)).await?;
            let relay = node.relay(services, stop.clone());
            let served = http(listener, node, services, output, stop).await;
            relay.abort();
            served
        }
        Role::Worker => {
            let told = match node.config.server.worker_listen {
                Some(address) => Some(vitals(address, node, services, output).await?),
                None => None,
            };
            info!("running tasks");
            let worked = finished(node.work(services, dedicated, stop.clone())).await;
            if let Some(told) = told {
                told.abort();
            }
            worked
        }
    }
}

pub(super) async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            ErrorKind::Unavailable,
            format!("can't listen on {address}: {error}; choose another address with --listen"),
        )
    })
}

/// Tells whether the process lives and what it counted, also while its last tasks end.
async fn vitals(
    address: SocketAddr,
    node: &Node,
    services: &Services,
    output: &Output,
) -> Result<JoinHandle<()>, Failure> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        Failure::new(
            ErrorKind::Unavailable,
            format!("can't listen on {address}: {error}; choose another server.worker_listen"),
        )
    })?;
    if let Ok(address) = listener.local_addr() {
        output.note(format!("health and metrics at http://{address}"));
    }
    let router = quire_server::vitals(parts(node, services)?);
    Ok(tokio::spawn(async move {
        let never = CancellationToken::new();
        if let Err(error) = quire_server::serve(listener, router, never).await {
            warn!(%error, "health and metrics are told no more");
        }
    }))
}

/// Answers requests until told to stop.
pub(super) async fn http(
    listener: TcpListener,
    node: &Node,
    services: &Services,
    output: &Output,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let app = quire_server::app(parts(node, services)?);
    if let Ok(address) = listener.local_addr() {
        output.note(format!(
            "serving http://{address} (documentation at http://{address}/docs); Ctrl-C stops"
        ));
    }
    quire_server::serve(listener, app, stop.clone())
        .await
        .map_err(|error| Failure::new(ErrorKind::Unavailable, format!("HTTP: {error}")))
}

/// What routes stand on.
fn parts(node: &Node, services: &Services) -> Result<Parts, Failure> {
    let limits = &node.config.limits;
    Ok(Parts {
        store: node.store.clone(),
        control: node.control.clone(),
        ingest: services.ingest.clone(),
        connect: services.connect.clone(),
        asker: services.asker.clone(),
        caches: node.caches()?,
        search: services.search.clone(),
        providers: services.providers.clone(),
        keyring: node.keyring()?,
        metrics: services.metrics.clone(),
        pressure: Arc::default(),
        prefetch: Prefetch::default(),
        limits: Limits {
            json_bytes: limits.json_bytes,
            file_bytes: limits.file_bytes,
        },
    })
}

pub(super) async fn finished(part: tokio::task::JoinHandle<()>) -> Result<(), Failure> {
    part.await
        .map_err(|_| Failure::internal("a part of the service panicked; the log has where"))
}
