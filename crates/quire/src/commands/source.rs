//! `quire source`.

use chrono::Utc;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use quire_ingest::explain;
use quire_store::every;
use quire_store::passages::Passage;
use quire_store::sources::{self, Source};
use quire_types::{SourceId, SourceState};

use super::{add, after_name, tenant};
use crate::cli::SourceCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &SourceCommand,
    node: &Node,
    output: &Output,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    match command {
        SourceCommand::List {
            tenant: arg,
            notebook,
        } => {
            let mut tx = node
                .store
                .tenant(tenant(&node.store, arg).await?.placement())
                .await?;
            let notebook = super::notebook(&mut tx, notebook).await?;
            let mut all = every(
                async |page| sources::list(&mut tx, notebook.id, page).await,
                |source| source.id.uuid(),
            )
            .await?;
            let placement = tx.placement();
            tx.commit().await?;
            explain(&node.store, placement, &mut all).await?;
            show(output, &all)
        }
        SourceCommand::Show {
            tenant: arg,
            source,
        } => {
            let mut tx = node
                .store
                .tenant(tenant(&node.store, arg).await?.placement())
                .await?;
            let mut source = [sources::get(&mut tx, id(source)?).await?];
            let placement = tx.placement();
            tx.commit().await?;
            explain(&node.store, placement, &mut source).await?;
            show(output, &source)?;
            show_stages(output, &source)
        }
        SourceCommand::Passages {
            tenant: arg,
            source,
        } => {
            let placement = tenant(&node.store, arg).await?.placement();
            let id = id(source)?;
            let search = node.search();
            let all = every(
                async |page| search.passages(placement, id, page).await,
                |passage: &Passage| passage.id.uuid(),
            )
            .await?;
            show_passages(output, &all)
        }
        SourceCommand::Retry {
            tenant: arg,
            source,
        } => {
            let placement = tenant(&node.store, arg).await?.placement();
            let services = node.services().await?;
            let source = services.ingest.retry(placement, id(source)?).await?;
            let finished =
                add::work_off(node, &services, placement, &[source.id], output, stop).await;
            show(output, &finished?)
        }
        SourceCommand::Delete {
            tenant: arg,
            source,
        } => {
            let placement = tenant(&node.store, arg).await?.placement();
            let services = node.services().await?;
            services
                .ingest
                .delete_source(placement, id(source)?)
                .await?;
            output.note(format!("deleted {source}"));
            Ok(())
        }
    }
}

fn id(text: &str) -> Result<SourceId, Failure> {
    text.parse()
        .map_err(|error| Failure::invalid(format!("{error}")))
}

fn show(output: &Output, sources: &[Source]) -> Result<(), Failure> {
    if output.is_json() {
        let sources: Vec<_> = sources
            .iter()
            .map(|source| {
                json!({
                    "id": source.id, "notebook": source.notebook, "name": source.name,
                    "media_type": source.media_type, "state": source.state, "reason": source.reason,
                    "latest_version": source.latest_version, "live_version": source.live_version,
                    "size_bytes": source.size_bytes, "passages": source.passages, "pages": source.pages,
                    "groups": source.groups,
                    "percent": source.percent, "stages": stages(source), "task": source.task,
                    "created_at": source.created_at, "updated_at": source.updated_at,
                })
            })
            .collect();
        return output.json(&json!({ "sources": sources }));
    }
    let rows: Vec<Vec<String>> = sources
        .iter()
        .map(|source| {
            let media = source
                .media_type
                .map(|media| media.to_string())
                .unwrap_or_default();
            vec![
                source.name.clone(),
                media,
                state(source),
                source.passages.to_string(),
                source.id.to_string(),
                source.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output.table(
        &["name", "type", "state", "passages", "id", "reason"],
        &rows,
    );
    Ok(())
}

/// The state, with how much of it is done while it goes on.
pub(super) fn state(source: &Source) -> String {
    match source.state {
        SourceState::Extracting | SourceState::Embedding => {
            format!("{} {} %", source.state, source.percent)
        }
        state => state.to_string(),
    }
}

pub(super) fn stages(source: &Source) -> Vec<serde_json::Value> {
    let stages = source.stages(Utc::now());
    let stages = stages.iter().map(|stage| {
        let took_ms = u64::try_from(stage.took.as_millis()).unwrap_or(u64::MAX);
        json!({ "stage": stage.state, "began_at": stage.began_at, "took_ms": took_ms })
    });
    stages.collect()
}

fn show_stages(output: &Output, sources: &[Source]) -> Result<(), Failure> {
    if output.is_json() {
        return Ok(());
    }
    for stage in sources.iter().flat_map(|source| source.stages(Utc::now())) {
        let (state, took) = (stage.state, stage.took.as_secs_f64());
        let began_at = stage.began_at.format("%Y-%m-%d %H:%M:%S UTC");
        output.line(format!("{state:<10}  {took:>8.1} s  since {began_at}"));
    }
    Ok(())
}

fn show_passages(output: &Output, passages: &[Passage]) -> Result<(), Failure> {
    if output.is_json() {
        let passages: Vec<_> = passages
            .iter()
            .map(|passage| {
                json!({
                    "id": passage.id, "ordinal": passage.ordinal, "context": passage.context,
                    "text": passage.body, "place": passage.place,
                })
            })
            .collect();
        return output.json(&json!({ "passages": passages }));
    }
    for passage in passages {
        let place = after_name(&passage.place);
        output.line(format!("#{}{place}  {}", passage.ordinal, passage.context));
        output.line(format!("{}\n", passage.body));
    }
    Ok(())
}
