//! What a term is worth to a row: BM25 in whole numbers.
//!
//! Scores are summed as integers: the sum of a row is the same in whatever order its terms are found, in a segment
//! and in the tail, so rows that say the same tie exactly. The unit is chosen for each question, so that all its
//! terms together stay below 2³¹ of it, with room to spare. Source of the formula: S. Robertson and H. Zaragoza, "The
//! Probabilistic Relevance Framework: BM25 and Beyond", 2009, with Lucene's idf; lengths are quantised to a byte, as
//! tantivy does. Knows neither rows nor postings.

use std::sync::Arc;

use tantivy::fieldnorm::FieldNormReader;

use super::query::{LexicalQuery, Statistics};

const K1: f32 = 1.2;
const B: f32 = 0.75;
/// The greatest sum that a row may reach.
const GREATEST: f32 = (1_u32 << 30) as f32;
/// Most terms occur once or a few times in a row: what these are worth is looked up.
const TABLED: usize = 4;
const LENGTHS: usize = 256;

/// How the terms of one question score; the same for every part of the tenant's corpus.
pub(crate) struct Bm25 {
    /// In the order of the question's terms.
    terms: Vec<TermScore>,
    unit: f32,
}

impl Bm25 {
    pub(crate) fn new(query: &LexicalQuery, statistics: &Statistics) -> Self {
        let terms = query.terms().iter().zip(&statistics.doc_freq);
        let weights: Vec<f32> = terms
            .map(|(term, rows)| term.weight * idf(*rows, statistics.rows) * (K1 + 1.0))
            .collect();
        let unit = weights.iter().sum::<f32>().max(f32::MIN_POSITIVE) / GREATEST;
        let norms: Arc<[f32]> = norms(statistics.average_length()).into();
        let terms = weights
            .into_iter()
            .map(|weight| TermScore::new(weight / unit, norms.clone()))
            .collect();
        Self { terms, unit }
    }

    /// How the term of this number scores.
    pub(crate) fn term(&self, number: usize) -> Option<&TermScore> {
        self.terms.get(number)
    }

    /// A sum as a score.
    pub(crate) fn score(&self, sum: u32) -> f32 {
        sum as f32 * self.unit
    }
}

/// How one term scores.
pub(crate) struct TermScore {
    weight: f32,
    norms: Arc<[f32]>,
    /// By frequency from 1 on and by length.
    table: Box<[u32; TABLED * LENGTHS]>,
}

impl TermScore {
    fn new(weight: f32, norms: Arc<[f32]>) -> Self {
        let mut table = Box::new([0; TABLED * LENGTHS]);
        for (before, row) in table.chunks_exact_mut(LENGTHS).enumerate() {
            for (score, norm) in row.iter_mut().zip(&*norms) {
                *score = saturation(weight, (before + 1) as f32, *norm);
            }
        }
        Self {
            weight,
            norms,
            table,
        }
    }

    /// What the term is worth to a row of this quantised length that holds it so often.
    #[inline]
    pub(crate) fn of(&self, frequency: u32, length: u8) -> u32 {
        let before = frequency.wrapping_sub(1) as usize;
        if before < TABLED {
            return self.table[before * LENGTHS + usize::from(length)];
        }
        let norm = self.norms[usize::from(length)];
        saturation(self.weight, frequency as f32, norm)
    }

    /// More than the term is worth to any row.
    pub(crate) fn bound(&self) -> u32 {
        self.weight as u32 + 1
    }
}

/// Never nothing: a row that holds a term is found, however common the term.
fn saturation(weight: f32, frequency: f32, norm: f32) -> u32 {
    ((weight * frequency / (frequency + norm)) as u32).max(1)
}

fn idf(holding: u64, rows: u64) -> f32 {
    // Removed rows may count for the term and not for the whole, or the other way round.
    let without = rows.saturating_sub(holding) as f32;
    (1.0 + (without + 0.5) / (holding as f32 + 0.5)).ln()
}

/// Of each quantised length, what a frequency competes with.
fn norms(average_length: f32) -> [f32; LENGTHS] {
    let average_length = average_length.max(f32::MIN_POSITIVE);
    std::array::from_fn(|id| {
        let length = FieldNormReader::id_to_fieldnorm(id as u8) as f32;
        K1 * (1.0 - B + B * length / average_length)
    })
}
