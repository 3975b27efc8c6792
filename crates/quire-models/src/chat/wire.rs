//! What a piece of an answer says, whoever says it. Unknown fields and events are skipped, because every
//! provider adds its own. Refuses to know the order in which things arrive.

use quire_types::Secret;
use serde::de::DeserializeOwned;

use super::{FinishReason, anthropic, gemini, openai, responses};
use crate::Error;
use crate::registry::{Tokens, Wire};

/// What one piece says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Text for the reader.
    pub(super) text: String,
    /// The model thinks and shows it; the thoughts are not kept.
    pub(super) thinks: bool,
    pub(super) finish_reason: Option<FinishReason>,
    pub(super) usage: Option<Tokens>,
    /// Nothing will follow.
    pub(super) is_last: bool,
}

/// Reads a piece of an answer, a whole one, or an error.
pub(super) fn parse(wire: Wire, json: &str, api_key: Option<&Secret>) -> Result<Said, Error> {
    match wire {
        Wire::Anthropic => anthropic::parse(json, api_key),
        Wire::Gemini => gemini::parse(json, api_key),
        Wire::Responses => responses::parse(json, api_key),
        _ => openai::parse(json, api_key),
    }
}

/// JSON of one shape.
pub(super) fn read<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json).map_err(|error| Error::Malformed {
        what: format!("something that is not a chunk of an answer ({error})"),
    })
}
