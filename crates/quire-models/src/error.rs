//! What can go wrong with a model. Refuses to know who asked: kinds speak about quire's callers, so a
//! key that the provider refuses is `Unavailable`, never `Unauthenticated`.

use std::path::PathBuf;
use std::time::Duration;

use quire_types::{ErrorKind, Kind};

/// A failed call to a model, or a model that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A model directory lacks a file.
    #[error(
        "no embedding model: {} is missing; run `make model`, or set `model.dir` to a directory with config.json, \
         tokenizer.json and model.safetensors of sentence-transformers/all-MiniLM-L6-v2", .file.display()
    )]
    ModelMissing {
        /// The file that was looked for.
        file: PathBuf,
    },
    /// A file of the model is not the file this version of quire was made for.
    #[error(
        "{} is not the file of all-MiniLM-L6-v2: expected {expected}, found {found}; delete it and run `make model`, \
         or correct `model.dir`", .file.display()
    )]
    ModelMismatch {
        /// The file that was read.
        file: PathBuf,
        /// What it must hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// A file of the model can't be read.
    #[error("can't read {}; check that this user may read it", .file.display())]
    ModelRead {
        /// The file that was read.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The tokenizer refused a text or its own file.
    #[error("the tokenizer failed")]
    Tokenize(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A tensor operation failed.
    #[error("the embedding model failed")]
    Compute(#[from] candle_core::Error),
    /// An embedding ended without a result.
    #[error("an embedding was abandoned; the log has the reason")]
    Abandoned,
    /// The worker threads of the embedder could not be started.
    #[error("can't start the threads of the embedder; check the limits on processes and memory")]
    Threads(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The configuration of a provider can never work.
    #[error("{0}")]
    Config(String),
    /// The provider can't be reached, or the connection broke.
    #[error("can't talk to the provider at {url}; check `base_url` and that the server runs")]
    Connection {
        /// Where the server should be.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// The provider answered with an error status or an error object.
    #[error("the provider refused ({}{message})", status_text(*.status))]
    Refused {
        /// The HTTP status, or none for an error object inside a successful response.
        status: Option<u16>,
        /// What the server said, shortened and without the key.
        message: String,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The provider was silent for too long.
    #[error("the provider sent no {waited_for} for {} ms; try again, or raise the timeout", .after.as_millis())]
    Timeout {
        /// "first token", "further token" or "connection".
        waited_for: &'static str,
        /// The limit that passed.
        after: Duration,
    },
    /// The answer stopped in the middle.
    #[error("the provider ended its answer in the middle; try again")]
    Cut {
        /// How the connection broke, unless it was closed in good order.
        source: Option<reqwest::Error>,
    },
    /// The provider does not speak the protocol.
    #[error("the provider sent {what}; check that `base_url` is the API of this provider")]
    Malformed {
        /// What came instead of a chunk of an answer.
        what: String,
    },
    /// The answer is larger than any answer should be.
    #[error("the provider's answer is larger than {limit_bytes} bytes; ask for a shorter one")]
    TooLarge {
        /// The limit.
        limit_bytes: usize,
    },
}

impl Error {
    /// Whether the provider certainly did no work: it was not reached, or said no before it began.
    pub fn is_unbilled(&self) -> bool {
        match self {
            Self::Config(_) => true,
            Self::Refused { status, .. } => status.is_some(),
            Self::Connection { source, .. } => source.is_connect(),
            _ => false,
        }
    }

    /// Whether another model or another server may do better: not when the question itself was wrong, unless it
    /// was only too long for this model.
    pub fn may_fall_back(&self) -> bool {
        self.kind() != ErrorKind::Invalid || self.is_too_long() || matches!(self, Self::Config(_))
    }

    /// Whether the model was given more than its context holds.
    pub fn is_too_long(&self) -> bool {
        let Self::Refused {
            status: Some(400 | 413),
            message,
            ..
        } = self
        else {
            return false;
        };
        let message = message.to_lowercase();
        [
            "context length",
            "context_length",
            "context window",
            "prompt is too long",
            "maximum context",
            "maximum number of tokens",
        ]
        .iter()
        .any(|words| message.contains(words))
    }

    /// How long the provider wants to be left alone, when it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::ModelMissing { .. } | Self::ModelMismatch { .. } | Self::ModelRead { .. } => {
                ErrorKind::Unavailable
            }
            Self::Tokenize(_) | Self::Compute(_) | Self::Abandoned | Self::Threads(_) => {
                ErrorKind::Internal
            }
            Self::Config(_) => ErrorKind::Invalid,
            Self::Refused { status, .. } => refusal_kind(*status),
            Self::Timeout { .. } => ErrorKind::Timeout,
            Self::Connection { .. }
            | Self::Cut { .. }
            | Self::Malformed { .. }
            | Self::TooLarge { .. } => ErrorKind::Unavailable,
        }
    }
}

fn refusal_kind(status: Option<u16>) -> ErrorKind {
    match status {
        Some(400 | 413 | 422) => ErrorKind::Invalid,
        Some(408 | 504) => ErrorKind::Timeout,
        Some(429) => ErrorKind::RateLimited,
        // 401, 403 and 404 mean that the operator configured a wrong key, model or address: the person
        // who asked can't mend it and must not be told to sign in.
        _ => ErrorKind::Unavailable,
    }
}

fn status_text(status: Option<u16>) -> String {
    match status {
        Some(401 | 403) => "the key is wrong or may not use this model; check the key: ".to_owned(),
        Some(404) => "unknown model or address; check `model` and `base_url`: ".to_owned(),
        Some(status @ 300..=399) => {
            format!("HTTP {status} leads elsewhere; set `base_url` to the final address: ")
        }
        Some(status) => format!("HTTP {status}: "),
        None => String::new(),
    }
}
