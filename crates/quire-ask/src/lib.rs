//! A question over a tenant's own passages.
//!
//! `ask` holds the whole path, top to bottom: check the question, let it in, embed it, search, then let a model
//! compose an answer from the passages, or pick sentences from them when there is no model. Every
//! statement of an answer points at a passage; what no passage supports is marked, and when the
//! evidence is weak the answer says so. Knows neither HTTP nor how passages came to be.

mod answer;
mod answering;
mod ask;
mod cache;
mod chains;
mod compose;
mod conversation;
mod error;
mod evidence;
mod explain;
mod extractive;
mod hedging;
mod nearby;
mod queued;
mod reading;
mod recipe;
mod render;
mod rephrase;
mod rerank;
mod retrieval;
mod router;
mod sentences;
mod turn;
mod vector;
mod versions;

pub use answer::{Answer, AnswerKind, Citation, Claim, Event, Note, Support, Usage};
pub use ask::{Asker, AskerConfig, Asking, Found, Question};
pub use cache::{CacheTotals, Caches, Tier};
pub use chains::{ANSWER, BATCH, COMPLEX, REPHRASE, RERANK};
pub use conversation::Said;
pub use error::Error;
pub use explain::{Explanation, Origin, Outcome, Step, StepName};
pub use queued::{AnswerQuestion, Queued};
pub use recipe::Depth;
pub use render::inert;
pub use router::{Chooser, Decision, Reach, Route, Signals, route};
pub use turn::Turn;
