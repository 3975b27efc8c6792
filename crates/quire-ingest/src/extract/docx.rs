//! Word documents (.docx): a zip container of XML parts.
//!
//! Reads the body, footnotes and endnotes as an editor shows them with all changes accepted: deleted
//! and hidden text is left out. Knows no fonts, no pictures, no headers and footers of pages.

mod body;
mod styles;

use super::archive::{self, Archive};
use super::builder::Builder;
use super::document::Document;
use super::error::ExtractError;
use super::limits::Limits;
use super::xml;
use styles::Styles;

const MAIN_PART: &str = "word/document.xml";

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let mut archive = Archive::open(bytes, limits)?;
    let (main_name, main) = main_part(&mut archive)?;
    let folder = main_name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let styles = match archive.read(&format!("{folder}/styles.xml"))? {
        Some(part) => Styles::read(&xml::text_of(&part))?,
        None => Styles::default(),
    };
    let mut builder = Builder::new(limits, bytes.len());
    if let Some(part) = archive.read("docProps/core.xml")?
        && let Some(title) = xml::first_text(&xml::text_of(&part), "title")?
    {
        builder.title(&title);
    }
    body::read(&xml::text_of(&main), &styles, &mut builder)?;
    for notes in ["footnotes", "endnotes"] {
        if let Some(part) = archive.read(&format!("{folder}/{notes}.xml"))? {
            body::read(&xml::text_of(&part), &styles, &mut builder)?;
        }
    }
    builder.finish()
}

/// The part that holds the text: named in the package's relations, by custom `word/document.xml`.
fn main_part(archive: &mut Archive<'_>) -> Result<(String, Vec<u8>), ExtractError> {
    if let Some(part) = archive.read(MAIN_PART)? {
        return Ok((MAIN_PART.into(), part));
    }
    if let Some(relations) = archive.read("_rels/.rels")?
        && let Some(target) = xml::relation(&xml::text_of(&relations), "/officeDocument")?
    {
        let name = target.trim_start_matches('/').to_owned();
        if let Some(part) = archive.read(&name)? {
            return Ok((name, part));
        }
    }
    Err(ExtractError::damaged(
        archive::FORMAT,
        "the part with the text is missing",
    ))
}
