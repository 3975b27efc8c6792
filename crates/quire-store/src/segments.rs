//! The manifest of a tenant's search: which segments there are, and which of them holds a source.
//!
//! A version that search sees is in the tail (rows of `passages`) or in one segment. Passages move
//! with [`install`] only, in one transaction, and only those whose place has not changed since they
//! were read: whoever comes second moves nothing. Knows nothing of what is inside a segment.

use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use uuid::Uuid;

use quire_types::{MediaType, NotebookId, SegmentId, SourceId, Timestamp, UnknownName};

use crate::sources::decode;
use crate::{Error, ObjectKey, TenantTx};

/// Where the corpus of a tenant stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct Manifest {
    /// Grows with every change that search can see.
    pub version: i64,
    /// Grows when passages move between tail and segments.
    pub generation: i64,
    /// Of every vector of the tenant; none before the first.
    pub dimension: Option<i32>,
    /// What words are reduced with; none where it is the installation's.
    pub language: Option<String>,
}

/// Where the corpus of the tenant stands.
pub async fn manifest(tx: &mut TenantTx) -> Result<Manifest, Error> {
    let manifest = sqlx::query_as(
        "select version, generation, dimension, language from shard.corpora where tenant_id = $1",
    )
    .bind(tx.tenant_id())
    .fetch_optional(tx.connection())
    .await?;
    Ok(manifest.unwrap_or_default())
}

/// A segment, as the manifest knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its id, which with the tenant's placement names its object.
    pub id: SegmentId,
    /// Its passages, dead ones included.
    pub rows: i32,
    /// The size of its object.
    pub bytes: i64,
    /// Of its vectors.
    pub dimension: i32,
    /// A copy of the end of its object, which says where everything is.
    pub footer: Vec<u8>,
    /// When it was installed.
    pub created_at: Timestamp,
}

impl sqlx::FromRow<'_, PgRow> for Segment {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            rows: row.try_get("rows")?,
            bytes: row.try_get("bytes")?,
            dimension: row.try_get("dimension")?,
            footer: row.try_get("footer")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

/// The segments that search reads, oldest first.
pub async fn live(tx: &mut TenantTx) -> Result<Vec<Segment>, Error> {
    let found = sqlx::query_as(
        "select id, rows, bytes, dimension, footer, created_at from shard.segments
         where tenant_id = $1 and retired_at is null order by id",
    )
    .bind(tx.tenant_id())
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// A source that search sees, and where its passages are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The source.
    pub source: SourceId,
    /// The version that search sees.
    pub version: i32,
    /// The notebook it is in.
    pub notebook: NotebookId,
    /// Its name.
    pub name: String,
    /// The type of its content.
    pub media_type: MediaType,
    /// When that version was added.
    pub added_at: Timestamp,
    /// How many passages it has.
    pub passages: i32,
    /// The segment that holds them; none while they are in the tail.
    pub segment: Option<SegmentId>,
}

impl sqlx::FromRow<'_, PgRow> for Located {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let media_type: Option<String> = row.try_get("media_type")?;
        Ok(Self {
            source: row.try_get::<Uuid, _>("id")?.into(),
            version: row.try_get("live_version")?,
            notebook: row.try_get::<Uuid, _>("notebook_id")?.into(),
            name: row.try_get("name")?,
            media_type: decode(media_type.unwrap_or_default())?,
            added_at: row.try_get("added_at")?,
            passages: row.try_get("passages")?,
            segment: row
                .try_get::<Option<Uuid>, _>("segment_id")?
                .map(Into::into),
        })
    }
}

