//! Tasks, for the operator. Payloads name things by id; no content is behind these routes. The queue as a whole is in
//! `queue`.

use axum::Json;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use quire_queue::{DeadGroup, Selection, TaskRow};
use quire_types::{TaskId, TenantId};

use crate::body::{Body, Params, time};
use crate::caller::Admin;
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// Which tasks are meant. What is left out lets everything through.
#[derive(Debug, Default, Deserialize, ToSchema, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SelectionIn {
    /// One task.
    task: Option<String>,
    /// Those of one tenant.
    tenant: Option<String>,
    /// Those of one kind.
    kind: Option<String>,
    /// Those of one group of dead tasks.
    signature: Option<String>,
}

impl SelectionIn {
    fn check(self) -> ApiResult<Selection> {
        let task = self.task.map(|id| task_id(&id)).transpose()?;
        let tenant = self.tenant.map(|id| tenant_id(&id)).transpose()?;
        Ok(Selection {
            task,
            tenant,
            kind: self.kind,
            signature: self.signature,
        })
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListIn {
    /// Those of one tenant.
    tenant: Option<String>,
    /// Those of one kind.
    kind: Option<String>,
    /// `ready`, `running`, `deferred` or `dead`.
    state: Option<String>,
    /// How many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 50)]
    limit: Option<i64>,
}

fn task_id(text: &str) -> ApiResult<TaskId> {
    text.parse().map_err(|_| ApiError::not_found("task"))
}

pub(super) fn tenant_id(text: &str) -> ApiResult<TenantId> {
    text.parse().map_err(|_| ApiError::not_found("tenant"))
}

/// A task.
#[derive(Serialize, ToSchema)]
pub(super) struct TaskOut {
    #[schema(example = "tsk_0198c0de00007000a000000000000001")]
    id: String,
    tenant: String,
    kind: String,
    /// `ready`, `running`, `deferred` or `dead`.
    state: String,
    /// From 0 (critical) to 4 (maintenance).
    priority: i16,
    /// Attempts that ended.
    attempts: i16,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency_key: Option<String>,
    /// When it will be ready, or died.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_kind: Option<String>,
    /// What it was asked to do, by ids.
    payload: serde_json::Value,
}

impl TaskOut {
    fn of(task: TaskRow) -> Self {
        Self {
            id: TaskId::from(task.id).to_string(),
            tenant: TenantId::from(task.tenant_id).to_string(),
            kind: task.kind,
            state: task.state,
            priority: task.priority,
            attempts: task.attempt,
            concurrency_key: task.key,
            at: task.at.map(time),
            error: task.error,
            error_kind: task.error_kind,
            payload: task.payload.unwrap_or_default(),
        }
    }
}

/// Tasks, oldest first.
#[derive(Serialize, ToSchema)]
pub(super) struct TasksOut {
    items: Vec<TaskOut>,
}

/// Dead tasks that failed alike.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadOut {
    kind: String,
    /// The error without the parts that differ.
    signature: String,
    error_kind: String,
    tasks: i64,
    tenants: i64,
    first: String,
    last: String,
    sample_error: String,
    sample_payload: serde_json::Value,
}

impl DeadOut {
    fn of(group: DeadGroup) -> Self {
        Self {
            kind: group.kind,
            signature: group.signature,
            error_kind: group.error_kind,
            tasks: group.tasks,
            tenants: group.tenants,
            first: time(group.first),
            last: time(group.last),
            sample_error: group.sample_error,
            sample_payload: group.sample_payload.unwrap_or_default(),
        }
    }
}

/// Groups of dead tasks, largest first.
#[derive(Serialize, ToSchema)]
pub(super) struct DeadListOut {
    items: Vec<DeadOut>,
}

/// How many tasks it was.
#[derive(Serialize, ToSchema)]
pub(super) struct TaskCountOut {
    tasks: u64,
}

/// List tasks of all tenants.
#[utoipa::path(get, path = "/v1/tasks", tag = "tasks", security(("admin_key" = [])), params(ListIn),
    responses((status = 200, body = TasksOut), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    _: Admin,
    State(app): State<App>,
    Params(wanted): Params<ListIn>,
) -> ApiResult<Json<TasksOut>> {
    let selection = SelectionIn {
        tenant: wanted.tenant,
        kind: wanted.kind,
        ..SelectionIn::default()
    };
    let selection = selection.check()?;
    let mut tx = app.store.system().await?;
    let limit = wanted.limit.unwrap_or(50);
    let tasks = quire_queue::list(&mut tx, &selection, wanted.state.as_deref(), limit).await?;
    tx.commit().await?;
    Ok(Json(TasksOut {
        items: tasks.into_iter().map(TaskOut::of).collect(),
    }))
}

/// Show one task.
#[utoipa::path(get, path = "/v1/tasks/{task}", tag = "tasks", security(("admin_key" = [])), params(("task" = String, Path)),
    responses((status = 200, body = TaskOut), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn get(
    _: Admin,
    State(app): State<App>,
    Path(task): Path<String>,
) -> ApiResult<Json<TaskOut>> {
    let mut tx = app.store.system().await?;
    let task = quire_queue::get(&mut tx, task_id(&task)?).await?;
    tx.commit().await?;
    Ok(Json(TaskOut::of(task)))
}

/// Dead tasks by what went wrong.
#[utoipa::path(get, path = "/v1/tasks/dead", tag = "tasks", security(("admin_key" = [])), params(SelectionIn),
    responses((status = 200, body = DeadListOut), (status = 403, body = Problem)))]
