//! Making sources of queued records: one task looks after a lane of a tenant, a bounded part at a time.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::warn;

use quire_ingest::Text;
use quire_queue::{Attempt, Failure, Priority, Retry, Task, announce};
use quire_store::outbox::NewEvent;
use quire_store::records::{self as rows, EntityKey, Record, Settled};
use quire_store::{Placement, TenantTx, notebooks};
use quire_types::{ErrorKind, Kind, Lane, MediaType, NotebookId, RecordId, RecordState, SourceId};

use super::template::{self, Rendered};
use super::{fields, plan};
use crate::{Connect, Error};

/// Records that are worked on in one go: about a second of embedding, so that others get their turn.
const PART: usize = 64;

/// The priority of a lane.
pub(super) const fn priority(lane: Lane) -> Priority {
    match lane {
        Lane::Realtime => Priority::High,
        Lane::Standard => Priority::Normal,
        Lane::Batch => Priority::Low,
    }
}

/// Makes sources of what waits in a lane.
#[derive(Serialize, Deserialize)]
pub struct SyncRecords {
    /// The lane.
    pub lane: Lane,
}

/// A record that was rendered.
struct Ready {
    record: RecordId,
    version: i64,
    problem: Option<String>,
}

impl SyncRecords {
    async fn sync(
        &self,
        connect: &Connect,
        placement: Placement,
        attempt: &Attempt,
    ) -> Result<(), Error> {
        let config = &connect.config;
        let mut tx = config.store.tenant(placement).await?;
        let most = i64::try_from(PART).unwrap_or(i64::MAX);
        let records = rows::queued(&mut tx, self.lane, most).await?;
        let own: HashMap<String, String> = rows::types(&mut tx)
            .await?
            .into_iter()
            .map(|own| (own.name, own.template))
            .collect();
        tx.commit().await?;
        if records.is_empty() {
            return Ok(());
        }
        let has_more = records.len() == PART;
        let (gone, kept): (Vec<Record>, Vec<Record>) =
            records.into_iter().partition(|record| record.is_deleted);
        let (notebooks, refused) = notebooks_of(connect, placement, &kept).await?;

        let mut settled: Vec<Settled> = Vec::new();
        let mut ready = Vec::new();
        let mut texts = Vec::new();
        for record in &kept {
            let Some(&notebook) = record
                .entity
                .as_ref()
                .and_then(|entity| notebooks.get(entity))
            else {
                let reason = record
                    .entity
                    .as_ref()
                    .and_then(|entity| refused.get(entity));
                settled.push(Settled {
                    id: record.id,
                    state: RecordState::Failed,
                    reason: reason.cloned(),
                    source: record.source,
                });
                continue;
            };
            let own = own.get(&record.key.kind).map(String::as_str);
            let rendered = template::render(&record.key.kind, &record.key.id, &record.fields, own);
            ready.push(Ready {
                record: record.id,
                version: record.version,
                problem: rendered.problem.clone(),
            });
            texts.push(text(record, notebook, rendered));
        }
        let texts = config.ingest.read_texts(placement, texts).await?;

        let mut tx = config.store.tenant(placement).await?;
        let all: Vec<RecordId> = kept.iter().chain(&gone).map(|record| record.id).collect();
        let now = rows::lock(&mut tx, &all).await?;
        // What was settled meanwhile is newer; what changed meanwhile stays queued for the next task.
        let is_current =
            |id: RecordId, version: i64| now.get(&id).is_some_and(|now| now.0 == version);
        let (ready, texts): (Vec<_>, Vec<_>) = ready
            .into_iter()
            .zip(texts)
            .filter(|(ready, _)| {
                is_current(ready.record, ready.version) && is_queued(&now, ready.record)
            })
            .unzip();
        let removed: Vec<SourceId> = gone
            .iter()
            .filter(|record| is_current(record.id, record.version))
            .filter_map(|record| record.source)
            .collect();
        let published = config
            .ingest
            .publish_texts(&mut tx, attempt, &texts, &removed)
            .await;
        match published {
            Ok(sources) => {
                settled.extend(ready.iter().zip(sources).map(|(ready, source)| Settled {
                    id: ready.record,
                    state: RecordState::Searchable,
                    reason: ready.problem.clone(),
                    source: Some(source),
                }))
            }
            // Nothing was written yet: the plan has no room.
            Err(quire_ingest::Error::Refused(refusal)) => {
                warn!(tenant = %placement.tenant, %refusal, "records wait for room in the plan");
                drop(tx);
                return self
                    .refuse(connect, placement, &all, &refusal.to_string())
                    .await;
            }
            Err(error) => return Err(error.into()),
        }
        let by_id: HashMap<RecordId, &Record> =
            kept.iter().map(|record| (record.id, record)).collect();
        let values: Vec<_> = ready
            .iter()
            .filter_map(|ready| by_id.get(&ready.record))
            .map(|record| (record.id, fields::typed(&record.fields)))
            .chain(gone.iter().map(|record| (record.id, Vec::new())))
            .collect();
        rows::set_values(&mut tx, &values).await?;
        settled.extend(
            gone.iter()
                .filter(|record| is_current(record.id, record.version))
                .map(|record| Settled {
                    id: record.id,
                    state: RecordState::Deleted,
                    reason: None,
                    source: None,
                }),
        );
        settled.retain(|one| is_queued(&now, one.id));
        rows::settle(&mut tx, &settled).await?;
        announce(&mut tx, &synced(kept.iter().chain(&gone), &settled)).await?;
        if has_more {
            plan(&mut tx, self.lane, Duration::ZERO).await?;
        }
        attempt.complete(&mut tx).await?;
        tx.commit().await?;
        config.bell.notify_one();
        Ok(())
    }

