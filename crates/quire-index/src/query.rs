//! What is asked of search, and what it answers.

use quire_store::passages::Passage;
use quire_types::{MediaType, NotebookId, Timestamp};
use serde::{Deserialize, Serialize};

/// Which paths are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Both, fused.
    #[default]
    Hybrid,
    /// BM25 only.
    Lexical,
    /// Vectors only.
    Dense,
}

/// Which passages may be found. An absent condition lets everything through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only in these notebooks.
    pub notebooks: Option<Vec<NotebookId>>,
    /// Only in sources of these types.
    pub media_types: Option<Vec<MediaType>>,
    /// Only versions added at this instant or later.
    pub added_from: Option<Timestamp>,
    /// Only versions added before this instant.
    pub added_before: Option<Timestamp>,
}

/// A search.
#[derive(Clone, Debug)]
pub struct Query {
    /// The words.
    pub text: String,
    /// Their vector, of unit length.
    pub vector: Vec<f32>,
    /// Which passages may be found.
    pub filter: Filter,
    /// How many passages are wanted.
    pub limit: usize,
    /// Which paths are used.
    pub mode: Mode,
}

/// How a passage came to its rank.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// What the list is ordered by.
    pub fused: f32,
    /// BM25; none when no term of the question occurs.
    pub lexical: Option<f32>,
    /// Cosine of the angle between passage and question.
    pub dense: f32,
}

/// A passage that was found.
#[derive(Clone, Debug)]
pub struct Hit {
    /// The passage.
    pub passage: Passage,
    /// How it came to its rank.
    pub scores: Scores,
}
