//! Tables of a PDF. Reading order loses which cells stand side by side, so poppler is asked a second time
//! for the page as it is laid out, and columns are looked for there.
//!
//! A table counts only where the reading-order text holds the same characters, so a wrong guess can
//! neither lose nor add a word; everything else is left to that text.

use std::collections::HashMap;
use std::ops::Range;

/// A gap of so many blanks parts two cells.
const GAP: usize = 3;
/// Wider lines are drawings, and longer pages are no pages.
const MOST_COLUMNS: usize = 400;
const MOST_LINES: usize = 1_000;
/// Columns of running text have lines of this length, cells hardly ever.
const PROSE_CHARS: usize = 20;

/// A table and the lines of the reading-order text that it replaces, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) lines: Vec<usize>,
    pub(super) rows: Vec<Vec<String>>,
}

impl Found {
    /// Whether this, at the top of a page, goes on with a table at the end of the page before. Two
    /// columns have no header as a rule.
    pub(super) fn continues(&self, before: &Found) -> bool {
        let columns = |table: &Found| table.rows.first().map_or(0, Vec::len);
        columns(self) > 2
            && columns(self) == columns(before)
            && self.rows.first() != before.rows.first()
    }
}

/// The tables of one page, in order. `lines` are the page in reading order.
pub(super) fn find(laid_out: &str, lines: &[&str]) -> Vec<Found> {
    let drawn: Vec<Vec<char>> = laid_out
        .lines()
        .take(MOST_LINES)
        .map(|line| line.trim_end().chars().collect())
        .collect();
    let mut found: Vec<Found> = Vec::new();
    let mut at = 0;
    while at < drawn.len() {
        let region = &drawn[at..at + region(&drawn[at..])];
        at += region.len().max(1);
        let from = found.iter().filter_map(|table| table.lines.last()).max();
        let from = from.map_or(0, |last| last + 1);
        found.extend(table(region, lines, from));
    }
    found
}

/// How many lines from the first on share a column.
fn region(lines: &[Vec<char>]) -> usize {
    let mut open = vec![true; MOST_COLUMNS];
    let mut end = 0;
    for (at, line) in lines.iter().enumerate().take(200) {
        if line.is_empty() {
            // One blank line may part rows, two part a table from what follows.
            if at != end || at == 0 {
                break;
            }
            continue;
        }
        for (column, c) in line.iter().enumerate().take(MOST_COLUMNS) {
            open[column] &= c.is_whitespace();
        }
        let region = &lines[..=at];
        let rivers = rivers(&open, region, 1);
        let Some(first) = rivers.first().filter(|_| line.len() <= MOST_COLUMNS) else {
            break;
        };
        let is_row = rivers.iter().any(|river| gap(line, river) >= GAP);
        let is_wrapped = at == end && indent(line) >= first.end;
        if is_row || is_wrapped {
            end = at + 1;
        } else if at != end {
            // A line in the first column alone belongs to a table only if a row follows at once.
            break;
        }
    }
    end
}

/// The blank strips that part columns: blank in every line, a wide gap in `least` lines, and nowhere a gap
/// between words, except in the header, which may fill its columns.
fn rivers(open: &[bool], lines: &[Vec<char>], least: usize) -> Vec<Range<usize>> {
    let mut rivers = Vec::new();
    let mut start = None;
    for (column, is_open) in open.iter().enumerate() {
        match start {
            None if *is_open => start = Some(column),
            Some(from) if !is_open => {
                let river = from..column;
                let gaps: Vec<usize> = lines.iter().map(|line| gap(line, &river)).collect();
                let wide = gaps.iter().filter(|gap| **gap >= GAP).count();
                if wide >= least && !gaps[1..].contains(&1) {
                    rivers.push(river);
                }
                start = None;
            }
            _ => {}
        }
    }
    rivers
}

/// How wide a line's blanks around a river are; 0 without text on both sides.
fn gap(line: &[char], river: &Range<usize>) -> usize {
    if line.len() <= river.end || indent(line) >= river.start {
        return 0;
    }
    let blank = |c: &&char| c.is_whitespace();
    let before = line[..river.start].iter().rev().take_while(blank).count();
    before + line[river.start..].iter().take_while(blank).count()
}

fn indent(line: &[char]) -> usize {
    line.iter().take_while(|c| c.is_whitespace()).count()
}

