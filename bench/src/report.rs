//! What a suite prints: the machine first, a table, one RESULT line last. Knows no measurement.

use std::fs;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use crate::failure::Failure;

/// Numbers by name, collected while a suite runs and printed at its end.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<[String; 4]>,
    metrics: Map<String, Value>,
}

impl Report {
    /// Prints where and with what the suite runs.
    pub(crate) fn begin(quire: &str, postgres: &str) -> Self {
        line(format!("machine: {}", machine()));
        line(format!(
            "versions: quire {quire} · PostgreSQL {postgres} · Rust {}",
            option_env!("RUSTUP_TOOLCHAIN").unwrap_or("unknown")
        ));
        let command: Vec<String> = std::env::args().collect();
        line(format!("command: {}", command.join(" ")));
        line("");
        Self::default()
    }

    /// A number that is a metric; `target` is what it is held against, if anything.
    pub(crate) fn metric(&mut self, name: &str, value: f64, unit: &str, target: Option<Target>) {
        let rounded = (value * 10_000.0).round() / 10_000.0;
        self.metrics.insert(name.to_owned(), json!(rounded));
        let verdict = target.map_or(String::new(), |target| target.verdict(value));
        self.rows.push([
            name.to_owned(),
            number(value, unit),
            unit.to_owned(),
            verdict,
        ]);
    }

    /// Prints the metrics as a table, then the RESULT line.
    pub(crate) fn end(self) {
        line("");
        table(&["metric", "value", "unit", "target"], &self.rows);
        line("");
        line(format!("RESULT {}", Value::Object(self.metrics)));
    }
}

/// What a metric should reach.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
    /// Somebody else's figure, to compare with.
    Reference(f64),
}

impl Target {
    fn verdict(self, value: f64) -> String {
        match self {
            Self::AtLeast(bound) if value >= bound => format!("≥ {bound} reached"),
            Self::AtLeast(bound) => format!("≥ {bound} missed"),
            Self::AtMost(bound) if value <= bound => format!("≤ {bound} reached"),
            Self::AtMost(bound) => format!("≤ {bound} missed"),
            Self::Reference(figure) => format!("reference {figure}"),
        }
    }
}

fn number(value: f64, unit: &str) -> String {
    if unit.is_empty() {
        format!("{value:.4}")
    } else {
        format!("{value:.1}")
    }
}

/// Columns aligned to the widest cell.
pub(crate) fn table<const N: usize>(header: &[&str; N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(header[column].chars().count())
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let header = header.map(str::to_owned);
    for row in std::iter::once(&header).chain(rows) {
        let cells = row.iter().zip(widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        line(cells.join("  ").trim_end());
    }
}

/// One line of output.
pub(crate) fn line(text: impl AsRef<str>) {
    // Whoever closed the pipe wants no more.
    drop(writeln!(io::stdout(), "{}", text.as_ref()));
}

/// A message beside the output: what is being done now.
pub(crate) fn note(text: impl AsRef<str>) {
    drop(writeln!(io::stderr(), "{}", text.as_ref()));
}

/// The last words of a failed suite.
pub(crate) fn complain(failure: &Failure) {
    note(format!("error: {failure}"));
}

fn machine() -> String {
    let first_field = |path: &str, name: &str| -> Option<String> {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let cpu = first_field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = first_field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<f64>().ok())
        .map_or("unknown memory".to_owned(), |kib| {
            format!("{:.1} GiB", kib / f64::from(1 << 20))
        });
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    format!(
        "{cpu} · {cores} cores · {memory} · Linux {} · load at start {load}",
        kernel.trim()
    )
}
