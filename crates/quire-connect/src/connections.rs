//! Connections to accounts elsewhere: what all of them have in common.
//!
//! A [`Connector`] knows one product and nothing of quire's rows: it is asked for one page after another, from
//! a cursor that only it understands. [`SyncConnection`] makes sources of a page and writes the cursor in the same
//! transaction, so whatever dies between two pages is read again and nothing else. Schedules by due time read
//! each connection every few minutes. A new connector is one folder here and a line in `Connect::connector`.
//! `postgres` is none of them: its tables bring records, not sources.

mod api;
mod connector;
mod incoming;
mod manage;
mod meetings;
mod notion;
mod oauth;
mod postgres;
mod rounds;
mod sync;
mod teams;
mod zoom;

use std::time::Duration;

use serde_json::Value;

use quire_queue::{Plan, Rule, schedule, unschedule};
use quire_store::connections::{self as rows, Connection, NewConnection};
use quire_store::sealed::Purpose;
use quire_store::{Placement, TenantTx, notebooks};
use quire_types::{
    ConnectionId, ConnectionState, ErrorKind, Groups, Kind, NotebookId, Secret, TenantId,
};

pub use connector::{Connector, Content, Found, Remote, RemotePage};
pub use incoming::{Incoming, Verdict};
pub use oauth::App;
pub use sync::SyncConnection;
pub use teams::{EndSubscriptions, KeepSubscription};
pub use zoom::{Heard, Notice};

use crate::{Connect, Error, standard};

/// How often a connection is read.
const EVERY: Duration = Duration::from_mins(5);

/// The kind of connections that only receive signed webhooks.
pub const WEBHOOK: &str = "webhook";

/// The kind of connections to tables of a product, whose rows are records.
pub const POSTGRES: &str = "postgres";

/// The kind of connections to Zoom, which somebody there has to open.
pub const ZOOM: &str = "zoom";

/// The kind of connections to Microsoft Teams, which an administrator there has to open.
pub const TEAMS: &str = "teams";

fn purpose(tenant: TenantId, id: ConnectionId) -> Purpose {
    Purpose::of_tenant(tenant, "connection", &id.to_string())
}

fn schedule_name(id: ConnectionId) -> String {
    format!("connection/{id}")
}

/// A connection to be made.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// What is on the other side.
    pub kind: &'a str,
    /// What people call it, and its notebook where none is named.
    pub name: &'a str,
    /// Where its sources go.
    pub notebook: Option<NotebookId>,
    /// Who sees its sources, beside those whom the account names; everybody where there are neither.
    pub groups: Option<&'a Groups>,
    /// What is no secret.
    pub settings: &'a Value,
    /// The token or key; one is made for webhooks, and where somebody has to agree there is none.
    pub secret: Option<&'a Secret>,
}

/// What whoever made a connection is told once.
#[derive(Clone, Debug)]
pub enum Told {
    /// Whose account it is.
    Account(String),
    /// What senders of webhooks sign with; nothing when it was given.
    Signing(Option<Secret>),
    /// The link that somebody with the account has to follow.
    Link(String),
}

impl Connect {
    /// Makes a connection after trying it, and plans its first reading.
    pub async fn connect(
        &self,
        placement: Placement,
        wanted: &Wanted<'_>,
    ) -> Result<(Connection, Told), Error> {
        if wanted.groups.is_some() {
            may_have_groups(wanted.kind)?;
        }
        let id = ConnectionId::generate();
        let (secret, told) = match (wanted.kind, wanted.secret) {
            (WEBHOOK, None) => {
                let secret = standard::generate()?;
                (Some(secret.clone()), Told::Signing(Some(secret)))
            }
            (WEBHOOK, Some(secret)) => {
                standard::check_secret(secret)?;
                (Some(secret.clone()), Told::Signing(None))
            }
            (kind, None) if oauth::is_used_by(kind) => {
                match kind {
                    TEAMS => teams::check(wanted.settings)?,
                    _ => zoom::check(wanted.settings)?,
                }
                (None, Told::Link(self.link(placement, kind, id)?))
            }
            (kind, Some(_)) if oauth::is_used_by(kind) => {
                return Err(Error::Invalid(format!(
                    "{kind} takes no secret: follow the link that comes with the connection"
                )));
            }
            (_, None) => {
                return Err(Error::Invalid(
                    "a secret is missing: the token of the account".to_owned(),
                ));
            }
            (kind, Some(secret)) => {
                let account = self.test(kind, wanted.settings, secret).await?;
                (Some(secret.clone()), Told::Account(account))
            }
        };
        let notebook = match (wanted.kind, wanted.notebook) {
            (WEBHOOK | POSTGRES, _) => None,
            (_, Some(notebook)) => Some(notebook),
            (_, None) => Some(self.notebook_named(placement, wanted.name).await?),
        };
        let (state, sealed) = match &secret {
            Some(secret) => {
                let purpose = purpose(placement.tenant, id);
                let sealed = self.config.keyring.seal(&purpose, secret)?;
                (ConnectionState::Active, sealed)
            }
            None => (ConnectionState::Waiting, Vec::new()),
        };
        let mut tx = self.config.store.tenant(placement).await?;
        if let Some(notebook) = notebook {
            notebooks::get(&mut tx, notebook).await?;
        }
        let new = NewConnection {
            id,
            kind: wanted.kind,
            name: wanted.name,
            notebook,
            groups: wanted.groups,
            settings: wanted.settings,
            secret: &sealed,
            state,
        };
        let connection = rows::create(&mut tx, &new).await?;
        if state == ConnectionState::Active {
            start(&mut tx, &connection).await?;
        }
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok((connection, told))
    }

