//! What an operator should look at: once for each tenant, kind, hour and level.

use std::time::Duration;

use chrono::{DurationRound, TimeDelta, Utc};
use serde_json::{Value, json};
use sqlx::FromRow;
use tracing::warn;
use uuid::Uuid;

use quire_store::{Store, SystemTx};
use quire_types::{TenantId, Timestamp};

use crate::Error;

/// A tenant costs far more than it uses to; the level is the percentage of the usual hour.
pub const COST_SPIKE: &str = "cost-spike";
/// A tenant took over a tenth of the interactive work while others waited; the level is its share in percent.
pub const NOISY_NEIGHBOUR: &str = "noisy-neighbour";
/// A tenant kept coming although it was refused.
pub const THROTTLED: &str = "throttled";

/// Days for which notices are kept.
const KEPT_DAYS: i32 = 90;

/// Something to look at.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    pub(crate) tenant: TenantId,
    pub(crate) kind: &'static str,
    pub(crate) hour: Timestamp,
    pub(crate) level: i32,
    pub(crate) detail: Value,
}

/// A tenant is held off for a while.
pub(crate) async fn throttled(
    store: &Store,
    tenant: TenantId,
    pause: Duration,
) -> Result<(), Error> {
    let now = Utc::now();
    let notice = Notice {
        tenant,
        kind: THROTTLED,
        hour: hour(now),
        level: 1,
        detail: json!({ "seconds": pause.as_secs() }),
    };
    let mut tx = store.system().await?;
    note(&mut tx, &notice).await?;
    Ok(tx.commit().await?)
}

/// The hour that an instant is in.
pub(crate) fn hour(at: Timestamp) -> Timestamp {
    at.duration_trunc(TimeDelta::hours(1)).unwrap_or(at)
}

/// Writes it down, and into the log when it is new.
pub(crate) async fn note(tx: &mut SystemTx, notice: &Notice) -> Result<(), Error> {
    let is_new = sqlx::query(
        "insert into control.notices (tenant_id, kind, hour, level, detail) values ($1, $2, $3, $4, $5)
         on conflict do nothing",
    )
    .bind(notice.tenant.uuid())
    .bind(notice.kind)
    .bind(notice.hour)
    .bind(notice.level)
    .bind(&notice.detail)
    .execute(tx.connection())
    .await?
    .rows_affected()
        == 1;
    if is_new {
        warn!(tenant = %notice.tenant, kind = notice.kind, level = notice.level, detail = %notice.detail,
            "a tenant stands out");
    }
    Ok(())
}

/// A notice as it is kept.
#[derive(Clone, Debug, FromRow)]
pub struct NoticeRow {
    /// The tenant.
    pub tenant_id: Uuid,
    /// What it is about.
    pub kind: String,
    /// The hour it is about.
    pub hour: Timestamp,
    /// How bad it is; what it means depends on the kind.
    pub level: i32,
    /// When it was written.
    pub at: Timestamp,
    /// Numbers.
    pub detail: Value,
}

/// The newest notices.
pub async fn list(tx: &mut SystemTx, limit: i64) -> Result<Vec<NoticeRow>, Error> {
    Ok(
        sqlx::query_as("select * from control.notices order by at desc limit $1")
            .bind(limit)
            .fetch_all(tx.connection())
            .await?,
    )
}

pub(crate) async fn forget_old(tx: &mut SystemTx) -> Result<(), Error> {
    sqlx::query("delete from control.notices where at < now() - make_interval(days => $1)")
        .bind(KEPT_DAYS)
        .execute(tx.connection())
        .await?;
    Ok(())
}
