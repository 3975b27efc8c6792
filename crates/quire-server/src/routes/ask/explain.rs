//! How the passages of an answer were found, as JSON.

use quire_ask::{Explanation, Origin, Step};
use serde::Serialize;
use utoipa::ToSchema;

/// How the passages of the answer were found; only when `explain` was asked for.
#[derive(Serialize, ToSchema)]
pub(crate) struct AskExplainOut {
    /// Other phrasings that were looked for, too: words of a model, to be shown as text.
    phrasings: Vec<String>,
    /// What was done, in order. A step that failed is skipped, and the answer is made without it.
    steps: Vec<StepOut>,
    /// The passages in the order of the `source` events.
    passages: Vec<OriginOut>,
}

/// One step on the way to the passages.
#[derive(Serialize, ToSchema)]
struct StepOut {
    /// `rephrase`, `search`, `rerank`, `per_source`, `neighbours` or `context`.
    name: &'static str,
    /// `done`, `off` (by configuration) or `skipped`.
    outcome: &'static str,
    detail: String,
    /// The model that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    /// What its models cost, in US dollars.
    #[schema(example = "$0.002")]
    cost: String,
}

/// What brought a passage to its rank.
#[derive(Serialize, ToSchema)]
struct OriginOut {
    passage: String,
    /// Its rank, from 1, in what the question and then each phrasing found; null where it is not there.
    ranks: Vec<Option<u32>>,
    /// The score of the model that put them in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    rerank_score: Option<f32>,
    /// Whether it was not found but stands beside one that was.
    neighbour: bool,
    /// Whether the answer was made with it: there was room.
    read: bool,
}

impl AskExplainOut {
    pub(super) fn of(explanation: Explanation) -> Self {
        Self {
            phrasings: explanation.phrasings,
            steps: explanation.steps.into_iter().map(StepOut::of).collect(),
            passages: explanation.passages.iter().map(OriginOut::of).collect(),
        }
    }
}

impl StepOut {
    fn of(step: Step) -> Self {
        Self {
            name: step.name.as_str(),
            outcome: step.outcome.as_str(),
            detail: step.detail,
            model: step.model,
            cost: step.cost.to_string(),
        }
    }
}

impl OriginOut {
    fn of(origin: &Origin) -> Self {
        Self {
            passage: origin.passage.to_string(),
            ranks: origin.ranks.clone(),
            rerank_score: origin.rerank_score,
            neighbour: origin.is_neighbour,
            read: origin.is_read,
        }
    }
}
