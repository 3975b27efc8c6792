//! Builds that embed a tenant's passages anew, by another model: what is embedded so far, and the switch.
//!
//! The segments of such a build are rows of the manifest that search does not read yet (`built_by`). The switch
//! makes all sources name them in one transaction, and only when it leaves none behind. Knows no model but by its
//! name, and nothing of what is inside a segment.

use uuid::Uuid;

use quire_types::{SegmentId, SourceId};

use crate::corpus::{self, Embedding};
use crate::segments::{self, Located, NewSegment, Segment, uuids};
use crate::{Error, TenantTx, builds};

/// A build that is to embed anew.
#[derive(Clone, Debug)]
pub struct NewEmbedding {
    /// Its id.
    pub id: Uuid,
    /// What makes the new vectors.
    pub embedding: Embedding,
    /// Of the rotation of the new vectors.
    pub rotation_seed: u64,
    /// The build that it is the way back from.
    pub undoes: Option<Uuid>,
}

/// A build that embeds anew and has not switched yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// What makes the new vectors.
    pub embedding: Embedding,
    /// Of the rotation of the new vectors.
    pub rotation_seed: u64,
    /// The segments it has so far, oldest first.
    pub segments: Vec<Segment>,
    /// The versions in them, and the segment of each.
    pub places: Vec<(SourceId, i32, SegmentId)>,
}

/// What a switch led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switched {
    /// Search reads the new segments, with so many passages.
    Done(i64),
    /// Something was published that the build lacks; nothing was changed.
    Behind,
    /// It is no longer building; nothing was changed.
    Over,
}

