//! What searches read, and what the segments in memory are like: sums over tenants, none of which is named.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::Search;

/// What searches of this process read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchTotals {
    /// Searches that were answered.
    pub searches: u64,
    /// Bytes of segments that had to be read for them from the store or its copies on local disk: blocks, and
    /// what opening a segment takes.
    pub cold_bytes: u64,
}

/// Counts searches and what they read.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    searches: AtomicU64,
    cold_bytes: AtomicU64,
}

impl Counts {
    pub(crate) fn searched(&self) {
        self.searches.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.cold_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Segments of about the same size that views in memory hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeClass {
    /// Its name, after the passages that a segment has at the most.
    pub name: &'static str,
    /// How many there are.
    pub segments: u64,
    /// Their passages, dead ones included.
    pub rows: u64,
    /// Those that search does not see any more.
    pub dead_rows: u64,
}

/// The classes: name, and passages that a segment has less than.
const CLASSES: [(&str, u32); 4] = [
    ("1k", 1_000),
    ("10k", 10_000),
    ("100k", 100_000),
    ("more", u32::MAX),
];

impl Search {
    /// What searches read so far.
    pub fn totals(&self) -> SearchTotals {
        SearchTotals {
            searches: self.counts.searches.load(Ordering::Relaxed),
            cold_bytes: self.counts.cold_bytes.load(Ordering::Relaxed),
        }
    }

    /// The segments that are open, by size: those of the tenants whose corpus is in memory. Asks nobody; a tenant
    /// that is catching up right now is left out.
    pub fn open_segments(&self) -> [SizeClass; CLASSES.len()] {
        let mut classes = CLASSES.map(|(name, _)| SizeClass {
            name,
            segments: 0,
            rows: 0,
            dead_rows: 0,
        });
        for view in self.views.current() {
            for (rows, alive) in view.segment_rows() {
                let at = CLASSES.iter().position(|(_, most)| rows < *most);
                if let Some(class) = at.and_then(|at| classes.get_mut(at)) {
                    class.segments += 1;
                    class.rows += u64::from(rows);
                    class.dead_rows += u64::from(rows - alive);
                }
            }
        }
        classes
    }
}
