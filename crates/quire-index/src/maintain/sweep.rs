//! Removing objects that nothing needs: those of segments that were retired a while ago, and those that no
//! row has ever named or names any more.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use quire_store::segments::{self, Retired};
use quire_store::{ObjectEntry, ObjectKey, Placement};
use quire_store::{builds, erasure};
use quire_types::{SegmentId, Timestamp};

use crate::segment::key;
use crate::{Error, Search};

/// What a sweep removed, or would remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Retired segments.
    pub retired: Vec<SegmentId>,
    /// Objects that no row names.
    pub orphans: Vec<ObjectEntry>,
    /// Originals that no row names now. They go when a sweep after the window finds them so again: their
    /// rows may have gone a moment ago, and bytes outlive their rows by a grace.
    pub noted: Vec<ObjectEntry>,
    /// Bytes of retired segments, of orphans, and of files that writes left over that were cut off.
    pub bytes: u64,
}

impl Search {
    /// Removes the objects of segments that were retired before the window, and objects of the tenant that no row
    /// names and that are older than the window, and what writes left over that were cut off. The window must be
    /// longer than any search, upload or fold takes, and as long as a rollback is to be possible. A dry run changes
    /// nothing and says what would happen. `now` is the time of the database.
    ///
    /// # Errors
    /// Those of the stores. What is gone is gone; the rest is for the next sweep.
    pub async fn sweep(
        &self,
        placement: Placement,
        now: Timestamp,
        window: Duration,
        is_dry: bool,
    ) -> Result<Swept, Error> {
        let objects = self.store.objects();
        let Some(before) = chrono::Duration::from_std(window)
            .ok()
            .and_then(|window| now.checked_sub_signed(window))
        else {
            return Ok(Swept::default());
        };
        // Objects before rows: whatever is named after it was listed is found among the rows.
        let mut entries = objects.entries(placement).await?;
        entries.retain(|entry| entry.modified < before);
        entries.sort_by(|a, b| a.key.cmp(&b.key));

        let mut tx = self.store.tenant(placement).await?;
        // A build that is as good as dead must not name what is removed below.
        builds::expire_builds(&mut tx, before).await?;
        let named = segments::known(&mut tx).await?;
        let named: HashSet<ObjectKey> = named.iter().map(|id| key(placement, *id)).collect();
        let (originals, others): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .filter(|entry| !named.contains(&entry.key))
            .filter_map(|entry| Some((area(&entry.key)?, entry)))
            .partition(|(area, _)| *area == Area::Originals);
        let originals: Vec<ObjectEntry> = originals.into_iter().map(|(_, entry)| entry).collect();
        let keys: Vec<ObjectKey> = originals.iter().map(|entry| entry.key.clone()).collect();
        let unnamed: Vec<ObjectKey> = erasure::unnamed(&mut tx, &keys).await?;
        let first_found: HashMap<ObjectKey, Timestamp> =
            erasure::orphans(&mut tx).await?.into_iter().collect();
        erasure::note_orphans(&mut tx, &unnamed, now).await?;
        let mut retired: Vec<Retired> = segments::condemn(&mut tx, before).await?;
        retired.sort_unstable_by_key(|segment| (segment.retired_at, segment.id));
        // Without a commit nothing of that has happened.
        if !is_dry {
            tx.commit().await?;
        }

        let unnamed: HashSet<ObjectKey> = unnamed.into_iter().collect();
        let (lasting, noted): (Vec<_>, Vec<_>) = originals
            .into_iter()
            .filter(|entry| unnamed.contains(&entry.key))
            .partition(|entry| first_found.get(&entry.key).is_some_and(|at| *at < before));
        let mut orphans: Vec<ObjectEntry> = others.into_iter().map(|(_, entry)| entry).collect();
        orphans.extend(lasting);
        let retired_bytes: u64 = retired.iter().map(|one| one.bytes.unsigned_abs()).sum();
        let orphan_bytes: u64 = orphans.iter().map(|entry| entry.size_bytes).sum();
        let torn_bytes = objects.remove_torn(placement, before, is_dry).await?;
        let swept = Swept {
            retired: retired.iter().map(|one| one.id).collect(),
            orphans,
            noted,
            bytes: retired_bytes + orphan_bytes + torn_bytes,
        };
        if !is_dry {
            self.remove(placement, &swept).await?;
        }
        Ok(swept)
    }

    async fn remove(&self, placement: Placement, swept: &Swept) -> Result<(), Error> {
        let objects = self.store.objects();
        for id in &swept.retired {
            objects.delete(&key(placement, *id)).await?;
        }
        for entry in &swept.orphans {
            objects.delete(&entry.key).await?;
        }
        // Rows last: as long as there is an object, a row says what it is.
        let mut tx = self.store.tenant(placement).await?;
        segments::forget(&mut tx, &swept.retired).await?;
        Ok(tx.commit().await?)
    }
}

/// Where an object lies below its tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Area {
    Segments,
    Staging,
    Originals,
}

/// The area of an object; none for what a sweep must not touch.
fn area(key: &ObjectKey) -> Option<Area> {
    // t/<tenant>/<incarnation>/<area>/<name>
    match key.as_str().split('/').nth(3)? {
        "segments" => Some(Area::Segments),
        "staging" => Some(Area::Staging),
        "originals" => Some(Area::Originals),
        _ => None,
    }
}
