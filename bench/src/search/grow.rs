//! Rows beyond the real ones, for sizes that nobody waits to embed. They are not real passages.
//!
//! A made vector is a real one, moved by the difference of two of its near neighbours and brought back to length 1:
//! `v = normalise(r + a·(p − q))`, p ≠ q among the [`NEIGHBOURS`] nearest of r, a between ½ and 1. So it lies about
//! as far from r as r's neighbours do, in directions in which real texts differ there; independent noise would
//! leave the few directions that embeddings use, and make every search look easier than it is. Its text is that of
//! r with every fourth word, on average, replaced by a word of another passage, so frequencies of words stay as
//! they are. What it can't keep: topics. A million rows have the topics of the real ones, with denser neighbourhoods.
//!
//! Held against 12,288 real rows, that many grown from 3,072 are about as hard: a question's first and tenth row have
//! similarities of .520 and .440 (real: .557, .461), and the exact ten are among the best 100 of 1-bit codes for
//! .983 (real: .984). Grown tenfold from 1,228, it is .973: a large factor makes the corpus harder than real text.
//!
//! Every row depends on its number and the seed alone.

use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::corpus::{DIMENSION, Rows};
use super::exact::{self, dot};
use super::texts::Text;
use crate::failure::Failure;

/// Neighbours of a real row that it may be moved along.
const NEIGHBOURS: usize = 12;
/// A word of the made text comes from elsewhere with this chance.
const EXCHANGED: f64 = 0.25;

pub(super) struct Grower<'a> {
    real: &'a Rows,
    /// The neighbours of every real row, without itself.
    neighbours: Vec<Vec<u32>>,
    seed: u64,
}

impl<'a> Grower<'a> {
    /// Finds the neighbours of all real rows, or reads them from `kept`.
    pub(super) fn new(real: &'a Rows, kept: &Path, seed: u64) -> Result<Self, Failure> {
        let nearest = exact::kept(kept, &real.vectors, &real.vectors, NEIGHBOURS + 1, |_| true)?;
        let others = |(row, list): (usize, exact::Nearest)| {
            let rows = list.0.into_iter().map(|(other, _)| other);
            let rows = rows.filter(|other| *other as usize != row);
            rows.take(NEIGHBOURS).collect()
        };
        Ok(Self {
            real,
            neighbours: nearest.into_iter().enumerate().map(others).collect(),
            seed,
        })
    }

    pub(super) fn vector(&self, row: usize) -> Vec<f32> {
        let (mut rng, base) = self.base(row);
        let near = &self.neighbours[base];
        let first = rng.random_range(0..near.len());
        let second = (first + rng.random_range(1..near.len())) % near.len();
        let step: f32 = rng.random_range(0.5..1.0);
        let (to, from) = (
            self.real(near[first] as usize),
            self.real(near[second] as usize),
        );
        let pairs = self.real(base).iter().zip(to.iter().zip(from));
        let mut moved: Vec<f32> = pairs
            .map(|(own, (to, from))| own + step * (to - from))
            .collect();
        let length = dot(&moved, &moved).sqrt();
        moved.iter_mut().for_each(|number| *number /= length);
        moved
    }

    pub(super) fn text(&self, row: usize) -> Text {
        let (mut rng, base) = self.base(row);
        let texts = &self.real.texts;
        let other = &texts[rng.random_range(0..texts.len())];
        let strangers: Vec<&str> = other.text.split_whitespace().collect();
        let words = texts[base].text.split_whitespace().enumerate();
        let words = words.map(|(at, word)| match strangers.get(at) {
            Some(stranger) if rng.random_bool(EXCHANGED) => stranger,
            _ => word,
        });
        let words: Vec<&str> = words.collect();
        Text {
            title: texts[base].title.clone(),
            text: words.join(" "),
        }
    }

    fn base(&self, row: usize) -> (StdRng, usize) {
        let mut rng = StdRng::seed_from_u64(self.seed ^ row as u64);
        let base = rng.random_range(0..self.real.texts.len());
        (rng, base)
    }

    fn real(&self, row: usize) -> &[f32] {
        &self.real.vectors[row * DIMENSION..][..DIMENSION]
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_made_row_is_of_length_one_near_its_base_and_the_same_again() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut vectors = Vec::new();
        for row in 0..200 {
            // Four groups, so that near neighbours are near.
            let mut vector = vec![0.0_f32; DIMENSION];
            vector[row % 4] = 1.0;
            vector
                .iter_mut()
                .for_each(|x| *x += rng.random_range(-0.01..0.01));
            let length = dot(&vector, &vector).sqrt();
            vectors.extend(vector.iter().map(|x| x / length));
        }
        let texts = (0..200).map(|row| Text {
            title: "t".into(),
            text: format!("own{row} word of passage {row}"),
        });
        let real = Rows {
            texts: texts.collect(),
            vectors,
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("neighbours");
        let grower = Grower::new(&real, &file, 7).unwrap();
        let again = Grower::new(&real, &file, 7).unwrap();
        for row in 200..260 {
            let vector = grower.vector(row);
            assert!((dot(&vector, &vector) - 1.0).abs() < 1e-5);
            let (_, base) = grower.base(row);
            assert!(dot(&vector, grower.real(base)) > 0.9);
            assert_eq!(vector, again.vector(row));
            assert_eq!(grower.text(row).text, again.text(row).text);
        }
    }
}
