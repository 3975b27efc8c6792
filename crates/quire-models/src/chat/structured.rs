//! An answer that is data: asked for with a schema, read as a Rust type, and asked for once more when it is
//! not what was asked for.

use futures::StreamExt;
use quire_types::{ChatMessage, ChatRole};
use serde::de::DeserializeOwned;

use super::{ChatEvent, ChatStream, Schema};
use crate::Error;
use crate::registry::Tokens;

/// Data out of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structured<T> {
    /// The data.
    pub value: T,
    /// What the answer took, where the server said so.
    pub usage: Option<Tokens>,
}

/// An answer that is not the data that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unstructured {
    /// What the model wrote.
    pub text: String,
    /// Why that is not it.
    pub why: String,
    /// What the answer took, where the server said so.
    pub usage: Option<Tokens>,
}

impl<T: DeserializeOwned> Structured<T> {
    /// Reads a whole answer. The outer result is the provider's fault, the inner one the model's.
    pub async fn read(mut events: ChatStream) -> Result<Result<Self, Unstructured>, Error> {
        let (mut text, mut usage) = (String::new(), None);
        while let Some(event) = events.next().await {
            match event? {
                ChatEvent::Delta(delta) => text.push_str(&delta),
                ChatEvent::Usage(tokens) => usage = Some(tokens),
                ChatEvent::Done { .. } => {}
            }
        }
        Ok(Self::of(text, usage))
    }

    /// Reads an answer that is here already.
    pub fn of(text: String, usage: Option<Tokens>) -> Result<Self, Unstructured> {
        match serde_json::from_str(object(&text)) {
            Ok(value) => Ok(Self { value, usage }),
            Err(error) => Err(Unstructured {
                why: error.to_string(),
                text,
                usage,
            }),
        }
    }
}

impl Unstructured {
    /// The messages that ask once more, showing the model what was wrong. It is asked once: a model that fails
    /// twice fails always.
    pub fn repair(&self, asked: &[ChatMessage], schema: &Schema) -> Vec<ChatMessage> {
        let mut messages = asked.to_vec();
        let mut say = |role, content| messages.push(ChatMessage { role, content });
        say(ChatRole::Assistant, self.text.clone());
        say(
            ChatRole::User,
            format!(
                "That can't be read: {}. Answer with one JSON object of this JSON Schema and nothing else:\n{}",
                self.why, schema.shape
            ),
        );
        messages
    }
}

/// The JSON in an answer: models like to put it in a fence or to introduce it.
fn object(text: &str) -> &str {
    let begin = text.find(['{', '[']);
    let end = text.rfind(['}', ']']);
    match (begin, end) {
        (Some(begin), Some(end)) if begin < end => &text[begin..=end],
        _ => text.trim(),
    }
}
