//! Vectors for tests: the same for the same seed, on every machine.

use quire_vectors::{Codes, CodesBuilder, Level, Rotation, dot_f32};

/// A small generator of its own (xorshift64*), so that the crate's is not tested with itself.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_F491_4F6C_DD1D) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Nearly normal: the sum of twelve uniform numbers.
    pub(crate) fn normal(&mut self) -> f32 {
        (0..12)
            .map(|_| (self.bits() >> 40) as f32 / (1 << 24) as f32)
            .sum::<f32>()
            - 6.0
    }

    pub(crate) fn vector(&mut self, dimension: usize) -> Vec<f32> {
        (0..dimension).map(|_| self.normal()).collect()
    }

    pub(crate) fn unit(&mut self, dimension: usize) -> Vec<f32> {
        unit(self.vector(dimension))
    }
}

pub(crate) fn unit(mut vector: Vec<f32>) -> Vec<f32> {
    let length = dot_f32(&vector, &vector, Level::SCALAR).unwrap().sqrt();
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

/// Unit vectors around random centres that share a common direction, as embeddings do, some nearer and
/// some further away.
pub(crate) fn clustered(random: &mut Random, dimension: usize, rows: usize) -> Vec<Vec<f32>> {
    let common = random.unit(dimension);
    let centres: Vec<Vec<f32>> = (0..rows.div_ceil(50))
        .map(|_| random.unit(dimension))
        .collect();
    (0..rows)
        .map(|row| {
            let own = random.unit(dimension);
            let away = 0.5 + (random.bits() % 16) as f32 / 16.0;
            let centre = &centres[row % centres.len()];
            let mixed = (0..dimension).map(|i| 0.5 * common[i] + centre[i] + away * own[i]);
            unit(mixed.collect())
        })
        .collect()
}

pub(crate) fn rotated(rotation: &Rotation, vector: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; vector.len()];
    rotation.rotate(vector, &mut out).unwrap();
    out
}

pub(crate) fn encoded(dimension: usize, vectors: &[Vec<f32>]) -> Vec<u8> {
    let mut builder = CodesBuilder::new(dimension).unwrap();
    for vector in vectors {
        builder.push(vector).unwrap();
    }
    builder.finish()
}

pub(crate) fn codes(dimension: usize, rows: usize, bytes: &[u8]) -> Codes<'_> {
    Codes::new(dimension, rows, bytes).unwrap()
}
