//! Getting passages back whose segments are lost: from the originals, which are still there.

use quire_index::{Mended, Search};
use quire_queue::Wishes;
use quire_store::{Placement, Store, segments};

use crate::Error;
use crate::progress::queue_reading;
use crate::tasks::ReadSource;

/// Gives up the segments of a tenant that are gone or damaged, and queues the reading of every source that
/// was in them, in one transaction: no source leaves search without a task that brings it back. A segment
/// that can't be judged stays. Needs no model, so an operator's command can call it beside the service.
///
/// # Errors
/// Those of the database; nothing has changed then.
pub async fn mend(store: &Store, search: &Search, placement: Placement) -> Result<Mended, Error> {
    let (lost, unknown): (Vec<_>, Vec<_>) = search
        .problems(placement)
        .await?
        .into_iter()
        .partition(|(_, problem)| problem.is_loss());
    let mut sources = Vec::new();
    if !lost.is_empty() {
        let mut tx = store.tenant(placement).await?;
        for (segment, _) in &lost {
            sources.extend(segments::give_up(&mut tx, *segment).await?);
        }
        for &(source, version) in &sources {
            let task = ReadSource {
                source,
                version,
                again: true,
            };
            queue_reading(&mut tx, source, &task, Wishes::default()).await?;
        }
        tx.commit().await?;
    }
    Ok(Mended {
        segments: lost,
        sources,
        unknown,
    })
}
