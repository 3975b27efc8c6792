//! From the bytes of one file to its text with structure: headings, paragraphs, list items, table rows.
//!
//! Pure apart from the PDF reader, which starts poppler. Knows no tenant, no database and no model,
//! and trusts nothing about the bytes: every reader stops at [`Limits`] with a typed error.

mod archive;
mod builder;
mod document;
mod docx;
mod error;
mod html;
mod limits;
mod markdown;
mod pdf;
mod table;
mod text;

use quire_types::MediaType;

pub use document::{Block, BlockKind, Document};
pub use error::ExtractError;
pub use limits::Limits;

pub(crate) use builder::PATH_ENTRY_CHARS;
pub(crate) use text::{decode, looks_like_utf16};

/// Reads a file of a known type.
pub fn extract(media: MediaType, bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    if bytes.is_empty() {
        return Err(ExtractError::Empty);
    }
    if bytes.len() as u64 > limits.max_input_bytes {
        return Err(ExtractError::too_large("bytes", limits.max_input_bytes));
    }
    match media {
        MediaType::Text => text::read(bytes, limits),
        MediaType::Markdown => markdown::read(bytes, limits),
        MediaType::Html => html::read(bytes, limits),
        MediaType::Pdf => pdf::read(bytes, limits),
        MediaType::Docx => docx::read(bytes, limits),
    }
}
