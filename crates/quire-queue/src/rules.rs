//! What operators and plans say about tenants and kinds of tasks: rows that owners read at every beat, so
//! that a change counts within seconds.

use std::time::Duration;

use serde::Serialize;
use sqlx::FromRow;
use uuid::Uuid;

use quire_store::SystemTx;
use quire_types::TenantId;

use crate::Error;
use crate::policy::TenantRule;

/// What a tenant may use of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantShare {
    /// Its share against other tenants, 1 to 1000.
    pub weight: i32,
    /// Tasks that may run at once; none for as many as there are seats.
    pub most_running: Option<i32>,
}

impl Default for TenantShare {
    fn default() -> Self {
        Self {
            weight: 1,
            most_running: None,
        }
    }
}

/// Sets the share of tenants; running tasks are not touched.
pub async fn set_tenant_share(
    tx: &mut SystemTx,
    tenants: &[TenantId],
    share: TenantShare,
) -> Result<(), Error> {
    if !(1..=1000).contains(&share.weight) {
        return Err(Error::Invalid("a weight is between 1 and 1000".to_owned()));
    }
    if share.most_running.is_some_and(|most| most < 1) {
        return Err(Error::Invalid(
            "at least one task may run; pause the tenant instead".to_owned(),
        ));
    }
    let tenants: Vec<Uuid> = tenants.iter().map(|tenant| tenant.uuid()).collect();
    sqlx::query(
        "insert into queue.tenants (tenant_id, weight, most_running)
         select tenant_id, $2, $3 from unnest($1::uuid[]) as t (tenant_id) order by tenant_id
         on conflict (tenant_id) do update
         set weight = excluded.weight, most_running = excluded.most_running, changed_at = now()",
    )
    .bind(tenants)
    .bind(share.weight)
    .bind(share.most_running)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Stops or resumes handing out tasks of a tenant. What runs goes on.
pub async fn pause_tenant(tx: &mut SystemTx, tenant: TenantId, paused: bool) -> Result<(), Error> {
    sqlx::query(
        "insert into queue.tenants (tenant_id, is_paused) values ($1, $2)
         on conflict (tenant_id) do update set is_paused = excluded.is_paused, changed_at = now()",
    )
    .bind(tenant.uuid())
    .bind(paused)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Stops or resumes handing out tasks of a kind. What runs goes on.
pub async fn pause_kind(tx: &mut SystemTx, kind: &str, paused: bool) -> Result<(), Error> {
    check_kind(kind)?;
    sqlx::query(
        "insert into queue.kinds (kind, is_paused) values ($1, $2)
         on conflict (kind) do update set is_paused = excluded.is_paused",
    )
    .bind(kind)
    .bind(paused)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Lets all workers together run at most so many tasks of a kind at once; none lifts the limit. What the kind's own
/// code says holds beside it. What runs goes on.
pub async fn limit_kind(tx: &mut SystemTx, kind: &str, most: Option<i32>) -> Result<(), Error> {
    check_kind(kind)?;
    if most.is_some_and(|most| most < 1) {
        return Err(Error::Invalid(
            "at least one task may run; pause the kind instead".to_owned(),
        ));
    }
    sqlx::query(
        "insert into queue.kinds (kind, most_running) values ($1, $2)
         on conflict (kind) do update set most_running = excluded.most_running",
    )
    .bind(kind)
    .bind(most)
    .execute(tx.connection())
    .await?;
    Ok(())
}

fn check_kind(kind: &str) -> Result<(), Error> {
    match kind.is_empty() || kind.chars().count() > 64 || kind.contains('\0') {
        true => Err(Error::Invalid("a kind has 1 to 64 characters".to_owned())),
        false => Ok(()),
    }
}

/// Gives a tenant a shard of its own, for workers that serve nobody else. Tasks that are there already
/// stay where they are. While no dedicated worker lives, the others work the shard.
pub async fn dedicate(tx: &mut SystemTx, tenant: TenantId) -> Result<(), Error> {
    // Two at once would take the same number.
    sqlx::query("select pg_advisory_xact_lock(hashtextextended('queue.shards', 0))")
        .execute(tx.connection())
        .await?;
    sqlx::query(
        "with new as (
             insert into queue.shards (shard, reserved_for)
             select greatest(max(shard), 999) + 1, $1 from queue.shards
             on conflict (reserved_for) do update set reserved_for = excluded.reserved_for
             returning shard
         )
         insert into queue.tenants (tenant_id, shard) select $1, shard from new
         on conflict (tenant_id) do update set shard = excluded.shard, changed_at = now()",
    )
    .bind(tenant.uuid())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// A row about a tenant.
#[derive(Clone, Debug, FromRow)]
pub(crate) struct TenantRow {
    pub(crate) tenant_id: Uuid,
    weight: i32,
    most_running: Option<i32>,
    is_paused: bool,
}

impl TenantRow {
    pub(crate) fn rule(&self) -> TenantRule {
        TenantRule {
            weight: u32::try_from(self.weight).unwrap_or(1),
            most_running: self
                .most_running
                .map_or(u32::MAX, |most| u32::try_from(most).unwrap_or(1)),
            is_paused: self.is_paused,
        }
    }
}

/// What is said about these tenants; nothing for most.
pub(crate) async fn of_tenants(
    tx: &mut SystemTx,
    tenants: &[Uuid],
) -> Result<Vec<TenantRow>, Error> {
    let rows = sqlx::query_as(
        "select tenant_id, weight, most_running, is_paused from queue.tenants where tenant_id = any($1)",
    )
    .bind(tenants)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// What was said lately.
pub(crate) async fn changed(tx: &mut SystemTx, within: Duration) -> Result<Vec<TenantRow>, Error> {
    let rows = sqlx::query_as(
        "select tenant_id, weight, most_running, is_paused from queue.tenants
         where changed_at > now() - make_interval(secs => $1)",
    )
    .bind(within.as_secs_f64())
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}

/// What an operator says about a kind.
#[derive(Clone, Debug, FromRow, Serialize, PartialEq, Eq)]
pub struct KindRow {
    /// The kind.
    pub kind: String,
    /// Nothing of it is handed out.
    pub is_paused: bool,
    /// Tasks that all workers together may run at once.
    pub most_running: Option<i32>,
}

/// What operators say about kinds, where they say anything.
pub async fn kinds(tx: &mut SystemTx) -> Result<Vec<KindRow>, Error> {
    let rows = sqlx::query_as(
        "select kind, is_paused, most_running from queue.kinds where is_paused or most_running is not null order by kind",
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(rows)
}