/// Writes down that a build begins. One that is still building can't switch any more.
pub async fn begin(tx: &mut TenantTx, new: &NewEmbedding) -> Result<(), Error> {
    builds::supersede(tx).await?;
    sqlx::query(
        "insert into shard.index_builds
             (tenant_id, id, state, old_segments, dimension, rotation_seed, rows_total, embeds, embedding, undoes)
         select $1, $2, 'building', '{}', $3, $4, coalesce(sum(passages), 0), true, $5, $6
         from shard.sources where tenant_id = $1 and live_version is not null",
    )
    .bind(tx.tenant_id())
    .bind(new.id)
    .bind(new.embedding.dimension)
    .bind(new.rotation_seed.cast_signed())
    .bind(&new.embedding.model)
    .bind(new.undoes)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// How far a build is; none when it is no longer building.
pub async fn building(tx: &mut TenantTx, id: Uuid) -> Result<Option<Embedded>, Error> {
    let build: Option<(Option<String>, Option<i32>, i64)> = sqlx::query_as(
        "select embedding, dimension, rotation_seed from shard.index_builds
         where tenant_id = $1 and id = $2 and state = 'building' and embeds",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .fetch_optional(tx.connection())
    .await?;
    let Some((model, dimension, rotation_seed)) = build else {
        return Ok(None);
    };
    let segments = sqlx::query_as(
        "select id, rows, bytes, dimension, footer, created_at from shard.segments
         where tenant_id = $1 and built_by = $2 order by id",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .fetch_all(tx.connection())
    .await?;
    let places: Vec<(Uuid, i32, Uuid)> = sqlx::query_as(
        "select source_id, version, segment_id from shard.embedded_sources
         where tenant_id = $1 and build_id = $2 order by source_id",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .fetch_all(tx.connection())
    .await?;
    let place =
        |(source, version, segment): (Uuid, i32, Uuid)| (source.into(), version, segment.into());
    Ok(Some(Embedded {
        embedding: Embedding { model, dimension },
        rotation_seed: rotation_seed.cast_unsigned(),
        segments,
        places: places.into_iter().map(place).collect(),
    }))
}

/// Notes that a build is being looked at, so that no sweep takes it for dead while it waits for others. Says whether
/// it is still being made.
pub async fn note_alive(tx: &mut TenantTx, build: Uuid) -> Result<bool, Error> {
    let noted = sqlx::query(
        "update shard.index_builds set told_at = now()
         where tenant_id = $1 and id = $2 and state = 'building' and embeds",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .execute(tx.connection())
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// What search sees and a build has not embedded yet, in order of the sources: at most so many of them.
pub async fn missing(tx: &mut TenantTx, build: Uuid, limit: i64) -> Result<Vec<Located>, Error> {
    let ids: Vec<Uuid> = sqlx::query_scalar(
        "select s.id from shard.sources s
         where s.tenant_id = $1 and s.live_version is not null and s.passages > 0
           and not exists (select from shard.embedded_sources e
                           where e.tenant_id = $1 and e.build_id = $2 and e.source_id = s.id
                             and e.version = s.live_version)
         order by s.id limit $3",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    let ids: Vec<SourceId> = ids.into_iter().map(SourceId::from).collect();
    segments::located(tx, Some(&ids)).await
}

/// Keeps a segment that was made for a build as the place of these versions, wherever the build had them before.
/// Says whether it is still building; nothing was changed if not.
pub async fn keep(
    tx: &mut TenantTx,
    build: Uuid,
    new: &NewSegment,
    versions: &[(SourceId, i32)],
) -> Result<bool, Error> {
    if !is_building(tx, build).await? {
        return Ok(false);
    }
    segments::claim(tx, new).await?;
    let places: Vec<(SourceId, i32, SegmentId)> = versions
        .iter()
        .map(|(source, version)| (*source, *version, new.id))
        .collect();
    place(tx, build, &places, &[new.id]).await?;
    Ok(true)
}

/// Retires the segments of a build that hold nothing any more that others of it do not. Returns how many.
pub async fn retire_unnamed(tx: &mut TenantTx, build: Uuid) -> Result<u64, Error> {
    let retired = sqlx::query(
        "update shard.segments g set built_by = null, retired_at = now()
         where g.tenant_id = $1 and g.built_by = $2
           and not exists (select from shard.embedded_sources e
                           join shard.sources s
                             on s.tenant_id = $1 and s.id = e.source_id and s.live_version = e.version
                           where e.tenant_id = $1 and e.build_id = $2 and e.segment_id = g.id)",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .execute(tx.connection())
    .await?;
    Ok(retired.rows_affected())
}

/// Makes retired segments those of a build, with the versions in them that are still as they were. Says whether it
/// is still building and a sweep has condemned none of them; nothing was changed if not.
pub async fn adopt(
    tx: &mut TenantTx,
    build: Uuid,
    segments: &[SegmentId],
    places: &[(SourceId, i32, SegmentId)],
) -> Result<bool, Error> {
    if !is_building(tx, build).await? {
        return Ok(false);
    }
    // What condemns a segment waits here, or has been first.
    let there: Vec<Uuid> = sqlx::query_scalar(
        "select id from shard.segments
         where tenant_id = $1 and id = any($2) and retired_at is not null and condemned_at is null
         order by id for update",
    )
    .bind(tx.tenant_id())
    .bind(uuids(segments))
    .fetch_all(tx.connection())
    .await?;
    if there.len() != segments.len() {
        return Ok(false);
    }
    place(tx, build, places, segments).await?;
    Ok(true)
}

async fn is_building(tx: &mut TenantTx, build: Uuid) -> Result<bool, Error> {
    let found: Option<Uuid> = sqlx::query_scalar(
        "select id from shard.index_builds
         where tenant_id = $1 and id = $2 and state = 'building' and embeds for update",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .fetch_optional(tx.connection())
    .await?;
    Ok(found.is_some())
}

async fn place(
    tx: &mut TenantTx,
    build: Uuid,
    places: &[(SourceId, i32, SegmentId)],
    segments: &[SegmentId],
) -> Result<(), Error> {
    let sources: Vec<Uuid> = places.iter().map(|(source, ..)| source.uuid()).collect();
    let versions: Vec<i32> = places.iter().map(|(_, version, _)| *version).collect();
    let named: Vec<Uuid> = places.iter().map(|(.., segment)| segment.uuid()).collect();
    sqlx::query(
        "update shard.segments set built_by = $2, retired_at = null where tenant_id = $1 and id = any($3)",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .bind(uuids(segments))
    .execute(tx.connection())
    .await?;
    sqlx::query(
        "insert into shard.embedded_sources as e (tenant_id, build_id, source_id, version, segment_id)
         select $1, $2, * from unnest($3::uuid[], $4::int[], $5::uuid[])
         on conflict (tenant_id, build_id, source_id) do update
         set version = excluded.version, segment_id = excluded.segment_id",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .bind(&sources)
    .bind(&versions)
    .bind(&named)
    .execute(tx.connection())
    .await?;
    sqlx::query(
        "update shard.index_builds b
         set told_at = now(),
             rows_done = (select coalesce(sum(s.passages), 0) from shard.embedded_sources e
                          join shard.sources s
                            on s.tenant_id = $1 and s.id = e.source_id and s.live_version = e.version
                          where e.tenant_id = $1 and e.build_id = $2)
         where b.tenant_id = $1 and b.id = $2",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Makes search read what a build embedded, wherever it was before: in the tail, in segments or in archives. The
/// corpus is of the new model from then on.
pub async fn switch(
    tx: &mut TenantTx,
    build: Uuid,
    recall: Option<f64>,
) -> Result<Switched, Error> {
    if !is_building(tx, build).await? {
        return Ok(Switched::Over);
    }
    // Sources before the corpus, as whoever publishes takes them.
    let sources: Vec<Uuid> = sqlx::query_scalar(
        "select s.id from shard.sources s
         join shard.embedded_sources e on e.tenant_id = $1 and e.build_id = $2 and e.source_id = s.id
         where s.tenant_id = $1 and s.live_version = e.version order by s.id for update of s",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .fetch_all(tx.connection())
    .await?;
    // From here on nobody publishes; whoever is about to finds another model when it can.
    let before = corpus::locked_embedding(tx).await?;
    if !missing(tx, build, 1).await?.is_empty() {
        return Ok(Switched::Behind);
    }
    let old: Vec<Uuid> = sqlx::query_scalar(
        "select distinct s.segment_id from shard.sources s
         where s.tenant_id = $1 and s.id = any($2) and s.segment_id is not null",
    )
    .bind(tx.tenant_id())
    .bind(&sources)
    .fetch_all(tx.connection())
    .await?;
    let new: Vec<Uuid> = sqlx::query_scalar(
        "update shard.segments set built_by = null where tenant_id = $1 and built_by = $2 returning id",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .fetch_all(tx.connection())
    .await?;
    let moved: Vec<i32> = sqlx::query_scalar(
        "update shard.sources s set segment_id = e.segment_id
         from shard.embedded_sources e
         where s.tenant_id = $1 and s.id = any($3)
           and e.tenant_id = $1 and e.build_id = $2 and e.source_id = s.id and e.version = s.live_version
         returning s.passages",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .bind(&sources)
    .fetch_all(tx.connection())
    .await?;
    for statement in [
        "delete from shard.passages where tenant_id = $1 and source_id = any($2)",
        // What was archived has come back; the rules archive it again in their time.
        "update shard.notebooks n set tier = 'warm', tier_since = now()
         where n.tenant_id = $1 and n.tier = 'archived'
           and exists (select from shard.sources s
                       where s.tenant_id = $1 and s.notebook_id = n.id and s.id = any($2))",
    ] {
        sqlx::query(statement)
            .bind(tx.tenant_id())
            .bind(&sources)
            .execute(tx.connection())
            .await?;
    }
    segments::retire_unnamed(tx).await?;
    corpus::move_on(tx).await?;
    sqlx::query(
        "update shard.corpora c
         set embedding = b.embedding,
             dimension = coalesce(b.dimension, (select max(dimension) from shard.segments
                                                where tenant_id = $1 and id = any($3)))
         from shard.index_builds b where c.tenant_id = $1 and b.tenant_id = $1 and b.id = $2",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .bind(&new)
    .execute(tx.connection())
    .await?;
    sqlx::query(
        "update shard.index_builds
         set state = case when id = $2 and undoes is null then 'switched' else 'rolled_back' end,
             finished_at = now(),
             recall = case when id = $2 then $3 else recall end,
             old_segments = case when id = $2 then $4 else old_segments end,
             new_segments = case when id = $2 then $5 else new_segments end,
             embedding_before = case when id = $2 then $6 else embedding_before end,
             dimension_before = case when id = $2 then $7 else dimension_before end
         where tenant_id = $1
           and (id = $2 or id = (select undoes from shard.index_builds where tenant_id = $1 and id = $2))",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .bind(recall)
    .bind(&old)
    .bind(&new)
    .bind(before.model)
    .bind(before.dimension)
    .execute(tx.connection())
    .await?;
    sqlx::query("delete from shard.embedded_sources where tenant_id = $1 and build_id = $2")
        .bind(tx.tenant_id())
        .bind(build)
        .execute(tx.connection())
        .await?;
    Ok(Switched::Done(moved.into_iter().map(i64::from).sum()))
}
