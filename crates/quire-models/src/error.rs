//! What can go wrong with a model. Refuses to know who asked: kinds speak about quire's callers, so a
//! key that the chat server refuses is `Unavailable`, never `Unauthenticated`.

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

    /// The chat configuration can never work.
    #[error("{0}")]
    ChatConfig(String),
    /// The chat server can't be reached, or the connection broke.
    #[error("can't talk to the chat server at {url}; check `base_url` and that the server runs")]
    ChatConnection {
        /// Where the server should be.
        url: String,
        /// Why not.
        source: reqwest::Error,
    },
    /// The chat server answered with an error status or an error object.
    #[error("the chat server refused ({}{message})", status_text(*.status))]
    ChatRefused {
        /// The HTTP status, or none for an error object inside a successful response.
        status: Option<u16>,
        /// What the server said, shortened and without the key.
        message: String,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// The chat server was silent for too long.
    #[error("the chat server sent no {waited_for} for {} ms; try again, or raise the timeout", .after.as_millis())]
    ChatTimeout {
        /// "first token", "further token" or "connection".
        waited_for: &'static str,
        /// The limit that passed.
        after: Duration,
    },
    /// The answer stopped in the middle.
    #[error("the chat server ended its answer in the middle; try again")]
    ChatCut {
        /// How the connection broke, unless it was closed in good order.
        source: Option<reqwest::Error>,
    },
    /// The chat server does not speak the protocol.
    #[error("the chat server sent {what}; check that `base_url` is an OpenAI-compatible API")]
    ChatMalformed {
        /// What came instead of a chunk of an answer.
        what: String,
    },
    /// The answer is larger than any answer should be.
    #[error("the chat server's answer is larger than {limit_bytes} bytes; ask for a shorter one")]
    ChatTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
}

impl Error {
    /// Whether the chat server certainly did no work: it was not reached, or said no before it began.
    pub fn is_unbilled(&self) -> bool {
        match self {
            Self::ChatConfig(_) => true,
            Self::ChatRefused { status, .. } => status.is_some(),
            Self::ChatConnection { source, .. } => source.is_connect(),
            _ => false,
        }
    }

    /// How long the chat server wants to be left alone, when it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::ChatRefused { retry_after, .. } => *retry_after,
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
            Self::ChatConfig(_) => ErrorKind::Invalid,
            Self::ChatRefused { status, .. } => refusal_kind(*status),
            Self::ChatTimeout { .. } => ErrorKind::Timeout,
            Self::ChatConnection { .. }
            | Self::ChatCut { .. }
            | Self::ChatMalformed { .. }
            | Self::ChatTooLarge { .. } => ErrorKind::Unavailable,
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
        Some(401 | 403) => {
            "the key is wrong or may not use this model; check `api_key`: ".to_owned()
        }
        Some(404) => "unknown model or address; check `model` and `base_url`: ".to_owned(),
        Some(status @ 300..=399) => {
            format!("HTTP {status} leads elsewhere; set `base_url` to the final address: ")
        }
        Some(status) => format!("HTTP {status}: "),
        None => String::new(),
    }
}
