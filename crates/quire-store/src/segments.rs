//! The manifest of a tenant's search: which segments there are, and which of them holds a source.
//!
//! A version that search sees is in the tail (rows of `passages`) or in one segment. Passages move
//! with [`install`] only, in one transaction, and only those whose place has not changed since they
//! were read: whoever comes second moves nothing. A segment is a row before it is an object ([`note`]), and
//! only what no sweep has condemned is installed: so however long somebody pauses, and whatever clocks say,
//! nothing names an object that is gone. Knows nothing of what is inside a segment.

mod retired;

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use quire_types::{Groups, MediaType, NotebookId, SegmentId, SourceId, Timestamp};

use crate::sources::{decode, group_names};
use crate::{Error, TenantTx};

pub use retired::{Retired, all_retired, condemn, forget, kept, now, retire_unnamed};

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
    /// The model of every vector; none where it is the one that ships with quire.
    pub embedding: Option<String>,
}

/// Where the corpus of the tenant stands.
pub async fn manifest(tx: &mut TenantTx) -> Result<Manifest, Error> {
    let manifest = sqlx::query_as(
        "select version, generation, dimension, language, embedding from shard.corpora where tenant_id = $1",
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
         where tenant_id = $1 and retired_at is null and archive_of is null and built_by is null order by id",
    )
    .bind(tx.tenant_id())
    .fetch_all(tx.connection())
    .await?;
    Ok(found)
}

/// A source that search sees, unless it is archived, and where its passages are.
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
    /// Who sees it; everybody where there are none.
    pub groups: Option<Groups>,
}

impl sqlx::FromRow<'_, PgRow> for Located {
    /// By position, as [`located`] selects them: there are thousands, and names are looked up slowly.
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let media_type: Option<String> = row.try_get(4)?;
        Ok(Self {
            source: row.try_get::<Uuid, _>(0)?.into(),
            version: row.try_get(1)?,
            notebook: row.try_get::<Uuid, _>(2)?.into(),
            name: row.try_get(3)?,
            media_type: decode(media_type.unwrap_or_default())?,
            passages: row.try_get(5)?,
            segment: row.try_get::<Option<Uuid>, _>(6)?.map(Into::into),
            groups: group_names(row.try_get(7)?)?,
            added_at: row.try_get(8)?,
        })
    }
}

/// Every source that search sees, or those of `only`, in order of their ids.
pub async fn located(tx: &mut TenantTx, only: Option<&[SourceId]>) -> Result<Vec<Located>, Error> {
    let only: Option<Vec<Uuid>> =
        only.map(|sources| sources.iter().map(|source| source.uuid()).collect());
    let found = sqlx::query_as(
        "select s.id, s.live_version, s.notebook_id, s.name, s.media_type, s.passages, s.segment_id,
                s.groups, v.created_at as added_at
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
                extract(epoch from now() - min(coalesce(ended_at, updated_at)))::float8 as age_s
         from shard.sources
         where tenant_id = $1 and live_version is not null and segment_id is null and passages > 0",
    )
    .bind(tx.tenant_id())
    .fetch_one(tx.connection())
    .await?;
    Ok(size)
}

/// A segment that is to be installed.
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

/// Writes down that a segment is about to be stored: as one that nothing names, so that a sweep removes it
/// after the grace unless it is installed before.
pub async fn note(tx: &mut TenantTx, new: &NewSegment) -> Result<(), Error> {
    sqlx::query(
        "insert into shard.segments (tenant_id, id, rows, bytes, dimension, footer, retired_at)
         values ($1, $2, $3, $4, $5, $6, now())",
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

/// Makes a segment one that counts, which was [noted](note) and stored. Refused once a sweep has condemned it:
/// its object may be gone.
pub(crate) async fn claim(tx: &mut TenantTx, new: &NewSegment) -> Result<(), Error> {
    let claimed = sqlx::query(
        "update shard.segments set retired_at = null, created_at = now()
         where tenant_id = $1 and id = $2 and condemned_at is null",
    )
    .bind(tx.tenant_id())
    .bind(new.id.uuid())
    .execute(tx.connection())
    .await?;
    let swept = Error::Swept;
    (claimed.rows_affected() == 1).then_some(()).ok_or(swept)
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
    claim(tx, new).await?;
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
    claim(tx, new).await?;
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

/// Sets what words are reduced with from now on; segments keep what they were made with until they are
/// rebuilt.
pub async fn set_language(tx: &mut TenantTx, language: &str) -> Result<(), Error> {
    sqlx::query(
        "insert into shard.corpora as c (tenant_id, version, language) values ($1, 0, $2)
         on conflict (tenant_id) do update
         set language = $2, version = c.version + 1, generation = c.generation + 1",
    )
    .bind(tx.tenant_id())
    .bind(language)
    .execute(tx.connection())
    .await?;
    Ok(())
}

pub(crate) async fn bump_generation(tx: &mut TenantTx) -> Result<(), Error> {
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
         where g.tenant_id = $1 and g.retired_at is null and g.archive_of is null and g.built_by is null
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

/// Whether there are more segments than this that search reads, or a segment or an archive has a larger share
/// of dead passages.
pub async fn are_worn(
    tx: &mut TenantTx,
    most_segments: usize,
    dead_share: f64,
) -> Result<bool, Error> {
    let worn = sqlx::query_scalar(
        "select count(*) filter (where g.archive_of is null) > $2
             or coalesce(bool_or((select coalesce(sum(s.passages), 0) from shard.sources s
                                  where s.tenant_id = $1 and s.segment_id = g.id)
                                 < g.rows * (1 - $3::float8)), false)
         from shard.segments g
         where g.tenant_id = $1 and g.retired_at is null and g.built_by is null",
    )
    .bind(tx.tenant_id())
    .bind(i64::try_from(most_segments).unwrap_or(i64::MAX))
    .bind(dead_share)
    .fetch_one(tx.connection())
    .await?;
    Ok(worn)
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
         set segment_id = null, live_version = null, passages = 0, state = 'queued', reason = null, percent = 0,
             queued_at = now(), extracting_at = null, embedding_at = null, ended_at = null,
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

pub(crate) fn uuids(ids: &[SegmentId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.uuid()).collect()
}
