//! The JSON of chat completions: what is sent, and the parts of what comes that are used. Unknown fields
//! are skipped because every server adds its own. Refuses to know the order in which things arrive.

use quire_types::{ChatMessage, Secret};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ChatConfig, ChatEvent, FinishReason};
use crate::Error;

/// Longest part of a server's message that is kept.
const MAX_MESSAGE_CHARS: usize = 300;

/// The body of a request.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    model: &'a str,
    messages: &'a [ChatMessage],
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
}

#[derive(Debug, Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl<'a> Request<'a> {
    pub(super) fn new(url: &Url, config: &'a ChatConfig, messages: &'a [ChatMessage]) -> Self {
        // OpenAI renamed the limit and its newer models refuse the old name; many other servers know
        // only the old one.
        let host = url.host_str().unwrap_or_default();
        let renamed = ["openai.com", "openai.azure.com"]
            .iter()
            .any(|domain| host.ends_with(domain));
        Self {
            model: &config.model,
            messages,
            stream: true,
            stream_options: StreamOptions {
                include_usage: true,
            },
            max_tokens: (!renamed).then_some(config.max_tokens),
            max_completion_tokens: renamed.then_some(config.max_tokens),
        }
    }
}

/// A chunk of a streamed answer, or a whole answer of a server that does not stream.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    choices: Option<Vec<Choice>>,
    usage: Option<Usage>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    delta: Option<Message>,
    message: Option<Message>,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
    // Two names for thinking aloud; both mean that the server is alive.
    reasoning_content: Option<String>,
    reasoning: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<PromptTokensDetails>,
}

#[derive(Debug, Deserialize)]
struct PromptTokensDetails {
    cached_tokens: Option<u64>,
}

/// What one chunk says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Text for the reader.
    pub(super) text: String,
    /// The model thinks and shows it; the thoughts are not kept.
    pub(super) thinks: bool,
    pub(super) finish_reason: Option<FinishReason>,
    pub(super) usage: Option<ChatEvent>,
}

impl Chunk {
    /// Reads a chunk, an answer or an error object.
    pub(super) fn parse(json: &str, api_key: Option<&Secret>) -> Result<Said, Error> {
        let chunk: Self = serde_json::from_str(json).map_err(|error| Error::ChatMalformed {
            what: format!("something that is not a chunk of an answer ({error})"),
        })?;
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(error_inside(&error, api_key));
        }
        if chunk.choices.is_none() && chunk.usage.is_none() {
            return Err(Error::ChatMalformed {
                what: "JSON without choices".to_owned(),
            });
        }
        let mut said = Said {
            usage: chunk.usage.map(Usage::into_event),
            ..Said::default()
        };
        // One choice is asked for, so one comes, or none in the chunk that carries the usage.
        let Some(choice) = chunk.choices.into_iter().flatten().next() else {
            return Ok(said);
        };
        said.finish_reason = choice.finish_reason.map(FinishReason::from_name);
        if let Some(message) = choice.delta.or(choice.message) {
            let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
            said.thinks = filled(&message.reasoning_content) || filled(&message.reasoning);
            said.text = message.content.or(message.refusal).unwrap_or_default();
        }
        Ok(said)
    }
}

impl Usage {
    fn into_event(self) -> ChatEvent {
        ChatEvent::Usage {
            input_tokens: self.prompt_tokens,
            output_tokens: self.completion_tokens,
            cached_tokens: self
                .prompt_tokens_details
                .and_then(|details| details.cached_tokens)
                .unwrap_or(0),
        }
    }
}

impl FinishReason {
    fn from_name(name: String) -> Self {
        match name.as_str() {
            "stop" => Self::Stop,
            "length" => Self::Length,
            "content_filter" => Self::ContentFilter,
            _ => Self::Other(name),
        }
    }
}

/// The readable part of an error response.
pub(super) fn error_message(body: &[u8], api_key: Option<&Secret>) -> String {
    let text = String::from_utf8_lossy(body);
    match serde_json::from_str::<Value>(&text) {
        Ok(json) => message_of(json.get("error").unwrap_or(&json), api_key),
        Err(_) => presentable(&text, api_key),
    }
}

/// An error object inside a response that began as a success. Some servers put an HTTP status into it.
fn error_inside(error: &Value, api_key: Option<&Secret>) -> Error {
    let status = error
        .get("code")
        .and_then(Value::as_u64)
        .and_then(|code| u16::try_from(code).ok());
    Error::ChatRefused {
        status: status.filter(|status| (400..600).contains(status)),
        message: message_of(error, api_key),
        retry_after: None,
    }
}

fn message_of(error: &Value, api_key: Option<&Secret>) -> String {
    let text = match error {
        Value::String(text) => Some(text.as_str()),
        _ => ["message", "detail", "type"]
            .iter()
            .find_map(|name| error.get(name)?.as_str()),
    };
    match text {
        Some(text) => presentable(text, api_key),
        None => presentable(&error.to_string(), api_key),
    }
}

/// One short line without the key, which servers like to repeat.
fn presentable(text: &str, api_key: Option<&Secret>) -> String {
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some(key) = api_key.map(Secret::expose).filter(|key| !key.is_empty()) {
        line = line.replace(key, "[secret]");
    }
    if line.is_empty() {
        line.push_str("no message");
    }
    line.chars().take(MAX_MESSAGE_CHARS).collect()
}
