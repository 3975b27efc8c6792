//! Errors in OpenAI's words, on the routes that speak them.

use serde::Serialize;
use utoipa::ToSchema;

use quire_types::ErrorKind;

use crate::problem::{ApiError, Problem};

/// An error as OpenAI tells it.
#[derive(Serialize, ToSchema)]
pub(crate) struct ErrorOut {
    error: ErrorBody,
}

#[derive(Serialize, ToSchema)]
struct ErrorBody {
    /// What happened and what to do.
    message: String,
    #[schema(example = "invalid_request_error")]
    r#type: &'static str,
    /// Always null: the message names what is wrong.
    param: Option<String>,
    /// The kind as a word for programs.
    #[schema(example = "model_not_found")]
    code: &'static str,
}

impl ErrorOut {
    pub(crate) fn of(error: &ApiError, problem: &Problem) -> Self {
        let (r#type, code) = words(error.kind());
        Self {
            error: ErrorBody {
                message: problem.detail().to_owned(),
                r#type,
                param: None,
                code,
            },
        }
    }
}

/// Whether errors of a path are told like this.
pub(crate) fn speaks_openai(path: &str) -> bool {
    path.starts_with("/v1/chat/") || matches!(path, "/v1/embeddings" | "/v1/models")
}

const fn words(kind: ErrorKind) -> (&'static str, &'static str) {
    match kind {
        ErrorKind::Invalid => ("invalid_request_error", "invalid"),
        ErrorKind::Conflict => ("invalid_request_error", "conflict"),
        ErrorKind::TooLarge => ("invalid_request_error", "too_large"),
        ErrorKind::NotFound => ("invalid_request_error", "model_not_found"),
        ErrorKind::Unauthenticated => ("invalid_request_error", "invalid_api_key"),
        ErrorKind::Forbidden => ("permission_error", "forbidden"),
        ErrorKind::RateLimited => ("requests", "rate_limit_exceeded"),
        ErrorKind::Quota => ("insufficient_quota", "insufficient_quota"),
        ErrorKind::Internal => ("server_error", "internal"),
        ErrorKind::Unavailable => ("server_error", "unavailable"),
        ErrorKind::Timeout => ("server_error", "timeout"),
    }
}
