//! Records of other products, from the event to the source that search finds.
//!
//! [`parse`] reads what was sent, [`Connect::hear`] keeps what is news and plans [`SyncRecords`], which
//! renders records by [`template`]s, embeds them in batches and publishes them. Order, repetition and speed
//! of the events make no difference to where it ends.

mod event;
mod fields;
mod sync;
pub mod template;

use std::time::Duration;

use quire_queue::Wishes;
use quire_store::records::{self as rows, Event, Heard};
use quire_store::{Placement, TenantTx};
use quire_types::Lane;

pub use event::{MOST_EVENTS, Refused, parse};
pub(crate) use event::{event, type_name};
pub use sync::SyncRecords;

use crate::{Connect, Error};

/// How long changes of a lane are gathered before they are worked on.
const fn window(lane: Lane) -> Duration {
    match lane {
        Lane::Realtime => Duration::from_millis(200),
        Lane::Standard => Duration::from_secs(2),
        Lane::Batch => Duration::from_secs(5),
    }
}

impl Connect {
    /// Takes events in. They are kept when this returns, and found a little later. Says what became of each.
    pub async fn hear(&self, placement: Placement, events: &[Event]) -> Result<Vec<Heard>, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let heard = hear_in(&mut tx, events).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(heard)
    }

    /// Queues failed records again. Returns how many.
    pub async fn retry_records(&self, placement: Placement) -> Result<u64, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let count = rows::retry(&mut tx).await?;
        plan(&mut tx, Lane::Batch, Duration::ZERO).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(count)
    }

    /// Gives records of a type a template of the tenant's own, or again the one that ships, and queues what is
    /// there to be rendered by it. A template is tried on its sample first.
    pub async fn set_template(
        &self,
        placement: Placement,
        kind: &str,
        new: Option<(&str, &serde_json::Value)>,
    ) -> Result<u64, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        match new {
            Some((source, sample)) => {
                template::try_out(kind, source, sample)?;
                rows::set_type(&mut tx, kind, source, sample).await?;
            }
            None => rows::unset_type(&mut tx, kind).await?,
        }
        let count = rows::render_again(&mut tx, kind).await?;
        plan(&mut tx, Lane::Batch, Duration::ZERO).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(count)
    }
}

/// The same in the caller's transaction.
pub(crate) async fn hear_in(tx: &mut TenantTx, events: &[Event]) -> Result<Vec<Heard>, Error> {
    let heard = rows::hear(tx, events).await?;
    for &lane in Lane::ALL {
        let has_news = events
            .iter()
            .zip(&heard)
            .any(|(event, heard)| event.lane == lane && *heard == Heard::Applied);
        if has_news {
            plan(tx, lane, window(lane)).await?;
        }
    }
    Ok(heard)
}

/// Makes sure that a task looks at the lane after this much time. One waits at most.
async fn plan(tx: &mut TenantTx, lane: Lane, delay: Duration) -> Result<(), Error> {
    let wishes = Wishes {
        priority: Some(sync::priority(lane)),
        ..Wishes::once(format!("records/{lane}"), delay)
    };
    quire_queue::enqueue_with(tx, &SyncRecords { lane }, wishes).await?;
    Ok(())
}
