//! What tenants may use, what they did use, and who is next.
//!
//! Every question, search and upload passes [`Control`] before it costs anything: who is calling, is the tenant
//! within its rates, does its budget hold what this may cost, and is there a seat. What was used is noted as usage
//! events and charged; nothing is spent that was not held before. Plans are data ([`catalogue`]), models and their
//! prices too ([`models`]), changed while everything runs. The pieces that decide (`seats`, `overload`, `adaptive`,
//! the slices in `rates` and `budgets`) take time as a value and do no I/O. Knows no HTTP and no content of any
//! tenant.

pub mod budgets;
pub mod catalogue;
mod control;
mod embeddings;
mod error;
mod gate;
pub mod invoice;
mod known;
pub mod lifecycle;
pub mod limit;
mod meter;
pub mod models;
pub mod notices;
mod overload;
pub mod placement;
pub mod plans;
pub mod pools;
mod rates;
mod seats;
mod senses;
mod stage;
pub mod sums;
pub mod terms;
mod upkeep;
pub mod usage;

mod adaptive;

use quire_store::{MigrationSet, SystemTx};

pub use control::{Admitted, Attempt, Call, Control, ControlConfig, Route, Totals};
pub use embeddings::{EmbedError, Embeddings, Looked, Note, Over, SentBatch, ToEmbed};
pub use error::{Error, Reason, Refusal};
pub use gate::GateConfig;
pub use known::{Account, Caller, Who};
pub use limit::{Limit, LimitName};
pub use meter::FLUSH_AFTER;
pub use models::{LocalPool, Providers, Wanted};
pub use overload::Ladder;
pub use rates::RateState;
pub use seats::Class;
pub use senses::{
    OCR, ReadOff, SPEECH, Seen, SenseError, Sensed, ToHear, ToRead, ToSee, VISION, Written,
};
pub use stage::{Permit, Stage};
pub use upkeep::care;

/// Waits until no other transaction works on `what`, and keeps the next ones waiting until this one ends.
async fn one_at_a_time(tx: &mut SystemTx, what: &str) -> Result<(), Error> {
    alone(tx, what, true).await.map(drop)
}

/// The same, or without waiting: whether this transaction is alone with it.
async fn alone(tx: &mut SystemTx, what: &str, waits: bool) -> Result<bool, Error> {
    let statement = match waits {
        true => "select pg_advisory_xact_lock(hashtextextended($1, 0)) is not null",
        false => "select pg_try_advisory_xact_lock(hashtextextended($1, 0))",
    };
    Ok(sqlx::query_scalar(statement)
        .bind(what)
        .fetch_one(tx.connection())
        .await?)
}

/// The tables of the control plane.
pub const MIGRATIONS: MigrationSet = MigrationSet {
    schema: "control",
    steps: &[
        (1, "control", include_str!("../migrations/0001_control.sql")),
        (20, "models", include_str!("../migrations/0020_models.sql")),
    ],
};
