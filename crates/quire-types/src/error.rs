//! The closed set of error kinds.
//!
//! A kind alone decides the HTTP status, whether a task is retried and the metric label; the text of
//! an error is for people only.

use std::time::Duration;

/// What went wrong, as far as a program needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller sent something that can never work.
    Invalid,
    /// The thing does not exist, or belongs to somebody else.
    NotFound,
    /// The thing exists already, or changed underneath the caller.
    Conflict,
    /// The caller is not known.
    Unauthenticated,
    /// The caller is known and may not do this.
    Forbidden,
    /// What was sent is larger than a limit allows.
    TooLarge,
    /// What the plan allows is used up.
    Quota,
    /// Too many calls for now.
    RateLimited,
    /// Something this process needs is down or full; the same call may work later.
    Unavailable,
    /// Something took longer than it may.
    Timeout,
    /// A defect of quire. The text stays in the log.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables and tests.
    pub const ALL: [ErrorKind; 11] = [
        Self::Invalid,
        Self::NotFound,
        Self::Conflict,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::TooLarge,
        Self::Quota,
        Self::RateLimited,
        Self::Unavailable,
        Self::Timeout,
        Self::Internal,
    ];

    /// The stable name, used as metric label, task error and problem type.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::TooLarge => "too-large",
            Self::Quota => "quota",
            Self::RateLimited => "rate-limited",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
        }
    }

    /// Whether trying the same thing again later can help.
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::RateLimited | Self::Unavailable | Self::Timeout | Self::Internal
        )
    }
}

/// An error that knows its kind. Every crate's error type implements it.
pub trait Kind: std::error::Error {
    /// The kind that decides status, retry and metric.
    fn kind(&self) -> ErrorKind;

    /// How long to wait before the same call may work, where somebody knows.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}
