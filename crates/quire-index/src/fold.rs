//! Moving passages: from the tail into a segment, and from several segments into one.
//!
//! A segment is built, written down as one that nothing names, and stored; then one transaction makes sources
//! name it. A process that ends before that leaves what the sweep removes, one that ends after
//! it leaves nothing to do. Two processes may do the same work at once: whoever comes second moves
//! nothing. Decides nothing about when; that is for the task that calls.

use std::collections::HashSet;
use std::time::Duration;

use quire_store::passages::Indexed;
use quire_store::segments::{self, Located, Manifest};
use quire_store::{Placement, segments::TailSize};
use quire_types::{SegmentId, SourceId};

use crate::segment::{
    Built, MIN_CLUSTERED_ROWS, Recipe, SegmentWriter, Stored, Survivors, key, merge,
};
use crate::view::View;
use crate::{Error, Search, blocking};

/// When passages move.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoldPolicy {
    /// A tail of so many rows is folded at once.
    pub tail_rows: u32,
    /// An older tail is folded although it is small.
    pub tail_age: Duration,
    /// A tail of fewer rows stays: a file would cost more than it saves.
    pub least_rows: u32,
    /// Rows of a folded segment, about; the rest becomes another.
    pub segment_rows: u32,
    /// A segment of so many rows is searched by clusters: a part of it, which is faster and may miss something.
    pub cluster_rows: u32,
    /// More segments than this are merged.
    pub segments: usize,
    /// A segment with a larger share of dead rows is written again.
    pub dead_share: f64,
}

impl Default for FoldPolicy {
    fn default() -> Self {
        Self {
            tail_rows: 2_000,
            tail_age: Duration::from_mins(15),
            least_rows: 300,
            segment_rows: 200_000,
            cluster_rows: MIN_CLUSTERED_ROWS,
            segments: 4,
            dead_share: 0.2,
        }
    }
}

impl FoldPolicy {
    /// Whether a tail is to be folded.
    pub fn is_due(&self, tail: TailSize) -> bool {
        let is_old = tail
            .age_s
            .is_some_and(|age| age >= self.tail_age.as_secs_f64());
        tail.rows >= i64::from(self.tail_rows)
            || (tail.rows >= i64::from(self.least_rows) && is_old)
    }
}

/// What moving passages did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Folded {
    /// Passages that moved out of the tail.
    pub folded: i64,
    /// Passages that moved from segments into another.
    pub merged: i64,
    /// Bytes written to the object store.
    pub written_bytes: u64,
    /// How old the oldest passage of the tail was when its fold began; none where the tail was not due.
    pub lag: Option<Duration>,
}

/// Rows of the tail that are read at a time.
const WINDOW_ROWS: usize = 2_000;

impl Search {
    /// Moves the whole tail of a tenant into segments, whether that is due or not, then merges what is
    /// due.
    ///
    /// # Errors
    /// Those of reading and writing. What was installed before stays.
    pub async fn fold(&self, placement: Placement) -> Result<Folded, Error> {
        let mut done = Folded::default();
        loop {
            let mut tx = self.store.tenant_snapshot(placement).await?;
            let located = segments::located(&mut tx, None).await?;
            let manifest = segments::manifest(&mut tx).await?;
            tx.commit().await?;
            let tail: Vec<Located> = located
                .into_iter()
                .filter(|source| source.segment.is_none() && source.passages > 0)
                .collect();
            let Some(recipe) = self.recipe(&manifest).filter(|_| !tail.is_empty()) else {
                break;
            };
            let moved = self.fold_some(placement, recipe, &tail, &mut done).await?;
            if moved == 0 {
                break;
            }
        }
        self.merge_all(placement, &mut done).await?;
        Ok(done)
    }

