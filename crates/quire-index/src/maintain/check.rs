//! Whether a tenant's segments are whole, and giving up those that are not.

use std::collections::HashMap;
use std::sync::Arc;

use quire_store::segments::{self, Located, Manifest};
use quire_store::{Objects, Placement, TenantTx, tiers};
use quire_types::{ErrorKind, Kind, SegmentId, SourceId};

use super::recall;
use crate::segment::{Segment, SegmentError};
use crate::view::{Contents, View};
use crate::{Error, Search, blocking};

/// What is wrong with a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Its object is not there.
    #[error("its object is gone")]
    Missing,
    /// Its bytes are not what was written.
    #[error("{0}")]
    Damaged(String),
    /// It is whole, but lacks passages of sources that name it.
    #[error("it lacks passages of {} sources that name it", .0.len())]
    Lacks(Vec<SourceId>),
    /// Another quire or somebody else wrote it, so nothing is known of its bytes.
    #[error("{0}")]
    Foreign(String),
    /// The object store did not answer, so nothing is known of its bytes.
    #[error("{0}")]
    Unreachable(String),
}

impl Problem {
    /// Whether its passages can only come back by reading their sources again.
    pub fn is_loss(&self) -> bool {
        matches!(self, Self::Missing | Self::Damaged(_) | Self::Lacks(_))
    }

    fn of(error: &Error) -> Self {
        match error {
            Error::Store(quire_store::Error::NotFound { .. }) => Self::Missing,
            Error::Segment {
                source: SegmentError::Version { .. } | SegmentError::Foreign,
                ..
            } => Self::Foreign(error.to_string()),
            error => match error.kind() {
                ErrorKind::Unavailable | ErrorKind::Timeout => Self::Unreachable(error.to_string()),
                _ => Self::Damaged(error.to_string()),
            },
        }
    }
}

/// A segment that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentCheck {
    /// Its id.
    pub id: SegmentId,
    /// Its passages, dead ones included.
    pub rows: i32,
    /// What is wrong with it; none when it is sound.
    pub problem: Option<Problem>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The segments that search reads, oldest first, then archives.
    pub segments: Vec<SegmentCheck>,
    /// Sources whose passages in the tail are not as many as they should be.
    pub tail: Vec<SourceId>,
    /// Questions that were compared.
    pub questions: usize,
    /// The share of the best ten passages that search finds, over all questions; none when there was
    /// nothing to compare. Segments with a problem take no part.
    pub recall: Option<f64>,
}

impl Verified {
    /// Whether nothing is wrong with what is stored. Says nothing about recall.
    pub fn is_sound(&self) -> bool {
        self.tail.is_empty() && self.segments.iter().all(|check| check.problem.is_none())
    }
}

/// What was given up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mended {
    /// The segments, and why.
    pub segments: Vec<(SegmentId, Problem)>,
    /// Sources that left search, with the version that is to be read again. They are queued in their rows;
    /// the tasks are the caller's.
    pub sources: Vec<(SourceId, i32)>,
    /// Segments that could not be judged; nothing happened to them.
    pub unknown: Vec<(SegmentId, Problem)>,
}

/// Segments that were read from the store just now.
struct Checked {
    checks: Vec<SegmentCheck>,
    /// Those that search reads and that have no problem.
    sound: Vec<Arc<Segment>>,
}

impl Search {
    /// Reads every byte of every segment and archive, compares the sources with what is in them, and
    /// asks so many questions both the normal way and exactly. Nothing is taken from memory but blocks.
    ///
    /// # Errors
    /// Those of the database. What is wrong with segments is in the answer.
    pub async fn verify(&self, placement: Placement, questions: usize) -> Result<Verified, Error> {
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let manifest = segments::manifest(&mut tx).await?;
        let entries = kept(&mut tx).await?;
        let located = segments::located(&mut tx, None).await?;
        let tail = crate::search::read_tail(&mut tx, None).await?;
        tx.commit().await?;
        let Checked { checks, sound } = check(
            self.store.objects(),
            placement,
            &manifest,
            &entries,
            &located,
        )
        .await;
        let of_tail: Vec<(SourceId, i32)> = located
            .iter()
            .filter(|source| source.segment.is_none())
            .map(|source| (source.source, source.passages))
            .collect();
        let contents = Contents {
            language: self.language_of(&manifest),
            manifest,
            located,
            segments: sound,
            missing: Vec::new(),
            retry_at: None,
            archived: HashMap::new(),
            tail,
        };
        let view = Arc::new(blocking(move || Ok(View::new(contents))).await?);
        let rows_of = |source| view.source(source).map_or(0, |seen| view.rows_of(seen).2);
        let tail = of_tail
            .into_iter()
            .filter(|(source, passages)| rows_of(*source) != passages.unsigned_abs())
            .map(|(source, _)| source)
            .collect();
        let io = self.io(placement);
        let (questions, _) = recall::questions(&view, &io, &[], questions).await?;
        Ok(Verified {
            segments: checks,
            tail,
            questions: questions.len(),
            recall: recall::recall(&view, &io, questions).await?,
        })
    }

