//! Reading a connection: one page, its texts, its sources and where to go on, in one transaction.

use std::collections::HashSet;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use quire_ingest::Text;
use quire_ingest::extract::ExtractError;
use quire_queue::{Attempt, Failure, Priority, Task, Wishes};
use quire_store::connections::{self as rows, Connection, Item};
use quire_store::{Placement, TenantTx};
use quire_types::{ConnectionId, ConnectionState, ErrorKind, Groups, Kind, MediaType};

use super::{Connector, Content, Found, POSTGRES, Remote, RemotePage, oauth, stop};
use crate::{Connect, Error};

/// How long to wait when the other side has too much to do and does not say for how long.
const USUAL_WAIT: Duration = Duration::from_secs(30);

/// Items that are asked after at the end of a round; the next round asks after the others.
const MOST_ASKED: i64 = 200;

/// Reads one page of a connection, or one thing.
#[derive(Serialize, Deserialize)]
pub struct SyncConnection {
    /// The connection.
    pub connection: ConnectionId,
    /// Only this, of which something was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
}

impl SyncConnection {
    /// Reads the next page.
    pub(super) fn of(connection: ConnectionId) -> Self {
        Self {
            connection,
            item: None,
        }
    }

    /// Makes sure that this is done after this much time. One such task waits at most.
    pub(super) async fn plan(&self, tx: &mut TenantTx, delay: Duration) -> Result<(), Error> {
        let sort = if delay.is_zero() { "now" } else { "later" };
        let what = match &self.item {
            // Keys are short, hints may be long.
            Some(item) if item.len() > 100 => fingerprint(item),
            Some(item) => item.clone(),
            None => String::new(),
        };
        let wishes = Wishes::once(format!("sync/{}/{sort}/{what}", self.connection), delay);
        quire_queue::enqueue_with(tx, self, wishes).await?;
        Ok(())
    }
}

impl SyncConnection {
    async fn sync(
        &self,
        connect: &Connect,
        placement: Placement,
        attempt: &Attempt,
    ) -> Result<(), Error> {
        let Some(connection) = connect.active(placement, self.connection).await? else {
            return Ok(());
        };
        let mut done = match connection.kind.as_str() {
            POSTGRES => self.pull(connect, placement, attempt, &connection).await,
            _ => self.page(connect, placement, attempt, &connection).await,
        };
        let is_refused = matches!(done, Err(Error::Status { status: 401, .. }));
        if is_refused && oauth::is_used_by(&connection.kind) {
            // Tokens may be taken back before their time.
            done = match connect.refresh(placement, &connection).await {
                Ok(connection) => self.page(connect, placement, attempt, &connection).await,
                Err(error) => Err(error),
            };
        }
        match done {
            Ok(()) => Ok(()),
            Err(error) => self.cope(connect, placement, &connection, error).await,
        }
    }

