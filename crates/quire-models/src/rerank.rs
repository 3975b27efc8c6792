//! Passages put in order by a provider: in Cohere's shape, which vLLM and others speak too, or by the scores that
//! servers of cross-encoders give to pairs.

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
    /// The place of a passage in the list, and its score, best first. Scores of two questions can't be compared.
    pub order: Vec<(usize, f32)>,
    /// What is paid for, where the server said so.
    pub searches: Option<u64>,
    /// Tokens that were read, where the server said so.
    pub input_tokens: Option<u64>,
    /// What the server said of its limits.
    pub told: Told,
}

/// The answer of `rerank`.
#[derive(Deserialize)]
struct Ranking {
    results: Vec<Ranked>,
    meta: Option<Meta>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Ranked {
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

/// The answer of `score`.
#[derive(Deserialize)]
struct Scores {
    data: Vec<Scored>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Scored {
    index: usize,
    score: f32,
}

#[derive(Deserialize)]
struct Usage {
    total_tokens: Option<u64>,
}

impl Server {
    /// Orders passages by how well they answer a question.
    pub async fn rerank(&self, call: &RerankCall<'_>) -> Result<Reranked, Error> {
        if !matches!(self.wire(), Wire::Cohere | Wire::OpenAi | Wire::Responses) {
            return Err(self.orders_nothing());
        }
        let body = json!({"model": call.model, "query": call.query, "documents": call.documents, "top_n": call.top});
        let (answer, told): (Ranking, _) = self.call("rerank", &body).await?;
        let scores = answer.results.iter();
        let scores = scores.map(|ranked| (ranked.index, ranked.relevance_score));
        let units = answer
            .meta
            .and_then(|meta| meta.billed_units)
            .and_then(|billed| billed.search_units)
            .filter(|units| (0.0..1e6).contains(units));
        Ok(Reranked {
            order: ordered(scores.collect(), call)?,
            searches: units.map(|units| units.ceil() as u64),
            input_tokens: answer.usage.and_then(|usage| usage.total_tokens),
            told,
        })
    }

    /// Orders passages by the score that each of them gets beside the question, as vLLM's score API tells it.
    pub async fn score(&self, call: &RerankCall<'_>) -> Result<Reranked, Error> {
        if !matches!(self.wire(), Wire::OpenAi | Wire::Responses) {
            return Err(self.orders_nothing());
        }
        let body = json!({"model": call.model, "text_1": call.query, "text_2": call.documents});
        let (answer, told): (Scores, _) = self.call("score", &body).await?;
        if answer.data.len() != call.documents.len() {
            return Err(of_others());
        }
        let scores = answer.data.iter();
        let scores = scores.map(|scored| (scored.index, scored.score));
        Ok(Reranked {
            order: ordered(scores.collect(), call)?,
            searches: None,
            input_tokens: answer.usage.and_then(|usage| usage.total_tokens),
            told,
        })
    }

    fn orders_nothing(&self) -> Error {
        Error::Config(format!(
            "a provider with wire {:?} orders no passages",
            self.wire()
        ))
    }
}

/// The best first, if each is a passage of the call and none is there twice.
fn ordered(
    mut order: Vec<(usize, f32)>,
    call: &RerankCall<'_>,
) -> Result<Vec<(usize, f32)>, Error> {
    let mut seen = vec![false; call.documents.len()];
    for (index, score) in &order {
        let is_new = seen
            .get_mut(*index)
            .is_some_and(|seen| !std::mem::replace(seen, true));
        if !is_new || !score.is_finite() {
            return Err(of_others());
        }
    }
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.truncate(call.top);
    Ok(order)
}

fn of_others() -> Error {
    Error::Malformed {
        what: "an order of other passages than those it was given".to_owned(),
    }
}
