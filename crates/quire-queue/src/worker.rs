//! The worker: claims, runs, keeps leases alive, records outcomes, drains.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Interval;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use quire_store::Store;
use quire_types::ErrorKind;

use crate::rows::{self, Claimed, Outcome};
use crate::{Attempt, Error, Failure, Task, backoff};

/// How a worker behaves.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// Tasks that run at once.
    pub seats: usize,
    /// How long a task stays with a worker that says nothing.
    pub lease: Duration,
    /// How long an idle worker waits before it looks again without being woken.
    pub poll: Duration,
    /// How long running tasks may take to finish once the worker is told to stop.
    pub grace: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            seats: 4,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
            grace: Duration::from_secs(20),
        }
    }
}

type Handler<C> =
    Arc<dyn Fn(C, Arc<Claimed>, Step) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// Which method of the task is called.
#[derive(Clone)]
enum Step {
    Run,
    GaveUp(Failure),
}

/// Runs the tasks of the kinds it was told about.
pub struct Worker<C> {
    store: Store,
    context: C,
    options: WorkerOptions,
    handlers: HashMap<&'static str, (Handler<C>, Duration)>,
    wake: Arc<Notify>,
}

impl<C: Clone + Send + Sync + 'static> Worker<C> {
    /// A worker without kinds. Ring `bell` after a transaction that enqueued has committed.
    pub fn new(store: Store, context: C, bell: Arc<Notify>, options: WorkerOptions) -> Self {
        Self {
            store,
            context,
            options,
            handlers: HashMap::new(),
            wake: bell,
        }
    }

    /// Adds a kind of task.
    #[must_use]
    pub fn with<T: Task<Context = C>>(mut self) -> Self {
        let handler: Handler<C> = Arc::new(|context, claimed, step| {
            async move {
                let task: T = match (serde_json::from_value(claimed.payload.clone()), &step) {
                    (Ok(task), _) => task,
                    (Err(error), Step::Run) => {
                        let text = format!("the payload can't be read: {error}");
                        return Err(Failure::new(ErrorKind::Invalid, text));
                    }
                    // Nobody knows whom to tell.
                    (Err(_), Step::GaveUp(_)) => return Ok(()),
                };
                let attempt = attempt(&claimed);
                match step {
                    Step::Run => task.run(&context, &attempt).await,
                    Step::GaveUp(failure) => task.gave_up(&context, &attempt, &failure).await,
                }
            }
            .boxed()
        });
        self.handlers.insert(T::KIND, (handler, T::TIMEOUT));
        self
    }

    /// Works until told to stop, then lets running tasks finish or gives them back.
    pub async fn run(self, stop: CancellationToken) {
        let kinds: Vec<String> = self
            .handlers
            .keys()
            .map(|kind| (*kind).to_owned())
            .collect();
        let mut running: JoinSet<Uuid> = JoinSet::new();
        let mut leases: HashMap<Uuid, (Arc<Claimed>, CancellationToken)> = HashMap::new();
        let mut heartbeat = tokio::time::interval(self.options.lease / 3);
        heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);

        loop {
            let free = self.options.seats.saturating_sub(running.len());
            let mut claimed_any = false;
            if free > 0 && !stop.is_cancelled() {
                match self.claim(&kinds, free).await {
                    Ok(claimed) => {
                        claimed_any = !claimed.is_empty();
                        for task in claimed {
                            let task = Arc::new(task);
                            let lost = CancellationToken::new();
                            leases.insert(task.lease_token, (task.clone(), lost.clone()));
                            running.spawn(self.attempt(task, lost));
                        }
                    }
                    Err(error) => warn!(%error, "can't claim tasks; trying again"),
                }
            }
            if stop.is_cancelled() {
                break;
            }
            let may_claim_now = claimed_any && running.len() < self.options.seats;
            tokio::select! {
                () = stop.cancelled() => break,
                Some(finished) = running.join_next(), if !running.is_empty() => forget(&mut leases, finished),
                _ = heartbeat.tick() => self.extend(&leases).await,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(if may_claim_now { Duration::ZERO } else { self.options.poll }) => {}
            }
        }
        self.drain(running, leases, heartbeat).await;
    }

    async fn claim(&self, kinds: &[String], free: usize) -> Result<Vec<Claimed>, Error> {
        let mut tx = self.store.system().await?;
        let limit = i64::try_from(free).unwrap_or(i64::MAX);
        let claimed = rows::claim(&mut tx, kinds, limit, self.options.lease).await?;
        tx.commit().await?;
        Ok(claimed)
    }

    async fn extend(&self, leases: &HashMap<Uuid, (Arc<Claimed>, CancellationToken)>) {
        if leases.is_empty() {
            return;
        }
        let tokens: Vec<Uuid> = leases.keys().copied().collect();
        let extended = async {
            let mut tx = self.store.system().await?;
            let good = rows::extend(&mut tx, &tokens, self.options.lease).await?;
            tx.commit().await?;
            Ok::<_, Error>(good)
        };
        match extended.await {
            Ok(good) => {
                for (token, (_, lost)) in leases {
                    if !good.contains(token) {
                        lost.cancel();
                    }
                }
            }
            Err(error) => warn!(%error, "can't extend leases; trying again"),
        }
    }

    /// One attempt from start to recorded outcome. Owns everything it needs, so it can be spawned.
    fn attempt(
        &self,
        task: Arc<Claimed>,
        lost: CancellationToken,
    ) -> impl Future<Output = Uuid> + use<C> {
        let store = self.store.clone();
        let context = self.context.clone();
        let handler = self.handlers.get(task.kind.as_str()).cloned();
        async move {
            if let Some((handler, timeout)) = handler {
                let outcome = tokio::select! {
                    outcome = perform(&handler, &context, &task, timeout) => Some(outcome),
                    () = lost.cancelled() => None,
                };
                match outcome {
                    Some(result) => {
                        record(&store, &handler, &context, &task, timeout, result).await
                    }
                    None => warn!(
                        task.id = %task.id, task.kind = %task.kind,
                        "the lease of a task ran out while it was running; another worker has it now"
                    ),
                }
            }
            task.lease_token
        }
    }

    async fn drain(
        &self,
        mut running: JoinSet<Uuid>,
        mut leases: HashMap<Uuid, (Arc<Claimed>, CancellationToken)>,
        mut heartbeat: Interval,
    ) {
        let finished = tokio::time::timeout(self.options.grace, async {
            loop {
                tokio::select! {
                    finished = running.join_next() => match finished {
                        Some(finished) => forget(&mut leases, finished),
                        None => break,
                    },
                    _ = heartbeat.tick() => self.extend(&leases).await,
                }
            }
        })
        .await;
        if finished.is_ok() {
            return;
        }
        running.shutdown().await;
        for (task, _) in leases.values() {
            info!(task.id = %task.id, task.kind = %task.kind, "giving an unfinished task back");
            settle(&self.store, task, &Outcome::Returned).await;
        }
    }
}

