//! BM25 over one tenant's passages.
//!
//! `analysis` cuts text into terms. Rows that were folded lie in immutable segments (`segment`, one byte
//! bundle each, read in place), rows that were not yet lie in the `tail`; both score with the statistics
//! of the whole tenant, so their scores compare. Positions are not stored: a quoted phrase narrows the
//! search to rows with all its words, and `query` then verifies the order on the text of the best.
//! Knows rows by number only; which passage a row is, and who may see it, is the caller's.

mod analysis;
mod best;
mod bm25;
mod bundle;
mod query;
mod scan;
mod segment;
mod tail;
#[cfg(test)]
mod tests;

use std::ops::Range;

use quire_types::Language;

pub use analysis::terms;
pub(crate) use analysis::terms_of;
pub(crate) use bm25::Bm25;
pub(crate) use bundle::checksum;
pub(crate) use query::{LexicalQuery, Statistics};
pub(crate) use segment::{LexicalBuilder, LexicalSegment};
pub(crate) use tail::LexicalTail;

/// The byte ranges of `text` that answer `query`, in order and apart: its words in any inflection, its
/// identifiers, its quoted phrases as a whole.
pub fn highlight(text: &str, query: &str, language: Language) -> Vec<Range<usize>> {
    LexicalQuery::parse(query, language).highlight(text)
}
