//! Detection, extraction, passages and the sandbox over files that the tests build themselves.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may fail loudly and says how long hostile files took"
)]

mod extraction;
mod hostile;
mod passages;
mod sandbox;
mod support;
