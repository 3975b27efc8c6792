//! Vectors from a provider. Splits a list by what a provider takes at once; refuses to swap models.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::Error;
use crate::registry::Wire;
use crate::server::{Server, Told};

/// What providers take in one request: OpenAI 2,048 texts and 300,000 tokens, Gemini 100 texts. Bytes stand in
/// for tokens, of which there are never more.
const OPENAI_TEXTS: usize = 2_048;
const GEMINI_TEXTS: usize = 100;
const MOST_BYTES: usize = 300_000;

/// Texts and bytes that a provider of this wire takes in one request for vectors.
pub(crate) fn at_once(wire: Wire) -> (usize, usize) {
    match wire {
        Wire::Gemini => (GEMINI_TEXTS, MOST_BYTES),
        _ => (OPENAI_TEXTS, MOST_BYTES),
    }
}

/// Texts that are to become vectors.
#[derive(Clone, Copy, Debug)]
pub struct EmbedCall<'a> {
    /// The model, by its name at the provider.
    pub model: &'a str,
    /// The texts, none of them empty.
    pub texts: &'a [String],
    /// Numbers in each vector.
    pub dimensions: u32,
    /// Whether the texts are questions; some models tell them from passages.
    pub are_questions: bool,
}

/// The vectors of texts.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedded {
    /// One for each text, in their order.
    pub vectors: Vec<Vec<f32>>,
    /// Tokens read, where the server said so for all of them.
    pub input_tokens: Option<u64>,
    /// What the server said of its limits last.
    pub told: Told,
}

#[derive(Deserialize)]
pub(crate) struct OpenAi {
    pub(crate) data: Vec<Indexed>,
    pub(crate) usage: Option<Usage>,
}

#[derive(Deserialize)]
pub(crate) struct Indexed {
    index: usize,
    pub(crate) embedding: Vec<f32>,
}

#[derive(Deserialize)]
pub(crate) struct Usage {
    pub(crate) prompt_tokens: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Gemini {
    embeddings: Vec<Values>,
    usage_metadata: Option<GeminiUsage>,
}

#[derive(Deserialize)]
struct Values {
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GeminiUsage {
    prompt_token_count: Option<u64>,
}

impl Server {
    /// Turns texts into vectors, in as many requests as that takes, one after the other.
    pub async fn embed(&self, call: &EmbedCall<'_>) -> Result<Embedded, Error> {
        let mut all = Embedded {
            vectors: Vec::with_capacity(call.texts.len()),
            input_tokens: Some(0),
            told: Told::default(),
        };
        let (most, most_bytes) = at_once(self.wire());
        for texts in batches(call.texts, most, most_bytes) {
            let part = self.embed_batch(&EmbedCall { texts, ..*call }).await?;
            all.vectors.extend(part.vectors);
            all.input_tokens = all
                .input_tokens
                .zip(part.input_tokens)
                .map(|(a, b)| a.saturating_add(b));
            all.told = part.told;
        }
        Ok(all)
    }

    async fn embed_batch(&self, call: &EmbedCall<'_>) -> Result<Embedded, Error> {
        let (vectors, input_tokens, told) = match self.wire() {
            Wire::OpenAi | Wire::Responses => {
                let body = openai(call);
                let (mut answer, told): (OpenAi, _) = self.call("embeddings", &body).await?;
                answer.data.sort_by_key(|vector| vector.index);
                let is_whole = answer
                    .data
                    .iter()
                    .map(|vector| vector.index)
                    .eq(0..call.texts.len());
                if !is_whole {
                    return Err(malformed("vectors of other texts than those it was given"));
                }
                let vectors = answer
                    .data
                    .into_iter()
                    .map(|vector| vector.embedding)
                    .collect();
                (
                    vectors,
                    answer.usage.and_then(|usage| usage.prompt_tokens),
                    told,
                )
            }
            Wire::Gemini => {
                let body = gemini(call);
                let path = format!("models/{}:batchEmbedContents", call.model);
                let (answer, told): (Gemini, _) = self.call(&path, &body).await?;
                let vectors: Vec<Vec<f32>> = answer
                    .embeddings
                    .into_iter()
                    .map(|vector| vector.values)
                    .collect();
                let usage = answer.usage_metadata;
                (
                    vectors,
                    usage.and_then(|usage| usage.prompt_token_count),
                    told,
                )
            }
            wire => {
                return Err(Error::Config(format!(
                    "a provider with wire {wire:?} has no embedding models"
                )));
            }
        };
        if vectors.len() != call.texts.len() {
            return Err(malformed("another number of vectors than texts"));
        }
        if !vectors
            .iter()
            .all(|vector| is_sound(vector, call.dimensions))
        {
            return Err(malformed(
                "a vector of another length, or one that is no number",
            ));
        }
        Ok(Embedded {
            vectors,
            input_tokens,
            told,
        })
    }
}

/// Whether a vector has its length and can be measured.
pub(crate) fn is_sound(vector: &[f32], dimensions: u32) -> bool {
    vector.len() == dimensions as usize && vector.iter().all(|number| number.is_finite())
}

/// What OpenAI is asked.
pub(crate) fn openai(call: &EmbedCall<'_>) -> Value {
    json!({"model": call.model, "input": call.texts, "dimensions": call.dimensions, "encoding_format": "float"})
}

fn gemini(call: &EmbedCall<'_>) -> Value {
    let requests: Vec<Value> = call
        .texts
        .iter()
        .map(|text| gemini_request(call.model, text, call.dimensions, call.are_questions))
        .collect();
    json!({ "requests": requests })
}

/// What Gemini is asked about one text.
pub(crate) fn gemini_request(model: &str, text: &str, dimensions: u32, is_question: bool) -> Value {
    let task = match is_question {
        true => "RETRIEVAL_QUERY",
        false => "RETRIEVAL_DOCUMENT",
    };
    json!({"model": format!("models/{model}"), "content": {"parts": [{"text": text}]},
        "taskType": task, "outputDimensionality": dimensions})
}

/// Pieces of the list with so many texts and bytes at most; a longer text is a piece by itself.
pub fn batches(
    texts: &[String],
    most: usize,
    most_bytes: usize,
) -> impl Iterator<Item = &[String]> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(most).take_while(|text| {
            bytes += text.len();
            bytes <= most_bytes
        });
        let count = fitting.count().max(1).min(rest.len());
        let (batch, others) = rest.split_at(count);
        rest = others;
        (!batch.is_empty()).then_some(batch)
    })
}

fn malformed(what: &str) -> Error {
    Error::Malformed {
        what: what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_cut_by_number_and_by_size_and_nothing_is_lost() {
        let texts: Vec<String> = [200_000, 100_000, 1, 400_000, 5]
            .iter()
            .map(|length| "x".repeat(*length))
            .collect();
        let sizes: Vec<usize> = batches(&texts, 10, MOST_BYTES)
            .map(<[String]>::len)
            .collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
        let sizes: Vec<usize> = batches(&texts[..3], 1, MOST_BYTES)
            .map(<[String]>::len)
            .collect();
        assert_eq!(sizes, [1, 1, 1]);
        assert_eq!(batches(&[], 10, MOST_BYTES).count(), 0);
    }
}
