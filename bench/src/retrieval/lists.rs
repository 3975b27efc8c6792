//! Ranked passages of one question, and other ways to make one list of two than the product's.

use std::collections::HashMap;
use std::ops::Range;

use quire_index::{Hit, Scores};
use quire_types::{PassageId, SourceId};

/// A passage that was found, without its text.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) passage: PassageId,
    pub(super) source: SourceId,
    /// Where it stands in the extracted text.
    pub(super) chars: Range<u32>,
    pub(super) scores: Scores,
}

impl Found {
    pub(super) fn of(hit: &Hit) -> Self {
        let place = &hit.passage.place;
        Self {
            passage: hit.passage.id,
            source: hit.passage.source,
            chars: place.char_start..place.char_end,
            scores: hit.scores,
        }
    }
}

/// What search answered to one question, best first.
pub(super) struct Lists {
    pub(super) lexical: Vec<Found>,
    pub(super) dense: Vec<Found>,
    pub(super) hybrid: Vec<Found>,
}

/// A way to rank.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ranking {
    Lexical,
    Dense,
    /// As the product fuses.
    Hybrid,
    /// Scores normalised by the range of the candidates, with this weight for the vectors.
    MinMax(f32),
    /// The same, but from the smallest possible score: 0 for BM25, -1 for a cosine.
    Theoretical(f32),
    /// Sums of 1 / (k + rank).
    Reciprocal(f32),
}

impl Ranking {
    /// What quire offers.
    pub(super) const MODES: [Self; 3] = [Self::Lexical, Self::Dense, Self::Hybrid];

    /// What else could be done with the same scores.
    pub(super) const VARIANTS: [Self; 14] = [
        Self::MinMax(0.3),
        Self::MinMax(0.4),
        Self::MinMax(0.5),
        Self::MinMax(0.6),
        Self::MinMax(0.65),
        Self::MinMax(0.7),
        Self::MinMax(0.75),
        Self::MinMax(0.8),
        Self::Theoretical(0.6),
        Self::Theoretical(0.7),
        Self::Theoretical(0.8),
        Self::Theoretical(0.9),
        Self::Reciprocal(20.0),
        Self::Reciprocal(60.0),
    ];

    pub(super) fn name(self) -> String {
        match self {
            Self::Lexical => "lexical (BM25)".to_owned(),
            Self::Dense => "dense (MiniLM)".to_owned(),
            Self::Hybrid => "hybrid".to_owned(),
            Self::MinMax(weight) => format!("min-max, dense {weight}"),
            Self::Theoretical(weight) => format!("theoretical minimum, dense {weight}"),
            Self::Reciprocal(k) => format!("reciprocal rank, k {k}"),
        }
    }

    /// The passages of `lists` in this order.
    pub(super) fn rank(self, lists: &Lists) -> Vec<Found> {
        match self {
            Self::Lexical => lists.lexical.clone(),
            Self::Dense => lists.dense.clone(),
            Self::Hybrid => lists.hybrid.clone(),
            Self::MinMax(weight) => {
                let union = union(lists);
                let lexical = Scale::of(union.iter().map(bm25));
                let dense = Scale::of(union.iter().map(cosine));
                convex(union, weight, lexical, dense)
            }
            Self::Theoretical(weight) => {
                let union = union(lists);
                let lexical = Scale {
                    low: 0.0,
                    ..Scale::of(union.iter().map(bm25))
                };
                let dense = Scale {
                    low: -1.0,
                    ..Scale::of(union.iter().map(cosine))
                };
                convex(union, weight, lexical, dense)
            }
            Self::Reciprocal(k) => {
                let mut sums: HashMap<PassageId, f32> = HashMap::new();
                for list in [&lists.lexical, &lists.dense] {
                    for (rank, found) in (1_u16..).zip(list) {
                        *sums.entry(found.passage).or_default() += 1.0 / (k + f32::from(rank));
                    }
                }
                let score = |found: &Found| sums.get(&found.passage).copied().unwrap_or(0.0);
                sorted(union(lists), score)
            }
        }
    }
}

/// The candidates of both paths, each once.
fn union(lists: &Lists) -> Vec<Found> {
    let mut all: HashMap<PassageId, Found> = HashMap::new();
    // Those of the lexical path know their BM25 score; the exact cosine is known on both.
    for found in lists.dense.iter().chain(&lists.lexical) {
        all.insert(found.passage, found.clone());
    }
    let mut all: Vec<Found> = all.into_values().collect();
    all.sort_by_key(|found| found.passage);
    all
}

fn bm25(found: &Found) -> f32 {
    found.scores.lexical.unwrap_or(0.0)
}

fn cosine(found: &Found) -> f32 {
    found.scores.dense
}

fn convex(union: Vec<Found>, weight: f32, lexical: Scale, dense: Scale) -> Vec<Found> {
    sorted(union, |found| {
        weight * dense.normalise(cosine(found)) + (1.0 - weight) * lexical.normalise(bm25(found))
    })
}

fn sorted(union: Vec<Found>, score: impl Fn(&Found) -> f32) -> Vec<Found> {
    let mut scored: Vec<(f32, Found)> = union
        .into_iter()
        .map(|found| (score(&found), found))
        .collect();
    scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    scored.into_iter().map(|(_, found)| found).collect()
}

#[derive(Clone, Copy)]
struct Scale {
    low: f32,
    high: f32,
}

impl Scale {
    fn of(scores: impl Iterator<Item = f32>) -> Self {
        let start = Self {
            low: f32::MAX,
            high: f32::MIN,
        };
        scores.fold(start, |scale, score| Self {
            low: scale.low.min(score),
            high: scale.high.max(score),
        })
    }

    fn normalise(self, score: f32) -> f32 {
        let range = self.high - self.low;
        if range > f32::EPSILON {
            (score - self.low) / range
        } else {
            0.0
        }
    }
}
