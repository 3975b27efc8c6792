//! The inner loops, once for each set of vector instructions, chosen at run time. Knows slices and
//! numbers; refuses to know what they mean.
//!
//! `portable` holds loops that the compiler turns into the instructions of whoever inlines them; only
//! the sums of a scan, which look up bytes in registers, are written per instruction set. Sums of a
//! scan are integers and estimates take the same three operations everywhere, so all levels agree to
//! the bit. Products of `f32` are summed in a different order at each level and agree up to rounding.

use crate::codes::BLOCK_ROWS;
use crate::scan::ScanQuery;

mod portable;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

/// A set of vector instructions that this processor has. There is no value for one that it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Level {
    /// Plain Rust: what every other level is held to.
    pub const SCALAR: Self = Self(Kind::Scalar);

    /// The fastest level of this processor. Cheap: the processor is asked once.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
            {
                Self(Kind::Avx512)
            } else {
                Self(Kind::Avx2)
            };
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self(Kind::Neon);
        }
        Self::SCALAR
    }

    /// All levels of this processor, from scalar to the fastest.
    pub fn available() -> Vec<Self> {
        let fastest = Self::detect();
        let mut levels = vec![Self::SCALAR];
        #[cfg(target_arch = "x86_64")]
        if fastest.0 == Kind::Avx512 {
            levels.push(Self(Kind::Avx2));
        }
        if fastest != Self::SCALAR {
            levels.push(fastest);
        }
        levels
    }

    /// What it is called, for logs and measurements.
    pub fn name(self) -> &'static str {
        match self.0 {
            Kind::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => "neon",
        }
    }
}

/// Vectors that are compared with a panel at a time.
pub(crate) const TILE_ROWS: usize = 8;
/// Columns of a panel: [`inner_products`].
pub(crate) const TILE_COLUMNS: usize = 32;

macro_rules! dispatch {
    ($level:expr, $function:ident($($argument:expr),*)) => {
        match $level.0 {
            Kind::Scalar => scalar::$function($($argument),*),
            // SAFETY: a level of this kind is only made after the processor was seen to have AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::$function($($argument),*) },
            // SAFETY: as above, and AVX-512 F, BW and VL.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512::$function($($argument),*) },
            // SAFETY: a level of this kind is only made after the processor was seen to have NEON.
            #[cfg(target_arch = "aarch64")]
            Kind::Neon => unsafe { neon::$function($($argument),*) },
        }
    };
}

/// Estimates of all 32 rows of a block (segments, then factors: see `codes`), and whether any is above
/// the threshold.
#[inline]
pub(crate) fn estimate(
    level: Level,
    query: &ScanQuery,
    block: &[u8],
    threshold: f32,
    estimates: &mut [f32; BLOCK_ROWS],
) -> bool {
    dispatch!(level, estimate(query, block, threshold, estimates))
}

/// The inner product of a query and as many magnitudes, whose signs are those of the row at `place` of a
/// block's segments (see `codes`).
#[inline]
pub(crate) fn dot_signed(
    level: Level,
    query: &[f32],
    magnitudes: &[u8],
    segments: &[u8],
    place: usize,
) -> f32 {
    dispatch!(level, dot_signed(query, magnitudes, segments, place))
}

/// The inner product of two slices of the same length.
#[inline]
pub(crate) fn dot_f32(level: Level, a: &[f32], b: &[f32]) -> f32 {
    dispatch!(level, dot_f32(a, b))
}

/// The Walsh–Hadamard transform in place, without a factor, of a power of two of numbers.
#[inline]
pub(crate) fn hadamard(level: Level, x: &mut [f32]) {
    dispatch!(level, hadamard(x));
}

/// Inner products of some vectors, one after another, with the columns of a panel. The panel has
/// [`TILE_COLUMNS`] numbers for each coordinate; rows without a vector come out as zero.
#[inline]
pub(crate) fn inner_products(
    level: Level,
    vectors: &[f32],
    panel: &[f32],
) -> [[f32; TILE_COLUMNS]; TILE_ROWS] {
    dispatch!(level, inner_products(vectors, panel))
}

