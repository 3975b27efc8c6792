//! Tables of a PDF. Reading order loses which cells stand side by side, so poppler is asked a second time
//! for the page as it is laid out, and columns are looked for there.
//!
//! A table counts only where the reading-order text holds the same characters in one piece, so a wrong
//! guess can neither lose nor add a word; everything else is left to that text.

use std::ops::Range;

/// A gap of so many blanks parts two cells; less may stand between words.
const GAP: usize = 3;
/// Wider lines are drawings, and longer pages are no pages.
const MOST_COLUMNS: usize = 400;
const MOST_LINES: usize = 1_000;
/// Columns of running text have lines of this length, cells hardly ever.
const PROSE_CHARS: usize = 20;

/// A table and the lines of the reading-order text that it replaces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) lines: Range<usize>,
    pub(super) rows: Vec<Vec<String>>,
    /// Where the columns begin, in characters from the left edge.
    starts: Vec<usize>,
}

impl Found {
    /// Whether this goes on with a table of the page before.
    pub(super) fn continues(&self, before: &Found) -> bool {
        self.starts.len() > 2
            && self.starts.len() == before.starts.len()
            && self.rows.first() != before.rows.first()
            && self
                .starts
                .iter()
                .zip(&before.starts)
                .all(|(a, b)| a.abs_diff(*b) <= 2)
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
        let from = found.last().map_or(0, |table| table.lines.end);
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

/// The blank strips that part columns: blank in every line, and a wide gap in `least` lines and in half
/// of those that have text on both sides.
fn rivers(open: &[bool], lines: &[Vec<char>], least: usize) -> Vec<Range<usize>> {
    let mut rivers = Vec::new();
    let mut start = None;
    for (column, is_open) in open.iter().enumerate() {
        match start {
            None if *is_open => start = Some(column),
            Some(from) if !is_open => {
                let river = from..column;
                let gaps = lines.iter().map(|line| gap(line, &river));
                let (wide, all) = gaps.filter(|gap| *gap > 0).fold((0, 0), |(wide, all), gap| {
                    (wide + usize::from(gap >= GAP), all + 1)
                });
                if wide >= least && wide * 2 >= all {
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
    let rivers = rivers(&open, region, 2);
    let cells: Vec<Vec<String>> = region
        .iter()
        .filter(|line| !line.is_empty())
        .map(|line| cells(line, &rivers))
        .collect();
    let least_lines = if rivers.len() == 1 { 3 } else { 2 };
    if rivers.is_empty() || cells.len() < least_lines || is_list(&cells) {
        return None;
    }
    let lines = same_text(&solid(region.iter().flatten()), lines, from)?;
    let plain = &lines.1;
    let column = solid(cells.iter().flat_map(|row| row[0].chars()).collect::<Vec<_>>().iter());
    let chars: usize = cells.iter().flatten().map(|cell| cell.chars().count()).sum();
    let is_prose = contains(plain, &column) && chars >= cells.len() * (rivers.len() + 1) * PROSE_CHARS;
    let rows = rows(cells);
    let is_whole = |cell: &String| contains(plain, &solid(cell.chars().collect::<Vec<_>>().iter()));
    let starts = std::iter::once(0).chain(rivers.iter().map(|river| river.end));
    (!is_prose && rows.len() > 1 && rows.iter().flatten().all(is_whole)).then(|| Found {
        lines: lines.0,
        rows,
        starts: starts.collect(),
    })
}

fn cells(line: &[char], rivers: &[Range<usize>]) -> Vec<String> {
    let starts = std::iter::once(0).chain(rivers.iter().map(|river| river.end));
    let ends = rivers.iter().map(|river| river.start).chain([line.len()]);
    starts
        .zip(ends)
        .map(|(start, end)| {
            let cell: String = line[start.min(line.len())..end.min(line.len())].iter().collect();
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
                for (cell, rest) in row.iter_mut().zip(line).filter(|(_, rest)| !rest.is_empty()) {
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
fn solid<'a>(chars: impl Iterator<Item = &'a char>) -> Vec<char> {
    chars
        .copied()
        .filter(|c| !c.is_whitespace() && !matches!(c, '-' | '\u{ad}' | '‐'))
        .collect()
}

fn contains(text: &[char], part: &[char]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

/// The lines from `from` on that consist of these characters in any order, and their text.
fn same_text(wanted: &[char], lines: &[&str], from: usize) -> Option<(Range<usize>, Vec<char>)> {
    let mut sorted = wanted.to_vec();
    sorted.sort_unstable();
    let lines: Vec<Vec<char>> = lines
        .iter()
        .map(|line| solid(line.chars().collect::<Vec<_>>().iter()))
        .collect();
    (from..lines.len())
        .filter(|start| !lines[*start].is_empty())
        .find_map(|start| {
            let mut chars = 0;
            let end = lines[start..].iter().position(|line| {
                chars += line.len();
                chars >= wanted.len()
            })?;
            let range = start..start + end + 1;
            let text = lines[range.clone()].concat();
            let mut same = text.clone();
            same.sort_unstable();
            (same == sorted).then_some((range, text))
        })
}

#[cfg(test)]
mod tests;
