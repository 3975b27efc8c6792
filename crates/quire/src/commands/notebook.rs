//! `quire notebook`.

use std::io::{self, IsTerminal};

use serde_json::json;

use quire_store::notebooks::{self, Notebook};
use quire_store::{TenantTx, every, sources};
use quire_types::SourceState;

use super::tenant;
use crate::cli::NotebookCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &NotebookCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        NotebookCommand::Create { tenant: arg, name } => {
            let placement = tenant(&node.store, arg).await?.placement();
            let notebook =
                quire_ingest::create_notebook(&node.store, &node.control, placement, name).await?;
            show(output, &[(notebook, Vec::new())])
        }
        NotebookCommand::List { tenant: arg } => {
            let mut tx = node
                .store
                .tenant(tenant(&node.store, arg).await?.placement())
                .await?;
            let notebooks = all(&mut tx).await?;
            tx.commit().await?;
            show(output, &notebooks)
        }
        NotebookCommand::Rename {
            tenant: arg,
            notebook,
            name,
        } => {
            let mut tx = node
                .store
                .tenant(tenant(&node.store, arg).await?.placement())
                .await?;
            let notebook = super::notebook(&mut tx, notebook).await?;
            let notebook = notebooks::rename(&mut tx, notebook.id, name).await?;
            tx.commit().await?;
            show(output, &[(notebook, Vec::new())])
        }
        NotebookCommand::Delete {
            tenant: arg,
            notebook,
            yes,
        } => {
            let tenant = tenant(&node.store, arg).await?;
            let mut tx = node.store.tenant(tenant.placement()).await?;
            let notebook = super::notebook(&mut tx, notebook).await?;
            let counts = sources::counts(&mut tx, notebook.id).await?;
            tx.commit().await?;
            let total: i64 = counts.iter().map(|(_, count)| count).sum();
            if !yes
                && !confirmed(
                    output,
                    &format!("delete '{}' with {total} sources?", notebook.name),
                )?
            {
                return Err(Failure::invalid("nothing was deleted"));
            }
            let services = node.services().await?;
            services
                .ingest
                .delete_notebook(tenant.placement(), notebook.id)
                .await?;
            output.note(format!("deleted '{}' with {total} sources", notebook.name));
            Ok(())
        }
    }
}

fn confirmed(output: &Output, question: &str) -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::invalid(
            "deleting needs --yes when nobody can be asked",
        ));
    }
    output.note(format!("{question} [y/N]"));
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Failure::internal(error.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

type Counted = (Notebook, Vec<(SourceState, i64)>);

async fn all(tx: &mut TenantTx) -> Result<Vec<Counted>, Failure> {
    let notebooks = every(
        async |page| notebooks::list(tx, page).await,
        |notebook| notebook.id.uuid(),
    )
    .await?;
    let mut all = Vec::with_capacity(notebooks.len());
    for notebook in notebooks {
        let counts = sources::counts(tx, notebook.id).await?;
        all.push((notebook, counts));
    }
    Ok(all)
}

fn show(output: &Output, notebooks: &[Counted]) -> Result<(), Failure> {
    if output.is_json() {
        let notebooks: Vec<_> = notebooks
            .iter()
            .map(|(notebook, counts)| {
                let sources: serde_json::Map<String, serde_json::Value> = counts
                    .iter()
                    .map(|(state, count)| (state.to_string(), json!(count)))
                    .collect();
                json!({
                    "id": notebook.id, "name": notebook.name, "created_at": notebook.created_at,
                    "updated_at": notebook.updated_at, "sources": sources,
                })
            })
            .collect();
        return output.json(&json!({ "notebooks": notebooks }));
    }
    let rows: Vec<Vec<String>> = notebooks
        .iter()
        .map(|(notebook, counts)| {
            let states: Vec<String> = counts
                .iter()
                .map(|(state, count)| format!("{count} {state}"))
                .collect();
            vec![
                notebook.name.clone(),
                states.join(", "),
                notebook.id.to_string(),
            ]
        })
        .collect();
    output.table(&["name", "sources", "id"], &rows);
    Ok(())
}
