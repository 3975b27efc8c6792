//! A tenant's own keys.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_store::keys::{self as rows, ApiKey, KeyText};
use quire_store::{Placement, notebooks};
use quire_types::{Groups, KeyId, KeyRole, NotebookId};

use crate::body::{Body, ListOut, time};
use crate::caller::Writer;
use crate::idempotent::{Reply, fingerprint, once};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// A key, without its secret.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyOut {
    #[schema(example = "key_0198c0de00007000a000000000000001")]
    id: String,
    name: String,
    /// `tenant`, `notebook` or `read-only`.
    role: String,
    /// The only notebook it reaches, if it is bound to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    notebook: Option<String>,
    /// The groups of people whom it is for; beside what is for everybody it sees only their sources.
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<String>>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

impl KeyOut {
    pub(super) fn of(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            role: key.role.to_string(),
            notebook: key.notebook.map(|notebook| notebook.to_string()),
            groups: key.groups.map(Vec::from),
            created_at: time(key.created_at),
            revoked_at: key.revoked_at.map(time),
        }
    }
}

/// A new key.
#[derive(Serialize, ToSchema)]
pub(super) struct NewKeyOut {
    #[serde(flatten)]
    key: KeyOut,
    /// The key itself: shown now and never again.
    secret: String,
}

impl NewKeyOut {
    pub(super) fn of(key: ApiKey, text: &KeyText) -> Self {
        Self {
            key: KeyOut::of(key),
            secret: text.expose().to_owned(),
        }
    }
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyIn {
    /// What people call it.
    #[schema(example = "web app")]
    pub(super) name: String,
    /// `tenant`: everything. `notebook`: everything in one notebook. `read-only`: read and ask.
    #[schema(example = "read-only")]
    role: String,
    /// Required for `notebook`; narrows `read-only` to one notebook.
    notebook: Option<String>,
    /// Narrows `read-only` to what people in these groups see.
    #[serde(default)]
    groups: Option<Vec<String>>,
}

impl KeyIn {
    pub(super) fn groups(&self) -> ApiResult<Option<Groups>> {
        let groups = self.groups.as_ref().map(Groups::new).transpose();
        groups.map_err(|error| ApiError::invalid(error.to_string()))
    }

    pub(super) fn role_and_notebook(&self) -> ApiResult<(KeyRole, Option<NotebookId>)> {
        let role = self
            .role
            .parse()
            .map_err(|_| ApiError::invalid("role must be tenant, notebook or read-only"))?;
        let notebook = match &self.notebook {
            Some(id) => Some(id.parse().map_err(|_| ApiError::not_found("notebook"))?),
            None => None,
        };
        match (role, notebook) {
            (KeyRole::Notebook, None) => Err(ApiError::invalid("a notebook key needs a notebook")),
            (KeyRole::Tenant, Some(_)) => Err(ApiError::invalid(
                "a tenant key reaches every notebook: leave notebook out, or use role notebook",
            )),
            _ => Ok((role, notebook)),
        }
    }
}

/// A key for a notebook that does not exist would be of no use, and a foreign one must not be told apart.
pub(super) async fn check_notebook(
    app: &App,
    placement: Placement,
    notebook: Option<NotebookId>,
) -> ApiResult<()> {
    if let Some(notebook) = notebook {
        let mut tx = app.store.tenant(placement).await?;
        notebooks::get(&mut tx, notebook).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// List the tenant's keys.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", security(("tenant_key" = [])),
    responses((status = 200, body = ListOut<KeyOut>), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    Writer(caller): Writer,
    State(app): State<App>,
) -> ApiResult<Json<ListOut<KeyOut>>> {
    let mut tx = app.store.system().await?;
    let keys = rows::list(&mut tx, caller.tenant().id).await?;
    tx.commit().await?;
    Ok(Json(ListOut {
        items: keys.into_iter().map(KeyOut::of).collect(),
        next_cursor: None,
    }))
}

/// Make a key. The key is shown in this answer and never again, not even for the same Idempotency-Key.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", security(("tenant_key" = [])), request_body = KeyIn,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = NewKeyOut), (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn create(
    Writer(caller): Writer,
    State(app): State<App>,
    headers: HeaderMap,
    Body(new): Body<KeyIn>,
) -> ApiResult<Response> {
    let (role, notebook) = new.role_and_notebook()?;
    let groups = new.groups()?;
    let request = serde_json::to_vec(&new).unwrap_or_default();
    let request = fingerprint(&[b"POST /v1/keys", &request]);
    once(
        &app.clone(),
        caller.placement(),
        &headers,
        request,
        async move {
            check_notebook(&app, caller.placement(), notebook).await?;
            let mut tx = app.store.system().await?;
            let (key, text) = rows::create(
                &mut tx,
                caller.tenant().id,
                role,
                notebook,
                groups.as_ref(),
                &new.name,
            )
            .await?;
            tx.commit().await?;
            Ok(Reply::new(StatusCode::CREATED, &NewKeyOut::of(key, &text))?.shown_once("secret"))
        },
    )
    .await
}

/// Revoke a key. It stops working at once, even the one that is used for this request.
#[utoipa::path(delete, path = "/v1/keys/{key}", tag = "keys", security(("tenant_key" = [])),
    params(("key" = String, Path)),
    responses((status = 200, body = KeyOut), (status = 404, body = Problem)))]
pub(super) async fn revoke(
    Writer(caller): Writer,
    State(app): State<App>,
    Path(key): Path<String>,
) -> ApiResult<Json<KeyOut>> {
    let key: KeyId = key.parse().map_err(|_| ApiError::not_found("key"))?;
    let mut tx = app.store.system().await?;
    let key = rows::revoke(&mut tx, caller.tenant().id, key).await?;
    tx.commit().await?;
    app.control.forget(caller.tenant().id);
    Ok(Json(KeyOut::of(key)))
}
