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
    /// Somebody else's server answered with a failure.
    #[error("the other side answered {status}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// Somebody else's server can't be reached or understood.
    #[error("the other side can't be reached or understood: {0}")]
    Remote(String),
    /// Somebody else's server did not answer in time.
    #[error("the other side did not answer in time")]
    RemoteTimeout,
    /// Somebody else's server sent too much.
    #[error("the other side sent more than {0} bytes")]
    RemoteTooLarge(usize),
    /// It can't go on until somebody does something.
    #[error("{0}")]
    Stopped(String),
    /// A database of somebody else failed.
    #[error(transparent)]
    Foreign(#[from] quire_store::foreign::ForeignError),
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
            Self::Status { status, .. } => match status {
                429 => ErrorKind::RateLimited,
                401 | 403 => ErrorKind::Forbidden,
                404 | 410 => ErrorKind::NotFound,
                400..=499 => ErrorKind::Invalid,
                _ => ErrorKind::Unavailable,
            },
            Self::Stopped(_) => ErrorKind::Conflict,
            Self::Remote(_) => ErrorKind::Unavailable,
            Self::RemoteTimeout => ErrorKind::Timeout,
            Self::RemoteTooLarge(_) => ErrorKind::TooLarge,
            Self::Foreign(error) => error.kind(),
            Self::Ingest(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Queue(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Ingest(error) => error.retry_after(),
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}
