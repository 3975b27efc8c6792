//! Why a suite has no result.

use std::fmt;
use std::process::ExitCode;

use quire_types::Kind;

/// Why a suite stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something it needs is not there; the text says how to get it.
    Missing(String),
    /// Anything else.
    Failed(String),
}

impl Failure {
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// For errors of the system: what was done to which thing.
    pub(crate) fn doing<E: fmt::Display>(what: impl fmt::Display) -> impl FnOnce(E) -> Self {
        move |error| Self::Failed(format!("{what}: {error}"))
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Missing(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::from(1),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(text) | Self::Failed(text) => out.write_str(text),
        }
    }
}

impl<E: Kind> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}
