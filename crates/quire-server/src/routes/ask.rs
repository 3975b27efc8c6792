//! Questions: one answer as JSON, or its parts as server-sent events while it is made.

mod explain;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use quire_ask::{Answer, AnswerKind, Citation, Decision, Event, Question, Route, Usage};

use explain::AskExplainOut;

use super::search::{FilterIn, HitOut};
use super::sources::PlaceOut;
use crate::body::Body;
use crate::caller::{ReadNotebook, Reader};
use crate::events::{Format, events};
use crate::middleware::RequestLabel;
use crate::problem::{ApiError, ApiResult, Problem};
use crate::rate::{rate_headers, refused};
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskIn {
    #[schema(example = "How much retainage is held back?")]
    question: String,
    /// Send the parts of the answer as server-sent events; `Accept: text/event-stream` does the same.
    #[serde(default)]
    stream: bool,
    /// Do not repeat an answer that was given to the same question over the same corpus.
    #[serde(default)]
    fresh: bool,
    /// Say how the passages of the answer were found.
    #[serde(default)]
    explain: bool,
    /// The way to answer it, if the plan has it; without it the words of the question decide.
    route: Option<RouteIn>,
    #[serde(default)]
    filter: FilterIn,
}

/// A way to answer.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum RouteIn {
    /// From a few passages, by the small model.
    Simple,
    /// From more passages and an outline of the sources, by the small model.
    Moderate,
    /// From a deeper search, by the large model.
    Complex,
}

impl RouteIn {
    const fn route(self) -> Route {
        match self {
            Self::Simple => Route::Simple,
            Self::Moderate => Route::Moderate,
            Self::Complex => Route::Complex,
        }
    }
}

/// A place in a source that supports a part of the answer.
#[derive(Serialize, ToSchema)]
pub(super) struct CitationOut {
    /// The number it has in the text.
    marker: u32,
    passage: String,
    source: String,
    source_name: String,
    source_version: i32,
    notebook: String,
    place: PlaceOut,
    /// The words of the source: untrusted text, to be shown as text.
    quote: String,
}

impl CitationOut {
    fn of(citation: Citation) -> Self {
        Self {
            marker: citation.marker,
            passage: citation.passage.to_string(),
            source: citation.source.to_string(),
            source_name: citation.source_name,
            source_version: citation.source_version,
            notebook: citation.notebook.to_string(),
            place: PlaceOut::of(citation.place),
            quote: citation.quote,
        }
    }
}

/// One statement of the answer.
#[derive(Serialize, ToSchema)]
pub(super) struct ClaimOut {
    /// First character in the text, from 0.
    char_start: u32,
    /// One past its last character.
    char_end: u32,
    /// The citations it names.
    markers: Vec<u32>,
    /// `cited`, `doubtful` (what it cites does not share its words) or `uncited`.
    support: String,
}

/// What the answer used.
#[derive(Serialize, ToSchema)]
pub(super) struct UsageOut {
    /// Passages that were looked at.
    passages: u32,
    input_tokens: u64,
    output_tokens: u64,
    cached_tokens: u64,
    /// What they cost, in US dollars.
    #[schema(example = "$0.00042")]
    cost: String,
}

impl UsageOut {
    fn of(usage: &Usage) -> Self {
        Self {
            passages: usage.passages,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
            cost: usage.cost.to_string(),
        }
    }
}

/// What the router looked at.
#[derive(Serialize, ToSchema)]
pub(super) struct RouteSignalsOut {
    words: u32,
    /// It sets things against each other.
    compares: bool,
    /// It asks what follows, what caused it, or what to do.
    reasons: bool,
    /// It adds up, lists or sums up.
    sums: bool,
    /// It is about a stretch of time.
    spans_time: bool,
    /// It asks for work on each of many things.
    for_each: bool,
    /// Notebooks it is about; absent when it is about all.
    #[serde(skip_serializing_if = "Option::is_none")]
    notebooks: Option<u32>,
    /// Passages in reach, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    passages: Option<u64>,
}

/// The way the answer was made, and why that one.
#[derive(Serialize, ToSchema)]
pub(super) struct DecisionOut {
    /// `simple`, `moderate`, `complex` or `batch`.
    name: String,
    /// Who chose it: `signals`, `caller`, or `plan` where the plan lacks what the signals called for.
    by: String,
    signals: RouteSignalsOut,
}

impl DecisionOut {
    fn of(decision: Decision) -> Self {
        let signals = decision.signals;
        Self {
            name: decision.route.as_str().to_owned(),
            by: decision.by.as_str().to_owned(),
            signals: RouteSignalsOut {
                words: signals.words,
                compares: signals.compares,
                reasons: signals.reasons,
                sums: signals.sums,
                spans_time: signals.spans_time,
                for_each: signals.for_each,
                notebooks: signals.notebooks,
                passages: signals.passages,
            },
        }
    }
}

