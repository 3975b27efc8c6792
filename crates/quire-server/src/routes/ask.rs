//! Questions: one answer as JSON, or its parts as server-sent events while it is made.

use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use utoipa::ToSchema;

use quire_ask::{Answer, Citation, Event, Question, Usage};
use quire_types::Timestamp;

use super::search::{FilterIn, HitOut};
use super::sources::PlaceOut;
use crate::body::Body;
use crate::caller::{ReadNotebook, Reader};
use crate::problem::{ApiError, ApiResult, Problem};
use crate::state::App;

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskIn {
    #[schema(example = "How much retainage is held back?")]
    question: String,
    /// Send the parts of the answer as server-sent events; `Accept: text/event-stream` does the same.
    #[serde(default)]
    stream: bool,
    /// Only in these notebooks.
    notebooks: Option<Vec<String>>,
    /// Only in sources of these types: `text`, `markdown`, `html`, `pdf`, `docx`.
    media_types: Option<Vec<String>>,
    /// Only what was added at this instant or later (RFC 3339).
    #[schema(value_type = Option<String>, format = DateTime)]
    added_from: Option<Timestamp>,
    /// Only what was added before this instant (RFC 3339).
    #[schema(value_type = Option<String>, format = DateTime)]
    added_before: Option<Timestamp>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AskNotebookIn {
    #[schema(example = "How much retainage is held back?")]
    question: String,
    /// Send the parts of the answer as server-sent events; `Accept: text/event-stream` does the same.
    #[serde(default)]
    stream: bool,
    /// Only in sources of these types: `text`, `markdown`, `html`, `pdf`, `docx`.
    media_types: Option<Vec<String>>,
    /// Only what was added at this instant or later (RFC 3339).
    #[schema(value_type = Option<String>, format = DateTime)]
    added_from: Option<Timestamp>,
    /// Only what was added before this instant (RFC 3339).
    #[schema(value_type = Option<String>, format = DateTime)]
    added_before: Option<Timestamp>,
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
}

impl UsageOut {
    fn of(usage: &Usage) -> Self {
        Self {
            passages: usage.passages,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cached_tokens: usage.cached_tokens,
        }
    }
}

/// An answer.
#[derive(Serialize, ToSchema)]
pub(super) struct AnswerOut {
    /// `extractive` (sentences of the sources, word for word), `composed` (written by a model) or
    /// `unanswered` (the sources do not answer).
    kind: String,
    /// The answer, with `[n]` after what citation n supports. Holds no link and no image.
    text: String,
    /// What to tell the reader about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    citations: Vec<CitationOut>,
    claims: Vec<ClaimOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    usage: UsageOut,
}

impl AnswerOut {
    fn of(answer: Answer) -> Self {
        Self {
            kind: answer.kind.as_str().to_owned(),
            text: answer.text,
            note: answer.note.map(str::to_owned),
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
        }
    }
}

/// Ask a question over several notebooks. As a stream: `source`, `delta`, `citation` and `usage`
/// events, then `done` with the whole answer, or `error` with a problem.
#[utoipa::path(post, path = "/v1/ask", tag = "questions", security(("tenant_key" = [])), request_body = AskIn,
    responses((status = 200, content((AnswerOut = "application/json"), (String = "text/event-stream"))),
        (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn ask(
    caller: Reader,
    State(app): State<App>,
    headers: HeaderMap,
    Body(asked): Body<AskIn>,
) -> ApiResult<Response> {
    let filter = FilterIn {
        notebooks: asked.notebooks,
        media_types: asked.media_types,
        added_from: asked.added_from,
        added_before: asked.added_before,
    };
    let filter = filter.check(&app, &caller).await?;
    let question = Question {
        text: asked.question,
        filter,
    };
    answer(
        app,
        caller,
        question,
        asked.stream || wants_events(&headers),
    )
    .await
}

/// Ask a question over one notebook; otherwise as `/v1/ask`.
#[utoipa::path(post, path = "/v1/notebooks/{notebook}/ask", tag = "questions", security(("tenant_key" = [])),
    params(("notebook" = String, Path)), request_body = AskNotebookIn,
    responses((status = 200, content((AnswerOut = "application/json"), (String = "text/event-stream"))),
        (status = 400, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn ask_notebook(
    ReadNotebook { caller, notebook }: ReadNotebook,
    State(app): State<App>,
    headers: HeaderMap,
    Body(asked): Body<AskNotebookIn>,
) -> ApiResult<Response> {
    let filter = FilterIn {
        notebooks: Some(vec![notebook.id.to_string()]),
        media_types: asked.media_types,
        added_from: asked.added_from,
        added_before: asked.added_before,
    };
    let filter = filter.check(&app, &caller).await?;
    let question = Question {
        text: asked.question,
        filter,
    };
    answer(
        app,
        caller,
        question,
        asked.stream || wants_events(&headers),
    )
    .await
}

fn wants_events(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .is_some_and(|accept| accept.as_bytes().starts_with(b"text/event-stream"))
}

async fn answer(
    app: App,
    caller: Reader,
    question: Question,
    as_events: bool,
) -> ApiResult<Response> {
    if as_events {
        // What can be refused is refused before the stream begins, with a status.
        app.asker.check(&question.text)?;
        return Ok(events(app, caller, question));
    }
    let answer = app
        .asker
        .ask(caller.placement(), question, &mut |_| {})
        .await?;
    app.metrics.answered(answer.kind.as_str());
    Ok(Json(AnswerOut::of(answer)).into_response())
}

/// Work that ends when nobody listens any more.
struct Listening {
    events: mpsc::UnboundedReceiver<SseEvent>,
    work: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.work.abort();
    }
}

fn events(app: App, caller: Reader, question: Question) -> Response {
    // Unbounded, since an answer is small and its size is capped where it is made.
    let (sender, events) = mpsc::unbounded_channel();
    let work = tokio::spawn(async move {
        let tell = |event: SseEvent| drop(sender.send(event));
        let answer = app
            .asker
            .ask(caller.placement(), question, &mut |event| tell(sse(event)))
            .await;
        match answer {
            Ok(answer) => {
                app.metrics.answered(answer.kind.as_str());
                tell(named("done", &AnswerOut::of(answer)));
            }
            Err(error) => tell(named(
                "error",
                &ApiError::from(error).problem("/v1/ask", ""),
            )),
        }
    });
    let listening = Listening { events, work };
    let stream = stream::unfold(listening, |mut listening| async move {
        let event = listening.events.recv().await?;
        Some((Ok::<_, Infallible>(event), listening))
    });
    let keep_alive = KeepAlive::new()
        .interval(Duration::from_secs(15))
        .text("still here");
    let mut response = Sse::new(stream).keep_alive(keep_alive).into_response();
    // A buffering proxy would turn a stream into one late answer.
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[derive(Serialize)]
struct Delta {
    text: String,
}

fn sse(event: Event) -> SseEvent {
    match event {
        Event::Source { rank, hit } => named("source", &HitOut::of(rank, *hit)),
        Event::Delta(text) => named("delta", &Delta { text }),
        Event::Citation(citation) => named("citation", &CitationOut::of(citation)),
        Event::Usage(usage) => named("usage", &UsageOut::of(&usage)),
    }
}

fn named(name: &str, data: &impl Serialize) -> SseEvent {
    let event = SseEvent::default().event(name);
    event
        .json_data(data)
        .unwrap_or_else(|_| SseEvent::default().event("error").data("{}"))
}
