//! Telling others what happened here, by signed requests that are repeated until they are taken.
//!
//! What happens writes an event beside itself ([`quire_queue::announce`]); [`DeliverEvents`] sends what is due
//! for one endpoint. An endpoint that does not answer is tried less and less often and disabled after five
//! days; what was sent is kept for a month and can be sent again.

mod deliver;

use quire_queue::announce;
use quire_store::outbox::{self, Endpoint, NewEvent, Wish};
use quire_store::sealed::Purpose;
use quire_store::{Placement, TenantTx};
use quire_types::{EndpointId, EndpointState, MessageId, Secret, TenantId, Timestamp};
use serde_json::json;

pub use deliver::DeliverEvents;

use crate::{Connect, Error, standard};

/// Types of events and what they mean.
pub const EVENT_TYPES: [(&str, &str); 8] = [
    ("source.published", "a version of a source can be found"),
    (
        "source.failed",
        "a source can't be read; its reason says why",
    ),
    ("source.deleted", "a source is gone"),
    (
        "notebook.deleted",
        "a notebook is gone with all its sources",
    ),
    ("records.synced", "changes of records can be found"),
    (
        "question.answered",
        "the answer to a question that was to be answered later is there",
    ),
    (
        "question.failed",
        "a question that was to be answered later has no answer; its reason says why",
    ),
    (
        "endpoint.disabled",
        "an endpoint failed for too long, or said that it is gone",
    ),
];

fn purpose(tenant: TenantId, endpoint: EndpointId) -> Purpose {
    Purpose::of_tenant(tenant, "endpoint", &endpoint.to_string())
}

impl Connect {
    /// Makes an endpoint. Returns it with the key of its signatures, which is shown once.
    pub async fn create_endpoint(
        &self,
        placement: Placement,
        wish: &Wish<'_>,
    ) -> Result<(Endpoint, Secret), Error> {
        self.check_wish(wish)?;
        let id = EndpointId::generate();
        let (secret, sealed) = self.new_secret(placement.tenant, id)?;
        let mut tx = self.config.store.tenant(placement).await?;
        let endpoint = outbox::create_endpoint(&mut tx, id, wish, &sealed).await?;
        tx.commit().await?;
        Ok((endpoint, secret))
    }

    /// Changes an endpoint. One that is made active again gets what has waited for it.
    pub async fn change_endpoint(
        &self,
        placement: Placement,
        id: EndpointId,
        wish: &Wish<'_>,
        state: EndpointState,
    ) -> Result<Endpoint, Error> {
        self.check_wish(wish)?;
        let mut tx = self.config.store.tenant(placement).await?;
        let endpoint = outbox::change_endpoint(&mut tx, id, wish, state).await?;
        if state == EndpointState::Active {
            deliver::plan_now(&mut tx, id).await?;
        }
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(endpoint)
    }

    /// Gives an endpoint another key, which is shown once; the one before goes on signing for a day.
    pub async fn rotate_endpoint(
        &self,
        placement: Placement,
        id: EndpointId,
    ) -> Result<Secret, Error> {
        let (secret, sealed) = self.new_secret(placement.tenant, id)?;
        let mut tx = self.config.store.tenant(placement).await?;
        outbox::rotate_secret(&mut tx, id, &sealed).await?;
        tx.commit().await?;
        Ok(secret)
    }

    /// Sends an endpoint a message that means nothing, so that its owner sees whether it arrives.
    pub async fn test_endpoint(
        &self,
        placement: Placement,
        id: EndpointId,
    ) -> Result<MessageId, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let event = NewEvent {
            kind: "endpoint.test",
            data: json!({ "endpoint": id }),
            origin: None,
        };
        let message = outbox::emit_to(&mut tx, id, &event).await?;
        deliver::plan_now(&mut tx, id).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(message)
    }

    /// Sends an endpoint everything of a time range again. Returns how many events that is.
    pub async fn replay(
        &self,
        placement: Placement,
        id: EndpointId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<u64, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let endpoint = outbox::endpoint(&mut tx, id).await?;
        let count = outbox::replay(&mut tx, &endpoint, from, to).await?;
        deliver::plan_now(&mut tx, id).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(count)
    }

    fn new_secret(&self, tenant: TenantId, id: EndpointId) -> Result<(Secret, Vec<u8>), Error> {
        let secret = standard::generate()?;
        let sealed = self.config.keyring.seal(&purpose(tenant, id), &secret)?;
        Ok((secret, sealed))
    }

    fn check_wish(&self, wish: &Wish<'_>) -> Result<(), Error> {
        self.config.egress.check(wish.url)?;
        let is_known = |kind: &String| EVENT_TYPES.iter().any(|(known, _)| known == kind);
        match wish.types.iter().find(|kind| !is_known(kind)) {
            None => Ok(()),
            Some(unknown) => {
                let known: Vec<&str> = EVENT_TYPES.iter().map(|(name, _)| *name).collect();
                Err(Error::Invalid(format!(
                    "'{unknown}' is no type of event: choose among {}",
                    known.join(", ")
                )))
            }
        }
    }
}

/// Stops sending to an endpoint, and tells the others.
async fn disable(tx: &mut TenantTx, id: EndpointId, reason: &str) -> Result<(), Error> {
    outbox::disable(tx, id, reason).await?;
    let event = NewEvent {
        kind: "endpoint.disabled",
        data: json!({ "endpoint": id, "reason": reason }),
        origin: None,
    };
    announce(tx, &[event]).await?;
    Ok(())
}
