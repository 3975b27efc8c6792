//! What a reading child is asked for.

use serde::{Deserialize, Serialize};

use crate::extract::{Part, Shown, Wanted};

/// The parent's question; without one the child reads the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Asked {
    /// Its type, text and structure.
    Read,
    /// The same with what others made of it before: [`KNOWN_FILE`] in the child's folder.
    ReadKnown,
    /// What there is in it that others can be asked about.
    ToSense,
    /// One of its attachments, by number.
    Unpack(usize),
    /// One picture of it.
    Draw(Wanted),
    /// How long it is.
    Measure,
    /// A part of its sound.
    Sound(Part),
    /// One picture of it, for whoever says what it shows.
    Show(Shown),
    /// Where its picture changes.
    Scenes,
}

/// What others made of it, as JSON.
pub(super) const KNOWN_FILE: &str = "known.json";
