//! The version of a tenant's corpus, read once for all who ask at the same time.
//!
//! A read that is shared began after everybody who shares it had come, so each sees all that was committed before
//! its question, just as if it had read alone.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use moka::sync::Cache;

use quire_store::{Placement, Store, corpus};

use crate::Error;

/// Lines of tenants that are kept, for so long after they were used.
const LINES: u64 = 100_000;
const IDLE: Duration = Duration::from_mins(1);

/// The version, and how often the tenant's cache was emptied.
pub(crate) type Version = (i64, i64);
type Read = Shared<BoxFuture<'static, Result<Version, Arc<quire_store::Error>>>>;

/// Reads of versions.
#[derive(Clone)]
pub(crate) struct Versions {
    lines: Cache<Placement, Arc<Line>>,
}

/// Those who ask about one tenant.
#[derive(Default)]
struct Line {
    /// Held while a read runs.
    running: tokio::sync::Mutex<()>,
    /// The read that begins when that one is over; whoever comes meanwhile shares it.
    next: Mutex<Option<Read>>,
}

impl Default for Versions {
    fn default() -> Self {
        let lines = Cache::builder().max_capacity(LINES).time_to_idle(IDLE);
        Self {
            lines: lines.build(),
        }
    }
}

impl Versions {
    /// The version as of now or later.
    pub(crate) async fn read(&self, store: &Store, placement: Placement) -> Result<Version, Error> {
        let line = self.lines.get_with(placement, Arc::default);
        let read = {
            let mut next = line.next.lock().unwrap_or_else(PoisonError::into_inner);
            next.get_or_insert_with(|| begin(store.clone(), placement, line.clone()))
                .clone()
        };
        Ok(read.await?)
    }
}

fn begin(store: Store, placement: Placement, line: Arc<Line>) -> Read {
    let read = async move {
        let _running = line.running.lock().await;
        // From here on nobody may share it any more.
        drop(
            line.next
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        let mut tx = store.tenant(placement).await?;
        let version = corpus::cached_under(&mut tx).await?;
        tx.commit().await?;
        Ok(version)
    };
    // A task of its own: whoever goes away must not take the others' read along.
    let read = tokio::spawn(read);
    let read = async move {
        match read.await {
            Ok(version) => version.map_err(|error: quire_store::Error| Arc::new(error)),
            Err(_) => Err(Arc::new(quire_store::Error::Interrupted)),
        }
    };
    read.boxed().shared()
}
