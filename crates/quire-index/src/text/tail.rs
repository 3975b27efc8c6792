//! An inverted index in memory of the rows that no segment holds yet.
//!
//! Immutable parts, shared between versions: adding rows makes a new part and merges it with parts that are
//! not larger, so that n rows lie in at most log n parts and an older version keeps seeing what it saw. Scores
//! are those of a segment: same formula, same quantised lengths. Knows nothing of commits or of folding.

use std::collections::HashMap;
use std::sync::Arc;

use quire_types::Language;
use tantivy::fieldnorm::FieldNormReader;

use super::analysis::Analyzer;
use super::best::Best;
use super::bm25::Bm25;
use super::query::{LexicalQuery, Statistics};
use crate::mask;

/// The rows of a tenant's tail, numbered from 0 in the order they came.
#[derive(Clone, Debug)]
pub(crate) struct LexicalTail {
    language: Language,
    parts: Vec<Arc<Part>>,
}

impl LexicalTail {
    pub(crate) fn new(language: Language) -> Self {
        Self {
            language,
            parts: Vec::new(),
        }
    }

    /// The tail with more rows, each of context and body; `self` goes on seeing what it saw.
    pub(crate) fn with_rows<'a>(&self, rows: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut part = Arc::new(Part::new(self.language, rows));
        let mut parts = self.parts.clone();
        if part.lengths.is_empty() {
            return self.clone();
        }
        while let Some(last) = parts.pop() {
            if last.lengths.len() > part.lengths.len() {
                parts.push(last);
                break;
            }
            part = Arc::new(last.followed_by(&part));
        }
        parts.push(part);
        Self {
            language: self.language,
            parts,
        }
    }

    /// Rows, removed ones among them.
    pub(crate) fn rows(&self) -> usize {
        self.parts.iter().map(|part| part.lengths.len()).sum()
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes()).sum()
    }

    /// Adds the tail's share to the tenant's statistics.
    pub(crate) fn count(&self, query: &LexicalQuery, into: &mut Statistics) {
        for part in &self.parts {
            into.rows += part.lengths.len() as u64;
            into.tokens += part.tokens;
            for (term, doc_freq) in query.terms().iter().zip(&mut into.doc_freq) {
                *doc_freq += part.postings(&term.text).count() as u64;
            }
        }
    }

    /// The best rows that hold any term of the query and all that it requires, among those that the mask
    /// lets through, best first.
    pub(crate) fn search(
        &self,
        query: &LexicalQuery,
        bm25: &Bm25,
        mask: Option<&[u32]>,
        limit: usize,
    ) -> Vec<(u32, f32)> {
        let required = query.terms().iter().filter(|term| term.is_required).count();
        let mut sums = vec![(0_u32, 0_usize); self.rows()];
        for (number, term) in query.terms().iter().enumerate() {
            let Some(worth) = bm25.term(number) else {
                continue;
            };
            let mut first = 0;
            for part in &self.parts {
                for (row, frequency) in part.postings(&term.text) {
                    let row = row as usize;
                    if let (Some(length), Some((sum, met))) =
                        (part.lengths.get(row), sums.get_mut(first + row))
                    {
                        *sum += worth.of(frequency, *length);
                        *met += usize::from(term.is_required);
                    }
                }
                first += part.lengths.len();
            }
        }
        let mut best = Best::new(limit);
        for (row, (sum, met)) in (0..).zip(sums) {
            let is_open = mask.is_none_or(|mask| mask::has(mask, row));
            if is_open && met == required {
                best.push(row, sum);
            }
        }
        let scored = |(row, sum)| (row, bm25.score(sum));
        best.into_sorted().map(scored).collect()
    }
}

/// Rows that were added or merged together. Terms lie sorted in one string, their postings in one run of
/// bytes: as (row, frequency), the row as distance to the one before.
#[derive(Debug, Default)]
struct Part {
    /// Of each row, the number of its terms, quantised as tantivy does.
    lengths: Vec<u8>,
    tokens: u64,
    terms: String,
    /// Of each term, where its text and its postings end.
    ends: Vec<(u32, u32)>,
    postings: Vec<u8>,
}

