//! PDF by poppler's `pdftotext`, a separate process; pages that are pictures by OCR.
//!
//! Chosen over the Rust readers because it opens broken files, knows the encodings of embedded fonts and
//! keeps the reading order of columns. It is C++ on hostile bytes, so it inherits the limits and the
//! confinement of the child process that starts it.

mod columns;
mod headings;
mod layout;
mod pictures;
mod scanned;

use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::builder::Builder;
use super::document::{BlockKind, Document};
use super::error::ExtractError;
use super::known::{Known, Placed, ToSense};
use super::limits::Limits;
use super::meter::Meter;
use super::tool::{Output, Tool, on_disk};

pub(crate) use pictures::MOST_PICTURES;

pub(super) const PACKAGE: &str = "poppler-utils";
/// Text in UTF-8, and lines that end with one character.
const PLAIN: [&str; 4] = ["-enc", "UTF-8", "-eol", "unix"];

/// A file with its plain text, before scanned pages are read.
struct Opened {
    file: NamedTempFile,
    about: String,
    pages: u32,
    /// All pages, which end with form feeds.
    text: String,
    /// The area of a page, in square inches.
    page_area: Option<f64>,
}

fn open(bytes: &[u8], limits: &Limits) -> Result<Opened, ExtractError> {
    if !has_its_end(bytes) {
        return Err(ExtractError::damaged(
            "PDF",
            "the end of the file is missing",
        ));
    }
    let file = on_disk(bytes, ".pdf")?;
    let about = Tool::new("pdfinfo", PACKAGE)
        .args(["-enc", "UTF-8"])
        .arg(file.path())
        .run(1 << 20)?;
    if !about.success {
        return Err(failure(&about));
    }
    let about = String::from_utf8_lossy(&about.stdout).into_owned();
    let pages: u32 = field(&about, "Pages:")
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    if pages > limits.max_pages {
        return Err(ExtractError::too_large("pages", limits.max_pages.into()));
    }

    // Plain mode follows the reading order.
    let text = Tool::new("pdftotext", PACKAGE)
        .args(PLAIN)
        .arg(file.path())
        .arg("-")
        .run(most_bytes(limits))?;
    if !text.success {
        return Err(failure(&text));
    }
    if text.is_cut {
        return Err(ExtractError::too_large(
            "characters of text",
            limits.max_text_chars,
        ));
    }
    Ok(Opened {
        page_area: field(&about, "Page size:").and_then(square_inches),
        text: String::from_utf8_lossy(&text.stdout).into_owned(),
        file,
        about,
        pages,
    })
}

fn most_bytes(limits: &Limits) -> u64 {
    limits.max_text_chars.saturating_mul(4)
}

/// Scanned pages, and pictures on others.
pub(super) fn to_sense(bytes: &[u8], limits: &Limits) -> Result<ToSense, ExtractError> {
    let opened = open(bytes, limits)?;
    let file = opened.file.path();
    let scanned = scanned::pages(file, &opened.text, limits)?;
    let pages = scanned
        .into_iter()
        .filter_map(|at| u32::try_from(at + 1).ok());
    Ok(ToSense {
        pages: pages.collect(),
        pictures: pictures::placed((file, bytes), &opened.text, opened.page_area, limits)?,
        ..ToSense::default()
    })
}

/// One of the pictures on its pages, as a PNG in this folder.
pub(super) fn take_out(bytes: &[u8], at: Placed, folder: &Path) -> Result<PathBuf, ExtractError> {
    let file = on_disk(bytes, ".pdf")?;
    pictures::one(file.path(), at, folder)
}

/// One of its pages, as a JPEG in this folder.
pub(super) fn draw_page(
    bytes: &[u8],
    page: u32,
    side: u32,
    folder: &Path,
) -> Result<PathBuf, ExtractError> {
    let file = on_disk(bytes, ".pdf")?;
    let (page, side, drawn) = (page.to_string(), side.to_string(), folder.join("page"));
    Tool::new("pdftoppm", PACKAGE)
        .args(["-jpeg", "-singlefile", "-scale-to", &side])
        .args(["-f", &page, "-l", &page])
        .arg(file.path())
        .arg(&drawn)
        .run(1 << 20)?;
    Ok(drawn.with_extension("jpg"))
}

pub(super) fn read(
    bytes: &[u8],
    known: &Known,
    limits: &Limits,
    meter: Meter<'_>,
) -> Result<Document, ExtractError> {
    let Opened {
        file,
        about,
        pages,
        text,
        page_area,
    } = open(bytes, limits)?;
    // It would put columns side by side and cut sentences, but it shows where tables are.
    let laid_out = Tool::new("pdftotext", PACKAGE)
        .args(PLAIN)
        .arg("-layout")
        .arg(file.path())
        .arg("-")
        .run(most_bytes(limits))?;
    let named = (file.path(), bytes);
    let found = pictures::read(named, &text, page_area, known, limits, meter.part(0, 2))?;
    let text = scanned::fill_in(file.path(), text, known, limits, meter.part(1, 2))?;
    let mut builder = Builder::new(limits, bytes.len());
    if let Some(title) = field(&about, "Title:").filter(|title| is_real_title(title)) {
        builder.title(title);
    }
    builder.pages(pages);
    builder.images(found.read);
    layout::write(
        &text,
        &String::from_utf8_lossy(&laid_out.stdout),
        &found.paragraphs,
        &mut builder,
    )?;
    builder.close_headings();
    for note in &found.notes {
        builder.push(BlockKind::Paragraph, note, None)?;
    }
    builder.finish().map_err(|error| match error {
        ExtractError::NoText => ExtractError::Scanned,
        other => other,
    })
}

/// Every complete PDF says at its end where its directory is. poppler would rebuild the directory of a
/// cut file and read on, and a source that lacks its second half must not look like a whole one.
fn has_its_end(bytes: &[u8]) -> bool {
    let padding = bytes
        .iter()
        .rev()
        .take_while(|byte| matches!(byte, 0 | b' ' | b'\n' | b'\r' | b'\t'))
        .count();
    let end = &bytes[..bytes.len() - padding];
    let tail = &end[end.len().saturating_sub(4096)..];
    [b"%%EOF".as_slice(), b"startxref"]
        .iter()
        .any(|mark| tail.windows(mark.len()).any(|window| window == *mark))
}

fn field<'a>(about: &'a str, name: &str) -> Option<&'a str> {
    let value = about
        .lines()
        .find_map(|line| line.strip_prefix(name))?
        .trim();
    (!value.is_empty()).then_some(value)
}

/// The area of a page like `612 x 792 pts (letter)`.
fn square_inches(size: &str) -> Option<f64> {
    let mut fields = size.split_whitespace();
    let width: f64 = fields.next()?.parse().ok()?;
    let height: f64 = fields.nth(1)?.parse().ok()?;
    let area = width * height / (72.0 * 72.0);
    (area > 0.0).then_some(area)
}

/// Many programs put the name of a file where the title belongs.
fn is_real_title(title: &str) -> bool {
    let lower = title.to_lowercase();
    let is_file_name = lower.rsplit_once('.').is_some_and(|(_, extension)| {
        (2..=5).contains(&extension.len()) && extension.chars().all(|c| c.is_ascii_alphanumeric())
    });
    !(is_file_name || lower.starts_with("untitled") || lower.starts_with("microsoft word"))
}

fn failure(output: &Output) -> ExtractError {
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("Incorrect password") {
        return ExtractError::PasswordProtected;
    }
    output.failure("PDF")
}
