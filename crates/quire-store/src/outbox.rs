//! Events for others, the endpoints that want them, and how far each delivery has come.
//!
//! [`emit`] writes events in the transaction of what happened, so they exist exactly when it did. Knows no
//! HTTP and no schedule.

use serde_json::Value;
use sqlx::Row;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use uuid::Uuid;

use quire_types::{EndpointId, EndpointState, MessageId, Timestamp};

use crate::sources::decode;
use crate::{Error, Page, PageRequest, TenantTx};

/// How long events are kept, for replays.
pub const KEPT_DAYS: i32 = 30;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// What: `source.published`.
    pub kind: &'static str,
    /// Ids and states, no content.
    pub data: Value,
    /// Who caused it, if another product did.
    pub origin: Option<String>,
}

/// Writes events for the endpoints that want them, if there are any. Returns those that have something to send.
pub async fn emit(tx: &mut TenantTx, events: &[NewEvent]) -> Result<Vec<EndpointId>, Error> {
    if events.is_empty() {
        return Ok(Vec::new());
    }
    let rows: Vec<Uuid> = sqlx::query_scalar(
        "with endpoint as materialized (
             select id, types, origin, state from shard.endpoints where tenant_id = $1
         ), event as (
             insert into shard.outbox (tenant_id, id, type, data, origin)
             select $1, n.* from unnest($2::uuid[], $3::text[], $4::jsonb[], $5::text[]) as n
             where exists (select from endpoint)
             returning id, type, origin
         ), delivery as (
             insert into shard.deliveries (tenant_id, endpoint_id, event_id)
             select $1, endpoint.id, event.id from event join endpoint
               on (endpoint.types = '{}' or event.type = any(endpoint.types))
              and (endpoint.origin is null or endpoint.origin is distinct from event.origin)
             where endpoint.state <> 'disabled'
             returning endpoint_id
         )
         select distinct endpoint_id from delivery",
    )
    .bind(tx.tenant_id())
    .bind(
        events
            .iter()
            .map(|_| MessageId::generate().uuid())
            .collect::<Vec<_>>(),
    )
    .bind(events.iter().map(|event| event.kind).collect::<Vec<_>>())
    .bind(
        events
            .iter()
            .map(|event| Json(&event.data))
            .collect::<Vec<_>>(),
    )
    .bind(
        events
            .iter()
            .map(|event| event.origin.as_deref())
            .collect::<Vec<_>>(),
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(EndpointId::from).collect())
}

/// An address that wants to hear of events.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its id.
    pub id: EndpointId,
    /// Where it is.
    pub url: String,
    /// What people call it.
    pub description: String,
    /// Types of events it wants; none means all.
    pub types: Vec<String>,
    /// Events that came from there are not sent back.
    pub origin: Option<String>,
    /// The sealed key of its signatures.
    pub secret: Vec<u8>,
    /// The sealed key before, as long as both sign.
    pub old_secret: Option<Vec<u8>>,
    /// Whether it is sent to.
    pub state: EndpointState,
    /// Why it was disabled.
    pub reason: Option<String>,
    /// Since when every attempt has failed.
    pub failing_since: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl sqlx::FromRow<'_, PgRow> for Endpoint {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            url: row.try_get("url")?,
            description: row.try_get("description")?,
            types: row.try_get("types")?,
            origin: row.try_get("origin")?,
            secret: row.try_get("secret")?,
            old_secret: row.try_get("old_secret")?,
            state: decode(row.try_get("state")?)?,
            reason: row.try_get("reason")?,
            failing_since: row.try_get("failing_since")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

const ENDPOINT: &str =
    "select id, url, description, types, origin, secret, state, reason, failing_since, created_at,
        case when old_secret_until > now() then old_secret end as old_secret
    from shard.endpoints where tenant_id = $1";

