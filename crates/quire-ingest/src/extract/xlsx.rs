//! Workbooks (.xlsx, .xlsm): every visible sheet, row by row, with values as the sheet shows them.
//!
//! A formula is its last computed value. Knows no charts and no macros; hidden sheets, rows and columns are
//! left out, as are hidden texts elsewhere.

mod format;
mod parts;

use std::collections::BTreeMap;

use quick_xml::events::{BytesStart, Event};
use quire_types::Cells;

use super::builder::Builder;
use super::document::Document;
use super::error::ExtractError;
use super::limits::Limits;
use super::package::Package;
use super::sheet::{Cell, Sheet};
use super::xml;
use format::Formats;

const MAIN_PART: &str = "xl/workbook.xml";
const MAX_SHEETS: usize = 500;
/// Rows of the sheet's largest possible merged range that are filled in.
const MERGED_ROWS: u32 = 1_000;

/// What all sheets share.
struct Workbook {
    strings: Vec<String>,
    formats: Formats,
}

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let mut package = Package::open(bytes, limits)?;
    let main = parts::workbook(&package.need(MAIN_PART)?)?;
    let relations = package.relations(MAIN_PART)?;
    let by_kind = |kind: &str| {
        let found = relations.iter().find(|relation| relation.kind == kind);
        found.map(|relation| relation.target.clone())
    };
    let mut workbook = Workbook {
        strings: Vec::new(),
        formats: Formats::new(main.starts_1904),
    };
    if let Some(part) = by_kind("sharedStrings").and_then(|name| package.part(&name).transpose()) {
        workbook.strings = parts::strings(&part?)?;
    }
    if let Some(part) = by_kind("styles").and_then(|name| package.part(&name).transpose()) {
        workbook.formats.read(&part?)?;
    }
    let mut builder = Builder::new(limits, bytes.len());
    if let Some(title) = package.title()? {
        builder.title(&title);
    }
    if main.sheets.len() > MAX_SHEETS {
        return Err(ExtractError::too_large("sheets", MAX_SHEETS as u64));
    }
    let mut shown = 0;
    for sheet in main.sheets {
        let target = relations.iter().find(|relation| relation.id == sheet.id);
        let Some(target) = target.filter(|target| target.kind == "worksheet" && !sheet.is_hidden)
        else {
            continue;
        };
        shown += 1;
        builder.close_headings();
        let part = package.need(&target.target)?;
        read_sheet(&part, sheet.name, &workbook, &mut builder)?;
    }
    builder.pages(shown);
    builder.finish()
}

fn read_sheet(
    part: &str,
    name: String,
    workbook: &Workbook,
    builder: &mut Builder<'_>,
) -> Result<(), ExtractError> {
    let merged = parts::merged(part)?;
    let mut sheet = Sheet::new(builder, Some(name));
    let mut reader = xml::reader(part);
    let mut columns = Hidden::default();
    let mut row = OpenRow::default();
    let mut filled: BTreeMap<u32, (u32, Cell)> = BTreeMap::new();
    loop {
        match xml::next(&mut reader)? {
            Event::Start(element) => match element.local_name().as_ref() {
                "col" => columns.read(&element),
                "row" => row.begin(&element),
                "c" => row.open(&element),
                "v" | "t" => row.in_value = true,
                "rPh" => row.in_reading = true,
                _ => {}
            },
            Event::End(element) => match element.local_name().as_ref() {
                "v" | "t" => row.in_value = false,
                "rPh" => row.in_reading = false,
                "c" => row.close(workbook),
                "row" if row.is_hidden => {}
                "row" => {
                    let mut cells = std::mem::take(&mut row.cells);
                    fill_merged(&merged, row.number, &mut cells, &mut filled);
                    cells.retain(|cell| !columns.contains(cell.column));
                    sheet.row(row.number, cells)?;
                }
                _ => {}
            },
            Event::Text(text) => row.text(&text.xml10_content()),
            Event::CData(text) => row.text(&text.xml10_content()),
            Event::GeneralRef(reference) => {
                if let Some(c) = xml::resolve(&reference) {
                    row.text(c.encode_utf8(&mut [0; 4]));
                }
            }
            Event::Eof => return sheet.finish(),
            _ => {}
        }
    }
}

