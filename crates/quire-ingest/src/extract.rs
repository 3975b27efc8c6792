//! From the bytes of one file to its text with structure: headings, paragraphs, list items, table rows.
//!
//! Pure apart from what starts installed programs: poppler, tesseract, ffmpeg and a recogniser of speech. Knows no
//! tenant, no database and no model, and trusts nothing about the bytes: every reader stops at [`Limits`] with a
//! typed error.

mod archive;
mod audio;
mod builder;
mod csv;
mod document;
mod docx;
mod drawing;
mod email;
mod error;
mod header;
mod heard;
mod html;
mod image;
mod known;
mod limits;
mod markdown;
mod meter;
mod notes;
mod ocr;
mod package;
mod pdf;
mod pptx;
mod recording;
mod sheet;
mod speech;
mod table;
mod text;
mod tool;
mod transcript;
mod video;
mod xlsx;
mod xml;

use quire_types::MediaType;

pub use document::{Block, BlockKind, Document, Sensed};
pub use drawing::{Measured, Part, Shown, Wanted, cut_sound, draw, measure, scenes, show};
pub use error::ExtractError;
pub use heard::{Heard, HeardPart};
pub use known::{Known, PageRead, PictureRead, PictureSeen, Placed, ToSense};
pub use limits::Limits;
pub use meter::Meter;
pub use notes::Note;
pub use speech::Utterance;

pub(crate) use builder::PATH_ENTRY_CHARS;
pub(crate) use csv::looks_like_csv;
pub(crate) use image::Kind as PictureKind;
pub(crate) use pdf::MOST_PICTURES;
pub(crate) use recording::look as look_at_recording;
pub(crate) use text::{decode, looks_like_utf16};
pub(crate) use transcript::{Script, looks_like_transcript};
pub(crate) use video::evenly;

/// The version of the reader of a type. Raise it when the reader, or one that it uses, makes a better document of
/// files that were read before: they are read again, see [`crate::tasks::RereadSources`].
pub fn processor(media: MediaType) -> i16 {
    match media {
        MediaType::Text | MediaType::Markdown => 1,
        // Keeps columns below cells that reach over several rows, and headers of several rows.
        MediaType::Html => 3,
        // Reads the pictures on its pages, and all pages of a scan with a line of text on each.
        MediaType::Pdf => 3,
        // Keep headers of several rows, and units.
        MediaType::Docx | MediaType::Xlsx => 2,
        MediaType::Pptx => 1,
        // Tells when each turn is said.
        MediaType::Transcript => 2,
        // Counts empty lines, and keeps headers of several rows.
        MediaType::Csv => 3,
        // Reads the picture that it saw change.
        MediaType::Video => 2,
        MediaType::Image | MediaType::Audio => 1,
        // Holds any of the others.
        MediaType::Email => {
            let others = MediaType::ALL.iter().copied();
            let others = others.filter(|media| *media != MediaType::Email);
            others.map(processor).sum()
        }
    }
}

/// Files inside files are followed so far.
const MAX_DEPTH: u8 = 4;

/// How deep inside another file a file stands.
#[derive(Clone, Copy, Debug, Default)]
struct Depth(u8);

impl Depth {
    fn deeper(self) -> Option<Self> {
        (self.0 < MAX_DEPTH).then(|| Self(self.0 + 1))
    }
}

/// Reads a file of a known type.
pub fn extract(
    media: MediaType,
    bytes: &[u8],
    limits: &Limits,
    meter: Meter<'_>,
) -> Result<Document, ExtractError> {
    extract_known(media, bytes, &Known::default(), limits, meter)
}

/// Reads a file in which others heard, read or saw something before.
pub fn extract_known(
    media: MediaType,
    bytes: &[u8],
    known: &Known,
    limits: &Limits,
    meter: Meter<'_>,
) -> Result<Document, ExtractError> {
    extract_at(media, bytes, known, limits, Depth::default(), meter)
}

/// What there is in a file that others can be asked about; nothing of a recording, which is asked about as a whole.
pub fn to_sense(media: MediaType, bytes: &[u8], limits: &Limits) -> Result<ToSense, ExtractError> {
    match media {
        MediaType::Pdf => pdf::to_sense(bytes, limits),
        MediaType::Image => image::to_sense(bytes, limits),
        MediaType::Email => email::to_sense(bytes, limits),
        _ => Ok(ToSense::default()),
    }
}

/// An attachment of an e-mail, by its number.
pub fn unpack(media: MediaType, bytes: &[u8], number: usize) -> Result<Vec<u8>, ExtractError> {
    match media {
        MediaType::Email => email::unpack(bytes, number),
        _ => Err(ExtractError::NoPicture),
    }
}

/// Finds the type of a file that stands inside another and reads it.
fn inside(
    name: &str,
    bytes: &[u8],
    known: &Known,
    limits: &Limits,
    depth: Depth,
    meter: Meter<'_>,
) -> Result<Document, ExtractError> {
    let depth = depth
        .deeper()
        .ok_or_else(|| ExtractError::refused("files inside files without end"))?;
    extract_at(
        crate::detect::detect(name, bytes)?,
        bytes,
        known,
        limits,
        depth,
        meter,
    )
}

fn extract_at(
    media: MediaType,
    bytes: &[u8],
    known: &Known,
    limits: &Limits,
    depth: Depth,
    meter: Meter<'_>,
) -> Result<Document, ExtractError> {
    if bytes.is_empty() {
        return Err(ExtractError::Empty);
    }
    if bytes.len() as u64 > limits.max_input_bytes {
        return Err(ExtractError::too_large("bytes", limits.max_input_bytes));
    }
    let document = match media {
        MediaType::Text => text::read(bytes, limits),
        MediaType::Markdown => markdown::read(bytes, limits),
        MediaType::Html => html::read(bytes, limits),
        MediaType::Pdf => pdf::read(bytes, known, limits, meter),
        MediaType::Docx => docx::read(bytes, limits),
        MediaType::Pptx => pptx::read(bytes, limits),
        MediaType::Xlsx => xlsx::read(bytes, limits),
        MediaType::Csv => csv::read(bytes, limits),
        MediaType::Email => email::read(bytes, known, limits, depth, meter),
        MediaType::Transcript => transcript::read(bytes, limits),
        MediaType::Image => image::read(bytes, known, limits, meter),
        MediaType::Audio => audio::read(bytes, &known.heard, limits, meter),
        MediaType::Video => video::read(bytes, &known.heard, limits, meter),
    }?;
    document.with_seen(&known.seen, limits)
}
