//! The result of every reader: one text and the blocks it is made of.

use quire_types::Spot;
use serde::{Deserialize, Serialize};

/// The text of a file with its structure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The title the file gives itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub title: Option<String>,
    /// The whole text: `\n` newlines and no other control character.
    pub text: String,
    /// The parts of the text in order; between them stands only white space.
    pub blocks: Vec<Block>,
    /// How many pages the file has, where it has pages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pages: Option<u32>,
    /// How long a recording is.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub duration_ms: Option<u64>,
    /// A hash of a picture's look, from which that of a copy differs in few bits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub picture_hash: Option<u64>,
    /// What reading it took beside its text.
    #[serde(default)]
    pub sensed: Sensed,
}

/// What there was to read, to look at and to listen to in a file and in all that is attached to it, whoever did it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sensed {
    /// Pages and slides.
    pub pages: u64,
    /// Pictures: files, those on pages, and those of a film that differ.
    pub images: u64,
    /// Recordings and films.
    pub recordings: u64,
    /// Sound, in milliseconds.
    pub sound_ms: u64,
}

impl Sensed {
    /// The same and more.
    pub(super) fn add(&mut self, more: Self) {
        self.pages = self.pages.saturating_add(more.pages);
        self.images = self.images.saturating_add(more.images);
        self.recordings = self.recordings.saturating_add(more.recordings);
        self.sound_ms = self.sound_ms.saturating_add(more.sound_ms);
    }
}

/// One part of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// What it is.
    pub kind: BlockKind,
    /// First character, counted in Unicode scalar values from 0.
    pub char_start: u32,
    /// One past the last character.
    pub char_end: u32,
    /// Page, counted from 1, where the file has pages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub page: Option<u32>,
    /// The place in an original that has no pages.
    #[serde(flatten)]
    pub spot: Spot,
    /// Headings above the block, outermost first; a heading does not name itself.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub heading_path: Vec<String>,
}

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockKind {
    /// A heading; 1 is the outermost level.
    Heading(u8),
    /// Running text.
    Paragraph,
    /// One item of a list, with its marker.
    ListItem,
    /// One row of a table as "Header: value; Header: value", so that it can stand alone.
    TableRow,
    /// Preformatted text.
    Code,
}

impl Document {
    /// Whether the blocks lie in order inside the text. A document that comes from another process is
    /// checked before use.
    pub fn is_consistent(&self) -> bool {
        let chars = self.text.chars().count();
        let mut end = 0;
        let in_order = self.blocks.iter().all(|block| {
            let follows = block.char_start >= end && block.char_end >= block.char_start;
            end = block.char_end;
            follows
        });
        in_order
            && end as usize <= chars
            && !self.text.contains(|c: char| c.is_control() && c != '\n')
    }
}
