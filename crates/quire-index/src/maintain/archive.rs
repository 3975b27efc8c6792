//! Notebooks that nobody asks: out of the index into an archive, and back with the first question.
//!
//! An archive is a segment without inverted index and codes, so it can't be searched and needs no memory; texts
//! and vectors are kept, so coming back needs no model and loses nothing. Whoever asks an archived notebook
//! by its id waits a moment, or is told how long it takes. Questions over all notebooks leave archives out.
//! Decides nothing about when a notebook is archived.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use quire_store::segments::{self, Located};
use quire_store::tiers::Archive;
use quire_store::{Placement, notebooks, tiers};
use quire_types::{NotebookId, SegmentId, Tier};

use super::is_passing;
use super::rebuild::plan;
use crate::segment::{Recipe, Segment, Survivors, merge};
use crate::view::View;
use crate::{Error, Filter, Folded, Search};

/// How long a question waits for its notebook.
const WAIT: Duration = Duration::from_secs(2);
/// Passages that come back in a second, about: a tenth of what `quire-bench search` measured for building.
const ROWS_PER_SECOND: u64 = 3_000;

/// What moving a notebook into an archive or back did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Passages that moved.
    pub passages: i64,
    /// Bytes written to the object store.
    pub written_bytes: u64,
}

impl Search {
    /// Moves everything in a notebook that search sees into archives. Stopped in the middle, what moved is
    /// archived and the rest is not; again moves the rest.
    ///
    /// # Errors
    /// Not found when there is no such notebook; [`Error::Missing`] while a segment can't be read; those of the
    /// stores.
    pub async fn archive(
        &self,
        placement: Placement,
        notebook: NotebookId,
    ) -> Result<Moved, Error> {
        let mut tx = self.store.tenant(placement).await?;
        notebooks::get(&mut tx, notebook).await?;
        tx.commit().await?;
        // What is in the tail moves to segments first, so there is one way into an archive.
        self.fold(placement).await?;
        let view = self.view(placement).await?;
        if let Some(segment) = view.missing.first() {
            return Err(Error::Missing { segment: *segment });
        }
        let mut done = Moved::default();
        let Some(recipe) = self.recipe(&view.manifest) else {
            return Ok(done);
        };
        let recipe = Recipe {
            is_archive: true,
            ..recipe
        };
        let is_wanted = |source: &Located| source.notebook == notebook;
        for chunk in plan(&view, is_wanted, self.config.fold.segment_rows, 1) {
            let moved = self.archived(placement, notebook, recipe, &chunk).await?;
            done.passages += moved.passages;
            done.written_bytes += moved.written_bytes;
        }
        let mut tx = self.store.tenant(placement).await?;
        tiers::set(&mut tx, notebook, Tier::Archived).await?;
        tx.commit().await?;
        Ok(done)
    }

    /// Makes one archive of parts of segments.
    async fn archived(
        &self,
        placement: Placement,
        notebook: NotebookId,
        recipe: Recipe,
        parts: &[Survivors],
    ) -> Result<Moved, Error> {
        let mut done = Moved::default();
        let merged = merge(&self.io(placement), placement, recipe, parts, |_| {}).await?;
        let Some(built) = merged else { return Ok(done) };
        done.written_bytes += built.bytes();
        let stored = self.put(placement, built).await?;
        let from: Vec<SegmentId> = parts.iter().map(|part| part.segment.id()).collect();
        let mut tx = self.store.tenant(placement).await?;
        let moved = tiers::archive(&mut tx, notebook, &stored.new, &stored.versions, &from).await?;
        tx.commit().await?;
        self.moved(placement, stored.new.id, moved, &mut done)
            .await?;
        Ok(done)
    }

    /// Writes archives again, without what is dead, of which that is too large a share.
    ///
    /// # Errors
    /// Those of the stores. An archive that is damaged stays as it is.
    pub(crate) async fn merge_archives(
        &self,
        placement: Placement,
        done: &mut Folded,
    ) -> Result<(), Error> {
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let archives = tiers::archives(&mut tx, None).await?;
        if archives.is_empty() {
            return Ok(tx.commit().await?);
        }
        let located = segments::located(&mut tx, None).await?;
        let manifest = segments::manifest(&mut tx).await?;
        tx.commit().await?;
        let mut alive: HashMap<SegmentId, i32> = HashMap::new();
        for source in &located {
            if let Some(segment) = source.segment {
                *alive.entry(segment).or_default() += source.passages;
            }
        }
        let Some(recipe) = self.recipe(&manifest) else {
            return Ok(());
        };
        let recipe = Recipe {
            is_archive: true,
            ..recipe
        };
        for Archive { notebook, segment } in archives {
            let (id, rows) = (segment.id, segment.rows);
            let dead = rows - alive.get(&id).copied().unwrap_or_default();
            if f64::from(dead) <= self.config.fold.dead_share * f64::from(rows) {
                continue;
            }
            let written = async {
                let segment = Segment::open(self.store.objects(), placement, &segment).await?;
                let parts = [survivors(segment, &located)];
                self.archived(placement, notebook, recipe, &parts).await
            };
            match written.await {
                Ok(moved) => {
                    done.merged += moved.passages;
                    done.written_bytes += moved.written_bytes;
                }
                Err(error) if is_passing(&error) => return Err(error),
                Err(error) => tracing::error!(tenant = %placement.tenant, segment = %id, %error,
                    "an archive can't be written again; 'quire index mend' reads its sources again"),
            }
        }
        Ok(())
    }