/// Every source that search sees, or those of `only`, in order of their ids.
pub async fn located(tx: &mut TenantTx, only: Option<&[SourceId]>) -> Result<Vec<Located>, Error> {
    let only: Option<Vec<Uuid>> =
        only.map(|sources| sources.iter().map(|source| source.uuid()).collect());
    let found = sqlx::query_as(
        "select s.id, s.live_version, s.notebook_id, s.name, s.media_type, s.passages, s.segment_id,
                v.created_at as added_at
         from shard.sources s
         join shard.source_versions v
           on v.tenant_id = s.tenant_id and v.source_id = s.id and v.version = s.live_version
         where s.tenant_id = $1 and ($2::uuid[] is null or s.id = any($2))
         order by s.id",
    )
    .bind(tx.tenant_id())
    .bind(only)
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// Passages of the tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, sqlx::FromRow)]
pub struct TailSize {
    /// How many.
    pub rows: i64,
    /// Seconds since the oldest came, by the database's clock; none when there is none.
    pub age_s: Option<f64>,
}

/// How much waits in the tail.
pub async fn tail_size(tx: &mut TenantTx) -> Result<TailSize, Error> {
    let size = sqlx::query_as(
        "select coalesce(sum(passages), 0)::bigint as rows, 
                extract(epoch from now() - min(updated_at))::float8 as age_s
         from shard.sources
         where tenant_id = $1 and live_version is not null and segment_id is null and passages > 0",
    )
    .bind(tx.tenant_id())
    .fetch_one(tx.connection())
    .await?;
    Ok(size)
}

/// A segment whose object is stored and which nothing names yet.
#[derive(Clone, Debug)]
pub struct NewSegment {
    /// Its id.
    pub id: SegmentId,
    /// Its passages.
    pub rows: i32,
    /// The size of its object.
    pub bytes: i64,
    /// Of its vectors.
    pub dimension: i32,
    /// The end of its object.
    pub footer: Vec<u8>,
}

/// Makes a segment the place of these versions of sources, which were read from `from`: the tail (none)
/// or other segments. What was replaced, deleted or moved since stays as it is. Segments of `from` that
/// nothing names any more are retired. Returns how many passages moved; when that is 0 the segment was
/// not installed, and its object is for the caller to remove.
pub async fn install(
    tx: &mut TenantTx,
    new: &NewSegment,
    versions: &[(SourceId, i32)],
    from: Option<&[SegmentId]>,
) -> Result<i64, Error> {
    let (sources, numbers): (Vec<Uuid>, Vec<i32>) = versions
        .iter()
        .map(|(source, version)| (source.uuid(), *version))
        .unzip();
    let from: Option<Vec<Uuid>> = from.map(|from| from.iter().map(|id| id.uuid()).collect());
    // The same order as whoever removes sources, so that nobody waits in a circle.
    let there: Vec<(Uuid, i32)> = sqlx::query_as(
        "select s.id, s.passages from shard.sources s
         join unnest($2::uuid[], $3::int[]) as m (id, version)
           on s.id = m.id and s.live_version = m.version
         where s.tenant_id = $1
           and case when $4::uuid[] is null then s.segment_id is null else s.segment_id = any($4) end
         order by s.id for update of s",
    )
    .bind(tx.tenant_id())
    .bind(&sources)
    .bind(&numbers)
    .bind(&from)
    .fetch_all(tx.connection())
    .await?;
    if there.is_empty() {
        return Ok(0);
    }
    let moved: Vec<Uuid> = there.iter().map(|(id, _)| *id).collect();
    insert(tx, new).await?;
    sqlx::query("update shard.sources set segment_id = $2 where tenant_id = $1 and id = any($3)")
        .bind(tx.tenant_id())
        .bind(new.id.uuid())
        .bind(&moved)
        .execute(tx.connection())
        .await?;
    match &from {
        None => {
            sqlx::query("delete from shard.passages where tenant_id = $1 and source_id = any($2)")
                .bind(tx.tenant_id())
                .bind(&moved)
                .execute(tx.connection())
                .await?;
        }
        Some(_) => retire_unnamed(tx).await?,
    }
    bump_generation(tx).await?;
    Ok(there.iter().map(|(_, rows)| i64::from(*rows)).sum())
}

/// A version of a source whose passages a segment holds from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The source.
    pub source: SourceId,
    /// The version.
    pub version: i32,
    /// The type of its content.
    pub media_type: MediaType,
    /// Pages, where the content has pages.
    pub pages: Option<i32>,
    /// Its passages.
    pub passages: i32,
}

