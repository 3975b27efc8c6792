//! A view: one tenant's searchable corpus at one version.
//!
//! It knows every source that search sees and where its rows are: in the tail or in a segment. Rows of a
//! segment that no source names are dead. A view never changes; catching up makes a new one that shares
//! what stayed the same.

mod tail;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

use quire_store::corpus::{Change, Entry};
use quire_store::passages::Indexed;
use quire_store::segments::{Located, Manifest};
use quire_types::{Groups, Language, NotebookId, SegmentId, SourceId};

use crate::mask::Mask;
use crate::segment::{Segment, SourceRows};
use crate::{Error, Filter};

pub(crate) use tail::Tail;

/// A source that search sees, and its rows.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) located: Located,
    /// Which part holds the rows: a segment by its number, or the tail after the last of them.
    part: usize,
    first_row: u32,
    rows: u32,
}

/// A tenant's corpus at one version.
pub(crate) struct View {
    pub(crate) manifest: Manifest,
    pub(crate) language: Language,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) tail: Tail,
    /// In order of their ids.
    sources: Vec<Arc<Seen>>,
    /// Passages of all of them.
    live_rows: u64,
    /// The rows that are alive in each segment and, last, in the tail; none when all are.
    alive: Vec<Option<Mask>>,
    /// Segments that could not be opened: their passages can't be found now.
    pub(crate) missing: Vec<SegmentId>,
    /// When these are tried again.
    pub(crate) retry_at: Option<Instant>,
    /// Notebooks with archives: what is in these can't be found either.
    pub(crate) archived: HashMap<NotebookId, Archived>,
}

/// What of a notebook is archived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archived {
    pub(crate) passages: u64,
    pub(crate) segments: Vec<SegmentId>,
}

/// The sources that changes brought new passages of.
pub(crate) fn added_in(changes: &[Entry]) -> HashSet<SourceId> {
    let added = changes.iter().filter(|entry| entry.change == Change::Added);
    added.map(|entry| entry.source).collect()
}

/// What a view is made of.
pub(crate) struct Contents {
    pub(crate) manifest: Manifest,
    pub(crate) language: Language,
    pub(crate) located: Vec<Located>,
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) missing: Vec<SegmentId>,
    pub(crate) retry_at: Option<Instant>,
    pub(crate) archived: HashMap<NotebookId, Archived>,
    pub(crate) tail: Vec<Indexed>,
}

impl View {
    /// A view of everything.
    pub(crate) fn new(contents: Contents) -> Self {
        let numbers: HashMap<SegmentId, usize> = (0..)
            .zip(&contents.segments)
            .map(|(number, segment)| (segment.id(), number))
            .collect();
        let mut view = Self {
            manifest: contents.manifest,
            language: contents.language,
            segments: contents.segments,
            tail: Tail::empty(contents.language),
            sources: Vec::new(),
            live_rows: 0,
            alive: Vec::new(),
            missing: contents.missing,
            retry_at: contents.retry_at,
            archived: contents.archived,
        };
        let mut in_tail = Vec::new();
        for located in contents.located {
            let Some(segment) = located.segment else {
                in_tail.push(located);
                continue;
            };
            let Some((part, segment)) = numbers
                .get(&segment)
                .and_then(|part| Some((*part, view.segments.get(*part)?)))
            else {
                continue;
            };
            if let Some(rows) = segment.sources().of(located.source, located.version) {
                view.sources.push(Arc::new(Seen {
                    part,
                    first_row: rows.first_row,
                    rows: rows.rows,
                    located,
                }));
            }
        }
        view.add_to_tail(in_tail, contents.tail);
        view.sort();
        view
    }

