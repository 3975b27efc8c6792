//! Kernels against the scalar reference, estimates against exact products, and every refusal.

#![expect(clippy::unwrap_used, reason = "a test may fail loudly")]

mod clusters;
mod codes;
mod data;
mod rescore;
mod rotation;
mod scan;
