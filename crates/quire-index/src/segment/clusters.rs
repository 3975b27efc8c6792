//! The order of codes and vectors in a large segment: by cluster, so that a search reads a part of them.
//!
//! An inverted file (IVF): k-means over the vectors, lists in order of their centroids. Codes stay what
//! they are in a small segment, so one scan serves both: with clusters it gets the blocks of the
//! lists whose centroids are nearest to the question, without them all blocks. Source: Sivic and
//! Zisserman, "Video Google", ICCV 2003; Jégou, Douze and Schmid, "Product Quantization for Nearest
//! Neighbor Search", TPAMI 33(1), 2011.

use std::ops::Range;

use quire_vectors::Centroids;

use super::BLOCK_ROWS;
use super::format::Reader;
use crate::{Error, mask};

/// Fewer rows than this are scanned faster than chosen from.
pub(crate) const MIN_ROWS: u32 = 500_000;
/// Rows to a cluster, on average.
const CLUSTER_ROWS: usize = 1_000;
/// Rows that k-means learns from, per cluster.
const SAMPLE_ROWS: usize = 64;
const ITERATIONS: usize = 8;
/// The share of the clusters that a search looks into, and at least so many. Measured: docs/benchmarks.md.
const PROBED_SHARE: f32 = 0.5;
const PROBED_LEAST: usize = 64;

/// The order that rows have by cluster.
pub(crate) struct Order {
    centroids: Centroids,
    /// Where each list starts, and the end.
    starts: Vec<u32>,
    /// The row at each position.
    pub(crate) rows: Vec<u32>,
}

/// The order for rows of quantised vectors; none when there are fewer than `least_rows`.
pub(crate) fn order(
    vectors: &[u8],
    dimension: usize,
    seed: u64,
    least_rows: u32,
) -> Result<Option<Order>, Error> {
    let row_bytes = quire_vectors::row_bytes(dimension);
    let rows = vectors.len() / row_bytes;
    if rows < (least_rows as usize).max(CLUSTER_ROWS) {
        return Ok(None);
    }
    let clusters = rows / CLUSTER_ROWS;
    let step = (rows / (clusters * SAMPLE_ROWS)).max(1);
    let sample = floats(vectors.chunks_exact(row_bytes).step_by(step), dimension)?;
    let centroids = quire_vectors::train(&sample, dimension, clusters, ITERATIONS, seed)?;
    drop(sample);
    let mut assigned: Vec<u32> = Vec::with_capacity(rows);
    // Bounded pieces: as floats, all of them would take four times the room.
    for piece in vectors.chunks(row_bytes * 65_536) {
        let piece = floats(piece.chunks_exact(row_bytes), dimension)?;
        assigned.extend(centroids.assign_all(&piece)?);
    }
    let mut starts = vec![0_u32; clusters + 1];
    for cluster in &assigned {
        if let Some(count) = starts.get_mut(*cluster as usize + 1) {
            *count += 1;
        }
    }
    for at in 1..starts.len() {
        starts[at] += starts[at - 1];
    }
    let mut next = starts.clone();
    let mut order = vec![0_u32; rows];
    for (row, cluster) in (0_u32..).zip(&assigned) {
        if let Some(next) = next.get_mut(*cluster as usize)
            && let Some(place) = order.get_mut(*next as usize)
        {
            *place = row;
            *next += 1;
        }
    }
    Ok(Some(Order {
        centroids,
        starts,
        rows: order,
    }))
}

fn floats<'a>(rows: impl Iterator<Item = &'a [u8]>, dimension: usize) -> Result<Vec<f32>, Error> {
    let mut floats = Vec::new();
    let mut vector = vec![0.0; dimension];
    for row in rows {
        quire_vectors::dequantise(row, &mut vector)?;
        floats.extend_from_slice(&vector);
    }
    Ok(floats)
}

impl Order {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let parts: [Vec<u8>; 3] = [
            self.centroids.to_bytes(),
            words(&self.starts),
            words(&self.rows),
        ];
        for part in parts {
            bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
            bytes.extend(part);
        }
        bytes
    }
}

