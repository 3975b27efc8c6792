//! Gemini's generateContent. Every chunk repeats the usage so far, and nothing marks the end but a reason.

use quire_types::{ChatRole, Secret};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::{self, Said};
use super::{ChatCall, FinishReason};
use crate::Error;
use crate::registry::Tokens;
use crate::server::error_inside;

pub(super) fn request(call: &ChatCall<'_>) -> Value {
    let mut system: Vec<Value> = Vec::new();
    let mut contents: Vec<Value> = Vec::new();
    for said in call.messages {
        let part = json!({"text": said.content});
        match said.role {
            ChatRole::System => system.push(part),
            ChatRole::User => contents.push(json!({"role": "user", "parts": [part]})),
            ChatRole::Assistant => contents.push(json!({"role": "model", "parts": [part]})),
        }
    }
    if let Some(picture) = call.picture
        && let Some(parts) = contents
            .last_mut()
            .and_then(|said| said["parts"].as_array_mut())
    {
        let shown = json!({"mimeType": picture.media_type, "data": picture.base64});
        parts.push(json!({"inlineData": shown}));
    }
    let mut request = json!({
        "contents": contents,
        "generationConfig": {"maxOutputTokens": call.max_tokens},
    });
    if !system.is_empty() {
        request["systemInstruction"] = json!({"parts": system});
    }
    if let Some(schema) = call.schema {
        request["generationConfig"]["responseMimeType"] = json!("application/json");
        request["generationConfig"]["responseJsonSchema"] = schema.shape.clone();
    }
    request
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    candidates: Option<Vec<Candidate>>,
    prompt_feedback: Option<Feedback>,
    usage_metadata: Option<Usage>,
    error: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Candidate {
    content: Option<Content>,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Content {
    #[serde(default)]
    parts: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    text: Option<String>,
    #[serde(default)]
    thought: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Feedback {
    block_reason: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Usage {
    prompt_token_count: u64,
    cached_content_token_count: u64,
    candidates_token_count: u64,
    thoughts_token_count: u64,
}

pub(super) fn parse(json: &str, api_key: Option<&Secret>) -> Result<Said, Error> {
    let chunk: Chunk = wire::read(json)?;
    if let Some(inside) = chunk.error.filter(|error| !error.is_null()) {
        return Err(error_inside(&inside, api_key));
    }
    let blocked = chunk
        .prompt_feedback
        .and_then(|feedback| feedback.block_reason);
    if chunk.candidates.is_none() && chunk.usage_metadata.is_none() && blocked.is_none() {
        return Err(Error::Malformed {
            what: "JSON without candidates".to_owned(),
        });
    }
    let mut said = Said {
        usage: chunk.usage_metadata.map(Tokens::from),
        finish_reason: blocked.map(|_| FinishReason::ContentFilter),
        ..Said::default()
    };
    let Some(candidate) = chunk.candidates.into_iter().flatten().next() else {
        return Ok(said);
    };
    for part in candidate
        .content
        .into_iter()
        .flat_map(|content| content.parts)
    {
        let text = part.text.unwrap_or_default();
        match part.thought {
            true => said.thinks |= !text.is_empty(),
            false => said.text.push_str(&text),
        }
    }
    if let Some(name) = candidate.finish_reason {
        said.finish_reason = Some(match name.as_str() {
            "STOP" => FinishReason::Stop,
            "MAX_TOKENS" => FinishReason::Length,
            "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII"
            | "MODEL_ARMOR" => FinishReason::ContentFilter,
            _ => FinishReason::Other(name),
        });
    }
    Ok(said)
}

impl From<Usage> for Tokens {
    fn from(usage: Usage) -> Self {
        Self {
            input: usage.prompt_token_count,
            cached: usage.cached_content_token_count,
            cache_written: 0,
            output: usage.candidates_token_count,
            reasoning: usage.thoughts_token_count,
        }
    }
}
