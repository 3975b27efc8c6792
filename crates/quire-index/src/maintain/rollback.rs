//! Putting the segments back that a rebuild took the place of.

use std::collections::HashMap;

use uuid::Uuid;

use quire_store::Placement;
use quire_store::builds;
use quire_store::segments::{self, Located};
use quire_types::{ErrorKind, Kind, SegmentId, SourceId};

use super::RebuildError;
use super::check;
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
}

impl Search {
    /// Undoes the newest rebuild: what was in the old segments and is still the same is read from there again,
    /// wherever it has moved since; what was published later stays where it is. Every byte of the old
    /// segments is checked before.
    ///
    /// # Errors
    /// [`RebuildError::NoBuild`] and [`RebuildError::Gone`]; those of the stores. Nothing has changed then.
    pub async fn rollback(&self, placement: Placement) -> Result<RolledBack, RebuildError> {
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let build = builds::newest_switched(&mut tx).await?;
        let build = build.ok_or(RebuildError::NoBuild)?;
        let kept = segments::kept(&mut tx, &build.old).await?;
        let located = segments::located(&mut tx, None).await?;
        tx.commit().await?;
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
                .map_err(|error| match error.kind() {
                    ErrorKind::Unavailable | ErrorKind::Timeout => RebuildError::Search(error),
                    _ => RebuildError::Gone {
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
        })
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
