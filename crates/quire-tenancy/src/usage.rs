//! Usage events: one for every attempt at a provider and every piece of local work, however often it is told.
//!
//! The id of an event is made from what was done, so a repeated task or a repeated write changes nothing. An
//! attempt that costs money is written before it is sent, with what was reserved for it as its cost; when
//! nobody ever says more, that is what it cost. Local work is written within
//! [`crate::FLUSH_AFTER`] in batches.

use chrono::NaiveDate;
use serde::Serialize;
use sha2::{Digest, Sha256};
use sqlx::{FromRow, PgConnection};
use uuid::Uuid;

use quire_store::{Store, SystemTx, TenantTx};
use quire_types::{NanoUsd, TenantId, Timestamp};

use crate::Error;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A question was answered.
    Question,
    /// Passages were searched.
    Search,
    /// A model was asked to write.
    Chat,
    /// A model turned text into vectors.
    Embed,
    /// A model put passages in order.
    Rerank,
    /// A model wrote down what is said in a piece of a recording. Its seconds are those of the source, told twice.
    Transcribe,
    /// A model described a picture. Its image is that of the source, told twice.
    Describe,
    /// A model read what stands on a page or a picture. Its pages are those of the source, told twice.
    Read,
    /// A source was read.
    Source,
}

impl Kind {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Question => "question",
            Self::Search => "search",
            Self::Chat => "chat",
            Self::Embed => "embed",
            Self::Rerank => "rerank",
            Self::Transcribe => "transcribe",
            Self::Describe => "describe",
            Self::Read => "read",
            Self::Source => "source",
        }
    }
}

/// How much of each thing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, FromRow)]
pub struct Quantities {
    /// Tokens a model read, the cached ones included.
    pub input_tokens: i64,
    /// Of those, tokens that its cache held.
    pub cached_tokens: i64,
    /// Tokens a model wrote, those it thought in included.
    pub output_tokens: i64,
    /// Of those, tokens it thought in.
    pub reasoning_tokens: i64,
    /// Pages that were read.
    pub pages: i64,
    /// Images that were looked at.
    pub images: i64,
    /// Audio that was heard or made, in milliseconds.
    pub audio_ms: i64,
    /// Characters that were spoken or embedded.
    pub characters: i64,
    /// Bytes that were stored.
    pub stored_bytes: i64,
}

/// One piece of work.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Whose work it was.
    pub tenant: TenantId,
    /// The same for the same work.
    pub id: Uuid,
    /// When it was asked for: the same however often it is told.
    pub at: Timestamp,
    /// What was done, as [`Kind::as_str`] says it.
    pub kind: String,
    /// The request or task it belongs to.
    pub request: Uuid,
    /// The number of the attempt, from 1.
    pub attempt: i16,
    /// The tenant's name of the user it was for.
    pub user: Option<String>,
    /// The notebook it was for, if only one.
    pub notebook: Option<Uuid>,
    /// Who did it, if not quire itself.
    pub provider: Option<String>,
    /// The model that did it.
    pub model: Option<String>,
    /// What it was spent from.
    pub hold: Option<Uuid>,
    /// Whether it still runs.
    pub is_open: bool,
    /// Whether nobody said what was really used.
    pub is_estimated: bool,
    /// How much of each thing.
    #[serde(flatten)]
    pub quantities: Quantities,
    /// What it cost.
    pub cost: NanoUsd,
}

impl Event {
    /// Work of a request or task that began at `at`.
    pub fn new(tenant: TenantId, kind: Kind, request: Uuid, attempt: i16, at: Timestamp) -> Self {
        Self {
            tenant,
            id: event_id(request, attempt, kind),
            at,
            kind: kind.as_str().to_owned(),
            request,
            attempt,
            user: None,
            notebook: None,
            provider: None,
            model: None,
            hold: None,
            is_open: false,
            is_estimated: false,
            quantities: Quantities::default(),
            cost: NanoUsd::default(),
        }
    }

    /// The day it counts for.
    pub fn day(&self) -> NaiveDate {
        self.at.date_naive()
    }
}

/// The id of an event: the same for the same attempt, unlike that of any other.
fn event_id(request: Uuid, attempt: i16, kind: Kind) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(request.as_bytes());
    hash.update(attempt.to_le_bytes());
    hash.update(kind.as_str());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// Writes events. What is known already stays as it is, unless it was open and now is not.
pub async fn record(store: &Store, events: &[Event]) -> Result<(), Error> {
    let mut tx = store.system().await?;
    write(tx.connection(), events).await?;
    Ok(tx.commit().await?)
}

