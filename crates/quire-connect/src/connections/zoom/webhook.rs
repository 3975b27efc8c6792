//! Webhooks of Zoom: one address for all tenants, signed with the secret of the installation's app.
//!
//! A message is a hint, nothing more: it says in which account something happened to which meeting. Every connection
//! that was let into the account looks there with its own token, so a message, even one that is not true, shows
//! nobody what is not his. Nothing of its content is kept; looking is a task, since Zoom waits three seconds.

use std::time::Duration;

use chrono::Utc;
use ring::hmac;
use serde_json::Value;

use quire_store::connections as rows;
use quire_store::{Placement, accounts};
use quire_types::{ConnectionId, ConnectionState, ErrorKind, Kind, Secret};

use crate::connections::{SyncConnection, ZOOM};
use crate::standard::{Doubt, TOLERANCE_S};
use crate::{Connect, Error};

/// What tells that there is something to look at.
const EVENTS: [&str; 6] = [
    "meeting.ended",
    "recording.completed",
    "recording.transcript_completed",
    "recording.trashed",
    "recording.deleted",
    "recording.recovered",
];

/// A request as it came.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// The header `x-zm-request-timestamp`.
    pub timestamp: &'a str,
    /// The header `x-zm-signature`.
    pub signature: &'a str,
    /// The body, byte by byte.
    pub body: &'a [u8],
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It will be looked at, or is nothing to look at.
    Taken,
    /// Zoom asks whether the secret is known here.
    Challenge {
        /// What it sent.
        plain: String,
        /// What only somebody with the secret makes of it.
        encrypted: String,
    },
    /// It is not believed.
    Doubted(Doubt),
    /// This installation is not known to Zoom.
    Nobody,
}

fn key(secret: &Secret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks_exact(2);
    let is_whole = digits.remainder().is_empty();
    let bytes: Option<Vec<u8>> = digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    bytes.filter(|_| is_whole)
}

fn verify(secret: &Secret, notice: &Notice<'_>, now: i64) -> Result<(), Doubt> {
    let at: i64 = notice.timestamp.parse().map_err(|_| Doubt::Incomplete)?;
    let signature = notice.signature.strip_prefix("v0=");
    let signature = signature.ok_or(Doubt::Incomplete)?;
    if now.abs_diff(at) > TOLERANCE_S.unsigned_abs() {
        return Err(Doubt::Time);
    }
    let signature = bytes(signature).ok_or(Doubt::Signature)?;
    let mut message = format!("v0:{}:", notice.timestamp).into_bytes();
    message.extend_from_slice(notice.body);
    hmac::verify(&key(secret), &message, &signature).map_err(|_| Doubt::Signature)
}

impl Connect {
    /// Takes in a webhook of Zoom.
    pub async fn receive_zoom(&self, notice: Notice<'_>) -> Result<Heard, Error> {
        let Some(app) = &self.config.zoom else {
            return Ok(Heard::Nobody);
        };
        let secret = &app.webhook_secret;
        if let Err(doubt) = verify(secret, &notice, Utc::now().timestamp()) {
            return Ok(Heard::Doubted(doubt));
        }
        let body: Value = serde_json::from_slice(notice.body)
            .map_err(|error| Error::Invalid(format!("the body is no JSON: {error}")))?;
        let event = body["event"].as_str().unwrap_or_default();
        let payload = &body["payload"];
        // Only behind the signature: whoever could ask for this without one could sign anything.
        if event == "endpoint.url_validation" {
            let plain = payload["plainToken"].as_str().unwrap_or_default();
            let encrypted = hmac::sign(&key(secret), plain.as_bytes());
            return Ok(Heard::Challenge {
                plain: plain.to_owned(),
                encrypted: hex(encrypted.as_ref()),
            });
        }
        let Some(account) = payload["account_id"].as_str() else {
            return Ok(Heard::Taken);
        };
        let meeting = payload["object"]["uuid"].as_str();
        let meeting = meeting.filter(|id| EVENTS.contains(&event) && (1..=100).contains(&id.len()));
        if meeting.is_none() && event != "app_deauthorized" {
            return Ok(Heard::Taken);
        }
        let mut tx = self.config.store.system().await?;
        let connections = accounts::connections(&mut tx, ZOOM, account).await?;
        tx.commit().await?;
        let message = format!(
            "{event}/{}/{}",
            body["event_ts"],
            meeting.unwrap_or_default()
        );
        for (tenant, connection) in connections {
            if let Some(placement) = self.placement_of(tenant).await? {
                self.hint(placement, connection, &message, meeting).await?;
            }
        }
        self.config.bell.notify_one();
        Ok(Heard::Taken)
    }

