//! The error of search.

use std::time::Duration;

use quire_types::{ErrorKind, Kind, SegmentId};

use crate::SegmentError;

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
    #[error(
        "the inverted index of a segment is damaged ({0}): read its sources again with 'quire index mend'"
    )]
    Damaged(&'static str),
    /// A vector has another dimension than the corpus.
    #[error("a vector of {found} dimensions can't be compared with a corpus of {expected}")]
    Dimension {
        /// The dimension of the corpus.
        expected: usize,
        /// The dimension that was offered.
        found: usize,
    },
    /// A segment can't be used.
    #[error("segment {segment}: {source}")]
    Segment {
        /// The segment.
        segment: SegmentId,
        /// Why.
        source: SegmentError,
    },
    /// Passages are in a segment that can't be read now.
    #[error("segment {segment} can't be read right now: try again, or look at 'quire index stats'")]
    Missing {
        /// The segment.
        segment: SegmentId,
    },
    /// A notebook that was asked is in an archive and on its way back.
    #[error(
        "the notebook is archived and is being brought back ({passages} passages): ask again in {} s",
        wait.as_secs()
    )]
    Archived {
        /// Passages that come back.
        passages: u64,
        /// How long that takes, about.
        wait: Duration,
    },
    /// Vectors could not be coded or compared.
    #[error("vectors: {0}")]
    Vectors(#[from] quire_vectors::Error),
    /// A vector that no angle can be measured to.
    #[error("a vector is zero, or not a number: no angle can be measured to it")]
    Direction,
    /// The thread that searched ended early.
    #[error("the search was interrupted")]
    Interrupted,
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Lexical(_)
            | Self::Dimension { .. }
            | Self::Segment { .. }
            | Self::Vectors(_)
            | Self::Damaged(_) => ErrorKind::Internal,
            Self::Direction => ErrorKind::Invalid,
            Self::Interrupted | Self::Missing { .. } | Self::Archived { .. } => {
                ErrorKind::Unavailable
            }
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Archived { wait, .. } => Some(*wait),
            _ => None,
        }
    }
}
