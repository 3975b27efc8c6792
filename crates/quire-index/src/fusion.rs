//! One list out of two, in a way that costs neither.
//!
//! BM25 and cosine live on different scales. Both are mapped to 0..1 by the smallest and largest value
//! among the candidates of this question, then mixed by a weight. Source: S. Bruch, S. Gai and A. Ingber,
//! "An Analysis of Fusion Functions for Hybrid Retrieval", ACM TOIS 42(1), 2023, who find such a mix better
//! than reciprocal ranks. One weight for all questions loses to the better path wherever the other is poor,
//! so [`signals`] choose it for each question from what the two lists show; a path that shows nothing of use
//! gets no weight at all and leaves the order of the other alone. Knows no passage and no model.

mod signals;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::query::{Hit, Mode, Scores};
use quire_types::PassageId;
pub use signals::{Question, Signals};

/// How the two lists become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fusion {
    /// A weight for each question, from what its lists show.
    #[default]
    Adaptive,
    /// This share of the vectors, from 0 to 1, for all questions.
    Fixed(f32),
    /// Sums of 1 / (60 + rank), where scores mean nothing. Source: G. Cormack, C. Clarke and S. Büttcher,
    /// "Reciprocal Rank Fusion outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009.
    Reciprocal,
}

/// The constant of Cormack et al.
const RECIPROCAL_K: f32 = 60.0;

/// A row with its scores, best first.
pub type Ranked = (usize, Scores);

/// What decided the order of a fused list.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Explained {
    /// The share of the vectors, from 0 (BM25 alone) to 1 (vectors alone); none for reciprocal ranks.
    pub weight: Option<f32>,
    /// Why.
    pub reason: Reason,
    /// What the lists showed.
    pub signals: Signals,
}

/// Why a weight is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Only one path was asked for, or the weight was given.
    Asked,
    /// Only one path found anything.
    OnlyPath,
    /// Both paths count, by their signals.
    Mixed,
    /// The words found too little to count.
    WeakWords,
    /// The vectors show too little beside what the words found.
    WeakVectors,
}

/// The fused list, best first, and what decided its order.
#[derive(Clone, Debug, PartialEq)]
pub struct Fused {
    /// The rows.
    pub ranked: Vec<Ranked>,
    /// What decided their order.
    pub explained: Explained,
}

/// Fuses the two lists, each best first. `cosine` tells the exact cosine of any row, so that no candidate
/// lacks one; `question` is what the signals need to know besides the lists.
pub fn fuse(
    (mode, fusion): (Mode, Fusion),
    lexical: &[(usize, f32)],
    dense: &[(usize, f32)],
    cosine: impl Fn(usize) -> f32,
    question: Question,
    limit: usize,
) -> Fused {
    let explained = explain(mode, fusion, Signals::of(question, lexical, dense));
    let bm25: HashMap<usize, f32> = lexical.iter().copied().collect();
    let mut rows: Vec<usize> = match mode {
        Mode::Lexical => lexical.iter().map(|(row, _)| *row).collect(),
        Mode::Dense => dense.iter().map(|(row, _)| *row).collect(),
        Mode::Hybrid => lexical.iter().chain(dense).map(|(row, _)| *row).collect(),
    };
    rows.sort_unstable();
    rows.dedup();

    let scores: Vec<Scores> = rows
        .iter()
        .map(|row| Scores {
            fused: 0.0,
            lexical: bm25.get(row).copied(),
            dense: cosine(*row),
        })
        .collect();
    let fused: Vec<f32> = match (mode, explained.weight) {
        (Mode::Lexical, _) => scores.iter().map(words).collect(),
        (Mode::Dense, _) => scores.iter().map(|score| score.dense).collect(),
        (Mode::Hybrid, Some(weight)) => convex(&scores, weight),
        (Mode::Hybrid, None) => reciprocal(&rows, [lexical, dense]),
    };
    let mut ranked: Vec<Ranked> = rows
        .into_iter()
        .zip(scores)
        .zip(fused)
        .map(|((row, score), fused)| (row, Scores { fused, ..score }))
        .collect();
    let order = |(a_row, a): &Ranked, (b_row, b): &Ranked| {
        b.fused.total_cmp(&a.fused).then(a_row.cmp(b_row))
    };
    if limit < ranked.len() {
        ranked.select_nth_unstable_by(limit, order);
        ranked.truncate(limit);
    }
    ranked.sort_unstable_by(order);
    Fused { ranked, explained }
}

