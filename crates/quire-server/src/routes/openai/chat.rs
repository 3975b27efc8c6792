//! Chat completions: a conversation about a notebook.

use axum::extract::State;
use axum::response::sse::Event as SseEvent;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use quire_ask::{Answer, Citation, Event, Question, Said, Usage};

use super::{ErrorOut, filter_of};
use crate::body::Body;
use crate::caller::Reader;
use crate::events::{Format, events};
use crate::middleware::RequestLabel;
use crate::problem::{ApiError, ApiResult};
use crate::rate::{rate_headers, refused};
use crate::routes::ask::AnswerOut;
use crate::state::App;

#[derive(Deserialize, ToSchema)]
pub(in crate::routes) struct ChatIn {
    /// `quire/<notebook>`, by name or id, or `quire` for everything within the key's reach.
    #[schema(example = "quire/riverside-clinic")]
    model: String,
    /// The conversation; its last message is the question. Messages of the roles `system` and `developer` are not
    /// followed: an answer rests on the sources alone.
    messages: Vec<MessageIn>,
    /// Send the answer in chunks, as server-sent events.
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
}

#[derive(Deserialize, ToSchema)]
struct StreamOptions {
    /// Send a last chunk with the usage and without a choice.
    #[serde(default)]
    include_usage: bool,
}

#[derive(Deserialize, ToSchema)]
struct MessageIn {
    #[schema(example = "user")]
    role: String,
    /// A text, or parts of the type `text`.
    #[schema(value_type = Option<String>, example = "When does the lease end?")]
    content: Option<Content>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

impl MessageIn {
    fn text(&self) -> ApiResult<String> {
        match &self.content {
            None => Ok(String::new()),
            Some(Content::Text(text)) => Ok(text.clone()),
            Some(Content::Parts(parts)) => {
                let texts = parts.iter().map(|part| match (&*part.r#type, &part.text) {
                    ("text" | "refusal", text) => Ok(text.as_deref().unwrap_or_default()),
                    (other, _) => Err(ApiError::invalid(format!(
                        "messages hold text only, no '{other}': add files as sources instead"
                    ))),
                });
                Ok(texts.collect::<ApiResult<Vec<_>>>()?.join("\n"))
            }
        }
    }
}

impl ChatIn {
    /// The question, and what was said before it.
    fn conversation(&self) -> ApiResult<(String, Vec<Said>)> {
        let no_question = || ApiError::invalid("the last message must be the user's question");
        let (last, before) = self.messages.split_last().ok_or_else(no_question)?;
        if last.role != "user" {
            return Err(no_question());
        }
        let mut history = Vec::new();
        for message in before {
            let by_asker = match message.role.as_str() {
                "user" => true,
                "assistant" => false,
                _ => continue,
            };
            let text = message.text()?;
            history.push(Said { by_asker, text });
        }
        Ok((last.text()?, history))
    }
}

/// The shape of OpenAI's `chat.completion`, with the whole answer of `/v1/ask` under `quire`.
#[derive(Serialize, ToSchema)]
pub(in crate::routes) struct ChatOut {
    id: String,
    /// Always `chat.completion`.
    object: &'static str,
    /// Unix time.
    created: i64,
    model: String,
    /// One choice, whose message has `content` and `annotations`: for each `[n]` in the text a `url_citation` with the
    /// address of the source in this API, its name, and where `[n]` stands, in characters.
    #[schema(value_type = Vec<Object>)]
    choices: Value,
    #[schema(value_type = Object)]
    usage: Value,
    quire: AnswerOut,
}

/// Ask a notebook as if it were a model of OpenAI's. A stream ends with `data: [DONE]`, after an error, too.
#[utoipa::path(post, path = "/v1/chat/completions", tag = "openai", security(("tenant_key" = [])), request_body = ChatIn,
    responses((status = 200, content((ChatOut = "application/json"), (String = "text/event-stream"))),
        (status = 400, body = ErrorOut), (status = 404, body = ErrorOut), (status = 429, body = ErrorOut)))]
