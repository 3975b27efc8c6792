//! Versions that are no longer needed, sources that are deleted, and the objects that go with them.

use uuid::Uuid;

use quire_types::{NotebookId, SourceId};

use super::get;
use crate::corpus::{self, Change};
use crate::{Error, ObjectKey, TenantTx, notebooks};

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