/// What an endpoint is like, apart from its key.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Where it is.
    pub url: &'a str,
    /// What people call it.
    pub description: &'a str,
    /// Types of events it wants; none means all.
    pub types: &'a [String],
    /// Events that came from there are not sent back.
    pub origin: Option<&'a str>,
}

/// Makes an endpoint with a sealed key.
pub async fn create_endpoint(
    tx: &mut TenantTx,
    id: EndpointId,
    wish: &Wish<'_>,
    secret: &[u8],
) -> Result<Endpoint, Error> {
    sqlx::query(
        "insert into shard.endpoints (tenant_id, id, url, description, types, origin, secret, state)
         values ($1, $2, $3, $4, $5, $6, $7, 'active')",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(wish.url)
    .bind(wish.description)
    .bind(wish.types)
    .bind(wish.origin)
    .bind(secret)
    .execute(tx.connection())
    .await
    .map_err(endpoint_error)?;
    endpoint(tx, id).await
}

/// Changes an endpoint. Whoever makes it active again gives it another chance.
pub async fn change_endpoint(
    tx: &mut TenantTx,
    id: EndpointId,
    wish: &Wish<'_>,
    state: EndpointState,
) -> Result<Endpoint, Error> {
    sqlx::query(
        "update shard.endpoints
         set url = $3, description = $4, types = $5, origin = $6, state = $7,
             reason = case when $7 = 'disabled' then reason end,
             failing_since = case when $7 = 'active' and state <> 'active' then null else failing_since end
         where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(wish.url)
    .bind(wish.description)
    .bind(wish.types)
    .bind(wish.origin)
    .bind(state.as_str())
    .execute(tx.connection())
    .await
    .map_err(endpoint_error)?;
    endpoint(tx, id).await
}

fn endpoint_error(error: sqlx::Error) -> Error {
    match Error::constraint(&error) {
        Some("endpoints_url_check") => Error::Invalid("a URL has 1 to 2000 characters".to_owned()),
        Some("endpoints_description_check") => {
            Error::Invalid("a description has at most 500 characters".to_owned())
        }
        _ => error.into(),
    }
}

/// Gives an endpoint another key; the one before goes on signing for a day.
pub async fn rotate_secret(tx: &mut TenantTx, id: EndpointId, secret: &[u8]) -> Result<(), Error> {
    let done = sqlx::query(
        "update shard.endpoints
         set old_secret = secret, old_secret_until = now() + interval '1 day', secret = $3
         where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(secret)
    .execute(tx.connection())
    .await?;
    match done.rows_affected() {
        0 => Err(NO_ENDPOINT),
        _ => Ok(()),
    }
}

/// One endpoint.
pub async fn endpoint(tx: &mut TenantTx, id: EndpointId) -> Result<Endpoint, Error> {
    sqlx::query_as(sqlx::AssertSqlSafe(format!("{ENDPOINT} and id = $2")))
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .fetch_optional(tx.connection())
        .await?
        .ok_or(NO_ENDPOINT)
}

/// Endpoints in order of creation.
pub async fn endpoints(tx: &mut TenantTx, page: PageRequest) -> Result<Page<Endpoint>, Error> {
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{ENDPOINT} and id > $2 order by id limit $3"
    )))
    .bind(tx.tenant_id())
    .bind(page.sql_after())
    .bind(page.sql_limit())
    .fetch_all(tx.connection())
    .await?;
    Ok(page.page(rows))
}

/// Removes an endpoint with its deliveries.
pub async fn delete_endpoint(tx: &mut TenantTx, id: EndpointId) -> Result<(), Error> {
    let done = sqlx::query("delete from shard.endpoints where tenant_id = $1 and id = $2")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .execute(tx.connection())
        .await?;
    match done.rows_affected() {
        0 => Err(NO_ENDPOINT),
        _ => Ok(()),
    }
}

