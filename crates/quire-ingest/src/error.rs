//! The error of adding, removing and reading sources.

use quire_types::{ErrorKind, Kind};

use crate::extract::ExtractError;

/// What went wrong with a source.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name can't be used.
    #[error("{0}")]
    Name(String),
    /// The file holds nothing.
    #[error("the file is empty: there is nothing to read in it")]
    Empty,
    /// The bytes stopped coming.
    #[error("the upload was cut off: {0}")]
    CutOff(String),
    /// The text can't be read.
    #[error(transparent)]
    Extract(#[from] ExtractError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] quire_store::Error),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] quire_queue::Error),
    /// The embedding model failed.
    #[error(transparent)]
    Model(#[from] quire_models::Error),
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Name(_) | Self::Empty | Self::CutOff(_) => ErrorKind::Invalid,
            Self::Extract(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::Queue(error) => error.kind(),
            Self::Model(error) => error.kind(),
        }
    }
}
