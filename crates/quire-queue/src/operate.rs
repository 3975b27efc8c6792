//! What operators ask about tasks and do with them: where they are, why they died, and trying them again.
//! How the queue as a whole is doing is in [`crate::stats`].

use serde::Serialize;
use sqlx::{AssertSqlSafe, FromRow};
use uuid::Uuid;

use quire_store::SystemTx;
use quire_types::{TaskId, TenantId, Timestamp};

use crate::rows::{ONE_READY, OPEN, RUNNING};
use crate::{Error, ids};

/// A task wherever it is.
#[derive(Clone, Debug, FromRow)]
pub struct TaskRow {
    /// Whose it is.
    pub tenant_id: Uuid,
    /// Its id.
    pub id: Uuid,
    /// Its kind.
    pub kind: String,
    /// `ready`, `running`, `deferred` or `dead`.
    pub state: String,
    /// From 0, the most urgent.
    pub priority: i16,
    /// Attempts that ended.
    pub attempt: i16,
    /// The concurrency key.
    pub key: Option<String>,
    /// When it will be ready, or died.
    pub at: Option<Timestamp>,
    /// What went wrong last.
    pub error: Option<String>,
    /// The kind of what went wrong last.
    pub error_kind: Option<String>,
    /// What it was asked to do.
    pub payload: Option<serde_json::Value>,
}

/// Which tasks are meant. What is left out lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// One task.
    pub task: Option<TaskId>,
    /// Of one tenant.
    pub tenant: Option<TenantId>,
    /// Of one kind.
    pub kind: Option<String>,
    /// Of one group of dead tasks.
    pub signature: Option<String>,
}

impl Selection {
    /// PostgreSQL's text holds no NUL.
    fn check(&self) -> Result<(), Error> {
        let texts = [&self.kind, &self.signature];
        match texts.into_iter().flatten().any(|text| text.contains('\0')) {
            true => Err(Error::Invalid(
                "a kind or a signature holds no NUL character".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// What ends tasks for good wants to know which.
    fn check_named(&self) -> Result<(), Error> {
        self.check()?;
        let names_any = self.task.is_some() || self.tenant.is_some();
        match names_any || self.kind.is_some() || self.signature.is_some() {
            true => Ok(()),
            false => Err(Error::Invalid(
                "say which tasks: one, those of a tenant, of a kind or of a group".to_owned(),
            )),
        }
    }
}

/// Tasks, oldest first.
pub async fn list(
    tx: &mut SystemTx,
    selection: &Selection,
    state: Option<&str>,
    limit: i64,
) -> Result<Vec<TaskRow>, Error> {
    selection.check()?;
    if !(1..=1_000).contains(&limit) {
        return Err(Error::Invalid("a list has 1 to 1000 tasks".to_owned()));
    }
    if let Some(state) = state
        && !["ready", "running", "deferred", "dead"].contains(&state)
    {
        return Err(Error::Invalid(format!(
            "'{state}' is no state of a task: ready, running, deferred or dead"
        )));
    }
    let (ready, its) = match selection.task {
        Some(_) => (ONE_READY, "id = $1"),
        None => ("queue.ready", "true"),
    };
    let statement = AssertSqlSafe(format!(
        "with {OPEN}, t as (
             (select tenant_id, id, kind, case when {RUNNING} then 'running' else 'ready' end as state,
                     priority, attempt, key, null::timestamptz as at, error, error_kind, payload
              from {ready} as ready
              where {its} and ($3::uuid is null or tenant_id = $3) and ($4::text is null or kind = $4)
                and ($5::text is null or $5 = case when {RUNNING} then 'running' else 'ready' end) and not is_cancelled
              order by id limit $6)
             union all
             (select tenant_id, id, kind, 'deferred', priority, attempt, key, run_at, error, error_kind, payload
              from queue.deferred
              where {its} and ($3::uuid is null or tenant_id = $3) and ($4::text is null or kind = $4)
                and ($5::text is null or $5 = 'deferred') and not is_cancelled
              order by id limit $6)
             union all
             (select tenant_id, id, kind, 'dead', priority, attempt, key, died_at, error, error_kind, payload
              from queue.dead
              where {its} and ($3::uuid is null or tenant_id = $3) and ($4::text is null or kind = $4)
                and ($5::text is null or $5 = 'dead')
              order by id limit $6)
         )
         select t.tenant_id, t.id, t.kind, t.state, t.priority, t.attempt, t.key, t.at, t.error, t.error_kind,
                coalesce(t.payload, (select payload from queue.keyed k where k.tenant_id = t.tenant_id and k.id = t.id))
                    as payload
         from t order by id limit $6"
    ));
    let task = selection.task.map(TaskId::uuid);
    let tasks = sqlx::query_as(statement)
        .bind(task)
        .bind(task.map_or(0, ids::token))
        .bind(selection.tenant.map(TenantId::uuid))
        .bind(&selection.kind)
        .bind(state)
        .bind(limit)
        .fetch_all(tx.connection())
        .await?;
    Ok(tasks)
}

/// One task.
pub async fn get(tx: &mut SystemTx, task: TaskId) -> Result<TaskRow, Error> {
    let selection = Selection {
        task: Some(task),
        ..Selection::default()
    };
    let tasks = list(tx, &selection, None, 1).await?;
    tasks.into_iter().next().ok_or(Error::NotFound("task"))
}

/// Dead tasks that failed alike.
#[derive(Clone, Debug, FromRow, Serialize)]
pub struct DeadGroup {
    /// Their kind.
    pub kind: String,
    /// The error without the parts that differ.
    pub signature: String,
    /// The kind of the error.
    pub error_kind: String,
    /// How many there are.
    pub tasks: i64,
    /// Of how many tenants.
    pub tenants: i64,
    /// When the first died.
    pub first: Timestamp,
    /// When the last died.
    pub last: Timestamp,
    /// The error of the last, in full.
    pub sample_error: String,
    /// The payload of the last.
    pub sample_payload: Option<serde_json::Value>,
}

/// Groups of dead tasks, largest first.
pub async fn dead(tx: &mut SystemTx, selection: &Selection) -> Result<Vec<DeadGroup>, Error> {
    selection.check()?;
    let groups = sqlx::query_as(
        "select kind, signature, min(error_kind) as error_kind, count(*) as tasks,
                count(distinct tenant_id) as tenants, min(died_at) as first, max(died_at) as last,
                (array_agg(error order by died_at desc))[1] as sample_error,
                (array_agg(payload order by died_at desc))[1] as sample_payload
         from queue.dead
         where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2)
           and ($3::text is null or kind = $3) and ($4::text is null or signature = $4)
         group by kind, signature order by count(*) desc, kind, signature limit 200",
    )
    .bind(selection.task.map(TaskId::uuid))
    .bind(selection.tenant.map(TenantId::uuid))
    .bind(&selection.kind)
    .bind(&selection.signature)
    .fetch_all(tx.connection())
    .await?;
    Ok(groups)
}

/// Gives dead tasks all their attempts again. Returns how many there were.
pub async fn retry(tx: &mut SystemTx, selection: &Selection) -> Result<u64, Error> {
    selection.check()?;
    let retried = sqlx::query(
        "with gone as (
             delete from queue.dead
             where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2)
               and ($3::text is null or kind = $3) and ($4::text is null or signature = $4)
             returning *
         )
         insert into queue.ready (tenant_id, id, shard, kind, priority, key, payload)
         select tenant_id, id, shard, kind, priority, key, payload from gone",
    )
    .bind(selection.task.map(TaskId::uuid))
    .bind(selection.tenant.map(TenantId::uuid))
    .bind(&selection.kind)
    .bind(&selection.signature)
    .execute(tx.connection())
    .await?;
    Ok(retried.rows_affected())
}

