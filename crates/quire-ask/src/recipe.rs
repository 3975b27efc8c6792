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
}

/// Bytes of a source's first words.
pub(crate) const OPENING_BYTES: usize = 240;

impl Recipe {
    /// The recipe of a way, where a simple one looks for so many passages.
    pub(crate) const fn of(route: Route, passages: usize) -> Self {
        match route {
            Route::Simple => Self {
                passages,
                context_bytes: 16_000,
                openings: 0,
            },
            Route::Moderate => Self {
                passages: passages * 2,
                context_bytes: 32_000,
                openings: 24,
            },
            Route::Complex | Route::Batch => Self {
                passages: passages * 3,
                context_bytes: 48_000,
                openings: 24,
            },
        }
    }
}