fn explain(mode: Mode, fusion: Fusion, signals: Signals) -> Explained {
    let (weight, reason) = match (mode, fusion) {
        (Mode::Lexical, _) => (Some(0.0), Reason::Asked),
        (Mode::Dense, _) => (Some(1.0), Reason::Asked),
        (Mode::Hybrid, Fusion::Reciprocal) => (None, Reason::Asked),
        (Mode::Hybrid, Fusion::Fixed(weight)) => (Some(weight.clamp(0.0, 1.0)), Reason::Asked),
        (Mode::Hybrid, Fusion::Adaptive) => {
            let (weight, reason) = signals.weight();
            (Some(weight), reason)
        }
    };
    Explained {
        weight,
        reason,
        signals,
    }
}

fn words(scores: &Scores) -> f32 {
    scores.lexical.unwrap_or(0.0)
}

/// `weight` of the normalised cosine, the rest of the normalised BM25.
fn convex(scores: &[Scores], weight: f32) -> Vec<f32> {
    let lexical = Scale::of(scores.iter().map(words));
    let dense = Scale::of(scores.iter().map(|score| score.dense));
    let mix = |score: &Scores| {
        weight * dense.normalise(score.dense) + (1.0 - weight) * lexical.normalise(words(score))
    };
    scores.iter().map(mix).collect()
}

/// Sums of reciprocal ranks, in the order of `rows`.
fn reciprocal(rows: &[usize], lists: [&[(usize, f32)]; 2]) -> Vec<f32> {
    let mut sums: HashMap<usize, f32> = HashMap::new();
    for list in lists {
        for (at, (row, _)) in list.iter().enumerate() {
            *sums.entry(*row).or_default() += of_rank(at);
        }
    }
    let sum = |row: &usize| sums.get(row).copied().unwrap_or(0.0);
    rows.iter().map(sum).collect()
}

/// What a place in a list adds, from 0.
fn of_rank(at: usize) -> f32 {
    1.0 / (RECIPROCAL_K + 1.0 + at as f32)
}

/// One list out of those that several phrasings of a question found, each best first, by sums of reciprocal
/// ranks. The first list is of the question itself and weighs more than all others together, so that nothing
/// that only other phrasings find comes before the question's own best.
pub fn merge(lists: Vec<Vec<Hit>>, limit: usize) -> Vec<Hit> {
    let own_weight = lists.len().saturating_sub(1) as f32 + 0.5;
    let mut merged: Vec<Hit> = Vec::new();
    let mut places: HashMap<PassageId, usize> = HashMap::new();
    for (number, list) in lists.into_iter().enumerate() {
        let weight = if number == 0 { own_weight } else { 1.0 };
        for (at, hit) in list.into_iter().enumerate() {
            let share = weight * of_rank(at);
            match places.get(&hit.passage.id) {
                Some(place) => merged[*place].scores.fused += share,
                None => {
                    places.insert(hit.passage.id, merged.len());
                    let scores = Scores {
                        fused: share,
                        ..hit.scores
                    };
                    merged.push(Hit { scores, ..hit });
                }
            }
        }
    }
    // A stable sort: of equal ones, what the question itself found is first.
    merged.sort_by(|a, b| b.scores.fused.total_cmp(&a.scores.fused));
    merged.truncate(limit);
    merged
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
mod tests;
