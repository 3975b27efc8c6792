//! Notifications of Microsoft Graph: one address for all tenants. They are not signed; each repeats a state that only
//! this installation can make, and that names the organisation.
//!
//! A notification is a hint, nothing more: every connection that was let into the organisation looks there itself.
//! Looking is a task, since Graph slows the address down for everybody when answers take seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::Deserialize;
use serde_json::Value;

use quire_store::connections as rows;
use quire_store::{Placement, accounts};
use quire_types::{ConnectionId, ConnectionState, ErrorKind, Kind, Secret};

use super::super::api::encode;
use super::super::sync::fingerprint;
use super::super::{Heard, SyncConnection, TEAMS};
use super::KeepSubscription;
use crate::{Connect, Error};

/// With more things than this in one request everything is looked at instead.
const MOST_THINGS: usize = 50;
/// The longest path of a thing.
const MOST_PATH: usize = 2_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Notice {
    client_state: String,
    #[serde(default)]
    subscription_id: String,
    #[serde(default)]
    subscription_expiration_date_time: String,
    lifecycle_event: Option<String>,
    resource: Option<String>,
}

/// What follows from a notification.
#[derive(Clone, Debug, PartialEq, Eq)]
enum News {
    /// There is something new at this path.
    Thing(String),
    /// The subscription has to be renewed, or made anew.
    Subscription,
    /// The same, and things were missed.
    Missed,
}

fn tag(secret: &Secret, organisation: &str) -> (hmac::Key, String) {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    (key, format!("teams/{organisation}"))
}

/// What notifications about an organisation repeat.
pub(super) fn client_state(secret: &Secret, organisation: &str) -> String {
    let (key, message) = tag(secret, organisation);
    let tag = hmac::sign(&key, message.as_bytes());
    format!("{organisation}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// The organisation that a state was made for here; none when it was not.
fn organisation<'a>(secret: &Secret, state: &'a str) -> Option<&'a str> {
    let (organisation, given) = state.split_once('.')?;
    let given = URL_SAFE_NO_PAD.decode(given).ok()?;
    let (key, message) = tag(secret, organisation);
    let is_ours = hmac::verify(&key, message.as_bytes(), &given).is_ok();
    is_ours.then_some(organisation)
}

impl Notice {
    /// What follows, and what is the same when it is told again.
    fn news(self) -> Option<(String, News)> {
        let news = match (self.lifecycle_event.as_deref(), self.resource) {
            (Some("reauthorizationRequired"), _) => News::Subscription,
            (Some("subscriptionRemoved" | "missed"), _) => News::Missed,
            (None, Some(path)) => {
                Told::parse(&path)?;
                return Some((fingerprint(&path), News::Thing(path)));
            }
            _ => return None,
        };
        let what = format!(
            "{:?} {} {}",
            self.lifecycle_event, self.subscription_id, self.subscription_expiration_date_time
        );
        Some((fingerprint(&what), news))
    }
}

/// What a notification tells of: a transcript or recording of a meeting.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told<'a> {
    what: &'static str,
    meeting: &'a str,
    part: &'a str,
}

impl<'a> Told<'a> {
    /// Understands `communications/onlineMeetings('…')/transcripts('…')` and the same with slashes.
    pub(super) fn parse(path: &'a str) -> Option<Self> {
        if path.len() > MOST_PATH {
            return None;
        }
        let of = |name: &str| -> Option<&'a str> {
            let (_, rest) = path.split_once(name)?;
            let value = match rest.strip_prefix("('") {
                Some(quoted) => quoted.split_once("')")?.0,
                None => rest.strip_prefix('/')?.split('/').next()?,
            };
            Some(value).filter(|value| !["", ".", ".."].contains(value))
        };
        let meeting = of("onlineMeetings")?;
        let mut kinds = ["transcripts", "recordings"].into_iter();
        let (what, part) = kinds.find_map(|what| Some((what, of(&format!("/{what}"))?)))?;
        Some(Self {
            what,
            meeting,
            part,
        })
    }

    /// Where Graph tells whose it is.
    pub(super) fn path(&self) -> String {
        format!(
            "/communications/onlineMeetings/{}/{}/{}",
            encode(self.meeting),
            self.what,
            encode(self.part)
        )
    }
}

impl Connect {
    /// Whether notifications of Microsoft Graph are expected here.
    pub fn hears_teams(&self) -> bool {
        self.config.teams.is_some()
    }