fn forget(
    leases: &mut HashMap<Uuid, (Arc<Claimed>, CancellationToken)>,
    finished: Result<Uuid, tokio::task::JoinError>,
) {
    // A panic inside a task is caught in `guarded`; a join error can only mean that we aborted it.
    if let Ok(token) = finished {
        leases.remove(&token);
    }
}

fn attempt(task: &Claimed) -> Attempt {
    Attempt {
        task: task.id.into(),
        tenant: task.tenant_id.into(),
        number: task.attempts,
        of: task.max_attempts,
    }
}

/// Runs the task, with its deadline, and turns a panic into a failure.
async fn perform<C: Clone>(
    handler: &Handler<C>,
    context: &C,
    task: &Arc<Claimed>,
    timeout: Duration,
) -> Result<(), Failure> {
    if task.attempts > task.max_attempts {
        // Every attempt so far was counted and none reported an end: it takes its process down.
        let kind = ErrorKind::Internal;
        let text = task.error.clone().filter(|_| task.error_kind.is_some());
        return Err(Failure::new(
            kind,
            text.unwrap_or_else(|| "the process ended each time this was tried".to_owned()),
        ));
    }
    guarded(handler, context, task, Step::Run, timeout).await
}

/// Calls the task; a panic and a call that does not end are failures too.
async fn guarded<C: Clone>(
    handler: &Handler<C>,
    context: &C,
    task: &Arc<Claimed>,
    step: Step,
    timeout: Duration,
) -> Result<(), Failure> {
    let run =
        std::panic::AssertUnwindSafe(async { handler(context.clone(), task.clone(), step).await })
            .catch_unwind();
    match tokio::time::timeout(timeout, run).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Failure::new(
            ErrorKind::Internal,
            "the task panicked; the log has the place",
        )),
        Err(_) => Err(Failure::new(
            ErrorKind::Timeout,
            format!("one attempt took longer than {} s", timeout.as_secs()),
        )),
    }
}

async fn record<C: Clone>(
    store: &Store,
    handler: &Handler<C>,
    context: &C,
    task: &Arc<Claimed>,
    timeout: Duration,
    result: Result<(), Failure>,
) {
    let Err(failure) = result else {
        settle(store, task, &Outcome::Done).await;
        return;
    };
    if failure.kind.is_transient() && task.attempts < task.max_attempts {
        let after = backoff::delay(task.attempts, &mut rand::rng());
        info!(
            task.id = %task.id, task.kind = %task.kind, attempt = task.attempts, error = %failure,
            retry_after_ms = after.as_millis(), "a task failed and is tried again"
        );
        settle(
            store,
            task,
            &Outcome::Again {
                failure: &failure,
                after,
            },
        )
        .await;
        return;
    }
    warn!(
        task.id = %task.id, task.kind = %task.kind, attempt = task.attempts, error = %failure,
        error.kind = failure.kind.as_str(), "a task failed for good"
    );
    let step = Step::GaveUp(failure.clone());
    let told = guarded(handler, context, task, step, timeout).await;
    if let Err(error) = told {
        // Not settled: the lease runs out and whoever claims the task next tells again.
        warn!(task.id = %task.id, %error, "can't report that a task failed for good; trying again");
        return;
    }
    settle(store, task, &Outcome::Dead { failure: &failure }).await;
}

/// Records an outcome, patiently: after a database restart the work need not be done twice.
async fn settle(store: &Store, task: &Claimed, outcome: &Outcome<'_>) {
    const TRIES: u32 = 6;
    for number in 1..=TRIES {
        let settled = async {
            let mut tx = store.system().await?;
            let mine = rows::settle(&mut tx, task, outcome).await?;
            tx.commit().await?;
            Ok::<_, Error>(mine)
        };
        match settled.await {
            Ok(true) => return,
            Ok(false) => {
                warn!(task.id = %task.id, task.kind = %task.kind, "a late outcome was refused");
                return;
            }
            Err(error) if number == TRIES => {
                warn!(task.id = %task.id, %error, "can't record the outcome of a task; its lease will run out");
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(250) * number).await,
        }
    }
}
