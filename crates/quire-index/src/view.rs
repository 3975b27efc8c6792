//! A view: one tenant's searchable corpus at one version, in memory.
//!
//! A view never changes. Catching up makes a new one that shares the runs of the old; removed rows are
//! marked dead and leave with the next rebuild.

use std::collections::HashSet;
use std::sync::Arc;

use quire_store::corpus::{Change, Entry};
use quire_store::passages::Indexed;
use quire_types::{MediaType, NotebookId, PassageId, SourceId, Timestamp};

use crate::dense::Matrix;
use crate::fusion::{self, Ranked};
use crate::lexical::Lexical;
use crate::{Error, Filter, Query, query::Mode};

/// Candidates of each path: enough that a fused list of 100 loses nothing it should hold.
const CANDIDATES: usize = 400;
/// More runs than this become one.
const MAX_RUNS: usize = 32;

/// What filters need to know of a row.
#[derive(Clone, Debug)]
struct Row {
    id: PassageId,
    notebook: NotebookId,
    source: SourceId,
    source_version: i32,
    media_type: MediaType,
    added_at: Timestamp,
}

/// Rows that came together.
#[derive(Debug, Default)]
struct Run {
    rows: Vec<Row>,
    vectors: Matrix,
}

/// A tenant's corpus at one version.
pub(crate) struct View {
    version: i64,
    runs: Vec<Arc<Run>>,
    lexical: Lexical,
    dead: Vec<bool>,
    dead_rows: usize,
    text_bytes: usize,
}

impl View {
    /// A view of nothing, at version 0.
    pub(crate) fn empty() -> Result<Self, Error> {
        Ok(Self {
            version: 0,
            runs: Vec::new(),
            lexical: Lexical::new()?,
            dead: Vec::new(),
            dead_rows: 0,
            text_bytes: 0,
        })
    }

    pub(crate) fn version(&self) -> i64 {
        self.version
    }

    /// Roughly what the view holds in memory: vectors, rows, and the inverted index at a third of the
    /// text (measured on English prose).
    pub(crate) fn bytes(&self) -> usize {
        let vectors: usize = self.runs.iter().map(|run| run.vectors.bytes()).sum();
        vectors + self.dead.len() * (size_of::<Row>() + 1) + self.text_bytes / 3 + 16_384
    }

    /// Whether so much of it is dead that reading everything again is better.
    pub(crate) fn needs_rebuild(&self) -> bool {
        self.dead.len() > 1_000 && self.dead_rows * 3 > self.dead.len()
    }

    /// The view after `changes`, whose added passages are `added`.
    pub(crate) fn advance(
        &self,
        version: i64,
        changes: &[Entry],
        added: &[Indexed],
    ) -> Result<Self, Error> {
        let mut dead = self.dead.clone();
        let removed: HashSet<(SourceId, i32)> = changes
            .iter()
            .filter(|entry| entry.change == Change::Removed)
            .map(|entry| (entry.source, entry.source_version))
            .collect();
        if !removed.is_empty() {
            for (row, dead) in self.rows().zip(&mut dead) {
                *dead |= removed.contains(&(row.source, row.source_version));
            }
        }

        let first = dead.len();
        let mut run = Run::default();
        for passage in added {
            if let Err(expected) = self
                .check_dimension(&passage.embedding)
                .and_then(|()| run.vectors.push(&passage.embedding))
            {
                return Err(Error::Dimension {
                    expected,
                    found: passage.embedding.len(),
                });
            }
            run.rows.push(Row {
                id: passage.id,
                notebook: passage.notebook,
                source: passage.source,
                source_version: passage.source_version,
                media_type: passage.media_type,
                added_at: passage.added_at,
            });
        }
        let lexical = if added.is_empty() {
            self.lexical.clone()
        } else {
            let numbered = (first as u64..).zip(added);
            self.lexical.with_rows(
                numbered
                    .map(|(row, passage)| (row, passage.context.as_str(), passage.body.as_str())),
            )?
        };
        dead.resize(first + added.len(), false);
        let mut runs = self.runs.clone();
        if !run.rows.is_empty() {
            runs.push(Arc::new(run));
        }
        if runs.len() > MAX_RUNS {
            runs = vec![Arc::new(joined(&runs))];
        }
        let text_bytes: usize = added
            .iter()
            .map(|passage| passage.body.len() + passage.context.len())
            .sum();
        Ok(Self {
            version,
            runs,
            lexical,
            dead_rows: dead.iter().filter(|dead| **dead).count(),
            dead,
            text_bytes: self.text_bytes + text_bytes,
        })
    }

