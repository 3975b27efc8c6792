//! Where quire keeps things: PostgreSQL for rows, an object store for bytes.
//!
//! [`Store::connect`] prepares the server (roles, migrations), refuses roles that could bypass
//! row-level security, and holds two pools: `quire_app` for one tenant at a time ([`TenantTx`]) and
//! `quire_worker` for the directory and the queue ([`SystemTx`]). There is no other way to a
//! connection. Rows have one module per resource; the functions in it take the transaction first, so
//! a caller decides what commits together. Knows no HTTP, no model and no search.

pub mod accounts;
pub mod batches;
pub mod builds;
mod connect;
pub mod connections;
pub mod corpus;
pub mod embeddings;
pub mod erasure;
mod error;
pub mod foreign;
pub mod idempotency;
pub mod keys;
mod migrate;
pub mod notebooks;
mod objects;
pub mod outbox;
mod page;
pub mod partitions;
pub mod passages;
pub mod progress;
pub mod pulled;
pub mod questions;
pub mod readers;
pub mod records;
mod roles;
pub mod sealed;
pub mod segments;
pub mod sources;
pub mod tenants;
pub mod texts;
pub mod tiers;
mod tx;

pub use connect::{Database, IsolationGap, Store, StoreConfig};
pub use error::Error;
pub use migrate::MigrationSet;
pub use objects::{
    CopiesConfig, CopyTotals, ObjectEntry, ObjectKey, Objects, S3Config, S3Credentials, Upload,
    UploadError,
};
pub use page::{Page, PageRequest, every};
pub use roles::RoleReport;
pub use tx::{Placement, SystemTx, TenantTx};