/// An event on its way to an endpoint.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The event.
    pub event: MessageId,
    /// What happened.
    pub kind: String,
    /// When it happened.
    pub at: Timestamp,
    /// Ids and states.
    pub data: Value,
    /// Attempts so far.
    pub attempts: i32,
    /// `waiting`, `delivered` or `failed`.
    pub state: String,
    /// When it is tried next.
    pub next_at: Timestamp,
    /// What the endpoint answered last.
    pub status: Option<i32>,
    /// What went wrong last.
    pub error: Option<String>,
    /// How long the last answer took.
    pub took_ms: Option<i32>,
    /// When it was last tried.
    pub updated_at: Timestamp,
}

impl sqlx::FromRow<'_, PgRow> for Delivery {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            event: row.try_get::<Uuid, _>("event_id")?.into(),
            kind: row.try_get("type")?,
            at: row.try_get("created_at")?,
            data: row.try_get::<Json<Value>, _>("data")?.0,
            attempts: row.try_get("attempts")?,
            state: row.try_get("state")?,
            next_at: row.try_get("next_at")?,
            status: row.try_get("status")?,
            error: row.try_get("error")?,
            took_ms: row.try_get("took_ms")?,
            updated_at: row.try_get("updated_at")?,
        })
    }
}

const DELIVERY: &str = "select d.*, e.type, e.data, e.created_at from shard.deliveries d
    join shard.outbox e on e.tenant_id = d.tenant_id and e.id = d.event_id
    where d.tenant_id = $1 and d.endpoint_id = $2";

/// What is due for an endpoint, longest waiting first.
pub async fn due(
    tx: &mut TenantTx,
    endpoint: EndpointId,
    limit: i64,
) -> Result<Vec<Delivery>, Error> {
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{DELIVERY} and d.state = 'waiting' and d.next_at <= now() order by d.next_at limit $3"
    )))
    .bind(tx.tenant_id())
    .bind(endpoint.uuid())
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// When something is due for an endpoint next, with the number of attempts it has had.
pub async fn next_due(
    tx: &mut TenantTx,
    endpoint: EndpointId,
) -> Result<Option<(Timestamp, i32)>, Error> {
    let row = sqlx::query_as(
        "select next_at, attempts from shard.deliveries
         where tenant_id = $1 and endpoint_id = $2 and state = 'waiting' order by next_at limit 1",
    )
    .bind(tx.tenant_id())
    .bind(endpoint.uuid())
    .fetch_optional(tx.connection())
    .await?;
    Ok(row)
}

/// The log of an endpoint by event, of one state or of all.
pub async fn deliveries(
    tx: &mut TenantTx,
    endpoint: EndpointId,
    state: Option<&str>,
    page: PageRequest,
) -> Result<Page<Delivery>, Error> {
    let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "{DELIVERY} and d.event_id > $3 and ($5::text is null or d.state = $5) order by d.event_id limit $4"
    )))
    .bind(tx.tenant_id())
    .bind(endpoint.uuid())
    .bind(page.sql_after())
    .bind(page.sql_limit())
    .bind(state)
    .fetch_all(tx.connection())
    .await?;
    Ok(page.page(rows))
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The event.
    pub event: MessageId,
    /// When the delivery was due, as it was read.
    pub was_due: Timestamp,
    /// `waiting`, `delivered` or `failed`.
    pub state: &'static str,
    /// Whether it counts as an attempt.
    pub is_attempt: bool,
    /// When it is tried next.
    pub next_at: Timestamp,
    /// What the endpoint answered.
    pub status: Option<i32>,
    /// What went wrong.
    pub error: Option<String>,
    /// How long the answer took.
    pub took_ms: Option<i32>,
}

