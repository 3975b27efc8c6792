//! The error of adding, removing and reading sources.

use std::sync::Arc;
use std::time::Duration;

use quire_tenancy::{EmbedError, Refusal, SenseError};
use quire_types::{ErrorKind, Kind};

use crate::extract::ExtractError;

/// After so long a place may be free.
const BUSY: Duration = Duration::from_secs(5);

/// What went wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name can't be used.
    #[error("{0}")]
    Name(String),
    /// The file holds nothing.
    #[error("the file is empty: there is nothing to read in it")]
    Empty,
    /// As many files are being read as this machine bears, and somebody waits.
    #[error("too many files are being read here at once; try again in a moment")]
    Busy,
    /// The bytes stopped coming.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The text can't be read.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// What the tenant may use does not allow it, or the machine has too much to do.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The control plane failed.
    #[error(transparent)]
    Control(#[from] quire_tenancy::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] quire_store::Error),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] quire_queue::Error),
    /// Search failed.
    #[error(transparent)]
    Search(#[from] quire_index::Error),
    /// The embedding model failed.
    #[error(transparent)]
    Model(#[from] quire_models::Error),
    /// The request for vectors failed that several sources shared.
    #[error(transparent)]
    Vectors(Arc<EmbedError>),
}

impl From<EmbedError> for Error {
    fn from(error: EmbedError) -> Self {
        match error {
            EmbedError::Refused(refusal) => refusal.into(),
            EmbedError::Control(error) => error.into(),
            EmbedError::Model(error) => error.into(),
            EmbedError::Shared(error) => Self::Vectors(error),
        }
    }
}

impl From<SenseError> for Error {
    fn from(error: SenseError) -> Self {
        match error {
            SenseError::Refused(refusal) => refusal.into(),
            SenseError::Control(error) => error.into(),
        }
    }
}

/// Why the bytes of a source stopped coming, in the words of whoever delivers them.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StreamError {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// What happened.
    pub message: String,
}

impl From<std::io::Error> for StreamError {
    fn from(error: std::io::Error) -> Self {
        Self {
            kind: ErrorKind::Invalid,
            message: format!("reading stopped: {error}"),
        }
    }
}

impl Kind for StreamError {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) | Self::Empty => ErrorKind::Invalid,
            Self::Busy => ErrorKind::Unavailable,
            Self::Stream(error) => error.kind(),
            Self::Extract(error) => error.kind(),
            Self::Refused(refusal) => refusal.kind(),
            Self::Control(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Queue(error) => error.kind(),
            Self::Search(error) => error.kind(),
            Self::Model(error) => error.kind(),
            Self::Vectors(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy => Some(BUSY),
            Self::Refused(refusal) => refusal.retry_after(),
            Self::Vectors(error) => error.retry_after(),
            _ => None,
        }
    }
}
