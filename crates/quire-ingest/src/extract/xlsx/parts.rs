//! The parts of a workbook that are read before its sheets.

use quick_xml::events::Event;
use quire_types::Cells;

use super::super::error::ExtractError;
use super::super::xml;

/// More are of no use to a reader and cost time in every row.
const MAX_MERGED: usize = 10_000;

#[derive(Default)]
pub(super) struct Main {
    pub(super) sheets: Vec<SheetEntry>,
    /// Whether days are counted from 1904, as old programs for the Mac did.
    pub(super) starts_1904: bool,
}

pub(super) struct SheetEntry {
    pub(super) name: String,
    /// Its relation.
    pub(super) id: String,
    pub(super) is_hidden: bool,
}

pub(super) fn workbook(part: &str) -> Result<Main, ExtractError> {
    let mut reader = xml::reader(part);
    let mut main = Main::default();
    loop {
        match xml::next(&mut reader)? {
            Event::Start(element) => match element.local_name().as_ref() {
                "workbookPr" => {
                    let value = xml::attribute(&element, "date1904");
                    main.starts_1904 = matches!(value.as_deref(), Some("1" | "true"));
                }
                "sheet" => {
                    let name = xml::attribute(&element, "name").unwrap_or_default();
                    let state = xml::attribute(&element, "state");
                    if let Some(id) = xml::relation_id(&element) {
                        main.sheets.push(SheetEntry {
                            name: name.into_owned(),
                            id,
                            is_hidden: state.is_some_and(|state| state != "visible"),
                        });
                    }
                }
                _ => {}
            },
            Event::Eof => return Ok(main),
            _ => {}
        }
    }
}

/// Texts that cells refer to by number.
pub(super) fn strings(part: &str) -> Result<Vec<String>, ExtractError> {
    let mut reader = xml::reader(part);
    let mut strings = Vec::new();
    let (mut text, mut in_text, mut in_reading) = (String::new(), false, false);
    loop {
        match xml::next(&mut reader)? {
            Event::Start(element) => match element.local_name().as_ref() {
                "si" => text.clear(),
                "t" => in_text = true,
                "rPh" => in_reading = true,
                _ => {}
            },
            Event::End(element) => match element.local_name().as_ref() {
                "si" => strings.push(std::mem::take(&mut text)),
                "t" => in_text = false,
                "rPh" => in_reading = false,
                _ => {}
            },
            Event::Text(part) if in_text && !in_reading => text.push_str(&part.xml10_content()),
            Event::CData(part) if in_text && !in_reading => text.push_str(&part.xml10_content()),
            Event::GeneralRef(reference) if in_text && !in_reading => {
                text.extend(xml::resolve(&reference));
            }
            Event::Eof => return Ok(strings),
            _ => {}
        }
    }
}

/// Ranges of cells that are one cell to the eye.
pub(super) fn merged(part: &str) -> Result<Vec<Cells>, ExtractError> {
    let mut found = Vec::new();
    // They stand behind all rows, which are long; without the word there are none.
    let Some(at) = part
        .rfind("<mergeCells")
        .or_else(|| part.rfind(":mergeCells"))
    else {
        return Ok(found);
    };
    let start = part[..at]
        .rfind('<')
        .unwrap_or(at)
        .max(at.saturating_sub(64));
    let start = if part[at..].starts_with('<') {
        at
    } else {
        start
    };
    let end = part[start..]
        .rfind("mergeCells>")
        .map_or(part.len(), |end| start + end);
    for piece in part[start..end].split("ref=\"").skip(1).take(MAX_MERGED) {
        let range = piece.split('"').next();
        found.extend(range.and_then(|range| range.parse::<Cells>().ok()));
    }
    Ok(found)
}