/// Notes how attempts ended. What was replayed meanwhile is due again, whatever became of the attempt.
pub async fn note(
    tx: &mut TenantTx,
    endpoint: EndpointId,
    outcomes: &[Outcome],
) -> Result<(), Error> {
    sqlx::query(
        "update shard.deliveries d
         set state = o.state, attempts = d.attempts + o.attempt, next_at = o.next_at,
             status = coalesce(o.status, d.status), error = o.error, took_ms = coalesce(o.took_ms, d.took_ms),
             updated_at = now()
         from unnest($3::uuid[], $4::text[], $5::int[], $6::timestamptz[], $7::int[], $8::text[], $9::int[],
                     $10::timestamptz[])
              as o (event_id, state, attempt, next_at, status, error, took_ms, was_due)
         where d.tenant_id = $1 and d.endpoint_id = $2 and d.event_id = o.event_id and d.state = 'waiting'
           and d.next_at = o.was_due",
    )
    .bind(tx.tenant_id())
    .bind(endpoint.uuid())
    .bind(outcomes.iter().map(|one| one.event.uuid()).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|one| one.state).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|one| i32::from(one.is_attempt)).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|one| one.next_at).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|one| one.status).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|one| one.error.as_deref()).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|one| one.took_ms).collect::<Vec<_>>())
    .bind(outcomes.iter().map(|one| one.was_due).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Notes whether an endpoint works: since when it has failed, or that it has not.
pub async fn note_health(
    tx: &mut TenantTx,
    endpoint: EndpointId,
    works: bool,
) -> Result<(), Error> {
    sqlx::query(
        "update shard.endpoints set failing_since = case when $3 then null else coalesce(failing_since, now()) end
         where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(endpoint.uuid())
    .bind(works)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Stops sending to an endpoint.
pub async fn disable(tx: &mut TenantTx, endpoint: EndpointId, reason: &str) -> Result<(), Error> {
    sqlx::query(
        "update shard.endpoints set state = 'disabled', reason = $3 where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(endpoint.uuid())
    .bind(reason)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Sends everything of a time range again, what was delivered included. Returns how many events that is.
pub async fn replay(
    tx: &mut TenantTx,
    endpoint: &Endpoint,
    from: Timestamp,
    to: Timestamp,
) -> Result<u64, Error> {
    let done = sqlx::query(
        "insert into shard.deliveries as d (tenant_id, endpoint_id, event_id)
         select $1, $2, e.id from shard.outbox e
         where e.tenant_id = $1 and e.created_at >= $3 and e.created_at < $4
           and ($5::text[] = '{}' or e.type = any($5)) and ($6::text is null or $6 is distinct from e.origin)
         on conflict (tenant_id, endpoint_id, event_id) do update
         set state = 'waiting', attempts = 0, next_at = now(), error = null",
    )
    .bind(tx.tenant_id())
    .bind(endpoint.id.uuid())
    .bind(from)
    .bind(to)
    .bind(&endpoint.types)
    .bind(&endpoint.origin)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected())
}

/// Writes one event for one endpoint, whatever it wants.
pub async fn emit_to(
    tx: &mut TenantTx,
    endpoint: EndpointId,
    event: &NewEvent,
) -> Result<MessageId, Error> {
    let id = MessageId::generate();
    sqlx::query("insert into shard.outbox (tenant_id, id, type, data) values ($1, $2, $3, $4)")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .bind(event.kind)
        .bind(Json(&event.data))
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "insert into shard.deliveries (tenant_id, endpoint_id, event_id) values ($1, $2, $3)",
    )
    .bind(tx.tenant_id())
    .bind(endpoint.uuid())
    .bind(id.uuid())
    .execute(tx.connection())
    .await?;
    Ok(id)
}

/// Forgets events that are older than [`KEPT_DAYS`], a bounded number at a time.
pub async fn forget_old(tx: &mut TenantTx) -> Result<(), Error> {
    sqlx::query(
        "delete from shard.outbox where tenant_id = $1 and id in (
             select id from shard.outbox
             where tenant_id = $1 and created_at < now() - make_interval(days => $2)
             order by created_at limit 500)",
    )
    .bind(tx.tenant_id())
    .bind(KEPT_DAYS)
    .execute(tx.connection())
    .await?;
    Ok(())
}

const NO_ENDPOINT: Error = Error::NotFound { what: "endpoint" };
