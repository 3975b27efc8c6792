//! Detection, extraction, passages and the sandbox over files that the tests build themselves; onboarding and
//! quotas on a real PostgreSQL.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail loudly and says how long hostile files took"
)]

mod extraction;
mod formats;
mod hostile;
mod lab;
mod large;
mod onboarding;
mod passages;
mod pictures;
mod progress;
mod quotas;
mod recognisers;
mod recordings;
mod reread;
mod sandbox;
mod senses;
mod support;
mod sweep;
mod tiers;
