//! Versions of the readers of files: which sources an older one read, and reading them again.

use uuid::Uuid;

use quire_types::{MediaType, SourceId};

use crate::sources::{self, Source};
use crate::{Error, SystemTx, TenantTx, notebooks};

/// The generation of readers that every tenant was looked through for; none before the first.
pub async fn generation(tx: &mut SystemTx) -> Result<Option<i32>, Error> {
    let found = sqlx::query_scalar("select generation from directory.readers");
    Ok(found.fetch_optional(tx.connection()).await?)
}

/// Notes that every tenant was looked through. Never goes back: an older process may still start.
pub async fn note_generation(tx: &mut SystemTx, generation: i32) -> Result<(), Error> {
    sqlx::query(
        "insert into directory.readers as r (generation) values ($1)
         on conflict (is_only) do update set generation = greatest(r.generation, excluded.generation)",
    )
    .bind(generation)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Sources that search sees as an older reader than these made them, oldest first. Leaves out archived notebooks
/// and texts that quire made itself.
pub async fn outdated(
    tx: &mut TenantTx,
    readers: &[(MediaType, i16)],
    limit: i64,
) -> Result<Vec<SourceId>, Error> {
    let (types, versions): (Vec<&str>, Vec<i16>) = readers
        .iter()
        .map(|(media, version)| (media.as_str(), *version))
        .unzip();
    let found: Vec<Uuid> = sqlx::query_scalar(
        "select s.id from shard.sources s
         join unnest($2::text[], $3::smallint[]) as r (media_type, version)
           on r.media_type = s.media_type and s.processor < r.version
         join shard.notebooks n on n.tenant_id = s.tenant_id and n.id = s.notebook_id
         join shard.source_versions v
           on v.tenant_id = s.tenant_id and v.source_id = s.id and v.version = s.latest_version
         where s.tenant_id = $1 and s.state = 'searchable' and n.tier <> 'archived' and v.object_key is not null
         order by s.id limit $4",
    )
    .bind(tx.tenant_id())
    .bind(types)
    .bind(versions)
    .bind(limit)
    .fetch_all(tx.connection())
    .await?;
    Ok(found.into_iter().map(SourceId::from).collect())
}

/// Makes a new version of the same content, which is to be read. Search sees the version before until then. None
/// when the source is being read already, has failed or is gone.
pub async fn read_again(tx: &mut TenantTx, id: SourceId) -> Result<Option<Source>, Error> {
    let source = sources::get(tx, id).await?;
    // Notebooks come before sources, as in every other change of both.
    notebooks::lock(tx, source.notebook).await?;
    let source: Option<Source> = sqlx::query_as(
        "update shard.sources
         set latest_version = latest_version + 1, state = 'queued', reason = null, percent = 0, task_id = null,
             queued_at = now(), extracting_at = null, embedding_at = null, ended_at = null, updated_at = now()
         where tenant_id = $1 and id = $2 and state = 'searchable' returning *",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .fetch_optional(tx.connection())
    .await?;
    if let Some(source) = &source {
        sqlx::query(
            "insert into shard.source_versions
                 (tenant_id, source_id, version, content_hash, object_key, body, size_bytes)
             select tenant_id, source_id, $3, content_hash, object_key, body, size_bytes
             from shard.source_versions where tenant_id = $1 and source_id = $2 and version = $3 - 1",
        )
        .bind(tx.tenant_id())
        .bind(id.uuid())
        .bind(source.latest_version)
        .execute(tx.connection())
        .await?;
    }
    Ok(source)
}

/// Gives up reading a version again: what search sees stays, with the reason, and counts as made by `processor`, so
/// that only a newer one tries. False when search sees nothing of it, or there is a newer version.
pub async fn keep_live(
    tx: &mut TenantTx,
    id: SourceId,
    version: i32,
    processor: i16,
    reason: &str,
) -> Result<bool, Error> {
    let done = sqlx::query(
        "update shard.sources
         set state = 'searchable', reason = $5, processor = $4, percent = 100, ended_at = now(), updated_at = now()
         where tenant_id = $1 and id = $2 and latest_version = $3 and live_version is not null
           and state not in ('searchable', 'failed')",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(version)
    .bind(processor)
    .bind(reason)
    .execute(tx.connection())
    .await?;
    Ok(done.rows_affected() == 1)
}
