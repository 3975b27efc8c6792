//! Moving what was read from the tail of a tenant into segments, when enough of it has come or time has passed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use quire_index::Folded;
use quire_queue::{Attempt, Failure, Priority, Task, Wishes};
use quire_store::{TenantTx, segments};

use super::{SweepObjects, TierNotebooks, failure, placement};
use crate::{Error, Ingest};

/// What was folded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoldTotals {
    /// Folds and merges that wrote something.
    pub folds: u64,
    /// Passages that moved out of tails.
    pub folded: u64,
    /// Passages that moved from segments into others.
    pub merged: u64,
    /// Bytes written to the object store.
    pub written_bytes: u64,
    /// How old the oldest passage was that the latest fold of a tail moved, in milliseconds.
    pub lag_ms: u64,
}

/// Counts what is folded.
#[derive(Default)]
pub(crate) struct Folds {
    folds: AtomicU64,
    folded: AtomicU64,
    merged: AtomicU64,
    written_bytes: AtomicU64,
    lag_ms: AtomicU64,
}

impl Folds {
    fn add(&self, done: Folded) {
        for (counter, count) in [
            (&self.folds, 1),
            (&self.folded, done.folded.unsigned_abs()),
            (&self.merged, done.merged.unsigned_abs()),
            (&self.written_bytes, done.written_bytes),
        ] {
            counter.fetch_add(count, Ordering::Relaxed);
        }
        if let Some(lag) = done.lag {
            let lag_ms = u64::try_from(lag.as_millis()).unwrap_or(u64::MAX);
            self.lag_ms.store(lag_ms, Ordering::Relaxed);
        }
    }

    pub(crate) fn totals(&self) -> FoldTotals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FoldTotals {
            folds: read(&self.folds),
            folded: read(&self.folded),
            merged: read(&self.merged),
            written_bytes: read(&self.written_bytes),
            lag_ms: read(&self.lag_ms),
        }
    }
}

/// Folds the tail of its tenant if that is due, and merges segments.
#[derive(Serialize, Deserialize)]
pub struct FoldTail {}

impl FoldTail {
    /// Makes sure that what this transaction changed is folded in time: soon when the tail is long, else
    /// when it is old; and that what nothing names goes, however it came to be so. One task of each sort waits
    /// at most, however much changes, and none where there is nothing to gain.
    pub(crate) async fn plan(tx: &mut TenantTx, ingest: &Ingest) -> Result<(), Error> {
        let policy = ingest.config.search.fold_policy();
        let tail = segments::tail_size(tx).await?;
        if tail.rows >= i64::from(policy.tail_rows) {
            Self::after(tx, "fold-now", Duration::ZERO).await?;
        } else if tail.rows >= i64::from(policy.least_rows)
            || segments::are_worn(tx, policy.segments, policy.dead_share).await?
        {
            Self::after(tx, "fold", policy.tail_age).await?;
        }
        SweepObjects::plan(tx, ingest.config.object_grace).await
    }

    async fn after(tx: &mut TenantTx, key: &str, delay: Duration) -> Result<(), Error> {
        let wishes = Wishes::once(key, delay);
        quire_queue::enqueue_with(tx, &Self {}, wishes).await?;
        Ok(())
    }
}

#[async_trait]
impl Task for FoldTail {
    const KIND: &'static str = "fold-tail";
    const PRIORITY: Priority = Priority::Low;
    const TIMEOUT: Duration = Duration::from_mins(30);
    type Context = Ingest;

    async fn run(&self, ingest: &Ingest, attempt: &Attempt) -> Result<(), Failure> {
        let config = &ingest.config;
        let Some(placement) = placement(&config.store, attempt).await.map_err(failure)? else {
            return Ok(());
        };
        let done = config.search.fold_due(placement).await.map_err(failure)?;
        if done.written_bytes > 0 {
            ingest.folds.add(done);
            tracing::info!(
                tenant = %placement.tenant,
                folded_passages = done.folded,
                merged_passages = done.merged,
                written_bytes = done.written_bytes,
                "moved passages into segments"
            );
        }
        let mut tx = config.store.tenant(placement).await.map_err(failure)?;
        // A tail that came to stay while this waited, or was too young, has its own time.
        let policy = config.search.fold_policy();
        let tail = segments::tail_size(&mut tx).await.map_err(failure)?;
        if tail.rows >= i64::from(policy.least_rows) {
            Self::after(&mut tx, "fold", policy.tail_age)
                .await
                .map_err(failure)?;
        }
        SweepObjects::plan(&mut tx, config.object_grace)
            .await
            .map_err(failure)?;
        TierNotebooks::plan(&mut tx).await.map_err(failure)?;
        tx.commit().await.map_err(failure)
    }

    async fn gave_up(&self, _: &Ingest, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        // Stays visible among the dead tasks. Search goes on from the tail, and the next change plans
        // another one.
        Ok(())
    }
}
