//! What is asked of search, and what it answers.

use quire_store::passages::Passage;
use quire_store::segments::Located;
use quire_types::{Groups, MediaType, NotebookId, SegmentId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Explained, Fusion};

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
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Filter {
    /// Only in these notebooks.
    pub notebooks: Option<Vec<NotebookId>>,
    /// Only in sources of these types.
    pub media_types: Option<Vec<MediaType>>,
    /// Only versions added at this instant or later.
    pub added_from: Option<Timestamp>,
    /// Only versions added before this instant.
    pub added_before: Option<Timestamp>,
    /// Only what somebody in these groups may see: sources for everybody, and those of one of these.
    #[serde(default)]
    pub groups: Option<Groups>,
}

impl Filter {
    /// Whether it lets everything through.
    pub(crate) fn is_open(&self) -> bool {
        self.notebooks.is_none()
            && self.media_types.is_none()
            && self.added_from.is_none()
            && self.added_before.is_none()
            && self.groups.is_none()
    }

    pub(crate) fn passes(&self, source: &Located) -> bool {
        let notebooks = self.notebooks.as_ref();
        let media_types = self.media_types.as_ref();
        notebooks.is_none_or(|notebooks| notebooks.contains(&source.notebook))
            && media_types.is_none_or(|types| types.contains(&source.media_type))
            && self.added_from.is_none_or(|from| source.added_at >= from)
            && self
                .added_before
                .is_none_or(|before| source.added_at < before)
            && (self.groups.as_ref()).is_none_or(|own| {
                let groups = source.groups.as_ref();
                groups.is_none_or(|groups| groups.meet(own))
            })
    }
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
    /// How the two lists become one, when both paths are used.
    pub fusion: Fusion,
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

/// What a search led to.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The passages, best first.
    pub hits: Vec<Hit>,
    /// What decided their order; none when a quoted phrase did, or nothing was found.
    pub explained: Option<Explained>,
    /// Segments that could not be read just now: there may be better passages in them. Empty unless the
    /// object store fails or a file is damaged.
    pub missing: Vec<SegmentId>,
}
