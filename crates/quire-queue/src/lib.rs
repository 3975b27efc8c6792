//! Durable background tasks.
//!
//! A task is a row. [`enqueue`] inserts it in the caller's own transaction, so it exists exactly when
//! the caller's change does. A [`Worker`] claims due rows in a short transaction that counts the
//! attempt, runs them outside any transaction under a lease that it keeps extending, and then deletes
//! the row, plans the next attempt, or sets it aside as dead. A worker that dies leaves leases that run
//! out; a worker that comes back too late is refused by its lease token. So a task runs at least once,
//! and must be written to bear running twice. Knows nothing about what tasks do.

mod backoff;
mod error;
mod rows;
mod task;
mod worker;

use quire_store::MigrationSet;

pub use error::Error;
pub use rows::{Depth, depths, enqueue, enqueue_after};
pub use task::{Attempt, Failure, Priority, Task};
pub use worker::{Worker, WorkerOptions};

/// The tables of the queue.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    schema: "queue",
    steps: &[("tasks", include_str!("../migrations/0001_tasks.sql"))],
};
