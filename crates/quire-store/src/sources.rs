//! Sources of a notebook, their versions and how far they have come.

mod add;
mod remove;
mod stage;

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use quire_types::{Groups, MediaType, NotebookId, SourceId, SourceState, TaskId, Timestamp};

use crate::corpus::{self, Change};
use crate::{Error, ObjectKey, Page, PageRequest, TenantTx};

pub use add::{Added, NewContent, add, add_for};
pub use remove::{delete, forget_older};
pub(crate) use remove::{live_versions, object_keys};
pub use stage::{Reading, note_reading, retry, set_state};

/// A document with its versions. State, reason, hash and size are those of the latest version.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its id.
    pub id: SourceId,
    /// The notebook it is in.
    pub notebook: NotebookId,
    /// Its name, unique in the notebook.
    pub name: String,
    /// What its content turned out to be; none before it was read.
    pub media_type: Option<MediaType>,
    /// How far it has come.
    pub state: SourceState,
    /// Why it failed and what to do, in words for a person.
    pub reason: Option<String>,
    /// The newest version.
    pub latest_version: i32,
    /// The version that search sees, if any.
    pub live_version: Option<i32>,
    /// SHA-256 of the content.
    pub content_hash: Vec<u8>,
    /// Size of the content.
    pub size_bytes: i64,
    /// Passages that search sees.
    pub passages: i32,
    /// Pages, where the content has pages.
    pub pages: Option<i32>,
    /// How long it is, where the content is a recording.
    pub duration_ms: Option<i64>,
    /// The first picture of the tenant that this one is a copy of, whatever its size or compression.
    pub similar_to: Option<SourceId>,
    /// The task that reads the latest version, or did.
    pub task: Option<TaskId>,
    /// How much of the stage that the state names is done.
    pub percent: i16,
    /// When the latest version was queued.
    pub queued_at: Option<Timestamp>,
    /// Who sees it; everybody where there are none.
    pub groups: Option<Groups>,
    /// When its reading began.
    pub extracting_at: Option<Timestamp>,
    /// When its embedding began.
    pub embedding_at: Option<Timestamp>,
    /// When it became searchable or failed.
    pub ended_at: Option<Timestamp>,
    /// When it was first added.
    pub created_at: Timestamp,
    /// When anything about it last changed.
    pub updated_at: Timestamp,
}

impl sqlx::FromRow<'_, PgRow> for Source {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            notebook: row.try_get::<Uuid, _>("notebook_id")?.into(),
            name: row.try_get("name")?,
            media_type: row
                .try_get::<Option<String>, _>("media_type")?
                .map(decode)
                .transpose()?,
            state: decode(row.try_get("state")?)?,
            reason: row.try_get("reason")?,
            latest_version: row.try_get("latest_version")?,
            live_version: row.try_get("live_version")?,
            content_hash: row.try_get("content_hash")?,
            size_bytes: row.try_get("size_bytes")?,
            passages: row.try_get("passages")?,
            pages: row.try_get("pages")?,
            duration_ms: row.try_get("duration_ms")?,
            similar_to: row
                .try_get::<Option<Uuid>, _>("similar_to")?
                .map(SourceId::from),
            task: row.try_get::<Option<Uuid>, _>("task_id")?.map(TaskId::from),
            percent: row.try_get("percent")?,
            groups: groups(row)?,
            queued_at: row.try_get("queued_at")?,
            extracting_at: row.try_get("extracting_at")?,
            embedding_at: row.try_get("embedding_at")?,
            ended_at: row.try_get("ended_at")?,
            created_at: row.try_get("created_at")?,
            updated_at: row.try_get("updated_at")?,
        })
    }
}