    /// The view after changes, which moved nothing between tail and segments. `located` are the sources that were
    /// added, or that others see now, and `added` the passages of the former.
    pub(crate) fn advance(
        &self,
        manifest: Manifest,
        changes: &[Entry],
        located: Vec<Located>,
        added: Vec<Indexed>,
    ) -> Self {
        let removed: HashSet<(SourceId, i32)> = changes
            .iter()
            .filter(|entry| entry.change == Change::Removed)
            .map(|entry| (entry.source, entry.source_version))
            .collect();
        let is_new = added_in(changes);
        let (now, regrouped): (Vec<Located>, Vec<Located>) = located
            .into_iter()
            .partition(|located| is_new.contains(&located.source));
        let now_ids: HashSet<SourceId> = now.iter().map(|located| located.source).collect();
        let stays = |seen: &&Arc<Seen>| {
            let located = &seen.located;
            !removed.contains(&(located.source, located.version))
                && !now_ids.contains(&located.source)
        };
        let regrouped: HashMap<SourceId, Located> = regrouped
            .into_iter()
            .map(|located| (located.source, located))
            .collect();
        let as_now = |seen: &Arc<Seen>| match regrouped.get(&seen.located.source) {
            Some(located) if located.version == seen.located.version => Arc::new(Seen {
                located: located.clone(),
                ..**seen
            }),
            _ => seen.clone(),
        };
        let mut view = Self {
            manifest,
            language: self.language,
            segments: self.segments.clone(),
            tail: self.tail.clone(),
            sources: self.sources.iter().filter(stays).map(as_now).collect(),
            live_rows: 0,
            alive: Vec::new(),
            missing: self.missing.clone(),
            retry_at: self.retry_at,
            archived: self.archived.clone(),
        };
        view.add_to_tail(now, added);
        view.sort();
        view
    }

    fn add_to_tail(&mut self, located: Vec<Located>, mut passages: Vec<Indexed>) {
        passages.sort_by_key(|passage| (passage.source, passage.ordinal));
        let part = self.segments.len();
        let mut first_row = self.tail.rows();
        let mut rest = passages.as_slice();
        let mut by_source: HashMap<SourceId, (i32, u32, u32)> = HashMap::new();
        while let Some(first) = rest.first() {
            let (source, version) = (first.source, first.source_version);
            let rows = rest.iter().take_while(|next| next.source == source).count();
            let count = u32::try_from(rows).unwrap_or(u32::MAX);
            by_source.insert(source, (version, first_row, count));
            first_row += count;
            rest = rest.get(rows..).unwrap_or_default();
        }
        for located in located {
            let rows = by_source.get(&located.source);
            if let Some((_, first_row, rows)) =
                rows.filter(|(version, ..)| *version == located.version)
            {
                self.sources.push(Arc::new(Seen {
                    part,
                    first_row: *first_row,
                    rows: *rows,
                    located,
                }));
            }
        }
        self.tail = self.tail.with(passages);
    }

    /// Puts sources in order, and marks what they name as alive.
    fn sort(&mut self) {
        self.sources
            .sort_unstable_by_key(|seen| seen.located.source);
        self.live_rows = self.sources.iter().map(|seen| u64::from(seen.rows)).sum();
        let masks = self.masks(&Filter::default());
        let rows = self.part_rows();
        self.alive = masks
            .into_iter()
            .zip(rows)
            .map(|(mask, rows)| (mask.count() < rows).then_some(mask))
            .collect();
    }

    /// Rows of each part, dead ones included.
    fn part_rows(&self) -> Vec<u32> {
        let segments = self.segments.iter().map(|segment| segment.rows());
        segments.chain([self.tail.rows()]).collect()
    }

    /// The rows of each segment, and how many of them are alive.
    pub(crate) fn segment_rows(&self) -> impl Iterator<Item = (u32, u32)> {
        self.segments
            .iter()
            .zip(&self.alive)
            .map(|(segment, alive)| {
                let rows = segment.rows();
                (
                    rows,
                    alive.as_ref().map_or(rows, |mask| mask.count().min(rows)),
                )
            })
    }

    /// The rows of each part that a filter lets through, alive ones only; none where that is all of them.
    pub(crate) fn open_rows(&self, filter: &Filter) -> Vec<Option<Mask>> {
        if filter.is_open() {
            self.alive.clone()
        } else {
            self.masks(filter).into_iter().map(Some).collect()
        }
    }

