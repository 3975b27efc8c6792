//! Subscriptions to what is new in an organisation: they end after days, so each run of a task renews them, or makes
//! them again, and plans the next run well before the end.
//!
//! Nothing is kept about them here: Graph knows which there are. Connections of several tenants to one organisation
//! share them, since Graph gives an app only one of a kind. Without them meetings still come, by the readings.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{SecondsFormat, TimeDelta, Utc};
use rand::RngExt;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::warn;

use quire_queue::{Attempt, Failure, Task, Wishes};
use quire_store::connections::{self as rows, Connection};
use quire_store::{Placement, TenantTx};
use quire_types::{ConnectionId, Kind, Timestamp};

use super::super::TEAMS;
use super::super::api::{encode, known};
use super::graph::Graph;
use super::webhook::client_state;
use crate::{Connect, Error};

/// What is subscribed to: everything new in the whole organisation.
const RESOURCES: [&str; 2] = [
    "communications/onlineMeetings/getAllTranscripts",
    "communications/onlineMeetings/getAllRecordings",
];

/// How long a subscription is asked for, and for how long when that is refused.
const LIVES: [TimeDelta; 2] = [TimeDelta::minutes(4_200), TimeDelta::minutes(55)];

/// After a failure it is tried again so late, if the other side does not ask for more.
const AGAIN: Duration = Duration::from_mins(10);

/// Renews the subscriptions of a connection, or makes them.
#[derive(Serialize, Deserialize)]
pub struct KeepSubscription {
    /// The connection.
    pub connection: ConnectionId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Subscription {
    id: String,
    resource: String,
    notification_url: Option<String>,
    expiration_date_time: Timestamp,
}

impl Subscription {
    /// Whether it tells this address.
    pub(super) fn is_at(&self, address: &str) -> bool {
        self.notification_url.as_deref() == Some(address)
    }

    /// Where it is.
    pub(super) fn path(&self) -> String {
        format!("/subscriptions/{}", encode(&self.id))
    }
}

impl KeepSubscription {
    /// Keeps those of this connection.
    pub(in super::super) fn of(connection: ConnectionId) -> Self {
        Self { connection }
    }

    /// Makes sure that this is done after this much time. One such task waits at most, and one for later.
    pub(in super::super) async fn plan(
        &self,
        tx: &mut TenantTx,
        delay: Duration,
    ) -> Result<(), Error> {
        let sort = if delay.is_zero() { "now" } else { "later" };
        let wishes = Wishes::once(format!("subscription/{}/{sort}", self.connection), delay);
        quire_queue::enqueue_with(tx, self, wishes).await?;
        Ok(())
    }

