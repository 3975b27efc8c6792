//! Putting the segments back that a rebuild took the place of.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use quire_store::builds::{self, Build};
use quire_store::embeddings;
use quire_store::segments::{self, Located};
use quire_store::{Placement, tiers};
use quire_types::{SegmentId, SourceId};

use super::check;
use super::{Rebuild, RebuildError, is_passing};
use crate::Search;
use crate::segment::SourceRows;
use crate::view::View;

/// What a rollback did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolledBack {
    /// The build that was undone.
    pub build: Uuid,
    /// The segments that search may read again.
    pub segments: Vec<SegmentId>,
    /// Passages that moved back to them.
    pub moved: i64,
    /// Passages that the model of before has to embed first: what was published since.
    pub to_embed: i64,
    /// The build that is to do so, after which it switches; none when everything is done.
    pub going_on: Option<Uuid>,
}

impl Search {
    /// Undoes the newest rebuild: what was in the old segments and is still the same is read from there again,
    /// wherever it has moved since; what was published later or archived stays where it is. Every byte of the old
    /// segments is checked before. After a build that embedded anew, what was published later has to be embedded
    /// by the model of before, and the build that does so switches when it has.
    ///
    /// # Errors
    /// [`RebuildError::NoBuild`] and [`RebuildError::Gone`]; those of the stores. Nothing has changed then.
    pub async fn rollback(&self, placement: Placement) -> Result<RolledBack, RebuildError> {
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let build = builds::newest_switched(&mut tx).await?;
        let build = build.ok_or(RebuildError::NoBuild)?;
        if build.embedding.is_some() {
            tx.commit().await?;
            return Box::pin(self.undo_embedding(placement, build)).await;
        }
        let kept = segments::kept(&mut tx, &build.old).await?;
        let mut located = segments::located(&mut tx, None).await?;
        let archives = tiers::archives(&mut tx, None).await?;
        tx.commit().await?;
        // What was archived since stays so.
        let archives: HashSet<SegmentId> = archives.iter().map(|one| one.segment.id).collect();
        located.retain(|one| {
            one.segment
                .is_none_or(|segment| !archives.contains(&segment))
        });
        let is_kept = |id: &&SegmentId| kept.iter().any(|entry| entry.id == **id);
        if let Some(segment) = build.old.iter().find(|id| !is_kept(id)) {
            return Err(RebuildError::Gone {
                segment: Some(*segment),
            });
        }
        let located: HashMap<SourceId, Located> = located
            .into_iter()
            .map(|located| (located.source, located))
            .collect();
        let view = self.view(placement).await?;
        let mut versions: Vec<(SourceId, i32, SegmentId)> = Vec::new();
        for entry in &kept {
            let segment = check::read(self.store.objects(), placement, entry)
                .await
                .map_err(|error| match is_passing(&error) {
                    true => RebuildError::Search(error),
                    false => RebuildError::Gone {
                        segment: Some(entry.id),
                    },
                })?;
            let same = |rows: &SourceRows| {
                let located = located.get(&rows.source);
                located.is_some_and(|located| is_same(&view, located, rows))
            };
            let same = segment.sources().iter().filter(same);
            versions.extend(same.map(|rows| (rows.source, rows.version, segment.id())));
        }
        let mut tx = self.store.tenant(placement).await?;
        let moved = builds::restore(&mut tx, build.id, &versions).await?;
        let moved = moved.ok_or(RebuildError::Gone { segment: None })?;
        tx.commit().await?;
        Ok(RolledBack {
            build: build.id,
            segments: build.old,
            moved,
            to_embed: 0,
            going_on: None,
        })
    }

    /// The way back from a build that embedded anew: what is still as it was is in the old segments, with the old
    /// vectors; the rest has to be embedded by the old model. Switches at once where there is no such rest.
    async fn undo_embedding(
        &self,
        placement: Placement,
        undone: Build,
    ) -> Result<RolledBack, RebuildError> {
        let id = self.begin(placement, undone.embedding_before, Some(undone.id));
        let id = id.await?;
        let view = self.view(placement).await?;
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let kept = segments::kept(&mut tx, &undone.old).await?;
        let located = segments::located(&mut tx, None).await?;
        tx.commit().await?;
        let located: HashMap<SourceId, Located> =
            located.into_iter().map(|one| (one.source, one)).collect();
        for entry in kept {
            let segment = match check::read(self.store.objects(), placement, &entry).await {
                Ok(segment) => segment,
                Err(error) if is_passing(&error) => return Err(error.into()),
                // What is lost is embedded anew.
                Err(_) => continue,
            };
            if segment.is_archive() {
                continue;
            }
            let same = segment.sources().iter().filter(|rows| {
                let located = located.get(&rows.source);
                located.is_some_and(|located| is_same(&view, located, rows))
            });
            let places: Vec<(SourceId, i32, SegmentId)> = same
                .map(|rows| (rows.source, rows.version, entry.id))
                .collect();
            let mut tx = self.store.tenant(placement).await?;
            embeddings::adopt(&mut tx, id, &[entry.id], &places).await?;
            tx.commit().await?;
        }
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let missing = embeddings::missing(&mut tx, id, i64::MAX).await?;
        tx.commit().await?;
        let mut back = RolledBack {
            build: undone.id,
            segments: undone.old,
            moved: 0,
            to_embed: missing.iter().map(|one| i64::from(one.passages)).sum(),
            going_on: Some(id),
        };
        if missing.is_empty() {
            let any = Rebuild {
                least_recall: 0.0,
                ..Rebuild::default()
            };
            if let Some(switched) = self.switch_embedding(placement, id, any, &[]).await? {
                back.moved = switched.moved;
                back.going_on = None;
            }
        }
        Ok(back)
    }
}

/// Whether a version in an old segment is what search sees now: the same passages, and not those of the same
/// version read again.
fn is_same(view: &View, located: &Located, old: &SourceRows) -> bool {
    let Some(now) = located.segment.filter(|_| located.version == old.version) else {
        return false;
    };
    match view.segments.iter().find(|segment| segment.id() == now) {
        Some(segment) => {
            let now = segment.sources().of(old.source, old.version);
            now.is_some_and(|now| (now.first_passage, now.rows) == (old.first_passage, old.rows))
        }
        // What can't be opened is what the old segments are wanted for.
        None => located.passages.unsigned_abs() == old.rows,
    }
}