pub(super) async fn dead(
    _: Admin,
    State(app): State<App>,
    Params(wanted): Params<SelectionIn>,
) -> ApiResult<Json<DeadListOut>> {
    let mut tx = app.store.system().await?;
    let groups = quire_queue::dead(&mut tx, &wanted.check()?).await?;
    tx.commit().await?;
    Ok(Json(DeadListOut {
        items: groups.into_iter().map(DeadOut::of).collect(),
    }))
}

/// Try dead tasks again, with all their attempts.
#[utoipa::path(post, path = "/v1/tasks/dead/retry", tag = "tasks", security(("admin_key" = [])), request_body = SelectionIn,
    responses((status = 200, body = TaskCountOut), (status = 403, body = Problem)))]
pub(super) async fn retry(
    _: Admin,
    State(app): State<App>,
    Body(wanted): Body<SelectionIn>,
) -> ApiResult<Json<TaskCountOut>> {
    let mut tx = app.store.system().await?;
    let tasks = quire_queue::retry(&mut tx, &wanted.check()?).await?;
    tx.commit().await?;
    Ok(Json(TaskCountOut { tasks }))
}

/// Remove dead tasks for good.
#[utoipa::path(post, path = "/v1/tasks/dead/discard", tag = "tasks", security(("admin_key" = [])), request_body = SelectionIn,
    responses((status = 200, body = TaskCountOut), (status = 403, body = Problem)))]
pub(super) async fn discard(
    _: Admin,
    State(app): State<App>,
    Body(wanted): Body<SelectionIn>,
) -> ApiResult<Json<TaskCountOut>> {
    let mut tx = app.store.system().await?;
    let tasks = quire_queue::discard(&mut tx, &wanted.check()?).await?;
    tx.commit().await?;
    Ok(Json(TaskCountOut { tasks }))
}

/// Cancel tasks that are not dead; one that runs is stopped within seconds.
#[utoipa::path(post, path = "/v1/tasks/cancel", tag = "tasks", security(("admin_key" = [])), request_body = SelectionIn,
    responses((status = 200, body = TaskCountOut), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn cancel(
    _: Admin,
    State(app): State<App>,
    Body(wanted): Body<SelectionIn>,
) -> ApiResult<Json<TaskCountOut>> {
    let mut tx = app.store.system().await?;
    let tasks = quire_queue::cancel(&mut tx, &wanted.check()?).await?;
    tx.commit().await?;
    Ok(Json(TaskCountOut { tasks }))
}
