//! `quire add`: files, folders, addresses and standard input, until they can be found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::Utc;
use futures::StreamExt;
use serde_json::json;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use quire_store::sources::{self, Added, Source};
use quire_store::{Placement, Store};
use quire_types::{ErrorKind, Groups, NotebookId, SourceId, SourceState};

use super::source::{stages, state};
use super::{interrupted, tenant, until};
use crate::cli::AddArgs;
use crate::failure::Failure;
use crate::node::{Node, Services};
use crate::output::{Output, count};
use crate::progress::Progress;

/// What was found on the command line.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) from: From,
}

/// Where its content is.
pub(super) enum From {
    File(PathBuf),
    Input,
    /// An address. What is there names itself where the name is the address, too.
    Link(String),
}

pub(super) async fn run(
    args: &AddArgs,
    node: &Node,
    output: &Output,
    stop: &CancellationToken,
) -> Result<(), Failure> {
    let inputs = inputs(args)?;
    let tenant = tenant(&node.store, &args.tenant).await?;
    let placement = tenant.placement();
    let notebook = notebook(node, placement, &args.notebook, output).await?;
    let services = node.services().await?;

    let began = Instant::now();
    let progress = Progress::new(output, "storing", inputs.len() as u64);
    let mut results = Vec::with_capacity(inputs.len());
    for (done, input) in (1..).zip(inputs) {
        let added = until(
            stop,
            add(&services, placement, notebook, args.groups.as_ref(), &input),
        )
        .await;
        results.push((input.name, added.ok_or_else(interrupted)?));
        progress.at(done, "");
    }
    progress.finish();

    let ids: Vec<SourceId> = results
        .iter()
        .filter_map(|(_, added)| added.as_ref().ok())
        .map(|added| added.source().id)
        .collect();
    let finished = if args.no_wait {
        current(&node.store, placement, &ids).await?
    } else {
        work_off(node, &services, placement, &ids, output, stop).await?
    };
    report(output, results, &finished, began.elapsed())
}

/// Runs tasks here until the given sources are finished. A running service may take them as well. When
/// told to stop, unfinished tasks are given back.
pub(super) async fn work_off(
    node: &Node,
    services: &Services,
    placement: Placement,
    ids: &[SourceId],
    output: &Output,
    stop: &CancellationToken,
) -> Result<Vec<Source>, Failure> {
    let enough = stop.child_token();
    let worker = node.work(services, None, enough.clone());
    let finished = until(stop, wait(&node.store, placement, ids, output)).await;
    enough.cancel();
    super::serve::finished(worker).await?;
    finished.unwrap_or_else(|| Err(interrupted()))
}

pub(super) async fn notebook(
    node: &Node,
    placement: Placement,
    name: &str,
    output: &Output,
) -> Result<NotebookId, Failure> {
    let mut tx = node.store.tenant(placement).await?;
    let found = super::notebook(&mut tx, name).await;
    tx.commit().await?;
    match found {
        Ok(notebook) => Ok(notebook.id),
        Err(failure)
            if failure.kind() == ErrorKind::NotFound && !name.starts_with(NotebookId::PREFIX) =>
        {
            let notebook =
                quire_ingest::create_notebook(&node.store, &node.control, placement, name).await?;
            output.note(format!("created notebook '{name}'"));
            Ok(notebook.id)
        }
        Err(failure) => Err(failure),
    }
}

pub(super) async fn add(
    services: &Services,
    placement: Placement,
    notebook: NotebookId,
    groups: Option<&Groups>,
    input: &Input,
) -> Result<Added, Failure> {
    let bytes = match &input.from {
        From::Link(url) => {
            let linked = services.connect.fetch(url).await?;
            let name = match input.name == *url {
                true => &linked.name,
                false => &input.name,
            };
            let bytes = Bytes::from(linked.bytes);
            let bytes = futures::stream::once(async { Ok::<_, std::io::Error>(bytes) }).boxed();
            return Ok(services
                .ingest
                .add_for(placement, notebook, name, groups, bytes)
                .await?);
        }
        From::File(path) => {
            let file = tokio::fs::File::open(path).await.map_err(|error| {
                Failure::invalid(format!("can't read {}: {error}", path.display()))
            })?;
            ReaderStream::with_capacity(file, 1 << 16).boxed()
        }
        From::Input => ReaderStream::new(tokio::io::stdin()).boxed(),
    };
    Ok(services
        .ingest
        .add_for(placement, notebook, &input.name, groups, bytes)
        .await?)
}

/// Names files by their path below the folder that was named.
fn inputs(args: &AddArgs) -> Result<Vec<Input>, Failure> {
    let mut inputs = Vec::new();
    for path in &args.paths {
        if path.as_os_str() == "-" {
            let name = args.name.clone().ok_or_else(|| {
                Failure::invalid("standard input needs a name: quire add --name notes.md … -")
            })?;
            inputs.push(Input {
                name,
                from: From::Input,
            });
            continue;
        }
        if let Some(url) = path.to_str().filter(|path| is_address(path)) {
            inputs.push(Input {
                name: args.name.clone().unwrap_or_else(|| url.to_owned()),
                from: From::Link(url.to_owned()),
            });
            continue;
        }
        let kind = std::fs::metadata(path)
            .map_err(|error| Failure::invalid(format!("can't read {}: {error}", path.display())))?;
        if kind.is_dir() {
            folder(path, path, &mut inputs)?;
        } else {
            let name = path
                .file_name()
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned();
            inputs.push(Input {
                name: args.name.clone().unwrap_or(name),
                from: From::File(path.clone()),
            });
        }
    }
    if inputs.is_empty() {
        return Err(Failure::invalid("the folders hold no files"));
    }
    if args.name.is_some() && inputs.len() > 1 {
        return Err(Failure::invalid(
            "--name fits one file or standard input only",
        ));
    }
    Ok(inputs)
}

