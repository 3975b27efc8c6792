//! The error of asking.

use quire_types::{ErrorKind, Kind};

/// What went wrong with a question.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The question can't be asked.
    #[error("{0}")]
    Question(String),
    /// Search failed.
    #[error(transparent)]
    Search(#[from] quire_index::Error),
    /// A model failed after the answer had begun; before that, the answer is extractive instead.
    #[error(transparent)]
    Model(#[from] quire_models::Error),
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Question(_) => ErrorKind::Invalid,
            Self::Search(error) => error.kind(),
            Self::Model(error) => error.kind(),
        }
    }
}