/// Makes versions searchable whose passages are in a new segment, in one step; otherwise like publishing
/// them one by one. Returns how many passages became searchable; when that is 0 the segment was not
/// installed, and its object is for the caller to remove.
pub async fn load(tx: &mut TenantTx, new: &NewSegment, versions: &[Loaded]) -> Result<i64, Error> {
    let column = |of: fn(&Loaded) -> Option<i32>| versions.iter().map(of).collect::<Vec<_>>();
    let ids: Vec<Uuid> = versions.iter().map(|one| one.source.uuid()).collect();
    let media: Vec<&str> = versions.iter().map(|one| one.media_type.as_str()).collect();
    let known: Vec<Uuid> = sqlx::query_scalar(
        "select s.id from shard.sources s
         join unnest($2::uuid[], $3::int[]) as m (id, version)
           on s.id = m.id and s.latest_version = m.version
         where s.tenant_id = $1 and s.state <> 'searchable'
         order by s.id for update of s",
    )
    .bind(tx.tenant_id())
    .bind(&ids)
    .bind(column(|one| Some(one.version)))
    .fetch_all(tx.connection())
    .await?;
    if known.is_empty() {
        return Ok(0);
    }
    insert(tx, new).await?;
    sqlx::query("delete from shard.passages where tenant_id = $1 and source_id = any($2)")
        .bind(tx.tenant_id())
        .bind(&known)
        .execute(tx.connection())
        .await?;
    let rows: Vec<i32> = sqlx::query_scalar(
        "update shard.sources s
         set state = 'searchable', reason = null, live_version = m.version,
             media_type = m.media_type, pages = m.pages, passages = m.passages, segment_id = $2,
             updated_at = now()
         from unnest($3::uuid[], $4::int[], $5::text[], $6::int[], $7::int[])
              as m (id, version, media_type, pages, passages)
         where s.tenant_id = $1 and s.id = m.id and s.id = any($8)
         returning s.passages",
    )
    .bind(tx.tenant_id())
    .bind(new.id.uuid())
    .bind(&ids)
    .bind(column(|one| Some(one.version)))
    .bind(&media)
    .bind(column(|one| one.pages))
    .bind(column(|one| Some(one.passages)))
    .bind(&known)
    .fetch_all(tx.connection())
    .await?;
    // Whoever holds an older generation reads the whole corpus again, so no change is logged.
    crate::corpus::move_on(tx).await?;
    crate::corpus::agree(tx, new.dimension).await?;
    Ok(rows.into_iter().map(i64::from).sum())
}

async fn insert(tx: &mut TenantTx, new: &NewSegment) -> Result<(), Error> {
    sqlx::query(
        "insert into shard.segments (tenant_id, id, rows, bytes, dimension, footer)
         values ($1, $2, $3, $4, $5, $6)",
    )
    .bind(tx.tenant_id())
    .bind(new.id.uuid())
    .bind(new.rows)
    .bind(new.bytes)
    .bind(new.dimension)
    .bind(&new.footer)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Retires the segments that no source names: nothing in them is alive.
pub async fn retire_unnamed(tx: &mut TenantTx) -> Result<(), Error> {
    sqlx::query(
        "update shard.segments g set retired_at = now()
         where g.tenant_id = $1 and g.retired_at is null
           and not exists (select from shard.sources s
                           where s.tenant_id = $1 and s.segment_id = g.id)",
    )
    .bind(tx.tenant_id())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Sets what words are reduced with from now on; segments keep what they were made with until they are
/// rebuilt.
pub async fn set_language(tx: &mut TenantTx, language: &str) -> Result<(), Error> {
    sqlx::query(
        "insert into shard.corpora as c (tenant_id, version, language) values ($1, 0, $2)
         on conflict (tenant_id) do update set language = $2, generation = c.generation + 1",
    )
    .bind(tx.tenant_id())
    .bind(language)
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn bump_generation(tx: &mut TenantTx) -> Result<(), Error> {
    sqlx::query("update shard.corpora set generation = generation + 1 where tenant_id = $1")
        .bind(tx.tenant_id())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Passages that are alive in each segment that search reads.
pub async fn alive(tx: &mut TenantTx) -> Result<Vec<(SegmentId, i64)>, Error> {
    let rows: Vec<(Uuid, i64)> = sqlx::query_as(
        "select g.id, coalesce(sum(s.passages), 0)::bigint
         from shard.segments g
         left join shard.sources s on s.tenant_id = g.tenant_id and s.segment_id = g.id
         where g.tenant_id = $1 and g.retired_at is null
         group by g.id order by g.id",
    )
    .bind(tx.tenant_id())
    .fetch_all(tx.connection())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(id, rows)| (id.into(), rows))
        .collect())
}

/// Whether a segment has a larger share of dead passages than this.
pub async fn are_worn(tx: &mut TenantTx, dead_share: f64) -> Result<bool, Error> {
    let worn = sqlx::query_scalar(
        "select exists (
             select from shard.segments g
             where g.tenant_id = $1 and g.retired_at is null
               and (select coalesce(sum(s.passages), 0) from shard.sources s
                    where s.tenant_id = $1 and s.segment_id = g.id) < g.rows * (1 - $2::float8))",
    )
    .bind(tx.tenant_id())
    .bind(dead_share)
    .fetch_one(tx.connection())
    .await?;
    Ok(worn)
}

/// Segments that were retired before an instant: their objects may go.
pub async fn retired(tx: &mut TenantTx, before: Timestamp) -> Result<Vec<SegmentId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select id from shard.segments where tenant_id = $1 and retired_at < $2 order by id",
    )
    .bind(tx.tenant_id())
    .bind(before)
    .fetch_all(tx.connection())
    .await?;
    Ok(ids.into_iter().map(SegmentId::from).collect())
}

