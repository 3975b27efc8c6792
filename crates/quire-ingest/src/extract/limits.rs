//! What one file may cost. Counted while reading, because sizes declared inside a file are claims.

use serde::{Deserialize, Serialize};

/// The limits of one extraction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of the file itself.
    pub max_input_bytes: u64,
    /// Characters of extracted text.
    pub max_text_chars: u64,
    /// Pages of a PDF, slides of a presentation.
    pub max_pages: u32,
    /// Entries of a zip container.
    pub max_zip_entries: u64,
    /// Attachments of one e-mail.
    pub max_parts: u64,
    /// Bytes unpacked from a zip container, over all entries.
    pub max_unpacked_bytes: u64,
    /// Unpacked bytes (or characters of text) per stored byte; ignored for the first 100 KiB
    /// unpacked and the first million characters.
    pub max_ratio: u64,
    /// Pixels of a picture, width times height.
    pub max_pixels: u64,
    /// Pages of one PDF that are read from their pictures.
    pub max_scanned_pages: u32,
    /// Seconds of a recording.
    pub max_seconds: u64,
    /// Blocks of structure.
    pub max_blocks: u64,
    /// Bytes of headings and names that blocks repeat.
    pub max_repeated_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_input_bytes: 100 << 20,
            max_text_chars: 20_000_000,
            max_pages: 10_000,
            max_zip_entries: 2_000,
            max_parts: 500,
            max_unpacked_bytes: 200_000_000,
            max_ratio: 100,
            max_pixels: 100_000_000,
            max_scanned_pages: 300,
            max_seconds: 3 * 3_600,
            max_blocks: 500_000,
            max_repeated_bytes: 64 << 20,
        }
    }
}
