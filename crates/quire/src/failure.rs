//! Why a command failed, and the exit code that says so.

use quire_types::{ErrorKind, Kind};

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    kind: ErrorKind,
    message: String,
}

impl Failure {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The documented exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Invalid | ErrorKind::TooLarge => 2,
            ErrorKind::NotFound => 3,
            ErrorKind::Conflict => 4,
            ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::RateLimited
            | ErrorKind::Quota => 5,
            ErrorKind::Internal | ErrorKind::Forbidden | ErrorKind::Unauthenticated => 1,
        }
    }
}

impl<E: Kind> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}
