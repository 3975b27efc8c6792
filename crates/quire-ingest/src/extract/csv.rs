//! CSV and its relatives: rows of values between commas, semicolons, tabs or bars.

use super::builder::Builder;
use super::document::Document;
use super::error::ExtractError;
use super::limits::Limits;
use super::sheet::{Cell, Sheet, is_value};
use super::text::decode;

const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];
/// Rows by which a separator is told.
const SAMPLE_ROWS: usize = 20;

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let text = decode(bytes, None);
    let mut builder = Builder::new(limits, bytes.len());
    let mut sheet = Sheet::new(&mut builder, None);
    let separator = separator(&text).unwrap_or(b',');
    let mut number = 0;
    for record in rows(&text, separator) {
        let record = record.map_err(|error| ExtractError::damaged("CSV", error))?;
        number += record
            .position()
            .map_or(0, |start| empty_lines(&text, start.byte()));
        let cells = (0..).zip(record.iter()).map(|(column, text)| Cell {
            column,
            is_value: is_value(text),
            text: text.to_owned(),
        });
        sheet.row(number, cells.collect())?;
        number += 1;
    }
    sheet.finish()?;
    builder.finish()
}

/// Empty lines from this byte on, which the reader passes over and a spreadsheet counts.
fn empty_lines(text: &str, from: u64) -> u32 {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let (before, rest) = text.as_bytes().split_at_checked(from).unwrap_or_default();
    let mut last = before.last().copied();
    let mut lines = 0;
    for byte in rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')) {
        // The second half of an end of a line.
        lines += u32::from((last, byte) != (Some(b'\r'), &b'\n'));
        last = Some(*byte);
    }
    lines
}

/// Whether a text without an extension is a table: the same separator gives the same number of columns,
/// three at least, in every row.
pub(crate) fn looks_like_csv(sample: &str) -> bool {
    let complete = sample.rfind('\n').map_or("", |end| &sample[..end]);
    complete.lines().count() >= 4
        && SEPARATORS.into_iter().any(|separator| {
            let widths = widths(complete, separator);
            widths.len() >= 4
                && widths
                    .iter()
                    .all(|width| *width >= 3 && *width == widths[0])
        })
}

fn rows(text: &str, separator: u8) -> csv::StringRecordsIntoIter<&[u8]> {
    csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes())
        .into_records()
}

fn widths(text: &str, separator: u8) -> Vec<usize> {
    let rows = rows(text, separator).take(SAMPLE_ROWS);
    rows.map_while(Result::ok).map(|row| row.len()).collect()
}

/// The separator by which most rows have as many columns as the first, and more than one.
fn separator(text: &str) -> Option<u8> {
    let votes = SEPARATORS.into_iter().map(|separator| {
        let widths = widths(text, separator);
        let first = widths.first().copied().unwrap_or(0);
        let alike = widths.iter().filter(|width| **width == first).count();
        (if first > 1 { alike * 1000 + first } else { 0 }, separator)
    });
    votes
        .filter(|(votes, _)| *votes > 0)
        .max_by_key(|(votes, _)| *votes)
        .map(|(_, separator)| separator)
}