    /// Makes one connection look at a meeting, or at its own state.
    async fn hint(
        &self,
        placement: Placement,
        id: ConnectionId,
        message: &str,
        meeting: Option<&str>,
    ) -> Result<(), Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let connection = match rows::get(&mut tx, id).await {
            Ok(connection) => connection,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let message: String = message.chars().take(300).collect();
        if connection.state != ConnectionState::Active || !rows::hear(&mut tx, id, &message).await?
        {
            return Ok(());
        }
        let task = SyncConnection {
            item: meeting.map(str::to_owned),
            ..SyncConnection::of(id)
        };
        task.plan(&mut tx, Duration::ZERO).await?;
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    const BODY: &[u8] = br#"{"event":"recording.completed","event_ts":1700000000000,"payload":{"account_id":"acc1","object":{"uuid":"u1"}}}"#;
    const SIGNATURE: &str = "v0=58ec75c91c9dc81f832d736fe0d7ad522c27f1bda99e2013004de4f847120ba6";
    const AT: i64 = 1_700_000_000;

    #[test]
    fn only_what_zoom_signed_in_time_is_believed() {
        let secret = Secret::new("zoom_secret_token_123");
        let check = |timestamp: &str, signature: &str, body: &[u8], now: i64| {
            let notice = Notice {
                timestamp,
                signature,
                body,
            };
            verify(&secret, &notice, now)
        };
        let at = AT.to_string();
        assert_eq!(check(&at, SIGNATURE, BODY, AT + 300), Ok(()));
        let cut = &SIGNATURE[..SIGNATURE.len() - 1];
        for (timestamp, signature, body, now, doubt) in [
            (at.as_str(), SIGNATURE, BODY, AT + 301, Doubt::Time),
            (&at, SIGNATURE, BODY, AT - 301, Doubt::Time),
            (&at, SIGNATURE, b"{}".as_slice(), AT, Doubt::Signature),
            ("1700000001", SIGNATURE, BODY, AT, Doubt::Signature),
            (&at, cut, BODY, AT, Doubt::Signature),
            (&at, "v0=", BODY, AT, Doubt::Signature),
            (&at, "v0=zz", BODY, AT, Doubt::Signature),
            (&at, "v0=\u{e9}\u{e9}", BODY, AT, Doubt::Signature),
            (&at, &SIGNATURE[3..], BODY, AT, Doubt::Incomplete),
            ("soon", SIGNATURE, BODY, AT, Doubt::Incomplete),
            ("", "", BODY, AT, Doubt::Incomplete),
        ] {
            let found = check(timestamp, signature, body, now);
            assert_eq!(found, Err(doubt), "{timestamp} {signature} {now}");
        }
        let answer = hmac::sign(&key(&secret), b"qgg8vlvZRS6UYooatFL8Aw");
        let expected = "2df5fa03ed8ac736e86fd42dfeb323dea9b55490e8b5c6dab0b21c00a852fe26";
        assert_eq!(hex(answer.as_ref()), expected);
        assert_eq!(bytes(expected).unwrap(), answer.as_ref());
    }
}
