//! The background half of ingest.

mod embed_corpus;
mod fold_tail;
mod purge_objects;
mod read_recording;
mod read_source;
mod reread_sources;
mod sweep;
mod tier_notebooks;
mod used;

pub use embed_corpus::EmbedCorpus;
pub(crate) use fold_tail::Folds;
pub use fold_tail::{FoldTail, FoldTotals};
pub use purge_objects::PurgeObjects;
pub(crate) use read_recording::Attached;
pub use read_recording::ReadRecording;
pub use read_source::ReadSource;
pub use reread_sources::RereadSources;
pub use sweep::SweepObjects;
pub use tier_notebooks::TierNotebooks;

use quire_queue::{Attempt, Failure};
use quire_store::{Placement, Store, tenants};
use quire_types::{ErrorKind, Kind};

/// Where the task's tenant lives now; none when the tenant is gone and so is the work.
async fn placement(
    store: &Store,
    attempt: &Attempt,
) -> Result<Option<Placement>, quire_store::Error> {
    let mut tx = store.system().await?;
    let tenant = tenants::get(&mut tx, attempt.tenant).await;
    tx.commit().await?;
    match tenant {
        Ok(tenant) => Ok(Some(tenant.placement())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn failure(error: impl Into<crate::Error>) -> Failure {
    Failure::of(&error.into())
}
