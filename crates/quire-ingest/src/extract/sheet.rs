//! Rows of cells, from a workbook or a CSV file, as lines that can stand alone.
//!
//! A sheet may hold several tables with titles above them and empty rows between. The first rows of each
//! decide what its header is; the others are written as they come, so that a long sheet costs no memory.

use quire_types::{Cells, Spot};

use super::builder::Builder;
use super::document::BlockKind;
use super::error::ExtractError;
use super::header;
use super::table::{line, mostly};

/// Rows that are looked at before the header is decided.
const HEAD_ROWS: usize = 20;
/// Wider rows are cut here; a real table never is this wide.
const MAX_COLUMNS: u32 = 1_000;
const TITLE_CHARS: usize = 120;

/// A cell that shows something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// Column, from 0.
    pub(super) column: u32,
    pub(super) text: String,
    /// A number, an amount or a date, so hardly a header.
    pub(super) is_value: bool,
}

#[derive(Debug)]
struct Row {
    /// From 0.
    number: u32,
    cells: Vec<Cell>,
}

/// Takes the rows of one sheet in order.
pub(super) struct Sheet<'b, 'l> {
    builder: &'b mut Builder<'l>,
    name: Option<String>,
    /// The first rows of a table, until its header is decided.
    head: Vec<Row>,
    is_decided: bool,
    header: Vec<String>,
    /// The row before the next one.
    last: Option<u32>,
}

impl<'b, 'l> Sheet<'b, 'l> {
    pub(super) fn new(builder: &'b mut Builder<'l>, name: Option<String>) -> Self {
        Self {
            builder,
            name,
            head: Vec::new(),
            is_decided: false,
            header: Vec::new(),
            last: None,
        }
    }

    /// Takes a row. Rows that are left out are empty, as are those whose cells show nothing.
    pub(super) fn row(&mut self, number: u32, mut cells: Vec<Cell>) -> Result<(), ExtractError> {
        cells.retain(|cell| !cell.text.trim().is_empty() && cell.column < MAX_COLUMNS);
        if cells.is_empty() {
            return Ok(());
        }
        let follows = self
            .last
            .is_none_or(|last| number <= last.saturating_add(1));
        self.last = Some(number);
        if !follows {
            self.end_table()?;
        }
        let row = Row { number, cells };
        if self.is_decided {
            return self.write(&row);
        }
        self.head.push(row);
        if self.head.len() >= HEAD_ROWS {
            self.decide()?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(), ExtractError> {
        self.end_table()?;
        self.builder.at(Spot::default());
        Ok(())
    }

    fn end_table(&mut self) -> Result<(), ExtractError> {
        self.decide()?;
        self.is_decided = false;
        Ok(())
    }

    /// Finds titles and the header in the first rows, and writes those.
    fn decide(&mut self) -> Result<(), ExtractError> {
        let rows = std::mem::take(&mut self.head);
        self.is_decided = true;
        let mut rows = rows.as_slice();
        // A single cell between empty rows is a title as well; several are a list.
        let is_list = rows.len() > 1 && rows.iter().all(|row| row.cells.len() == 1);
        while let [title, rest @ ..] = rows
            && title.cells.len() == 1
            && !is_list
        {
            self.title(title)?;
            rows = rest;
        }
        if let [first, rest @ ..] = rows {
            if is_header(first, rest) {
                self.header = texts(first);
                rows = rest;
                if let [second, rest @ ..] = rows
                    && goes_on(&self.header, second, rest)
                {
                    self.header = header::joined(&self.header, &texts(second));
                    rows = rest;
                }
            } else if !self.continues(first) {
                self.header = Vec::new();
            }
        }
        rows.iter().try_for_each(|row| self.write(row))
    }

    /// Rows below an empty one may go on with the table above it.
    fn continues(&self, first: &Row) -> bool {
        first.cells.len() > 2
            && first.cells.iter().all(|cell| {
                let name = self.header.get(cell.column as usize);
                name.is_some_and(|name| !name.is_empty())
            })
    }

    fn title(&mut self, row: &Row) -> Result<(), ExtractError> {
        self.stand_at(row);
        let text = row.cells.first().map_or("", |cell| cell.text.as_str());
        let is_short = text.chars().count() <= TITLE_CHARS && !text.trim_end().ends_with('.');
        if is_short {
            self.builder.heading(2, text, None)
        } else {
            self.builder.push(BlockKind::Paragraph, text, None)
        }
    }

    fn write(&mut self, row: &Row) -> Result<(), ExtractError> {
        self.stand_at(row);
        let mut texts = texts(row);
        if self.header.is_empty() {
            texts.retain(|text| !text.is_empty());
        }
        let line = line(&self.header, &texts);
        self.builder.push(BlockKind::TableRow, &line, None)
    }

    fn stand_at(&mut self, row: &Row) {
        let columns = row.cells.iter().map(|cell| cell.column);
        self.builder.at(Spot {
            sheet: self.name.clone(),
            cells: Some(Cells {
                left: columns.clone().min().unwrap_or(0),
                right: columns.max().unwrap_or(0),
                top: row.number,
                bottom: row.number,
            }),
            ..Spot::default()
        });
    }
}

fn texts(row: &Row) -> Vec<String> {
    let width = row.cells.iter().map(|cell| cell.column + 1).max();
    let mut texts = vec![String::new(); width.unwrap_or(0) as usize];
    for cell in &row.cells {
        if let Some(text) = texts.get_mut(cell.column as usize) {
            text.clone_from(&cell.text);
        }
    }
    texts
}

/// Whether a row goes on with the header above it.
fn goes_on(header: &[String], row: &Row, below: &[Row]) -> bool {
    let has_values = |column: usize| {
        let cells = below.iter().flat_map(|row| &row.cells);
        let cells = cells.filter(|cell| cell.column as usize == column);
        mostly(cells.map(|cell| cell.is_value))
    };
    !row.cells.iter().any(|cell| cell.is_value) && header::goes_on(header, &texts(row), has_values)
}

/// Two columns are a list of names and values as a rule, unless values stand below a word.
fn is_header(first: &Row, rest: &[Row]) -> bool {
    if rest.is_empty() || first.cells.iter().any(|cell| cell.is_value) {
        return false;
    }
    let has_value = |row: &Row| row.cells.iter().skip(1).any(|cell| cell.is_value);
    match first.cells.len() {
        0 | 1 => false,
        2 => match rest {
            [units, rest @ ..] if !has_value(units) => {
                !rest.is_empty()
                    && rest.iter().all(has_value)
                    && goes_on(&texts(first), units, rest)
            }
            _ => rest.iter().all(has_value),
        },
        _ => true,
    }
}

/// Whether a text reads as a number, an amount or a date.
pub(super) fn is_value(text: &str) -> bool {
    let text = text.trim();
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    digits > 0 && digits > letters
}
