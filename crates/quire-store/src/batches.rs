//! Batches of texts at a provider, out of which the vectors of a build come. Knows neither provider nor texts.

use sqlx::FromRow;
use uuid::Uuid;

use quire_types::Timestamp;

use crate::corpus::Embedding;
use crate::{Error, TenantTx};

/// A batch that is not over.
#[derive(Clone, Debug, FromRow, PartialEq, Eq)]
pub struct Batch {
    /// Its id, and its mark at the provider.
    pub id: Uuid,
    /// The pool it is in.
    pub pool: String,
    /// The model that embeds it.
    pub model: String,
    /// Numbers in its vectors.
    pub dimension: Option<i32>,
    /// Texts in it.
    pub texts: i64,
    /// What the provider calls it; none until that is known.
    pub remote: Option<String>,
    /// When it was written down.
    pub created_at: Timestamp,
}

impl Batch {
    /// What embeds it.
    pub fn embedding(&self) -> Embedding {
        Embedding {
            model: Some(self.model.clone()),
            dimension: self.dimension,
        }
    }
}

/// Writes down that a build is about to send a batch, or finds the one it has; says whether it is new. None when the
/// build is over.
pub async fn begin(
    tx: &mut TenantTx,
    build: Uuid,
    pool: &str,
    texts: i64,
) -> Result<Option<(Batch, bool)>, Error> {
    let new: Option<Batch> = sqlx::query_as(
        "insert into shard.embedding_batches (tenant_id, id, build_id, pool, texts, model, dimension)
         select $1, $2, id, $4, $5, embedding, dimension from shard.index_builds
         where tenant_id = $1 and id = $3 and state = 'building' and embeds and embedding is not null
         on conflict (tenant_id, build_id) where state in ('preparing', 'sent') do nothing
         returning id, pool, model, dimension, texts, remote, created_at",
    )
    .bind(tx.tenant_id())
    .bind(Uuid::now_v7())
    .bind(build)
    .bind(pool)
    .bind(texts)
    .fetch_optional(tx.connection())
    .await?;
    Ok(match new {
        Some(batch) => Some((batch, true)),
        None => live(tx, build).await?.map(|batch| (batch, false)),
    })
}

/// The batch of a build that is not over.
pub async fn live(tx: &mut TenantTx, build: Uuid) -> Result<Option<Batch>, Error> {
    Ok(sqlx::query_as(
        "select id, pool, model, dimension, texts, remote, created_at from shard.embedding_batches
         where tenant_id = $1 and build_id = $2 and state in ('preparing', 'sent')",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .fetch_optional(tx.connection())
    .await?)
}

/// Notes what the provider calls a batch. Whether nobody had.
pub async fn sent(tx: &mut TenantTx, id: Uuid, remote: &str) -> Result<bool, Error> {
    let noted = sqlx::query(
        "update shard.embedding_batches set state = 'sent', remote = $3
         where tenant_id = $1 and id = $2 and state = 'preparing'",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .bind(remote)
    .execute(tx.connection())
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Notes that a batch is over; `is_good` says whether another one is worth while. Whether it was not over before.
pub async fn finish(tx: &mut TenantTx, id: Uuid, is_good: bool) -> Result<bool, Error> {
    let noted = sqlx::query(
        "update shard.embedding_batches
         set state = case when $3 then 'done' else 'failed' end, finished_at = now()
         where tenant_id = $1 and id = $2 and state in ('preparing', 'sent')",
    )
    .bind(tx.tenant_id())
    .bind(id)
    .bind(is_good)
    .execute(tx.connection())
    .await?;
    Ok(noted.rows_affected() == 1)
}

/// Whether a batch of this build failed, after which none is sent any more.
pub async fn any_failed(tx: &mut TenantTx, build: Uuid) -> Result<bool, Error> {
    Ok(sqlx::query_scalar(
        "select exists (select from shard.embedding_batches
                        where tenant_id = $1 and build_id = $2 and state = 'failed')",
    )
    .bind(tx.tenant_id())
    .bind(build)
    .fetch_one(tx.connection())
    .await?)
}
