//! What a reading child is asked for.

use serde::{Deserialize, Serialize};

use crate::extract::Wanted;

/// The parent's question; without one the child reads the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Asked {
    /// Its type, text and structure.
    Read,
    /// One picture of it.
    Draw(Wanted),
    /// How long it is.
    Measure,
}
