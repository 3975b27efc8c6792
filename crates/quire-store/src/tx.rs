//! The two kinds of transaction, and the only places where one begins.
//!
//! A [`TenantTx`] sees one tenant: its first message sets the tenant that the row-level policies
//! compare with, for this transaction only. A [`SystemTx`] runs as the worker role, which reaches the
//! directory and the queue and no content. Neither keeps a connection beyond its own life.

use sqlx::{AssertSqlSafe, PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use quire_types::{Groups, TenantId};

use crate::Error;

/// Where a tenant lives: what object keys and transactions are built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// The tenant.
    pub tenant: TenantId,
    /// Random at every (re)creation of the tenant.
    pub incarnation: Uuid,
    /// The shard that holds its rows.
    pub shard: i16,
}

/// A transaction that sees the rows of one tenant.
pub struct TenantTx {
    tx: Transaction<'static, Postgres>,
    placement: Placement,
}

impl TenantTx {
    pub(crate) async fn begin(
        pool: &PgPool,
        placement: Placement,
        isolation: Isolation,
    ) -> Result<Self, Error> {
        // Two statements in one simple-query message cost one round trip. The tenant is a typed UUID,
        // so formatting it into the text can't carry anything else.
        let statement = format!(
            "begin {}; select set_config('quire.tenant', '{}', true)",
            isolation.sql(),
            placement.tenant.uuid()
        );
        let tx = begin_uncancelled(pool, AssertSqlSafe(statement)).await?;
        Ok(Self { tx, placement })
    }

    /// From now on only what somebody in these groups may see of sources and questions.
    pub(crate) async fn narrow(&mut self, groups: &Groups) -> Result<(), Error> {
        sqlx::query("select set_config('quire.groups', $1::text[]::text, true)")
            .bind(groups.names())
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// The tenant whose rows this transaction sees; the `$1` of every query.
    pub fn tenant_id(&self) -> Uuid {
        self.placement.tenant.uuid()
    }

    /// Where the tenant lives.
    pub fn placement(&self) -> Placement {
        self.placement
    }

    /// The connection, for the SQL of this crate and of the queue.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Waits until no other transaction of the tenant is alone with `what`, and then is until it ends.
    pub async fn alone_with(&mut self, what: &str) -> Result<(), Error> {
        sqlx::query("select pg_advisory_xact_lock(hashtextextended($1::text || '/' || $2, 0))")
            .bind(self.tenant_id().to_string())
            .bind(what)
            .execute(self.connection())
            .await?;
        Ok(())
    }

    /// Makes everything done so far durable and visible.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.tx.commit().await?)
    }
}

/// A transaction of the service itself: directory and queue, no content.
pub struct SystemTx {
    tx: Transaction<'static, Postgres>,
}

impl SystemTx {
    pub(crate) async fn begin(pool: &PgPool) -> Result<Self, Error> {
        // The planner may believe that a table which was empty a minute ago still is, and read all of it.
        // Where it has no choice, the forbidden scan looks costly enough to be compiled, which takes longer
        // than any statement here.
        let statement = "begin; set local enable_seqscan = off; set local jit = off".to_owned();
        let tx = begin_uncancelled(pool, AssertSqlSafe(statement)).await?;
        Ok(Self { tx })
    }

    /// The connection, for the SQL of this crate and of the queue.
    pub fn connection(&mut self) -> &mut PgConnection {
        &mut self.tx
    }

    /// Makes everything done so far durable and visible.
    pub async fn commit(self) -> Result<(), Error> {
        Ok(self.tx.commit().await?)
    }
}

/// What a transaction sees of the commits that happen beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Isolation {
    /// Each statement sees what is committed when it starts.
    ReadCommitted,
    /// Every statement sees the state of the first one; nothing can be written.
    Snapshot,
}

impl Isolation {
    const fn sql(self) -> &'static str {
        match self {
            Self::ReadCommitted => "isolation level read committed",
            Self::Snapshot => "isolation level repeatable read read only",
        }
    }
}

/// Begins in a task of its own. In sqlx 0.9.0 a `begin` that is cancelled between BEGIN and its answer
/// returns the connection with an open transaction, tenant included, to the pool; the spawned task
/// always reaches the point where dropping the transaction rolls it back.
async fn begin_uncancelled(
    pool: &PgPool,
    statement: AssertSqlSafe<String>,
) -> Result<Transaction<'static, Postgres>, Error> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.begin_with(statement).await })
        .await
        .map_err(|_| Error::Interrupted)?
        .map_err(Error::from)
}
