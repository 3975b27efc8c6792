//! Scores that are exact, or nearly: eight-bit rows for the candidates of a scan, and `f32` for vectors
//! that have no code yet. Knows single rows, not where they are kept.

use crate::error::{Error, check_length};
use crate::kernels::{self, Level};

const SCALE_BYTES: usize = size_of::<f32>();

/// Bytes of an eight-bit row: one for each coordinate, then the scale.
pub fn row_bytes(dimension: usize) -> usize {
    dimension + SCALE_BYTES
}

/// Appends a vector as an eight-bit row: each coordinate in units of the largest / 127, signed, then
/// this unit as `f32`. What is not a number becomes zero.
pub fn quantise(vector: &[f32], out: &mut Vec<u8>) {
    let largest = vector.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let units = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    // Half a unit away from zero, then cut: `round` is a function call on plain x86-64.
    let rounded = |x: &f32| (x * units + 0.5_f32.copysign(*x)) as i8;
    out.extend(vector.iter().map(|x| rounded(x) as u8));
    out.extend_from_slice(&(largest / 127.0).to_le_bytes());
}

/// The inner product of a query and an eight-bit row of the same dimension.
///
/// # Errors
/// [`Error::Length`].
pub fn dot(query: &[f32], row: &[u8], level: Level) -> Result<f32, Error> {
    let (coordinates, scale) = split(row, query.len())?;
    Ok(kernels::dot_i8(level, query, coordinates) * scale)
}

/// The vector that an eight-bit row stands for; `out` has its dimension.
///
/// # Errors
/// [`Error::Length`].
pub fn dequantise(row: &[u8], out: &mut [f32]) -> Result<(), Error> {
    let (coordinates, scale) = split(row, out.len())?;
    for (x, &coordinate) in out.iter_mut().zip(coordinates) {
        *x = f32::from(coordinate as i8) * scale;
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

fn split(row: &[u8], dimension: usize) -> Result<(&[u8], f32), Error> {
    check_length("bytes of a row", row.len(), row_bytes(dimension))?;
    let (coordinates, scale) = row.split_at(dimension);
    let scale = scale
        .first_chunk()
        .map_or(0.0, |&scale| f32::from_le_bytes(scale));
    Ok((coordinates, scale))
}