/// Forgets retired segments whose objects are gone.
pub async fn forget(tx: &mut TenantTx, ids: &[SegmentId]) -> Result<(), Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    sqlx::query(
        "delete from shard.segments
         where tenant_id = $1 and id = any($2) and retired_at is not null",
    )
    .bind(tx.tenant_id())
    .bind(ids)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Every segment that the manifest knows, retired ones included: the objects that are not orphans.
pub async fn known(tx: &mut TenantTx) -> Result<Vec<SegmentId>, Error> {
    let ids: Vec<Uuid> =
        sqlx::query_scalar("select id from shard.segments where tenant_id = $1 order by id")
            .bind(tx.tenant_id())
            .fetch_all(tx.connection())
            .await?;
    Ok(ids.into_iter().map(SegmentId::from).collect())
}

/// Takes sources out of a segment whose bytes are lost or damaged: they leave search and are queued
/// to be read again from their originals. Returns them with their newest version.
pub async fn give_up(tx: &mut TenantTx, segment: SegmentId) -> Result<Vec<(SourceId, i32)>, Error> {
    let rows: Vec<(Uuid, i32, i32)> = sqlx::query_as(
        "select id, live_version, latest_version from shard.sources
         where tenant_id = $1 and segment_id = $2 order by id for update",
    )
    .bind(tx.tenant_id())
    .bind(segment.uuid())
    .fetch_all(tx.connection())
    .await?;
    let lost: Vec<(SourceId, i32)> = rows
        .iter()
        .map(|(id, live, _)| ((*id).into(), *live))
        .collect();
    sqlx::query(
        "update shard.sources
         set segment_id = null, live_version = null, passages = 0, state = 'queued', reason = null,
             updated_at = now()
         where tenant_id = $1 and segment_id = $2",
    )
    .bind(tx.tenant_id())
    .bind(segment.uuid())
    .execute(tx.connection())
    .await?;
    retire_unnamed(tx).await?;
    crate::corpus::record(tx, crate::corpus::Change::Removed, &lost).await?;
    bump_generation(tx).await?;
    Ok(rows
        .into_iter()
        .map(|(id, _, latest)| (id.into(), latest))
        .collect())
}

/// A segment that nothing names any more and whose object is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// Its id.
    pub id: SegmentId,
    /// The size of its object.
    pub bytes: i64,
    /// Since when nothing names it.
    pub retired_at: Timestamp,
}

impl sqlx::FromRow<'_, PgRow> for Retired {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            bytes: row.try_get("bytes")?,
            retired_at: row.try_get("retired_at")?,
        })
    }
}

