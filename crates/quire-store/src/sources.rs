//! Sources of a notebook, their versions and how far they have come.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use quire_types::{Groups, MediaType, NotebookId, SourceId, SourceState, TaskId, Timestamp};

use crate::corpus::{self, Change};
use crate::{Error, ObjectKey, Page, PageRequest, TenantTx, notebooks};

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
    let names: Option<Vec<String>> = row.try_get("groups")?;
    let groups = names.map(Groups::try_from).transpose();
    groups.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Content that was uploaded and is not a source yet.
#[derive(Clone, Debug)]
pub struct NewContent<'a> {
    /// The name of the source it belongs to.
    pub name: &'a str,
    /// SHA-256 of the bytes.
    pub content_hash: &'a [u8],
    /// How many bytes.
    pub size_bytes: i64,
    /// Where the bytes are.
    pub object: &'a ObjectKey,
}

/// What adding content led to.
#[derive(Clone, Debug)]
pub enum Added {
    /// A source that did not exist.
    Created(Source),
    /// A new version of a source of that name; the objects of older versions are no longer needed once
    /// the new one is searchable.
    Updated(Source),
    /// The notebook has this content already; nothing changed.
    Duplicate(Source),
}

impl Added {
    /// The source in every case.
    pub fn source(&self) -> &Source {
        match self {
            Self::Created(source) | Self::Updated(source) | Self::Duplicate(source) => source,
        }
    }
}

/// Adds content to a notebook under a name. The same content twice is one source; other content under
/// a known name is a new version. Content whose reading failed counts as new, so adding it again
/// tries again. Everybody sees what is new; who sees what is known stays.
pub async fn add(
    tx: &mut TenantTx,
    notebook: NotebookId,
    content: &NewContent<'_>,
) -> Result<Added, Error> {
    add_for(tx, notebook, content, None).await
}

/// The same for people in these groups, if any are named: they alone see what is new. A known name for others is a
/// conflict, since they would see the content of before, or these the content of after. What others see under another
/// name is another source, whatever its content.
pub async fn add_for(
    tx: &mut TenantTx,
    notebook: NotebookId,
    content: &NewContent<'_>,
    groups: Option<&Groups>,
) -> Result<Added, Error> {
    notebooks::lock(tx, notebook).await?;
    if let Some(source) = by_name(tx, notebook, content.name).await? {
        if groups.is_some() && source.groups.as_ref() != groups {
            return Err(Error::Conflict(
                "a source of this name is there for other groups: change these first, or take another name"
                    .to_owned(),
            ));
        }
        if source.content_hash == content.content_hash && source.state != SourceState::Failed {
            return Ok(Added::Duplicate(source));
        }
        let source: Source = sqlx::query_as(
            "update shard.sources
             set latest_version = latest_version + 1, state = 'queued', reason = null,
                 content_hash = $3, size_bytes = $4, percent = 0, queued_at = now(), extracting_at = null,
                 embedding_at = null, ended_at = null, updated_at = now()
             where tenant_id = $1 and id = $2
             returning *",
        )
        .bind(tx.tenant_id())
        .bind(source.id.uuid())
        .bind(content.content_hash)
        .bind(content.size_bytes)
        .fetch_one(tx.connection())
        .await?;
        insert_version(tx, &source, content).await?;
        return Ok(Added::Updated(source));
    }

    let same: Option<Source> = sqlx::query_as(
        "select * from shard.sources
         where tenant_id = $1 and notebook_id = $2 and content_hash = $3 and state <> 'failed'
           and groups is not distinct from $4
         order by id limit 1",
    )
    .bind(tx.tenant_id())
    .bind(notebook.uuid())
    .bind(content.content_hash)
    .bind(groups.map(Groups::names))
    .fetch_optional(tx.connection())
    .await?;
    if let Some(source) = same {
        return Ok(Added::Duplicate(source));
    }

    let source: Source = sqlx::query_as(
        "insert into shard.sources
             (tenant_id, id, notebook_id, name, state, latest_version, content_hash, size_bytes, queued_at, groups)
         values ($1, $2, $3, $4, 'queued', 1, $5, $6, now(), $7)
         returning *",
    )
    .bind(tx.tenant_id())
    .bind(SourceId::generate().uuid())
    .bind(notebook.uuid())
    .bind(content.name)
    .bind(content.content_hash)
    .bind(content.size_bytes)
    .bind(groups.map(Groups::names))
    .fetch_one(tx.connection())
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("sources_name_check") => {
            Error::Invalid("a source's name has 1 to 500 characters".to_owned())
        }
        _ => error.into(),
    })?;
    insert_version(tx, &source, content).await?;
    Ok(Added::Created(source))
}

