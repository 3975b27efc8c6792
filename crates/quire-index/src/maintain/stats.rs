//! What a tenant's search takes up, told from rows: no object is read.

use std::collections::HashMap;

use quire_store::Placement;
use quire_store::builds::{self, Build};
use quire_store::segments::{self, Manifest, Retired, TailSize};
use quire_store::tiers::{self, Archive};
use quire_types::{Language, SegmentId, Timestamp};

use crate::segment::{Footer, Section};
use crate::{Error, Search};

/// What a tenant's search takes up.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Version, generation, dimension and language.
    pub manifest: Manifest,
    /// What words are reduced with: the tenant's language or the installation's.
    pub language: Language,
    /// Passages in the tail, and the age of the oldest of them.
    pub tail: TailSize,
    /// The segments that search reads, oldest first.
    pub segments: Vec<SegmentStats>,
    /// Archives of notebooks, oldest first.
    pub archives: Vec<Archive>,
    /// Segments that nothing names any more and whose objects wait for the sweep, oldest first.
    pub retired: Vec<Retired>,
    /// The newest build, running or not.
    pub build: Option<Build>,
    /// What this process holds of the tenant in memory; none when it holds nothing.
    pub view_bytes: Option<usize>,
    /// Bytes of all segments on the object store, archives and retired ones included.
    pub total_bytes: i64,
}

/// A segment that search reads.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentStats {
    /// Its id.
    pub id: SegmentId,
    /// Its passages, dead ones included.
    pub rows: i64,
    /// Those that search sees.
    pub alive: i64,
    /// The size of its object.
    pub bytes: i64,
    /// Those of them that are texts; 0 when the manifest's copy of its footer is damaged.
    pub text_bytes: u64,
    /// When it was installed.
    pub created_at: Timestamp,
    /// The version of its format; none when the manifest's copy of its footer is damaged.
    pub format: Option<u32>,
    /// Whether a search looks into a part of it only.
    pub is_clustered: bool,
}

impl SegmentStats {
    /// The share of its passages that search does not see any more.
    pub fn dead_share(&self) -> f64 {
        (self.rows - self.alive) as f64 / self.rows.max(1) as f64
    }
}

impl Search {
    /// What a tenant's search takes up.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn stats(&self, placement: Placement) -> Result<Stats, Error> {
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let manifest = segments::manifest(&mut tx).await?;
        let tail = segments::tail_size(&mut tx).await?;
        let live = segments::live(&mut tx).await?;
        let alive = segments::alive(&mut tx).await?;
        let archives = tiers::archives(&mut tx, None).await?;
        let retired = segments::all_retired(&mut tx).await?;
        let build = builds::builds(&mut tx, 1).await?.pop();
        tx.commit().await?;
        let alive: HashMap<SegmentId, i64> = alive.into_iter().collect();
        let segments: Vec<SegmentStats> = live
            .into_iter()
            .map(|entry| {
                let footer = Footer::decode(&entry.footer, placement, entry.id);
                let length = |section| {
                    let footer = footer.as_ref().ok();
                    footer.map_or(0, |footer| footer.extent(section).length)
                };
                SegmentStats {
                    id: entry.id,
                    rows: entry.rows.into(),
                    alive: alive.get(&entry.id).copied().unwrap_or(0),
                    bytes: entry.bytes,
                    text_bytes: length(Section::Texts),
                    created_at: entry.created_at,
                    format: Footer::format(&entry.footer),
                    is_clustered: length(Section::Clusters) > 0,
                }
            })
            .collect();
        let view_bytes = match self.views.held(placement) {
            Some(slot) => slot.view.lock().await.as_ref().map(|view| view.bytes()),
            None => None,
        };
        let live_bytes: i64 = segments.iter().map(|segment| segment.bytes).sum();
        let archived_bytes: i64 = archives.iter().map(|archive| archive.segment.bytes).sum();
        let retired_bytes: i64 = retired.iter().map(|segment| segment.bytes).sum();
        Ok(Stats {
            language: self.language_of(&manifest),
            manifest,
            tail,
            segments,
            archives,
            retired,
            build,
            view_bytes,
            total_bytes: live_bytes + archived_bytes + retired_bytes,
        })
    }
}
