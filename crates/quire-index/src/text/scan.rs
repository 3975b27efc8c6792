//! The best rows of a segment from the postings of its terms, exactly, without scoring every posting.
//!
//! MAXSCORE over windows of rows: as soon as some terms together can't lift a row over the worst of the best so
//! far, their postings are no longer walked; they are only looked up for rows that other terms found. Source:
//! H. Turtle and J. Flood, "Query Evaluation: Strategies and Optimizations", Information Processing & Management
//! 31(6), 1995. The walked terms add to one array of sums, a term at a time, which keeps a posting at about a
//! nanosecond. Knows neither text nor which rows are whose.

use tantivy::postings::BlockSegmentPostings;
use tantivy::{DocId, TERMINATED};

use super::best::Best;
use super::bm25::TermScore;
use crate::mask;

/// Rows of a window: their sums fit the first cache of a core.
const WINDOW: usize = 4_096;
/// Sums of a window that are looked at together.
const LANES: usize = 32;
/// Looking a row up in the postings of a term takes as long as walking so many of them.
const LOOK_UP: usize = 16;

/// The postings of one term.
pub(super) struct List<'a> {
    postings: BlockSegmentPostings,
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
            score,
            is_required,
        }
    }

    /// Adds what the term is worth to all rows of the window that begins with `first`. Windows come in order.
    fn add(&mut self, first: DocId, lengths: &[u8; WINDOW], sums: &mut [u32; WINDOW]) {
        let end = first.saturating_add(WINDOW as u32);
        let mut at = self.postings.seek(first);
        loop {
            let rows = self.postings.docs();
            let stop = match rows.last() {
                None => return,
                Some(last) if *last < end => rows.len(),
                Some(_) => rows.partition_point(|row| *row < end),
            };
            let here = rows.get(at..stop).unwrap_or_default();
            let frequencies = self.postings.freqs().iter().skip(at);
            for (row, frequency) in here.iter().zip(frequencies) {
                let place = (row - first) as usize % WINDOW;
                sums[place] += self.score.of(*frequency, lengths[place]);
            }
            if stop < rows.len() {
                return;
            }
            self.postings.advance();
            at = 0;
        }
    }

    /// What the term is worth to a row, nothing if it does not hold it. Rows are asked for in order.
    fn of(&mut self, row: DocId, length: u8) -> u32 {
        let at = self.postings.seek(row);
        if self.postings.doc(at) != row {
            return 0;
        }
        self.score.of(self.postings.freq(at), length)
    }

    /// How many of its rows a window of a segment of so many rows has, on average.
    fn expected(&self, rows: usize) -> usize {
        self.postings.doc_freq() as usize * WINDOW / rows.max(1)
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
    // The first lists together can't make a row one of the best.
    let (mut common, mut common_bound) = (0, 0);
    let mut window = Box::new(([0_u8; WINDOW], [0_u32; WINDOW]));
    let (lengths_here, sums) = &mut *window;
    let mut candidates: Vec<usize> = Vec::new();
    for (first, part) in (0..).step_by(WINDOW).zip(lengths.chunks(WINDOW)) {
        while let Some(list) = lists.get(common)
            && common_bound + list.score.bound() <= best.threshold()
        {
            common_bound += list.score.bound();
            common += 1;
        }
        if common == lists.len() {
            return;
        }
        lengths_here[..part.len()].copy_from_slice(part);
        sums.fill(0);
        for list in &mut lists[common..] {
            list.add(first, lengths_here, sums);
        }
        // Where many rows may still become one of the best, walking is faster than looking each of them up.
        let (mut looked_up, mut more) = (common, common_bound);
        let promising = count_above(sums, best.threshold().saturating_sub(more));
        while let Some(list) = lists[..looked_up].last_mut()
            && promising * LOOK_UP > list.expected(lengths.len())
        {
            list.add(first, lengths_here, sums);
            more -= list.score.bound();
            looked_up -= 1;
        }
        collect_above(sums, best.threshold().saturating_sub(more), &mut candidates);
        let row = |place: usize| first + place as u32;
        candidates.retain(|place| mask.is_none_or(|mask| mask::has(mask, row(*place))));
        for list in lists[..looked_up].iter_mut().rev() {
            candidates.retain(|place| sums[place % WINDOW] + more > best.threshold());
            for place in &candidates {
                sums[place % WINDOW] += list.of(row(*place), lengths_here[place % WINDOW]);
            }
            more -= list.score.bound();
        }
        for place in candidates.drain(..) {
            best.push(row(place), sums[place % WINDOW]);
        }
    }
}

/// Sums stay below 2³¹, and signed numbers are what every x86-64 compares several of at once.
fn is_above(sum: u32, floor: u32) -> bool {
    sum.cast_signed() > floor.cast_signed()
}

fn count_above(sums: &[u32; WINDOW], floor: u32) -> usize {
    let above = sums.iter().map(|sum| u32::from(is_above(*sum, floor)));
    above.sum::<u32>() as usize
}

/// The places of the sums above a floor, in order. Most have none near: lanes are looked at together, and
/// taken without a branch for each.
fn collect_above(sums: &[u32; WINDOW], floor: u32, places: &mut Vec<usize>) {
    for (first, lanes) in (0..).step_by(LANES).zip(sums.as_chunks::<LANES>().0) {
        if !lanes
            .iter()
            .fold(false, |any, sum| any | is_above(*sum, floor))
        {
            continue;
        }
        let (mut found, mut count) = ([0; LANES], 0);
        for (place, sum) in (first..).zip(lanes) {
            found[count % LANES] = place;
            count += usize::from(is_above(*sum, floor));
        }
        places.extend_from_slice(&found[..count]);
    }
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
        let length = lengths.get(row as usize).copied().unwrap_or_default();
        let mut sum = 0;
        for list in &mut lists {
            let worth = list.of(row, length);
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
