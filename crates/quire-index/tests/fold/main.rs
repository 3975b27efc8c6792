//! Passages that move while everything goes wrong: whatever breaks off, comes second, is damaged or out
//! of reach, answers are right, what is missing is named, nothing is lost and nothing is there twice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod faults;
mod formats;
mod lab;
mod moving;
mod questions;
