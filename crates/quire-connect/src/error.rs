//! The error of everything that flows in and out.

use std::time::Duration;

use quire_types::{ErrorKind, Kind};

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was sent can't be used.
    #[error("{0}")]
    Invalid(String),
    /// A template can't be used.
    #[error("the template can't be used: {0}")]
    Template(String),
    /// Making it searchable failed.
    #[error(transparent)]
    Ingest(#[from] quire_ingest::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] quire_store::Error),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] quire_queue::Error),
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid(_) | Self::Template(_) => ErrorKind::Invalid,
            Self::Ingest(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Queue(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Ingest(error) => error.retry_after(),
            _ => None,
        }
    }
}
