//! Reading again what an older reader read, when a newer one has come: slowly, behind everything else, and search
//! sees what the older one made until the newer one is done.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use quire_queue::{Attempt, Failure, Priority, Task, Wishes};
use quire_store::{PageRequest, TenantTx, readers, tenants};
use quire_types::{MediaType, TenantId, TenantState};

use super::{ReadSource, failure, placement};
use crate::extract::processor;
use crate::progress::queue_reading;
use crate::{Error, Ingest};

/// Sources that are queued at once, so that a large tenant does not fill the queue.
const BATCH: i64 = 50;
/// Between two batches.
const PAUSE: Duration = Duration::from_mins(10);
/// Tenants begin at different times within so long after the upgrade.
const SPREAD: Duration = Duration::from_hours(24);

/// Queues the reading of what older readers read of its tenant, batch by batch.
#[derive(Serialize, Deserialize)]
pub struct RereadSources {}

impl RereadSources {
    /// Makes sure that what older readers read is read again; nothing where there is nothing. One such task waits
    /// at most.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn plan(tx: &mut TenantTx, delay: Duration) -> Result<(), Error> {
        if !readers::outdated(tx, &current(), 1).await?.is_empty() {
            let wishes = Wishes::once("reread", delay);
            quire_queue::enqueue_with(tx, &Self {}, wishes).await?;
        }
        Ok(())
    }
}

/// Every reader as it is in this process.
fn current() -> Vec<(MediaType, i16)> {
    let all = MediaType::ALL.iter();
    all.map(|media| (*media, processor(*media))).collect()
}

/// Grows with every version of a reader.
fn generation() -> i32 {
    current()
        .iter()
        .map(|(_, version)| i32::from(*version))
        .sum()
}

/// The same for a tenant on every try.
fn delay(tenant: TenantId) -> Duration {
    let [.., high, low] = *tenant.uuid().as_bytes();
    SPREAD * u32::from(u16::from_be_bytes([high, low])) / u32::from(u16::MAX)
}

impl Ingest {
    /// Looks through all tenants for what older readers read, if this process has newer ones than any before. Breaking
    /// off does no harm: the next process begins again.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn plan_rereading(&self) -> Result<(), Error> {
        let store = &self.config.store;
        let mut tx = store.system().await?;
        let known = readers::generation(&mut tx).await?;
        tx.commit().await?;
        if known.is_some_and(|known| known >= generation()) {
            return Ok(());
        }
        let mut page = PageRequest::first();
        loop {
            let mut tx = store.system().await?;
            let found = tenants::list(&mut tx, page).await?;
            tx.commit().await?;
            page.after = found.items.last().map(|tenant| tenant.id.uuid());
            for tenant in found.items {
                if matches!(tenant.state, TenantState::Active | TenantState::Suspended) {
                    let mut tx = store.tenant(tenant.placement()).await?;
                    RereadSources::plan(&mut tx, delay(tenant.id)).await?;
                    tx.commit().await?;
                }
            }
            if !found.more {
                break;
            }
        }
        let mut tx = store.system().await?;
        readers::note_generation(&mut tx, generation()).await?;
        Ok(tx.commit().await?)
    }
}

#[async_trait]
impl Task for RereadSources {
    const KIND: &'static str = "reread-sources";
    const PRIORITY: Priority = Priority::Low;
    const TIMEOUT: Duration = Duration::from_mins(5);
    type Context = Ingest;

    async fn run(&self, ingest: &Ingest, attempt: &Attempt) -> Result<(), Failure> {
        let store = &ingest.config.store;
        let Some(placement) = placement(store, attempt).await.map_err(failure)? else {
            return Ok(());
        };
        let mut tx = store.tenant(placement).await.map_err(failure)?;
        let found = readers::outdated(&mut tx, &current(), BATCH).await;
        for id in found.map_err(failure)? {
            let source = readers::read_again(&mut tx, id).await.map_err(failure)?;
            if let Some(source) = source {
                let task = ReadSource {
                    again: true,
                    ..ReadSource::of(&source)
                };
                let wishes = Wishes {
                    priority: Some(Priority::Low),
                    ..Wishes::default()
                };
                queue_reading(&mut tx, id, &task, wishes)
                    .await
                    .map_err(failure)?;
            }
        }
        Self::plan(&mut tx, PAUSE).await.map_err(failure)?;
        tx.commit().await.map_err(failure)?;
        ingest.config.bell.notify_one();
        Ok(())
    }

    async fn gave_up(&self, _: &Ingest, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        // Stays visible among the dead tasks. Search goes on with what the older readers made.
        Ok(())
    }
}
