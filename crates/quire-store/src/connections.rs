//! Connections: accounts elsewhere, how far each has been read, and the sources that were made of it.
//!
//! Where reading has come to is written in the transaction of what was read. Knows no provider.

mod items;

use chrono::{TimeDelta, Utc};
use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use quire_types::{ConnectionId, ConnectionState, Groups, NotebookId, SourceId, Timestamp};

use crate::corpus::{self, Change};
use crate::sources::{decode, groups};
use crate::{Error, Page, PageRequest, TenantTx};

pub use items::{Item, forget_items, items, note_items, unseen, url};

/// How long ids of messages are remembered: longer than anybody repeats them.
const HEARD_HOURS: i32 = 72;

/// An account elsewhere.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// What is on the other side: `notion`, `postgres`, `teams`, `zoom`, `webhook`.
    pub kind: String,
    /// What people call it, unique in the tenant.
    pub name: String,
    /// Where its sources go; none when it was deleted.
    pub notebook: Option<NotebookId>,
    /// Who sees its sources, beside those whom the account names; everybody where there are neither.
    pub groups: Option<Groups>,
    /// What is no secret.
    pub settings: Value,
    /// What is, sealed.
    pub secret: Vec<u8>,
    /// How far it has been read.
    pub cursor: Value,
    /// How often somebody wished that everything is looked at.
    wishes: i64,
    /// Whether such a wish is open.
    pub is_wished: bool,
    /// Whether it is read.
    pub state: ConnectionState,
    /// Why it failed and what to do.
    pub reason: Option<String>,
    /// When reading last came to an end.
    pub last_success_at: Option<Timestamp>,
    /// What last went wrong.
    pub last_error: Option<String>,
    /// When that was.
    pub last_error_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl sqlx::FromRow<'_, PgRow> for Connection {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            kind: row.try_get("kind")?,
            name: row.try_get("name")?,
            notebook: row
                .try_get::<Option<Uuid>, _>("notebook_id")?
                .map(NotebookId::from),
            groups: groups(row)?,
            settings: row.try_get::<Json<Value>, _>("settings")?.0,
            secret: row.try_get("secret")?,
            cursor: row.try_get::<Json<Value>, _>("cursor")?.0,
            wishes: row.try_get("wishes")?,
            is_wished: row.try_get::<i64, _>("wishes")? > row.try_get::<i64, _>("wishes_heard")?,
            state: decode(row.try_get("state")?)?,
            reason: row.try_get("reason")?,
            last_success_at: row.try_get("last_success_at")?,
            last_error: row.try_get("last_error")?,
            last_error_at: row.try_get("last_error_at")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

/// A connection to be made.
#[derive(Clone, Debug)]
pub struct NewConnection<'a> {
    /// Its id.
    pub id: ConnectionId,
    /// What is on the other side.
    pub kind: &'a str,
    /// What people call it.
    pub name: &'a str,
    /// Where its sources go, if it makes any.
    pub notebook: Option<NotebookId>,
    /// Who sees its sources, beside those whom the account names.
    pub groups: Option<&'a Groups>,
    /// What is no secret.
    pub settings: &'a Value,
    /// What is, sealed.
    pub secret: &'a [u8],
    /// Whether it is read, or has to wait for somebody.
    pub state: ConnectionState,
}

/// Makes a connection.
pub async fn create(tx: &mut TenantTx, new: &NewConnection<'_>) -> Result<Connection, Error> {
    sqlx::query_as(
        "insert into shard.connections (tenant_id, id, kind, name, notebook_id, settings, secret, state, groups)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning *",
    )
    .bind(tx.tenant_id())
    .bind(new.id.uuid())
    .bind(new.kind)
    .bind(new.name)
    .bind(new.notebook.map(NotebookId::uuid))
    .bind(Json(new.settings))
    .bind(new.secret)
    .bind(new.state.as_str())
    .bind(new.groups.map(Groups::names))
    .fetch_one(tx.connection())
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("connections_name_key") => {
            Error::Conflict(format!("a connection named '{}' exists already", new.name))
        }
        Some("connections_name_check") => {
            Error::Invalid("a name has 1 to 200 characters".to_owned())
        }
        _ => error.into(),
    })
}