    async fn keep(
        &self,
        connect: &Connect,
        placement: Placement,
        attempt: &Attempt,
    ) -> Result<(), Error> {
        let Some(connection) = connect.active(placement, self.connection).await? else {
            return Ok(());
        };
        let mut kept = connect.subscribe(placement, &connection).await;
        if matches!(kept, Err(Error::Status { status: 401, .. })) {
            // Tokens may be taken back before their time.
            kept = match connect.refresh(placement, &connection).await {
                Ok(connection) => connect.subscribe(placement, &connection).await,
                Err(error) => Err(error),
            };
        }
        let mut tx = connect.config.store.tenant(placement).await?;
        let next = match kept {
            // Between half and two thirds of its life, not all connections at once.
            Ok(life) => life.mul_f64(rand::rng().random_range(0.5..0.66)),
            // The readings go on meanwhile, and say so where the account is closed.
            Err(error) => {
                warn!(tenant = %placement.tenant, connection = %self.connection, %error, "no subscription is to be had");
                let text =
                    format!("new meetings are not told at once, only found by reading: {error}");
                rows::note_error(&mut tx, self.connection, &text).await?;
                error.retry_after().unwrap_or_default().max(AGAIN)
            }
        };
        attempt.complete(&mut tx).await?;
        self.plan(&mut tx, next).await?;
        Ok(tx.commit().await?)
    }
}

impl Connect {
    /// Renews or makes the subscriptions to what is new. Says for how long they are good.
    async fn subscribe(
        &self,
        placement: Placement,
        connection: &Connection,
    ) -> Result<Duration, Error> {
        let app = self.app(TEAMS)?;
        let token = self.access_token(placement, connection).await?;
        let graph = Graph::new(self.config.egress.clone(), app, token)?;
        let account = connection.settings["account"].as_str().unwrap_or_default();
        let state = client_state(&app.webhook_secret, account);
        let address = self.public_address("/hooks/teams")?;
        let there: Vec<Subscription> = graph.all("/subscriptions").await?;
        let (mut ends, mut failure) = (Vec::new(), None);
        for resource in RESOURCES {
            let own = there
                .iter()
                .find(|one| one.is_at(&address) && one.resource.trim_matches('/') == resource);
            match keep(&graph, own, resource, &address, &state).await {
                Ok(kept) => ends.push(kept.expiration_date_time),
                // One kind may be refused where the other is not.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match (failure, ends.into_iter().min()) {
            (None, Some(end)) => Ok((end - Utc::now()).to_std().unwrap_or_default().max(AGAIN)),
            (Some(error), _) => Err(error),
            (None, None) => Ok(AGAIN),
        }
    }
}

/// Prolongs a subscription, which also shows anew that we may have it; makes one where none is there. Graph asks at
/// the address at once whether we want a new one.
async fn keep(
    graph: &Graph,
    own: Option<&Subscription>,
    resource: &str,
    address: &str,
    state: &str,
) -> Result<Subscription, Error> {
    if let Some(own) = own
        && let Some(kept) = known(ask(graph, Method::PATCH, &own.path(), json!({})).await)?
    {
        return Ok(kept);
    }
    let wanted = json!({
        "changeType": "created",
        "resource": resource,
        "notificationUrl": address,
        "lifecycleNotificationUrl": address,
        "clientState": state,
    });
    ask(graph, Method::POST, "/subscriptions", wanted).await
}

/// Asks for the longest life that is given.
async fn ask(
    graph: &Graph,
    method: Method,
    path: &str,
    mut wanted: Value,
) -> Result<Subscription, Error> {
    let end = |life: TimeDelta| (Utc::now() + life).to_rfc3339_opts(SecondsFormat::Secs, true);
    let [long, short] = LIVES;
    wanted["expirationDateTime"] = end(long).into();
    match graph.send(method.clone(), path, &wanted).await {
        Err(Error::Status { status: 400, .. }) => {
            wanted["expirationDateTime"] = end(short).into();
            graph.send(method, path, &wanted).await
        }
        answer => answer,
    }
}

#[async_trait]
impl Task for KeepSubscription {
    const KIND: &'static str = "keep-subscription";
    const TIMEOUT: Duration = Duration::from_mins(5);
    const MAX_ATTEMPTS: i16 = 8;
    type Context = Connect;

    fn key(&self) -> Option<String> {
        Some(self.connection.to_string())
    }

    async fn run(&self, connect: &Connect, attempt: &Attempt) -> Result<(), Failure> {
        let placement = connect.placement(attempt).await;
        match placement.map_err(|error| Failure::of(&error))? {
            Some(placement) => self
                .keep(connect, placement, attempt)
                .await
                .map_err(|error| Failure::of(&error)),
            None => Ok(()),
        }
    }

    async fn gave_up(
        &self,
        connect: &Connect,
        attempt: &Attempt,
        _: &Failure,
    ) -> Result<(), Failure> {
        // Only what is here can have failed; the next run finds it mended, perhaps.
        let again = async {
            if let Some(placement) = connect.placement(attempt).await? {
                let mut tx = connect.config.store.tenant(placement).await?;
                self.plan(&mut tx, AGAIN).await?;
                tx.commit().await?;
            }
            Ok::<(), Error>(())
        };
        again.await.map_err(|error| Failure::of(&error))
    }
}
