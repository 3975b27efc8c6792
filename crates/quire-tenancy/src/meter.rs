//! The way of usage events into the database: collected here and written in batches, in the order of time.
//!
//! What the database does not take is kept and tried again; when too much waits, nothing new is admitted,
//! for work that can't be counted must not be done.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as Turn, Notify};
use tracing::warn;

use quire_store::Store;

use crate::Error;
use crate::usage::{self, Event};

/// The longest an event waits before it is written.
pub const FLUSH_AFTER: Duration = Duration::from_millis(20);
/// Events that are written in one statement.
const BATCH: usize = 2_000;
/// Events that may wait while the database does not take any.
const MOST_WAITING: usize = 100_000;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(crate) struct Meter {
    waiting: Mutex<VecDeque<Event>>,
    bell: Notify,
    /// One writer at a time, so that whoever flushes knows that all before is written.
    writing: Turn<()>,
}

impl Meter {
    /// Takes an event; it will be written.
    pub(crate) fn push(&self, event: Event) {
        self.waiting().push_back(event);
        self.bell.notify_one();
    }

    /// Whether nothing more may be begun.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting().len() >= MOST_WAITING
    }

    /// Writes everything that waits.
    pub(crate) async fn flush(&self, store: &Store) -> Result<(), Error> {
        let _turn = self.writing.lock().await;
        loop {
            // Events stay here until they are written: whoever stops polling this loses none.
            let batch: Vec<Event> = self.waiting().iter().take(BATCH).cloned().collect();
            if batch.is_empty() {
                return Ok(());
            }
            usage::record(store, &batch).await?;
            self.waiting().drain(..batch.len());
        }
    }

    /// Writes what comes, for as long as it is polled.
    pub(crate) async fn run(&self, store: &Store) {
        let mut pause = FIRST_PAUSE;
        loop {
            self.bell.notified().await;
            tokio::time::sleep(FLUSH_AFTER).await;
            while let Err(error) = self.flush(store).await {
                warn!(%error, waiting = self.waiting().len(), "usage can't be written; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            pause = FIRST_PAUSE;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Event>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
