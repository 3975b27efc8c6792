//! The best rows of a segment from the postings of its terms, exactly, without scoring every posting.
//!
//! MAXSCORE over windows of rows: as soon as some terms together can't lift a row over the worst of the best so
//! far, their postings are no longer walked; they are only looked up for rows that other terms found. Source:
//! H. Turtle and J. Flood, "Query Evaluation: Strategies and Optimizations", Information Processing & Management
//! 31(6), 1995. The walked terms add to one array of sums, a term at a time, which keeps a posting at about a
//! nanosecond. Knows neither text nor which rows are whose.

use tantivy::postings::BlockSegmentPostings;
use tantivy::{DocId, TERMINATED};

use super::best::{Best, passes};
use super::bm25::TermScore;

/// Rows of a window: their sums fit the first cache of a core.
const WINDOW: usize = 4_096;
/// Sums of a window that are looked at together.
const LANES: usize = 32;

/// The postings of one term.
pub(super) struct List<'a> {
    postings: BlockSegmentPostings,
    /// The next posting of the current block.
    at: usize,
    score: &'a TermScore,
    is_required: bool,
}

impl<'a> List<'a> {
    pub(super) fn new(
        postings: BlockSegmentPostings,
        score: &'a TermScore,
        is_required: bool,
    ) -> Self {
        Self {
            postings,
            at: 0,
            score,
            is_required,
        }
    }

    /// Adds what the term is worth to the rows of a window.
    fn add(&mut self, first: DocId, lengths: &[u8], sums: &mut [u32]) {
        loop {
            let (rows, frequencies) = (self.postings.docs(), self.postings.freqs());
            let mut at = self.at;
            while let (Some(row), Some(frequency)) = (rows.get(at), frequencies.get(at)) {
                let in_window = row.wrapping_sub(first) as usize;
                let (Some(length), Some(sum)) = (lengths.get(in_window), sums.get_mut(in_window))
                else {
                    self.at = at;
                    return;
                };
                *sum += self.score.of(*frequency, *length);
                at += 1;
            }
            self.at = 0;
            if at == 0 {
                return;
            }
            self.postings.advance();
        }
    }

    /// What the term is worth to a row, nothing if it does not hold it. Rows are asked for in order.
    fn of(&mut self, row: DocId, lengths: &[u8]) -> u32 {
        self.at = self.postings.seek(row);
        if self.postings.doc(self.at) != row {
            return 0;
        }
        let length = lengths.get(row as usize).copied().unwrap_or(u8::MAX);
        self.score.of(self.postings.freq(self.at), length)
    }
}

/// The rows that hold any term, `lengths` being those of all rows.
pub(super) fn scan(
    mut lists: Vec<List<'_>>,
    lengths: &[u8],
    mask: Option<&[u32]>,
    best: &mut Best,
) {
    lists.sort_by_key(|list| list.score.bound());
    // The first lists are looked up, the others are walked.
    let mut looked_up = 0;
    let mut sums = vec![0; WINDOW.min(lengths.len())];
    let mut candidates: Vec<(DocId, u32)> = Vec::new();
    for (first, lengths_here) in (0..).step_by(WINDOW).zip(lengths.chunks(WINDOW)) {
        let mut more = bound(&lists[..looked_up]);
        while let Some(list) = lists.get(looked_up)
            && more + list.score.bound() <= best.threshold()
        {
            more += list.score.bound();
            looked_up += 1;
        }
        let (looked_up, walked) = lists.split_at_mut(looked_up);
        if walked.is_empty() {
            return;
        }
        let sums = &mut sums[..lengths_here.len()];
        sums.fill(0);
        for list in walked {
            list.add(first, lengths_here, sums);
        }
        let floor = best.threshold().saturating_sub(more);
        for (rows, sums) in (first..).step_by(LANES).zip(sums.chunks(LANES)) {
            if sums.iter().fold(0, |most, sum| most.max(*sum)) > floor {
                let rows = (rows..).zip(sums.iter().copied());
                candidates.extend(rows.filter(|(row, sum)| {
                    *sum > floor && mask.is_none_or(|mask| passes(mask, *row))
                }));
            }
        }
        for list in looked_up.iter_mut().rev() {
            candidates.retain_mut(|(row, sum)| {
                let is_possible = *sum + more > best.threshold();
                if is_possible {
                    *sum += list.of(*row, lengths);
                }
                is_possible
            });
            more -= list.score.bound();
        }
        for (row, sum) in candidates.drain(..) {
            best.push(row, sum);
        }
    }
}

fn bound(lists: &[List<'_>]) -> u32 {
    lists.iter().map(|list| list.score.bound()).sum()
}

/// Of these rows, in order, those that hold any term and all that are required.
pub(super) fn look_up(
    rows: impl Iterator<Item = DocId>,
    mut lists: Vec<List<'_>>,
    lengths: &[u8],
    best: &mut Best,
) {
    lists.sort_by_key(|list| !list.is_required);
    'rows: for row in rows {
        let mut sum = 0;
        for list in &mut lists {
            let worth = list.of(row, lengths);
            if worth == 0 && list.is_required {
                continue 'rows;
            }
            sum += worth;
        }
        best.push(row, sum);
    }
}

/// All rows of a term, ascending.
pub(super) fn rows(mut postings: BlockSegmentPostings) -> impl Iterator<Item = DocId> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == postings.docs().len() && at > 0 {
            postings.advance();
            at = 0;
        }
        let row = postings.docs().get(at).copied()?;
        at += 1;
        (row != TERMINATED).then_some(row)
    })
}