/// The clusters of an open segment.
pub(crate) struct Clusters {
    centroids: Centroids,
    starts: Vec<u32>,
    /// The row at each position.
    rows: Vec<u32>,
    /// The position of each row.
    positions: Vec<u32>,
}

impl Clusters {
    /// The clusters in a section; an empty one has none.
    pub(crate) fn decode(bytes: &[u8], rows: usize) -> Option<Self> {
        let mut reader = Reader(bytes);
        let centroids = Centroids::from_bytes(reader.bytes()?).ok()?;
        let words = |bytes: &[u8]| -> Vec<u32> {
            let words = bytes.as_chunks().0.iter();
            words.map(|word| u32::from_le_bytes(*word)).collect()
        };
        let starts = words(reader.bytes()?);
        let order = words(reader.bytes()?);
        let mut positions = vec![u32::MAX; rows];
        for (position, row) in (0_u32..).zip(&order) {
            *positions.get_mut(*row as usize)? = position;
        }
        let is_whole = order.len() == rows
            && starts.is_sorted()
            && starts.last().copied() == u32::try_from(rows).ok()
            && !positions.contains(&u32::MAX);
        is_whole.then_some(Self {
            centroids,
            starts,
            rows: order,
            positions,
        })
    }

    pub(crate) fn row(&self, position: u32) -> Option<u32> {
        self.rows.get(position as usize).copied()
    }

    pub(crate) fn position(&self, row: u32) -> Option<u32> {
        self.positions.get(row as usize).copied()
    }

    /// Blocks of the lists nearest to the question, in order and without overlap.
    pub(crate) fn blocks(&self, query: &[f32]) -> Result<Vec<Range<usize>>, Error> {
        let lists = self.starts.len().saturating_sub(1);
        let share = (lists as f32 * PROBED_SHARE) as usize;
        let nearest = self
            .centroids
            .nearest(query, share.max(PROBED_LEAST).min(lists))?;
        let mut lists: Vec<usize> = nearest.iter().map(|(list, _)| *list as usize).collect();
        lists.sort_unstable();
        let mut blocks: Vec<Range<usize>> = Vec::new();
        for list in lists {
            let (Some(start), Some(end)) = (self.starts.get(list), self.starts.get(list + 1))
            else {
                continue;
            };
            let start = *start as usize / BLOCK_ROWS;
            let end = (*end as usize).div_ceil(BLOCK_ROWS);
            match blocks.last_mut() {
                Some(last) if last.end >= start => last.end = last.end.max(end),
                _ => blocks.push(start..end),
            }
        }
        Ok(blocks)
    }

    /// A mask over positions, from one over rows. Costs as much as the fewer of its rows: those that it lets through, or
    /// those that it holds back.
    pub(crate) fn mask(&self, rows: &[u32]) -> Vec<u32> {
        let lets_most = mask::count(rows) * 2 > self.rows.len();
        let (all, flip) = match lets_most {
            true => (u32::MAX, u32::MAX),
            false => (0, 0),
        };
        let mut mask = vec![all; self.rows.len().div_ceil(BLOCK_ROWS)];
        if let Some(last) = mask.last_mut()
            && !self.rows.len().is_multiple_of(BLOCK_ROWS)
        {
            *last &= (1 << (self.rows.len() % BLOCK_ROWS)) - 1;
        }
        for (block, word) in (0_u32..).zip(rows) {
            let mut odd = word ^ flip;
            while odd != 0 {
                let row = block * BLOCK_ROWS as u32 + odd.trailing_zeros();
                odd &= odd - 1;
                if let Some(position) = self.position(row)
                    && let Some(word) = mask.get_mut(position as usize / BLOCK_ROWS)
                {
                    *word ^= 1 << (position as usize % BLOCK_ROWS);
                }
            }
        }
        mask
    }

    pub(crate) fn bytes(&self) -> usize {
        self.centroids.count() * self.centroids.dimension() * 4
            + (self.starts.len() + 2 * self.rows.len()) * 4
    }
}
