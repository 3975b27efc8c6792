//! OpenAI's responses: the protocol that follows chat completions there.

use quire_types::{ChatRole, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{self, Said};
use super::{ChatCall, FinishReason};
use crate::Error;
use crate::registry::Tokens;
use crate::server::error_inside;

pub(super) fn request(call: &ChatCall<'_>) -> Value {
    let instructions: Vec<&str> = call
        .messages
        .iter()
        .filter(|said| said.role == ChatRole::System)
        .map(|said| said.content.as_str())
        .collect();
    let mut input: Vec<Value> = call
        .messages
        .iter()
        .filter(|said| said.role != ChatRole::System)
        .map(|said| json!({"role": said.role, "content": said.content}))
        .collect();
    if let (Some(picture), Some(last)) = (call.picture, input.last_mut()) {
        last["content"] = json!([
            {"type": "input_text", "text": last["content"]},
            {"type": "input_image", "image_url": picture.data_url()},
        ]);
    }
    let mut request = json!({
        "model": call.model,
        "input": input,
        "max_output_tokens": call.max_tokens,
        "stream": true,
        "store": false,
    });
    if !instructions.is_empty() {
        request["instructions"] = json!(instructions.join("\n\n"));
    }
    if let Some(schema) = call.schema {
        request["text"] = json!({"format": {"type": "json_schema", "name": schema.name,
            "schema": schema.shape, "strict": true}});
    }
    request
}

#[derive(Debug, Deserialize)]
struct Event {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    delta: Value,
    response: Option<Response>,
    error: Option<Value>,
    message: Option<String>,
    code: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Response {
    error: Option<Value>,
    incomplete_details: Option<Incomplete>,
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    input_tokens: u64,
    #[serde(default)]
    output_tokens: u64,
    #[serde(default)]
    input_tokens_details: InputDetails,
    #[serde(default)]
    output_tokens_details: OutputDetails,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: u64,
    cache_write_tokens: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: u64,
}

pub(super) fn parse(json: &str, api_key: Option<&Secret>) -> Result<Said, Error> {
    let event: Event = wire::read(json)?;
    let no_error = || json!({"message": "the response failed"});
    let mut said = Said::default();
    let ending = match event.kind.as_str() {
        "response.output_text.delta" | "response.refusal.delta" => {
            said.text = event.delta.as_str().unwrap_or_default().to_owned();
            return Ok(said);
        }
        "error" => {
            let inside = event.error.unwrap_or_else(
                || json!({"message": event.message, "code": event.code.unwrap_or_default()}),
            );
            return Err(error_inside(&inside, api_key));
        }
        "response.failed" => {
            let inside = event.response.and_then(|response| response.error);
            return Err(error_inside(&inside.unwrap_or_else(no_error), api_key));
        }
        "response.completed" => FinishReason::Stop,
        "response.incomplete" => {
            let details = event.response.as_ref();
            let reason = details
                .and_then(|response| response.incomplete_details.as_ref()?.reason.clone())
                .unwrap_or_default();
            match reason.as_str() {
                "max_output_tokens" => FinishReason::Length,
                "content_filter" => FinishReason::ContentFilter,
                _ => FinishReason::Other(reason),
            }
        }
        "" => match event.error.filter(|error| !error.is_null()) {
            Some(inside) => return Err(error_inside(&inside, api_key)),
            None => {
                return Err(Error::Malformed {
                    what: "JSON that is no event of a response".to_owned(),
                });
            }
        },
        other => {
            said.thinks = other.starts_with("response.reasoning");
            return Ok(said);
        }
    };
    said.finish_reason = Some(ending);
    said.usage = event
        .response
        .and_then(|response| response.usage)
        .map(Tokens::from);
    said.is_last = true;
    Ok(said)
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        let reasoning = usage.output_tokens_details.reasoning_tokens;
        Self {
            input: usage.input_tokens,
            cached: usage.input_tokens_details.cached_tokens,
            cache_written: usage.input_tokens_details.cache_write_tokens,
            output: usage.output_tokens.saturating_sub(reasoning),
            reasoning,
        }
    }
}
