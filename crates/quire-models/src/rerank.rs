//! Passages put in order by a provider, in Cohere's shape, which vLLM and others speak too.

use serde::Deserialize;
use serde_json::json;

use crate::Error;
use crate::registry::Wire;
use crate::server::{Server, Told};

/// Passages that are to be ordered by how well they answer a question.
#[derive(Clone, Copy, Debug)]
pub struct RerankCall<'a> {
    /// The model, by its name at the provider.
    pub model: &'a str,
    /// The question.
    pub query: &'a str,
    /// The passages, 1,000 at most.
    pub documents: &'a [String],
    /// How many of the best are wanted.
    pub top: usize,
}

/// Passages in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Reranked {
    /// The place of a passage in the list, and its score from 0 to 1, best first. Scores of two questions
    /// can't be compared.
    pub order: Vec<(usize, f32)>,
    /// What is paid for, where the server said so.
    pub searches: Option<u64>,
    /// What the server said of its limits.
    pub told: Told,
}

#[derive(Deserialize)]
struct Answer {
    results: Vec<Scored>,
    meta: Option<Meta>,
}

#[derive(Deserialize)]
struct Scored {
    index: usize,
    relevance_score: f32,
}

#[derive(Deserialize)]
struct Meta {
    billed_units: Option<Billed>,
}

#[derive(Deserialize)]
struct Billed {
    search_units: Option<f64>,
}

impl Server {
    /// Orders passages by how well they answer a question.
    pub async fn rerank(&self, call: &RerankCall<'_>) -> Result<Reranked, Error> {
        if !matches!(self.wire(), Wire::Cohere | Wire::OpenAi | Wire::Responses) {
            return Err(Error::Config(format!(
                "a provider with wire {:?} orders no passages",
                self.wire()
            )));
        }
        let body = json!({"model": call.model, "query": call.query, "documents": call.documents, "top_n": call.top});
        let (answer, told): (Answer, _) = self.call("rerank", &body).await?;
        let mut seen = vec![false; call.documents.len()];
        for scored in &answer.results {
            let is_new = seen
                .get_mut(scored.index)
                .is_some_and(|seen| !std::mem::replace(seen, true));
            if !is_new || !scored.relevance_score.is_finite() {
                return Err(Error::Malformed {
                    what: "an order of other passages than those it was given".to_owned(),
                });
            }
        }
        let mut order: Vec<(usize, f32)> = answer
            .results
            .iter()
            .map(|scored| (scored.index, scored.relevance_score))
            .collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        order.truncate(call.top);
        let units = answer
            .meta
            .and_then(|meta| meta.billed_units)
            .and_then(|billed| billed.search_units)
            .filter(|units| (0.0..1e6).contains(units));
        Ok(Reranked {
            order,
            searches: units.map(|units| units.ceil() as u64),
            told,
        })
    }
}
