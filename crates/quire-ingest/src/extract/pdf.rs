//! PDF by poppler's `pdftotext`, a separate process.
//!
//! Chosen over the Rust readers because it opens broken files, knows the encodings of embedded fonts and
//! keeps the reading order of columns. It is C++ on hostile bytes, so it inherits the limits and the
//! confinement of the child process that starts it.

mod columns;
mod headings;
mod layout;
mod tool;

use std::io::Write;

use super::builder::Builder;
use super::document::Document;
use super::error::ExtractError;
use super::limits::Limits;
use tool::Output;

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    if !has_its_end(bytes) {
        return Err(ExtractError::damaged(
            "PDF",
            "the end of the file is missing",
        ));
    }
    let mut file = tempfile::Builder::new()
        .suffix(".pdf")
        .tempfile()
        .map_err(|error| ExtractError::unavailable("no temporary file", error))?;
    file.write_all(bytes)
        .map_err(|error| ExtractError::unavailable("no space for a temporary file", error))?;

    let about = tool::run("pdfinfo", &["-enc", "UTF-8"], file.path(), 1 << 20)?;
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

    // Plain mode follows the reading order; `-layout` would put columns side by side and cut sentences, but
    // it shows where tables are.
    let most_bytes = limits.max_text_chars.saturating_mul(4);
    let text = tool::run(
        "pdftotext",
        &["-enc", "UTF-8", "-eol", "unix"],
        file.path(),
        most_bytes,
    )?;
    if !text.success {
        return Err(failure(&text));
    }
    if text.is_cut {
        return Err(ExtractError::too_large(
            "characters of text",
            limits.max_text_chars,
        ));
    }
    let laid_out = tool::run(
        "pdftotext",
        &["-enc", "UTF-8", "-eol", "unix", "-layout"],
        file.path(),
        most_bytes,
    )?;
    let mut builder = Builder::new(limits, bytes.len());
    if let Some(title) = field(&about, "Title:").filter(|title| is_real_title(title)) {
        builder.title(title);
    }
    builder.pages(pages);
    layout::write(
        &String::from_utf8_lossy(&text.stdout),
        &String::from_utf8_lossy(&laid_out.stdout),
        &mut builder,
    )?;
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
    if let Some(signal) = output.signal {
        return ExtractError::Crashed {
            how: format!("signal {signal}"),
        };
    }
    if complaint.contains("bad_alloc") || complaint.contains("Out of memory") {
        return ExtractError::OutOfMemory;
    }
    let last = complaint
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it cannot be opened");
    ExtractError::damaged("PDF", last)
}
