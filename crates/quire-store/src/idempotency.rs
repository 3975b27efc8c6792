//! Idempotency keys: a write that is repeated with the same key happens once.
//!
//! A key is claimed before the work and holds its answer afterwards. A failed attempt frees it, so a
//! repetition tries again; an attempt whose process died frees it after a minute. Keys live a
//! day. Follows draft-ietf-httpapi-idempotency-key-header.

use crate::{Error, TenantTx};

/// How long an attempt may take before another one may start.
const LOCK_SECONDS: i32 = 60;

/// What is known about a key.
#[derive(Clone, Debug)]
pub enum Claim {
    /// Nobody used it; the caller does the work now.
    Fresh,
    /// The work is being done by somebody else.
    InFlight,
    /// It was used for other work.
    OtherRequest,
    /// The work is done; this was the answer.
    Done {
        /// HTTP status.
        status: u16,
        /// JSON body.
        body: serde_json::Value,
    },
}

#[derive(sqlx::FromRow)]
struct Row {
    fingerprint: Vec<u8>,
    status: Option<i16>,
    body: Option<serde_json::Value>,
}

/// Claims `key` for the work with this fingerprint.
pub async fn claim(tx: &mut TenantTx, key: &str, fingerprint: &[u8]) -> Result<Claim, Error> {
    sqlx::query(
        "delete from shard.idempotency_keys
         where tenant_id = $1
           and (created_at < now() - interval '1 day' or (status is null and locked_until < now()))",
    )
    .bind(tx.tenant_id())
    .execute(tx.connection())
    .await?;
    let inserted = sqlx::query(
        "insert into shard.idempotency_keys (tenant_id, key, fingerprint, locked_until)
         values ($1, $2, $3, now() + make_interval(secs => $4))
         on conflict (tenant_id, key) do nothing",
    )
    .bind(tx.tenant_id())
    .bind(key)
    .bind(fingerprint)
    .bind(LOCK_SECONDS)
    .execute(tx.connection())
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("idempotency_keys_key_check") => {
            Error::Invalid("an Idempotency-Key has 1 to 255 characters".to_owned())
        }
        _ => error.into(),
    })?;
    if inserted.rows_affected() == 1 {
        return Ok(Claim::Fresh);
    }
    let row: Option<Row> = sqlx::query_as(
        "select fingerprint, status, body from shard.idempotency_keys where tenant_id = $1 and key = $2",
    )
    .bind(tx.tenant_id())
    .bind(key)
    .fetch_optional(tx.connection())
    .await?;
    Ok(match row {
        Some(row) if row.fingerprint != fingerprint => Claim::OtherRequest,
        Some(Row {
            status: Some(status),
            body,
            ..
        }) => Claim::Done {
            status: status.unsigned_abs(),
            body: body.unwrap_or_default(),
        },
        _ => Claim::InFlight,
    })
}

/// Keeps the answer for repetitions.
pub async fn finish(
    tx: &mut TenantTx,
    key: &str,
    status: u16,
    body: &serde_json::Value,
) -> Result<(), Error> {
    sqlx::query("update shard.idempotency_keys set status = $3, body = $4 where tenant_id = $1 and key = $2")
        .bind(tx.tenant_id())
        .bind(key)
        .bind(i16::try_from(status).unwrap_or(i16::MAX))
        .bind(body)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Frees a key whose work failed.
pub async fn release(tx: &mut TenantTx, key: &str) -> Result<(), Error> {
    sqlx::query(
        "delete from shard.idempotency_keys where tenant_id = $1 and key = $2 and status is null",
    )
    .bind(tx.tenant_id())
    .bind(key)
    .execute(tx.connection())
    .await?;
    Ok(())
}
