//! Who says that it answers: the name of the model and of the answer, which stand at the beginning of one in every
//! protocol, under other names. For whoever watches; nothing is decided by them.

use serde::Deserialize;

/// What an answer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answerer {
    /// What the provider calls the answer.
    pub id: Option<String>,
    /// The model, by the name that the provider gives it now.
    pub model: Option<String>,
}

/// Longest name that is believed.
const MOST_CHARS: usize = 200;

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Named {
    id: Option<String>,
    response_id: Option<String>,
    model: Option<String>,
    model_version: Option<String>,
    /// Anthropic's.
    message: Option<Box<Named>>,
    /// That of OpenAI's responses.
    response: Option<Box<Named>>,
}

impl Answerer {
    /// What a piece of an answer says of the whole; none where it says nothing.
    pub(super) fn read(json: &str) -> Option<Self> {
        let mut named: Named = serde_json::from_str(json).ok()?;
        if let Some(whole) = named.message.take().or(named.response.take()) {
            named = *whole;
        }
        let short = |name: String| name.chars().take(MOST_CHARS).collect();
        let answerer = Self {
            id: named.id.or(named.response_id).map(short),
            model: named.model.or(named.model_version).map(short),
        };
        (answerer != Self::default()).then_some(answerer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_names_model_and_answer_at_the_beginning() {
        let both = Answerer {
            id: Some("a-1".to_owned()),
            model: Some("m-2".to_owned()),
        };
        for piece in [
            r#"{"id": "a-1", "model": "m-2", "choices": []}"#,
            r#"{"type": "response.created", "response": {"id": "a-1", "model": "m-2"}}"#,
            r#"{"type": "message_start", "message": {"id": "a-1", "model": "m-2", "content": []}}"#,
            r#"{"candidates": [], "modelVersion": "m-2", "responseId": "a-1"}"#,
        ] {
            assert_eq!(Answerer::read(piece), Some(both.clone()), "{piece}");
        }
        for piece in ["[DONE]", "{}", r#"{"id": 7}"#, r#"{"message": "no"}"#] {
            assert_eq!(Answerer::read(piece), None, "{piece}");
        }
    }
}
