//! What each way of answering takes: how far it looks, and how much of that a model is given.

use crate::router::Route;

/// The ingredients of an answer that a model writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// Passages that are looked for.
    pub(crate) passages: usize,
    /// Bytes of passages that a model is given at most; four are about one token.
    pub(crate) context_bytes: usize,
    /// Sources that are named to it with their first words.
    pub(crate) openings: usize,
    /// How the search is made deeper, where it is.
    pub(crate) depth: Option<Depth>,
}

/// How the search of a complex question is made deeper; 0 leaves a step out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Further phrasings of the question that a model is asked for.
    pub phrasings: usize,
    /// Passages of one source beyond which those of other sources come first.
    pub per_source: usize,
    /// Of how many of the best passages those right beside them are read, too.
    pub neighbours: usize,
}

/// Bytes of a source's first words.
pub(crate) const OPENING_BYTES: usize = 240;
/// Passages that a model is given to put in order, at most: the documents of one of Cohere's searches.
const MOST_CANDIDATES: usize = 100;

impl Recipe {
    /// The recipe of a way, where a simple one looks for so many passages.
    pub(crate) const fn of(route: Route, passages: usize, depth: Depth) -> Self {
        match route {
            Route::Simple => Self {
                passages,
                context_bytes: 16_000,
                openings: 0,
                depth: None,
            },
            Route::Moderate => Self {
                passages: passages * 2,
                context_bytes: 32_000,
                openings: 24,
                depth: None,
            },
            Route::Complex | Route::Batch => Self {
                passages: passages * 3,
                context_bytes: 48_000,
                openings: 24,
                depth: Some(depth),
            },
        }
    }

    /// Passages from which the best are chosen.
    pub(crate) fn candidates(&self) -> usize {
        match self.depth {
            Some(_) => (self.passages * 2).min(MOST_CANDIDATES).max(self.passages),
            None => self.passages,
        }
    }
}
