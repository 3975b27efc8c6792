//! The terminal: data on stdout, messages on stderr, JSON where it was asked for.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::failure::Failure;

/// How to talk to whoever started the command.
pub(crate) struct Output {
    json: bool,
    interactive: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self {
            json,
            interactive: io::stderr().is_terminal(),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a moving progress bar makes sense.
    pub(crate) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Data for people.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        // Whoever closed the pipe wants no more.
        drop(writeln!(io::stdout(), "{}", text.as_ref()));
    }

    /// Data for programs.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Failure::internal(error.to_string()))?;
        self.line(text);
        Ok(())
    }

    /// A message beside the data.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        drop(writeln!(io::stderr(), "{}", text.as_ref()));
    }

    /// The last message of a failed command.
    pub(crate) fn failed(&self, failure: &Failure) -> ExitCode {
        if self.json {
            let error = serde_json::json!({ "error": { "code": failure.kind().as_str(), "detail": failure.message() } });
            self.note(error.to_string());
        } else {
            self.note(format!("error: {}", failure.message()));
        }
        ExitCode::from(failure.exit_code())
    }

    /// Columns for people, aligned to the widest cell.
    pub(crate) fn table(&self, header: &[&str], rows: &[Vec<String>]) {
        let columns = header.len();
        let width = |column: usize| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).max(header[column].chars().count())
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let header: Vec<String> = header.iter().map(|name| name.to_uppercase()).collect();
        for row in std::iter::once(&header).chain(rows) {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            self.line(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
    }
}

/// A number with the word for what it counts.
pub(crate) fn count(number: impl Into<i128>, word: &str) -> String {
    match number.into() {
        1 => format!("1 {word}"),
        number => format!("{number} {word}s"),
    }
}
