//! A question as terms, phrases and statistics.
//!
//! Distinct words of the question may be found, those of quoted phrases must be; a code such as
//! `INV-2024-0117` is looked for as a whole and in parts. Knows text, but no index.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use quire_types::Language;

use super::analysis::{Analyzer, Kind};

/// A pasted page must not become a query of thousands of terms.
const MAX_TERMS: usize = 64;
/// A row that holds a code that the question names stands before rows with all its parts: each of up to
/// three parts can be worth 2.2 times (`k1 + 1`) what it is worth once.
const IDENTIFIER_WEIGHT: f32 = 4.0;

/// One distinct term of a question.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct QueryTerm {
    pub(crate) text: String,
    /// What its score is multiplied with.
    pub(crate) weight: f32,
    /// Whether rows without it are left out.
    pub(crate) is_required: bool,
    /// Whether the question holds it only inside a longer code.
    is_part: bool,
}

/// A parsed question.
pub(crate) struct LexicalQuery {
    terms: Vec<QueryTerm>,
    /// Numbers of words in `words`.
    phrases: Vec<Vec<usize>>,
    /// The distinct words of the phrases.
    words: HashMap<String, usize>,
    analyzer: Mutex<Analyzer>,
}

impl LexicalQuery {
    /// The terms of a question. Text between double quotes is a phrase; a quote right after a digit opens
    /// none, since it means inches. Stop words count only in phrases and where there is nothing else.
    pub(crate) fn parse(text: &str, language: Language) -> Self {
        let mut parser = Parser {
            analyzer: Analyzer::new(language),
            terms: Vec::new(),
            phrases: Vec::new(),
            words: HashMap::new(),
        };
        let mut stop_words = Vec::new();
        for (part, is_quoted) in quoted_parts(text) {
            let skipped = parser.add(part, is_quoted);
            stop_words.extend(skipped);
        }
        if parser.terms.is_empty() {
            for word in stop_words {
                parser.add_term(word, 1.0, false, false);
            }
        }
        Self {
            terms: parser.terms,
            phrases: parser.phrases,
            words: parser.words,
            analyzer: Mutex::new(parser.analyzer),
        }
    }

    /// The distinct terms, at most 64.
    pub(crate) fn terms(&self) -> &[QueryTerm] {
        &self.terms
    }

    /// Whether the question holds nothing to look for.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether candidates have to be verified with [`Self::phrases_match`].
    pub(crate) fn has_phrases(&self) -> bool {
        !self.phrases.is_empty()
    }

    /// Whether each quoted phrase stands in the context or in the body, word after word, in any inflection.
    pub(crate) fn phrases_match(&self, context: &str, body: &str) -> bool {
        if self.phrases.is_empty() {
            return true;
        }
        let context = self.phrase_words(context);
        let body = self.phrase_words(body);
        self.phrases.iter().all(|phrase| {
            [&context, &body].into_iter().any(|words| {
                words
                    .windows(phrase.len())
                    .any(|window| same(window, phrase))
            })
        })
    }

    /// The byte ranges of `text` that answer the question, in order and apart.
    pub(crate) fn highlight(&self, text: &str) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut parts: Vec<Range<usize>> = Vec::new();
        let mut has_identifier = false;
        let mut analyzer = self.analyzer();
        let mut tokens = analyzer.tokens(text);
        let mut term = String::new();
        while let Some(found) = tokens.next(&mut term) {
            let Some(matched) = self.terms.iter().find(|known| known.text == term) else {
                continue;
            };
            has_identifier |= found.kind == Kind::Identifier;
            if matched.is_part {
                parts.push(found.range);
            } else {
                ranges.push(found.range);
            }
        }
        drop(analyzer);
        // Where the code itself stands, its parts elsewhere ("2024") mean nothing.
        if !has_identifier {
            ranges.append(&mut parts);
        }
        let words = self.phrase_words(text);
        for phrase in &self.phrases {
            for window in words.windows(phrase.len()) {
                if same(window, phrase)
                    && let (Some((_, first)), Some((_, last))) = (window.first(), window.last())
                {
                    ranges.push(first.start..last.end);
                }
            }
        }
        merged(ranges)
    }

    /// The words of a text with their places; numbers of words that no phrase holds are absent.
    fn phrase_words(&self, text: &str) -> Vec<(Option<usize>, Range<usize>)> {
        let mut words = Vec::new();
        if self.phrases.is_empty() {
            return words;
        }
        let mut analyzer = self.analyzer();
        let mut tokens = analyzer.tokens(text);
        let mut term = String::new();
        while let Some(found) = tokens.next(&mut term) {
            if found.kind != Kind::Identifier {
                words.push((self.words.get(&term).copied(), found.range));
            }
        }
        words
    }

    fn analyzer(&self) -> MutexGuard<'_, Analyzer> {
        // Nothing in it can be half done that matters: it only remembers stems.
        self.analyzer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn same(window: &[(Option<usize>, Range<usize>)], phrase: &[usize]) -> bool {
    window
        .iter()
        .zip(phrase)
        .all(|((word, _), expected)| *word == Some(*expected))
}