    /// The segments and archives that have a problem; reads every byte of all of them.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn problems(&self, placement: Placement) -> Result<Vec<(SegmentId, Problem)>, Error> {
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let manifest = segments::manifest(&mut tx).await?;
        let entries = kept(&mut tx).await?;
        let located = segments::located(&mut tx, None).await?;
        tx.commit().await?;
        let checked = check(
            self.store.objects(),
            placement,
            &manifest,
            &entries,
            &located,
        )
        .await;
        let checks = checked.checks.into_iter();
        Ok(checks
            .filter_map(|check| Some((check.id, check.problem?)))
            .collect())
    }

    /// Gives up the segments that are lost: their sources leave search and are queued to be read again from
    /// their originals, all in one transaction. A segment that can't be reached, or that another quire
    /// wrote, stays.
    ///
    /// # Errors
    /// Those of the database; nothing has changed then.
    pub async fn mend(&self, placement: Placement) -> Result<Mended, Error> {
        let (lost, unknown): (Vec<_>, Vec<_>) = self
            .problems(placement)
            .await?
            .into_iter()
            .partition(|(_, problem)| problem.is_loss());
        let mut sources = Vec::new();
        if !lost.is_empty() {
            let mut tx = self.store.tenant(placement).await?;
            for (id, _) in &lost {
                sources.extend(segments::give_up(&mut tx, *id).await?);
            }
            tx.commit().await?;
        }
        Ok(Mended {
            segments: lost,
            sources,
            unknown,
        })
    }
}

/// The segments that search reads, and archives.
async fn kept(tx: &mut TenantTx) -> Result<Vec<segments::Segment>, Error> {
    let mut entries = segments::live(tx).await?;
    let archives = tiers::archives(tx, None).await?;
    entries.extend(archives.into_iter().map(|archive| archive.segment));
    Ok(entries)
}

async fn check(
    objects: &Objects,
    placement: Placement,
    manifest: &Manifest,
    entries: &[segments::Segment],
    located: &[Located],
) -> Checked {
    let (mut checks, mut sound) = (Vec::with_capacity(entries.len()), Vec::new());
    // One after another: each may take much memory, and nobody waits.
    for entry in entries {
        let problem = match read(objects, placement, entry).await {
            Err(error) => Some(Problem::of(&error)),
            Ok(segment) => {
                let problem = disagreement(&segment, manifest, entry, located);
                if problem.is_none() && !segment.is_archive() {
                    sound.push(segment);
                }
                problem
            }
        };
        checks.push(SegmentCheck {
            id: entry.id,
            rows: entry.rows,
            problem,
        });
    }
    Checked { checks, sound }
}

/// Opens a segment and reads all of it.
pub(super) async fn read(
    objects: &Objects,
    placement: Placement,
    entry: &segments::Segment,
) -> Result<Arc<Segment>, Error> {
    let segment = Segment::open(objects, placement, entry).await?;
    segment.verify(objects).await?;
    Ok(segment)
}

/// What rows and a whole segment say differently.
fn disagreement(
    segment: &Segment,
    manifest: &Manifest,
    entry: &segments::Segment,
    located: &[Located],
) -> Option<Problem> {
    let damaged = |what: &str| Some(Problem::Damaged(what.to_owned()));
    let dimension = i32::try_from(segment.recipe().dimension).ok();
    if dimension != Some(entry.dimension) || manifest.dimension != dimension {
        return damaged("its vectors have another dimension than the corpus");
    }
    if u32::try_from(entry.rows) != Ok(segment.rows()) {
        return damaged("it has not as many passages as the manifest says");
    }
    let mut next_row = 0;
    let mut last: Option<SourceId> = None;
    for rows in segment.sources().iter() {
        if rows.first_row != next_row || last.is_some_and(|last| last >= rows.source) {
            return damaged("its table of sources is out of order");
        }
        next_row += rows.rows;
        last = Some(rows.source);
    }
    if next_row != segment.rows() {
        return damaged("its table of sources leaves passages out");
    }
    let lacking: Vec<SourceId> = located
        .iter()
        .filter(|source| source.segment == Some(segment.id()))
        .filter(|source| {
            let rows = segment.sources().of(source.source, source.version);
            rows.map(|rows| rows.rows) != u32::try_from(source.passages).ok()
        })
        .map(|source| source.source)
        .collect();
    (!lacking.is_empty()).then_some(Problem::Lacks(lacking))
}
