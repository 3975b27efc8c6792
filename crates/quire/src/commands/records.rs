//! `quire records`.

use std::fs;
use std::io::Read;
use std::path::Path;

use serde_json::{Value, json};

use quire_connect::records::{self as connect, MOST_EVENTS, template};
use quire_store::records::{self as rows, Heard, Record, Selection};
use quire_store::{Placement, every};
use quire_types::Lane;

use super::tenant;
use crate::cli::RecordsCommand;
use crate::failure::Failure;
use crate::node::Node;
use crate::output::Output;

pub(super) async fn run(
    command: &RecordsCommand,
    node: &Node,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        RecordsCommand::Push {
            tenant: arg,
            file,
            lane,
        } => {
            let placement = tenant(&node.store, arg).await?.placement();
            push(node, placement, &read(file.as_deref())?, *lane, output).await
        }
        RecordsCommand::List {
            tenant: arg,
            kind,
            state,
        } => {
            let selection = Selection {
                kind: kind.as_deref().map(template::name).transpose()?,
                state: *state,
                ..Selection::default()
            };
            let mut tx = node
                .store
                .tenant(tenant(&node.store, arg).await?.placement())
                .await?;
            let all = every(
                async |page| rows::list(&mut tx, &selection, page).await,
                |record: &Record| record.id.uuid(),
            )
            .await?;
            tx.commit().await?;
            show(output, &all)
        }
        RecordsCommand::Summary { tenant: arg } => {
            let placement = tenant(&node.store, arg).await?.placement();
            summary(node, placement, output).await
        }
        RecordsCommand::Retry { tenant: arg } => {
            let placement = tenant(&node.store, arg).await?.placement();
            let services = node.services().await?;
            let count = services.connect.retry_records(placement).await?;
            output.note(format!("queued {count} again"));
            Ok(())
        }
        RecordsCommand::Template {
            tenant: arg,
            kind,
            file,
            sample,
            remove,
        } => {
            let placement = tenant(&node.store, arg).await?.placement();
            let name = template::name(kind)?;
            match (file, sample) {
                (Some(file), Some(sample)) => {
                    let source = text(file)?;
                    let sample: Value = serde_json::from_str(&text(sample)?).map_err(|error| {
                        Failure::invalid(format!("{}: {error}", sample.display()))
                    })?;
                    set(node, placement, &name, Some((&source, &sample)), output).await
                }
                _ if *remove => set(node, placement, &name, None, output).await,
                _ => print_template(node, placement, &name, output).await,
            }
        }
    }
}

fn read(file: Option<&Path>) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let result = match file {
        Some(file) => fs::read(file).map(|read| bytes = read),
        None => std::io::stdin().read_to_end(&mut bytes).map(drop),
    };
    let name = file.map_or("standard input".into(), Path::to_string_lossy);
    match result {
        Ok(()) => Ok(bytes),
        Err(error) => Err(Failure::invalid(format!("{name}: {error}"))),
    }
}

fn text(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file)
        .map_err(|error| Failure::invalid(format!("{}: {error}", file.display())))
}