async fn insert_version(
    tx: &mut TenantTx,
    source: &Source,
    content: &NewContent<'_>,
) -> Result<(), Error> {
    sqlx::query(
        "insert into shard.source_versions (tenant_id, source_id, version, content_hash, object_key, size_bytes)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(tx.tenant_id())
    .bind(source.id.uuid())
    .bind(source.latest_version)
    .bind(content.content_hash)
    .bind(content.object.as_str())
    .bind(content.size_bytes)
    .execute(tx.connection())
    .await?;
    Ok(())
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

/// Recordings of the tenant besides this source.
pub async fn recordings_besides(tx: &mut TenantTx, id: SourceId) -> Result<i64, Error> {
    let count = sqlx::query_scalar(
        "select count(*) from shard.sources
         where tenant_id = $1 and media_type = any($2) and id <> $3",
    )
    .bind(tx.tenant_id())
    .bind([MediaType::Audio.as_str(), MediaType::Video.as_str()])
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
    let row: Option<(Option<String>, Option<String>)> = sqlx::query_as(
        "select object_key, body from shard.source_versions
         where tenant_id = $1 and source_id = $2 and version = $3",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(version)
    .fetch_optional(tx.connection())
    .await?;
    match row {
        Some((Some(key), _)) => Ok(Content::Object(ObjectKey::stored(tx.placement(), &key)?)),
        Some((None, Some(text))) => Ok(Content::Text(text)),
        _ => Err(NOT_FOUND),
    }
}

/// Moves the latest version on. Does nothing, and says so, when `version` is no longer the latest or
/// has reached an end already: the work of an older version must not speak for a newer one. A stage that
/// begins anew forgets the times of those behind it.
pub async fn set_state(
    tx: &mut TenantTx,
    id: SourceId,
    version: i32,
    state: SourceState,
    reason: Option<&str>,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "update shard.sources
         set state = $4, reason = $5, percent = 0, updated_at = now(),
             extracting_at = case $4 when 'extracting' then now() when 'queued' then null else extracting_at end,
             embedding_at = case $4 when 'embedding' then now() when 'failed' then embedding_at end,
             ended_at = case $4 when 'failed' then now() end
         where tenant_id = $1 and id = $2 and latest_version = $3
           and state not in ('searchable', 'failed')",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(version)
    .bind(state.as_str())
    .bind(reason)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// What a reader found beside the text, and which reader it was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The version of the reader.
    pub processor: i16,
    /// How long a recording is.
    pub duration_ms: Option<u64>,
    /// A hash of a picture's look; that of a copy differs in few bits.
    pub picture_hash: Option<u64>,
}

/// Bits of 64 by which copies of a picture may differ.
const COPY_BITS: i32 = 3;
/// A picture whose hash has fewer or more bits set is too plain to be known again.
const TELLING_BITS: std::ops::RangeInclusive<u32> = 10..=54;

/// Notes what was found of a source beside its text, and links it to the first picture of the tenant that looks the same. Says
/// whether there is such a source.
pub async fn note_reading(
    tx: &mut TenantTx,
    id: SourceId,
    reading: Reading,
) -> Result<bool, Error> {
    let hash = reading
        .picture_hash
        .filter(|hash| TELLING_BITS.contains(&hash.count_ones()));
    let done = sqlx::query(
        "update shard.sources s
         set duration_ms = $3, picture_hash = $4, processor = $6,
             similar_to = (select o.id from shard.sources o
                           where o.tenant_id = $1 and o.id < $2 and o.similar_to is null
                             and bit_count((o.picture_hash # $4)::bit(64)) <= $5
                           order by o.id limit 1)
         where s.tenant_id = $1 and s.id = $2",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(reading.duration_ms.and_then(|ms| i64::try_from(ms).ok()))
    .bind(hash.map(u64::cast_signed))
    .bind(COPY_BITS)
    .bind(reading.processor)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Queues the latest version of a failed source again.
pub async fn retry(tx: &mut TenantTx, id: SourceId) -> Result<Source, Error> {
    let queued: Option<Source> = sqlx::query_as(
        "update shard.sources
         set state = 'queued', reason = null, percent = 0, queued_at = now(), extracting_at = null,
             embedding_at = null, ended_at = null, updated_at = now()
         where tenant_id = $1 and id = $2 and state = 'failed' returning *",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .fetch_optional(tx.connection())
    .await?;
    match queued {
        Some(source) => Ok(source),
        None => {
            let source = get(tx, id).await?;
            Err(Error::Conflict(format!(
                "only a failed source can be retried; this one is {}",
                source.state
            )))
        }
    }
}

/// Forgets the versions before `version`, which search sees now. Returns their objects that nothing refers to
/// any more; a version that was read again has the object of the one before.
pub async fn forget_older(
    tx: &mut TenantTx,
    id: SourceId,
    version: i32,
) -> Result<Vec<ObjectKey>, Error> {
    let keys: Vec<Option<String>> = sqlx::query_scalar(
        "with gone as (
             delete from shard.source_versions
             where tenant_id = $1 and source_id = $2 and version < $3 returning object_key
         )
         select distinct object_key from gone
         where not exists (select from shard.source_versions v
                           where v.tenant_id = $1 and v.source_id = $2 and v.version >= $3
                             and v.object_key = gone.object_key)",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(version)
    .fetch_all(tx.connection())
    .await?;
    keys.iter()
        .flatten()
        .map(|key| ObjectKey::stored(tx.placement(), key))
        .collect()
}

/// Removes a source from rows and from search. Returns the objects that nothing refers to any more.
pub async fn delete(tx: &mut TenantTx, id: SourceId) -> Result<Vec<ObjectKey>, Error> {
    let source = get(tx, id).await?;
    notebooks::lock(tx, source.notebook).await?;
    let objects = object_keys(tx, source.notebook, Some(id)).await?;
    let live = live_versions(tx, source.notebook, Some(id)).await?;
    corpus::record(tx, Change::Removed, &live).await?;
    sqlx::query("delete from shard.sources where tenant_id = $1 and id = $2")
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .execute(tx.connection())
        .await?;
    Ok(objects)
}

/// The objects of a notebook, or of one source in it.
pub(crate) async fn object_keys(
    tx: &mut TenantTx,
    notebook: NotebookId,
    source: Option<SourceId>,
) -> Result<Vec<ObjectKey>, Error> {
    let keys: Vec<String> = sqlx::query_scalar(
        "select distinct v.object_key from shard.source_versions v
         join shard.sources s on s.tenant_id = v.tenant_id and s.id = v.source_id
         where v.tenant_id = $1 and s.notebook_id = $2 and ($3::uuid is null or s.id = $3)
           and v.object_key is not null",
    )
    .bind(tx.tenant_id())
    .bind(notebook.uuid())
    .bind(source.map(SourceId::uuid))
    .fetch_all(tx.connection())
    .await?;
    keys.iter()
        .map(|key| ObjectKey::stored(tx.placement(), key))
        .collect()
}

/// The versions that search sees, of a notebook or of one source in it. Locks the rows, so that no
/// task makes a further version searchable until this transaction has ended.
pub(crate) async fn live_versions(
    tx: &mut TenantTx,
    notebook: NotebookId,
    source: Option<SourceId>,
) -> Result<Vec<(SourceId, i32)>, Error> {
    let rows: Vec<(Uuid, Option<i32>)> = sqlx::query_as(
        "select id, live_version from shard.sources
         where tenant_id = $1 and notebook_id = $2 and ($3::uuid is null or id = $3)
         order by id for update",
    )
    .bind(tx.tenant_id())
    .bind(notebook.uuid())
    .bind(source.map(SourceId::uuid))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows
        .into_iter()
        .filter_map(|(id, version)| Some((id.into(), version?)))
        .collect())
}

const NOT_FOUND: Error = Error::NotFound { what: "source" };