    /// The best passages for a question.
    pub(crate) fn search(&self, query: &Query) -> Result<Vec<(PassageId, crate::Scores)>, Error> {
        self.check_dimension(&query.vector)
            .map_err(|expected| Error::Dimension {
                expected,
                found: query.vector.len(),
            })?;
        let mask = self.mask(&query.filter);
        let candidates = CANDIDATES.max(query.limit);
        let lexical = match query.mode {
            Mode::Dense => Vec::new(),
            _ => self.lexical.search(&query.text, mask.clone(), candidates)?,
        };
        let cosines: Vec<f32> = self
            .runs
            .iter()
            .flat_map(|run| run.vectors.dots(&query.vector))
            .collect();
        let dense = match query.mode {
            Mode::Lexical => Vec::new(),
            _ => best(&cosines, mask.as_deref(), candidates),
        };
        let ranked = fusion::fuse(
            query.mode,
            &lexical,
            &dense,
            |row| cosines.get(row).copied().unwrap_or(0.0),
            query.limit,
        );
        let rows: Vec<&Row> = self.rows().collect();
        Ok(ranked
            .into_iter()
            .filter_map(|(row, scores): Ranked| Some((rows.get(row)?.id, scores)))
            .collect())
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.runs.iter().flat_map(|run| &run.rows)
    }

    fn check_dimension(&self, vector: &[f32]) -> Result<(), usize> {
        match self.runs.first().map(|run| run.vectors.dimension()) {
            Some(expected) if expected != vector.len() => Err(expected),
            _ => Ok(()),
        }
    }

    /// Which rows may be found; none when all may.
    fn mask(&self, filter: &Filter) -> Option<Arc<[bool]>> {
        let is_open = filter.notebooks.is_none()
            && filter.media_types.is_none()
            && filter.added_from.is_none()
            && filter.added_before.is_none();
        if is_open && self.dead_rows == 0 {
            return None;
        }
        Some(
            self.rows()
                .zip(&self.dead)
                .map(|(row, dead)| !dead && passes(row, filter))
                .collect(),
        )
    }
}

fn passes(row: &Row, filter: &Filter) -> bool {
    filter
        .notebooks
        .as_ref()
        .is_none_or(|notebooks| notebooks.contains(&row.notebook))
        && filter
            .media_types
            .as_ref()
            .is_none_or(|types| types.contains(&row.media_type))
        && filter.added_from.is_none_or(|from| row.added_at >= from)
        && filter
            .added_before
            .is_none_or(|before| row.added_at < before)
}

fn joined(runs: &[Arc<Run>]) -> Run {
    let mut all = Run::default();
    for run in runs {
        all.rows.extend(run.rows.iter().cloned());
        all.vectors.append(&run.vectors);
    }
    all
}

/// The highest scores among the rows that the mask lets through, best first.
fn best(scores: &[f32], mask: Option<&[bool]>, limit: usize) -> Vec<(usize, f32)> {
    let mut rows: Vec<(usize, f32)> = scores
        .iter()
        .copied()
        .enumerate()
        .filter(|(row, _)| mask.is_none_or(|mask| mask.get(*row) == Some(&true)))
        .collect();
    let by_score = |a: &(usize, f32), b: &(usize, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if rows.len() > limit && limit > 0 {
        rows.select_nth_unstable_by(limit - 1, by_score);
        rows.truncate(limit);
    }
    rows.sort_unstable_by(by_score);
    rows
}
