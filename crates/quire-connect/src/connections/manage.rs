//! What becomes of a connection that is there: pause, another secret, other settings, a reading at once, its end.

use std::time::Duration;

use serde_json::Value;

use quire_store::connections::{self as rows, Connection};
use quire_store::{Placement, accounts, pulled};
use quire_types::{ConnectionId, ConnectionState, Groups, Secret};

use super::sync::SyncConnection;
use super::{EndSubscriptions, WEBHOOK, may_have_groups, oauth, purpose, start, stop, unopened};
use crate::{Connect, Error, standard};

impl Connect {
    /// Pauses or resumes a connection.
    pub async fn set_connection(
        &self,
        placement: Placement,
        id: ConnectionId,
        is_active: bool,
    ) -> Result<Connection, Error> {
        let state = match is_active {
            true => ConnectionState::Active,
            false => ConnectionState::Paused,
        };
        let mut tx = self.config.store.tenant(placement).await?;
        if rows::get(&mut tx, id).await?.secret.is_empty() {
            return Err(unopened());
        }
        let connection = rows::set_state(&mut tx, id, state, None).await?;
        match is_active {
            true => start(&mut tx, &connection).await?,
            false => stop(&mut tx, &connection).await?,
        }
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(connection)
    }

    /// Gives a connection another secret, tried first, and goes on.
    pub async fn renew_connection(
        &self,
        placement: Placement,
        id: ConnectionId,
        secret: &Secret,
    ) -> Result<Connection, Error> {
        let connection = self.connection(placement, id).await?;
        match connection.kind.as_str() {
            WEBHOOK => standard::check_secret(secret)?,
            kind if oauth::is_used_by(kind) => return Err(unopened()),
            kind => drop(self.test(kind, &connection.settings, secret).await?),
        }
        let sealed = self
            .config
            .keyring
            .seal(&purpose(placement.tenant, id), secret)?;
        let mut tx = self.config.store.tenant(placement).await?;
        let connection = rows::set_secret(&mut tx, id, &sealed).await?;
        start(&mut tx, &connection).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(connection)
    }

    /// Gives a connection other settings, tried first, and reads it by them.
    pub async fn configure_connection(
        &self,
        placement: Placement,
        id: ConnectionId,
        settings: &Value,
    ) -> Result<Connection, Error> {
        let connection = self.connection(placement, id).await?;
        if connection.kind == WEBHOOK || oauth::is_used_by(&connection.kind) {
            return Err(Error::Invalid(format!(
                "settings of a connection of kind {} stay: make another one",
                connection.kind
            )));
        }
        let secret = self.secret_of(placement, &connection).await?;
        drop(self.test(&connection.kind, settings, &secret).await?);
        let mut tx = self.config.store.tenant(placement).await?;
        rows::set_settings(&mut tx, id, settings).await?;
        rows::wish(&mut tx, id).await?;
        let mut connection = rows::get(&mut tx, id).await?;
        if connection.state == ConnectionState::Failed {
            connection = rows::set_state(&mut tx, id, ConnectionState::Active, None).await?;
        }
        if connection.state == ConnectionState::Active {
            start(&mut tx, &connection).await?;
        }
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(connection)
    }

    /// Says who sees what a connection brings, beside those whom the account names; none is everybody. It counts from now
    /// on, for what is there as well.
    pub async fn regroup_connection(
        &self,
        placement: Placement,
        id: ConnectionId,
        groups: Option<&Groups>,
    ) -> Result<Connection, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let connection = rows::set_groups(&mut tx, id, groups).await?;
        may_have_groups(&connection.kind)?;
        tx.commit().await?;
        Ok(connection)
    }

    /// Reads a connection now, and looks at everything on the other side.
    pub async fn sync_now(&self, placement: Placement, id: ConnectionId) -> Result<(), Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let connection = rows::get(&mut tx, id).await?;
        if connection.kind == WEBHOOK {
            return Ok(());
        }
        if connection.secret.is_empty() {
            return Err(unopened());
        }
        rows::wish(&mut tx, id).await?;
        SyncConnection::of(id).plan(&mut tx, Duration::ZERO).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(())
    }

    /// Removes a connection with its secrets; its sources stay, or go as well.
    pub async fn disconnect(
        &self,
        placement: Placement,
        id: ConnectionId,
        purges: bool,
    ) -> Result<usize, Error> {
        let mut tx = self.config.store.tenant(placement).await?;
        let connection = rows::get(&mut tx, id).await?;
        EndSubscriptions::plan(&mut tx, &connection).await?;
        let mut sources = Vec::new();
        if purges {
            // Before the connection goes, which they name.
            sources = pulled::forget(&mut tx, id).await?;
        }
        sources.extend(rows::delete(&mut tx, id).await?);
        // After the connection, as a reading does that finds its account closed: the other way round, both wait for
        // each other.
        stop(&mut tx, &connection).await?;
        if purges {
            self.config.ingest.remove_texts(&mut tx, &sources).await?;
        }
        tx.commit().await?;
        let mut tx = self.config.store.system().await?;
        accounts::forget(&mut tx, placement.tenant, id).await?;
        tx.commit().await?;
        self.config.bell.notify_one();
        Ok(if purges { sources.len() } else { 0 })
    }
}