fn table(region: &[Vec<char>], lines: &[&str], from: usize) -> Option<Found> {
    let blank = |column: usize| {
        region
            .iter()
            .all(|line| line.get(column).is_none_or(|c| c.is_whitespace()))
    };
    let open: Vec<bool> = (0..MOST_COLUMNS).map(blank).collect();
    let mut rivers = rivers(&open, region, 2);
    let written = || region.iter().filter(|line| !line.is_empty());
    let mut cells: Vec<Vec<String>> = written().map(|line| cells_of(line, &rivers)).collect();
    // A gap between the words of a header parts no columns: nothing stands below one of them.
    let is_empty = |cells: &[Vec<String>], column: usize| {
        cells.iter().skip(1).all(|row| row[column].is_empty())
    };
    while let Some(column) = (0..=rivers.len()).find(|column| is_empty(&cells, *column))
        && !rivers.is_empty()
    {
        rivers.remove(column.saturating_sub(1));
        cells = written().map(|line| cells_of(line, &rivers)).collect();
    }
    let least_lines = if rivers.len() == 1 { 3 } else { 2 };
    if rivers.is_empty() || cells.len() < least_lines || is_list(&cells) {
        return None;
    }
    let solid_lines: Vec<Vec<char>> = lines.iter().map(|line| solid(line.chars())).collect();
    let lines = in_one_piece(&solid(region.iter().flatten().copied()), &solid_lines, from)
        .or_else(|| cell_by_cell(&cells, &solid_lines, from))?;
    let plain: Vec<char> = lines
        .iter()
        .flat_map(|at| &solid_lines[*at])
        .copied()
        .collect();
    let column = solid(cells.iter().flat_map(|row| row[0].chars()));
    let chars: usize = cells
        .iter()
        .flatten()
        .map(|cell| cell.chars().count())
        .sum();
    let is_prose =
        contains(&plain, &column) && chars >= cells.len() * (rivers.len() + 1) * PROSE_CHARS;
    let rows = rows(cells);
    let is_whole = |cell: &String| contains(&plain, &solid(cell.chars()));
    (!is_prose && rows.len() > 1 && rows.iter().flatten().all(is_whole))
        .then_some(Found { lines, rows })
}

fn cells_of(line: &[char], rivers: &[Range<usize>]) -> Vec<String> {
    let starts = std::iter::once(0).chain(rivers.iter().map(|river| river.end));
    let ends = rivers.iter().map(|river| river.start).chain([line.len()]);
    starts
        .zip(ends)
        .map(|(start, end)| {
            let cell: String = line[start.min(line.len())..end.min(line.len())]
                .iter()
                .collect();
            cell.trim().to_owned()
        })
        .collect()
}

/// A line with nothing, or the rest of a sentence, in its first column goes on with the row above.
fn rows(cells: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in cells {
        let is_rest = line[0].is_empty() || line[0].starts_with(char::is_lowercase);
        match rows.last_mut().filter(|_| is_rest) {
            Some(row) => {
                for (cell, rest) in row
                    .iter_mut()
                    .zip(line)
                    .filter(|(_, rest)| !rest.is_empty())
                {
                    if !cell.is_empty() {
                        cell.push(' ');
                    }
                    cell.push_str(&rest);
                }
            }
            None => rows.push(line),
        }
    }
    rows
}

/// Items with their bullets or numbers in a column of their own are no table.
fn is_list(cells: &[Vec<String>]) -> bool {
    let is_marker = |cell: &str| {
        let small = |part: &str| part.len() <= 2 && part.chars().all(|c| c.is_ascii_digit());
        cell.chars().count() <= 5
            && (!cell.contains(char::is_alphanumeric)
                || cell.ends_with(['.', ')'])
                || cell.split('.').all(small))
    };
    cells.iter().all(|row| row.len() == 2 && is_marker(&row[0]))
}

/// The characters that both readings agree on: no blanks, and no hyphens, which reading order removes at
/// the end of a line.
fn solid(chars: impl Iterator<Item = char>) -> Vec<char> {
    chars
        .filter(|c| !c.is_whitespace() && !matches!(c, '-' | '\u{ad}' | '‐'))
        .collect()
}

fn contains(text: &[char], part: &[char]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// Lines from `from` on that follow each other and consist of these characters, in any order.
fn in_one_piece(wanted: &[char], lines: &[Vec<char>], from: usize) -> Option<Vec<usize>> {
    let sorted = |mut text: Vec<char>| {
        text.sort_unstable();
        text
    };
    let wanted = sorted(wanted.to_vec());
    (from..lines.len())
        .filter(|start| !lines[*start].is_empty())
        .find_map(|start| {
            let mut chars = 0;
            let end = lines[start..].iter().position(|line| {
                chars += line.len();
                chars >= wanted.len()
            })?;
            let same =
                chars == wanted.len() && sorted(lines[start..=start + end].concat()) == wanted;
            same.then(|| (start..=start + end).collect())
        })
}

/// Lines from `from` on that are the cells of these rows, with at most as many others in between: below a
/// column, poppler goes on with the text that follows the table.
fn cell_by_cell(rows: &[Vec<String>], lines: &[Vec<char>], from: usize) -> Option<Vec<usize>> {
    let mut wanted: HashMap<Vec<char>, usize> = HashMap::new();
    for cell in rows.iter().flatten().filter(|cell| !cell.is_empty()) {
        *wanted.entry(solid(cell.chars())).or_default() += 1;
    }
    let all: usize = wanted.values().sum();
    let first = (from..lines.len()).find(|at| wanted.contains_key(&lines[*at]))?;
    let written = (first..lines.len()).filter(|at| !lines[*at].is_empty());
    let taken: Vec<usize> = written
        .take(all * 2)
        .filter(|at| match wanted.get_mut(&lines[*at]) {
            Some(left) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        })
        .collect();
    (taken.len() == all).then_some(taken)
}

#[cfg(test)]
mod tests;
