//! Moving a tenant's notebooks to the tiers where they belong, when the next of them is due.
//!
//! Each run plans the next one, so a tenant is looked at when something is to happen and at no other time.
//! Tenants whose passages fit into the tail have nothing to gain and are never looked at.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use quire_queue::{Attempt, Failure, Priority, Task, Wishes};
use quire_store::TenantTx;
use quire_types::{ErrorKind, Kind};

use super::{FoldTail, failure, placement};
use crate::tiers::tier_notebooks;
use crate::{Error, Ingest};

/// Nothing is so urgent that it is looked at more often.
const LEAST: Duration = Duration::from_hours(1);
/// Notebooks of a tenant are looked at as often at least: somebody may have brought one back meanwhile.
const MOST: Duration = Duration::from_hours(30 * 24);

/// Moves every notebook of its tenant to the tier where it belongs.
#[derive(Serialize, Deserialize)]
pub struct TierNotebooks {}

impl TierNotebooks {
    /// Makes sure that the tenant's notebooks are looked at one day. One such task waits at most.
    ///
    /// # Errors
    /// Those of the database.
    pub(crate) async fn plan(tx: &mut TenantTx) -> Result<(), Error> {
        Self::after(tx, "tiers", Duration::from_hours(24)).await
    }

    /// Has them looked at now: a rule that applies to them has changed.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn now(tx: &mut TenantTx) -> Result<(), Error> {
        Self::after(tx, "tiers-now", Duration::ZERO).await
    }

    async fn after(tx: &mut TenantTx, key: &str, delay: Duration) -> Result<(), Error> {
        let wishes = Wishes::once(key, delay);
        quire_queue::enqueue_with(tx, &Self {}, wishes).await?;
        Ok(())
    }
}

#[async_trait]
impl Task for TierNotebooks {
    const KIND: &'static str = "tier-notebooks";
    const PRIORITY: Priority = Priority::Maintenance;
    const TIMEOUT: Duration = Duration::from_mins(30);
    type Context = Ingest;

    async fn run(&self, ingest: &Ingest, attempt: &Attempt) -> Result<(), Failure> {
        let config = &ingest.config;
        let Some(placement) = placement(&config.store, attempt).await.map_err(failure)? else {
            return Ok(());
        };
        let moved = tier_notebooks(&config.store, &config.search, &config.control, placement);
        let due = match moved.await {
            Ok(due) => due,
            // Not in use: nothing is read or written for it, and its notebooks stay where they are.
            Err(error) if error.kind() == ErrorKind::Forbidden => return Ok(()),
            Err(error) => return Err(failure(error)),
        };
        let wait = due.map_or(MOST, |due| due.clamp(LEAST, MOST));
        let mut tx = config.store.tenant(placement).await.map_err(failure)?;
        Self::after(&mut tx, "tiers", wait).await.map_err(failure)?;
        // What moved leaves old segments behind, and so did questions that brought notebooks back.
        FoldTail::plan(&mut tx, ingest).await.map_err(failure)?;
        tx.commit().await.map_err(failure)
    }

    async fn gave_up(&self, _: &Ingest, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        // Stays visible among the dead tasks. The notebooks stay where they are, which costs money and
        // nothing else; the next fold plans another one.
        Ok(())
    }
}
