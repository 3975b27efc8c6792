//! Search from beginning to end: a current view, the scores, the passages.

use std::collections::HashMap;
use std::sync::Arc;

use quire_store::corpus::{self, Change, Entry};
use quire_store::passages::{self, Indexed};
use quire_store::{Placement, Store, TenantTx};
use quire_types::{PassageId, SourceId};

use crate::cache::{Cache, Slot};
use crate::view::View;
use crate::{Error, Hit, Query};

/// Passages that are read from the database at a time.
const READ_ROWS: i64 = 2_000;

/// Searches tenants' passages.
#[derive(Clone)]
pub struct Search {
    store: Store,
    cache: Arc<Cache>,
}

impl Search {
    /// A search that keeps at most `memory_bytes` of views, and always the one in use.
    pub fn new(store: Store, memory_bytes: usize) -> Self {
        Self {
            store,
            cache: Arc::new(Cache::new(memory_bytes)),
        }
    }

    /// The best passages for a question, best first. Sees everything that was committed before the
    /// call. Passages that are deleted meanwhile are left out.
    pub async fn search(&self, placement: Placement, query: Query) -> Result<Vec<Hit>, Error> {
        // In a task of its own: whoever goes away must not throw away a refresh that others wait for.
        let search = self.clone();
        let view = tokio::spawn(async move { search.current_view(placement).await })
            .await
            .map_err(|_| Error::Interrupted)??;
        let ranked = blocking(move || view.search(&query)).await?;
        let ids: Vec<PassageId> = ranked.iter().map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.store.tenant(placement).await?;
        let found = passages::by_ids(&mut tx, &ids).await?;
        tx.commit().await?;
        let mut found: HashMap<PassageId, passages::Passage> = found
            .into_iter()
            .map(|passage| (passage.id, passage))
            .collect();
        Ok(ranked
            .into_iter()
            .filter_map(|(id, scores)| {
                Some(Hit {
                    passage: found.remove(&id)?,
                    scores,
                })
            })
            .collect())
    }

    /// Tenants whose view is in memory, and the bytes of all views.
    pub fn usage(&self) -> (usize, usize) {
        self.cache.usage()
    }

    async fn current_view(&self, placement: Placement) -> Result<Arc<View>, Error> {
        let slot: Slot = self.cache.slot(placement);
        let mut held = slot.lock().await;
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let version = corpus::version(&mut tx).await?;
        if let Some(view) = held.as_ref().filter(|view| view.version() == version) {
            tx.commit().await?;
            return Ok(view.clone());
        }
        let (base, changes, added) = match held.take() {
            Some(view) if !view.needs_rebuild() => {
                match corpus::changes(&mut tx, view.version(), version).await? {
                    Some(changes) => {
                        let sources = added_sources(&changes);
                        let added = read(&mut tx, Some(&sources)).await?;
                        (Some(view), changes, added)
                    }
                    None => (None, Vec::new(), read(&mut tx, None).await?),
                }
            }
            _ => (None, Vec::new(), read(&mut tx, None).await?),
        };
        tx.commit().await?;
        let view = blocking(move || match base {
            Some(view) => view.advance(version, &changes, &added),
            None => View::empty()?.advance(version, &changes, &added),
        })
        .await?;
        let view = Arc::new(view);
        self.cache.resized(placement, view.bytes());
        *held = Some(view.clone());
        Ok(view)
    }
}

/// Sources that were added and are still there at the end of the changes.
fn added_sources(changes: &[Entry]) -> Vec<SourceId> {
    let mut sources: Vec<SourceId> = changes
        .iter()
        .filter(|entry| entry.change == Change::Added)
        .map(|entry| entry.source)
        .collect();
    sources.sort_unstable();
    sources.dedup();
    sources
}

async fn read(tx: &mut TenantTx, only: Option<&[SourceId]>) -> Result<Vec<Indexed>, Error> {
    let mut all = Vec::new();
    if only.is_some_and(<[SourceId]>::is_empty) {
        return Ok(all);
    }
    loop {
        let after = all.last().map(|passage: &Indexed| passage.id);
        let part = passages::indexed(tx, only, after, READ_ROWS).await?;
        let is_last = part.len() < usize::try_from(READ_ROWS).unwrap_or(usize::MAX);
        all.extend(part);
        if is_last {
            return Ok(all);
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Error::Interrupted)?
}