pub(crate) fn decode<T: TryFrom<String>>(text: String) -> Result<T, sqlx::Error>
where
    T::Error: std::error::Error + Send + Sync + 'static,
{
    T::try_from(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// The groups of a row.
pub(crate) fn groups(row: &PgRow) -> Result<Option<Groups>, sqlx::Error> {
    group_names(row.try_get("groups")?)
}

pub(crate) fn group_names(names: Option<Vec<String>>) -> Result<Option<Groups>, sqlx::Error> {
    let groups = names.map(Groups::try_from).transpose();
    groups.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Sets who sees a source; none is everybody. Search goes by it from this commit on.
pub async fn set_groups(
    tx: &mut TenantTx,
    id: SourceId,
    groups: Option<&Groups>,
) -> Result<Source, Error> {
    let source: Source = sqlx::query_as(
        "update shard.sources set groups = $3, updated_at = now()
         where tenant_id = $1 and id = $2 returning *",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(groups.map(Groups::names))
    .fetch_optional(tx.connection())
    .await?
    .ok_or(NOT_FOUND)?;
    if let Some(live) = source.live_version {
        corpus::record(tx, Change::Regrouped, &[(id, live)]).await?;
    }
    Ok(source)
}

/// One source.
pub async fn get(tx: &mut TenantTx, id: SourceId) -> Result<Source, Error> {
    sqlx::query_as("select * from shard.sources where tenant_id = $1 and id = $2")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .fetch_optional(tx.connection())
        .await?
        .ok_or(NOT_FOUND)
}

/// The source of a notebook that has this name, if there is one.
pub async fn by_name(
    tx: &mut TenantTx,
    notebook: NotebookId,
    name: &str,
) -> Result<Option<Source>, Error> {
    let found = sqlx::query_as(
        "select * from shard.sources where tenant_id = $1 and notebook_id = $2 and name = $3",
    )
    .bind(tx.tenant_id())
    .bind(notebook.uuid())
    .bind(name)
    .fetch_optional(tx.connection())
    .await?;
    Ok(found)
}

/// The given sources, in order of creation; those that are gone are left out.
pub async fn by_ids(tx: &mut TenantTx, ids: &[SourceId]) -> Result<Vec<Source>, Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let found = sqlx::query_as(
        "select * from shard.sources where tenant_id = $1 and id = any($2) order by id",
    )
    .bind(tx.tenant_id())
    .bind(ids)
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// Sources of a notebook in order of creation.
pub async fn list(
    tx: &mut TenantTx,
    notebook: NotebookId,
    page: PageRequest,
) -> Result<Page<Source>, Error> {
    let rows = sqlx::query_as(
        "select * from shard.sources
         where tenant_id = $1 and notebook_id = $2 and id > $3 order by id limit $4",
    )
    .bind(tx.tenant_id())
    .bind(notebook.uuid())
    .bind(page.sql_after())
    .bind(page.sql_limit())
    .fetch_all(tx.connection())
    .await?;
    Ok(page.page(rows))
}

/// How many sources of a notebook are in each state.
pub async fn counts(
    tx: &mut TenantTx,
    notebook: NotebookId,
) -> Result<Vec<(SourceState, i64)>, Error> {
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "select state, count(*) from shard.sources
         where tenant_id = $1 and notebook_id = $2 group by state order by state",
    )
    .bind(tx.tenant_id())
    .bind(notebook.uuid())
    .fetch_all(tx.connection())
    .await?;
    rows.into_iter()
        .map(|(state, count)| Ok((decode(state)?, count)))
        .collect()
}

/// What all sources of a tenant take up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Totals {
    /// Bytes of all versions that are kept, those that are not searchable included.
    pub stored_bytes: i64,
    /// Passages that search sees.
    pub passages: i64,
}

/// What all sources of the tenant take up.
pub async fn totals(tx: &mut TenantTx) -> Result<Totals, Error> {
    let totals = sqlx::query_as(
        "select (select coalesce(sum(size_bytes), 0)::bigint
                 from (select distinct on (coalesce(object_key, source_id::text || '/' || version)) size_bytes
                       from shard.source_versions where tenant_id = $1) stored) as stored_bytes,
                (select coalesce(sum(passages), 0)::bigint from shard.sources
                 where tenant_id = $1) as passages",
    )
    .bind(tx.tenant_id())
    .fetch_one(tx.connection())
    .await?;
    Ok(totals)
}

/// Recordings of the tenant besides those of this source.
pub async fn recordings_besides(tx: &mut TenantTx, id: SourceId) -> Result<i64, Error> {
    let count = sqlx::query_scalar(
        "select coalesce(sum(recordings), 0)::bigint from shard.sources
         where tenant_id = $1 and recordings > 0 and id <> $2",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .fetch_one(tx.connection())
    .await?;
    Ok(count)
}

/// Where the content of a version is.
#[derive(Clone, Debug)]
pub enum Content {
    /// The bytes that were added.
    Object(ObjectKey),
    /// A small text that quire made, out of a record for instance.
    Text(String),
}

/// The content of a version.
pub async fn content(tx: &mut TenantTx, id: SourceId, version: i32) -> Result<Content, Error> {
    Ok(sized_content(tx, id, version).await?.0)
}

/// The content of a version with how many bytes it has.
pub async fn sized_content(
    tx: &mut TenantTx,
    id: SourceId,
    version: i32,
) -> Result<(Content, i64), Error> {
    let row: Option<(Option<String>, Option<String>, i64)> = sqlx::query_as(
        "select object_key, body, size_bytes from shard.source_versions
         where tenant_id = $1 and source_id = $2 and version = $3",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(version)
    .fetch_optional(tx.connection())
    .await?;
    match row {
        Some((Some(key), _, size)) => {
            let object = ObjectKey::stored(tx.placement(), &key)?;
            Ok((Content::Object(object), size))
        }
        Some((None, Some(text), size)) => Ok((Content::Text(text), size)),
        _ => Err(NOT_FOUND),
    }
}

const NOT_FOUND: Error = Error::NotFound { what: "source" };