/// Removes dead tasks for good. Returns how many there were.
pub async fn discard(tx: &mut SystemTx, selection: &Selection) -> Result<u64, Error> {
    selection.check_named()?;
    let discarded = sqlx::query(
        "delete from queue.dead
         where ($1::uuid is null or id = $1) and ($2::uuid is null or tenant_id = $2)
           and ($3::text is null or kind = $3) and ($4::text is null or signature = $4)",
    )
    .bind(selection.task.map(TaskId::uuid))
    .bind(selection.tenant.map(TenantId::uuid))
    .bind(&selection.kind)
    .bind(&selection.signature)
    .execute(tx.connection())
    .await?;
    Ok(discarded.rows_affected())
}

/// Cancels tasks that are not dead; one that runs is stopped at its worker's next beat at the latest. A task
/// is its row: what is gone is not handed out, and what it says at its end is refused. The row that takes
/// its place has its kind told by the worker that owns it. Returns how many there were.
pub async fn cancel(tx: &mut SystemTx, selection: &Selection) -> Result<u64, Error> {
    selection.check_named()?;
    let mut cancelled = 0;
    // What becomes ready meanwhile was in neither, so the first look is repeated.
    for table in ["ready", "deferred", "ready"] {
        let which = match (selection.task, table) {
            (None, _) => "true".to_owned(),
            (Some(_), "ready") => {
                format!("id = $1 and ctid = any (array(select at_row from {ONE_READY} as one))")
            }
            (Some(_), _) => "id = $1".to_owned(),
        };
        // Without its key, deadline and cost: telling waits for nobody and is quickly done.
        let statement = AssertSqlSafe(format!(
            "with gone as (
                 delete from queue.{table}
                 where {which} and ($3::uuid is null or tenant_id = $3) and ($4::text is null or kind = $4) and not is_cancelled
                 returning *
             ), freed as (
                 delete from queue.keyed q using gone g where q.tenant_id = g.tenant_id and q.id = g.id
                 returning q.id, q.payload
             )
             insert into queue.ready (tenant_id, id, shard, kind, priority, attempt, cost_ms, is_cancelled, payload)
             select g.tenant_id, g.id, g.shard, g.kind, g.priority, g.attempt, 1, true,
                    coalesce(g.payload, f.payload, 'null')
             from gone g left join freed f on f.id = g.id"
        ));
        let task = selection.task.map(TaskId::uuid);
        let moved = sqlx::query(statement)
            .bind(task)
            .bind(task.map_or(0, ids::token))
            .bind(selection.tenant.map(TenantId::uuid))
            .bind(&selection.kind)
            .execute(tx.connection())
            .await?;
        cancelled += moved.rows_affected();
    }
    Ok(cancelled)
}