/// An answer.
#[derive(Serialize, ToSchema)]
pub(super) struct AnswerOut {
    /// `extractive` (sentences of the sources, word for word), `composed` (written by a model) or
    /// `unanswered` (the sources do not answer).
    kind: String,
    /// Whether the sources answer: false exactly when `kind` is `unanswered`.
    answered: bool,
    /// The answer, with `[n]` after what citation n supports. Holds no link and no image.
    text: String,
    /// What to tell the reader about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Archived notebooks that were left out of a question over all notebooks; one that is named comes back.
    #[serde(skip_serializing_if = "is_zero")]
    archived_notebooks: usize,
    citations: Vec<CitationOut>,
    claims: Vec<ClaimOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// The question as it was understood, where it followed others or is nearly one that was answered before.
    #[serde(skip_serializing_if = "Option::is_none")]
    understood: Option<String>,
    route: DecisionOut,
    #[serde(skip_serializing_if = "Option::is_none")]
    explain: Option<AskExplainOut>,
    /// Whether it was given before, to the same question over the same corpus.
    cached: bool,
    usage: UsageOut,
}

impl AnswerOut {
    pub(super) fn of(answer: Answer) -> Self {
        Self {
            kind: answer.kind.as_str().to_owned(),
            answered: answer.kind != AnswerKind::Unanswered,
            note: answer.remark(),
            archived_notebooks: answer.archived,
            text: answer.text,
            usage: UsageOut::of(&answer.usage),
            citations: answer.citations.into_iter().map(CitationOut::of).collect(),
            claims: answer
                .claims
                .into_iter()
                .map(|claim| ClaimOut {
                    char_start: claim.char_start,
                    char_end: claim.char_end,
                    markers: claim.markers,
                    support: claim.support.as_str().to_owned(),
                })
                .collect(),
            model: answer.model,
            understood: answer.understood,
            route: DecisionOut::of(answer.decision),
            explain: (answer.explanation).map(|explained| AskExplainOut::of(*explained)),
            cached: answer.is_cached,
        }
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Ask a question over several notebooks. As a stream: `source`, `delta`, `citation` and `usage`
/// events, then `done` with the whole answer, or `error` with a problem.
#[utoipa::path(post, path = "/v1/ask", tag = "questions", security(("tenant_key" = [])), request_body = AskIn,
    responses((status = 200, content((AnswerOut = "application/json"), (String = "text/event-stream"))),
        (status = 400, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn ask(
    caller: Reader,
    State(app): State<App>,
    Extension(label): Extension<RequestLabel>,
    headers: HeaderMap,
    Body(asked): Body<AskIn>,
) -> ApiResult<Response> {
    answer(app, caller, label, headers, asked).await
}

/// Ask a question over one notebook; otherwise as `/v1/ask`, without `filter.notebooks`.
#[utoipa::path(post, path = "/v1/notebooks/{notebook}/ask", tag = "questions", security(("tenant_key" = [])),
    params(("notebook" = String, Path)), request_body = AskIn,
    responses((status = 200, content((AnswerOut = "application/json"), (String = "text/event-stream"))),
        (status = 400, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn ask_notebook(
    ReadNotebook { caller, notebook }: ReadNotebook,
    State(app): State<App>,
    Extension(label): Extension<RequestLabel>,
    headers: HeaderMap,
    Body(mut asked): Body<AskIn>,
) -> ApiResult<Response> {
    if asked.filter.notebooks.is_some() {
        return Err(ApiError::invalid(
            "the address names the notebook: leave filter.notebooks out, or ask at /v1/ask",
        ));
    }
    asked.filter.notebooks = Some(vec![notebook.id.to_string()]);
    answer(app, caller, label, headers, asked).await
}

pub(super) fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"))
}

async fn answer(
    app: App,
    caller: Reader,
    label: RequestLabel,
    headers: HeaderMap,
    asked: AskIn,
) -> ApiResult<Response> {
    let question = Question {
        text: asked.question,
        fresh: asked.fresh,
        explain: asked.explain,
        history: Vec::new(),
        route: asked.route.map(RouteIn::route),
        filter: asked.filter.check(&app, &caller).await?,
    };
    // What can be refused is refused before a stream begins, with a status.
    let turn = app
        .asker
        .begin(&caller.asking(), question)
        .await
        .map_err(refused)?;
    let rate = rate_headers(turn.rate());
    if asked.stream || wants_events(&headers) {
        return Ok((rate, events(app, turn, Native { label })).into_response());
    }
    let answer = turn.answer(&mut |_| {}).await?;
    app.metrics.answered(answer.kind.as_str());
    Ok((rate, Json(AnswerOut::of(answer))).into_response())
}

/// quire's own events.
struct Native {
    label: RequestLabel,
}

impl Format for Native {
    fn part(&mut self, event: Event) -> Option<SseEvent> {
        Some(match event {
            Event::Source { rank, hit } => named("source", &HitOut::of(rank, *hit)),
            Event::Delta(text) => named("delta", &Delta { text }),
            Event::Citation(citation) => named("citation", &CitationOut::of(*citation)),
            Event::Usage(usage) => named("usage", &UsageOut::of(&usage)),
        })
    }

    fn done(&mut self, answer: Answer) -> Vec<SseEvent> {
        vec![named("done", &AnswerOut::of(answer))]
    }

    fn failed(&mut self, error: ApiError) -> Vec<SseEvent> {
        let Self { label } = self;
        vec![named("error", &error.problem(&label.path, &label.id))]
    }
}

#[derive(Serialize)]
struct Delta {
    text: String,
}

pub(super) fn named(name: &str, data: &impl Serialize) -> SseEvent {
    let event = SseEvent::default().event(name);
    event
        .json_data(data)
        .unwrap_or_else(|_| SseEvent::default().event("error").data("{}"))
}
