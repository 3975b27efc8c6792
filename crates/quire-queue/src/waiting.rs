//! Why tasks of a tenant do not run yet, for whoever waits for them.
//!
//! Tells a tenant of its own tasks and of what is decided about it, never of how much others have to do.

use std::collections::HashMap;

use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use quire_store::SystemTx;
use quire_types::{TaskId, TenantId, Timestamp};

use crate::Error;
use crate::enqueue::shard_of;
use crate::rows::{OPEN, RUNNING};

/// Why a task does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It was handed to a worker.
    Running,
    /// It failed before and is tried again, or was asked for later.
    Until {
        /// Not before this.
        at: Timestamp,
        /// What went wrong last, if anything.
        error: Option<String>,
    },
    /// The tenant's tasks are held back.
    TenantPaused,
    /// Tasks of its kind are held back.
    KindPaused,
    /// No worker lives that could run it.
    NoWorker,
    /// As many of the tenant's tasks run as may.
    AtLimit {
        /// How many that is.
        most: i32,
        /// How many of the tenant's tasks are before it.
        ahead: i64,
    },
    /// Others of the same tenant are before it; 0 when it is the next and waits for a free seat.
    Behind(i64),
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    is_running: bool,
    ahead: i64,
    running: i64,
    run_at: Option<Timestamp>,
    error: Option<String>,
    tenant_paused: bool,
    kind_paused: bool,
    most_running: Option<i32>,
    has_worker: bool,
}

impl Row {
    fn wait(self) -> Wait {
        match self {
            Self {
                is_running: true, ..
            } => Wait::Running,
            Self {
                tenant_paused: true,
                ..
            } => Wait::TenantPaused,
            Self {
                kind_paused: true, ..
            } => Wait::KindPaused,
            Self {
                run_at: Some(at),
                error,
                ..
            } => Wait::Until { at, error },
            Self {
                has_worker: false, ..
            } => Wait::NoWorker,
            Self {
                most_running: Some(most),
                running,
                ahead,
                ..
            } if running >= i64::from(most) => Wait::AtLimit { most, ahead },
            Self { ahead, .. } => Wait::Behind(ahead),
        }
    }
}

/// Why these tasks of a tenant wait. Left out are those that have ended or died.
pub async fn waits(
    tx: &mut SystemTx,
    tenant: TenantId,
    tasks: &[TaskId],
) -> Result<HashMap<TaskId, Wait>, Error> {
    if tasks.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<Uuid> = tasks.iter().map(|task| task.uuid()).collect();
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(format!(
        "with {OPEN}, own as materialized (
             select id, kind, priority, {RUNNING} as is_running from queue.ready
             where tenant_id = $1 and not is_cancelled
               and shard in (select $3::smallint union all
                             select shard from queue.tenants where tenant_id = $1 and shard is not null)
         ), placed as (
             select *, count(*) filter (where is_running) over () as running,
                    count(*) filter (where not is_running)
                        over (order by priority, id rows between unbounded preceding and 1 preceding) as ahead
             from own
         ), wanted as (
             select id, kind, is_running, ahead, running, null::timestamptz as run_at, null as error
             from placed where id = any($2)
             union all
             select id, kind, false, 0, 0, run_at, error from queue.deferred
             where tenant_id = $1 and id = any($2) and not is_cancelled
         )
         select w.id, w.is_running, w.ahead, w.running, w.run_at, w.error, t.most_running,
                coalesce(t.is_paused, false) as tenant_paused, coalesce(k.is_paused, false) as kind_paused,
                exists (select from queue.workers where lease_until > clock_timestamp() and not is_draining
                          and (dedicated is null or dedicated = $1)) as has_worker
         from wanted w
         left join queue.tenants t on t.tenant_id = $1
         left join queue.kinds k on k.kind = w.kind"
    )))
    .bind(tenant.uuid())
    .bind(&ids)
    .bind(shard_of(tenant))
    .fetch_all(tx.connection())
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (TaskId::from(row.id), row.wait()))
        .collect())
}