pub(in crate::routes) async fn chat_completions(
    caller: Reader,
    State(app): State<App>,
    Extension(label): Extension<RequestLabel>,
    Body(chat): Body<ChatIn>,
) -> ApiResult<Response> {
    let (text, history) = chat.conversation()?;
    let question = Question {
        text,
        history,
        filter: filter_of(&chat.model, &app, &caller).await?,
        fresh: false,
        explain: false,
        route: None,
    };
    let turn = app.asker.begin(&caller.asking(), question).await;
    let turn = turn.map_err(refused)?;
    let rate = rate_headers(turn.rate());
    let format = Chunks {
        head: Head {
            id: format!("chatcmpl-{}", label.id),
            created: Utc::now().timestamp(),
            model: chat.model,
        },
        wants_usage: (chat.stream_options).is_some_and(|options| options.include_usage),
        has_begun: false,
        label,
    };
    if chat.stream {
        return Ok((rate, events(app, turn, format)).into_response());
    }
    let answer = turn.answer(&mut |_| {}).await?;
    app.metrics.answered(answer.kind.as_str());
    Ok((rate, Json(format.head.whole(answer))).into_response())
}

/// What all parts of an answer share.
struct Head {
    id: String,
    created: i64,
    model: String,
}

impl Head {
    fn whole(self, answer: Answer) -> ChatOut {
        let message = json!({
            "role": "assistant",
            "content": answer.text,
            "refusal": null,
            "annotations": annotations(&answer),
        });
        ChatOut {
            id: self.id,
            object: "chat.completion",
            created: self.created,
            model: self.model,
            choices: json!([
                { "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" }
            ]),
            usage: usage(&answer.usage),
            quire: AnswerOut::of(answer),
        }
    }

    fn chunk(&self, choices: Value, usage: Value) -> SseEvent {
        let chunk = json!({
            "id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": choices, "usage": usage,
        });
        SseEvent::default().data(chunk.to_string())
    }

    fn delta(&self, delta: Value, finish_reason: Value) -> SseEvent {
        let choice = json!({
            "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason,
        });
        self.chunk(json!([choice]), Value::Null)
    }
}

/// An answer as chunks.
struct Chunks {
    head: Head,
    wants_usage: bool,
    has_begun: bool,
    label: RequestLabel,
}

impl Format for Chunks {
    fn part(&mut self, event: Event) -> Option<SseEvent> {
        let Event::Delta(text) = event else {
            return None;
        };
        let delta = match std::mem::replace(&mut self.has_begun, true) {
            true => json!({ "content": text }),
            false => json!({ "role": "assistant", "content": text, "refusal": null }),
        };
        Some(self.head.delta(delta, Value::Null))
    }

    fn done(&mut self, answer: Answer) -> Vec<SseEvent> {
        let annotations = json!({ "annotations": annotations(&answer) });
        let mut last = vec![self.head.delta(annotations, json!("stop"))];
        if self.wants_usage {
            last.push(self.head.chunk(json!([]), usage(&answer.usage)));
        }
        last.push(end());
        last
    }

    fn failed(&mut self, error: ApiError) -> Vec<SseEvent> {
        let problem = error.problem(&self.label.path, &self.label.id);
        let error = ErrorOut::of(&error, &problem);
        let event = SseEvent::default().json_data(error);
        vec![event.unwrap_or_default(), end()]
    }
}

fn end() -> SseEvent {
    SseEvent::default().data("[DONE]")
}

fn usage(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens.saturating_add(usage.output_tokens),
        "prompt_tokens_details": { "cached_tokens": usage.cached_tokens },
    })
}

/// Every marker in the text that points at a citation.
fn annotations(answer: &Answer) -> Vec<Value> {
    let chars: Vec<char> = answer.text.chars().collect();
    let mut found = Vec::new();
    for (start, _) in chars.iter().enumerate().filter(|(_, c)| **c == '[') {
        let digits: String = (chars[start + 1..].iter())
            .take_while(|c| c.is_ascii_digit())
            .collect();
        let end = start + digits.len() + 2;
        let is_marker = chars.get(end - 1) == Some(&']');
        let citation = digits.parse().ok().and_then(|marker: u32| {
            let mut citations = answer.citations.iter();
            citations.find(|citation| citation.marker == marker)
        });
        if let Some(citation) = citation.filter(|_| is_marker) {
            found.push(annotation(citation, start, end));
        }
    }
    found
}

fn annotation(citation: &Citation, start: usize, end: usize) -> Value {
    json!({
        "type": "url_citation",
        "url_citation": {
            "url": format!("/v1/sources/{}", citation.source),
            "title": citation.source_name,
            "start_index": start,
            "end_index": end,
        },
    })
}
