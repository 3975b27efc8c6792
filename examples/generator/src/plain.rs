//! Plain text: the markup as an office types it, with tables set in columns.

use crate::markup;

/// Replaces each table of `text` by aligned columns and drops the marks of headings and bold words.
pub fn render(text: &str) -> String {
    let chunks: Vec<String> = text.trim().split("\n\n").map(chunk).collect();
    let mut plain = chunks.join("\n\n");
    plain.push('\n');
    plain
}

fn chunk(chunk: &str) -> String {
    if !chunk.starts_with('|') {
        let lines: Vec<&str> = chunk
            .lines()
            .map(|line| line.trim_start_matches('#').trim_start_matches(' '))
            .collect();
        return lines.join("\n").replace("**", "");
    }
    let document = markup::parse(chunk);
    let Some(markup::Block::Table(table)) = document.blocks.first() else {
        return chunk.to_owned();
    };
    let rows: Vec<Vec<String>> = table
        .rows
        .iter()
        .map(|row| row.iter().map(|cell| markup::words(cell)).collect())
        .collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut lines: Vec<String> = rows.iter().map(|row| aligned(row, &widths)).collect();
    if table.header {
        let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
        lines.insert(1, rule.join("  "));
    }
    lines.join("\n")
}

fn aligned(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<String> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| {
            if is_amount(cell) {
                format!("{cell:>width$}")
            } else {
                format!("{cell:<width$}")
            }
        })
        .collect();
    cells.join("  ").trim_end().to_owned()
}

fn is_amount(cell: &str) -> bool {
    cell.starts_with(|first: char| "$-0123456789".contains(first)) && !cell.contains(' ')
}
