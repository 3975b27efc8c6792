//! The error of the queue itself; what a task reports is a [`crate::Failure`].

use std::time::Duration;

use quire_types::{ErrorKind, Kind};

/// What went wrong in the queue.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] quire_store::Error),
    /// A statement failed.
    #[error("queue: {0}")]
    Database(#[source] sqlx::Error),
    /// The request makes no sense; the text says what to change.
    #[error("{0}")]
    Invalid(String),
    /// There is nothing of this name.
    #[error("{0} not found")]
    NotFound(&'static str),
    /// The task was handed to somebody else meanwhile.
    #[error("the task is no longer this worker's")]
    Lost,
    /// The database did not answer.
    #[error("the database did not answer within {} s", .0.as_secs())]
    Slow(Duration),
    /// A task can't be written as JSON.
    #[error("a task can't be stored: {0}")]
    Payload(#[from] serde_json::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match quire_store::Error::is_disk_full(&error) {
            true => Self::Store(quire_store::Error::DatabaseFull),
            false => Self::Database(error),
        }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Database(_) => ErrorKind::Unavailable,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::NotFound(_) => ErrorKind::NotFound,
            Self::Lost => ErrorKind::Conflict,
            Self::Slow(_) => ErrorKind::Timeout,
            Self::Payload(_) => ErrorKind::Internal,
        }
    }
}