    async fn page(
        &self,
        connect: &Connect,
        placement: Placement,
        attempt: &Attempt,
        connection: &Connection,
    ) -> Result<(), Error> {
        let config = &connect.config;
        let Some(notebook) = connection.notebook else {
            return Err(Error::Stopped(
                "its notebook was deleted: connect it anew".to_owned(),
            ));
        };
        let connector = connect.connector_of(placement, connection).await?;
        let mut page = match &self.item {
            Some(hint) => connector.look(hint).await?,
            None if connection.is_wished => {
                connector.page(&connector.whole(&connection.cursor)).await?
            }
            None => connector.page(&connection.cursor).await?,
        };
        if page.ends_whole_round {
            self.ask_after(connect, placement, connector.as_ref(), &mut page)
                .await?;
        }
        let ids: Vec<String> = page.items.iter().map(|item| item.id.clone()).collect();
        let mut tx = config.store.tenant(placement).await?;
        let known = rows::items(&mut tx, self.connection, &ids).await?;
        tx.commit().await?;

        let is_known = |item: &Remote| {
            known
                .get(&item.id)
                .filter(|known| known.version == item.version)
                .is_some_and(|known| known.source.is_some() || known.reason.is_some())
        };
        let (mut changed, mut texts, mut left_out) = (Vec::new(), Vec::new(), Vec::new());
        for item in page.items.iter().filter(|item| !is_known(item)) {
            let mut item = item.clone();
            match read(connect, connector.as_ref(), &mut item).await {
                Ok(Some((media, body))) => {
                    texts.push(Text {
                        source: known.get(&item.id).and_then(|known| known.source),
                        notebook,
                        name: item.title.clone(),
                        title: item.title.clone(),
                        body,
                        media,
                        // Known when it is published.
                        groups: Some(Groups::default()),
                    });
                    changed.push(item);
                }
                Ok(None) => page.gone.push(item.id.clone()),
                // One thing that can't be used holds nothing else up; what search has of it stays.
                Err(error) if is_its_own(&error) => left_out.push(Item {
                    external_id: item.id.clone(),
                    version: item.version.clone(),
                    url: item.link(),
                    source: known.get(&item.id).and_then(|known| known.source),
                    reason: Some(error.to_string()),
                    groups: known.get(&item.id).and_then(|known| known.groups.clone()),
                }),
                Err(error) => return Err(error),
            }
        }
        let mut texts = config.ingest.read_texts(placement, texts).await?;

        let mut tx = config.store.tenant(placement).await?;
        let of_connection = rows::locked_groups(&mut tx, self.connection).await?;
        for (text, item) in texts.iter_mut().zip(&changed) {
            text.groups = seen_by(of_connection.as_ref(), item.groups.as_ref());
        }
        let seen = page.items.iter().filter(|item| is_known(item));
        let mut seen: Vec<String> = seen.map(|item| item.id.clone()).collect();
        seen.append(&mut page.untold);
        let removed = rows::forget_items(&mut tx, self.connection, &page.gone).await?;
        let sources = config
            .ingest
            .publish_texts(&mut tx, attempt, &texts, &removed)
            .await?;
        let mut made: Vec<Item> = changed
            .iter()
            .zip(sources)
            .map(|(item, source)| Item {
                external_id: item.id.clone(),
                version: item.version.clone(),
                url: item.link(),
                source: Some(source),
                reason: None,
                groups: item.groups.clone(),
            })
            .collect();
        made.extend(left_out.iter().cloned());
        rows::note_items(&mut tx, self.connection, page.round, &made, &seen).await?;
        if self.item.is_none() {
            rows::move_on(&mut tx, connection, &page.cursor, !page.has_more).await?;
        }
        if let Some(item) = left_out.first() {
            let reason = item.reason.as_deref().unwrap_or_default();
            let error = format!("left out: {} ({reason})", item.external_id);
            rows::note_error(&mut tx, self.connection, &error).await?;
        }
        if page.has_more {
            let next = Self::of(self.connection);
            next.plan(&mut tx, Duration::ZERO).await?;
        }
        attempt.complete(&mut tx).await?;
        tx.commit().await?;
        config.bell.notify_one();
        Ok(())
    }

    /// What a whole round did not see is gone, or the other side did not show it.
    async fn ask_after(
        &self,
        connect: &Connect,
        placement: Placement,
        connector: &dyn Connector,
        page: &mut RemotePage,
    ) -> Result<(), Error> {
        let mut tx = connect.config.store.tenant(placement).await?;
        let unseen = rows::unseen(&mut tx, self.connection, page.round, MOST_ASKED).await?;
        tx.commit().await?;
        let shown: HashSet<String> = page.items.iter().map(|item| item.id.clone()).collect();
        for id in unseen.into_iter().filter(|id| !shown.contains(id)) {
            match connector.find(&id).await? {
                Found::Here(item) => page.items.push(item),
                Found::Gone => page.gone.push(id),
                Found::Untold => page.untold.push(id),
            }
        }
        Ok(())
    }

