//! What the child says to its parent.

use quire_types::MediaType;
use serde::{Deserialize, Serialize};

use super::Confinement;
use crate::extract::{Document, ExtractError};

/// The child's whole answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply {
    pub(super) confinement: Confinement,
    #[serde(flatten)]
    pub(super) result: Outcome,
}

/// `{"ok": …}` or `{"error": …}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Ok(Read),
    Error(ExtractError),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Read {
    pub(super) media: MediaType,
    pub(super) document: Document,
}
