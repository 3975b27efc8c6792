//! How far the sources of a notebook are: once as JSON, or as server-sent events until all are finished.

use std::collections::{BTreeMap, HashSet};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use futures::stream;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_ingest::explain;
use quire_store::progress;
use quire_types::{ErrorKind, NotebookId, SourceId, TenantState};

use super::ask::{named, wants_events};
use super::sources::SourceOut;
use crate::body::Params;
use crate::caller::{ReadNotebook, Reader};
use crate::middleware::RequestLabel;
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

/// Sources that are shown one by one.
const MOST_SHOWN: usize = 100;
/// Whoever listens hears of changes so often at most.
const EVERY: Duration = Duration::from_secs(1);

/// Which sources.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgressQuery {
    sources: Option<String>,
}

/// Sources summed up.
#[derive(Serialize, ToSchema)]
pub(super) struct ProgressOut {
    /// How many sources are meant.
    total: i64,
    /// How many are in each state that occurs.
    #[schema(example = json!({ "queued": 2, "searchable": 7 }))]
    states: BTreeMap<String, i64>,
    /// How much of all the work is done.
    #[schema(minimum = 0, maximum = 100)]
    percent: u8,
    /// Whether every source is searchable or failed.
    is_finished: bool,
    /// Passages that search sees of them.
    passages: i64,
    /// The sources that were named; else the first 100 that are still being worked on.
    sources: Vec<SourceOut>,
}

/// What somebody wants to watch.
struct Watched {
    caller: Reader,
    notebook: NotebookId,
    only: Option<Vec<SourceId>>,
}

impl Watched {
    async fn look(&self, app: &App) -> ApiResult<ProgressOut> {
        let only = self.only.as_deref();
        let mut tx = self.caller.tx(app).await?;
        let summary = progress::summary(&mut tx, self.notebook, only).await?;
        let limit = i64::try_from(MOST_SHOWN).unwrap_or(i64::MAX);
        let mut sources = progress::sources(&mut tx, self.notebook, only, limit).await?;
        tx.commit().await?;
        if only.is_some_and(|only| only.len() > sources.len()) {
            return Err(ApiError::not_found("source"));
        }
        explain(&app.store, self.caller.placement(), &mut sources).await?;
        let states = summary.states.iter();
        Ok(ProgressOut {
            total: summary.total(),
            states: states
                .map(|(state, count)| (state.to_string(), *count))
                .collect(),
            percent: summary.percent,
            is_finished: summary.open() == 0,
            passages: summary.passages,
            sources: sources
                .into_iter()
                .map(|source| SourceOut::seen_by(&self.caller, source))
                .collect(),
        })
    }

    /// The same for somebody who began to watch when the tenant was still active.
    async fn look_again(&self, app: &App) -> ApiResult<ProgressOut> {
        let account = app.control.account(self.caller.tenant().id).await?;
        match account.tenant.state {
            TenantState::Active => self.look(app).await,
            state => Err(ApiError::new(
                ErrorKind::Forbidden,
                format!("the tenant is {state}"),
            )),
        }
    }
}

/// Watch sources being read: those named in `sources` (ids with commas between them, 100 at most), else all of the
/// notebook. With `Accept: text/event-stream` a `progress` event comes whenever something changed, at most once a
/// second, and `done` when every source is searchable or failed; `error` holds a problem.
#[utoipa::path(get, path = "/v1/notebooks/{notebook}/progress", tag = "sources", security(("tenant_key" = [])),
    params(("notebook" = String, Path), ("sources" = Option<String>, Query)),
    responses((status = 200, content((ProgressOut = "application/json"), (String = "text/event-stream"))),
        (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn of_notebook(
    ReadNotebook { caller, notebook }: ReadNotebook,
    State(app): State<App>,
    Extension(label): Extension<RequestLabel>,
    headers: HeaderMap,
    Params(query): Params<ProgressQuery>,
) -> ApiResult<Response> {
    let watched = Watched {
        caller,
        notebook: notebook.id,
        only: query.sources.as_deref().map(ids).transpose()?,
    };
    let first = watched.look(&app).await?;
    if !wants_events(&headers) {
        return Ok(Json(first).into_response());
    }
    let watch = Watch {
        app,
        label,
        watched,
        next: Some(first),
        told: String::new(),
        is_over: false,
    };
    let stream = stream::unfold(watch, |mut watch| async move {
        let event = watch.event().await?;
        Some((Ok::<_, Infallible>(event), watch))
    });
    let mut response = Sse::new(stream)
        .keep_alive(KeepAlive::new().text("still here"))
        .into_response();
    // A buffering proxy would turn a stream into one late answer.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn ids(text: &str) -> ApiResult<Vec<SourceId>> {
    let ids: Result<HashSet<SourceId>, _> = text.split(',').map(str::parse).collect();
    match ids {
        Ok(ids) if ids.len() <= MOST_SHOWN => Ok(ids.into_iter().collect()),
        Ok(_) => Err(ApiError::invalid(format!(
            "sources names more than {MOST_SHOWN}: leave it out to watch the whole notebook"
        ))),
        // What can't be parsed names nothing that exists.
        Err(_) => Err(ApiError::not_found("source")),
    }
}

/// Somebody who listens.
struct Watch {
    app: App,
    label: RequestLabel,
    watched: Watched,
    /// What was seen already and not told.
    next: Option<ProgressOut>,
    /// What was told last.
    told: String,
    is_over: bool,
}

impl Watch {
    /// The next event; none after the last.
    async fn event(&mut self) -> Option<SseEvent> {
        while !self.is_over {
            let seen = match self.next.take() {
                Some(first) => Ok(first),
                None => {
                    tokio::time::sleep(EVERY).await;
                    self.watched.look_again(&self.app).await
                }
            };
            match seen {
                Ok(progress) if progress.is_finished => {
                    self.is_over = true;
                    return Some(named("done", &progress));
                }
                Ok(progress) => {
                    let text = serde_json::to_string(&progress).unwrap_or_default();
                    if text != self.told {
                        self.told = text;
                        return Some(named("progress", &progress));
                    }
                }
                // The database may be restarting; the tasks survive it, and so does whoever watches.
                Err(error) if error.kind().is_transient() => {}
                Err(error) => {
                    self.is_over = true;
                    let problem = error.problem(&self.label.path, &self.label.id);
                    return Some(named("error", &problem));
                }
            }
        }
        None
    }
}
