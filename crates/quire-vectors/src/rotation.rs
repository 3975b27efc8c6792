//! A random rotation that costs D·log D instead of D². Knows vectors only, not what they are for.

use crate::error::{Error, check_dimension, check_length};
use crate::kernels::{self, Level};
use crate::random::SplitMix64;

const ROUNDS: usize = 4;

/// A random orthogonal map of one dimension, given by a seed.
///
/// Signs of a code say most when a vector's length is spread evenly over its coordinates, which a
/// random rotation does to any vector. Each of four rounds flips random signs and applies the
/// Walsh–Hadamard transform to the largest power of two of coordinates, the first ones and the last
/// ones by turns; after every second one the first half is turned against the second by 45°. This is
/// the "FhtKac" rotator of the RaBitQ library but for the turns after the first and third round: there
/// a coordinate outside the transform is only halved, and a quarter of a vector that is one large
/// coordinate would stay where it was. The same seed gives the same bits on every machine: single sums
/// and products in one order.
#[derive(Debug, Clone)]
pub struct Rotation {
    dimension: usize,
    /// The largest power of two that is not above the dimension.
    power: usize,
    /// `ROUNDS` × dimension of 1 or −1.
    signs: Vec<f32>,
    /// Makes up for the length that two turns without a factor leave: √2 each.
    scale: f32,
    level: Level,
}

impl Rotation {
    /// The rotation of `dimension` that belongs to `seed`.
    ///
    /// # Errors
    /// [`Error::Dimension`].
    pub fn new(dimension: usize, seed: u64) -> Result<Self, Error> {
        check_dimension(dimension)?;
        let power = 1 << dimension.ilog2();
        let mut random = SplitMix64::new(seed);
        let mut signs = Vec::with_capacity(ROUNDS * dimension);
        while signs.len() < ROUNDS * dimension {
            let bits = random.next();
            let wanted = (ROUNDS * dimension - signs.len()).min(64);
            signs.extend((0..wanted).map(|bit| if bits >> bit & 1 == 0 { 1.0 } else { -1.0 }));
        }
        Ok(Self {
            dimension,
            power,
            signs,
            scale: if power == dimension { 1.0 } else { 0.5 },
            level: Level::detect(),
        })
    }

    /// The number of coordinates of every vector this rotates.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Rotates one vector into `out`; both have the dimension of the rotation.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn rotate(&self, vector: &[f32], out: &mut [f32]) -> Result<(), Error> {
        self.copy(vector, out)?;
        for (round, signs) in self.signs.chunks_exact(self.dimension).enumerate() {
            multiply(out, signs);
            self.transform(round, out);
            self.turn(round, out);
        }
        out.iter_mut().for_each(|x| *x *= self.scale);
        Ok(())
    }

    /// Brings a rotated vector back, up to rounding.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn undo(&self, rotated: &[f32], out: &mut [f32]) -> Result<(), Error> {
        self.copy(rotated, out)?;
        for (round, signs) in self.signs.chunks_exact(self.dimension).enumerate().rev() {
            self.turn(round, out);
            self.transform(round, out);
            multiply(out, signs);
        }
        out.iter_mut().for_each(|x| *x *= self.scale);
        Ok(())
    }

    fn copy(&self, vector: &[f32], out: &mut [f32]) -> Result<(), Error> {
        check_length("coordinates of a vector", vector.len(), self.dimension)?;
        check_length("coordinates of the output", out.len(), self.dimension)?;
        out.copy_from_slice(vector);
        Ok(())
    }

    /// Its own inverse. The factor counts: what lies beside the power of two keeps its length.
    fn transform(&self, round: usize, x: &mut [f32]) {
        let start = if round.is_multiple_of(2) {
            0
        } else {
            self.dimension - self.power
        };
        let part = &mut x[start..start + self.power];
        kernels::hadamard(self.level, part);
        let factor = 1.0 / (self.power as f32).sqrt();
        part.iter_mut().for_each(|x| *x *= factor);
    }

    /// Its own inverse, up to length. Where the transform covers the whole vector, its last step is
    /// this same turn: it would be undone here, and the halves would never mix.
    fn turn(&self, round: usize, x: &mut [f32]) {
        if round.is_multiple_of(2) || self.power == self.dimension {
            return;
        }
        let (first, second) = x.split_at_mut(self.dimension / 2);
        for (a, b) in first.iter_mut().zip(second) {
            (*a, *b) = (*a + *b, *a - *b);
        }
    }
}

fn multiply(x: &mut [f32], signs: &[f32]) {
    for (x, sign) in x.iter_mut().zip(signs) {
        *x *= sign;
    }
}
