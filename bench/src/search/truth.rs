//! What an exact search finds in the first rows of the corpus, all of them or those a filter lets through.

use super::corpus::{self, Corpus, DIMENSION, Question};
use super::exact::{self, Nearest};
use crate::failure::Failure;

/// Passages that are asked for.
pub(super) const TOP: usize = 10;

/// The truth for every question.
pub(super) struct Truth {
    questions: Vec<f32>,
    vectors: Vec<f32>,
    nearest: Vec<Nearest>,
}

impl Truth {
    /// Over the first rows, given as their vectors; `per_mille` of them pass the filter, 1000 is no filter.
    pub(super) fn new(
        corpus: &Corpus,
        questions: &[Question],
        vectors: Vec<f32>,
        per_mille: u64,
    ) -> Result<Self, Failure> {
        let rows = vectors.len() / DIMENSION;
        let file = format!("exact-{rows}-{per_mille}-{}.json", questions.len());
        let file = corpus.rows_folder().join(file);
        let asked: Vec<f32> = questions
            .iter()
            .flat_map(|question| &question.vector)
            .copied()
            .collect();
        let allowed = |row: usize| corpus::passes(row, per_mille);
        let nearest = exact::kept(&file, &asked, &vectors, TOP, allowed)?;
        Ok(Self {
            questions: asked,
            vectors,
            nearest,
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.vectors.len() / DIMENSION
    }

    /// Mean recall@10 of the lists found for the first questions; rows as near as the tenth count alike.
    pub(super) fn recall(&self, found: &[Vec<u32>]) -> f64 {
        let questions = self.questions.chunks_exact(DIMENSION);
        let lists = found.iter().zip(&self.nearest).zip(questions);
        let recalls = lists.map(|((found, nearest), question)| {
            let found = &found[..found.len().min(TOP)];
            nearest.recall(question, &self.vectors, found)
        });
        recalls.sum::<f64>() / found.len() as f64
    }
}
