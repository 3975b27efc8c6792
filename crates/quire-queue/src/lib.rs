//! Durable background tasks, fair among tenants.
//!
//! A task is a row of `queue.ready`. [`enqueue`] inserts it in the caller's own transaction, so it exists
//! exactly when the caller's change does. Every tenant belongs to a shard and every shard to one
//! [`Worker`], which keeps the order of its ready tasks in memory: priorities by weight, tenants by the
//! time they have used, concurrency keys in turn. A task is noted in a receipt before it runs, runs outside
//! any transaction, and ends by the removal of its row, together with hundreds of others. A worker that
//! dies loses its shards within seconds; what it had begun is found by its receipts, counted as an attempt
//! and moved to a new place, so that the dead can't end it any more. So a task runs at least once, and must
//! bear running twice, unless it ends in the transaction of its own effect ([`Attempt::complete`]). Knows
//! nothing about what tasks do.

mod announce;
mod backoff;
mod enqueue;
mod error;
mod handler;
mod ids;
mod lease;
mod operate;
mod owner;
mod policy;
mod rows;
mod rules;
mod schedule;
mod stats;
mod task;
mod upkeep;
mod waiting;
mod work;
mod worker;

use quire_store::MigrationSet;

pub use announce::{DELIVER_EVENTS, announce};
pub use enqueue::{Existing, Unique, Wishes, enqueue, enqueue_all, enqueue_with};
pub use error::Error;
pub use operate::{DeadGroup, Selection, TaskRow, cancel, dead, discard, get, list, retry};
pub use rules::{
    KindRow, TenantShare, dedicate, kinds, limit_kind, pause_kind, pause_tenant, set_tenant_share,
};
pub use schedule::{
    Missed, Plan, Rule, ScheduleRow, ScheduleSelection, pause_schedule, schedule, schedules,
    unschedule,
};
pub use stats::{
    ALERT_AT, Advice, Event, Level, PriorityStats, SLOW_DOWN_AT, Stats, TenantWork, advise, events,
    level, stats, top_tenants,
};
pub use task::{Attempt, Failure, Priority, Retry, Task};
pub use upkeep::{KEPT_DAYS, upkeep};
pub use waiting::{Wait, waits};
pub use work::{Tally, Totals};
pub use worker::{Worker, WorkerOptions, relay};

/// The tables of the queue.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    schema: "queue",
    steps: &[
        (1, "tasks", include_str!("../migrations/0001_tasks.sql")),
        (2, "owners", include_str!("../migrations/0002_owners.sql")),
        (
            3,
            "cancelled",
            include_str!("../migrations/0003_cancelled.sql"),
        ),
        (
            4,
            "shared keys",
            include_str!("../migrations/0004_shared_keys.sql"),
        ),
        (
            5,
            "less to write",
            include_str!("../migrations/0005_less_to_write.sql"),
        ),
        (6, "places", include_str!("../migrations/0006_places.sql")),
    ],
};
