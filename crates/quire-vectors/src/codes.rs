//! One bit per coordinate: how codes lie in bytes. Knows neither queries nor where the bytes live.
//!
//! A block holds 32 rows. Coordinates are taken four at a time; such a segment is 16 bytes, whose
//! byte `j` holds four bits of row `j` (low) and four of row `j + 16` (high), coordinate `4s + b` at
//! bit `b`. After the segments come 32 factors of four bytes. The coordinates are filled up with zeros
//! to a multiple of 64, and the last block with rows of zeros.

use crate::error::{Error, check_dimension, check_length};
use crate::kernels::{self, Level};
use crate::rescore::split;

/// Rows in a block: what one word of a mask speaks of.
pub const BLOCK_ROWS: usize = 32;

/// Coordinates of a segment.
pub(crate) const SEGMENT_COORDINATES: usize = 4;

/// Bytes of a segment: four coordinates of each row of a block.
pub(crate) const SEGMENT_BYTES: usize = BLOCK_ROWS / 2;

const FACTOR_BYTES: usize = size_of::<f32>();

/// Bytes of the segments of a block, without the factors.
pub(crate) fn segments_bytes(dimension: usize) -> usize {
    dimension.next_multiple_of(64) / SEGMENT_COORDINATES * SEGMENT_BYTES
}

/// Bytes of a block of 32 codes: 1,664 at 384 coordinates, so 52 for each row.
pub fn block_bytes(dimension: usize) -> usize {
    segments_bytes(dimension) + BLOCK_ROWS * FACTOR_BYTES
}

/// Makes codes of rotated vectors, in the order in which they are pushed.
#[derive(Debug, Clone)]
pub struct CodesBuilder {
    dimension: usize,
    rows: usize,
    bytes: Vec<u8>,
}

impl CodesBuilder {
    /// A builder without rows.
    ///
    /// # Errors
    /// [`Error::Dimension`].
    pub fn new(dimension: usize) -> Result<Self, Error> {
        check_dimension(dimension)?;
        Ok(Self {
            dimension,
            rows: 0,
            bytes: Vec::new(),
        })
    }

    /// How many rows were pushed.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds the code of a rotated vector. Its length counts in estimates: give unit vectors where the
    /// cosine is meant.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn push(&mut self, rotated: &[f32]) -> Result<(), Error> {
        check_length("coordinates of a vector", rotated.len(), self.dimension)?;
        let (block, row) = self.next_row();
        let shift = row / SEGMENT_BYTES * 4;
        for (segment, four) in block.chunks_exact_mut(SEGMENT_BYTES).zip(rotated.chunks(4)) {
            let nibble = (0u8..)
                .zip(four)
                .fold(0, |nibble, (bit, &x)| nibble | u8::from(x > 0.0) << bit);
            segment[row % SEGMENT_BYTES] |= nibble << shift;
        }
        set_factor(block, row, factor(rotated));
        Ok(())
    }

    /// The bytes of all blocks: what [`Codes::new`] takes.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// The block of the next row, made if it is the first in it, and the row's place there.
    fn next_row(&mut self) -> (&mut [u8], usize) {
        let length = block_bytes(self.dimension);
        let row = self.rows % BLOCK_ROWS;
        if row == 0 {
            self.bytes.resize(self.bytes.len() + length, 0);
        }
        self.rows += 1;
        let start = self.bytes.len() - length;
        (&mut self.bytes[start..], row)
    }
}

/// What turns "sum of the query's coordinates with the signs of the code" into an unbiased estimate of
/// the inner product: 1/(√D·⟨ō, o⟩) for a unit vector o with code ō, which is 1/Σ|oᵢ|; times the squared
/// length for any other vector. Zero where there is nothing to estimate.
fn factor(rotated: &[f32]) -> f32 {
    let (sum, squares) = rotated.iter().fold((0.0, 0.0), |(sum, squares), x| {
        (sum + x.abs(), squares + x * x)
    });
    let factor: f32 = squares / sum;
    if factor.is_finite() { factor } else { 0.0 }
}

fn set_factor(block: &mut [u8], row: usize, factor: f32) {
    let start = block.len() - (BLOCK_ROWS - row) * FACTOR_BYTES;
    block[start..start + FACTOR_BYTES].copy_from_slice(&factor.to_le_bytes());
}

/// Codes that lie in bytes of somebody else, for example of a file in memory.
#[derive(Debug, Clone, Copy)]
pub struct Codes<'a> {
    pub(crate) dimension: usize,
    pub(crate) rows: usize,
    bytes: &'a [u8],
}

impl<'a> Codes<'a> {
    /// Takes the bytes of `rows` codes. Whether their content is sound is for a checksum to say; any
    /// content is safe to scan.
    ///
    /// # Errors
    /// [`Error::Dimension`], [`Error::Rows`], [`Error::Length`] when bytes are missing or left over.
    pub fn new(dimension: usize, rows: usize, bytes: &'a [u8]) -> Result<Self, Error> {
        check_dimension(dimension)?;
        let expected = u32::try_from(rows)
            .ok()
            .and_then(|_| {
                rows.div_ceil(BLOCK_ROWS)
                    .checked_mul(block_bytes(dimension))
            })
            .ok_or(Error::Rows(rows))?;
        check_length("bytes of codes", bytes.len(), expected)?;
        Ok(Self {
            dimension,
            rows,
            bytes,
        })
    }

    /// How many codes there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many blocks of 32 rows there are; the last one may be filled in part.
    pub fn blocks(&self) -> usize {
        self.rows.div_ceil(BLOCK_ROWS)
    }

    /// The inner product of a query with a vector, given where its code is and its row without the signs, which
    /// the code holds.
    ///
    /// # Errors
    /// [`Error::Length`] for another dimension, [`Error::Row`].
    pub fn dot(
        &self,
        query: &[f32],
        code: usize,
        unsigned_row: &[u8],
        level: Level,
    ) -> Result<f32, Error> {
        check_length("coordinates of a query", query.len(), self.dimension)?;
        let (magnitudes, unit) = split(unsigned_row, self.dimension)?;
        let (segments, place) = self.place(code)?;
        Ok(kernels::dot_signed(level, query, magnitudes, segments, place) * unit)
    }

    /// Appends the signs that a code holds, which makes a row of one without signs.
    ///
    /// # Errors
    /// [`Error::Row`].
    pub fn push_signs(&self, code: usize, row: &mut Vec<u8>) -> Result<(), Error> {
        let (segments, place) = self.place(code)?;
        let shift = place / SEGMENT_BYTES * SEGMENT_COORDINATES;
        let (segments, _) = segments.as_chunks::<SEGMENT_BYTES>();
        let (pairs, _) = segments.as_chunks::<2>();
        let four = |segment: &[u8; SEGMENT_BYTES]| segment[place % SEGMENT_BYTES] >> shift & 0x0F;
        let bytes = pairs.iter().map(|[low, high]| four(low) | four(high) << 4);
        row.extend(bytes.take(self.dimension / 8));
        Ok(())
    }

    /// The segments of a row's block, and its place there.
    fn place(&self, row: usize) -> Result<(&'a [u8], usize), Error> {
        if row >= self.rows {
            return Err(Error::Row {
                row,
                rows: self.rows,
            });
        }
        let segments = &self.block(row / BLOCK_ROWS)[..segments_bytes(self.dimension)];
        Ok((segments, row % BLOCK_ROWS))
    }

    pub(crate) fn block(&self, block: usize) -> &'a [u8] {
        let length = block_bytes(self.dimension);
        &self.bytes[block * length..(block + 1) * length]
    }
}
