//! `quire index tier`: where notebooks are kept, and an operator's choice.

use serde_json::json;

use quire_index::Search;
use quire_ingest::tiers::{move_notebook, tier_notebooks};
use quire_store::tenants::Tenant;
use quire_store::tiers::{self, NotebookTier};
use quire_types::{NotebookId, NotebookStatus, Tier, Timestamp};

use crate::commands::notebook;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

/// What is to be different about a notebook.
pub(super) struct Change {
    pub(super) pin: Option<Tier>,
    pub(super) unpin: bool,
    pub(super) status: Option<NotebookStatus>,
}

/// Shows a tenant's notebooks, or one of them after a change.
pub(super) async fn run(
    node: &Node,
    search: &Search,
    output: &Output,
    tenant: &Tenant,
    name: Option<&str>,
    change: &Change,
) -> Result<(), Failure> {
    let placement = tenant.placement();
    let mut tx = node.store.tenant(placement).await?;
    let only = match name {
        Some(name) => Some(notebook(&mut tx, name).await?.id),
        None => None,
    };
    if let Some(id) = only {
        if let Some(status) = change.status {
            tiers::set_status(&mut tx, id, Some(status)).await?;
        }
        if change.unpin {
            tiers::pin(&mut tx, id, false).await?;
        }
    }
    tx.commit().await?;
    if let (Some(id), Some(pin)) = (only, change.pin) {
        for known in list(node, tenant, only).await? {
            move_notebook(&node.store, search, placement, &known, pin).await?;
        }
        let mut tx = node.store.tenant(placement).await?;
        tiers::pin(&mut tx, id, true).await?;
        tx.commit().await?;
    } else if change.unpin || change.status.is_some() {
        tier_notebooks(&node.store, search, &node.control, placement).await?;
    }
    show(output, &list(node, tenant, only).await?)
}

async fn list(
    node: &Node,
    tenant: &Tenant,
    only: Option<NotebookId>,
) -> Result<Vec<NotebookTier>, Failure> {
    let mut tx = node.store.tenant(tenant.placement()).await?;
    let notebooks = tiers::tiers(&mut tx, only).await?;
    tx.commit().await?;
    Ok(notebooks)
}

fn show(output: &Output, notebooks: &[NotebookTier]) -> Result<(), Failure> {
    if output.is_json() {
        let notebooks: Vec<_> = notebooks
            .iter()
            .map(|one| {
                json!({
                    "id": one.notebook, "name": one.name, "tier": one.tier, "since": one.since,
                    "pinned": one.is_pinned, "status": one.status, "asked_at": one.asked_at,
                    "changed_at": one.changed_at, "passages": one.passages,
                    "archived_passages": one.archived,
                })
            })
            .collect();
        return output.json(&json!({ "notebooks": notebooks }));
    }
    let day = |at: Timestamp| at.format("%Y-%m-%d").to_string();
    let rows: Vec<Vec<String>> = notebooks
        .iter()
        .map(|one| {
            let pinned = if one.is_pinned { ", pinned" } else { "" };
            vec![
                one.name.clone(),
                format!("{}{pinned}", one.tier),
                day(one.since),
                one.status.map_or("", |status| status.as_str()).to_owned(),
                one.asked_at.map_or_else(String::new, day),
                day(one.changed_at),
                one.passages.to_string(),
                one.archived.to_string(),
            ]
        })
        .collect();
    let columns = [
        "name", "tier", "since", "status", "asked", "changed", "passages", "archived",
    ];
    output.table(&columns, &rows);
    Ok(())
}
