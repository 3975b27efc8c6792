//! The queue on a real PostgreSQL.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod endings;
mod operations;
mod support;
mod wishes;
