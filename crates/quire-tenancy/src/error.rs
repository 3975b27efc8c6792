//! The error of the control plane, and the refusal that a caller is told.

use std::time::Duration;

use quire_types::{ErrorKind, Kind};

use crate::rates::RateState;

/// What went wrong in the control plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] quire_store::Error),
    /// The queue failed.
    #[error(transparent)]
    Queue(#[from] quire_queue::Error),
    /// A statement failed.
    #[error("control: {0}")]
    Database(#[from] sqlx::Error),
    /// The database did not answer.
    #[error("the database did not answer within {} s; try again", .0.as_secs())]
    Slow(Duration),
    /// The request makes no sense; the text says what to change.
    #[error("{0}")]
    Invalid(String),
    /// The catalogue can't be used.
    #[error("the catalogue: {0}")]
    Catalogue(#[from] crate::catalogue::Error),
    /// The registry of models can't be used, or lacks a model or a price.
    #[error("the registry: {0}")]
    Registry(#[from] quire_models::registry::RegistryError),
    /// No model can be asked.
    #[error(transparent)]
    NoModel(#[from] quire_models::NoHop),
    /// A model can't be used.
    #[error(transparent)]
    Model(#[from] quire_models::Error),
    /// A limit can't be read.
    #[error(transparent)]
    Limit(#[from] crate::limit::BadLimit),
    /// What was reserved for a request was given up on meanwhile.
    #[error("what was reserved for the request has expired; ask again")]
    NotHeld,
    /// Something of the same name is there and differs.
    #[error("{0}")]
    Conflict(String),
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Queue(error) => error.kind(),
            Self::Database(_) | Self::Slow(_) | Self::NotHeld => ErrorKind::Unavailable,
            Self::Invalid(_) | Self::Catalogue(_) | Self::Limit(_) => ErrorKind::Invalid,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Registry(error) => error.kind(),
            Self::NoModel(error) => error.kind(),
            Self::Model(error) => error.kind(),
        }
    }
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The tenant is suspended, closing or closed.
    State,
    /// A rate: too many requests or tokens for now.
    Rate,
    /// It kept coming although it was refused.
    Throttled,
    /// A quota or budget of the period is used up.
    Budget,
    /// No seat came free in time, or too many wait already.
    Seats,
    /// What is kept reached the plan's size.
    Size,
    /// The plan does not have it.
    Plan,
    /// Nobody can tell what is left, and money is not guessed.
    Unknown,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::State,
        Self::Rate,
        Self::Throttled,
        Self::Budget,
        Self::Seats,
        Self::Size,
        Self::Plan,
        Self::Unknown,
    ];

    /// The stable name, for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Rate => "rate",
            Self::Throttled => "throttled",
            Self::Budget => "budget",
            Self::Seats => "seats",
            Self::Size => "size",
            Self::Plan => "plan",
            Self::Unknown => "unknown",
        }
    }
}

/// A request that was not let in; nothing of it was counted, charged or kept.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// What happened and what to do.
    pub text: String,
    /// When it makes sense to try again.
    pub retry_after: Option<Duration>,
    /// What the tenant's rate has left.
    pub rate: Option<RateState>,
}

impl Refusal {
    /// A refusal for this reason, in these words.
    pub fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
            retry_after: None,
            rate: None,
        }
    }

    pub(crate) fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Money fails closed: what can't be looked up is refused.
    pub(crate) fn unknown(error: &Error) -> Self {
        tracing::warn!(%error, "admission can't reach the database");
        Self::new(
            Reason::Unknown,
            "what the tenant may use can't be looked up right now; try again",
        )
        .after(Duration::from_secs(2))
    }
}

impl Kind for Refusal {
    fn kind(&self) -> ErrorKind {
        match self.reason {
            Reason::State | Reason::Plan => ErrorKind::Forbidden,
            Reason::Rate | Reason::Throttled | Reason::Seats => ErrorKind::RateLimited,
            Reason::Budget | Reason::Size => ErrorKind::Quota,
            Reason::Unknown => ErrorKind::Unavailable,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}
