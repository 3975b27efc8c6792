//! Whoever opens a notebook asks about it soon: the tenant's corpus is brought into memory meanwhile.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::debug;

use quire_index::Search;
use quire_store::Placement;

/// Corpora that are read at once; beyond that nobody waits, the question reads it then.
const AT_ONCE: usize = 4;

/// Reads corpora for questions that have not come yet.
#[derive(Clone, Debug)]
pub struct Prefetch {
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Default for Prefetch {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(AT_ONCE)),
            tasks: TaskTracker::new(),
        }
    }
}

impl Prefetch {
    /// Begins, if there is room, and returns at once.
    pub(crate) fn begin(&self, search: &Search, placement: Placement) {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            return;
        };
        let search = search.clone();
        self.tasks.spawn(async move {
            if let Err(error) = search.prefetch(placement).await {
                debug!(tenant = %placement.tenant, %error, "a corpus can't be read ahead");
            }
            drop(place);
        });
    }
}