    /// Moves the tail if the policy says so, and merges what is due in either case.
    ///
    /// # Errors
    /// Those of [`Search::fold`].
    pub async fn fold_due(&self, placement: Placement) -> Result<Folded, Error> {
        let mut tx = self.store.tenant(placement).await?;
        let tail = segments::tail_size(&mut tx).await?;
        tx.commit().await?;
        if self.config.fold.is_due(tail) {
            let done = self.fold(placement).await?;
            let lag = tail
                .age_s
                .and_then(|age| Duration::try_from_secs_f64(age).ok());
            return Ok(Folded { lag, ..done });
        }
        let mut done = Folded::default();
        self.merge_all(placement, &mut done).await?;
        Ok(done)
    }

    async fn merge_all(&self, placement: Placement, done: &mut Folded) -> Result<(), Error> {
        self.merge_due(placement, done).await?;
        self.merge_archives(placement, done).await
    }

    /// When passages move.
    pub fn fold_policy(&self) -> &FoldPolicy {
        &self.config.fold
    }

    /// Moves as many sources as a segment takes. Returns how many passages moved.
    async fn fold_some(
        &self,
        placement: Placement,
        recipe: Recipe,
        tail: &[Located],
        done: &mut Folded,
    ) -> Result<i64, Error> {
        let mut writer = SegmentWriter::new(placement, recipe)?;
        let mut rest = tail;
        while !rest.is_empty() && writer.rows() < self.config.fold.segment_rows {
            let mut rows = 0;
            let end = rest.iter().position(|source| {
                rows += source.passages.unsigned_abs() as usize;
                rows > WINDOW_ROWS
            });
            let (window, after) = rest.split_at(end.unwrap_or(rest.len()).max(1));
            let ids: Vec<SourceId> = window.iter().map(|source| source.source).collect();
            // A transaction for each window: none is held while words are counted.
            let mut tx = self.store.tenant_snapshot(placement).await?;
            let passages = crate::search::read_tail(&mut tx, Some(&ids)).await?;
            tx.commit().await?;
            let window = window.to_vec();
            writer = blocking(move || {
                write(&mut writer, &window, passages)?;
                Ok(writer)
            })
            .await?;
            rest = after;
        }
        if writer.rows() == 0 {
            return Ok(0);
        }
        let built = blocking(move || writer.finish()).await?;
        done.written_bytes += built.bytes();
        let stored = self.put(placement, built).await?;
        let moved = self.install(placement, &stored, None).await?;
        done.folded += moved;
        Ok(moved)
    }

    /// How the next segment of a tenant is made; none before its first passage.
    pub(crate) fn recipe(&self, manifest: &Manifest) -> Option<Recipe> {
        Some(Recipe {
            dimension: manifest.dimension?.unsigned_abs() as usize,
            rotation_seed: self.store.rotation_seed(),
            language: self.language_of(manifest),
            cluster_rows: self.config.fold.cluster_rows,
            is_archive: false,
        })
    }

    /// Stores a segment that is to be installed.
    pub(crate) async fn put(&self, placement: Placement, built: Built) -> Result<Stored, Error> {
        let mut tx = self.store.tenant(placement).await?;
        segments::note(&mut tx, &built.new_segment()).await?;
        tx.commit().await?;
        built.store(self.store.objects()).await
    }

    /// Removes a segment that was stored and not installed. After an error nobody could know whether it was,
    /// so then it is left to the sweep.
    pub(crate) async fn take_back(&self, placement: Placement, id: SegmentId) -> Result<(), Error> {
        self.store.objects().delete(&key(placement, id)).await?;
        let mut tx = self.store.tenant(placement).await?;
        segments::forget(&mut tx, &[id]).await?;
        Ok(tx.commit().await?)
    }

    async fn install(
        &self,
        placement: Placement,
        stored: &Stored,
        from: Option<&[SegmentId]>,
    ) -> Result<i64, Error> {
        let mut tx = self.store.tenant(placement).await?;
        let moved = segments::install(&mut tx, &stored.new, &stored.versions, from).await?;
        tx.commit().await?;
        if moved == 0 {
            // Somebody else was first.
            self.take_back(placement, stored.new.id).await?;
        }
        Ok(moved)
    }

