//! Calling a task: its payload, its deadline, its panics, and what follows from its failure.

use std::borrow::Borrow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tracing::{info, warn};

use quire_types::ErrorKind;

use crate::rows::{Handed, Outcome};
use crate::{Attempt, Failure, Retry, Task, backoff};

/// How often a worker tries to tell that a task failed for good before it lets the task die unmourned.
const TELLING: i16 = 10;

type Call<C> = Arc<
    dyn Fn(C, Arc<str>, Attempt, Step) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync,
>;

/// Which method of the task is called.
#[derive(Clone)]
enum Step {
    Run,
    GaveUp(Failure),
}

/// Why a task that was handed out is not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Void {
    Late,
    Cancelled,
}

/// What a worker knows about a kind of task.
#[derive(Clone)]
pub(crate) struct Handler<C> {
    pub(crate) kind: &'static str,
    pub(crate) most_running: u32,
    pub(crate) most_per_key: u32,
    pub(crate) max_attempts: i16,
    timeout: Duration,
    retry: Retry,
    call: Call<C>,
}

impl<C: Clone + Send + Sync + 'static> Handler<C> {
    pub(crate) fn of<T: Task>() -> Self
    where
        C: Borrow<T::Context>,
    {
        let call: Call<C> = Arc::new(|context, payload, attempt, step| {
            async move {
                let task: T = match (serde_json::from_str(&payload), &step) {
                    (Ok(task), _) => task,
                    (Err(error), Step::Run) => {
                        let text = format!("the payload can't be read: {error}");
                        return Err(Failure::new(ErrorKind::Invalid, text));
                    }
                    // Nobody knows whom to tell.
                    (Err(_), Step::GaveUp(_)) => return Ok(()),
                };
                match step {
                    Step::Run => task.run(context.borrow(), &attempt).await,
                    Step::GaveUp(failure) => {
                        task.gave_up(context.borrow(), &attempt, &failure).await
                    }
                }
            }
            .boxed()
        });
        Self {
            kind: T::KIND,
            most_running: T::MOST_RUNNING,
            most_per_key: T::MOST_PER_KEY.max(1),
            max_attempts: T::MAX_ATTEMPTS.max(1),
            timeout: T::TIMEOUT,
            retry: T::RETRY,
            call,
        }
    }

    /// One attempt from start to outcome.
    pub(crate) async fn attempt(
        &self,
        context: C,
        handed: Handed,
        attempt: Attempt,
        void: Option<Void>,
    ) -> Outcome {
        let payload: Arc<str> = handed.payload.into();
        let result = match void {
            Some(Void::Late) => Err(Failure::new(
                ErrorKind::Timeout,
                "its deadline passed before a worker was free",
            )),
            Some(Void::Cancelled) => Err(Failure::new(ErrorKind::Conflict, "cancelled")),
            None if attempt.number > attempt.of => {
                // Every attempt was counted. Either the last one failed and nobody could be told, or none
                // reported an end: the task takes its process down.
                let kind = handed.error_kind.as_deref().and_then(error_kind);
                let text = handed.error.filter(|_| kind.is_some());
                Err(Failure::new(
                    kind.unwrap_or(ErrorKind::Internal),
                    text.unwrap_or_else(|| "the process ended each time this was tried".to_owned()),
                ))
            }
            None => self.guarded(&context, &payload, &attempt, Step::Run).await,
        };
        let Err(failure) = result else {
            return Outcome::Done;
        };
        let number = attempt.number;
        let ended = |failure| match void {
            // Not among the dead, who may be told to try again.
            Some(Void::Cancelled) => Outcome::Cancelled,
            Some(Void::Late) | None => Outcome::Dead {
                failure,
                attempt: number,
            },
        };
        if number > attempt.of.saturating_add(TELLING) {
            // Telling takes the process down as well.
            return ended(failure);
        }
        if failure.kind.is_transient() && number < attempt.of && void.is_none() {
            let after = backoff::delay(self.retry, number, &failure, &mut rand::rng());
            info!(
                task.id = %attempt.task, task.kind = self.kind, attempt = number, error = %failure,
                retry_after_ms = after.as_millis(), "a task failed and is tried again"
            );
            return Outcome::Again {
                failure,
                attempt: number,
                after,
            };
        }
        if void != Some(Void::Cancelled) {
            warn!(
                task.id = %attempt.task, task.kind = self.kind, attempt = number, error = %failure,
                error.kind = failure.kind.as_str(), "a task failed for good"
            );
        }
        let told = self
            .guarded(&context, &payload, &attempt, Step::GaveUp(failure.clone()))
            .await;
        match told {
            Err(error) if number < attempt.of.saturating_add(TELLING) => {
                warn!(task.id = %attempt.task, %error, "can't report the end of a task; trying again");
                let attempt = number.max(attempt.of);
                let after = backoff::delay(self.retry, attempt, &error, &mut rand::rng());
                Outcome::Again {
                    failure,
                    attempt,
                    after,
                }
            }
            Err(error) => {
                warn!(task.id = %attempt.task, %error, "nobody could be told of the end of a task");
                ended(failure)
            }
            Ok(()) => ended(failure),
        }
    }

    /// Calls the task; a panic and a call that does not end are failures too.
    async fn guarded(
        &self,
        context: &C,
        payload: &Arc<str>,
        attempt: &Attempt,
        step: Step,
    ) -> Result<(), Failure> {
        let run =
            async { (self.call)(context.clone(), payload.clone(), attempt.clone(), step).await };
        match tokio::time::timeout(self.timeout, AssertUnwindSafe(run).catch_unwind()).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::new(
                ErrorKind::Internal,
                "the task panicked; the log has the place",
            )),
            Err(_) => Err(Failure::new(
                ErrorKind::Timeout,
                format!("one attempt took longer than {} s", self.timeout.as_secs()),
            )),
        }
    }
}

fn error_kind(name: &str) -> Option<ErrorKind> {
    ErrorKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == name)
}
