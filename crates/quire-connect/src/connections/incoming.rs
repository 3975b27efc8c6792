//! Signed webhooks that bring records (Standard Webhooks): checked, remembered and kept in one short
//! transaction, and nothing else, since senders wait for the answer.

use chrono::Utc;

use quire_store::Placement;
use quire_store::connections as rows;
use quire_types::{ConnectionId, ConnectionState, ErrorKind, Kind, Lane};

use super::{WEBHOOK, purpose};
use crate::records::{hear_in, parse};
use crate::standard::{Doubt, verify};
use crate::{Connect, Error};

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// The header `webhook-id`.
    pub id: &'a str,
    /// The header `webhook-timestamp`.
    pub timestamp: &'a str,
    /// The header `webhook-signature`.
    pub signature: &'a str,
    /// The body, byte by byte.
    pub body: &'a [u8],
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is kept.
    Taken,
    /// It was taken before.
    Known,
    /// It is not believed.
    Doubted(Doubt),
    /// There is no such connection, or it is paused.
    Nobody,
}

impl Connect {
    /// Takes a signed webhook in. Its body is an event, an array or lines of them, as for records.
    pub async fn receive(
        &self,
        placement: Placement,
        connection: ConnectionId,
        incoming: Incoming<'_>,
    ) -> Result<Verdict, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let connection = match rows::get(&mut tx, connection).await {
            Ok(connection) => connection,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Verdict::Nobody),
            Err(error) => return Err(error.into()),
        };
        if connection.kind != WEBHOOK || connection.state != ConnectionState::Active {
            return Ok(Verdict::Nobody);
        }
        let purpose = purpose(placement.tenant, connection.id);
        let secret = self.config.keyring.unseal(&purpose, &connection.secret)?;
        let Incoming {
            id,
            timestamp,
            signature,
            body,
        } = incoming;
        let now = Utc::now().timestamp();
        if let Err(doubt) = verify(&[secret], id, timestamp, signature, body, now) {
            return Ok(Verdict::Doubted(doubt));
        }
        if !rows::hear(&mut tx, connection.id, id).await? {
            return Ok(Verdict::Known);
        }
        let (events, refused) = parse(body, Lane::Realtime)?;
        if let Some(bad) = refused.first() {
            // Nothing of it is kept, so that the sender can mend and repeat it under the same id.
            return Err(Error::Invalid(format!(
                "event {}: {}",
                bad.index, bad.reason
            )));
        }
        hear_in(&mut tx, &events).await?;
        rows::note_heard(&mut tx, &connection).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(Verdict::Taken)
    }
}