    async fn notebook_named(&self, placement: Placement, name: &str) -> Result<NotebookId, Error> {
        match self.config.ingest.create_notebook(placement, name).await {
            Ok(notebook) => Ok(notebook.id),
            Err(error) if error.kind() == ErrorKind::Conflict => {
                let mut tx = self.config.store.tenant(placement).await?;
                Ok(notebooks::by_name(&mut tx, name).await?.id)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A connection as it is now.
    async fn connection(
        &self,
        placement: Placement,
        id: ConnectionId,
    ) -> Result<Connection, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let connection = rows::get(&mut tx, id).await?;
        tx.commit().await?;
        Ok(connection)
    }

    /// A connection that is to be read; none when it is gone, paused or closed.
    async fn active(
        &self,
        placement: Placement,
        id: ConnectionId,
    ) -> Result<Option<Connection>, Error> {
        match self.connection(placement, id).await {
            Ok(connection) => {
                Ok(Some(connection)
                    .filter(|connection| connection.state == ConnectionState::Active))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks the other side whether a connection works; says whose account it is.
    pub async fn test_connection(
        &self,
        placement: Placement,
        id: ConnectionId,
    ) -> Result<String, Error> {
        let connection = self.connection(placement, id).await?;
        if connection.kind == WEBHOOK {
            return Ok("it waits for signed webhooks".to_owned());
        }
        let secret = self.secret_of(placement, &connection).await?;
        let Connection { kind, settings, .. } = &connection;
        self.test(kind, settings, &secret).await
    }

    /// Asks whether a secret works; says whose account it is.
    async fn test(&self, kind: &str, settings: &Value, secret: &Secret) -> Result<String, Error> {
        match kind {
            POSTGRES => {
                postgres::Cms::new(self.config.egress.clone(), settings, secret)?
                    .test()
                    .await
            }
            _ => self.connector(kind, settings, secret)?.test().await,
        }
    }

    async fn secret_of(
        &self,
        placement: Placement,
        connection: &Connection,
    ) -> Result<Secret, Error> {
        if oauth::is_used_by(&connection.kind) {
            return self.access_token(placement, connection).await;
        }
        let purpose = purpose(placement.tenant, connection.id);
        Ok(self.config.keyring.unseal(&purpose, &connection.secret)?)
    }

    async fn connector_of(
        &self,
        placement: Placement,
        connection: &Connection,
    ) -> Result<Box<dyn Connector>, Error> {
        let secret = self.secret_of(placement, connection).await?;
        self.connector(&connection.kind, &connection.settings, &secret)
    }

    /// The connector of a kind.
    fn connector(
        &self,
        kind: &str,
        settings: &Value,
        secret: &Secret,
    ) -> Result<Box<dyn Connector>, Error> {
        let egress = self.config.egress.clone();
        match kind {
            "notion" => Ok(Box::new(notion::Notion::new(egress, settings, secret)?)),
            ZOOM => {
                let zoom = zoom::Zoom::new(egress, self.app(ZOOM)?, settings, secret.clone())?;
                Ok(Box::new(zoom))
            }
            TEAMS => {
                let teams = teams::Teams::new(egress, self.app(TEAMS)?, settings, secret.clone())?;
                Ok(Box::new(teams))
            }
            other => Err(Error::Invalid(format!(
                "'{other}' is no kind of connection: choose notion, postgres, teams, zoom or webhook"
            ))),
        }
    }
}

/// Records say themselves who sees them.
fn may_have_groups(kind: &str) -> Result<(), Error> {
    match kind {
        WEBHOOK | POSTGRES => Err(Error::Invalid(format!(
            "a connection of kind {kind} brings records, each with groups of its own: leave groups out here"
        ))),
        _ => Ok(()),
    }
}

fn unopened() -> Error {
    Error::Stopped(
        "its account is opened by a link: ask for one with POST …/authorize and follow it"
            .to_owned(),
    )
}

async fn start(tx: &mut TenantTx, connection: &Connection) -> Result<(), Error> {
    if connection.kind == WEBHOOK {
        return Ok(());
    }
    let task = SyncConnection::of(connection.id);
    let plan = Plan {
        jitter: EVERY,
        ..Plan::new(schedule_name(connection.id), Rule::Every(EVERY))
    };
    schedule(tx, &task, &plan).await?;
    if connection.kind == TEAMS {
        let keep = KeepSubscription::of(connection.id);
        keep.plan(tx, Duration::ZERO).await?;
    }
    task.plan(tx, Duration::ZERO).await
}

async fn stop(tx: &mut TenantTx, connection: &Connection) -> Result<(), Error> {
    match unschedule(tx, &schedule_name(connection.id)).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