    fn masks(&self, filter: &Filter) -> Vec<Mask> {
        let mut masks: Vec<Mask> = self.part_rows().into_iter().map(Mask::none).collect();
        for seen in self.passing(filter) {
            if let Some(mask) = masks.get_mut(seen.part) {
                mask.open(seen.first_row, seen.rows);
            }
        }
        masks
    }

    /// The sources that a filter lets through, in order of their ids.
    pub(crate) fn passing(&self, filter: &Filter) -> impl Iterator<Item = &Seen> {
        let sources = self.sources.iter().map(AsRef::as_ref);
        sources.filter(|seen: &&Seen| filter.passes(&seen.located))
    }

    /// A source that search sees.
    pub(crate) fn source(&self, source: SourceId) -> Option<&Seen> {
        let at = self
            .sources
            .binary_search_by_key(&source, |seen| seen.located.source);
        at.ok()
            .and_then(|at| self.sources.get(at))
            .map(AsRef::as_ref)
    }

    /// The archived notebooks that a filter names.
    pub(crate) fn archived_in(&self, filter: &Filter) -> Vec<(NotebookId, &Archived)> {
        let named = filter.notebooks.iter().flatten();
        named
            .filter_map(|notebook| Some((*notebook, self.archived.get(notebook)?)))
            .collect()
    }

    /// Whether it lacks nothing, or what it lacks is not to be tried again yet.
    pub(crate) fn is_settled(&self) -> bool {
        let retry_at = self.retry_at;
        self.missing.is_empty() || retry_at.is_some_and(|at| Instant::now() < at)
    }

    /// What is alive in a segment.
    pub(crate) fn survivors(&self, segment: &Segment) -> Vec<SourceRows> {
        let is_alive = |rows: &SourceRows| {
            self.source(rows.source).is_some_and(|seen| {
                seen.located.version == rows.version && seen.located.segment == Some(segment.id())
            })
        };
        segment.sources().iter().filter(is_alive).collect()
    }

    /// Where the rows of a source are: its part, the first of them, and how many.
    pub(crate) fn rows_of(&self, seen: &Seen) -> (usize, u32, u32) {
        (seen.part, seen.first_row, seen.rows)
    }

    /// Where the rows of every source are, in order of the sources' ids.
    pub(crate) fn all_rows(&self) -> impl Iterator<Item = (usize, u32, u32)> {
        self.sources.iter().map(|seen| self.rows_of(seen))
    }

    /// Passages that can be found.
    pub(crate) fn live_rows(&self) -> u64 {
        self.live_rows
    }

    /// Roughly what the view holds in memory.
    pub(crate) fn bytes(&self) -> usize {
        let segments: usize = self.segments.iter().map(|s| s.memory_bytes()).sum();
        let names: usize = self
            .sources
            .iter()
            .map(|seen| {
                let groups = seen.located.groups.as_ref();
                seen.located.name.len() + groups.map_or(0, Groups::bytes)
            })
            .sum();
        let masks: usize = self.alive.iter().flatten().map(Mask::bytes).sum();
        let sources = self.sources.len() * (size_of::<Seen>() + size_of::<Arc<Seen>>() + 16);
        segments + self.tail.bytes() + names + sources + masks + 1_024
    }

    /// Whether so much of the tail is dead that reading everything again is better.
    pub(crate) fn needs_rebuild(&self) -> bool {
        let dead = self.alive.last().and_then(Option::as_ref);
        let dead = dead.map_or(0, |mask| self.tail.rows() - mask.count());
        dead > 500 && dead * 3 > self.tail.rows()
    }

    /// The dimension of every vector.
    pub(crate) fn check_dimension(&self, found: usize) -> Result<(), Error> {
        match self.manifest.dimension.map(i32::unsigned_abs) {
            Some(expected) if expected as usize != found => Err(Error::Dimension {
                expected: expected as usize,
                found,
            }),
            _ => Ok(()),
        }
    }
}
