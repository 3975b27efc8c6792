//! Questions for whose answers nobody waits: taken in at once, answered when there is room, fetched later.

use axum::Json;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_ask::{Question, Queued, Route};
use quire_store::questions as rows;
use quire_store::sources;
use quire_types::{QuestionId, SourceId};

use super::ask::AnswerOut;
use super::search::FilterIn;
use crate::body::{Body, ListOut, Paged, path, time};
use crate::caller::{AllNotebooks, Writer};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::rate::refused;
use crate::state::App;

/// Why an answer is not told.
const WITHHELD: &str = "the answer rests on sources that are gone, or for others by now: ask again";

/// A question the caller may see: who acts for people in groups sees what was asked for them, or for fewer.
pub(super) struct SeenQuestion(Queued);

impl FromRequestParts<App> for SeenQuestion {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> ApiResult<Self> {
        let AllNotebooks(caller) = AllNotebooks::from_request_parts(parts, app).await?;
        let id: QuestionId = path(parts, app, "question").await?;
        let mut tx = caller.tx(app).await?;
        let row = rows::get(&mut tx, id).await?;
        let mut queued = Queued::of(row);
        if caller.groups().is_some()
            && let Some(answer) = &queued.answer
        {
            let mut cited: Vec<SourceId> = (answer.citations.iter())
                .map(|citation| citation.source)
                .collect();
            cited.sort_unstable();
            cited.dedup();
            let seen = sources::by_ids(&mut tx, &cited).await?;
            if seen.len() < cited.len() {
                queued.answer = None;
                queued.row.reason = Some(WITHHELD.to_owned());
            }
        }
        tx.commit().await?;
        Ok(Self(queued))
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct QuestionIn {
    #[schema(example = "For each job, list the change orders that are not approved yet.")]
    question: String,
    /// Say how the passages of the answer were found.
    #[serde(default)]
    explain: bool,
    #[serde(default)]
    filter: FilterIn,
}

/// A question that is answered later.
#[derive(Serialize, ToSchema)]
pub(super) struct QuestionOut {
    #[schema(example = "qst_0198c0de00007000a000000000000001")]
    id: String,
    question: String,
    /// `queued`, `answered` or `failed`.
    state: String,
    /// Why there is no answer, or none for the groups of who asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// The answer; lists leave it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerOut>,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
}

impl QuestionOut {
    fn of(queued: Queued) -> Self {
        Self {
            id: queued.id.to_string(),
            question: queued.text,
            state: queued.row.state.as_str().to_owned(),
            reason: queued.row.reason,
            answer: queued.answer.map(AnswerOut::of),
            created_at: time(queued.row.created_at),
            finished_at: queued.row.finished_at.map(time),
        }
    }
}

/// Ask a question that is answered later, when there is room: poll it, or let an endpoint hear `question.answered`.
#[utoipa::path(post, path = "/v1/questions", tag = "questions", security(("tenant_key" = [])),
    request_body = QuestionIn,
    responses((status = 202, body = QuestionOut), (status = 400, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn create(
    AllNotebooks(caller): AllNotebooks,
    State(app): State<App>,
    Body(asked): Body<QuestionIn>,
) -> ApiResult<(StatusCode, Json<QuestionOut>)> {
    let question = Question {
        text: asked.question,
        filter: asked.filter.check(&app, &caller).await?,
        fresh: false,
        explain: asked.explain,
        route: Some(Route::Batch),
        history: Vec::new(),
    };
    let asking = caller.asking();
    let queued = app.asker.queue(&asking, &question).await;
    let queued = queued.map_err(refused)?;
    Ok((StatusCode::ACCEPTED, Json(QuestionOut::of(queued))))
}

/// List questions that are answered later, oldest first; they are kept for thirty days.
#[utoipa::path(get, path = "/v1/questions", tag = "questions", security(("tenant_key" = [])),
    params(("cursor" = Option<String>, Query), ("limit" = Option<u32>, Query)),
    responses((status = 200, body = ListOut<QuestionOut>)))]
pub(super) async fn list(
    AllNotebooks(caller): AllNotebooks,
    State(app): State<App>,
    page: Paged<QuestionId>,
) -> ApiResult<Json<ListOut<QuestionOut>>> {
    let mut tx = caller.tx(&app).await?;
    let page = rows::list(&mut tx, page.request).await?;
    tx.commit().await?;
    let id = |row: &rows::Question| row.id.to_string();
    Ok(Json(ListOut::of(page, id, |row| {
        QuestionOut::of(Queued::of(row))
    })))
}

/// Get a question that is answered later, with its answer once it is there.
#[utoipa::path(get, path = "/v1/questions/{question}", tag = "questions", security(("tenant_key" = [])),
    params(("question" = String, Path)),
    responses((status = 200, body = QuestionOut), (status = 404, body = Problem)))]
pub(super) async fn get(SeenQuestion(queued): SeenQuestion) -> Json<QuestionOut> {
    Json(QuestionOut::of(queued))
}

/// Forget a question and its answer; one that waits is not answered any more.
#[utoipa::path(delete, path = "/v1/questions/{question}", tag = "questions", security(("tenant_key" = [])),
    params(("question" = String, Path)),
    responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn delete(
    Writer(caller): Writer,
    State(app): State<App>,
    SeenQuestion(queued): SeenQuestion,
) -> ApiResult<StatusCode> {
    let mut tx = app.store.tenant(caller.placement()).await?;
    rows::delete(&mut tx, queued.id).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