/// Writes down an attempt that is about to be sent, if what it spends is still held or it spends nothing that is.
/// Whoever was asleep for so long that its hold was given up on must not go on.
///
/// Somebody waits for this, so it is one statement that waits for the disk once.
pub(crate) async fn record_attempt(store: &Store, event: &Event) -> Result<bool, Error> {
    let may_go_on = sqlx::query_scalar(
        "with verdict as materialized (
             select $12::uuid is null or exists (
                 select from control.holds where tenant_id = $1 and id = $12 and charged is null
             ) as may_go_on
         ), written as (
             insert into control.usage_events
                 (tenant_id, day, id, at, kind, request, attempt, user_name, notebook_id, provider, model, hold,
                  cost, is_open, is_estimated)
             select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, true, true
             from verdict where may_go_on
             on conflict do nothing
         ), marked as (
             -- Also locks a mark that is there: whoever sums the day waits until the event can be seen.
             insert into control.unsummed (tenant_id, day)
             select $1, $2 from verdict where may_go_on
             on conflict (tenant_id, day) do update set day = excluded.day
         )
         select may_go_on from verdict",
    )
    .bind(event.tenant.uuid())
    .bind(event.day())
    .bind(event.id)
    .bind(event.at)
    .bind(&event.kind)
    .bind(event.request)
    .bind(event.attempt)
    .bind(&event.user)
    .bind(event.notebook)
    .bind(&event.provider)
    .bind(&event.model)
    .bind(event.hold)
    .bind(event.cost.nanos())
    .fetch_one(&mut *store.statement().await?)
    .await?;
    Ok(may_go_on)
}

/// The same within the transaction of the work itself.
pub async fn record_in(tx: &mut TenantTx, events: &[Event]) -> Result<(), Error> {
    write(tx.connection(), events).await
}

async fn write(connection: &mut PgConnection, events: &[Event]) -> Result<(), Error> {
    // One statement can't meet the same row twice; the last word counts.
    let mut last = std::collections::BTreeMap::new();
    for event in events {
        last.insert((event.tenant, event.day(), event.id), event);
    }
    let events: Vec<&Event> = last.into_values().collect();
    let column = |value: fn(&Quantities) -> i64| -> Vec<i64> {
        events
            .iter()
            .map(|event| value(&event.quantities))
            .collect()
    };
    let tenants: Vec<Uuid> = events.iter().map(|event| event.tenant.uuid()).collect();
    let days: Vec<NaiveDate> = events.iter().map(|event| event.day()).collect();
    // Rows are in the order of their key, so that two writers can't wait for each other.
    let is_final = events.iter().all(|event| !event.is_open);
    let on_conflict = if is_final && events.iter().all(|event| event.provider.is_none()) {
        "on conflict do nothing"
    } else {
        "on conflict (tenant_id, day, id) do update
         set is_open = false, is_estimated = excluded.is_estimated, cost = excluded.cost,
             input_tokens = excluded.input_tokens, cached_tokens = excluded.cached_tokens,
             output_tokens = excluded.output_tokens, reasoning_tokens = excluded.reasoning_tokens,
             pages = excluded.pages, images = excluded.images, audio_ms = excluded.audio_ms,
             characters = excluded.characters, stored_bytes = excluded.stored_bytes
         where usage_events.is_open and not excluded.is_open"
    };
    let insert = format!(
        "insert into control.usage_events
             (tenant_id, day, id, at, kind, request, attempt, user_name, notebook_id, provider, model, hold,
              is_open, is_estimated, cost, input_tokens, cached_tokens, output_tokens, reasoning_tokens, pages,
              images, audio_ms, characters, stored_bytes)
         select * from unnest($1::uuid[], $2::date[], $3::uuid[], $4::timestamptz[], $5::text[], $6::uuid[],
              $7::smallint[], $8::text[], $9::uuid[], $10::text[], $11::text[], $12::uuid[], $13::boolean[],
              $14::boolean[], $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::bigint[],
              $20::bigint[], $21::bigint[], $22::bigint[], $23::bigint[], $24::bigint[])
         {on_conflict}"
    );
    // Of two fixed texts.
    sqlx::query(sqlx::AssertSqlSafe(insert))
        .bind(&tenants)
        .bind(&days)
        .bind(events.iter().map(|event| event.id).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.at).collect::<Vec<_>>())
        .bind(
            events
                .iter()
                .map(|event| event.kind.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(events.iter().map(|event| event.request).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.attempt).collect::<Vec<_>>())
        .bind(
            events
                .iter()
                .map(|event| event.user.as_deref())
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|event| event.notebook)
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|event| event.provider.as_deref())
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|event| event.model.as_deref())
                .collect::<Vec<_>>(),
        )
        .bind(events.iter().map(|event| event.hold).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.is_open).collect::<Vec<_>>())
        .bind(
            events
                .iter()
                .map(|event| event.is_estimated)
                .collect::<Vec<_>>(),
        )
        .bind(
            events
                .iter()
                .map(|event| event.cost.nanos())
                .collect::<Vec<_>>(),
        )
        .bind(column(|of| of.input_tokens))
        .bind(column(|of| of.cached_tokens))
        .bind(column(|of| of.output_tokens))
        .bind(column(|of| of.reasoning_tokens))
        .bind(column(|of| of.pages))
        .bind(column(|of| of.images))
        .bind(column(|of| of.audio_ms))
        .bind(column(|of| of.characters))
        .bind(column(|of| of.stored_bytes))
        .execute(&mut *connection)
        .await?;
    // Also locks a mark that is there: whoever sums the day waits until these events can be seen.
    sqlx::query(
        "insert into control.unsummed (tenant_id, day)
         select distinct * from unnest($1::uuid[], $2::date[]) order by 1, 2
         on conflict (tenant_id, day) do update set day = excluded.day",
    )
    .bind(tenants)
    .bind(days)
    .execute(connection)
    .await?;
    Ok(())
}