fn is_address(path: &str) -> bool {
    path.starts_with("https://") || path.starts_with("http://")
}

pub(super) fn folder(root: &Path, dir: &Path, inputs: &mut Vec<Input>) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::invalid(format!("can't read {}: {error}", dir.display()));
    let mut entries = std::fs::read_dir(dir)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let is_hidden = entry.file_name().to_string_lossy().starts_with('.');
        let kind = entry.file_type().map_err(failed)?;
        let path = entry.path();
        if is_hidden || kind.is_symlink() {
            // A link may lead out of the folder that was named.
            continue;
        }
        if kind.is_dir() {
            folder(root, &path, inputs)?;
        } else if kind.is_file() {
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            inputs.push(Input {
                name,
                from: From::File(path),
            });
        }
    }
    Ok(())
}

async fn current(
    store: &Store,
    placement: Placement,
    ids: &[SourceId],
) -> Result<Vec<Source>, Failure> {
    let mut tx = store.tenant(placement).await?;
    let found = sources::by_ids(&mut tx, ids).await?;
    tx.commit().await?;
    Ok(found)
}

/// Waits until each source can be found or has failed.
pub(crate) async fn wait(
    store: &Store,
    placement: Placement,
    ids: &[SourceId],
    output: &Output,
) -> Result<Vec<Source>, Failure> {
    let progress = Progress::new(output, "reading", ids.len() as u64);
    loop {
        let found = match current(store, placement, ids).await {
            Ok(found) => found,
            // PostgreSQL may be restarting; the tasks survive it and so does the wait.
            Err(failure) if failure.kind().is_transient() => {
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let is_done = |source: &&Source| {
            matches!(source.state, SourceState::Searchable | SourceState::Failed)
        };
        let done = found.iter().filter(is_done).count();
        let active = found.iter().find(|source| {
            matches!(
                source.state,
                SourceState::Extracting | SourceState::Embedding
            )
        });
        let message = match (active, found.iter().find(|source| !is_done(source))) {
            (Some(source), _) => format!("{}: {}", source.name, state(source)),
            (None, Some(source)) => waiting(store, placement, source).await,
            (None, None) => String::new(),
        };
        progress.at(done as u64, &message);
        if done == found.len() {
            progress.finish();
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What a source waits for, as far as it can be said now.
async fn waiting(store: &Store, placement: Placement, source: &Source) -> String {
    let mut one = [source.clone()];
    let explained = quire_ingest::explain(store, placement, &mut one).await;
    let [source] = one;
    match (explained, source.reason) {
        (Ok(()), Some(reason)) => format!("{}: {reason}", source.name),
        _ => source.name,
    }
}

/// How long it took from being queued to its end; nothing where it was there before.
fn seconds(source: &Source, added: &str) -> String {
    let stages = source.stages(Utc::now());
    if added == "duplicate" || stages.is_empty() {
        return String::new();
    }
    let took: Duration = stages.iter().map(|stage| stage.took).sum();
    format!("{:.1} s", took.as_secs_f64())
}

fn report(
    output: &Output,
    results: Vec<(String, Result<Added, Failure>)>,
    finished: &[Source],
    took: Duration,
) -> Result<(), Failure> {
    let mut rows = Vec::new();
    let mut values = Vec::new();
    let mut failed = 0;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, added) in results {
        let (added, source) = match &added {
            Ok(added) => {
                let word = match added {
                    Added::Created(_) => "created",
                    Added::Updated(_) => "updated",
                    Added::Duplicate(_) => "duplicate",
                };
                let id = added.source().id;
                (
                    word,
                    finished
                        .iter()
                        .find(|source| source.id == id)
                        .unwrap_or(added.source()),
                )
            }
            Err(failure) => {
                failed += 1;
                *counts.entry("refused").or_default() += 1;
                rows.push(vec![
                    name.clone(),
                    "refused".to_owned(),
                    String::new(),
                    String::new(),
                    failure.message().to_owned(),
                ]);
                values
                    .push(json!({ "name": name, "added": "refused", "reason": failure.message() }));
                continue;
            }
        };
        failed += usize::from(source.state == SourceState::Failed);
        *counts.entry(added).or_default() += 1;
        *counts.entry(source.state.as_str()).or_default() += 1;
        let detail = source
            .reason
            .clone()
            .unwrap_or_else(|| count(source.passages, "passage"));
        rows.push(vec![
            source.name.clone(),
            added.to_owned(),
            state(source),
            seconds(source, added),
            detail,
        ]);
        values.push(json!({
            "name": source.name, "id": source.id, "added": added, "state": source.state,
            "reason": source.reason, "passages": source.passages, "percent": source.percent,
            "stages": stages(source),
        }));
    }
    if output.is_json() {
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let summary = json!({ "files": rows.len(), "counts": counts, "took_ms": took_ms });
        output.json(&json!({ "sources": values, "summary": summary }))?;
    } else {
        output.table(&["name", "added", "state", "took", "detail"], &rows);
        if rows.len() > 1 {
            let counts = counts.iter().map(|(what, count)| format!("{count} {what}"));
            let counts = counts.collect::<Vec<_>>().join(", ");
            let (files, seconds) = (rows.len(), took.as_secs_f64());
            output.note(format!("{files} files in {seconds:.1} s: {counts}"));
        }
    }
    match failed {
        0 => Ok(()),
        count if count == rows.len() => Err(Failure::internal(
            "nothing was added; see the reasons above",
        )),
        count => Err(Failure::internal(format!(
            "{count} of {} were not added; the others were",
            rows.len()
        ))),
    }
}
