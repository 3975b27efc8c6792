//! What the child is asked to do, and what it says to its parent.

use quire_types::MediaType;
use serde::{Deserialize, Serialize};

use super::Confinement;
use crate::extract::{Document, ExtractError};

/// The child's whole answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Reply<T> {
    pub(super) confinement: Confinement,
    #[serde(flatten)]
    pub(super) result: Outcome<T>,
}

/// `{"ok": …}` or `{"error": …}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome<T> {
    Ok(T),
    Error(ExtractError),
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Read {
    pub(super) media: MediaType,
    pub(super) document: Document,
}

/// A part of a recording in base64; nothing where it has no sound.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Sound {
    pub(super) flac: String,
    pub(super) length_ms: u64,
}

/// An attachment, in base64.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Unpacked {
    pub(super) bytes: String,
}

/// A picture as JPEG, in base64.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) jpeg: String,
}

/// A picture as PNG, in base64.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Drawn {
    pub(super) png: String,
}