/// Events in parts of bounded size, so that a season of them is no problem.
async fn push(
    node: &Node,
    placement: Placement,
    bytes: &[u8],
    lane: Lane,
    output: &Output,
) -> Result<(), Failure> {
    let services = node.services().await?;
    let is_array = bytes.trim_ascii_start().starts_with(b"[");
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let parts: Vec<Vec<u8>> = match is_array {
        true => vec![bytes.to_vec()],
        false => lines
            .chunks(MOST_EVENTS / 10)
            .map(<[&[u8]]>::concat)
            .collect(),
    };
    let (mut applied, mut known, mut refused) = (0, 0, Vec::new());
    let mut first = 0;
    for part in &parts {
        if part.trim_ascii().is_empty() {
            continue;
        }
        let (events, bad) = connect::parse(part, lane)?;
        let heard = services.connect.hear(placement, &events).await?;
        let news = heard
            .iter()
            .filter(|heard| **heard == Heard::Applied)
            .count();
        applied += news;
        known += heard.len() - news;
        refused.extend(
            bad.iter()
                .map(|bad| (first + bad.index, bad.reason.clone())),
        );
        first += events.len() + bad.len();
    }
    if output.is_json() {
        let refused: Vec<_> = refused
            .iter()
            .map(|(index, reason)| json!({ "index": index, "reason": reason }))
            .collect();
        return output.json(&json!({ "applied": applied, "known": known, "refused": refused }));
    }
    output.note(format!(
        "{applied} applied, {known} known already or overtaken, {} refused; workers make them searchable",
        refused.len()
    ));
    for (index, reason) in refused.iter().take(20) {
        output.note(format!("event {}: {reason}", index + 1));
    }
    match (applied + known, refused.first()) {
        (0, Some(_)) => Err(Failure::invalid("none of the events can be used")),
        _ => Ok(()),
    }
}

async fn summary(node: &Node, placement: Placement, output: &Output) -> Result<(), Failure> {
    let mut tx = node.store.tenant(placement).await?;
    let summary = rows::summary(&mut tx).await?;
    tx.commit().await?;
    let rows: Vec<Vec<String>> = summary
        .counts
        .iter()
        .map(|(kind, state, count)| vec![kind.clone(), state.to_string(), count.to_string()])
        .collect();
    if output.is_json() {
        let counts: Vec<_> = summary
            .counts
            .iter()
            .map(|(kind, state, count)| json!({ "type": kind, "state": state, "count": count }))
            .collect();
        return output.json(&json!({ "counts": counts, "queued_since": summary.queued_since }));
    }
    output.table(&["type", "state", "records"], &rows);
    if let Some(since) = summary.queued_since {
        output.note(format!("the oldest queued one waits since {since}"));
    }
    Ok(())
}

fn show(output: &Output, records: &[Record]) -> Result<(), Failure> {
    if output.is_json() {
        let records: Vec<_> = records
            .iter()
            .map(|record| {
                json!({
                    "id": record.id, "type": record.key.kind, "external_id": record.key.id,
                    "version": record.version, "state": record.state, "reason": record.reason,
                    "source": record.source, "notebook": record.notebook, "fields": record.fields,
                })
            })
            .collect();
        return output.json(&json!({ "records": records }));
    }
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            let entity = record.entity.as_ref();
            vec![
                record.key.kind.clone(),
                record.key.id.clone(),
                entity
                    .map(|entity| format!("{} {}", entity.kind, entity.id))
                    .unwrap_or_default(),
                record.state.to_string(),
                record.id.to_string(),
                record.reason.clone().unwrap_or_default(),
            ]
        })
        .collect();
    output.table(&["type", "id", "about", "state", "record", "reason"], &rows);
    Ok(())
}

async fn set(
    node: &Node,
    placement: Placement,
    name: &str,
    new: Option<(&str, &Value)>,
    output: &Output,
) -> Result<(), Failure> {
    let services = node.services().await?;
    let count = services.connect.set_template(placement, name, new).await?;
    output.note(format!("{count} records of type {name} are rendered again"));
    Ok(())
}

async fn print_template(
    node: &Node,
    placement: Placement,
    name: &str,
    output: &Output,
) -> Result<(), Failure> {
    let mut tx = node.store.tenant(placement).await?;
    let own = rows::types(&mut tx).await?;
    tx.commit().await?;
    let own = own.into_iter().find(|own| own.name == name);
    let shipped = template::shipped().find(|(shipped, _)| *shipped == name);
    match own
        .map(|own| own.template)
        .or(shipped.map(|(_, template)| template.to_owned()))
    {
        Some(template) => {
            output.line(template.trim_end());
            Ok(())
        }
        None => Err(Failure::invalid(format!(
            "'{name}' has no template: its records are shown as a list of their fields"
        ))),
    }
}
