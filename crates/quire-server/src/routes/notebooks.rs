//! Notebooks.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_ingest::tasks::TierNotebooks;
use quire_store::notebooks::{self as rows, Notebook};
use quire_store::{Page, sources, tiers};
use quire_types::{NotebookId, NotebookStatus, Tier, UnknownName};

use crate::body::{Body, ListOut, Paged, time};
use crate::caller::{ReadNotebook, Reader, WriteNotebook, Writer};
use crate::idempotent::{Reply, fingerprint, once};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// A notebook.
#[derive(Serialize, ToSchema)]
pub(super) struct NotebookOut {
    #[schema(example = "nb_0198c0de00007000a000000000000001")]
    id: String,
    /// Unique in the tenant.
    #[schema(example = "riverside-clinic")]
    name: String,
    created_at: String,
    updated_at: String,
}

impl NotebookOut {
    fn of(notebook: Notebook) -> Self {
        Self {
            id: notebook.id.to_string(),
            name: notebook.name,
            created_at: time(notebook.created_at),
            updated_at: time(notebook.updated_at),
        }
    }
}

/// A notebook with the number of its sources by state.
#[derive(Serialize, ToSchema)]
pub(super) struct NotebookDetailOut {
    #[serde(flatten)]
    notebook: NotebookOut,
    /// Sources by state: `queued`, `extracting`, `embedding`, `searchable`, `failed`.
    sources: std::collections::BTreeMap<String, i64>,
    /// What it costs while nobody asks it: `hot`, `warm`, `cold` or `archived`. An archived notebook comes back
    /// with the first question that names it.
    #[schema(example = "hot")]
    tier: String,
    /// The state of what it is about: `active` or `completed`; absent where nobody told.
    status: Option<String>,
    /// When a question last found something in it, to half a day.
    asked_at: Option<String>,
}

/// What is to be different; what is absent stays.
#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NotebookPatch {
    /// 1 to 200 characters, unique in the tenant.
    #[schema(example = "riverside-clinic")]
    name: Option<String>,
    /// The state of what it is about, such as a construction job: `active` or `completed`. What is active is never
    /// archived.
    #[schema(example = "completed")]
    status: Option<String>,
}

#[derive(Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NotebookIn {
    /// 1 to 200 characters, unique in the tenant.
    #[schema(example = "riverside-clinic")]
    name: String,
}

/// List the notebooks within the key's reach.
#[utoipa::path(get, path = "/v1/notebooks", tag = "notebooks", security(("tenant_key" = [])),
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = ListOut<NotebookOut>), (status = 400, body = Problem), (status = 401, body = Problem)))]
pub(super) async fn list(
    caller: Reader,
    State(app): State<App>,
    page: Paged<NotebookId>,
) -> ApiResult<Json<ListOut<NotebookOut>>> {
    let mut tx = app.store.tenant(caller.placement()).await?;
    let page = match caller.only_notebook() {
        Some(only) => Page {
            items: vec![rows::get(&mut tx, only).await?],
            more: false,
        },
        None => rows::list(&mut tx, page.request).await?,
    };
    tx.commit().await?;
    Ok(Json(ListOut::of(
        page,
        |notebook| notebook.id.to_string(),
        NotebookOut::of,
    )))
}

/// Create a notebook.
#[utoipa::path(post, path = "/v1/notebooks", tag = "notebooks", security(("tenant_key" = [])), request_body = NotebookIn,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 201, body = NotebookOut), (status = 400, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem)))]
pub(super) async fn create(
    Writer(caller): Writer,
    State(app): State<App>,
    headers: HeaderMap,
    Body(new): Body<NotebookIn>,
) -> ApiResult<Response> {
    let request = fingerprint(&[b"POST /v1/notebooks".as_slice(), new.name.as_bytes()]);
    once(
        &app.clone(),
        caller.placement(),
        &headers,
        request,
        async move {
            let notebook = app
                .ingest
                .create_notebook(caller.placement(), &new.name)
                .await?;
            Reply::new(StatusCode::CREATED, &NotebookOut::of(notebook))
        },
    )
    .await
}

/// Get a notebook with the number of its sources by state.
#[utoipa::path(get, path = "/v1/notebooks/{notebook}", tag = "notebooks", security(("tenant_key" = [])),
    params(("notebook" = String, Path)),
    responses((status = 200, body = NotebookDetailOut), (status = 404, body = Problem)))]
pub(super) async fn get(
    ReadNotebook { caller, notebook }: ReadNotebook,
    State(app): State<App>,
) -> ApiResult<Json<NotebookDetailOut>> {
    let mut tx = caller.tx(&app).await?;
    let counts = sources::counts(&mut tx, notebook.id).await?;
    let tier = tiers::tiers(&mut tx, Some(notebook.id)).await?.pop();
    tx.commit().await?;
    app.prefetch.begin(&app.search, caller.placement());
    let sources = counts
        .into_iter()
        .map(|(state, count)| (state.to_string(), count))
        .collect();
    Ok(Json(NotebookDetailOut {
        notebook: NotebookOut::of(notebook),
        sources,
        tier: tier.as_ref().map_or(Tier::Hot, |one| one.tier).to_string(),
        status: tier.as_ref().and_then(|one| Some(one.status?.to_string())),
        asked_at: tier.and_then(|one| Some(time(one.asked_at?))),
    }))
}

/// Rename a notebook, or tell the state of what it is about.
#[utoipa::path(patch, path = "/v1/notebooks/{notebook}", tag = "notebooks", security(("tenant_key" = [])),
    params(("notebook" = String, Path), ("Idempotency-Key" = Option<String>, Header)), request_body = NotebookPatch,
    responses((status = 200, body = NotebookOut), (status = 400, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn change(
    WriteNotebook { caller, notebook }: WriteNotebook,
    State(app): State<App>,
    headers: HeaderMap,
    Body(new): Body<NotebookPatch>,
) -> ApiResult<Response> {
    let id = notebook.id.to_string();
    let (name, status) = (new.name, new.status);
    let request = fingerprint(&[
        b"PATCH notebook".as_slice(),
        id.as_bytes(),
        name.as_deref().unwrap_or_default().as_bytes(),
        status.as_deref().unwrap_or_default().as_bytes(),
    ]);
    let status: Option<NotebookStatus> =
        status
            .map(|status| status.parse())
            .transpose()
            .map_err(|UnknownName(name)| {
                ApiError::invalid(format!("'{name}' is no status: it is active or completed"))
            })?;
    once(
        &app.clone(),
        caller.placement(),
        &headers,
        request,
        async move {
            let mut tx = app.store.tenant(caller.placement()).await?;
            let notebook = match &name {
                Some(name) => rows::rename(&mut tx, notebook.id, name).await?,
                None => notebook,
            };
            if status.is_some() {
                tiers::set_status(&mut tx, notebook.id, status).await?;
                TierNotebooks::now(&mut tx).await?;
            }
            tx.commit().await?;
            Reply::new(StatusCode::OK, &NotebookOut::of(notebook))
        },
    )
    .await
}

/// Delete a notebook with everything in it. Nothing of it can be found from the moment this answers.
#[utoipa::path(delete, path = "/v1/notebooks/{notebook}", tag = "notebooks", security(("tenant_key" = [])),
    params(("notebook" = String, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn delete(
    WriteNotebook { caller, notebook }: WriteNotebook,
    State(app): State<App>,
) -> ApiResult<StatusCode> {
    app.ingest
        .delete_notebook(caller.placement(), notebook.id)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
