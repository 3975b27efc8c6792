//! The error of asking.

use std::time::Duration;

use quire_types::{ErrorKind, Kind};

/// What went wrong with a question.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The question can't be asked.
    #[error("{0}")]
    Question(String),
    /// The control plane did not let it in.
    #[error(transparent)]
    Refused(#[from] quire_tenancy::Refusal),
    /// The control plane failed.
    #[error(transparent)]
    Control(#[from] quire_tenancy::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] quire_store::Error),
    /// Search failed.
    #[error(transparent)]
    Search(#[from] quire_index::Error),
    /// The version of the corpus could not be read, for several questions at once.
    #[error(transparent)]
    Shared(#[from] std::sync::Arc<quire_store::Error>),
    /// The Redis of the cache failed an operator; questions never fail because of it.
    #[error("{0}")]
    Redis(String),
    /// Whoever worked out the answer for several requests ended after it had begun.
    #[error("the answer broke off; ask again")]
    BrokenOff,
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] quire_queue::Error),
    /// The model of vectors failed.
    #[error(transparent)]
    Model(#[from] quire_models::Error),
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Question(_) => ErrorKind::Invalid,
            Self::Refused(refusal) => refusal.kind(),
            Self::Control(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Search(error) => error.kind(),
            Self::Shared(error) => error.kind(),
            Self::Redis(_) | Self::BrokenOff => ErrorKind::Unavailable,
            Self::Queue(error) => error.kind(),
            Self::Model(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after,
            Self::Search(error) => error.retry_after(),
            _ => None,
        }
    }
}