    /// What follows from a failure: wait as long as the other side asks, stop until somebody acts, or try again.
    async fn cope(
        &self,
        connect: &Connect,
        placement: Placement,
        connection: &Connection,
        error: Error,
    ) -> Result<(), Error> {
        let text = error.to_string();
        let mut tx = connect.config.store.tenant(placement).await?;
        rows::note_error(&mut tx, self.connection, &text).await?;
        match error.kind() {
            // Waiting is no failed attempt, however often it is asked for.
            ErrorKind::RateLimited => {
                let wait = error.retry_after().unwrap_or(USUAL_WAIT);
                self.plan(&mut tx, wait.max(Duration::from_secs(1))).await?;
                tx.commit().await?;
                Ok(())
            }
            ErrorKind::Forbidden => {
                warn!(tenant = %placement.tenant, connection = %self.connection, "an account is closed to quire");
                let remedy = match oauth::is_used_by(&connection.kind) {
                    true => "follow a new link of POST …/authorize",
                    false => "give it a new one",
                };
                let reason = format!("the other side refuses its token ({text}): {remedy}");
                rows::set_state(
                    &mut tx,
                    self.connection,
                    ConnectionState::Failed,
                    Some(&reason),
                )
                .await?;
                stop(&mut tx, connection).await?;
                tx.commit().await?;
                Ok(())
            }
            ErrorKind::Conflict if matches!(error, Error::Stopped(_)) => {
                rows::set_state(
                    &mut tx,
                    self.connection,
                    ConnectionState::Failed,
                    Some(&text),
                )
                .await?;
                stop(&mut tx, connection).await?;
                tx.commit().await?;
                Ok(())
            }
            _ => {
                tx.commit().await?;
                Err(error)
            }
        }
    }
}

/// Who sees something: those whom the account names, and those whom the connection names.
fn seen_by(of_connection: Option<&Groups>, of_item: Option<&Groups>) -> Option<Groups> {
    match (of_connection, of_item) {
        (groups, None) => groups.cloned(),
        (None, Some(groups)) => Some(groups.clone()),
        (Some(one), Some(two)) => Some(Groups::usable(one.names().iter().chain(two.names()))),
    }
}

/// A long text as a short one.
pub(super) fn fingerprint(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(text))
}

/// The text of something and how it is read; none when it is gone meanwhile.
async fn read(
    connect: &Connect,
    connector: &dyn Connector,
    item: &mut Remote,
) -> Result<Option<(MediaType, String)>, Error> {
    match connector.content(item).await? {
        Some(Content::Text(text)) => Ok(Some((MediaType::Text, text))),
        Some(Content::Said { about, parts }) => {
            let ingest = &connect.config.ingest;
            let script = ingest.transcribe(&item.title, &about, parts).await?;
            Ok(Some((MediaType::Transcript, script)))
        }
        None => Ok(None),
    }
}

/// Whether a failure is that of one thing and not of the way there.
fn is_its_own(error: &Error) -> bool {
    match error {
        Error::RemoteTooLarge(_) | Error::Invalid(_) => true,
        Error::Status { status, .. } => {
            (400..500).contains(status) && ![401, 408, 429].contains(status)
        }
        Error::Ingest(quire_ingest::Error::Extract(error)) => {
            !matches!(error, ExtractError::Unavailable { .. })
        }
        _ => false,
    }
}

#[async_trait]
impl Task for SyncConnection {
    const KIND: &'static str = "sync-connection";
    const PRIORITY: Priority = Priority::Normal;
    const TIMEOUT: Duration = Duration::from_mins(30);
    const MAX_ATTEMPTS: i16 = 8;
    type Context = Connect;

    /// A connection is read by one at a time.
    fn key(&self) -> Option<String> {
        Some(self.connection.to_string())
    }

    async fn run(&self, connect: &Connect, attempt: &Attempt) -> Result<(), Failure> {
        let of = |error: &Error| Failure::of(error);
        match connect
            .placement(attempt)
            .await
            .map_err(|error| Failure::of(&error))?
        {
            Some(placement) => self
                .sync(connect, placement, attempt)
                .await
                .map_err(|error| of(&error)),
            None => Ok(()),
        }
    }

    async fn gave_up(&self, _: &Connect, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        // The error is on the connection, and the schedule tries again.
        Ok(())
    }
}
