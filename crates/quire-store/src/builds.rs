//! Rebuilds of a tenant's search: new segments beside the old ones, the switch, and the way back. Knows nothing
//! of what is inside a segment, nor how good it is.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use quire_types::{SegmentId, SourceId, Timestamp, UnknownName};

use crate::corpus::Embedding;
use crate::segments::{NewSegment, install, retire_unnamed, set_language, uuids};
use crate::sources::decode;
use crate::{Error, TenantTx};

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
    /// The model that it embeds anew with; none where it keeps the vectors.
    pub embedding: Option<Embedding>,
    /// The one before, once it is switched.
    pub embedding_before: Embedding,
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
            embedding: match row.try_get("embeds")? {
                true => Some(Embedding {
                    model: row.try_get("embedding")?,
                    dimension: row.try_get("dimension")?,
                }),
                false => None,
            },
            embedding_before: Embedding {
                model: row.try_get("embedding_before")?,
                dimension: row.try_get("dimension_before")?,
            },
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

/// Ends whatever is being built: only the newest build can switch.
pub(crate) async fn supersede(tx: &mut TenantTx) -> Result<(), Error> {
    tx.alone_with("index builds").await?;
    sqlx::query(
        "update shard.index_builds set state = 'failed', finished_at = now()
         where tenant_id = $1 and state = 'building'",
    )
    .bind(tx.tenant_id())
    .execute(tx.connection())
    .await?;
    release(tx).await
}

/// Retires what builds embedded that are over without a switch.
async fn release(tx: &mut TenantTx) -> Result<(), Error> {
    for statement in [
        "delete from shard.embedded_sources e
         where e.tenant_id = $1
           and not exists (select from shard.index_builds b
                           where b.tenant_id = $1 and b.id = e.build_id and b.state = 'building')",
        "update shard.segments g set built_by = null, retired_at = now()
         where g.tenant_id = $1 and g.built_by is not null
           and not exists (select from shard.index_builds b
                           where b.tenant_id = $1 and b.id = g.built_by and b.state = 'building')",
    ] {
        sqlx::query(statement)
            .bind(tx.tenant_id())
            .execute(tx.connection())
            .await?;
    }
    Ok(())
}

/// Writes down that a build begins. One that is still building can't switch any more.
pub async fn begin_build(tx: &mut TenantTx, new: &NewBuild) -> Result<(), Error> {
    supersede(tx).await?;
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

/// Notes a segment that a build is about to store. Says whether it is still building.
pub async fn note_segment(tx: &mut TenantTx, id: Uuid, segment: SegmentId) -> Result<bool, Error> {
    let done = sqlx::query(
        "update shard.index_builds set new_segments = array_append(new_segments, $3), told_at = now()
         where tenant_id = $1 and id = $2 and state = 'building'",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .bind(segment.uuid())
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
    release(tx).await?;
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
        "select id, state, old_segments, new_segments, language, embeds, embedding, dimension,
                embedding_before, dimension_before, rows_done, rows_total, recall, started_at, finished_at
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
        "select id, state, old_segments, new_segments, language, embeds, embedding, dimension,
                embedding_before, dimension_before, rows_done, rows_total, recall, started_at, finished_at
         from shard.index_builds where tenant_id = $1 and state = 'switched' order by id desc limit 1",
    )
    .bind(tx.tenant_id())
    .fetch_optional(tx.connection())
    .await?;
    Ok(found)
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
    release(tx).await
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
         set version = version + 1, generation = generation + 1,
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
