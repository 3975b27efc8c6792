//! The worker: what it is told, what kinds of tasks it knows, and that it begins anew when it breaks.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::error;

use quire_store::Store;
use quire_types::TenantId;

use crate::Task;
use crate::handler::Handler;
use crate::work::Tally;

mod engine;
mod operations;

use engine::Engine;
pub use operations::relay;

/// Other workers are called no more often than this: a notice takes a lock of the whole server.
const CALL: Duration = Duration::from_millis(20);

/// How a worker behaves.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// What people call the worker: the host, say.
    pub name: String,
    /// Tasks that run at once.
    pub seats: usize,
    /// How long the shards of a worker that says nothing stay its own.
    pub lease: Duration,
    /// How long an idle worker waits before it looks again without being woken.
    pub poll: Duration,
    /// How long running tasks may take to finish once the worker is told to stop.
    pub grace: Duration,
    /// Serve only this tenant, which has a shard of its own: see [`crate::dedicate`].
    pub dedicated: Option<TenantId>,
    /// A task that waits this long counts as one priority higher, twice as long as two.
    pub aging: Duration,
    /// Counts how tasks end.
    pub tally: Tally,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: "quire".to_owned(),
            seats: 4,
            lease: Duration::from_secs(5),
            poll: Duration::from_millis(200),
            grace: Duration::from_secs(20),
            dedicated: None,
            aging: Duration::from_secs(300),
            tally: Tally::default(),
        }
    }
}

/// Runs the tasks of the kinds it was told about.
pub struct Worker<C> {
    store: Store,
    context: C,
    options: WorkerOptions,
    handlers: HashMap<&'static str, Handler<C>>,
    bell: Arc<Notify>,
}

impl<C: Clone + Send + Sync + 'static> Worker<C> {
    /// A worker without kinds. Ring `bell` after a transaction that enqueued has committed.
    pub fn new(store: Store, context: C, bell: Arc<Notify>, options: WorkerOptions) -> Self {
        Self {
            store,
            context,
            options,
            handlers: HashMap::new(),
            bell,
        }
    }

    /// Adds a kind of task, which works with a part of the worker's context.
    #[must_use]
    pub fn with<T: Task>(mut self) -> Self
    where
        C: Borrow<T::Context>,
    {
        self.handlers.insert(T::KIND, Handler::of::<T>());
        self
    }

    /// Works until told to stop, then lets running tasks finish or leaves them to others.
    pub async fn run(self, stop: CancellationToken) {
        let worker = Arc::new(self);
        loop {
            let engine = Box::pin(Engine::new(worker.clone()).run(stop.clone()));
            match AssertUnwindSafe(engine).catch_unwind().await {
                Ok(()) => return,
                // A defect of ours. What this life had begun is found by its receipts.
                Err(_) => error!("the task worker panicked; it begins anew"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