    /// Takes in notifications of Microsoft Graph. What nobody here asked for is left alone.
    pub async fn receive_teams(&self, body: &[u8]) -> Result<Heard, Error> {
        let Some(app) = &self.config.teams else {
            return Ok(Heard::Nobody);
        };
        let body: Value = serde_json::from_slice(body)
            .map_err(|error| Error::Invalid(format!("the body is no JSON: {error}")))?;
        let notices = body["value"].as_array().into_iter().flatten();
        let mut told: BTreeMap<String, Vec<(String, News)>> = BTreeMap::new();
        for notice in notices.filter_map(|notice| Notice::deserialize(notice).ok()) {
            let organisation = organisation(&app.webhook_secret, &notice.client_state);
            if let Some(organisation) = organisation.map(str::to_owned) {
                told.entry(organisation).or_default().extend(notice.news());
            }
        }
        for (organisation, news) in told {
            let mut tx = self.config.store.system().await?;
            let connections = accounts::connections(&mut tx, TEAMS, &organisation).await?;
            tx.commit().await?;
            for (tenant, connection) in connections {
                if let Some(placement) = self.placement_of(tenant).await? {
                    self.hint_all(placement, connection, &news).await?;
                }
            }
        }
        self.config.bell.notify_one();
        Ok(Heard::Taken)
    }

    /// Makes one connection look at what is new, in one transaction.
    async fn hint_all(
        &self,
        placement: Placement,
        id: ConnectionId,
        news: &[(String, News)],
    ) -> Result<(), Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        match rows::get(&mut tx, id).await {
            Ok(connection) if connection.state == ConnectionState::Active => {}
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let is_much = news.len() > MOST_THINGS;
        let (mut keeps, mut looks_at_all) = (false, false);
        for (message, news) in news.iter().take(MOST_THINGS) {
            if !rows::hear(&mut tx, id, message).await? {
                continue;
            }
            match news {
                News::Thing(_) if is_much => looks_at_all = true,
                News::Thing(path) => {
                    let look = SyncConnection {
                        connection: id,
                        item: Some(path.clone()),
                    };
                    look.plan(&mut tx, Duration::ZERO).await?;
                }
                News::Subscription => keeps = true,
                News::Missed => (keeps, looks_at_all) = (true, true),
            }
        }
        if looks_at_all {
            rows::wish(&mut tx, id).await?;
            let look = SyncConnection::of(id);
            look.plan(&mut tx, Duration::ZERO).await?;
        }
        if keeps {
            let keep = KeepSubscription::of(id);
            keep.plan(&mut tx, Duration::ZERO).await?;
        }
        Ok(tx.commit().await?)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn only_a_state_that_was_made_here_names_an_organisation() {
        let secret = Secret::new("a long secret of our own");
        let state = client_state(&secret, "2432b57b-0abd-43db-aa7b-16eadd115d34");
        assert!(state.len() <= 128, "{state}");
        let of = |secret: &Secret, state: &str| organisation(secret, state).map(str::to_owned);
        assert_eq!(
            of(&secret, &state).unwrap(),
            "2432b57b-0abd-43db-aa7b-16eadd115d34"
        );
        let (_, tag) = state.split_once('.').unwrap();
        for forged in [
            String::new(),
            tag.to_owned(),
            "2432b57b-0abd-43db-aa7b-16eadd115d34.".to_owned(),
            format!("other.{tag}"),
            state[..state.len() - 2].to_owned(),
        ] {
            assert_eq!(of(&secret, &forged), None, "{forged}");
        }
        assert_eq!(of(&Secret::new("another secret"), &state), None);
    }

    #[test]
    fn a_path_is_understood_in_both_notations_and_nothing_else_is_asked_for() {
        let path = |resource: &str| Told::parse(resource).map(|told| told.path());
        assert_eq!(
            path("communications/onlineMeetings('MSo5')/transcripts('MSMj/=')").unwrap(),
            "/communications/onlineMeetings/MSo5/transcripts/MSMj%2F%3D"
        );
        assert_eq!(
            path("users('u-1')/onlineMeetings('MSo5')/recordings('Vj')").unwrap(),
            "/communications/onlineMeetings/MSo5/recordings/Vj"
        );
        assert_eq!(
            path("/communications/onlineMeetings/MSo5/recordings/..%2Fusers").unwrap(),
            "/communications/onlineMeetings/MSo5/recordings/..%252Fusers"
        );
        for other in [
            "",
            "users/u-1/messages/m",
            "communications/onlineMeetings('MSo5')",
            "communications/onlineMeetings('')/transcripts('a')",
            "communications/onlineMeetings('MSo5')/transcripts('a",
            "communications/onlineMeetings/getAllTranscripts",
        ] {
            assert_eq!(path(other), None, "{other}");
        }
    }
}