    /// Brings everything in a notebook's archives back into the index. Does nothing where there is none.
    ///
    /// # Errors
    /// Those of reading the archives and of the stores. What came back stays.
    pub async fn bring_back(
        &self,
        placement: Placement,
        notebook: NotebookId,
    ) -> Result<Moved, Error> {
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let archives = tiers::archives(&mut tx, Some(notebook)).await?;
        let located = segments::located(&mut tx, None).await?;
        let manifest = segments::manifest(&mut tx).await?;
        tx.commit().await?;
        let mut done = Moved::default();
        let Some(recipe) = self.recipe(&manifest).filter(|_| !archives.is_empty()) else {
            return Ok(done);
        };
        for archive in archives {
            let segment = Segment::open(self.store.objects(), placement, &archive.segment).await?;
            let id = segment.id();
            let alive = vec![survivors(segment, &located)];
            let merged = merge(&self.io(placement), placement, recipe, &alive, |_| {}).await?;
            let Some(built) = merged else {
                // Everything in it was deleted or replaced.
                let mut tx = self.store.tenant(placement).await?;
                segments::retire_unnamed(&mut tx).await?;
                tx.commit().await?;
                continue;
            };
            done.written_bytes += built.bytes();
            let stored = self.put(placement, built).await?;
            let mut tx = self.store.tenant(placement).await?;
            let moved = tiers::bring_back(&mut tx, &stored.new, &stored.versions, &[id]).await?;
            tx.commit().await?;
            self.moved(placement, stored.new.id, moved, &mut done)
                .await?;
        }
        let mut tx = self.store.tenant(placement).await?;
        tiers::set(&mut tx, notebook, Tier::Warm).await?;
        tx.commit().await?;
        Ok(done)
    }

    async fn moved(
        &self,
        placement: Placement,
        id: SegmentId,
        rows: i64,
        done: &mut Moved,
    ) -> Result<(), Error> {
        done.passages += rows;
        if rows == 0 {
            // Somebody else was first.
            self.take_back(placement, id).await?;
        }
        Ok(())
    }

    /// The view once the archived notebooks that a filter names are back, and the archives of those that can't be
    /// brought back now.
    ///
    /// # Errors
    /// [`Error::Archived`] when that takes longer than a question waits; it goes on in the background. Those of
    /// reading the archives, where the filter names nothing else that is there.
    pub(crate) async fn woken(
        &self,
        placement: Placement,
        view: Arc<View>,
        filter: &Filter,
    ) -> Result<(Arc<View>, Vec<SegmentId>), Error> {
        let wanted = view.archived_in(filter);
        if wanted.is_empty() {
            return Ok((view, Vec::new()));
        }
        let passages: u64 = wanted.iter().map(|(_, archived)| archived.passages).sum();
        let notebooks: Vec<NotebookId> = wanted.iter().map(|(notebook, _)| *notebook).collect();
        let first = wanted
            .iter()
            .find_map(|(_, archived)| archived.segments.first().copied());
        let search = self.clone();
        // In a task of its own: it goes on when the question does not wait any longer.
        let waking = tokio::spawn(async move { search.wake(placement, &notebooks, first).await });
        let Ok(done) = tokio::time::timeout(WAIT, waking).await else {
            return Err(Error::Archived {
                passages,
                wait: Duration::from_secs(1 + passages / ROWS_PER_SECOND),
            });
        };
        let woken = done.map_err(|_| Error::Interrupted)?;
        let view = self.view(placement).await?;
        match woken {
            Ok(()) => Ok((view, Vec::new())),
            Err(error) if view.passing(filter).next().is_none() => Err(error),
            Err(_) => {
                let asleep = view.archived_in(filter).into_iter();
                let asleep = asleep.flat_map(|(_, archived)| archived.segments.clone());
                Ok((view.clone(), asleep.collect()))
            }
        }
    }

    /// Brings notebooks back, unless that failed a moment ago.
    async fn wake(
        &self,
        placement: Placement,
        notebooks: &[NotebookId],
        first: Option<SegmentId>,
    ) -> Result<(), Error> {
        let slot = self.views.slot(placement);
        let mut retry_at = slot.waking.lock().await;
        let began = Instant::now();
        if let Some(segment) = first.filter(|_| retry_at.is_some_and(|at| began < at)) {
            return Err(Error::Missing { segment });
        }
        let mut done = Ok(());
        for notebook in notebooks {
            if let Err(error) = self.bring_back(placement, *notebook).await {
                tracing::error!(tenant = %placement.tenant, %notebook, %error,
                    "an archived notebook can't be brought back");
                done = Err(error);
            }
        }
        *retry_at = done.is_err().then(|| self.next_try(began));
        done
    }
}

/// What is alive in an archive.
fn survivors(segment: Arc<Segment>, located: &[Located]) -> Survivors {
    let names = |source: &Located| source.segment == Some(segment.id());
    let sources = located.iter().filter(|source| names(source));
    let sources = sources.filter_map(|source| segment.sources().of(source.source, source.version));
    Survivors {
        sources: sources.collect(),
        segment: segment.clone(),
    }
}
