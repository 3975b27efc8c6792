//! What every handler may use.

use std::ops::Deref;
use std::sync::Arc;

use quire_ask::{Asker, Caches};
use quire_connect::Connect;
use quire_index::Search;
use quire_ingest::Ingest;
use quire_store::Store;
use quire_store::sealed::Keyring;
use quire_tenancy::{Control, Providers};

use crate::metrics::Metrics;
use crate::prefetch::Prefetch;
use crate::pressure::Pressure;

/// The parts behind the routes. Every layer of every request clones it, so a clone is one counter.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

impl From<Parts> for App {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What the routes stand on.
pub struct Parts {
    /// Rows and bytes.
    pub store: Store,
    /// Who may do what, and what it cost.
    pub control: Control,
    /// Adds and removes sources.
    pub ingest: Ingest,
    /// Takes in what other products tell.
    pub connect: Connect,
    /// Answers questions.
    pub asker: Arc<Asker>,
    /// What it remembers, for the operator.
    pub caches: Caches,
    /// The views it searches in, for metrics.
    pub search: Search,
    /// The models it asks, for metrics.
    pub providers: Providers,
    /// Seals the keys of pools.
    pub keyring: Keyring,
    /// What happened so far.
    pub metrics: Arc<Metrics>,
    /// Whether uploads have to wait.
    pub pressure: Arc<Pressure>,
    /// What is read ahead of questions.
    pub prefetch: Prefetch,
    /// How much a request may carry.
    pub limits: Limits,
}

/// How much a request may carry.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A JSON body.
    pub json_bytes: usize,
    /// A file.
    pub file_bytes: u64,
}
