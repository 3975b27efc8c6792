//! The corpus of a tenant: everything its search can see, under one growing version number.
//!
//! Every change of what search sees bumps the version and is logged in the same transaction, so a
//! cache of the corpus can tell in one read whether it is current and catch up by what changed.

use uuid::Uuid;

use quire_types::{ErrorKind, Kind, SourceId};

use crate::{Error, TenantTx};

/// Versions of changes that are kept; whoever is further behind reads the whole corpus again.
const KEPT_VERSIONS: i64 = 1_000;

/// What happened to a version of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its passages can be found.
    Added,
    /// Its passages are gone.
    Removed,
    /// Others see it now; its passages are the same.
    Regrouped,
}

impl Change {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Regrouped => "regrouped",
        }
    }
}

/// One change of the corpus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What happened.
    pub change: Change,
    /// The source.
    pub source: SourceId,
    /// The version of the source.
    pub source_version: i32,
}

/// The current version; 0 before anything was added.
pub async fn version(tx: &mut TenantTx) -> Result<i64, Error> {
    let version = sqlx::query_scalar("select version from shard.corpora where tenant_id = $1")
        .bind(tx.tenant_id())
        .fetch_optional(tx.connection())
        .await?;
    Ok(version.unwrap_or(0))
}

/// What an answer is remembered under: the version, and how often the tenant's cache was emptied.
pub async fn cached_under(tx: &mut TenantTx) -> Result<(i64, i64), Error> {
    let found = sqlx::query_as("select version, purges from shard.corpora where tenant_id = $1")
        .bind(tx.tenant_id())
        .fetch_optional(tx.connection())
        .await?;
    Ok(found.unwrap_or_default())
}

/// Empties the tenant's cache: nothing that was remembered until now is found again, by any process.
pub async fn purge_cached(tx: &mut TenantTx) -> Result<(), Error> {
    sqlx::query(
        "insert into shard.corpora as c (tenant_id, version, purges) values ($1, 0, 1)
         on conflict (tenant_id) do update set purges = c.purges + 1",
    )
    .bind(tx.tenant_id())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// The changes after `since`, in order; none when they are no longer all kept.
pub async fn changes(
    tx: &mut TenantTx,
    since: i64,
    current: i64,
) -> Result<Option<Vec<Entry>>, Error> {
    if current - since > KEPT_VERSIONS {
        return Ok(None);
    }
    // Within one version removals come first: a new version of a source replaces the old one.
    let rows: Vec<(String, Uuid, i32)> = sqlx::query_as(
        "select change, source_id, source_version from shard.corpus_changes
         where tenant_id = $1 and version > $2
         order by version, change desc, source_id, source_version",
    )
    .bind(tx.tenant_id())
    .bind(since)
    .fetch_all(tx.connection())
    .await?;
    let entry = |(change, source, source_version): (String, Uuid, i32)| Entry {
        change: match change.as_str() {
            "added" => Change::Added,
            "regrouped" => Change::Regrouped,
            _ => Change::Removed,
        },
        source: source.into(),
        source_version,
    };
    Ok(Some(rows.into_iter().map(entry).collect()))
}

/// Bumps the version and logs what happened to these versions of sources. Holds the tenant's corpus
/// until the transaction ends, so call it late. Does nothing for an empty list.
pub(crate) async fn record(
    tx: &mut TenantTx,
    change: Change,
    versions: &[(SourceId, i32)],
) -> Result<(), Error> {
    if versions.is_empty() {
        return Ok(());
    }
    let version: i64 = sqlx::query_scalar(
        "insert into shard.corpora as c (tenant_id, version) values ($1, 1)
         on conflict (tenant_id) do update set version = c.version + 1
         returning version",
    )
    .bind(tx.tenant_id())
    .fetch_one(tx.connection())
    .await?;
    let (sources, source_versions): (Vec<Uuid>, Vec<i32>) = versions
        .iter()
        .map(|(source, version)| (source.uuid(), *version))
        .unzip();
    sqlx::query(
        "insert into shard.corpus_changes (tenant_id, version, change, source_id, source_version)
         select $1, $2, $3, * from unnest($4::uuid[], $5::int[])",
    )
    .bind(tx.tenant_id())
    .bind(version)
    .bind(change.as_str())
    .bind(&sources)
    .bind(&source_versions)
    .execute(tx.connection())
    .await?;
    sqlx::query("delete from shard.corpus_changes where tenant_id = $1 and version <= $2")
        .bind(tx.tenant_id())
        .bind(version - KEPT_VERSIONS)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Bumps version and generation: everything may be different.
pub(crate) async fn move_on(tx: &mut TenantTx) -> Result<(), Error> {
    sqlx::query(
        "insert into shard.corpora as c (tenant_id, version, generation) values ($1, 1, 1)
         on conflict (tenant_id) do update
         set version = c.version + 1, generation = c.generation + 1",
    )
    .bind(tx.tenant_id())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// What makes the vectors of a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, sqlx::FromRow)]
pub struct Embedding {
    /// The name of the model; none where it is the one that ships with quire.
    #[sqlx(rename = "embedding")]
    pub model: Option<String>,
    /// Numbers in each vector; none where that is the model's own, or there is no vector yet.
    pub dimension: Option<i32>,
}

/// What makes the vectors of the tenant.
pub async fn embedding(tx: &mut TenantTx) -> Result<Embedding, Error> {
    let found =
        sqlx::query_as("select embedding, dimension from shard.corpora where tenant_id = $1")
            .bind(tx.tenant_id())
            .fetch_optional(tx.connection())
            .await?;
    Ok(found.unwrap_or_default())
}

/// The same, and nothing is published before this transaction ends.
pub(crate) async fn locked_embedding(tx: &mut TenantTx) -> Result<Embedding, Error> {
    sqlx::query(
        "insert into shard.corpora (tenant_id, version) values ($1, 0) on conflict do nothing",
    )
    .bind(tx.tenant_id())
    .execute(tx.connection())
    .await?;
    let found = sqlx::query_as(
        "select embedding, dimension from shard.corpora where tenant_id = $1 for update",
    )
    .bind(tx.tenant_id())
    .fetch_one(tx.connection())
    .await?;
    Ok(found)
}

/// What publishing vectors of a model led to, in the transaction of which this is; refused when the corpus is of
/// another model by now. Then the passages are to be embedded again.
pub async fn of_model<T>(
    tx: &mut TenantTx,
    model: Option<&str>,
    published: Result<T, Error>,
) -> Result<T, Error> {
    // A dimension that does not fit is told as what it is; after other errors the database may say nothing more.
    if let Err(error) = &published
        && error.kind() != ErrorKind::Conflict
    {
        return published;
    }
    if embedding(tx).await?.model.as_deref() == model {
        published
    } else {
        Err(Error::Remodelled)
    }
}

/// Makes sure that all vectors of the tenant have one dimension: that of the first.
pub(crate) async fn agree(tx: &mut TenantTx, dimension: i32) -> Result<(), Error> {
    let agreed: i32 = sqlx::query_scalar(
        "update shard.corpora set dimension = coalesce(dimension, $2)
         where tenant_id = $1 returning dimension",
    )
    .bind(tx.tenant_id())
    .bind(dimension)
    .fetch_one(tx.connection())
    .await?;
    if agreed == dimension {
        Ok(())
    } else {
        Err(Error::Conflict(format!(
            "vectors of {dimension} dimensions can't join a corpus of {agreed}: rebuild the tenant's \
             search with the new model first"
        )))
    }
}