/// A cell that is merged over several rows is said again in each.
fn fill_merged(
    merged: &[Cells],
    row: u32,
    cells: &mut Vec<Cell>,
    filled: &mut BTreeMap<u32, (u32, Cell)>,
) {
    filled.retain(|_, (bottom, _)| *bottom >= row);
    for (column, (_, cell)) in filled.iter() {
        if !cells.iter().any(|known| known.column == *column) {
            cells.push(cell.clone());
        }
    }
    for range in merged.iter().filter(|range| range.top == row) {
        let first = cells.iter().find(|cell| cell.column == range.left);
        if let Some(first) = first.filter(|_| range.bottom > range.top) {
            let bottom = range.bottom.min(range.top.saturating_add(MERGED_ROWS));
            filled.insert(range.left, (bottom, first.clone()));
        }
    }
    cells.sort_by_key(|cell| cell.column);
}

/// Columns that are not shown, as ranges.
#[derive(Default)]
struct Hidden(Vec<(u32, u32)>);

impl Hidden {
    fn read(&mut self, column: &BytesStart<'_>) {
        let number = |name| -> Option<u32> { xml::attribute(column, name)?.parse().ok() };
        let is_hidden = matches!(
            xml::attribute(column, "hidden").as_deref(),
            Some("1" | "true")
        );
        if let (true, Some(min), Some(max)) = (is_hidden, number("min"), number("max")) {
            self.0.push((min.saturating_sub(1), max.saturating_sub(1)));
        }
    }

    fn contains(&self, column: u32) -> bool {
        self.0
            .iter()
            .any(|(min, max)| (*min..=*max).contains(&column))
    }
}

/// The row that is being read, and its last cell.
#[derive(Default)]
struct OpenRow {
    number: u32,
    next_number: u32,
    is_hidden: bool,
    cells: Vec<Cell>,
    column: u32,
    next_column: u32,
    kind: String,
    style: usize,
    value: String,
    in_value: bool,
    /// Readings of Japanese characters stand beside the text.
    in_reading: bool,
}

impl OpenRow {
    fn begin(&mut self, row: &BytesStart<'_>) {
        let number = xml::attribute(row, "r").and_then(|number| number.parse::<u32>().ok());
        self.number = number.map_or(self.next_number, |number| number.saturating_sub(1));
        self.next_number = self.number.saturating_add(1);
        self.is_hidden = matches!(xml::attribute(row, "hidden").as_deref(), Some("1" | "true"));
        self.next_column = 0;
        self.cells.clear();
    }

    fn open(&mut self, cell: &BytesStart<'_>) {
        let place = xml::attribute(cell, "r").and_then(|place| place.parse::<Cells>().ok());
        self.column = place.map_or(self.next_column, |place| place.left);
        self.next_column = self.column.saturating_add(1);
        self.kind = xml::attribute(cell, "t").unwrap_or_default().into_owned();
        let style = xml::attribute(cell, "s").and_then(|style| style.parse().ok());
        self.style = style.unwrap_or(0);
        self.value.clear();
    }

    fn text(&mut self, text: &str) {
        if self.in_value && !self.in_reading {
            self.value.push_str(text);
        }
    }

    fn close(&mut self, workbook: &Workbook) {
        let (text, is_value) = match self.kind.as_str() {
            "s" => {
                let at = self.value.trim().parse::<usize>().ok();
                let text = at.and_then(|at| workbook.strings.get(at));
                (text.cloned().unwrap_or_default(), false)
            }
            "str" | "inlineStr" => (self.value.clone(), false),
            "b" => {
                let word = if self.value.trim() == "1" {
                    "yes"
                } else {
                    "no"
                };
                (word.to_owned(), true)
            }
            // What a person reads as #DIV/0! tells nothing.
            "e" => (String::new(), true),
            "d" => (self.value.clone(), true),
            _ => (workbook.formats.show(self.style, self.value.trim()), true),
        };
        if !text.trim().is_empty() {
            let column = self.column;
            self.cells.push(Cell {
                column,
                text,
                is_value,
            });
        }
    }
}