/// The segments that nothing names any more, oldest first.
pub async fn all_retired(tx: &mut TenantTx) -> Result<Vec<Retired>, Error> {
    let found = sqlx::query_as(
        "select id, bytes, retired_at from shard.segments
         where tenant_id = $1 and retired_at is not null order by retired_at, id",
    )
    .bind(tx.tenant_id())
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// Condemns the segments that were retired before an instant: no rollback brings them back from now on, so
/// their objects may go. Returns them, those that were condemned earlier included.
pub async fn condemn(tx: &mut TenantTx, before: Timestamp) -> Result<Vec<Retired>, Error> {
    let found = sqlx::query_as(
        "update shard.segments set condemned_at = coalesce(condemned_at, now())
         where tenant_id = $1 and retired_at < $2 returning id, bytes, retired_at",
    )
    .bind(tx.tenant_id())
    .bind(before)
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// These segments as the manifest knows them, retired ones included, oldest first. Those that are gone or
/// condemned are left out.
pub async fn kept(tx: &mut TenantTx, ids: &[SegmentId]) -> Result<Vec<Segment>, Error> {
    let found = sqlx::query_as(
        "select id, rows, bytes, dimension, footer, created_at from shard.segments
         where tenant_id = $1 and id = any($2) and condemned_at is null order by id",
    )
    .bind(tx.tenant_id())
    .bind(uuids(ids))
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// How far a build has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildState {
    /// New segments are being made.
    Building,
    /// Search reads the new segments.
    Switched,
    /// The new segments found too little, and are gone.
    Refused,
    /// It was broken off, or a later one took its place.
    Failed,
    /// It was switched, and the old segments are back.
    RolledBack,
}

impl BuildState {
    const ALL: [Self; 5] = [
        Self::Building,
        Self::Switched,
        Self::Refused,
        Self::Failed,
        Self::RolledBack,
    ];

    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Switched => "switched",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::RolledBack => "rolled_back",
        }
    }
}

impl TryFrom<String> for BuildState {
    type Error = UnknownName;

    fn try_from(text: String) -> Result<Self, UnknownName> {
        let known = Self::ALL.into_iter().find(|state| state.as_str() == text);
        known.ok_or(UnknownName(text))
    }
}

/// A build: a tenant's segments made anew beside those that search reads.
#[derive(Clone, Debug, PartialEq)]
pub struct Build {
    /// Its id; later builds sort after earlier ones.
    pub id: Uuid,
    /// How far it has come.
    pub state: BuildState,
    /// The segments it is made from.
    pub old: Vec<SegmentId>,
    /// The segments it made so far.
    pub new: Vec<SegmentId>,
    /// The tenant's language from the switch on; none where it stays what it is.
    pub language: Option<String>,
    /// Passages written so far.
    pub rows_done: i64,
    /// Passages in all.
    pub rows_total: i64,
    /// The share of the best ten passages that the new segments found.
    pub recall: Option<f64>,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was switched, refused, broken off or rolled back.
    pub finished_at: Option<Timestamp>,
}

impl sqlx::FromRow<'_, PgRow> for Build {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let ids = |name: &str| -> Result<Vec<SegmentId>, sqlx::Error> {
            let ids: Vec<Uuid> = row.try_get(name)?;
            Ok(ids.into_iter().map(SegmentId::from).collect())
        };
        Ok(Self {
            id: row.try_get("id")?,
            state: decode(row.try_get("state")?)?,
            old: ids("old_segments")?,
            new: ids("new_segments")?,
            language: row.try_get("language")?,
            rows_done: row.try_get("rows_done")?,
            rows_total: row.try_get("rows_total")?,
            recall: row.try_get("recall")?,
            started_at: row.try_get("started_at")?,
            finished_at: row.try_get("finished_at")?,
        })
    }
}

/// What a build begins with.
#[derive(Clone, Debug)]
pub struct NewBuild {
    /// Its id.
    pub id: Uuid,
    /// The segments it is made from.
    pub old: Vec<SegmentId>,
    /// Of the new vectors; none when there are none.
    pub dimension: Option<i32>,
    /// Of the rotation of the new vectors.
    pub rotation_seed: u64,
    /// The tenant's language from the switch on; none where it stays what it is.
    pub language: Option<String>,
    /// Passages in all.
    pub rows_total: i64,
}