    /// Merges segments as the policy says, until nothing is due.
    async fn merge_due(&self, placement: Placement, done: &mut Folded) -> Result<(), Error> {
        // A segment that can't be read must not keep the others from being merged.
        let mut unreadable: HashSet<SegmentId> = HashSet::new();
        loop {
            let view = self.view(placement).await?;
            let chosen = chosen(&view, &self.config.fold, &unreadable);
            if chosen.is_empty() {
                let mut tx = self.store.tenant(placement).await?;
                segments::retire_unnamed(&mut tx).await?;
                return Ok(tx.commit().await?);
            }
            match self.merge(placement, &view, &chosen, done).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error @ (Error::Segment { segment, .. } | Error::Missing { segment })) => {
                    tracing::error!(tenant = %placement.tenant, %segment, %error,
                        "a segment can't be merged; 'quire index mend' reads its sources again");
                    unreadable.insert(segment);
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn merge(
        &self,
        placement: Placement,
        view: &View,
        chosen: &[Survivors],
        done: &mut Folded,
    ) -> Result<i64, Error> {
        let Some(recipe) = self.recipe(&view.manifest) else {
            return Ok(0);
        };
        let io = self.io(placement);
        let Some(built) = merge(&io, placement, recipe, chosen, |_| {}).await? else {
            return Ok(0);
        };
        done.written_bytes += built.bytes();
        let stored = self.put(placement, built).await?;
        let from: Vec<SegmentId> = chosen.iter().map(|part| part.segment.id()).collect();
        let moved = self.install(placement, &stored, Some(&from)).await?;
        done.merged += moved;
        Ok(moved)
    }
}

/// Adds the passages of these sources, whose versions may have been replaced since.
fn write(
    writer: &mut SegmentWriter,
    sources: &[Located],
    mut passages: Vec<Indexed>,
) -> Result<(), Error> {
    passages.sort_by_key(|passage| (passage.source, passage.ordinal));
    for source in sources {
        let start = passages.partition_point(|passage| passage.source < source.source);
        let end = passages.partition_point(|passage| passage.source <= source.source);
        let own = passages.get(start..end).unwrap_or_default();
        let is_same = own.iter().all(|one| one.source_version == source.version);
        let Some(first) = own.first().filter(|_| is_same) else {
            continue;
        };
        let rows = u32::try_from(own.len()).unwrap_or(u32::MAX);
        writer.source(source.source, source.version, first.id, rows);
        for passage in own {
            writer.push(
                &passage.context,
                &passage.body,
                &passage.place,
                &passage.embedding,
            )?;
        }
    }
    Ok(())
}

/// The segments that are to become one.
fn chosen(view: &View, policy: &FoldPolicy, unreadable: &HashSet<SegmentId>) -> Vec<Survivors> {
    let mut parts: Vec<(u32, Survivors)> = view
        .segments
        .iter()
        .map(|segment| {
            let sources = view.survivors(segment);
            let alive = sources.iter().map(|rows| rows.rows).sum();
            let segment = segment.clone();
            (alive, Survivors { segment, sources })
        })
        .filter(|(alive, part)| *alive > 0 && !unreadable.contains(&part.segment.id()))
        .collect();
    parts.sort_by_key(|(alive, part)| (*alive, part.segment.id()));
    let too_many = parts.len().saturating_sub(policy.segments.max(1));
    if too_many > 0 {
        // The smallest, and every further one that is no larger than what is merged anyway: so a passage is
        // written again only when what it is in at least doubles.
        let mut sum = 0;
        let mut count = 0;
        for (alive, _) in &parts {
            if count > too_many && *alive > sum {
                break;
            }
            sum += alive;
            count += 1;
        }
        parts.truncate(count);
        return parts.into_iter().map(|(_, part)| part).collect();
    }
    let worn = |(alive, part): &(u32, Survivors)| {
        let rows = part.segment.rows();
        f64::from(rows - alive) > policy.dead_share * f64::from(rows)
    };
    parts
        .into_iter()
        .filter(worn)
        .map(|(_, part)| part)
        .collect()
}
