//! Exact search, the truth that recall is counted against: f32 products of every question with every row.
//!
//! In blocks, as matrix products. Knows no index and no approximation.

use std::fs;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::corpus::DIMENSION;
use crate::failure::Failure;

const QUERIES: usize = 256;
const ROWS: usize = 4_096;

/// How much nearer than the last of the exact ten a row may seem and still be as good: sums of 384 products in
/// another order differ by less.
const TIE: f32 = 1e-5;

/// The nearest rows of one query, best first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Nearest(pub(super) Vec<(u32, f32)>);

impl Nearest {
    fn offer(&mut self, most: usize, row: u32, score: f32) {
        if self.0.len() == most && self.0.last().is_some_and(|(_, last)| score <= *last) {
            return;
        }
        let at = self.0.partition_point(|(_, other)| *other >= score);
        self.0.insert(at, (row, score));
        self.0.truncate(most);
    }

    /// The share of the exact list that `found` has. A row as near as the last one counts as well, whoever it is;
    /// a row that is named twice counts once. 1 where nothing was to be found.
    pub(super) fn recall(&self, query: &[f32], vectors: &[f32], found: &[u32]) -> f64 {
        let Some((_, last)) = self.0.last() else {
            return 1.0;
        };
        let mut rows: Vec<u32> = found.to_vec();
        rows.sort_unstable();
        rows.dedup();
        let near = rows.iter().filter(|row| {
            let row = vectors.get(**row as usize * DIMENSION..(**row as usize + 1) * DIMENSION);
            row.is_some_and(|row| dot(query, row) >= *last - TIE)
        });
        near.count().min(self.0.len()) as f64 / self.0.len() as f64
    }
}

/// The product of two rows.
pub(super) fn dot(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(a, b)| a * b).sum()
}

/// The `most` nearest of `rows` for each of `queries`, both row after row, of those that `allowed` lets through.
pub(super) fn nearest(
    queries: &[f32],
    rows: &[f32],
    most: usize,
    allowed: impl Fn(usize) -> bool,
) -> Result<Vec<Nearest>, Failure> {
    let mut best = vec![Nearest::default(); queries.len() / DIMENSION];
    for (part, block) in rows.chunks(ROWS * DIMENSION).enumerate() {
        let count = block.len() / DIMENSION;
        let right = matrix(block)?;
        let right = right.t().map_err(Failure::doing("turning a matrix"))?;
        let pass: Vec<usize> = (0..count)
            .filter(|row| allowed(part * ROWS + row))
            .collect();
        for (asked, block) in queries.chunks(QUERIES * DIMENSION).enumerate() {
            let scores = matrix(block)?
                .matmul(&right)
                .and_then(|scores| scores.flatten_all()?.to_vec1::<f32>())
                .map_err(Failure::doing("multiplying matrices"))?;
            let lists = best[asked * QUERIES..].iter_mut();
            for (list, scores) in lists.zip(scores.chunks_exact(count)) {
                for row in &pass {
                    let number = u32::try_from(part * ROWS + row).unwrap_or(u32::MAX);
                    list.offer(most, number, scores[*row]);
                }
            }
        }
    }
    Ok(best)
}

/// As [`nearest`], kept in a file.
pub(super) fn kept(
    file: &Path,
    queries: &[f32],
    rows: &[f32],
    most: usize,
    allowed: impl Fn(usize) -> bool,
) -> Result<Vec<Nearest>, Failure> {
    let doing = || Failure::doing(file.display().to_string());
    if let Ok(text) = fs::read_to_string(file)
        && let Ok(found) = serde_json::from_str::<Vec<Nearest>>(&text)
        && found.len() * DIMENSION >= queries.len()
    {
        return Ok(found);
    }
    let found = nearest(queries, rows, most, allowed)?;
    let text = serde_json::to_string(&found).map_err(Failure::doing("writing JSON"))?;
    let beside = file.with_extension("new");
    fs::write(&beside, text).map_err(doing())?;
    fs::rename(&beside, file).map_err(doing())?;
    Ok(found)
}

fn matrix(block: &[f32]) -> Result<Tensor, Failure> {
    Tensor::from_slice(block, (block.len() / DIMENSION, DIMENSION), &Device::Cpu)
        .map_err(Failure::doing("making a matrix"))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Rows along the axes, so that scores are known: row r has the score of query component r.
    fn axes(rows: usize) -> Vec<f32> {
        let mut vectors = vec![0.0; rows * DIMENSION];
        for row in 0..rows {
            vectors[row * DIMENSION + row % DIMENSION] = 1.0;
        }
        vectors
    }

    #[test]
    fn the_nearest_are_found_across_blocks_and_masks() {
        // More than a block of rows; row 5,000 repeats axis 8, as rows 8, 392, … do.
        let rows = axes(5_001);
        let mut query = vec![0.0; DIMENSION];
        (query[8], query[3]) = (0.9, 0.4);
        let found = nearest(&query, &rows, 2, |row| row == 5_000 || row == 3 || row == 4).unwrap();
        assert_eq!(found[0].0, [(5_000, 0.9), (3, 0.4)]);
    }

    #[test]
    fn recall_counts_ties_alike_and_repeats_once() {
        let rows = axes(2 * DIMENSION);
        let mut query = vec![0.0; DIMENSION];
        (query[0], query[1]) = (0.9, 0.4);
        let truth = &nearest(&query, &rows, 3, |_| true).unwrap()[0];
        // Row 1 and its twin are equally near; one of them is among the three.
        let twin = u32::try_from(DIMENSION).unwrap();
        let recall = |found: &[u32]| truth.recall(&query, &rows, found);
        assert!((recall(&[0, twin, twin + 1]) - 1.0).abs() < 1e-9);
        assert!((recall(&[0, twin, 1]) - 1.0).abs() < 1e-9);
        assert!((recall(&[0, 0, 0]) - 1.0 / 3.0).abs() < 1e-9);
        assert!((recall(&[0, 7, 9_999]) - 1.0 / 3.0).abs() < 1e-9);
    }
}
