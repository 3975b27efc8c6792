//! Scores that are exact, or nearly: rows of nine bits a coordinate for the candidates of a scan, and `f32` for
//! vectors that have no code yet. Knows single rows, not where they are kept.
//!
//! A row is a byte for the magnitude of each coordinate, their unit, and a bit for each sign. The code of the same
//! vector holds the signs too, so a row is kept without them where its code is at hand
//! ([`Codes::dot`](crate::Codes::dot)): nine bits for the bytes of eight, and half the error.

use crate::error::{Error, check_length};
use crate::kernels::{self, Level};

const UNIT_BYTES: usize = size_of::<f32>();
const GREATEST: f32 = u8::MAX as f32;

/// Bytes of a row without its signs: a magnitude for each coordinate, then their unit.
pub fn unsigned_row_bytes(dimension: usize) -> usize {
    dimension + UNIT_BYTES
}

/// Bytes of a row: those without signs, then eight signs to a byte.
pub fn row_bytes(dimension: usize) -> usize {
    unsigned_row_bytes(dimension) + dimension / 8
}

/// Appends a vector as a row: each magnitude in units of the largest / 255, this unit, and the signs, set where
/// a coordinate is above zero. What is not a number becomes zero. A row that is read and quantised again is the
/// same to the bit.
pub fn quantise(vector: &[f32], out: &mut Vec<u8>) {
    let largest = vector.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let unit = sixteen_bits(largest / GREATEST);
    let (unit, units) = if unit.is_normal() {
        (unit, 1.0 / unit)
    } else {
        (0.0, 0.0)
    };
    // Half a unit more, then cut: `round` is a function call on plain x86-64.
    let magnitude = |x: &f32| (x.abs() * units + 0.5) as u8;
    out.extend(vector.iter().map(magnitude));
    out.extend_from_slice(&unit.to_le_bytes());
    let (eights, _) = vector.as_chunks::<8>();
    out.extend(eights.iter().map(|eight| {
        let is_above = |x: &f32| *x > 0.0 && magnitude(x) > 0;
        (0..)
            .zip(eight)
            .fold(0, |signs, (bit, x)| signs | u8::from(is_above(x)) << bit)
    }));
}

/// Rounds to sixteen bits of precision, which times a byte is exact in the 24 of an `f32`.
fn sixteen_bits(number: f32) -> f32 {
    f32::from_bits((number.to_bits() + 0x80) & !0xFF)
}

/// The vector that a row stands for; `out` has its dimension.
///
/// # Errors
/// [`Error::Length`].
pub fn dequantise(row: &[u8], out: &mut [f32]) -> Result<(), Error> {
    check_length("bytes of a row", row.len(), row_bytes(out.len()))?;
    let (row, signs) = row.split_at(unsigned_row_bytes(out.len()));
    let (magnitudes, unit) = split(row, out.len())?;
    let (coordinates, _) = out.as_chunks_mut::<8>();
    let (magnitudes, _) = magnitudes.as_chunks::<8>();
    for ((eight, magnitudes), signs) in coordinates.iter_mut().zip(magnitudes).zip(signs) {
        for bit in 0..8 {
            let magnitude = f32::from(magnitudes[bit]) * unit;
            eight[bit] = if signs >> bit & 1 == 1 {
                magnitude
            } else {
                -magnitude
            };
        }
    }
    Ok(())
}

/// The inner product of two vectors of the same dimension.
///
/// # Errors
/// [`Error::Length`].
pub fn dot_f32(a: &[f32], b: &[f32], level: Level) -> Result<f32, Error> {
    check_length("coordinates of a vector", b.len(), a.len())?;
    Ok(kernels::dot_f32(level, a, b))
}

/// The magnitudes and the unit of a row without signs.
pub(crate) fn split(row: &[u8], dimension: usize) -> Result<(&[u8], f32), Error> {
    check_length("bytes of a row", row.len(), unsigned_row_bytes(dimension))?;
    let (magnitudes, unit) = row.split_at(dimension);
    let unit = unit
        .first_chunk()
        .map_or(0.0, |&unit| f32::from_le_bytes(unit));
    Ok((magnitudes, unit))
}
