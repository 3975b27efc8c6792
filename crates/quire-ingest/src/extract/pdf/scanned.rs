//! Pages that are pictures: drawn by `pdftoppm`, read by tesseract.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::error::ExtractError;
use super::super::known::Known;
use super::super::limits::Limits;
use super::super::meter::Meter;
use super::super::ocr;
use super::super::tool::{Tool, scratch};
use super::PACKAGE;

/// The longer side of a drawn page: 300 dots per inch on a letter, and a bound on a page of any size.
const DRAWN_SIDE: &str = "3300";

/// The pages that are pictures, from 0. `text` is that of all pages, which end with form feeds.
pub(super) fn pages(
    file: &Path,
    text: &str,
    limits: &Limits,
) -> Result<BTreeSet<usize>, ExtractError> {
    let pages: Vec<&str> = text.split('\u{c}').collect();
    // A form feed ends the last page as well.
    let count = pages.len().saturating_sub(1).max(1);
    let is_bare = |at: &usize| !pages[*at].contains(char::is_alphanumeric);
    let mut bare: BTreeSet<usize> = (0..count).filter(is_bare).collect();
    if bare.is_empty() {
        return Ok(bare);
    }
    if bare.len() < count {
        // Among pages with text, one without is blank unless there is a picture on it.
        let with_pictures = with_pictures(file)?;
        bare.retain(|at| with_pictures.contains(&(at + 1)));
    }
    if bare.len() as u64 > u64::from(limits.max_scanned_pages) {
        return Err(ExtractError::too_large(
            "scanned pages",
            limits.max_scanned_pages.into(),
        ));
    }
    Ok(bare)
}

/// The text of the file with that of its scanned pages filled in, read by others before or here; pages end with form
/// feeds. Unchanged when every page has text or shows no picture.
pub(super) fn fill_in(
    file: &Path,
    text: String,
    known: &Known,
    limits: &Limits,
    meter: Meter<'_>,
) -> Result<String, ExtractError> {
    let bare = self::pages(file, &text, limits)?;
    if bare.is_empty() {
        return Ok(text);
    }
    let mut pages: Vec<String> = text.split('\u{c}').map(str::to_owned).collect();
    let mut languages = None;
    let folder = scratch()?;
    let drawn_pages = bare.len();
    for (done, at) in bare.into_iter().enumerate() {
        meter.at(done, drawn_pages);
        let read = u32::try_from(at + 1)
            .ok()
            .and_then(|page| known.pages.get(&page));
        if let Some(read) = read {
            pages[at] = read.told().join("\n\n");
            continue;
        }
        let languages = match &mut languages {
            Some(languages) => languages,
            none => none.insert(ocr::languages()?),
        };
        let drawn = folder.path().join("page");
        let number = (at + 1).to_string();
        Tool::new("pdftoppm", PACKAGE)
            .args(["-gray", "-png", "-scale-to", DRAWN_SIDE, "-singlefile"])
            .args(["-f", &number, "-l", &number])
            .arg(file)
            .arg(&drawn)
            .need(1 << 20, "PDF")?;
        pages[at] = ocr::read(&drawn.with_extension("png"), languages)?.join("\n\n");
    }
    Ok(pages.join("\u{c}"))
}

/// Numbers of pages that show pictures, from 1.
fn with_pictures(file: &Path) -> Result<BTreeSet<usize>, ExtractError> {
    let list = Tool::new("pdfimages", PACKAGE)
        .arg("-list")
        .arg(file)
        .need(64 << 20, "PDF")?;
    let list = String::from_utf8_lossy(&list);
    let rows = list.lines().skip(2);
    Ok(rows
        .filter_map(|row| row.split_whitespace().next()?.parse().ok())
        .collect())
}
