//! From poppler's lines to paragraphs: page headers dropped, wrapped lines joined, items and headings
//! told from text, tables put where their cells were.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::builder::Builder;
use super::super::document::BlockKind;
use super::super::error::ExtractError;
use super::super::table::{Header, Table};
use super::columns::{self, Found};
use super::headings::{Look, is_clause, look};

/// Lines at the top and at the bottom of a page that may repeat on every page.
const EDGE_LINES: usize = 2;
const BULLETS: &[char] = &[
    '•', '◦', '▪', '‣', '·', '∙', '●', '○', '■', '–', '—', '-', '*', '\u{f0b7}', '➢',
];

/// Writes the text in reading order, with the tables that the laid-out text of the same pages shows, and below each
/// page what was read in its pictures.
pub(super) fn write(
    text: &str,
    laid_out: &str,
    pictures: &BTreeMap<usize, Vec<String>>,
    builder: &mut Builder<'_>,
) -> Result<(), ExtractError> {
    let mut pages: Vec<Vec<&str>> = text
        .split('\u{c}')
        .map(|page| page.lines().map(str::trim).collect())
        .collect();
    let laid_out = laid_out.split('\u{c}').chain(std::iter::repeat(""));
    let tables: Vec<Vec<Found>> = pages
        .iter()
        .zip(laid_out)
        .map(|(lines, laid_out)| columns::find(laid_out, lines))
        .collect();
    for (lines, tables) in pages.iter_mut().zip(&tables) {
        for at in tables.iter().flat_map(|table| &table.lines) {
            lines[*at] = "";
        }
    }
    let has_others = !pictures.is_empty() || tables.iter().any(|found| !found.is_empty());
    drop_repeated_edges(&mut pages, has_others);
    drop_running_headings(&mut pages);
    let is_blank = |lines: &[&str]| lines.iter().all(|line| line.is_empty());
    // A letterhead in columns comes back on every page.
    let mut seen: HashSet<&[Vec<String>]> = HashSet::new();
    // A table that reaches the end of a page, for the one that goes on with it.
    let mut before: Option<&Found> = None;
    for (index, (lines, tables)) in pages.iter().zip(&tables).enumerate() {
        let page = Page {
            number: u32::try_from(index + 1).ok(),
            width: usual_width(lines),
        };
        let mut from = 0;
        for table in tables.iter().filter(|table| seen.insert(&table.rows)) {
            let at = table.lines.first().copied().unwrap_or(from);
            let chars = table.rows.iter().flatten().map(String::len).sum();
            page.write(&lines[from..at], chars, builder)?;
            let goes_on = before.filter(|before| is_blank(&lines[..at]) && table.continues(before));
            page.table(
                goes_on.and_then(|before| before.rows.first()),
                &table.rows,
                builder,
            )?;
            from = at;
            before = None;
        }
        page.write(&lines[from..], 0, builder)?;
        for text in pictures.get(&(index + 1)).into_iter().flatten() {
            let text = format!("Text in a picture: {text}");
            builder.push(BlockKind::Paragraph, &text, page.number)?;
        }
        if !is_blank(lines) || !tables.is_empty() {
            before = tables.last().filter(|_| is_blank(&lines[from..]));
        }
    }
    Ok(())
}

struct Page {
    number: Option<u32>,
    /// How long a full line is, in characters.
    width: usize,
}

impl Page {
    /// Writes running text, below which stand so many characters of a table.
    fn write(
        &self,
        lines: &[&str],
        table_chars: usize,
        builder: &mut Builder<'_>,
    ) -> Result<(), ExtractError> {
        let groups: Vec<&[&str]> = lines
            .split(|line| line.is_empty())
            .filter(|group| !group.is_empty())
            .collect();
        let mut paragraph = Paragraph::default();
        for (at, group) in groups.iter().enumerate() {
            if !self.continues(&paragraph, group[0]) {
                paragraph.flush(self, builder)?;
            }
            let next_chars = groups
                .get(at + 1)
                .map_or(table_chars, |next| next.iter().map(|line| line.len()).sum());
            self.group(group, next_chars, &mut paragraph, builder)?;
        }
        paragraph.flush(self, builder)
    }

    /// Writes the rows of a table, which may have its header on the page before.
    fn table(
        &self,
        header: Option<&Vec<String>>,
        rows: &[Vec<String>],
        builder: &mut Builder<'_>,
    ) -> Result<(), ExtractError> {
        let mut table = match header {
            Some(_) => Table::with_header(Header::First),
            None => Table::default(),
        };
        for row in header.into_iter().chain(rows) {
            table.row();
            row.iter().for_each(|cell| table.cell(cell));
        }
        table.write(self.number, builder)
    }

