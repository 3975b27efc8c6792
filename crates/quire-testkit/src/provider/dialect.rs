//! The shapes of each protocol: what a word, an end, a usage and an error look like.

use serde_json::{Value, json};

use super::{CACHED_TOKENS, PROMPT_TOKENS, REASONING_TOKENS};

/// A protocol of chat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// OpenAI's chat completions.
    OpenAi,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Anthropic,
    /// Gemini's generateContent.
    Gemini,
}

/// Tokens that go in, and those that come out unless they are to be counted.
pub(super) type Used = (u64, Option<u64>);

impl Dialect {
    /// Every protocol.
    pub const ALL: [Self; 4] = [Self::OpenAi, Self::Responses, Self::Anthropic, Self::Gemini];

    pub(super) fn root(self) -> &'static str {
        match self {
            Self::Gemini => "/v1beta",
            _ => "/v1",
        }
    }

    /// The protocol whose method has this path.
    pub(super) fn of(path: &str) -> Option<Self> {
        match path {
            "/v1/chat/completions" => Some(Self::OpenAi),
            "/v1/responses" => Some(Self::Responses),
            "/v1/messages" => Some(Self::Anthropic),
            _ if path.starts_with("/v1beta/models/")
                && path.ends_with(":streamGenerateContent") =>
            {
                Some(Self::Gemini)
            }
            _ => None,
        }
    }

    /// Pieces of an answer with these words and no end.
    pub(super) fn words(self, words: &[String]) -> Vec<String> {
        let mut chunks = self.begin();
        chunks.extend(words.iter().map(|word| self.word(word)));
        chunks
    }

    /// A whole answer, word by word.
    pub(super) fn answer(self, text: &str, used: Option<Used>) -> Vec<String> {
        let words: Vec<String> = text.split_inclusive(' ').map(str::to_owned).collect();
        let mut chunks = match self {
            Self::Anthropic => vec![anthropic_start(used.map_or(0, |(input, _)| input))],
            _ => self.begin(),
        };
        chunks.extend(words.iter().map(|word| self.word(word)));
        let output = used.map(|(input, output)| (input, output.unwrap_or(words.len() as u64)));
        chunks.extend(self.end(output));
        chunks
    }

    fn begin(self) -> Vec<String> {
        match self {
            Self::OpenAi => vec![event(&openai(
                json!({"role": "assistant", "content": ""}),
                Value::Null,
            ))],
            Self::Responses => vec![
                named(
                    json!({"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}),
                ),
                named(
                    json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message"}}),
                ),
            ],
            Self::Anthropic => vec![anthropic_start(PROMPT_TOKENS)],
            Self::Gemini => Vec::new(),
        }
    }

    fn word(self, word: &str) -> String {
        match self {
            Self::OpenAi => event(&openai(json!({"content": word}), Value::Null)),
            Self::Responses => named(
                json!({"type": "response.output_text.delta", "item_id": "msg_1",
                "output_index": 0, "content_index": 0, "delta": word, "sequence_number": 4}),
            ),
            Self::Anthropic => named(json!({"type": "content_block_delta", "index": 0,
                "delta": {"type": "text_delta", "text": word}})),
            Self::Gemini => event(&gemini(word, None, None)),
        }
    }

    fn end(self, used: Option<(u64, u64)>) -> Vec<String> {
        match self {
            Self::OpenAi => {
                let mut chunks = vec![event(&openai(json!({}), json!("stop")))];
                if let Some(used) = used {
                    let mut last = openai(json!({}), Value::Null);
                    last["choices"] = json!([]);
                    last["usage"] = openai_usage(used);
                    chunks.push(event(&last));
                }
                chunks.push("data: [DONE]\n\n".to_owned());
                chunks
            }
            Self::Responses => {
                let usage = used.map(responses_usage);
                vec![named(json!({"type": "response.completed",
                    "response": {"id": "resp_1", "status": "completed", "error": null, "usage": usage}}))]
            }
            Self::Anthropic => {
                let usage = used.map(|(_, output)| json!({"output_tokens": output}));
                vec![
                    named(json!({"type": "content_block_stop", "index": 0})),
                    named(json!({"type": "message_delta",
                        "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": usage})),
                    named(json!({"type": "message_stop"})),
                ]
            }
            Self::Gemini => vec![event(&gemini("", Some("STOP"), used))],
        }
    }

    /// An answer in one piece, from a server that does not stream.
    pub(super) fn whole(self, text: &str) -> Value {
        let used = (PROMPT_TOKENS, text.split_inclusive(' ').count() as u64);
        match self {
            Self::OpenAi => json!({
                "id": "chatcmpl-double",
                "object": "chat.completion",
                "created": 1_760_000_000,
                "model": "double",
                "choices": [{
                    "index": 0,
                    "message": {"role": "assistant", "content": text, "refusal": null},
                    "logprobs": null,
                    "finish_reason": "stop",
                }],
                "usage": openai_usage(used),
            }),
            Self::Responses => {
                json!({"type": "response.completed", "response": {"usage": responses_usage(used)}})
            }
            Self::Anthropic => json!({"type": "message", "role": "assistant",
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
                "usage": anthropic_usage(used.0, used.1)}),
            Self::Gemini => gemini(text, Some("STOP"), Some(used)),
        }
    }

    /// An error in a stream.
    pub(super) fn error(self, message: &str) -> String {
        named(self.error_object(message))
    }

    /// An error as a body.
    pub(super) fn error_object(self, message: &str) -> Value {
        match self {
            Self::OpenAi => super::error_object(message),
            Self::Responses => {
                json!({"type": "error", "error": {"message": message, "code": "server_error"}})
            }
            Self::Anthropic => {
                json!({"type": "error", "error": {"type": "api_error", "message": message}})
            }
            Self::Gemini => {
                json!({"error": {"code": 500, "message": message, "status": "INTERNAL"}})
            }
        }
    }
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// An event that says its type on a line of its own, too.
fn named(data: Value) -> String {
    match data["type"].as_str() {
        Some(name) => format!("event: {name}\ndata: {data}\n\n"),
        None => event(&data),
    }
}

fn openai(delta: Value, finish_reason: Value) -> Value {
    json!({
        "id": "chatcmpl-double",
        "object": "chat.completion.chunk",
        "created": 1_760_000_000,
        "model": "double",
        "service_tier": "default",
        "system_fingerprint": "fp_double",
        "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}],
        "usage": null,
        "obfuscation": "x7",
    })
}

fn openai_usage((input, output): (u64, u64)) -> Value {
    json!({
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input.saturating_add(output),
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS.min(input), "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    })
}

fn responses_usage((input, output): (u64, u64)) -> Value {
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": CACHED_TOKENS.min(input)},
        "output_tokens": output.saturating_add(REASONING_TOKENS),
        "output_tokens_details": {"reasoning_tokens": REASONING_TOKENS},
        "total_tokens": input.saturating_add(output),
    })
}

fn anthropic_start(input: u64) -> String {
    named(
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
        "content": [], "usage": anthropic_usage(input, u64::from(input > 0))}}),
    )
}

/// Here what was read from the cache is beside the input, not in it.
fn anthropic_usage(input: u64, output: u64) -> Value {
    let cached = CACHED_TOKENS.min(input);
    json!({"input_tokens": input - cached, "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached, "output_tokens": output})
}

fn gemini(text: &str, finish_reason: Option<&str>, used: Option<(u64, u64)>) -> Value {
    let mut chunk = json!({
        "candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": text}]}}],
        "modelVersion": "double",
        "responseId": "double",
    });
    if let Some(reason) = finish_reason {
        chunk["candidates"][0]["finishReason"] = json!(reason);
    }
    if let Some((input, output)) = used {
        chunk["usageMetadata"] = json!({
            "promptTokenCount": input,
            "cachedContentTokenCount": CACHED_TOKENS.min(input),
            "candidatesTokenCount": output,
            "thoughtsTokenCount": REASONING_TOKENS,
            "totalTokenCount": input.saturating_add(output),
        });
    }
    chunk
}
