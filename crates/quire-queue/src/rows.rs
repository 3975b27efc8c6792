//! The SQL of the queue: every statement that touches `queue.tasks`.

use std::time::Duration;

use sqlx::PgConnection;
use uuid::Uuid;

use quire_store::{SystemTx, TenantTx};
use quire_types::TaskId;

use crate::{Error, Failure, Task};

/// Adds a task of the transaction's tenant. It exists when the transaction commits; ring the
/// worker's bell afterwards, or it is found at the next poll.
pub async fn enqueue<T: Task>(tx: &mut TenantTx, task: &T) -> Result<TaskId, Error> {
    enqueue_after(tx, task, Duration::ZERO).await
}

/// Adds a task that does not start before `delay` has passed.
pub async fn enqueue_after<T: Task>(
    tx: &mut TenantTx,
    task: &T,
    delay: Duration,
) -> Result<TaskId, Error> {
    let id = TaskId::generate();
    sqlx::query(
        "insert into queue.tasks (tenant_id, id, kind, payload, priority, max_attempts, run_at)
         values ($1, $2, $3, $4, $5, $6, now() + make_interval(secs => $7))",
    )
    .bind(tx.tenant_id())
    .bind(id.uuid())
    .bind(T::KIND)
    .bind(serde_json::to_value(task)?)
    .bind(T::PRIORITY as i16)
    .bind(T::MAX_ATTEMPTS)
    .bind(delay.as_secs_f64())
    .execute(tx.connection())
    .await?;
    Ok(id)
}

/// A task that was handed to this worker.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Claimed {
    pub(crate) tenant_id: Uuid,
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) payload: serde_json::Value,
    pub(crate) attempts: i32,
    pub(crate) max_attempts: i32,
    pub(crate) lease_token: Uuid,
    pub(crate) error_kind: Option<String>,
    pub(crate) error: Option<String>,
}

/// Takes due tasks, and tasks whose worker let the lease run out, and counts the attempt before
/// anything runs: a task that kills its process is found out by its count.
pub(crate) async fn claim(
    tx: &mut SystemTx,
    kinds: &[String],
    limit: i64,
    lease: Duration,
) -> Result<Vec<Claimed>, Error> {
    let claimed = sqlx::query_as(
        "with expired as (
             select tenant_id, id from queue.tasks
             where state = 'running' and lease_until < now() and kind = any($1)
             order by lease_until limit $2 for update skip locked
         ), ready as (
             select tenant_id, id from queue.tasks
             where state = 'ready' and run_at <= now() and kind = any($1)
             order by priority, run_at limit $2 for update skip locked
         ), due as (
             (table expired) union all (table ready) limit $2
         )
         update queue.tasks t
         set state = 'running', attempts = t.attempts + 1, lease_token = gen_random_uuid(),
             lease_until = now() + make_interval(secs => $3)
         from due where t.tenant_id = due.tenant_id and t.id = due.id
         returning t.tenant_id, t.id, t.kind, t.payload, t.attempts, t.max_attempts, t.lease_token,
                   t.error_kind, t.error",
    )
    .bind(kinds)
    .bind(limit)
    .bind(lease.as_secs_f64())
    .fetch_all(tx.connection())
    .await?;
    Ok(claimed)
}

/// Extends the leases of running tasks. Returns the tokens that are still good.
pub(crate) async fn extend(
    tx: &mut SystemTx,
    tokens: &[Uuid],
    lease: Duration,
) -> Result<Vec<Uuid>, Error> {
    let good = sqlx::query_scalar(
        "update queue.tasks set lease_until = now() + make_interval(secs => $2)
         where lease_token = any($1) and state = 'running' returning lease_token",
    )
    .bind(tokens)
    .bind(lease.as_secs_f64())
    .fetch_all(tx.connection())
    .await?;
    Ok(good)
}

/// What becomes of a task after an attempt.
#[derive(Debug)]
pub(crate) enum Outcome<'a> {
    Done,
    Again {
        failure: &'a Failure,
        after: Duration,
    },
    Dead {
        failure: &'a Failure,
    },
    /// Given back unfinished; the attempt does not count.
    Returned,
}

/// Records an outcome. False when the lease was lost: somebody else has the task now.
pub(crate) async fn settle(
    tx: &mut SystemTx,
    task: &Claimed,
    outcome: &Outcome<'_>,
) -> Result<bool, Error> {
    let connection: &mut PgConnection = tx.connection();
    let query = match outcome {
        Outcome::Done => sqlx::query(
            "delete from queue.tasks where tenant_id = $1 and id = $2 and lease_token = $3 and state = 'running'",
        ),
        Outcome::Again { .. } => sqlx::query(
            "update queue.tasks
             set state = 'ready', lease_token = null, lease_until = null, error_kind = $4, error = $5,
                 run_at = now() + make_interval(secs => $6)
             where tenant_id = $1 and id = $2 and lease_token = $3 and state = 'running'",
        ),
        Outcome::Dead { .. } => sqlx::query(
            "update queue.tasks
             set state = 'dead', lease_token = null, lease_until = null, error_kind = $4, error = $5
             where tenant_id = $1 and id = $2 and lease_token = $3 and state = 'running'",
        ),
        Outcome::Returned => sqlx::query(
            "update queue.tasks
             set state = 'ready', lease_token = null, lease_until = null, attempts = attempts - 1, run_at = now()
             where tenant_id = $1 and id = $2 and lease_token = $3 and state = 'running'",
        ),
    };
    let query = query
        .bind(task.tenant_id)
        .bind(task.id)
        .bind(task.lease_token);
    let query = match outcome {
        Outcome::Done | Outcome::Returned => query,
        Outcome::Dead { failure } => query.bind(failure.kind.as_str()).bind(&failure.message),
        Outcome::Again { failure, after } => query
            .bind(failure.kind.as_str())
            .bind(&failure.message)
            .bind(after.as_secs_f64()),
    };
    Ok(query.execute(connection).await?.rows_affected() == 1)
}

/// How many tasks of a kind are in a state.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Depth {
    /// The kind.
    pub kind: String,
    /// `ready`, `running` or `dead`.
    pub state: String,
    /// How many.
    pub tasks: i64,
}

/// The depth of the queue by kind and state.
pub async fn depths(tx: &mut SystemTx) -> Result<Vec<Depth>, Error> {
    let depths = sqlx::query_as(
        "select kind, state, count(*) as tasks from queue.tasks group by kind, state order by kind, state",
    )
    .fetch_all(tx.connection())
    .await?;
    Ok(depths)
}
