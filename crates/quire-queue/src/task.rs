//! What a task is, to whoever writes one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use quire_store::TenantTx;
use quire_types::{ErrorKind, Kind, TaskId, TenantId};

use crate::Error;
use crate::rows::RowPlace;

/// How urgent a kind of task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

impl Priority {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All of them, most urgent first.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Critical,
        Self::High,
        Self::Normal,
        Self::Low,
        Self::Maintenance,
    ];

    /// The name, as commands and metrics use it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
            Self::Maintenance => "maintenance",
        }
    }

    /// The priority of a row; a number that none has counts as the lowest.
    pub(crate) fn of_row(number: i16) -> Self {
        usize::try_from(number)
            .ok()
            .and_then(|number| Self::ALL.get(number).copied())
            .unwrap_or(Self::Maintenance)
    }
}

/// When a failed task is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// The longest wait before the second attempt; it doubles with every further one.
    pub base: Duration,
    /// No wait is longer.
    pub cap: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Retry {
    /// From 2 s to 10 min.
    pub const DEFAULT: Self = Self {
        base: Duration::from_secs(2),
        cap: Duration::from_secs(600),
    };
}

/// A piece of background work: the struct is its payload, ids only, stored as JSON.
///
/// It may run more than once, also at the same time when a worker was taken for dead, so its effects must
/// bear that; [`Attempt::complete`] makes an effect in the same database happen exactly once.
#[async_trait]
pub trait Task: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The stable name of the kind.
    const KIND: &'static str;
    /// How urgent it is.
    const PRIORITY: Priority = Priority::Normal;
    /// How often it is tried.
    const MAX_ATTEMPTS: i16 = 5;
    /// How long one attempt may take.
    const TIMEOUT: Duration;
    /// When it is tried again.
    const RETRY: Retry = Retry::DEFAULT;
    /// Tasks of this kind that all workers together run at once. With fewer places than workers each may run
    /// one all the same, so that none of them starves the tenants that it serves.
    const MOST_RUNNING: u32 = u32::MAX;
    /// Tasks of this kind with the same concurrency key that run at once.
    const MOST_PER_KEY: u32 = 1;
    /// What it works with.
    type Context: Clone + Send + Sync + 'static;

    /// The concurrency key, unless the producer gives one: up to 200 characters, the tenant's own.
    fn key(&self) -> Option<String> {
        None
    }

    /// Does the work. The error's kind decides whether there is another attempt.
    async fn run(&self, context: &Self::Context, attempt: &Attempt) -> Result<(), Failure>;

    /// Called when there will be no further attempt, so that whoever waits can be told; of a task that was
    /// cancelled the failure is a [`ErrorKind::Conflict`], `cancelled`. Called again, up to ten times, when
    /// it fails.
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
    pub number: i16,
    /// How many there are at most.
    pub of: i16,
    pub(crate) place: RowPlace,
    pub(crate) is_complete: Arc<AtomicBool>,
}

impl Attempt {
    /// Ends the task inside the transaction of its effect: both happen, or neither. Fails with
    /// [`Error::Lost`] when another worker has the task by now, and then the transaction must be dropped.
    pub async fn complete(&self, tx: &mut TenantTx) -> Result<(), Error> {
        let deleted = sqlx::query(
            "delete from queue.ready where tenant_id = $1 and shard = $2 and run_token = $3 and id = $4",
        )
        .bind(tx.tenant_id())
        .bind(self.place.shard)
        .bind(self.place.token)
        .bind(self.place.id)
        .execute(tx.connection())
        .await?;
        if deleted.rows_affected() == 0 {
            return Err(Error::Lost);
        }
        sqlx::query("delete from queue.keyed where tenant_id = $1 and id = $2 and not is_waiting")
            .bind(tx.tenant_id())
            .bind(self.place.id)
            .execute(tx.connection())
            .await?;
        self.is_complete.store(true, Ordering::Release);
        Ok(())
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Decides whether there is another attempt.
    pub kind: ErrorKind,
    /// For people.
    pub message: String,
    /// What the other side asked for, instead of the wait that the kind of task has.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
        }
    }

    /// The failure that an error amounts to.
    pub fn of(error: &impl Kind) -> Self {
        Self::new(error.kind(), error.to_string())
    }

    /// Not before this much time has passed.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }
}

impl Kind for Failure {
    fn kind(&self) -> ErrorKind {
        self.kind
    }
}