impl Part {
    fn new<'a>(language: Language, rows: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut part = Self::default();
        let mut analyzer = Analyzer::new(language);
        let mut found: HashMap<String, Vec<(u32, u32)>> = HashMap::new();
        let mut term = String::new();
        for (row, (context, body)) in (0..).zip(rows) {
            let mut length = 0_u32;
            for text in [context, body] {
                let mut tokens = analyzer.tokens(text);
                while tokens.next(&mut term).is_some() {
                    length = length.saturating_add(1);
                    match found.get_mut(&term) {
                        None => {
                            found.insert(term.clone(), vec![(row, 1)]);
                        }
                        Some(postings) => match postings.last_mut() {
                            Some((last, frequency)) if *last == row => *frequency += 1,
                            _ => postings.push((row, 1)),
                        },
                    }
                }
            }
            part.tokens += u64::from(length);
            part.lengths.push(FieldNormReader::fieldnorm_to_id(length));
        }
        let mut found: Vec<(String, Vec<(u32, u32)>)> = found.into_iter().collect();
        found.sort_unstable();
        for (term, postings) in found {
            part.push(&term, postings.into_iter());
        }
        part
    }

    /// This part with the rows of `next` after its own.
    fn followed_by(&self, next: &Self) -> Self {
        let mut both = Self {
            lengths: [self.lengths.as_slice(), &next.lengths].concat(),
            tokens: self.tokens + next.tokens,
            ..Self::default()
        };
        let first = self.lengths.len() as u32;
        let shifted = |term| next.decode(term).map(move |(row, n)| (first + row, n));
        let (mut left, mut right) = (0, 0);
        loop {
            match (self.term(left), next.term(right)) {
                (None, None) => return both,
                (Some(a), Some(b)) if a == b => {
                    both.push(a, self.decode(left).chain(shifted(right)));
                    left += 1;
                    right += 1;
                }
                (Some(a), b) if b.is_none_or(|b| a < b) => {
                    both.push(a, self.decode(left));
                    left += 1;
                }
                (_, Some(b)) => {
                    both.push(b, shifted(right));
                    right += 1;
                }
                (Some(_), None) => return both,
            }
        }
    }

    fn push(&mut self, term: &str, postings: impl Iterator<Item = (u32, u32)>) {
        self.terms.push_str(term);
        let mut before = 0;
        for (row, frequency) in postings {
            push_number(
                &mut self.postings,
                u64::from(row - before) << 1 | u64::from(frequency > 1),
            );
            if frequency > 1 {
                push_number(&mut self.postings, frequency.into());
            }
            before = row;
        }
        self.ends
            .push((self.terms.len() as u32, self.postings.len() as u32));
    }

    fn term(&self, number: usize) -> Option<&str> {
        let end = self.ends.get(number)?.0;
        self.terms.get(self.start(number).0..end as usize)
    }

    fn start(&self, number: usize) -> (usize, usize) {
        match number
            .checked_sub(1)
            .and_then(|before| self.ends.get(before))
        {
            Some((term, postings)) => (*term as usize, *postings as usize),
            None => (0, 0),
        }
    }

    /// The rows that hold a term, ascending, with its frequency in each.
    fn postings(&self, term: &str) -> Postings<'_> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.term(middle).map(|found| found.cmp(term)) {
                Some(std::cmp::Ordering::Less) => low = middle + 1,
                Some(std::cmp::Ordering::Equal) => return self.decode(middle),
                _ => high = middle,
            }
        }
        Postings { left: &[], row: 0 }
    }

    fn decode(&self, number: usize) -> Postings<'_> {
        let end = self.ends.get(number).map_or(0, |end| end.1 as usize);
        let left = self.postings.get(self.start(number).1..end);
        Postings {
            left: left.unwrap_or_default(),
            row: 0,
        }
    }

    fn bytes(&self) -> usize {
        self.lengths.capacity()
            + self.terms.capacity()
            + self.ends.capacity() * size_of::<(u32, u32)>()
            + self.postings.capacity()
            + size_of::<Self>()
    }
}

struct Postings<'a> {
    left: &'a [u8],
    row: u32,
}

impl Iterator for Postings<'_> {
    type Item = (u32, u32);

    fn next(&mut self) -> Option<(u32, u32)> {
        let head = take_number(&mut self.left)?;
        self.row += (head >> 1) as u32;
        let frequency = match head & 1 {
            0 => 1,
            _ => take_number(&mut self.left)? as u32,
        };
        Some((self.row, frequency))
    }
}

/// Seven bits a byte, the lowest first; the high bit says that more follow (LEB128).
fn push_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    let mut shift = 0;
    while let Some((byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
    None
}
