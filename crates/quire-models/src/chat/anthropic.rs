//! Anthropic's messages.

use quire_types::{ChatRole, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{self, Said};
use super::{ChatCall, FinishReason};
use crate::Error;
use crate::registry::Tokens;
use crate::server::error_inside;

pub(super) fn request(call: &ChatCall<'_>) -> Value {
    let mut system: Vec<String> = Vec::new();
    let mut messages: Vec<Value> = Vec::new();
    for said in call.messages {
        match said.role {
            ChatRole::System => system.push(said.content.clone()),
            role => messages.push(json!({"role": role, "content": said.content})),
        }
    }
    if let (Some(picture), Some(last)) = (call.picture, messages.last_mut()) {
        last["content"] = json!([
            {"type": "image", "source": {"type": "base64", "media_type": picture.media_type,
                "data": picture.base64}},
            {"type": "text", "text": last["content"]},
        ]);
    }
    if let Some(schema) = call.schema {
        system.push(format!(
            "Answer with one JSON object of this JSON Schema and nothing else:\n{}",
            schema.shape
        ));
    }
    let mut request = json!({
        "model": call.model,
        "messages": messages,
        "max_tokens": call.max_tokens,
        "stream": true,
    });
    if !system.is_empty() {
        request["system"] = json!(system.join("\n\n"));
    }
    request
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    /// Of `message_start`.
    message: Option<Message>,
    /// Of `content_block_delta` and `message_delta`.
    delta: Option<Delta>,
    /// Of `message_delta`, and of a whole message.
    usage: Option<Usage>,
    error: Option<Value>,
    /// Of a whole message.
    #[serde(default)]
    content: Vec<Block>,
    stop_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Message {
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Block {
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Delta {
    text: Option<String>,
    thinking: Option<String>,
    stop_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Usage {
    input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

pub(super) fn parse(json: &str, api_key: Option<&Secret>) -> Result<Said, Error> {
    let event: Event = wire::read(json)?;
    if let Some(inside) = event.error.filter(|error| !error.is_null()) {
        return Err(error_inside(&inside, api_key));
    }
    let mut said = Said::default();
    match event.kind.as_str() {
        "message_start" => {
            said.usage = event
                .message
                .and_then(|message| message.usage)
                .map(Tokens::from);
        }
        "content_block_delta" => {
            if let Some(delta) = event.delta {
                said.thinks = delta.thinking.is_some_and(|text| !text.is_empty());
                said.text = delta.text.unwrap_or_default();
            }
        }
        "message_delta" => {
            said.finish_reason = event.delta.and_then(|delta| delta.stop_reason).map(reason);
            said.usage = event.usage.map(Tokens::from);
        }
        "message_stop" => said.is_last = true,
        // A whole one, from a proxy that does not stream.
        "message" => {
            said.text = event
                .content
                .into_iter()
                .filter_map(|block| block.text)
                .collect();
            said.finish_reason = event.stop_reason.map(reason);
            said.usage = event.usage.map(Tokens::from);
        }
        "" => {
            return Err(Error::Malformed {
                what: "JSON that is no event of a message".to_owned(),
            });
        }
        _ => {}
    }
    Ok(said)
}

fn reason(name: String) -> FinishReason {
    match name.as_str() {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Other(name),
    }
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        // Here the input is what was neither read from the cache nor written to it.
        let (cached, cache_written) = (
            usage.cache_read_input_tokens.unwrap_or(0),
            usage.cache_creation_input_tokens.unwrap_or(0),
        );
        let fresh = usage.input_tokens.unwrap_or(0);
        Self {
            input: fresh.saturating_add(cached).saturating_add(cache_written),
            cached,
            cache_written,
            output: usage.output_tokens.unwrap_or(0),
            reasoning: 0,
        }
    }
}
