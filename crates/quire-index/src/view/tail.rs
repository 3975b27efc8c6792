//! The tail: passages that are committed and in no segment yet, in memory and searched exactly.
//!
//! A tail never changes. Rows that are added make a new one that shares the runs of the old.

use std::sync::Arc;

use quire_store::passages::Indexed;
use quire_types::{Language, PassageId, SourceId};
use quire_vectors::{Level, dot_f32};

use crate::Error;
use crate::segment::Text;
use crate::text::LexicalTail;

/// More runs than this become one.
const MAX_RUNS: usize = 32;

/// A passage of the tail.
#[derive(Clone, Debug)]
pub(crate) struct TailPassage {
    pub(crate) id: PassageId,
    pub(crate) source: SourceId,
    pub(crate) version: i32,
    pub(crate) ordinal: i32,
    pub(crate) text: Text,
}

/// Passages that came together, with their vectors end to end.
#[derive(Debug, Default)]
struct Run {
    passages: Vec<TailPassage>,
    vectors: Vec<f32>,
}

/// The tail at one version of the corpus.
#[derive(Clone)]
pub(crate) struct Tail {
    runs: Vec<Arc<Run>>,
    lexical: LexicalTail,
    rows: u32,
    bytes: usize,
}

impl Tail {
    pub(crate) fn empty(language: Language) -> Self {
        Self {
            runs: Vec::new(),
            lexical: LexicalTail::new(language),
            rows: 0,
            bytes: 0,
        }
    }

    /// How many rows there are, dead ones included.
    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// Roughly what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.lexical.bytes()
    }

    pub(crate) fn lexical(&self) -> &LexicalTail {
        &self.lexical
    }

    /// The tail with more rows, numbered on from those there are.
    pub(crate) fn with(&self, added: Vec<Indexed>) -> Self {
        if added.is_empty() {
            return self.clone();
        }
        let rows = added
            .iter()
            .map(|passage| (passage.context.as_str(), passage.body.as_str()));
        let lexical = self.lexical.with_rows(rows);
        let mut run = Run::default();
        let mut bytes = 0;
        for passage in added {
            bytes += passage.context.len() + passage.body.len() + passage.embedding.len() * 4;
            run.vectors.extend_from_slice(&passage.embedding);
            run.passages.push(TailPassage {
                id: passage.id,
                source: passage.source,
                version: passage.source_version,
                ordinal: passage.ordinal,
                text: Text {
                    context: passage.context,
                    body: passage.body,
                    place: passage.place,
                },
            });
        }
        let count = run.passages.len();
        let mut runs = self.runs.clone();
        runs.push(Arc::new(run));
        if runs.len() > MAX_RUNS {
            runs = vec![Arc::new(joined(&runs))];
        }
        Self {
            runs,
            lexical,
            rows: self.rows + u32::try_from(count).unwrap_or(u32::MAX),
            bytes: self.bytes + bytes + count * size_of::<TailPassage>(),
        }
    }

    pub(crate) fn passage(&self, row: u32) -> Option<&TailPassage> {
        let mut row = row as usize;
        for run in &self.runs {
            match run.passages.get(row) {
                Some(passage) => return Some(passage),
                None => row -= run.passages.len(),
            }
        }
        None
    }

    /// The vector of a row.
    pub(crate) fn vector(&self, row: u32) -> Option<&[f32]> {
        let mut row = row as usize;
        for run in &self.runs {
            let rows = run.passages.len();
            if row < rows {
                let dimension = run.vectors.len() / rows;
                return run.vectors.get(row * dimension..(row + 1) * dimension);
            }
            row -= rows;
        }
        None
    }

    /// The cosine of every row to a question of unit length, in order.
    pub(crate) fn cosines(&self, vector: &[f32]) -> Result<Vec<f32>, Error> {
        let level = Level::detect();
        let mut cosines = Vec::with_capacity(self.rows as usize);
        for run in &self.runs {
            for row in run.vectors.chunks_exact(vector.len().max(1)) {
                cosines.push(dot_f32(vector, row, level)?);
            }
        }
        Ok(cosines)
    }
}

fn joined(runs: &[Arc<Run>]) -> Run {
    let mut all = Run::default();
    for run in runs {
        all.passages.extend(run.passages.iter().cloned());
        all.vectors.extend_from_slice(&run.vectors);
    }
    all
}
