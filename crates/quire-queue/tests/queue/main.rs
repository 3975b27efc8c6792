//! The queue on a real PostgreSQL.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod endings;
mod faults;
mod operations;
mod operator;
mod support;
mod wishes;