/// One connection.
pub async fn get(tx: &mut TenantTx, id: ConnectionId) -> Result<Connection, Error> {
    sqlx::query_as("select * from shard.connections where tenant_id = $1 and id = $2")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .fetch_optional(tx.connection())
        .await?
        .ok_or(NOT_FOUND)
}

/// Connections in order of creation.
pub async fn list(tx: &mut TenantTx, page: PageRequest) -> Result<Page<Connection>, Error> {
    let rows = sqlx::query_as(
        "select * from shard.connections where tenant_id = $1 and id > $2 order by id limit $3",
    )
    .bind(tx.tenant_id())
    .bind(page.sql_after())
    .bind(page.sql_limit())
    .fetch_all(tx.connection())
    .await?;
    Ok(page.page(rows))
}

/// Sets whether a connection is read, and why not.
pub async fn set_state(
    tx: &mut TenantTx,
    id: ConnectionId,
    state: ConnectionState,
    reason: Option<&str>,
) -> Result<Connection, Error> {
    sqlx::query_as(
        "update shard.connections set state = $3, reason = $4 where tenant_id = $1 and id = $2 returning *",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(state.as_str())
    .bind(reason)
    .fetch_optional(tx.connection())
    .await?
    .ok_or(NOT_FOUND)
}

/// Gives a connection other secrets and another chance.
pub async fn set_secret(
    tx: &mut TenantTx,
    id: ConnectionId,
    secret: &[u8],
) -> Result<Connection, Error> {
    sqlx::query_as(
        "update shard.connections set secret = $3, state = 'active', reason = null
         where tenant_id = $1 and id = $2 returning *",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(secret)
    .fetch_optional(tx.connection())
    .await?
    .ok_or(NOT_FOUND)
}

/// Replaces a secret that wears out by its successor, unless another process was first. Says whether it did.
pub async fn succeed_secret(
    tx: &mut TenantTx,
    id: ConnectionId,
    old: &[u8],
    new: &[u8],
) -> Result<bool, Error> {
    let done = sqlx::query(
        "update shard.connections set secret = $4 where tenant_id = $1 and id = $2 and secret = $3",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(old)
    .bind(new)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Writes what is no secret about a connection.
pub async fn set_settings(
    tx: &mut TenantTx,
    id: ConnectionId,
    settings: &Value,
) -> Result<(), Error> {
    let done =
        sqlx::query("update shard.connections set settings = $3 where tenant_id = $1 and id = $2")
            .bind(tx.tenant_id())
            .bind(id.uuid())
            .bind(Json(settings))
            .execute(tx.connection())
            .await?;
    match done.rows_affected() {
        0 => Err(NOT_FOUND),
        _ => Ok(()),
    }
}

/// Sets who sees the sources of a connection, beside those whom the account names for one of them. Search goes by it
/// from this commit on.
pub async fn set_groups(
    tx: &mut TenantTx,
    id: ConnectionId,
    groups: Option<&Groups>,
) -> Result<Connection, Error> {
    let connection: Connection = sqlx::query_as(
        "update shard.connections set groups = $3 where tenant_id = $1 and id = $2 returning *",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(groups.map(Groups::names))
    .fetch_optional(tx.connection())
    .await?
    .ok_or(NOT_FOUND)?;
    let rows: Vec<(Uuid, Option<i32>)> = sqlx::query_as(
        "update shard.sources s
         set groups = case when i.groups is null then $3 else i.groups || coalesce($3, '{}') end, updated_at = now()
         from shard.connection_items i
         where s.tenant_id = $1 and i.tenant_id = $1 and i.connection_id = $2 and s.id = i.source_id
         returning s.id, s.live_version",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(groups.map(Groups::names))
    .fetch_all(tx.connection())
    .await?;
    let live = rows.into_iter();
    let live: Vec<(SourceId, i32)> = live
        .filter_map(|(id, version)| Some((id.into(), version?)))
        .collect();
    corpus::record(tx, Change::Regrouped, &live).await?;
    Ok(connection)
}

/// Who sees its sources, beside those whom the account names. Nobody changes that before this transaction ends.
pub async fn locked_groups(tx: &mut TenantTx, id: ConnectionId) -> Result<Option<Groups>, Error> {
    let connection: Option<Connection> = sqlx::query_as(
        "select * from shard.connections where tenant_id = $1 and id = $2 for no key update",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .fetch_optional(tx.connection())
    .await?;
    Ok(connection.ok_or(NOT_FOUND)?.groups)
}

/// Removes a connection and what is known about its items. Returns the sources that were made of them.
pub async fn delete(tx: &mut TenantTx, id: ConnectionId) -> Result<Vec<SourceId>, Error> {
    let sources: Vec<Uuid> = sqlx::query_scalar(
        "select source_id from shard.connection_items
         where tenant_id = $1 and connection_id = $2 and source_id is not null",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .fetch_all(tx.connection())
    .await?;
    let done = sqlx::query("delete from shard.connections where tenant_id = $1 and id = $2")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .execute(tx.connection())
        .await?;
    match done.rows_affected() {
        0 => Err(NOT_FOUND),
        _ => Ok(sources.into_iter().map(SourceId::from).collect()),
    }
}

/// Wishes that everything is looked at. Fails when the connection is gone.
pub async fn wish(tx: &mut TenantTx, id: ConnectionId) -> Result<(), Error> {
    let done = sqlx::query(
        "update shard.connections set wishes = wishes + 1 where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .execute(tx.connection())
    .await?;
    match done.rows_affected() {
        0 => Err(NOT_FOUND),
        _ => Ok(()),
    }
}

/// Notes how far a connection has been read since it looked like this, and whether that is all for now. The wishes
/// it had then are heard. Fails when it is gone.
pub async fn move_on(
    tx: &mut TenantTx,
    connection: &Connection,
    cursor: &Value,
    is_end: bool,
) -> Result<(), Error> {
    let done = sqlx::query(
        "update shard.connections
         set cursor = $3, wishes_heard = $5, last_success_at = case when $4 then now() else last_success_at end,
             last_error = case when $4 then null else last_error end
         where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(connection.id.uuid())
    .bind(Json(cursor))
    .bind(is_end)
    .bind(connection.wishes)
    .execute(tx.connection())
    .await?;
    match done.rows_affected() {
        0 => Err(NOT_FOUND),
        _ => Ok(()),
    }
}

/// Notes that something came in, to the second: of many that come at once one notes it and none waits for another.
pub async fn note_heard(tx: &mut TenantTx, connection: &Connection) -> Result<(), Error> {
    let is_noted = connection
        .last_success_at
        .is_some_and(|at| Utc::now() - at < TimeDelta::seconds(1));
    if is_noted && connection.last_error.is_none() {
        return Ok(());
    }
    sqlx::query(
        "update shard.connections set last_success_at = now(), last_error = null
         where tenant_id = $1 and id in (
             select id from shard.connections where tenant_id = $1 and id = $2 for no key update skip locked)",
    )
    .bind(tx.tenant_id())
    .bind(connection.id.uuid())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Notes what went wrong.
pub async fn note_error(tx: &mut TenantTx, id: ConnectionId, error: &str) -> Result<(), Error> {
    sqlx::query(
        "update shard.connections set last_error = $3, last_error_at = now() where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(error)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Remembers the id of a message; says whether it is new.
pub async fn hear(tx: &mut TenantTx, id: ConnectionId, message: &str) -> Result<bool, Error> {
    let done = sqlx::query(
        "with old as (
             delete from shard.heard_messages
             where (tenant_id, connection_id, message_id) in (
                 select tenant_id, connection_id, message_id from shard.heard_messages
                 where tenant_id = $1 and connection_id = $2 and message_id <> $3
                   and heard_at < now() - make_interval(hours => $4)
                 order by heard_at limit 10 for update skip locked)
         )
         insert into shard.heard_messages (tenant_id, connection_id, message_id) values ($1, $2, $3)
         on conflict do nothing",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(message)
    .bind(HEARD_HOURS)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

const NOT_FOUND: Error = Error::NotFound { what: "connection" };
