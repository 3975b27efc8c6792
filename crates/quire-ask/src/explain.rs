//! How the passages of an answer were found, for whoever wants to know: each step with what came of it, and each
//! passage with what brought it there. Told on request; nothing is decided by it.

use quire_types::{Kind, NanoUsd, PassageId};
use serde::{Deserialize, Serialize};
use tracing::warn;

/// How the passages of an answer were found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Other phrasings of the question that were looked for, too.
    pub phrasings: Vec<String>,
    /// The steps, in their order.
    pub steps: Vec<Step>,
    /// The passages, in the order in which they were told.
    pub passages: Vec<Origin>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub name: StepName,
    /// What came of it.
    pub outcome: Outcome,
    /// The same in words.
    pub detail: String,
    /// The model that was asked last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// What its models cost.
    pub cost: NanoUsd,
}

/// The name of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepName {
    /// A model says the question in other words.
    Rephrase,
    /// Passages are searched for, by the question and by each phrasing.
    Search,
    /// A model puts what was found in order.
    Rerank,
    /// Of one source no more than so many come first.
    PerSource,
    /// What stands beside the best is read, too.
    Neighbours,
    /// As much as there is room for is given to the model.
    Context,
}

impl StepName {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rephrase => "rephrase",
            Self::Search => "search",
            Self::Rerank => "rerank",
            Self::PerSource => "per_source",
            Self::Neighbours => "neighbours",
            Self::Context => "context",
        }
    }
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// The configuration leaves it out.
    Off,
    /// It could not be done, and the answer was made without it.
    Skipped,
}

impl Outcome {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Off => "off",
            Self::Skipped => "skipped",
        }
    }
}

/// What brought a passage there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The passage.
    pub passage: PassageId,
    /// Its rank, from 1, in the list of the question and then of each phrasing; none where it is not in that list.
    pub ranks: Vec<Option<u32>>,
    /// The score that a model gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerank_score: Option<f32>,
    /// Whether it was not found but stands beside one that was.
    pub is_neighbour: bool,
    /// Whether the answer was made with it: there was room.
    pub is_read: bool,
}

impl Step {
    /// A step that nothing has come of yet.
    pub(crate) fn new(name: StepName) -> Self {
        Self {
            name,
            outcome: Outcome::Skipped,
            detail: String::new(),
            model: None,
            cost: NanoUsd::ZERO,
        }
    }

    /// Its model failed. The words of the error are the operator's.
    pub(crate) fn failed(&mut self, error: &quire_models::Error) {
        warn!(%error, step = self.name.as_str(), "a model failed; the step is left out");
        self.detail = format!("the model failed: {}", error.kind().as_str());
    }
}

impl Explanation {
    /// Notes a step that asked no model.
    pub(crate) fn note(&mut self, name: StepName, outcome: Outcome, detail: impl Into<String>) {
        self.steps.push(Step {
            outcome,
            detail: detail.into(),
            ..Step::new(name)
        });
    }

    /// Notes that the answer was made from the first `read` passages.
    pub(crate) fn note_read(&mut self, read: u32) {
        let all = self.passages.len();
        for (origin, number) in self.passages.iter_mut().zip(0..) {
            origin.is_read = number < read;
        }
        let detail = format!("the answer was made from the first {read} of {all} passages");
        self.note(StepName::Context, Outcome::Done, detail);
    }

    /// What all models together cost.
    pub(crate) fn cost(&self) -> NanoUsd {
        self.steps.iter().map(|step| step.cost).sum()
    }
}
