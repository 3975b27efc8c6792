//! The control plane against a real PostgreSQL.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what a test can't do ends it"
)]

mod admission;
mod embeddings;
mod faults;
mod money;
mod redis;
mod support;
mod tenants;
mod usage;