/// The union of ranges, in order.
fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut union: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match union.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => union.push(range),
        }
    }
    union
}

struct Parser {
    analyzer: Analyzer,
    terms: Vec<QueryTerm>,
    phrases: Vec<Vec<usize>>,
    words: HashMap<String, usize>,
}

impl Parser {
    /// Takes the terms of one part and returns the stop words that it left out.
    fn add(&mut self, text: &str, is_quoted: bool) -> Vec<String> {
        let mut found = Vec::new();
        let mut tokens = self.analyzer.tokens(text);
        let mut term = String::new();
        while found.len() < 2 * MAX_TERMS
            && let Some(token) = tokens.next(&mut term)
        {
            found.push((token, term.clone()));
        }
        if is_quoted {
            let phrase: Vec<usize> = found
                .iter()
                .filter(|(token, _)| token.kind != Kind::Identifier)
                .map(|(_, term)| {
                    let next = self.words.len();
                    *self.words.entry(term.clone()).or_insert(next)
                })
                .collect();
            if !phrase.is_empty() {
                self.phrases.push(phrase);
            }
        }
        let only_stop_words = found.iter().all(|(token, _)| token.kind == Kind::StopWord);
        let mut stop_words = Vec::new();
        let mut code_end = 0;
        for (token, term) in found {
            match token.kind {
                Kind::StopWord if !(is_quoted && only_stop_words) => stop_words.push(term),
                Kind::Identifier => {
                    code_end = code_end.max(token.range.end);
                    self.add_term(term, IDENTIFIER_WEIGHT, is_quoted, false);
                }
                Kind::Word | Kind::StopWord => {
                    self.add_term(term, 1.0, is_quoted, token.range.start < code_end);
                }
            }
        }
        stop_words
    }

    fn add_term(&mut self, text: String, weight: f32, is_required: bool, is_part: bool) {
        if let Some(known) = self.terms.iter_mut().find(|known| known.text == text) {
            known.is_required |= is_required;
            known.is_part &= is_part;
        } else if self.terms.len() < MAX_TERMS {
            self.terms.push(QueryTerm {
                text,
                weight,
                is_required,
                is_part,
            });
        }
    }
}

/// A text in parts outside and inside double quotes. A quote that is never closed is ignored.
fn quoted_parts(text: &str) -> Vec<(&str, bool)> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut opened: Option<usize> = None;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let is_inches = c == '"' && before.is_ascii_digit() && opened.is_none();
        if matches!(c, '"' | '“' | '”' | '„' | '«' | '»') && !is_inches {
            match opened.take() {
                None => opened = Some(at),
                Some(open) => {
                    parts.push((&text[start..open], false));
                    parts.push((&text[open..at], true));
                    start = at;
                }
            }
        }
        before = c;
    }
    parts.push((&text[start..], false));
    parts
}

/// The numbers that BM25 needs of all rows of the tenant, summed over its segments and its tail. Removed
/// rows count until a merge drops them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statistics {
    pub(crate) rows: u64,
    /// The terms of all rows, repeated ones counted.
    pub(crate) tokens: u64,
    /// Rows that hold each of the query's terms, in the order of [`LexicalQuery::terms`].
    pub(crate) doc_freq: Vec<u64>,
}

impl Statistics {
    /// Of no rows yet.
    pub(crate) fn new(query: &LexicalQuery) -> Self {
        Self {
            rows: 0,
            tokens: 0,
            doc_freq: vec![0; query.terms().len()],
        }
    }

    /// The average number of terms of a row.
    pub(crate) fn average_length(&self) -> f32 {
        self.tokens as f32 / self.rows.max(1) as f32
    }
}