    /// Adds lines that stand together. They may start with headings and hold several paragraphs.
    fn group<'l>(
        &self,
        lines: &[&'l str],
        next_chars: usize,
        paragraph: &mut Paragraph<'l>,
        builder: &mut Builder<'_>,
    ) -> Result<(), ExtractError> {
        for (at, line) in lines.iter().enumerate() {
            let before = at.checked_sub(1).map(|before| lines[before]);
            let starts = before.is_none_or(|before| {
                self.ends_paragraph(before, line) || ends_sentence(before) && is_clause(line)
            });
            if is_bullet(line) {
                // A bullet in a column of its own arrives as a line of its own.
                paragraph.flush(self, builder)?;
                paragraph.bullet = true;
                continue;
            }
            let follows = lines.get(at + 1).copied();
            let has_text_below = follows.is_some() || next_chars >= 20;
            let stands_alone = lines.len() == 1 && next_chars >= 80;
            let level = match look(line) {
                _ if paragraph.bullet || !paragraph.text.is_empty() && !starts => None,
                // A second number of the same depth right below makes it a list, and text that runs on
                // from a full line makes it the first line of a clause.
                Look::Numbered(level)
                    if starts
                        && follows.is_none_or(|next| {
                            look(next) != look(line) && !self.runs_on(line, next)
                        }) =>
                {
                    Some(level)
                }
                Look::Capitals if starts && has_text_below => Some(1),
                Look::Perhaps if stands_alone && paragraph.text.is_empty() => Some(2),
                _ => None,
            };
            if let Some(level) = level {
                paragraph.flush(self, builder)?;
                builder.heading(level, line, self.number)?;
                continue;
            }
            let item =
                if starts { numbered_item(line) } else { None }.or_else(|| bullet_item(line));
            if starts || item.is_some() {
                let keeps = at == 0 && self.continues(paragraph, line) && item.is_none();
                if !keeps {
                    paragraph.flush(self, builder)?;
                }
            }
            if std::mem::take(&mut paragraph.bullet) {
                paragraph.is_item = true;
                paragraph.text.push_str("- ");
            }
            match item {
                Some(item) => {
                    paragraph.is_item = true;
                    paragraph.text.push_str(&item);
                    paragraph.last = line;
                }
                None => self.join(paragraph, line),
            }
        }
        Ok(())
    }

    /// Whether the line below belongs to the same sentence, as far as width and case tell.
    fn runs_on(&self, line: &str, next: &str) -> bool {
        line.chars().count() * 10 >= self.width * 8 || next.starts_with(char::is_lowercase)
    }

    /// A line that stops well before the margin at the end of a sentence is the last of its paragraph,
    /// and so is a heading.
    fn ends_paragraph(&self, line: &str, next: &str) -> bool {
        let is_short = line.chars().count() * 10 < self.width * 8;
        let is_heading = match (look(line), look(next)) {
            (Look::Numbered(level), Look::Numbered(below)) => below > level,
            (Look::Numbered(_) | Look::Capitals, _) => true,
            _ => false,
        };
        is_short && (is_heading || ends_sentence(line)) && !next.starts_with(char::is_lowercase)
    }

    /// Whether a group of lines goes on with the paragraph before the gap: an item broken by its
    /// layout, or a sentence broken by a picture.
    fn continues(&self, paragraph: &Paragraph<'_>, line: &str) -> bool {
        let is_full = paragraph.last.chars().count() * 10 >= self.width * 8;
        let is_open = is_full && !paragraph.last.is_empty() && !ends_sentence(paragraph.last);
        is_open
            && (line.starts_with(char::is_lowercase)
                || (paragraph.is_item && look(line) == Look::Text))
    }

    fn join<'l>(&self, paragraph: &mut Paragraph<'l>, line: &'l str) {
        let last = std::mem::replace(&mut paragraph.last, line);
        if last.is_empty() {
            paragraph.text.push_str(line);
            return;
        }
        let is_cell =
            last.chars().count() * 2 < self.width && !line.starts_with(char::is_lowercase);
        if is_hyphenated(last, line) {
            paragraph.text.pop();
        } else {
            // Lines far from the margin are cells or verses; they stay lines.
            paragraph.text.push(if is_cell { '\n' } else { ' ' });
        }
        paragraph.text.push_str(line);
    }
}

#[derive(Default)]
struct Paragraph<'l> {
    text: String,
    last: &'l str,
    is_item: bool,
    /// Whether a lone bullet stands before what comes next.
    bullet: bool,
}

impl Paragraph<'_> {
    fn flush(&mut self, page: &Page, builder: &mut Builder<'_>) -> Result<(), ExtractError> {
        let text = std::mem::take(&mut self.text);
        let kind = if std::mem::take(&mut self.is_item) {
            BlockKind::ListItem
        } else {
            BlockKind::Paragraph
        };
        self.last = "";
        builder.push(kind, &text, page.number)
    }
}