#[derive(FromRow)]
struct EventRow {
    tenant_id: Uuid,
    id: Uuid,
    at: Timestamp,
    kind: String,
    request: Uuid,
    attempt: i16,
    user_name: Option<String>,
    notebook_id: Option<Uuid>,
    provider: Option<String>,
    model: Option<String>,
    hold: Option<Uuid>,
    is_open: bool,
    is_estimated: bool,
    #[sqlx(flatten)]
    quantities: Quantities,
    cost: i64,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        Self {
            tenant: row.tenant_id.into(),
            id: row.id,
            at: row.at,
            kind: row.kind,
            request: row.request,
            attempt: row.attempt,
            user: row.user_name,
            notebook: row.notebook_id,
            provider: row.provider,
            model: row.model,
            hold: row.hold,
            is_open: row.is_open,
            is_estimated: row.is_estimated,
            quantities: row.quantities,
            cost: NanoUsd::from_nanos(row.cost),
        }
    }
}

/// Where a list of events goes on.
pub type EventCursor = (NaiveDate, Uuid);

/// The events of a tenant on days `from` until before `until`, in a stable order.
pub async fn events(
    tx: &mut SystemTx,
    tenant: TenantId,
    (from, until): (NaiveDate, NaiveDate),
    after: Option<EventCursor>,
    limit: i64,
) -> Result<Vec<Event>, Error> {
    let (day, id) = after.unwrap_or((from, Uuid::nil()));
    let rows: Vec<EventRow> = sqlx::query_as(
        "select * from control.usage_events
         where tenant_id = $1 and day >= $2 and day < $3 and (day, id) > ($4, $5)
         order by day, id limit $6",
    )
    .bind(tenant.uuid())
    .bind(from)
    .bind(until)
    .bind(day)
    .bind(id)
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(Event::from).collect())
}

/// What one model of a provider did on one day for all tenants, for comparison with an invoice.
#[derive(Clone, Debug, FromRow)]
pub struct ModelDay {
    /// The day.
    pub day: NaiveDate,
    /// The model.
    pub model: String,
    /// Attempts.
    pub calls: i64,
    /// Tokens read.
    pub input_tokens: i64,
    /// Tokens written.
    pub output_tokens: i64,
    /// What it cost by quire's count, in nano-dollars.
    pub cost: i64,
}

/// What a provider did, by day and model.
pub async fn by_model(
    tx: &mut SystemTx,
    provider: &str,
    (from, until): (NaiveDate, NaiveDate),
) -> Result<Vec<ModelDay>, Error> {
    Ok(sqlx::query_as(
        "select day, coalesce(model, '') as model, count(*) as calls, sum(input_tokens)::bigint as input_tokens,
                sum(output_tokens)::bigint as output_tokens, sum(cost)::bigint as cost
         from control.usage_events
         where provider = $1 and day >= $2 and day < $3
         group by 1, 2 order by 1, 2",
    )
    .bind(provider)
    .bind(from)
    .bind(until)
    .fetch_all(tx.connection())
    .await?)
}
