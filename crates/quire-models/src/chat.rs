//! Answers of a chat model, as they arrive, from any provider.
//!
//! [`Server::stream`] sends messages once, in the provider's own shape, and turns what comes into one kind of
//! events. Refuses to know prompts, prices and second tries.

mod answer;
mod answerer;
mod anthropic;
mod gemini;
mod openai;
mod responses;
mod sse;
mod structured;
mod wire;

use std::sync::{Arc, OnceLock};

use futures::stream::BoxStream;
use quire_types::ChatMessage;
use serde_json::Value;
use tokio::time::Instant;

use crate::Error;
use crate::registry::{Tokens, Wire};
use crate::server::{Server, Told};
use answer::Answer;

pub use answerer::Answerer;
pub use structured::{Structured, Unstructured};

/// What a model is asked.
#[derive(Clone, Copy, Debug)]
pub struct ChatCall<'a> {
    /// The model, by its name at the provider.
    pub model: &'a str,
    /// What was said so far.
    pub messages: &'a [ChatMessage],
    /// Longest answer, in tokens of the model.
    pub max_tokens: u32,
    /// The shape of an answer that is to be JSON.
    pub schema: Option<&'a Schema>,
    /// What is shown with the last message.
    pub picture: Option<Picture<'a>>,
}

/// A picture that a model looks at.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    /// Such as `image/jpeg`.
    pub media_type: &'a str,
    /// Its bytes in base64, as every protocol wants them.
    pub base64: &'a str,
}

impl Picture<'_> {
    /// Tokens that one counts as at the most whose sides have [`Self::MOST_PIXELS`]: gpt-4o-mini takes 25,501 for four
    /// tiles, others a tenth of that or less.
    pub const MOST_TOKENS: u64 = 26_000;
    /// The longest side of a picture that is shown.
    pub const MOST_PIXELS: u32 = 1_024;

    fn data_url(&self) -> String {
        format!("data:{};base64,{}", self.media_type, self.base64)
    }
}

/// The shape of a JSON answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// What it is called: letters, digits, `_` and `-`.
    pub name: String,
    /// The shape, in JSON Schema, with `additionalProperties: false` and everything required, as OpenAI wants it.
    pub shape: Value,
}

/// A piece of an answer, in the order of arrival.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChatEvent {
    /// More text, never empty.
    Delta(String),
    /// What the answer took, at most once and just before the end. Some servers never say, and what can't be
    /// true is left out.
    Usage(Tokens),
    /// The answer is complete; nothing follows.
    Done {
        /// Why the model stopped.
        finish_reason: FinishReason,
    },
}

/// Why a model stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It had said everything.
    Stop,
    /// It reached `max_tokens` or the end of its context.
    Length,
    /// A filter of the provider stepped in, or the model refused.
    ContentFilter,
    /// A reason this version does not know.
    Other(String),
}

impl FinishReason {
    /// What OpenTelemetry calls it.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::Other(reason) => reason,
        }
    }
}

/// An answer while it arrives. Dropping it ends the request. Nothing follows an error.
pub type ChatStream = BoxStream<'static, Result<ChatEvent, Error>>;

/// An answer that begins.
pub struct Streamed {
    /// What the server says about its limits.
    pub told: Told,
    /// Who says that it answers, once it has begun to.
    pub by: Arc<OnceLock<Answerer>>,
    /// The answer.
    pub events: ChatStream,
}

impl Server {
    /// Sends the messages and returns the answer as it arrives.
    pub async fn stream(&self, call: &ChatCall<'_>) -> Result<Streamed, Error> {
        let deadline = Instant::now() + self.patience().first_token;
        let request = match self.wire() {
            Wire::OpenAi => self
                .post("chat/completions")
                .json(&openai::Request::new(self.host(), call)),
            Wire::Responses => self.post("responses").json(&responses::request(call)),
            Wire::Anthropic => self.post("messages").json(&anthropic::request(call)),
            Wire::Gemini => self
                .post(&format!(
                    "models/{}:streamGenerateContent?alt=sse",
                    call.model
                ))
                .json(&gemini::request(call)),
            wire @ (Wire::None | Wire::Cohere | Wire::GoogleSpeech | Wire::DocumentAi) => {
                return Err(Error::Config(format!(
                    "a provider with wire {wire:?} has no chat models"
                )));
            }
        };
        let response = self.send(request, deadline).await?;
        let told = Told::read(response.headers());
        let text_bytes: usize = call.messages.iter().map(|said| said.content.len()).sum();
        let picture_tokens = call.picture.map_or(0, |_| Picture::MOST_TOKENS as usize);
        let answer = Answer::new(
            response,
            deadline,
            self.clone(),
            call.max_tokens,
            text_bytes + picture_tokens,
        );
        Ok(Streamed {
            told,
            by: answer.by(),
            events: answer.into_stream(),
        })
    }
}
