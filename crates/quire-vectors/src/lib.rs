//! One-bit codes, their scan, exact rescoring and clusters of vectors.
//!
//! A vector is rotated once ([`Rotation`]); the signs of what comes out are its code
//! ([`CodesBuilder`]), 32 of them interleaved so that one instruction looks up many. A query becomes
//! small tables ([`ScanQuery`]), and [`Codes::scan`] estimates its inner product with every code that
//! a mask lets through. The best hundreds are scored again from rows of a byte a coordinate and the signs
//! in the codes ([`quantise`], [`Codes::dot`]), which brings back nearly what an exact scan finds. Where there
//! are too many codes to look at, [`Centroids`] say which to look at first.
//!
//! Source of codes and estimator: Gao and Long, "RaBitQ: Quantizing High-Dimensional Vectors with a
//! Theoretical Error Bound for Approximate Nearest Neighbor Search", SIGMOD 2024, at one bit, with the
//! centroid at the origin. Source of the scan: André, Kermarrec and Le Scouarnec, "Cache locality is
//! not enough", VLDB 2015.
//!
//! Vectors are `f32` slices, one after another where there are several; bytes are little-endian and
//! need no alignment, so they may lie anywhere in a file. A dimension is a multiple of 8 up to
//! [`MAX_DIMENSION`]. Pure computation on the caller's thread: it refuses to know tenants, passages,
//! files and what made the vectors.

mod clusters;
mod codes;
mod error;
#[expect(
    unsafe_code,
    reason = "vector instructions are called after asking the processor, and load through pointers"
)]
mod kernels;
mod random;
mod rescore;
mod rotation;
mod scan;

pub use clusters::{Centroids, train};
pub use codes::{BLOCK_ROWS, Codes, CodesBuilder, block_bytes};
pub use error::{Error, MAX_DIMENSION};
pub use kernels::Level;
pub use rescore::{dequantise, dot_f32, quantise, row_bytes, unsigned_row_bytes};
pub use rotation::Rotation;
pub use scan::{Candidate, ScanQuery};
