//! Moving what was read from the tail of a tenant into segments, when enough of it has come or time has passed.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use quire_queue::{Attempt, Existing, Failure, Priority, Task, Unique, Wishes};
use quire_store::{TenantTx, segments};

use super::{failure, placement};
use crate::{Error, Ingest};

/// Folds the tail of its tenant if that is due, and merges segments.
#[derive(Serialize, Deserialize)]
pub struct FoldTail {}

impl FoldTail {
    /// Makes sure that what this transaction changed is folded in time: soon when the tail is long, else
    /// when it is old. One task of each sort waits at most, however much changes, and none where there is
    /// nothing to gain.
    pub(crate) async fn plan(tx: &mut TenantTx, ingest: &Ingest) -> Result<(), Error> {
        let policy = ingest.config.search.fold_policy();
        let tail = segments::tail_size(tx).await?;
        let (key, delay) = if tail.rows >= i64::from(policy.tail_rows) {
            ("fold-now", Duration::ZERO)
        } else if tail.rows >= i64::from(policy.least_rows)
            || segments::are_worn(tx, policy.dead_share).await?
        {
            ("fold", policy.tail_age)
        } else {
            return Ok(());
        };
        let wishes = Wishes {
            delay,
            unique: Some(Unique {
                key: key.to_owned(),
                existing: Existing::Keep,
            }),
            ..Wishes::default()
        };
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
            tracing::info!(
                tenant = %placement.tenant,
                folded_passages = done.folded,
                merged_passages = done.merged,
                written_bytes = done.written_bytes,
                "moved passages into segments"
            );
        }
        Ok(())
    }

    async fn gave_up(&self, _: &Ingest, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        // Stays visible among the dead tasks. Search goes on from the tail, and the next change plans
        // another one.
        Ok(())
    }
}
