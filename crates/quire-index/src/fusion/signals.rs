//! What a question and its two lists show about the paths, and the weight that follows.
//!
//! Three signals, each of which moves the weight one way only, none of which needs a model or a dictionary:
//!
//! - `gain`: what the words found, as the best BM25 score over the root of the question's length. It is near nothing
//!   when only common words of the question occur anywhere. After the weighted information gain of Y. Zhou
//!   and W. B. Croft, "Query Performance Prediction in Web Search Environments", SIGIR 2007. Divided by the
//!   weight of the rarest possible term, so that it means the same in a small and in a large corpus.
//! - `spread`: what the vectors tell apart, as the standard deviation of the best cosines. Vectors of codes
//!   are all alike to the model. After the normalised query commitment of A. Shtok, O. Kurland and D. Carmel,
//!   "Predicting Query Performance by Query Drift Estimation", ACM TOIS 30(2), 2012.
//! - `has_identifier`: whether a word of the question looks like a number or code, which an embedding blurs
//!   and an inverted index does not.
//!
//! The odds of the words against the vectors are a product of powers of the three; docs/benchmarks.md says
//! on what the constants were chosen.

use quire_types::Language;
use serde::Serialize;

use super::Reason;
use crate::text::terms_of;

/// Cosines whose spread counts.
const SPREAD_ROWS: usize = 20;
/// The least spread that is believed: as many equal vectors have.
const LEAST_SPREAD: f32 = 0.005;

/// Logarithm of the odds when every other term is 0.
const BASE: f32 = -2.45;
/// Powers of the odds.
const GAIN_POWER: f32 = 1.5;
const SPREAD_POWER: f32 = 0.5;
/// What an identifier adds to the logarithm: nearly six times the odds.
const IDENTIFIER: f32 = 1.75;
/// Below this logarithm, a share of .17, the noise of the words costs more than they find.
const WEAK_WORDS: f32 = -1.6;
/// Above this logarithm, a share of .05, the same is true of the vectors.
const WEAK_VECTORS: f32 = 3.0;

/// What the signals need to know besides the lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Different terms.
    pub terms: usize,
    /// Whether a word looks like a number or code.
    pub has_identifier: bool,
    /// Rows of the corpus that is searched, found or not.
    pub rows: usize,
}

impl Question {
    /// A question's words, asked of a corpus of this language and so many rows.
    pub fn new(text: &str, language: Language, rows: usize) -> Self {
        let mut terms = terms_of(text, language);
        terms.sort_unstable();
        terms.dedup();
        Self {
            terms: terms.len(),
            has_identifier: text.split_whitespace().any(is_identifier),
            rows,
        }
    }
}

/// Three digits or more (a year, an order, a sum) or digits and letters in one word (a part, a grade).
fn is_identifier(word: &str) -> bool {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    digits >= 3 || (digits > 0 && word.chars().any(char::is_alphabetic))
}

/// What a question and its lists show.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Signals {
    /// Best BM25 for a question of this length and a corpus of this size; none when no word was found.
    pub gain: Option<f32>,
    /// Standard deviation of the best cosines; none when there is no vector.
    pub spread: Option<f32>,
    /// Whether a word looks like a number or code.
    pub has_identifier: bool,
}

impl Signals {
    /// From the lists, each best first.
    pub(super) fn of(question: Question, lexical: &[(usize, f32)], dense: &[(usize, f32)]) -> Self {
        let rarest = (question.rows as f32).ln_1p().max(1.0);
        let length = (question.terms.max(1) as f32).sqrt();
        let best = lexical.first().map(|(_, score)| *score);
        let dense = &dense[..dense.len().min(SPREAD_ROWS)];
        Self {
            gain: best
                .filter(|best| *best > 0.0)
                .map(|best| best / (rarest * length)),
            spread: (!dense.is_empty()).then(|| deviation(dense)),
            has_identifier: question.has_identifier,
        }
    }

    /// The share of the vectors and the reason for it.
    pub(super) fn weight(&self) -> (f32, Reason) {
        let (gain, spread) = match (self.gain, self.spread) {
            (Some(gain), Some(spread)) => (gain, spread.max(LEAST_SPREAD)),
            (None, _) => return (1.0, Reason::OnlyPath),
            (_, None) => return (0.0, Reason::OnlyPath),
        };
        let identifier = if self.has_identifier { IDENTIFIER } else { 0.0 };
        let odds = BASE + GAIN_POWER * gain.ln() - SPREAD_POWER * spread.ln() + identifier;
        if odds < WEAK_WORDS {
            (1.0, Reason::WeakWords)
        } else if odds > WEAK_VECTORS {
            (0.0, Reason::WeakVectors)
        } else {
            (1.0 / (1.0 + odds.exp()), Reason::Mixed)
        }
    }
}

fn deviation(list: &[(usize, f32)]) -> f32 {
    let count = list.len() as f32;
    let mean = list.iter().map(|(_, score)| score).sum::<f32>() / count;
    let squares = list.iter().map(|(_, score)| (score - mean).powi(2));
    (squares.sum::<f32>() / count).sqrt()
}