/// The reference: the same loops without any instruction set named.
mod scalar {
    use super::{BLOCK_ROWS, ScanQuery, TILE_COLUMNS, TILE_ROWS, portable};
    use crate::codes::SEGMENT_BYTES;

    pub(super) fn estimate(
        query: &ScanQuery,
        block: &[u8],
        threshold: f32,
        estimates: &mut [f32; BLOCK_ROWS],
    ) -> bool {
        let (segments, factors) = block.split_at(query.tables.len());
        let mut sums = [0_u16; BLOCK_ROWS];
        for (table, segment) in query
            .tables
            .chunks_exact(SEGMENT_BYTES)
            .zip(segments.chunks_exact(SEGMENT_BYTES))
        {
            for (j, byte) in segment.iter().enumerate() {
                sums[j] += u16::from(table[usize::from(byte & 0x0F)]);
                sums[j + SEGMENT_BYTES] += u16::from(table[usize::from(byte >> 4)]);
            }
        }
        portable::finish(query, &sums, factors, threshold, estimates)
    }

    pub(super) fn dot_signed(
        query: &[f32],
        magnitudes: &[u8],
        segments: &[u8],
        place: usize,
    ) -> f32 {
        portable::dot_signed(query, magnitudes, segments, place)
    }

    pub(super) fn dot_f32(a: &[f32], b: &[f32]) -> f32 {
        portable::dot_f32::<4, false>(a, b)
    }

    pub(super) fn hadamard(x: &mut [f32]) {
        portable::hadamard(x);
    }

    pub(super) fn inner_products(
        vectors: &[f32],
        panel: &[f32],
    ) -> [[f32; TILE_COLUMNS]; TILE_ROWS] {
        portable::inner_products::<1, 32, false>(vectors, panel)
    }
}

#[cfg(test)]
mod tests {
    //! What `tests/` can't reach, since these take the fastest level by themselves.

    use super::*;
    use crate::random::SplitMix64;

    fn numbers(count: usize) -> Vec<f32> {
        let mut random = SplitMix64::new(count as u64);
        (0..count)
            .map(|_| random.below(2_001) as f32 / 1_000.0 - 1.0)
            .collect()
    }

    #[test]
    fn every_level_transforms_to_the_same_bits() {
        for size in [1, 2, 8, 16, 64, 1024, 4096] {
            let mut expected = numbers(size);
            let mut distance = 1;
            while distance < size {
                for i in (0..size).filter(|i| i & distance == 0) {
                    let (a, b) = (expected[i], expected[i | distance]);
                    (expected[i], expected[i | distance]) = (a + b, a - b);
                }
                distance *= 2;
            }
            for level in Level::available() {
                let mut x = numbers(size);
                hadamard(level, &mut x);
                assert_eq!(x, expected, "{} {size}", level.name());
            }
        }
    }

    #[test]
    fn every_level_multiplies_vectors_with_a_panel() {
        let dimension = 72;
        let panel = numbers(dimension * TILE_COLUMNS);
        for count in 0..=TILE_ROWS {
            let vectors = numbers(dimension * count);
            for level in Level::available() {
                let products = inner_products(level, &vectors, &panel);
                for (row, products) in products.iter().enumerate() {
                    for (column, &product) in products.iter().enumerate() {
                        let exact: f64 = vectors
                            .chunks_exact(dimension)
                            .nth(row)
                            .into_iter()
                            .flatten()
                            .zip(panel.iter().skip(column).step_by(TILE_COLUMNS))
                            .map(|(&x, &y)| f64::from(x) * f64::from(y))
                            .sum();
                        assert!(
                            (f64::from(product) - exact).abs() < 1e-4,
                            "{} {count} {row} {column}: {product} {exact}",
                            level.name()
                        );
                    }
                }
            }
        }
    }
}
