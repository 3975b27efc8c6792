//! Test doubles and fixtures: a PostgreSQL cluster for tests and wire-level provider doubles.

#![expect(
    clippy::expect_used,
    reason = "support for tests: what can't be set up ends the test"
)]

pub mod disk;
pub mod files;
pub mod mail;
pub mod notion;
pub mod pdf;
mod people;
mod port;
pub mod postgres;
mod program;
pub mod provider;
pub mod receiver;
pub mod redis;
pub mod remote;
pub mod s3;
pub mod teams;
pub mod unreliable;
pub mod zoom;

pub use port::free_port;
pub use program::program;

/// How long a test waits for what it expects. Nothing takes that long, on a busy machine either.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(300);
