//! OpenAI's chat completions, and everybody who copies them.

use quire_types::{ChatMessage, ChatRole, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::wire::{self, Said};
use super::{ChatCall, FinishReason};
use crate::Error;
use crate::registry::Tokens;
use crate::server::error_inside;

/// The body of a request.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    model: &'a str,
    messages: Messages<'a>,
    stream: bool,
    stream_options: StreamOptions,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Value>,
}

/// Text as it is, or with a picture beside the last one.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Messages<'a> {
    Text(&'a [ChatMessage]),
    Seen(Vec<Value>),
}

impl<'a> Messages<'a> {
    fn of(call: &ChatCall<'a>) -> Self {
        let Some(picture) = call.picture else {
            return Self::Text(call.messages);
        };
        let seen = call.messages.iter().enumerate().map(|(at, said)| {
            if said.role != ChatRole::User || at + 1 < call.messages.len() {
                return json!(said);
            }
            json!({"role": said.role, "content": [
                {"type": "text", "text": said.content},
                {"type": "image_url", "image_url": {"url": picture.data_url()}},
            ]})
        });
        Self::Seen(seen.collect())
    }
}

#[derive(Debug, Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl<'a> Request<'a> {
    pub(super) fn new(host: &str, call: &ChatCall<'a>) -> Self {
        // OpenAI renamed the limit and its newer models refuse the old name; many other servers know
        // only the old one.
        let renamed = ["openai.com", "openai.azure.com"]
            .iter()
            .any(|domain| host.ends_with(domain));
        Self {
            model: call.model,
            messages: Messages::of(call),
            stream: true,
            stream_options: StreamOptions {
                include_usage: true,
            },
            max_tokens: (!renamed).then_some(call.max_tokens),
            max_completion_tokens: renamed.then_some(call.max_tokens),
            response_format: call.schema.map(|schema| {
                json!({"type": "json_schema",
                    "json_schema": {"name": schema.name, "schema": schema.shape, "strict": true}})
            }),
        }
    }
}

/// A chunk of a streamed answer, or a whole answer of a server that does not stream.
#[derive(Debug, Deserialize)]
struct Chunk {
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
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Default, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

pub(super) fn parse(json: &str, api_key: Option<&Secret>) -> Result<Said, Error> {
    if json.trim() == "[DONE]" {
        return Ok(Said {
            is_last: true,
            ..Said::default()
        });
    }
    let chunk: Chunk = wire::read(json)?;
    if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
        return Err(error_inside(&error, api_key));
    }
    if chunk.choices.is_none() && chunk.usage.is_none() {
        return Err(Error::Malformed {
            what: "JSON without choices".to_owned(),
        });
    }
    let mut said = Said {
        usage: chunk.usage.map(Tokens::from),
        ..Said::default()
    };
    // One choice is asked for, so one comes, or none in the chunk that carries the usage.
    let Some(choice) = chunk.choices.into_iter().flatten().next() else {
        return Ok(said);
    };
    said.finish_reason = choice.finish_reason.map(|name| match name.as_str() {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Other(name),
    });
    if let Some(message) = choice.delta.or(choice.message) {
        let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        said.thinks = filled(&message.reasoning_content) || filled(&message.reasoning);
        said.text = message.content.or(message.refusal).unwrap_or_default();
    }
    Ok(said)
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        let prompt = usage.prompt_tokens_details.unwrap_or_default();
        let reasoning = usage
            .completion_tokens_details
            .and_then(|details| details.reasoning_tokens)
            .unwrap_or(0);
        Self {
            input: usage.prompt_tokens,
            cached: prompt.cached_tokens.unwrap_or(0),
            cache_written: prompt.cache_write_tokens.unwrap_or(0),
            output: usage.completion_tokens.saturating_sub(reasoning),
            reasoning,
        }
    }
}