/// Writes down that a build begins. One that is still building can't switch any more.
pub async fn begin_build(tx: &mut TenantTx, new: &NewBuild) -> Result<(), Error> {
    tx.alone_with("index builds").await?;
    sqlx::query(
        "update shard.index_builds set state = 'failed', finished_at = now()
         where tenant_id = $1 and state = 'building'",
    )
    .bind(tx.tenant_id())
    .execute(tx.connection())
    .await?;
    sqlx::query(
        "insert into shard.index_builds
             (tenant_id, id, state, old_segments, dimension, rotation_seed, language, rows_total)
         values ($1, $2, 'building', $3, $4, $5, $6, $7)",
    )
    .bind(tx.tenant_id())
    .bind(new.id)
    .bind(uuids(&new.old))
    .bind(new.dimension)
    .bind(new.rotation_seed.cast_signed())
    .bind(&new.language)
    .bind(new.rows_total)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Notes how far a build has come, and the segments it made or is about to store. Says whether it is still
/// building.
pub async fn note_build(
    tx: &mut TenantTx,
    id: Uuid,
    rows_done: i64,
    new: &[SegmentId],
) -> Result<bool, Error> {
    let done = sqlx::query(
        "update shard.index_builds set rows_done = $3, new_segments = $4, told_at = now()
         where tenant_id = $1 and id = $2 and state = 'building'",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .bind(rows_done)
    .bind(uuids(new))
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Ends a build that does not switch. Says whether it was still building.
pub async fn end_build(
    tx: &mut TenantTx,
    id: Uuid,
    state: BuildState,
    recall: Option<f64>,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "update shard.index_builds set state = $3, recall = $4, finished_at = now()
         where tenant_id = $1 and id = $2 and state = 'building'",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .bind(state.as_str())
    .bind(recall)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Makes search read what a build made: each segment becomes the place of its versions, as by [`install`].
/// Returns how many passages moved to each; a segment without any was not installed. None when the build
/// is no longer building, or a merge moved its passages elsewhere, so that only a part would be new: nothing
/// was changed then.
pub async fn switch(
    tx: &mut TenantTx,
    id: Uuid,
    recall: Option<f64>,
    new: &[(NewSegment, Vec<(SourceId, i32)>)],
) -> Result<Option<Vec<i64>>, Error> {
    let build: Option<(Vec<Uuid>, Option<String>)> = sqlx::query_as(
        "select old_segments, language from shard.index_builds
         where tenant_id = $1 and id = $2 and state = 'building' for update",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    let Some((old, language)) = build else {
        return Ok(None);
    };
    let old: Vec<SegmentId> = old.into_iter().map(SegmentId::from).collect();
    // All sources before the corpus, which the first installation holds: whoever publishes takes them in
    // this order too.
    let versions = new.iter().flat_map(|(_, versions)| versions);
    let (sources, numbers): (Vec<Uuid>, Vec<i32>) = versions
        .map(|(source, version)| (source.uuid(), *version))
        .unzip();
    lock_sources(tx, &sources).await?;
    let is_elsewhere: bool = sqlx::query_scalar(
        "select exists (
             select from shard.sources s
             join unnest($2::uuid[], $3::int[]) as m (id, version)
               on s.id = m.id and s.live_version = m.version
             where s.tenant_id = $1 and s.segment_id is not null and not s.segment_id = any($4))",
    )
    .bind(tx.tenant_id())
    .bind(&sources)
    .bind(&numbers)
    .bind(uuids(&old))
    .fetch_one(tx.connection())
    .await?;
    if is_elsewhere {
        return Ok(None);
    }
    let mut moved = Vec::with_capacity(new.len());
    let mut installed = Vec::new();
    for (segment, versions) in new {
        let rows = install(tx, segment, versions, Some(&old)).await?;
        if rows > 0 {
            installed.push(segment.id);
        }
        moved.push(rows);
    }
    sqlx::query(
        "update shard.index_builds
         set state = 'switched', recall = $3, new_segments = $4, finished_at = now(),
             language_before = (select language from shard.corpora where tenant_id = $1)
         where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .bind(recall)
    .bind(uuids(&installed))
    .execute(tx.connection())
    .await?;
    if let Some(language) = language {
        set_language(tx, &language).await?;
    }
    Ok(Some(moved))
}

async fn lock_sources(tx: &mut TenantTx, sources: &[Uuid]) -> Result<(), Error> {
    sqlx::query(
        "select from shard.sources where tenant_id = $1 and id = any($2) order by id for update",
    )
    .bind(tx.tenant_id())
    .bind(sources)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The builds of the tenant, newest first.
pub async fn builds(tx: &mut TenantTx, limit: i64) -> Result<Vec<Build>, Error> {
    let found = sqlx::query_as(
        "select id, state, old_segments, new_segments, language, rows_done, rows_total, recall, started_at,
                finished_at
         from shard.index_builds where tenant_id = $1 order by id desc limit $2",
    )
    .bind(tx.tenant_id())
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// The newest build that search reads.
pub async fn newest_switched(tx: &mut TenantTx) -> Result<Option<Build>, Error> {
    let found = sqlx::query_as(
        "select id, state, old_segments, new_segments, language, rows_done, rows_total, recall, started_at,
                finished_at
         from shard.index_builds where tenant_id = $1 and state = 'switched' order by id desc limit 1",
    )
    .bind(tx.tenant_id())
    .fetch_optional(tx.connection())
    .await?;
    Ok(found)
}

/// Segments that builds are making, of those that gave a sign of life since an instant.
pub async fn in_the_making(tx: &mut TenantTx, since: Timestamp) -> Result<Vec<SegmentId>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select unnest(new_segments) from shard.index_builds
         where tenant_id = $1 and state = 'building' and told_at >= $2",
    )
    .bind(tx.tenant_id())
    .bind(since)
    .fetch_all(tx.connection())
    .await?;
    Ok(ids.into_iter().map(SegmentId::from).collect())
}

/// Ends builds that gave no sign of life since an instant: they can't switch any more.
pub async fn expire_builds(tx: &mut TenantTx, since: Timestamp) -> Result<(), Error> {
    sqlx::query(
        "update shard.index_builds set state = 'failed', finished_at = now()
         where tenant_id = $1 and state = 'building' and told_at < $2",
    )
    .bind(tx.tenant_id())
    .bind(since)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Puts the old segments of a switched build back: these versions, which are in them, name them again, if
/// search still sees them and they are in a segment. Returns how many passages moved; none when the build
/// is not switched or one of the segments is gone or condemned, and then nothing was changed.
pub async fn restore(
    tx: &mut TenantTx,
    id: Uuid,
    versions: &[(SourceId, i32, SegmentId)],
) -> Result<Option<i64>, Error> {
    let build: Option<(Vec<Uuid>, Option<String>)> = sqlx::query_as(
        "select old_segments, language from shard.index_builds
         where tenant_id = $1 and id = $2 and state = 'switched' for update",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    let Some((old, language)) = build else {
        return Ok(None);
    };
    let sources: Vec<Uuid> = versions.iter().map(|(source, ..)| source.uuid()).collect();
    lock_sources(tx, &sources).await?;
    // What condemns a segment waits here, or has been first.
    let there: Vec<Uuid> = sqlx::query_scalar(
        "select id from shard.segments
         where tenant_id = $1 and id = any($2) and condemned_at is null order by id for update",
    )
    .bind(tx.tenant_id())
    .bind(&old)
    .fetch_all(tx.connection())
    .await?;
    if there.len() != old.len() {
        return Ok(None);
    }
    sqlx::query(
        "update shard.segments set retired_at = null where tenant_id = $1 and id = any($2)",
    )
    .bind(tx.tenant_id())
    .bind(&old)
    .execute(tx.connection())
    .await?;
    let numbers: Vec<i32> = versions.iter().map(|(_, version, _)| *version).collect();
    let segments: Vec<Uuid> = versions.iter().map(|(.., id)| id.uuid()).collect();
    let moved: Vec<i32> = sqlx::query_scalar(
        "update shard.sources s set segment_id = m.segment
         from unnest($2::uuid[], $3::int[], $4::uuid[]) as m (id, version, segment)
         where s.tenant_id = $1 and s.id = m.id and s.live_version = m.version
           and s.segment_id is not null and m.segment = any($5)
         returning s.passages",
    )
    .bind(tx.tenant_id())
    .bind(&sources)
    .bind(&numbers)
    .bind(&segments)
    .bind(&old)
    .fetch_all(tx.connection())
    .await?;
    retire_unnamed(tx).await?;
    sqlx::query(
        "update shard.corpora c
         set generation = generation + 1,
             language = case when $3 then b.language_before else c.language end
         from shard.index_builds b
         where c.tenant_id = $1 and b.tenant_id = $1 and b.id = $2",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .bind(language.is_some())
    .execute(tx.connection())
    .await?;
    sqlx::query(
        "update shard.index_builds set state = 'rolled_back', finished_at = now()
         where tenant_id = $1 and id = $2",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .execute(tx.connection())
    .await?;
    Ok(Some(moved.into_iter().map(i64::from).sum()))
}

/// Those of these objects that no version of a source names.
pub async fn unnamed(tx: &mut TenantTx, keys: &[ObjectKey]) -> Result<Vec<ObjectKey>, Error> {
    let keys: Vec<&str> = keys.iter().map(ObjectKey::as_str).collect();
    let unnamed: Vec<String> = sqlx::query_scalar(
        "select k.key from unnest($2::text[]) as k (key)
         where not exists (select from shard.source_versions v
                           where v.tenant_id = $1 and v.object_key = k.key)
         order by k.key",
    )
    .bind(tx.tenant_id())
    .bind(keys)
    .fetch_all(tx.connection())
    .await?;
    unnamed
        .iter()
        .map(|key| ObjectKey::stored(tx.placement(), key))
        .collect()
}

/// The originals that the sweeps before found without a row, and when they first did.
pub async fn orphans(tx: &mut TenantTx) -> Result<Vec<(ObjectKey, Timestamp)>, Error> {
    let rows: Vec<(String, Timestamp)> = sqlx::query_as(
        "select object_key, found_at from shard.orphans where tenant_id = $1 order by object_key",
    )
    .bind(tx.tenant_id())
    .fetch_all(tx.connection())
    .await?;
    rows.iter()
        .map(|(key, at)| Ok((ObjectKey::stored(tx.placement(), key)?, *at)))
        .collect()
}

/// Notes which originals have no row now. Those that were noted before keep their instant; others are
/// forgotten.
pub async fn note_orphans(
    tx: &mut TenantTx,
    keys: &[ObjectKey],
    now: Timestamp,
) -> Result<(), Error> {
    let keys: Vec<&str> = keys.iter().map(ObjectKey::as_str).collect();
    sqlx::query("delete from shard.orphans where tenant_id = $1 and not object_key = any($2)")
        .bind(tx.tenant_id())
        .bind(&keys)
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "insert into shard.orphans (tenant_id, object_key, found_at)
         select $1, key, $3 from unnest($2::text[]) as k (key) on conflict do nothing",
    )
    .bind(tx.tenant_id())
    .bind(&keys)
    .bind(now)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// A table of the shard that has rows of tenants, as the catalogue names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantTable(String);

impl TenantTable {
    /// Schema and name, quoted where SQL needs it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Every table of the shard with rows of tenants; what refers to a table comes before it.
pub async fn tenant_tables(tx: &mut TenantTx) -> Result<Vec<TenantTable>, Error> {
    let rows: Vec<(String, Vec<String>)> = sqlx::query_as(
        "with tables as (
             select c.oid, format('%I.%I', n.nspname, c.relname) as name
             from pg_class c
             join pg_namespace n on n.oid = c.relnamespace
             join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
             where n.nspname = 'shard' and c.relkind in ('r', 'p') and not c.relispartition
         )
         select t.name, array(select distinct child.name from pg_constraint f
                              join tables child on child.oid = f.conrelid
                              where f.contype = 'f' and f.confrelid = t.oid and f.conrelid <> t.oid)
         from tables t order by t.name",
    )
    .fetch_all(tx.connection())
    .await?;
    let mut rest = rows;
    let mut ordered: Vec<TenantTable> = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let is_done = |name: &String| ordered.iter().any(|table| table.0 == *name);
        let free = rest
            .iter()
            .position(|(_, children)| children.iter().all(is_done));
        // Tables that refer to each other in a circle have no order; what cascades settles it.
        let (name, _) = rest.remove(free.unwrap_or(0));
        ordered.push(TenantTable(name));
    }
    Ok(ordered)
}

/// Deletes at most so many of the tenant's rows in a table, whatever they say, and returns how many.
pub async fn erase_rows(tx: &mut TenantTx, table: &TenantTable, limit: i64) -> Result<u64, Error> {
    let TenantTable(name) = table;
    let statement = format!(
        "delete from {name} where tenant_id = $1
         and ctid = any(array(select ctid from {name} where tenant_id = $1 limit $2))"
    );
    let done = sqlx::query(AssertSqlSafe(statement))
        .bind(tx.tenant_id())
        .bind(limit)
        .execute(tx.connection())
        .await?;
    Ok(done.rows_affected())
}

/// How many rows of a table are the tenant's.
pub async fn count_rows(tx: &mut TenantTx, table: &TenantTable) -> Result<i64, Error> {
    let statement = format!(
        "select count(*) from {} where tenant_id = $1",
        table.as_str()
    );
    let count = sqlx::query_scalar(AssertSqlSafe(statement))
        .bind(tx.tenant_id())
        .fetch_one(tx.connection())
        .await?;
    Ok(count)
}

fn uuids(ids: &[SegmentId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}
