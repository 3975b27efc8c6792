//! What a task is, to whoever writes one.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use quire_types::{ErrorKind, Kind, TaskId, TenantId};

/// How urgent a kind of task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody is waiting at the screen and nothing works without it.
    Critical = 0,
    /// Somebody is waiting.
    High = 1,
    /// The usual.
    Normal = 2,
    /// Can wait for hours.
    Low = 3,
    /// Upkeep of quire itself.
    Maintenance = 4,
}

/// A piece of background work: the struct is its payload, ids only, stored as JSON.
///
/// It may run more than once, also at the same time when a lease ran out, so its effects must bear
/// that.
#[async_trait]
pub trait Task: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The stable name of the kind.
    const KIND: &'static str;
    /// How urgent it is.
    const PRIORITY: Priority = Priority::Normal;
    /// How often it is tried.
    const MAX_ATTEMPTS: i32 = 5;
    /// How long one attempt may take.
    const TIMEOUT: Duration;
    /// What it works with.
    type Context: Clone + Send + Sync + 'static;

    /// Does the work. The error's kind decides whether there is another attempt.
    async fn run(&self, context: &Self::Context, attempt: &Attempt) -> Result<(), Failure>;

    /// Called once when there will be no further attempt, so that whoever waits can be told.
    async fn gave_up(
        &self,
        context: &Self::Context,
        attempt: &Attempt,
        failure: &Failure,
    ) -> Result<(), Failure>;
}

/// One attempt at a task.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The task.
    pub task: TaskId,
    /// Whose work it is.
    pub tenant: TenantId,
    /// Which attempt this is, from 1.
    pub number: i32,
    /// How many there are at most.
    pub of: i32,
}

/// Why an attempt failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Decides whether there is another attempt.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// The failure that an error amounts to.
    pub fn of(error: &impl Kind) -> Self {
        Self::new(error.kind(), error.to_string())
    }
}

impl Kind for Failure {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}