fn ends_sentence(line: &str) -> bool {
    line.ends_with(['.', '!', '?', ':', '”', '"'])
}

fn is_bullet(line: &str) -> bool {
    line.chars().count() == 1 && line.starts_with(BULLETS)
}

/// The text of a list item with a bullet.
fn bullet_item(line: &str) -> Option<String> {
    let (marker, rest) = line.split_once(' ')?;
    is_bullet(marker).then(|| format!("- {}", rest.trim_start()))
}

/// The text of a list item with a number or a letter: "1.", "(a)".
fn numbered_item(line: &str) -> Option<String> {
    let (marker, _) = line.split_once(' ')?;
    let inner = marker.trim_start_matches('(').strip_suffix([')', '.'])?;
    let is_number = (1..=2).contains(&inner.len()) && inner.chars().all(|c| c.is_ascii_digit());
    let is_letter = inner.len() == 1 && inner.chars().all(|c| c.is_ascii_lowercase());
    (is_number || is_letter).then(|| line.to_owned())
}

/// The length that a full line reaches: the ninth decile of the lines that are not tiny.
fn usual_width(lines: &[&str]) -> usize {
    let mut widths: Vec<usize> = lines
        .iter()
        .map(|line| line.chars().count())
        .filter(|width| *width > 20)
        .collect();
    widths.sort_unstable();
    widths.get(widths.len() * 9 / 10).copied().unwrap_or(0)
}

/// Whether a word goes on in the next line. poppler has joined such lines already, except where a column
/// or a block of its own begins in between.
fn is_hyphenated(last: &str, line: &str) -> bool {
    let stem = last.strip_suffix(['-', '\u{ad}', '‐']);
    stem.is_some_and(|stem| stem.ends_with(char::is_alphabetic))
        && line.starts_with(char::is_lowercase)
}

/// Empties lines at the edges of pages that come back on many pages, page numbers aside. Where pages hold nothing
/// else, as labels that are numbered, and no other things beside lines, these lines are the text.
fn drop_repeated_edges(pages: &mut [Vec<&str>], has_others: bool) {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for page in pages.iter() {
        let edges: HashSet<String> = edges(page).map(|at| shape(page[at])).collect();
        for edge in edges {
            *counts.entry(edge).or_default() += 1;
        }
    }
    let written = pages
        .iter()
        .filter(|page| page.iter().any(|line| !line.is_empty()))
        .count();
    let often = (written * 2 / 5).max(3);
    let mut emptied = pages.to_vec();
    for page in &mut emptied {
        let repeated: Vec<usize> = edges(page)
            .filter(|at| {
                counts
                    .get(&shape(page[*at]))
                    .is_some_and(|count| *count >= often)
            })
            .collect();
        for at in repeated {
            page[at] = "";
        }
    }
    if has_others || emptied.iter().flatten().any(|line| !line.is_empty()) {
        pages.clone_from_slice(&emptied);
    }
}

/// Empties a heading at the top of a page that only repeats the one of a page before: "Chapter 2" over
/// every page of the chapter, or over every left one.
fn drop_running_headings(pages: &mut [Vec<&str>]) {
    let mut recent = ["", ""];
    for page in pages.iter_mut() {
        let Some(top) = page.iter_mut().find(|line| !line.is_empty()) else {
            continue;
        };
        let line = std::mem::take(top);
        if look(line) == Look::Text || !recent.contains(&line) {
            *top = line;
        }
        recent = [recent[1], line];
    }
}

/// The first and the last written lines of a page.
fn edges(page: &[&str]) -> impl Iterator<Item = usize> {
    let written: Vec<usize> = (0..page.len()).filter(|at| !page[*at].is_empty()).collect();
    let last = written
        .len()
        .saturating_sub(EDGE_LINES)
        .max(EDGE_LINES.min(written.len()));
    let chosen: Vec<usize> = written
        .iter()
        .take(EDGE_LINES)
        .chain(&written[last..])
        .copied()
        .collect();
    chosen.into_iter()
}

/// A line with its numbers hidden, so that "Page 3 of 9" equals "Page 4 of 9".
fn shape(line: &str) -> String {
    let mut shape = String::new();
    for c in line.chars().take(200) {
        match c {
            '0'..='9' if shape.ends_with('#') => {}
            '0'..='9' => shape.push('#'),
            c => shape.push(c),
        }
    }
    // Front matter counts its pages in Roman numerals.
    if (1..=6).contains(&shape.len()) && shape.chars().all(|c| "ivxlc".contains(c)) {
        "#".into()
    } else {
        shape
    }
}
