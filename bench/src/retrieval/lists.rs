//! Ranked passages of one question, and the lists that the product would make of the same two paths if it
//! were asked for another way to fuse.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use quire_index::{Explained, Fusion, Hit, Mode, Question, Scores};
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
    /// Why the hybrid list is in its order.
    pub(super) explained: Option<Explained>,
}

/// A way to rank.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ranking {
    Lexical,
    Dense,
    /// As the product fuses when nothing else is asked.
    Hybrid,
    /// As the product fuses when this is asked; computed from the two lists.
    Fused(Fusion),
}

impl Ranking {
    /// What quire does, and what it could be asked to do.
    pub(super) const USUAL: [Self; 5] = [
        Self::Lexical,
        Self::Dense,
        Self::Fused(Fusion::Fixed(0.65)),
        Self::Fused(Fusion::Reciprocal),
        Self::Hybrid,
    ];

    /// Other weights.
    pub(super) const VARIANTS: [Self; 7] = [
        Self::Fused(Fusion::Fixed(0.2)),
        Self::Fused(Fusion::Fixed(0.35)),
        Self::Fused(Fusion::Fixed(0.5)),
        Self::Fused(Fusion::Fixed(0.6)),
        Self::Fused(Fusion::Fixed(0.7)),
        Self::Fused(Fusion::Fixed(0.8)),
        Self::Fused(Fusion::Fixed(0.9)),
    ];

    pub(super) fn name(self) -> String {
        match self {
            Self::Lexical => "lexical (BM25)".to_owned(),
            Self::Dense => "dense (MiniLM)".to_owned(),
            Self::Hybrid | Self::Fused(Fusion::Adaptive) => "adaptive".to_owned(),
            Self::Fused(Fusion::Fixed(weight)) => format!("fixed, dense {weight}"),
            Self::Fused(Fusion::Reciprocal) => "reciprocal rank".to_owned(),
        }
    }

    /// The passages of `lists` in this order.
    pub(super) fn rank(self, lists: &Lists) -> Vec<Found> {
        match self {
            Self::Lexical => lists.lexical.clone(),
            Self::Dense => lists.dense.clone(),
            Self::Hybrid => lists.hybrid.clone(),
            Self::Fused(fusion) => fused(fusion, lists),
        }
    }
}

/// The lists as the product fuses them.
fn fused(fusion: Fusion, lists: &Lists) -> Vec<Found> {
    // Those of the lexical path know their BM25 score; the exact cosine is known on both.
    let all: BTreeMap<PassageId, &Found> = lists
        .dense
        .iter()
        .chain(&lists.lexical)
        .map(|found| (found.passage, found))
        .collect();
    let rows: HashMap<PassageId, usize> = all.keys().copied().zip(0..).collect();
    let all: Vec<&Found> = all.into_values().collect();
    let list = |found: &[Found], score: fn(&Found) -> f32| -> Vec<(usize, f32)> {
        let row = |found: &Found| Some((*rows.get(&found.passage)?, score(found)));
        found.iter().filter_map(row).collect()
    };
    let ranked = quire_index::fuse(
        (Mode::Hybrid, fusion),
        &list(&lists.lexical, |found| found.scores.lexical.unwrap_or(0.0)),
        &list(&lists.dense, |found| found.scores.dense),
        |row| all.get(row).map_or(0.0, |found| found.scores.dense),
        // Only the adaptive weight needs to know the question, and that ranking is searched for.
        Question::default(),
        usize::MAX,
    );
    let found = ranked.ranked.iter();
    found
        .filter_map(|(row, _)| all.get(*row).map(|found| (*found).clone()))
        .collect()
}
