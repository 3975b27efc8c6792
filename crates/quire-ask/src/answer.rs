//! What an answer consists of, and the events in which it arrives.

use quire_index::Hit;
use quire_types::{NanoUsd, NotebookId, PassageId, Place, SourceId};
use serde::{Deserialize, Serialize};

use crate::explain::Explanation;
use crate::router::Decision;

/// How an answer came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerKind {
    /// Sentences of the sources, word for word.
    Extractive,
    /// Written by a model from the passages.
    Composed,
    /// The sources do not answer the question.
    Unanswered,
}

impl AnswerKind {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Extractive => "extractive",
            Self::Composed => "composed",
            Self::Unanswered => "unanswered",
        }
    }
}

/// What a reader should know about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// There is no model.
    Quoted,
    /// The plan lacks the way that the question calls for.
    Simpler,
    /// The plan lacks questions over several notebooks.
    NotInPlan,
    /// The budget for models is used up.
    NoBudget,
    /// No model answers right now.
    Limited,
    /// The model reached its length limit.
    Cut,
    /// The model broke off.
    BrokenOff,
    /// A part of the sources could not be read.
    Degraded,
}

impl Note {
    /// The words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Quoted => "extractive answer: sentences quoted from the sources",
            Self::Simpler => {
                "the plan has no questions that compare or sum up: answered as a simple one"
            }
            Self::NotInPlan => {
                "the plan has no questions over several notebooks: sentences quoted from the sources"
            }
            Self::NoBudget => "the budget for models is used up: sentences quoted from the sources",
            Self::Limited => "AI temporarily limited: sentences quoted from the sources",
            Self::Cut => "the model reached its length limit: the answer is not complete",
            Self::BrokenOff => {
                "AI temporarily limited: the model broke off, the answer is not complete"
            }
            Self::Degraded => {
                "a part of the sources can't be read right now: there may be more to say"
            }
        }
    }

    /// Whether the next one who asks the same should get this answer, too.
    pub(crate) const fn is_lasting(self) -> bool {
        matches!(self, Self::Quoted | Self::Simpler | Self::Cut)
    }
}

/// A place in a source that supports a part of the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Citation {
    /// The number it has in the answer's text, from 1.
    pub marker: u32,
    /// The passage.
    pub passage: PassageId,
    /// The source.
    pub source: SourceId,
    /// The version of the source that was read.
    pub source_version: i32,
    /// The name of the source.
    pub source_name: String,
    /// The notebook it is in.
    pub notebook: NotebookId,
    /// Where the quote stands.
    pub place: Place,
    /// The words of the source.
    pub quote: String,
}

/// How well a statement stands on what it cites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Support {
    /// It cites passages that share its words.
    Cited,
    /// It cites passages that do not share its words.
    Doubtful,
    /// It cites nothing that exists.
    Uncited,
}

impl Support {
    /// The stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cited => "cited",
            Self::Doubtful => "doubtful",
            Self::Uncited => "uncited",
        }
    }
}

/// One statement of an answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// First character in the answer's text.
    pub char_start: u32,
    /// One past its last character.
    pub char_end: u32,
    /// The citations it names.
    pub markers: Vec<u32>,
    /// How well it stands.
    pub support: Support,
}

/// What an answer used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Passages that were looked at.
    pub passages: u32,
    /// Tokens a model read.
    pub input_tokens: u64,
    /// Tokens a model wrote.
    pub output_tokens: u64,
    /// Of those read, tokens that its cache held.
    pub cached_tokens: u64,
    /// What these cost.
    pub cost: NanoUsd,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// How it came to be.
    pub kind: AnswerKind,
    /// The text, with `[n]` after what citation n supports. Holds no link and no image.
    pub text: String,
    /// What to tell the reader about it, if anything.
    pub note: Option<Note>,
    /// Archived notebooks that were not looked at, in a question over all notebooks.
    #[serde(default)]
    pub archived: usize,
    /// How its passages were found, where that was asked for.
    #[serde(default)]
    pub explanation: Option<Box<Explanation>>,
    /// The question as it was understood, where it followed others or is nearly one that was answered before.
    pub understood: Option<String>,
    /// What the markers point at, in order.
    pub citations: Vec<Citation>,
    /// Its statements.
    pub claims: Vec<Claim>,
    /// The model that wrote it.
    pub model: Option<String>,
    /// The way it was made, and why that one.
    pub decision: Decision,
    /// Whether it was given before and used nothing now.
    pub is_cached: bool,
    /// What it used.
    pub usage: Usage,
}

impl Answer {
    /// An answer of this kind that says nothing yet.
    pub(crate) fn empty(kind: AnswerKind, decision: Decision, usage: Usage) -> Self {
        Self {
            kind,
            text: String::new(),
            note: None,
            archived: 0,
            explanation: None,
            understood: None,
            citations: Vec::new(),
            claims: Vec::new(),
            model: None,
            decision,
            is_cached: false,
            usage,
        }
    }

    /// What to tell the reader about it, in words.
    pub fn remark(&self) -> Option<String> {
        let archived = match self.archived {
            0 => None,
            1 => Some("one archived notebook was left out: name it, and it comes back".to_owned()),
            count => Some(format!(
                "{count} archived notebooks were left out: name one, and it comes back"
            )),
        };
        let note = self.note.map(|note| note.as_str().to_owned());
        let all: Vec<String> = note.into_iter().chain(archived).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// A part of an answer as it arrives. `Source`s come first, then text and citations, then `Usage`.
#[derive(Clone, Debug)]
pub enum Event {
    /// A passage that was found.
    Source {
        /// Its rank, from 1.
        rank: u32,
        /// The passage.
        hit: Box<Hit>,
    },
    /// More text.
    Delta(String),
    /// What a marker in the text so far points at.
    Citation(Box<Citation>),
    /// What the answer used.
    Usage(Usage),
}

impl Event {
    pub(crate) fn source(rank: u32, hit: &Hit) -> Self {
        Self::Source {
            rank,
            hit: Box::new(hit.clone()),
        }
    }
}

impl Citation {
    /// A citation of a part of a passage: `chars` counts from the beginning of the passage.
    pub(crate) fn of(hit: &Hit, marker: u32, quote: &str, chars: std::ops::Range<u32>) -> Self {
        let passage = &hit.passage;
        Self {
            marker,
            passage: passage.id,
            source: passage.source,
            source_version: passage.source_version,
            source_name: passage.source_name.clone(),
            notebook: passage.notebook,
            place: passage.place.part(chars),
            quote: quote.to_owned(),
        }
    }
}
