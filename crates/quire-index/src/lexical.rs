//! BM25 over one tenant's rows, through tantivy in memory.
//!
//! A writer with its thread lives only while rows are added. Removed rows stay in the index until the
//! view is rebuilt; the mask keeps them out of the result.

use std::borrow::Cow;
use std::sync::Arc;

use tantivy::collector::{FilterCollector, TopDocs};
use tantivy::indexer::NoMergePolicy;
use tantivy::query::{BooleanQuery, Occur, Query, TermQuery};
use tantivy::schema::{FAST, Field, IndexRecordOption, Schema, TextFieldIndexing, TextOptions};
use tantivy::tokenizer::{
    Language, LowerCaser, RemoveLongFilter, SimpleTokenizer, Stemmer, StopWordFilter, TextAnalyzer,
};
use tantivy::{Index, IndexWriter, ReloadPolicy, Searcher, TantivyDocument, Term};

use crate::Error;

const ANALYZER: &str = "words";
const ROW: &str = "row";
/// tantivy's least: one thread's arena.
const WRITER_BYTES: usize = 15_000_000;
/// More segments than this are merged into one.
const MAX_SEGMENTS: usize = 8;

/// An inverted index that rows are added to.
#[derive(Clone)]
pub(crate) struct Lexical {
    index: Index,
    row: Field,
    text: Field,
    searcher: Searcher,
}

impl Lexical {
    pub(crate) fn new() -> Result<Self, Error> {
        let mut schema = Schema::builder();
        let row = schema.add_u64_field(ROW, FAST);
        let indexing = TextFieldIndexing::default()
            .set_tokenizer(ANALYZER)
            .set_index_option(IndexRecordOption::WithFreqs);
        let text = schema.add_text_field(
            "text",
            TextOptions::default().set_indexing_options(indexing),
        );
        let index = Index::create_in_ram(schema.build());
        index.tokenizers().register(ANALYZER, analyzer());
        let searcher = searcher(&index)?;
        Ok(Self {
            index,
            row,
            text,
            searcher,
        })
    }

    /// The index with more rows; `self` goes on seeing what it saw.
    pub(crate) fn with_rows<'a>(
        &self,
        rows: impl Iterator<Item = (u64, &'a str, &'a str)>,
    ) -> Result<Self, Error> {
        let mut writer: IndexWriter = self.index.writer_with_num_threads(1, WRITER_BYTES)?;
        writer.set_merge_policy(Box::new(NoMergePolicy));
        for (row, context, body) in rows {
            let mut document = TantivyDocument::default();
            document.add_u64(self.row, row);
            document.add_text(self.text, plain_numbers(context));
            document.add_text(self.text, plain_numbers(body));
            writer.add_document(document)?;
        }
        writer.commit()?;
        let segments = self.index.searchable_segment_ids()?;
        if segments.len() > MAX_SEGMENTS {
            writer.merge(&segments).wait()?;
        }
        writer.wait_merging_threads()?;
        Ok(Self {
            searcher: searcher(&self.index)?,
            ..self.clone()
        })
    }

    /// The best rows that hold any word of `text` and that the mask lets through, best first.
    pub(crate) fn search(
        &self,
        text: &str,
        mask: Option<Arc<[bool]>>,
        limit: usize,
    ) -> Result<Vec<(usize, f32)>, Error> {
        let terms = self.terms(text);
        if terms.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        let query = BooleanQuery::new(terms);
        let best = TopDocs::with_limit(limit).order_by_score();
        let found = match mask {
            None => self.searcher.search(&query, &best)?,
            Some(mask) => {
                let passes = move |row: u64| {
                    usize::try_from(row).is_ok_and(|row| mask.get(row) == Some(&true))
                };
                self.searcher
                    .search(&query, &FilterCollector::new(ROW.to_owned(), passes, best))?
            }
        };
        let columns = self
            .searcher
            .segment_readers()
            .iter()
            .map(|segment| segment.fast_fields().u64(ROW))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(found
            .into_iter()
            .filter_map(|(score, address)| {
                let column = columns.get(address.segment_ord as usize)?;
                let row = column.first(address.doc_id)?;
                Some((usize::try_from(row).ok()?, score))
            })
            .collect())
    }

    fn terms(&self, text: &str) -> Vec<(Occur, Box<dyn Query>)> {
        let mut distinct: Vec<String> = Vec::new();
        for term in terms(text) {
            if distinct.len() < MAX_TERMS && !distinct.contains(&term) {
                distinct.push(term);
            }
        }
        distinct
            .iter()
            .map(|term| -> (Occur, Box<dyn Query>) {
                let term = Term::from_field_text(self.text, term);
                (
                    Occur::Should,
                    Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs)),
                )
            })
            .collect()
    }
}

/// The terms of a text as the index sees them, in order: lower case, stemmed, without stop words.
pub fn terms(text: &str) -> Vec<String> {
    let text = plain_numbers(text);
    let mut analyzer = analyzer();
    let mut tokens = analyzer.token_stream(&text);
    let mut terms = Vec::new();
    while let Some(token) = tokens.next() {
        terms.push(token.text.clone());
    }
    terms
}

/// Numbers without leading zeros, so that "change order 1" finds "Change Order 01". Digits after a point
/// or inside a longer code stay as they are.
fn plain_numbers(text: &str) -> Cow<'_, str> {
    let mut plain = String::new();
    let mut kept = 0;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        if c == '0' && !before.is_alphanumeric() && !matches!(before, '.' | ',') {
            let rest = &text[at..];
            let zeros = rest.len() - rest.trim_start_matches('0').len();
            let number = rest[zeros..].bytes().take_while(u8::is_ascii_digit).count();
            let ends = rest[zeros + number..]
                .chars()
                .next()
                .is_none_or(|next| !next.is_alphanumeric());
            if number > 0 && ends && at >= kept {
                plain.push_str(&text[kept..at]);
                kept = at + zeros;
            }
        }
        before = c;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    plain.push_str(&text[kept..]);
    Cow::Owned(plain)
}

/// A pasted page must not become a query of thousands of terms.
const MAX_TERMS: usize = 64;

/// Words in lower case, without English stop words, stemmed.
fn analyzer() -> TextAnalyzer {
    let words = TextAnalyzer::builder(SimpleTokenizer::default())
        .filter(RemoveLongFilter::limit(100))
        .filter(LowerCaser);
    match StopWordFilter::new(Language::English) {
        Some(stop_words) => words
            .filter(stop_words)
            .filter(Stemmer::new(Language::English))
            .build(),
        None => words.filter(Stemmer::new(Language::English)).build(),
    }
}

fn searcher(index: &Index) -> Result<Searcher, Error> {
    let reader = index
        .reader_builder()
        .reload_policy(ReloadPolicy::Manual)
        .try_into()?;
    Ok(reader.searcher())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_zeros_do_not_hide_a_number() {
        for (given, expected) in [
            ("Change Order 01", "Change Order 1"),
            ("RFI-007, 0.05 and 1.05", "RFI-7, 0.05 and 1.05"),
            ("000", "000"),
            ("A007 007A 10", "A007 007A 10"),
            ("", ""),
        ] {
            assert_eq!(plain_numbers(given), expected);
        }
    }

    #[test]
    fn terms_are_stemmed_and_without_stop_words() {
        assert_eq!(
            terms("The Trusses are SET on 03 May"),
            ["truss", "set", "3", "may"]
        );
    }
}
