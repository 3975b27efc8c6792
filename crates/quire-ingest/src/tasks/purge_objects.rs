//! Removing bytes that no row names any more, after their grace.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use quire_queue::{Attempt, Failure, Priority, Task};
use quire_store::ObjectKey;

use super::{failure, placement};
use crate::Ingest;

/// Removes objects for good.
#[derive(Serialize, Deserialize)]
pub struct PurgeObjects {
    /// The objects, all of one tenant.
    pub objects: Vec<ObjectKey>,
}

#[async_trait]
impl Task for PurgeObjects {
    const KIND: &'static str = "purge-objects";
    const PRIORITY: Priority = Priority::Maintenance;
    const TIMEOUT: Duration = Duration::from_secs(300);
    type Context = Ingest;

    async fn run(&self, ingest: &Ingest, attempt: &Attempt) -> Result<(), Failure> {
        let store = &ingest.config.store;
        let Some(placement) = placement(store, attempt).await.map_err(failure)? else {
            return Ok(());
        };
        for object in &self.objects {
            // A payload is only data: the key must lie inside the tenant the task belongs to.
            let object = ObjectKey::stored(placement, object.as_str()).map_err(failure)?;
            store.objects().delete(&object).await.map_err(failure)?;
        }
        Ok(())
    }

    async fn gave_up(&self, _: &Ingest, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        // Stays visible among the dead tasks; nobody waits for it.
        Ok(())
    }
}
