//! Connections: accounts elsewhere, how far each has been read, and the sources that were made of it.
//!
//! Where reading has come to is written in the transaction of what was read. Knows no provider.

use std::collections::HashMap;

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

/// What was made of something on the other side.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its id there.
    pub external_id: String,
    /// What the other side calls this state of it.
    pub version: String,
    /// Where a person finds it there.
    pub url: Option<String>,
    /// The source that was made of it.
    pub source: Option<SourceId>,
    /// Why none was made of this version.
    pub reason: Option<String>,
    /// Who sees it there, where the account tells.
    pub groups: Option<Groups>,
}

impl sqlx::FromRow<'_, PgRow> for Item {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            external_id: row.try_get("external_id")?,
            version: row.try_get("version")?,
            url: row.try_get("url")?,
            source: row
                .try_get::<Option<Uuid>, _>("source_id")?
                .map(SourceId::from),
            reason: row.try_get("reason")?,
            groups: groups(row)?,
        })
    }
}

/// Those of the given items that are known.
pub async fn items(
    tx: &mut TenantTx,
    id: ConnectionId,
    external_ids: &[String],
) -> Result<HashMap<String, Item>, Error> {
    let rows: Vec<Item> = sqlx::query_as(
        "select external_id, version, url, source_id, reason, groups from shard.connection_items
         where tenant_id = $1 and connection_id = $2 and external_id = any($3)",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(external_ids)
    .fetch_all(tx.connection())
    .await?;
    let by_id = rows.into_iter();
    Ok(by_id.map(|item| (item.external_id.clone(), item)).collect())
}

/// Where a person finds on the other side what a source was made of.
pub async fn url(tx: &mut TenantTx, source: SourceId) -> Result<Option<String>, Error> {
    let url: Option<Option<String>> = sqlx::query_scalar(
        "select url from shard.connection_items where tenant_id = $1 and source_id = $2 limit 1",
    )
    .bind(tx.tenant_id())
    .bind(source.uuid())
    .fetch_optional(tx.connection())
    .await?;
    Ok(url.flatten())
}

/// Writes what was made of items in a round, and that others were seen in it.
pub async fn note_items(
    tx: &mut TenantTx,
    id: ConnectionId,
    round: i64,
    made: &[Item],
    seen: &[String],
) -> Result<(), Error> {
    sqlx::query(
        "insert into shard.connection_items as i
             (tenant_id, connection_id, round, external_id, version, url, source_id, reason, groups)
         select $1, $2, $3, n.external_id, n.version, n.url, n.source_id, n.reason, string_to_array(n.groups, ',')
         from unnest($4::text[], $5::text[], $6::text[], $7::uuid[], $8::text[], $9::text[])
              as n (external_id, version, url, source_id, reason, groups)
         on conflict (tenant_id, connection_id, external_id) do update
         set round = greatest(i.round, excluded.round), version = excluded.version, url = excluded.url,
             source_id = excluded.source_id, reason = excluded.reason, groups = excluded.groups",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(round)
    .bind(
        made.iter()
            .map(|item| item.external_id.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        made.iter()
            .map(|item| item.version.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        made.iter()
            .map(|item| item.url.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(
        made.iter()
            .map(|item| item.source.map(SourceId::uuid))
            .collect::<Vec<_>>(),
    )
    .bind(
        made.iter()
            .map(|item| item.reason.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(
        made.iter()
            .map(|item| Some(item.groups.as_ref()?.names().join(",")))
            .collect::<Vec<_>>(),
    )
    .execute(tx.connection())
    .await?;
    sqlx::query(
        "update shard.connection_items set round = greatest(round, $3)
         where tenant_id = $1 and connection_id = $2 and external_id = any($4)",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(round)
    .bind(seen)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Items that the round did not see, longest unseen first.
pub async fn unseen(
    tx: &mut TenantTx,
    id: ConnectionId,
    round: i64,
    limit: i64,
) -> Result<Vec<String>, Error> {
    let ids = sqlx::query_scalar(
        "select external_id from shard.connection_items
         where tenant_id = $1 and connection_id = $2 and round < $3 order by round, external_id limit $4",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(round)
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(ids)
}

/// Forgets items. Returns their sources.
pub async fn forget_items(
    tx: &mut TenantTx,
    id: ConnectionId,
    external_ids: &[String],
) -> Result<Vec<SourceId>, Error> {
    let sources: Vec<Option<Uuid>> = sqlx::query_scalar(
        "delete from shard.connection_items
         where tenant_id = $1 and connection_id = $2 and external_id = any($3) returning source_id",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(external_ids)
    .fetch_all(tx.connection())
    .await?;
    Ok(sources.into_iter().flatten().map(SourceId::from).collect())
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
