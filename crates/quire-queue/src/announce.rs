//! Telling endpoints what happened: the event, its deliveries and the tasks that send them, in one transaction.
//!
//! The sending itself is another crate's; here is only what whoever makes something happen needs.

use std::time::Duration;

use serde_json::json;

use quire_store::TenantTx;
use quire_store::outbox::{self, NewEvent};

use crate::enqueue::enqueue_kind;
use crate::{Error, Priority, Wishes};

/// The kind of the tasks that send events to an endpoint; their payload names it as `endpoint`.
pub const DELIVER_EVENTS: &str = "deliver-events";

/// Writes down what happened for the endpoints that want to hear of it. Ring the bell after the commit. Costs
/// one short statement where nobody does.
pub async fn announce(tx: &mut TenantTx, events: &[NewEvent]) -> Result<(), Error> {
    for endpoint in outbox::emit(tx, events).await? {
        let wishes = Wishes {
            priority: Some(Priority::Normal),
            key: Some(endpoint.to_string()),
            ..Wishes::once(format!("deliver/{endpoint}/now"), Duration::ZERO)
        };
        let payload = json!({ "endpoint": endpoint }).to_string();
        enqueue_kind(tx, DELIVER_EVENTS, [(payload, wishes)]).await?;
    }
    Ok(())
}
