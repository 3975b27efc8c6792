//! Tables as lines: the header row is repeated in every row, so that a row can be found and quoted
//! alone.

use std::collections::BTreeMap;

use super::builder::{Builder, one_line};
use super::document::BlockKind;
use super::error::ExtractError;
use super::header;
use super::sheet::is_value;

const HEADER_CHARS: usize = 80;
/// Headers have no more rows.
const MAX_HEADER_ROWS: usize = 3;
/// Rows by which columns of values are told.
const LOOK_ROWS: usize = 20;
/// Wider rows are cut here before they are stored; a real table never is this wide.
const MAX_COLUMNS: usize = 1_000;
/// What a cell over several rows says in those below the first, in characters.
const BELOW_CHARS: usize = 200;

/// The rows of one table while it is read.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    header: Header,
    /// Rows from the first on that are marked as headers.
    marked: usize,
    /// Cells that reach into rows to come: how many, and what they say, by column.
    below: BTreeMap<usize, (usize, String)>,
}

/// What is known about the first row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Header {
    /// The file says nothing; the cells decide.
    #[default]
    Guess,
    /// The file marks it as the header.
    First,
    /// The file marks no header and means it.
    None,
}

impl Table {
    pub(super) fn with_header(header: Header) -> Self {
        Self {
            header,
            ..Self::default()
        }
    }

    pub(super) fn mark_header(&mut self) {
        if self.rows.len() == 1 {
            self.header = Header::First;
        }
        if self.rows.len() == self.marked + 1 {
            self.marked += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn row(&mut self) {
        self.rows.push(Vec::new());
    }

    pub(super) fn cell(&mut self, text: &str) {
        if let Some(row) = self.rows.last_mut()
            && row.len() < MAX_COLUMNS
        {
            row.push(one_line(text));
        }
    }

    /// A cell that takes so many columns and rows. In the columns after the first it says `beside`.
    pub(super) fn wide_cell(&mut self, text: &str, beside: &str, columns: usize, rows: usize) {
        for number in 0..columns {
            self.fill_from_above();
            let column = self.rows.last().map_or(0, Vec::len);
            let text = if number == 0 { text } else { beside };
            if rows > 1 && column < MAX_COLUMNS {
                let below = one_line(text).chars().take(BELOW_CHARS).collect();
                self.below.insert(column, (rows - 1, below));
            }
            self.cell(text);
        }
    }

    /// Writes the cells at this place of the row that began in rows above.
    pub(super) fn fill_from_above(&mut self) {
        while let Some(column) = self.rows.last().map(Vec::len)
            && let Some((rows, text)) = self.below.remove(&column)
        {
            self.cell(&text);
            if rows > 1 {
                self.below.insert(column, (rows - 1, text));
            }
        }
    }

    /// The cell above the next one, for cells merged over several rows.
    pub(super) fn above(&self) -> String {
        let mut last = self.rows.iter().rev();
        let column = last.next().map_or(0, Vec::len);
        last.next()
            .and_then(|row| row.get(column))
            .cloned()
            .unwrap_or_default()
    }

    /// All cells in one line, for a table inside a cell.
    pub(super) fn flatten(&self) -> String {
        let cells = self.rows.iter().flatten().filter(|cell| !cell.is_empty());
        cells.map(String::as_str).collect::<Vec<_>>().join("; ")
    }

    pub(super) fn write(
        self,
        page: Option<u32>,
        builder: &mut Builder<'_>,
    ) -> Result<(), ExtractError> {
        let has_header = match self.header {
            Header::First => true,
            Header::None => false,
            Header::Guess => self.first_row_looks_like_header(),
        };
        let (mut header, mut rows) = (Vec::new(), self.rows.as_slice());
        if has_header
            && let [first, rest @ ..] = rows
            && !rest.is_empty()
        {
            (header, rows) = (first.clone(), rest);
            let mut marked = self.marked.clamp(1, MAX_HEADER_ROWS);
            while let [second, rest @ ..] = rows
                && !rest.is_empty()
                && ((marked > 1 && header::names_columns(second)) || goes_on(&header, second, rest))
            {
                (header, rows) = (header::joined(&header, second), rest);
                // What is not marked is one row at most.
                if marked <= 1 {
                    break;
                }
                marked -= 1;
            }
        }
        for row in rows {
            builder.push(BlockKind::TableRow, &line(&header, row), page)?;
        }
        Ok(())
    }

    /// Three columns or more have headers as a rule. Two columns may be a list of names and values:
    /// they have a header when values carry digits and the first row does not.
    fn first_row_looks_like_header(&self) -> bool {
        let has_digit = |row: &Vec<String>| {
            row.get(1)
                .is_some_and(|cell| cell.contains(|c: char| c.is_ascii_digit()))
        };
        match self.rows.split_first() {
            Some((first, rest)) if first.len() == 2 => {
                !has_digit(first) && rest.iter().all(has_digit)
            }
            Some((first, _)) => {
                first.len() > 2 && first.iter().filter(|cell| !cell.is_empty()).count() > 1
            }
            None => false,
        }
    }
}

/// Whether a row goes on with the header above it.
fn goes_on(header: &[String], row: &[String], below: &[Vec<String>]) -> bool {
    let below = &below[..below.len().min(LOOK_ROWS)];
    let has_values = |column: usize| {
        let cells = below.iter().filter_map(|row| row.get(column));
        mostly(
            cells
                .filter(|cell| !cell.is_empty())
                .map(|cell| is_value(cell)),
        )
    };
    !row.iter().any(|cell| is_value(cell)) && header::goes_on(header, row, has_values)
}

/// Whether more of these are so than are not.
pub(super) fn mostly(all: impl Iterator<Item = bool>) -> bool {
    all.fold(0_i32, |sum, is_so| if is_so { sum + 1 } else { sum - 1 }) > 0
}

/// One row as a line, with the names of its columns where they are known.
pub(super) fn line(header: &[String], row: &[String]) -> String {
    if header.is_empty() && row.len() == 2 && !row[0].is_empty() && !row[1].is_empty() {
        return format!("{}: {}", row[0].trim_end_matches(':'), row[1]);
    }
    let mut line = String::new();
    for (column, value) in row.iter().enumerate() {
        if value.is_empty() {
            continue;
        }
        if !line.is_empty() {
            line.push_str("; ");
        }
        if let Some(name) = header.get(column)
            && !name.is_empty()
        {
            line.extend(name.trim_end_matches(':').chars().take(HEADER_CHARS));
            line.push_str(": ");
        }
        line.push_str(value);
    }
    line
}
