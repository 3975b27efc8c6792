//! From a query to the rows whose codes promise most. Knows codes, masks and numbers of rows, not what
//! a row is.

use crate::codes::{BLOCK_ROWS, Codes, SEGMENT_BYTES, segments_bytes};
use crate::error::{Error, check_dimension, check_length};
use crate::kernels::{self, Level};

/// The largest magnitude of a coordinate of a query: four bits.
const MAX_MAGNITUDE: u8 = 15;

/// For each of the four bits of a segment, which of the 16 outcomes have it: all ones where set.
const BIT_IS_SET: [[u8; 16]; 4] = {
    let mut masks = [[0; 16]; 4];
    let mut at = 0;
    while at < 64 {
        let (bit, outcome) = (at / 16, at % 16);
        if outcome >> bit & 1 == 1 {
            masks[bit][outcome] = u8::MAX;
        }
        at += 1;
    }
    masks
};

/// A rotated query as tables to look up.
///
/// The magnitude of each coordinate is rounded to four bits. Four coordinates and the four bits of a
/// code have 16 outcomes: the table holds, for each, the sum of the magnitudes whose sign the code
/// shares, at most 60. With `agreeing` the sum over all tables and `total` the sum of all magnitudes,
/// the inner product of query and code's signs is `scale · (2·agreeing − total)`, without a count of
/// set bits, which a query rounded between its least and its greatest coordinate would need.
#[derive(Debug, Clone)]
pub struct ScanQuery {
    dimension: usize,
    pub(crate) tables: Vec<u8>,
    pub(crate) total: i32,
    pub(crate) scale: f32,
}

impl ScanQuery {
    /// Tables of a rotated query of any length; estimates are of the inner product with it.
    ///
    /// # Errors
    /// [`Error::Dimension`].
    pub fn new(rotated: &[f32]) -> Result<Self, Error> {
        check_dimension(rotated.len())?;
        let largest = rotated.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let scale = largest / f32::from(MAX_MAGNITUDE);
        let mut tables = vec![0; segments_bytes(rotated.len())];
        let mut total = 0;
        for (table, four) in tables
            .chunks_exact_mut(SEGMENT_BYTES)
            .zip(rotated.chunks(4))
        {
            for (x, is_set) in four.iter().zip(&BIT_IS_SET) {
                let magnitude = (x.abs() / scale + 0.5) as u8;
                let magnitude = magnitude.min(MAX_MAGNITUDE);
                total += i32::from(magnitude);
                let other_sign = if *x > 0.0 { 0 } else { u8::MAX };
                for (entry, is_set) in table.iter_mut().zip(is_set) {
                    *entry += magnitude & (is_set ^ other_sign);
                }
            }
        }
        Ok(Self {
            dimension: rotated.len(),
            tables,
            total,
            scale,
        })
    }
}

/// A row that may be among the nearest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The row's number in its codes.
    pub row: u32,
    /// An unbiased estimate of the inner product of query and vector.
    pub estimate: f32,
}

impl Candidate {
    /// A number that is smaller for a better candidate: by estimate, of equal ones by row. Numbers are selected
    /// and sorted without a branch for each comparison. No estimate that is kept is not a number, since it was
    /// above a threshold.
    fn key(self) -> u64 {
        let bits = self.estimate.to_bits();
        // Negative floats are ordered backwards.
        let ascending = if bits >> 31 == 0 { bits | SIGN } else { !bits };
        u64::from(!ascending) << 32 | u64::from(self.row)
    }

    fn of_key(key: u64) -> Self {
        let ascending = !((key >> 32) as u32);
        let bits = if ascending & SIGN == 0 {
            !ascending
        } else {
            ascending & !SIGN
        };
        Self {
            row: key as u32,
            estimate: f32::from_bits(bits),
        }
    }
}

const SIGN: u32 = 1 << 31;

impl Codes<'_> {
    /// The `limit` rows with the highest estimates among `blocks`, best first; fewer if fewer may be
    /// found. All blocks are `0..codes.blocks()`; those of some clusters are their ranges, flattened. Each
    /// comes once, best in ascending order; one that does not exist is left out.
    ///
    /// `mask` has a word for each block of the codes: row `32·block + bit` may be found if the bit is
    /// set; a block without bits, or without a word, is not read. Every `level` finds the same.
    ///
    /// # Errors
    /// [`Error::Length`] if query and codes have different dimensions.
    pub fn scan(
        &self,
        query: &ScanQuery,
        blocks: impl IntoIterator<Item = usize>,
        mask: Option<&[u32]>,
        limit: usize,
        level: Level,
    ) -> Result<Vec<Candidate>, Error> {
        check_length("coordinates of a query", query.dimension, self.dimension)?;
        let mut best = Best::new(limit.min(self.rows));
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut estimates = [0.0; BLOCK_ROWS];
        for block in blocks.into_iter().filter(|&block| block < self.blocks()) {
            let may = match mask {
                Some(mask) => mask.get(block).copied().unwrap_or(0),
                None => u32::MAX,
            };
            let mut rows = may & self.filled(block);
            if rows == 0 {
                continue;
            }
            let bytes = self.block(block);
            if !kernels::estimate(level, query, bytes, best.threshold, &mut estimates) {
                continue;
            }
            while rows != 0 {
                let row = rows.trailing_zeros();
                rows &= rows - 1;
                let estimate = estimates[row as usize];
                if estimate > best.threshold {
                    let row = (block * BLOCK_ROWS) as u32 + row;
                    best.push(Candidate { row, estimate });
                }
            }
        }
        Ok(best.finish())
    }

    /// A bit for each row of the block that is one.
    fn filled(&self, block: usize) -> u32 {
        match self.rows - block * BLOCK_ROWS {
            0..BLOCK_ROWS => (1 << (self.rows % BLOCK_ROWS)) - 1,
            _ => u32::MAX,
        }
    }
}

/// The best of a stream: twice as many as wanted are gathered, then the worse half goes and the bar
/// rises. Cheaper than a heap, since most rows fall at the bar.
struct Best {
    limit: usize,
    /// Only what is above can still be among the best.
    threshold: f32,
    /// Keys of candidates.
    found: Vec<u64>,
}

impl Best {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            threshold: f32::NEG_INFINITY,
            found: Vec::with_capacity(2 * limit),
        }
    }

    fn push(&mut self, candidate: Candidate) {
        self.found.push(candidate.key());
        if self.found.len() >= 2 * self.limit {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.found.len() > self.limit {
            let (_, last, _) = self.found.select_nth_unstable(self.limit - 1);
            self.threshold = Candidate::of_key(*last).estimate;
            self.found.truncate(self.limit);
        }
    }

    fn finish(mut self) -> Vec<Candidate> {
        self.cut();
        self.found.sort_unstable();
        self.found.into_iter().map(Candidate::of_key).collect()
    }
}
