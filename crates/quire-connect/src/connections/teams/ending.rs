//! Ending subscriptions to an organisation that no connection is let into any more. It is a courtesy: they would end by
//! themselves within days, and what they tell meanwhile has no effect.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use quire_queue::{Attempt, Failure, Priority, Task, Wishes};
use quire_store::connections::{self as rows, Connection};
use quire_store::{TenantTx, accounts};
use quire_types::{ConnectionId, ErrorKind, Kind, TenantId};

use super::super::TEAMS;
use super::KeepSubscription;
use super::graph::Graph;
use super::subscription::Subscription;
use crate::{Connect, Error};

/// Ends the subscriptions to an organisation, unless somebody still wants them.
#[derive(Serialize, Deserialize)]
pub struct EndSubscriptions {
    /// The organisation.
    pub organisation: String,
}

impl EndSubscriptions {
    /// Plans this for a connection that is about to go; nothing where it had no subscriptions.
    pub(in super::super) async fn plan(
        tx: &mut TenantTx,
        connection: &Connection,
    ) -> Result<(), Error> {
        let account = connection.settings["account"].as_str();
        let Some(organisation) = account.filter(|_| connection.kind == TEAMS) else {
            return Ok(());
        };
        let task = Self {
            organisation: organisation.to_owned(),
        };
        quire_queue::enqueue_with(tx, &task, Wishes::default()).await?;
        Ok(())
    }

    /// Connections that are still let in.
    async fn left(&self, connect: &Connect) -> Result<Vec<(TenantId, ConnectionId)>, Error> {
        let mut tx = connect.config.store.system().await?;
        let noted = accounts::connections(&mut tx, TEAMS, &self.organisation).await?;
        tx.commit().await?;
        let mut left = Vec::new();
        for (tenant, connection) in noted {
            // The note goes a moment after the connection.
            let Some(placement) = connect.placement_of(tenant).await? else {
                continue;
            };
            let mut tx = connect.config.store.tenant(placement).await?;
            match rows::get(&mut tx, connection).await {
                Ok(_) => left.push((tenant, connection)),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
            tx.commit().await?;
        }
        Ok(left)
    }

    async fn end(&self, connect: &Connect) -> Result<(), Error> {
        if connect.config.teams.is_none() || !self.left(connect).await?.is_empty() {
            return Ok(());
        }
        let app = connect.app(TEAMS)?;
        let token = connect.own_token(app, &self.organisation).await?;
        let graph = Graph::new(connect.config.egress.clone(), app, token)?;
        let address = connect.public_address("/hooks/teams")?;
        let there: Vec<Subscription> = graph.all("/subscriptions").await?;
        for own in there.iter().filter(|own| own.is_at(&address)) {
            graph.delete(&own.path()).await?;
        }
        // Whoever was let in meanwhile makes its own anew.
        for (tenant, connection) in self.left(connect).await? {
            if let Some(placement) = connect.placement_of(tenant).await? {
                let mut tx = connect.config.store.tenant(placement).await?;
                let keep = KeepSubscription::of(connection);
                keep.plan(&mut tx, Duration::ZERO).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Task for EndSubscriptions {
    const KIND: &'static str = "end-subscriptions";
    const PRIORITY: Priority = Priority::Low;
    const TIMEOUT: Duration = Duration::from_mins(5);
    const MAX_ATTEMPTS: i16 = 5;
    type Context = Connect;

    async fn run(&self, connect: &Connect, _: &Attempt) -> Result<(), Failure> {
        match self.end(connect).await {
            // An organisation that is closed to us has ended them itself.
            Err(error) if error.kind() == ErrorKind::Forbidden => Ok(()),
            ended => ended.map_err(|error| Failure::of(&error)),
        }
    }

    async fn gave_up(&self, _: &Connect, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        // They end by themselves.
        Ok(())
    }
}
