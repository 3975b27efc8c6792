//! One list out of two: a convex combination of normalised scores.
//!
//! BM25 and cosine live on different scales. Both are mapped to 0..1 by the smallest and largest value
//! among the candidates of this question, then mixed with a fixed weight. Source: S. Bruch, S. Gai and
//! A. Ingber, "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 42(1), 2023, who find
//! it better than reciprocal ranks and robust in the choice of weight.

use std::collections::HashMap;

use crate::query::{Mode, Scores};

/// The share of the vector path, chosen by measurement: see docs/benchmarks.md.
const DENSE_WEIGHT: f32 = 0.65;

/// A row with its scores, best first.
pub(crate) type Ranked = (usize, Scores);

/// Fuses the two lists, each best first. `cosine` tells the exact cosine of any row, so that no
/// candidate lacks one.
pub(crate) fn fuse(
    mode: Mode,
    lexical: &[(usize, f32)],
    dense: &[(usize, f32)],
    cosine: impl Fn(usize) -> f32,
    limit: usize,
) -> Vec<Ranked> {
    let bm25: HashMap<usize, f32> = lexical.iter().copied().collect();
    let mut rows: Vec<usize> = match mode {
        Mode::Lexical => lexical.iter().map(|(row, _)| *row).collect(),
        Mode::Dense => dense.iter().map(|(row, _)| *row).collect(),
        Mode::Hybrid => lexical.iter().chain(dense).map(|(row, _)| *row).collect(),
    };
    rows.sort_unstable();
    rows.dedup();

    let cosines: Vec<f32> = rows.iter().map(|row| cosine(*row)).collect();
    let lexical_scale = Scale::of(rows.iter().map(|row| bm25.get(row).copied().unwrap_or(0.0)));
    let dense_scale = Scale::of(cosines.iter().copied());
    let mut ranked: Vec<Ranked> = rows
        .iter()
        .zip(&cosines)
        .map(|(row, cosine)| {
            let lexical = bm25.get(row).copied();
            let fused = match mode {
                Mode::Lexical => lexical.unwrap_or(0.0),
                Mode::Dense => *cosine,
                Mode::Hybrid => {
                    DENSE_WEIGHT * dense_scale.normalise(*cosine)
                        + (1.0 - DENSE_WEIGHT) * lexical_scale.normalise(lexical.unwrap_or(0.0))
                }
            };
            (
                *row,
                Scores {
                    fused,
                    lexical,
                    dense: *cosine,
                },
            )
        })
        .collect();
    // Rows are in order of insertion, so equal scores have a stable order.
    ranked.sort_by(|(a_row, a), (b_row, b)| b.fused.total_cmp(&a.fused).then(a_row.cmp(b_row)));
    ranked.truncate(limit);
    ranked
}

/// The range of the candidates' scores on one path.
struct Scale {
    low: f32,
    high: f32,
}

impl Scale {
    fn of(scores: impl Iterator<Item = f32>) -> Self {
        scores.fold(
            Self {
                low: f32::MAX,
                high: f32::MIN,
            },
            |scale, score| Self {
                low: scale.low.min(score),
                high: scale.high.max(score),
            },
        )
    }

    fn normalise(&self, score: f32) -> f32 {
        let range = self.high - self.low;
        if range > f32::EPSILON {
            (score - self.low) / range
        } else {
            // Candidates that can't be told apart are all as good as the best, unless there is nothing.
            f32::from(self.high > 0.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(mode: Mode) -> Vec<usize> {
        let cosines = [0.9, 0.8, 0.1, 0.2];
        let dense = [(0, 0.9), (1, 0.8)];
        let lexical = [(2, 12.0), (1, 11.0)];
        fuse(mode, &lexical, &dense, |row| cosines[row], 10)
            .into_iter()
            .map(|(row, _)| row)
            .collect()
    }

    #[test]
    fn what_both_paths_like_comes_first() {
        assert_eq!(order(Mode::Hybrid), [1, 0, 2]);
    }

    #[test]
    fn a_single_path_keeps_its_own_order() {
        assert_eq!(order(Mode::Lexical), [2, 1]);
        assert_eq!(order(Mode::Dense), [0, 1]);
    }

    #[test]
    fn equal_scores_and_empty_lists_are_no_problem() {
        assert!(fuse(Mode::Hybrid, &[], &[], |_| 0.0, 10).is_empty());
        let same = fuse(Mode::Hybrid, &[], &[(3, 0.5), (1, 0.5)], |_| 0.5, 10);
        assert_eq!(same.iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 3]);
    }
}