    /// Notes that records are kept, but not shown. The next part goes on: deletions need no room.
    async fn refuse(
        &self,
        connect: &Connect,
        placement: Placement,
        records: &[RecordId],
        reason: &str,
    ) -> Result<(), Error> {
        let mut tx = connect.config.store.tenant(placement).await?;
        rows::fail(&mut tx, records, reason).await?;
        plan(&mut tx, self.lane, Duration::ZERO).await?;
        Ok(tx.commit().await?)
    }
}

/// How many changes can be found, told apart by who made them, so that nobody hears the echo of its own.
fn synced<'a>(records: impl Iterator<Item = &'a Record>, settled: &[Settled]) -> Vec<NewEvent> {
    let states: HashMap<RecordId, RecordState> =
        settled.iter().map(|one| (one.id, one.state)).collect();
    let mut counts: BTreeMap<Option<&str>, [usize; 3]> = BTreeMap::new();
    for record in records {
        let at = match states.get(&record.id) {
            Some(RecordState::Searchable) => 0,
            Some(RecordState::Deleted) => 1,
            Some(RecordState::Failed) => 2,
            Some(RecordState::Queued) | None => continue,
        };
        counts.entry(record.origin.as_deref()).or_default()[at] += 1;
    }
    let event = |(origin, [searchable, deleted, failed]): (Option<&str>, [usize; 3])| NewEvent {
        kind: "records.synced",
        data: json!({ "searchable": searchable, "deleted": deleted, "failed": failed, "origin": origin }),
        origin: origin.map(str::to_owned),
    };
    counts.into_iter().map(event).collect()
}

fn is_queued(now: &HashMap<RecordId, (i64, RecordState)>, id: RecordId) -> bool {
    now.get(&id).is_some_and(|now| now.1 == RecordState::Queued)
}

fn text(record: &Record, notebook: NotebookId, rendered: Rendered) -> Text {
    Text {
        source: record.source,
        notebook,
        name: format!("{}/{} {}", record.key.kind, record.key.id, rendered.title),
        title: rendered.title,
        body: rendered.text,
        media: MediaType::Text,
        groups: record.groups.clone(),
    }
}

