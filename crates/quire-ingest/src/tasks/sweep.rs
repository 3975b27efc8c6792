//! Removing the objects of segments that nothing names any more, after their grace.
//!
//! Planned by whatever retires a segment, for the time when the oldest retired one is due; no tenant is
//! looked at for any other reason.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use quire_queue::{Attempt, Failure, Priority, Task, Wishes};
use quire_store::{TenantTx, segments};

use super::{failure, placement};
use crate::{Error, Ingest};

/// Added to the time when something is due: clocks of machines differ a little.
const SLACK: Duration = Duration::from_mins(1);

/// Sweeps the object store of its tenant: retired segments, and what no row names.
#[derive(Serialize, Deserialize)]
pub struct SweepObjects {}

impl SweepObjects {
    /// Whatever is younger may belong to an upload or a fold that is still under way.
    pub const LEAST_AGE: Duration = Duration::from_hours(1);

    /// Makes sure that what is retired now is removed after the grace. One task waits at most; none where
    /// nothing is retired.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn plan(tx: &mut TenantTx, grace: Duration) -> Result<(), Error> {
        let retired = segments::all_retired(tx).await?;
        let grace = grace.max(Self::LEAST_AGE);
        let Some(oldest) = retired.first() else {
            return Ok(());
        };
        let age = segments::now(tx).await? - oldest.retired_at;
        let age = age.to_std().unwrap_or_default();
        Self::after(tx, grace.saturating_sub(age) + SLACK).await
    }

    async fn after(tx: &mut TenantTx, delay: Duration) -> Result<(), Error> {
        let wishes = Wishes::once("sweep", delay);
        quire_queue::enqueue_with(tx, &Self {}, wishes).await?;
        Ok(())
    }
}

#[async_trait]
impl Task for SweepObjects {
    const KIND: &'static str = "sweep-objects";
    const PRIORITY: Priority = Priority::Maintenance;
    const TIMEOUT: Duration = Duration::from_mins(30);
    type Context = Ingest;

    async fn run(&self, ingest: &Ingest, attempt: &Attempt) -> Result<(), Failure> {
        let config = &ingest.config;
        let Some(placement) = placement(&config.store, attempt).await.map_err(failure)? else {
            return Ok(());
        };
        let grace = config.object_grace.max(Self::LEAST_AGE);
        let mut tx = config.store.tenant(placement).await.map_err(failure)?;
        let now = segments::now(&mut tx).await.map_err(failure)?;
        tx.commit().await.map_err(failure)?;
        let swept = config
            .search
            .sweep(placement, now, grace, false)
            .await
            .map_err(failure)?;
        if swept.bytes > 0 {
            tracing::info!(
                tenant = %placement.tenant,
                retired_segments = swept.retired.len(),
                orphans = swept.orphans.len(),
                removed_bytes = swept.bytes,
                "removed objects that nothing needs"
            );
        }
        let mut tx = config.store.tenant(placement).await.map_err(failure)?;
        // What was retired since this one was planned is younger, and has its own time.
        Self::plan(&mut tx, grace).await.map_err(failure)?;
        if !swept.noted.is_empty() {
            Self::after(&mut tx, grace + SLACK).await.map_err(failure)?;
        }
        tx.commit().await.map_err(failure)
    }

    async fn gave_up(&self, _: &Ingest, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        // Stays visible among the dead tasks; nobody waits for it, and the next fold plans another one.
        Ok(())
    }
}
