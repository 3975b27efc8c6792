//! How far the reading of a source has come, and what the reader found beside the text.

use quire_types::{SourceId, SourceState};

use super::{Source, get};
use crate::{Error, TenantTx};

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
    /// Recordings and films: itself, or what is attached to it.
    pub recordings: i32,
}

/// Bits of 64 by which copies of a picture may differ.
const COPY_BITS: i32 = 3;
/// A picture whose hash has fewer or more bits set is too plain to be known again.
const TELLING_BITS: std::ops::RangeInclusive<u32> = 10..=54;

/// Notes what was found of a source beside its text, and links it to the first picture of the tenant that looks the
/// same. Says whether there is such a source.
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
         set duration_ms = $3, picture_hash = $4, processor = $6, recordings = $7,
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
    .bind(reading.recordings)
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