/// The notebooks of the entities of these records, made where there is none, and why some have none.
async fn notebooks_of(
    connect: &Connect,
    placement: Placement,
    records: &[Record],
) -> Result<(HashMap<EntityKey, NotebookId>, HashMap<EntityKey, String>), Error> {
    let mut known = HashMap::new();
    let mut refused = HashMap::new();
    let mut wanted = HashSet::new();
    for record in records {
        let Some(entity) = &record.entity else {
            continue;
        };
        match record.notebook {
            Some(notebook) => {
                known.insert(entity.clone(), notebook);
            }
            None => {
                wanted.insert((entity.clone(), record.entity_name.clone()));
            }
        }
    }
    for (entity, name) in wanted {
        match notebook(connect, placement, &entity, name.as_deref()).await {
            Ok(notebook) => {
                known.insert(entity, notebook);
            }
            Err(error) if error.kind() == ErrorKind::Quota => {
                refused.insert(entity, error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok((known, refused))
}

/// Finds or makes the notebook of an entity: the one of its name, unless another entity has that.
async fn notebook(
    connect: &Connect,
    placement: Placement,
    entity: &EntityKey,
    name: Option<&str>,
) -> Result<NotebookId, Error> {
    let plain = format!("{} {}", fields::label(&entity.kind), entity.id);
    let preferred = name.unwrap_or(&plain).to_owned();
    let unique = format!("{preferred} ({} {})", entity.kind, entity.id);
    for name in [preferred, unique] {
        let name: String = name.chars().take(200).collect();
        let created = connect
            .config
            .ingest
            .create_notebook(placement, &name)
            .await;
        let mut tx = connect.config.store.tenant(placement).await?;
        let notebook = match created {
            Ok(notebook) => notebook,
            // Made by somebody else, or by an attempt that ended here.
            Err(error) if [ErrorKind::Conflict, ErrorKind::Quota].contains(&error.kind()) => {
                match notebooks::by_name(&mut tx, &name).await {
                    Ok(notebook) => notebook,
                    Err(_) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        };
        if tie(&mut tx, entity, notebook.id).await? {
            tx.commit().await?;
            return Ok(notebook.id);
        }
    }
    Err(Error::Invalid(format!(
        "no notebook can be made for {} {}: others have its names",
        entity.kind, entity.id
    )))
}

async fn tie(tx: &mut TenantTx, entity: &EntityKey, notebook: NotebookId) -> Result<bool, Error> {
    // Two entities of one name must not both find the notebook free.
    tx.alone_with("entities").await?;
    Ok(rows::tie_notebook(tx, entity, notebook).await?)
}

#[async_trait]
impl Task for SyncRecords {
    const KIND: &'static str = "sync-records";
    const TIMEOUT: Duration = Duration::from_mins(10);
    const MAX_ATTEMPTS: i16 = 20;
    const RETRY: Retry = Retry {
        base: Duration::from_secs(2),
        cap: Duration::from_mins(10),
    };
    type Context = Connect;

    /// One at a time for a tenant: what is older must not overtake.
    fn key(&self) -> Option<String> {
        Some("records".to_owned())
    }

    async fn run(&self, connect: &Connect, attempt: &Attempt) -> Result<(), Failure> {
        let of = |error: Error| {
            let failure = Failure::of(&error);
            match error.retry_after() {
                Some(wait) => failure.retry_after(wait),
                None => failure,
            }
        };
        let placement = connect
            .placement(attempt)
            .await
            .map_err(|error| of(error.into()))?;
        match placement {
            Some(placement) => self.sync(connect, placement, attempt).await.map_err(of),
            None => Ok(()),
        }
    }

    async fn gave_up(&self, _: &Connect, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        // The records stay queued, which their summary shows, and the next event plans another task.
        Ok(())
    }
}
