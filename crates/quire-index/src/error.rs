//! The error of search.

use quire_types::{ErrorKind, Kind};

/// What went wrong while searching.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] quire_store::Error),
    /// The inverted index failed.
    #[error("lexical index: {0}")]
    Lexical(#[from] tantivy::TantivyError),
    /// The bytes of an inverted index are not what was written.
    #[error("the lexical section of a segment is damaged ({0}); rebuild the segment from its text")]
    Damaged(&'static str),
    /// A vector has another dimension than the corpus.
    #[error("a vector of {found} dimensions can't be compared with a corpus of {expected}")]
    Dimension {
        /// The dimension of the corpus.
        expected: usize,
        /// The dimension that was offered.
        found: usize,
    },
    /// The thread that searched ended early.
    #[error("the search was interrupted")]
    Interrupted,
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Lexical(_) | Self::Damaged(_) | Self::Dimension { .. } => ErrorKind::Internal,
            Self::Interrupted => ErrorKind::Unavailable,
        }
    }
}
