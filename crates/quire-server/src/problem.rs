//! Errors as problem documents (RFC 9457).
//!
//! The kind decides the status; the type is a stable address under `/docs/problems`. What is for the operator
//! alone never leaves: the text of an internal error, and that of something that is down when it was a library
//! that said so. It is logged once, here, with the request id that the caller is shown.

use std::error::Error;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

use quire_tenancy::RateState;
use quire_types::{ErrorKind, Kind};

use crate::rate::rate_headers;

/// What callers are told to wait when nobody knows.
const USUAL_WAIT: Duration = Duration::from_secs(2);

/// An error on its way to the caller.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    kind: ErrorKind,
    detail: String,
    /// Whether the detail is for the log only.
    is_inside: bool,
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    rate: Option<RateState>,
}

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(kind: ErrorKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            is_inside: kind == ErrorKind::Internal,
            status: None,
            retry_after: None,
            rate: None,
        }
    }

    pub(crate) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, detail)
    }

    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(ErrorKind::NotFound, format!("{what} not found"))
    }

    /// For the few cases where a standard asks for another status than that of the kind.
    pub(crate) fn with_status(self, status: StatusCode) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    /// Tells the caller what its rate has left.
    pub(crate) fn with_rate(self, rate: Option<RateState>) -> Self {
        Self { rate, ..self }
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn status(&self) -> StatusCode {
        self.status.unwrap_or(status(self.kind))
    }

    /// The document, once the request is known.
    pub(crate) fn problem(&self, path: &str, request_id: &str) -> Problem {
        let detail = if self.is_inside {
            error!(request.id = request_id, error = %self.detail, "a request failed inside quire");
            inside_text(self.kind).to_owned()
        } else {
            self.detail.clone()
        };
        Problem {
            r#type: format!("/docs/problems#{}", self.kind.as_str()),
            title: title(self.kind).to_owned(),
            status: self.status().as_u16(),
            detail,
            instance: path.to_owned(),
            code: self.kind.as_str().to_owned(),
            request_id: request_id.to_owned(),
        }
    }
}

impl<E: Kind> From<E> for ApiError {
    fn from(error: E) -> Self {
        let kind = error.kind();
        // What has a cause was said first by a library, whose words may name hosts, files and statements.
        let is_down = matches!(kind, ErrorKind::Unavailable | ErrorKind::Timeout);
        let is_inside = kind == ErrorKind::Internal || (is_down && error.source().is_some());
        let detail = match is_inside {
            true => with_causes(&error),
            false => error.to_string(),
        };
        Self {
            retry_after: error.retry_after(),
            is_inside,
            ..Self::new(kind, detail)
        }
    }
}

/// What an error says, and what its causes add to that.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

/// The body is written by the middleware, which knows the request.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        match self.kind {
            ErrorKind::Unauthenticated => {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            ErrorKind::Unavailable | ErrorKind::RateLimited | ErrorKind::Quota => {
                let wait = self.retry_after.unwrap_or(USUAL_WAIT);
                let seconds = wait.as_secs_f64().ceil().max(1.0);
                if let Ok(value) = HeaderValue::from_str(&seconds.to_string()) {
                    response.headers_mut().insert(header::RETRY_AFTER, value);
                }
            }
            _ => {}
        }
        response.headers_mut().extend(rate_headers(self.rate));
        response.extensions_mut().insert(self);
        response
    }
}

/// What a caller is told about an error (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// What kind of problem it is: a stable address that explains it.
    #[schema(example = "/docs/problems#not-found")]
    r#type: String,
    /// The kind in words.
    #[schema(example = "not found")]
    title: String,
    /// The HTTP status.
    #[schema(example = 404)]
    status: u16,
    /// What happened and what to do.
    #[schema(example = "notebook not found")]
    detail: String,
    /// The path that was asked for.
    instance: String,
    /// The kind as a word for programs.
    #[schema(example = "not-found")]
    code: String,
    /// The id under which the log knows this request.
    request_id: String,
}

impl Problem {
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

pub(crate) const fn status(kind: ErrorKind) -> StatusCode {
    match kind {
        ErrorKind::Invalid => StatusCode::BAD_REQUEST,
        ErrorKind::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorKind::Forbidden => StatusCode::FORBIDDEN,
        ErrorKind::NotFound => StatusCode::NOT_FOUND,
        ErrorKind::Conflict => StatusCode::CONFLICT,
        ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorKind::Quota | ErrorKind::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        ErrorKind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Timeout => StatusCode::GATEWAY_TIMEOUT,
    }
}

/// What callers are told of an error whose text is for the log.
const fn inside_text(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Internal => {
            "something went wrong inside quire; the log has it under this request id"
        }
        _ => {
            "something that quire needs does not answer right now; try again in a moment, and if that goes on, ask \
             the operator: the log has the cause under this request id"
        }
    }
}

pub(crate) const fn title(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "the request can't work",
        ErrorKind::Unauthenticated => "no valid key",
        ErrorKind::Forbidden => "the key may not do this",
        ErrorKind::NotFound => "not found",
        ErrorKind::Conflict => "conflict",
        ErrorKind::TooLarge => "too large",
        ErrorKind::Quota => "the plan's limit is reached",
        ErrorKind::RateLimited => "too many requests",
        ErrorKind::Internal => "internal error",
        ErrorKind::Unavailable => "not available right now",
        ErrorKind::Timeout => "took too long",
    }
}

/// What to do about each kind, for the documentation page.
pub(crate) const fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Invalid => "Correct the request; repeating it unchanged gives the same answer.",
        ErrorKind::Unauthenticated => {
            "Send a key as Authorization: Bearer qk_…; a revoked, mistyped and unknown key look the same."
        }
        ErrorKind::Forbidden => "Use a key with a wider role.",
        ErrorKind::NotFound => {
            "Check the id. What belongs to somebody else answers exactly like what does not exist."
        }
        ErrorKind::Conflict => "Read the present state, then decide.",
        ErrorKind::TooLarge => "Send less, or split it.",
        ErrorKind::Quota => "Wait for the next period, or change the plan.",
        ErrorKind::RateLimited => "Wait as long as Retry-After says.",
        ErrorKind::Internal => "A defect of quire: report it with the request id.",
        ErrorKind::Unavailable => {
            "Repeat it after Retry-After; writes with an Idempotency-Key are safe to repeat."
        }
        ErrorKind::Timeout => "Repeat it, or ask for less.",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Down {
        #[error("database: {0}")]
        Library(#[from] io::Error),
        #[error("the disk is full: free some space")]
        Ours,
    }

    impl Kind for Down {
        fn kind(&self) -> ErrorKind {
            ErrorKind::Unavailable
        }
    }

    #[test]
    fn what_a_library_says_is_for_the_log_and_what_quire_says_is_for_the_caller() {
        let told = |error: Down| ApiError::from(error).problem("/v1/ask", "r-1");
        let said = told(io::Error::other("10.0.0.7:5432 refused").into());
        assert_eq!(said.status, 503);
        assert!(said.detail().contains("try again"), "{}", said.detail());
        assert!(!said.detail().contains("10.0.0.7"), "{}", said.detail());
        assert!(told(Down::Ours).detail().contains("disk"));
    }
}
