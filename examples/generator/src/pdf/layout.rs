//! Sets a document on Letter pages: wraps words, draws tables, and starts a page when one is full.

use std::fmt::Write as _;

use super::font::Font;
use super::literal;
use crate::Error;
use crate::markup::{Block, Document, Span, Table, row_line, words};

const LEFT: f64 = 72.0;
const TOP: f64 = 720.0;
const BOTTOM: f64 = 76.0;
const WIDTH: f64 = 468.0;
const BODY: f64 = 10.5;
const CELL: f64 = 9.5;
const CELL_PADDING: f64 = 4.0;
const LEADING: f64 = 1.36;

/// A page: words at places, the strokes of table borders, and the text it shows.
#[derive(Default)]
pub(super) struct Page {
    marks: Vec<Mark>,
    borders: Vec<[f64; 4]>,
    text: Vec<String>,
}

struct Mark {
    font: Font,
    size: f64,
    x: f64,
    y: f64,
    text: String,
}

struct Word {
    font: Font,
    text: String,
}

struct Setter {
    pages: Vec<Page>,
    page: Page,
    y: f64,
}

/// The pages of a document, each with its footer.
pub(super) fn pages(document: &Document, footer: &str) -> Vec<Page> {
    let mut setter = Setter {
        pages: Vec::new(),
        page: Page::default(),
        y: TOP,
    };
    setter.heading(&document.title, 18.0, 0.0);
    for block in &document.blocks {
        match block {
            Block::Heading(1, text) => setter.heading(text, 13.0, 14.0),
            Block::Heading(_, text) => setter.heading(text, 11.0, 9.0),
            Block::Paragraph(spans) => setter.paragraph(spans, 0.0, None),
            Block::Item(mark, spans) => setter.paragraph(spans, 18.0, Some(mark)),
            Block::Table(table) => setter.table(table),
            Block::PageBreak => setter.turn(),
        }
    }
    if !setter.page.marks.is_empty() {
        setter.turn();
    }
    let count = setter.pages.len();
    for (index, page) in setter.pages.iter_mut().enumerate() {
        let text = format!("{footer} — page {} of {count}", index + 1);
        page.marks.push(Mark {
            font: Font::Regular,
            size: 8.0,
            x: LEFT,
            y: 44.0,
            text,
        });
    }
    setter.pages
}

impl Page {
    /// The page's drawing commands.
    pub(super) fn content(&self) -> Result<String, Error> {
        let mut content = String::new();
        for [x, y, width, height] in &self.borders {
            let _ = writeln!(content, "0.5 w {x:.2} {y:.2} {width:.2} {height:.2} re S");
        }
        for mark in &self.marks {
            let (font, size) = (mark.font.resource(), mark.size);
            let text = literal(&mark.text)?;
            let _ = writeln!(
                content,
                "BT /{font} {size} Tf {:.2} {:.2} Td {text} Tj ET",
                mark.x, mark.y
            );
        }
        Ok(content)
    }

    /// The page's text, one line per block or row.
    pub(super) fn text(&self) -> String {
        self.text.join("\n")
    }
}

impl Setter {
    fn turn(&mut self) {
        self.pages.push(std::mem::take(&mut self.page));
        self.y = TOP;
    }

    fn heading(&mut self, text: &str, size: f64, space: f64) {
        let lines = wrap(&bold(text), size, WIDTH);
        // A heading keeps three lines of what follows on its page.
        let needed = space + size * LEADING * count(&lines) + 3.0 * BODY * LEADING;
        if self.y - needed < BOTTOM {
            self.turn();
        } else if self.y < TOP {
            self.y -= space;
        }
        self.page.text.push(text.to_owned());
        for line in lines {
            self.line(&line, size, LEFT);
        }
        self.y -= size * 0.35;
    }

    fn paragraph(&mut self, spans: &[Span], indent: f64, mark: Option<&str>) {
        let mut first = mark;
        let mut here = String::new();
        let lines = wrap(&split(spans), BODY, WIDTH - indent);
        self.keep_together(&lines);
        for line in lines {
            if self.y - BODY * LEADING < BOTTOM {
                self.page.text.push(std::mem::take(&mut here));
                self.turn();
            }
            if let Some(mark) = first.take() {
                let y = self.y - BODY;
                self.page.marks.push(Mark {
                    font: Font::Regular,
                    size: BODY,
                    x: LEFT + 4.0,
                    y,
                    text: mark.to_owned(),
                });
            }
            let text: Vec<&str> = line.iter().map(|word| word.text.as_str()).collect();
            if !here.is_empty() {
                here.push(' ');
            }
            here.push_str(&text.join(" "));
            self.line(&line, BODY, LEFT + indent);
        }
        self.page.text.push(here);
        self.y -= if mark.is_some() { 2.5 } else { 6.0 };
    }

    /// Turns the page rather than leave a single line of a paragraph on either side of it.
    fn keep_together(&mut self, lines: &[Vec<Word>]) {
        let room = ((self.y - BOTTOM) / (BODY * LEADING)).floor();
        let left_over = count(lines) - room;
        if left_over > 0.0 && (room < 2.0 || left_over < 2.0) {
            self.turn();
        }
    }

    fn table(&mut self, table: &Table) {
        let widths = column_widths(table);
        for (index, row) in table.rows.iter().enumerate() {
            let is_header = index == 0 && table.header;
            let cells: Vec<Vec<Vec<Word>>> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| {
                    let text = if is_header {
                        bold(&words(cell))
                    } else {
                        split(cell)
                    };
                    wrap(&text, CELL, width - 2.0 * CELL_PADDING)
                })
                .collect();
            let height =
                cells.iter().map(|lines| count(lines)).fold(1.0, f64::max) * CELL * LEADING + 5.0;
            if self.y - height < BOTTOM {
                self.turn();
            }
            self.row(row, cells, &widths, height);
        }
        self.y -= 9.0;
    }

    fn row(&mut self, row: &[Vec<Span>], cells: Vec<Vec<Vec<Word>>>, widths: &[f64], height: f64) {
        let top = self.y;
        let mut x = LEFT;
        for (lines, width) in cells.into_iter().zip(widths) {
            self.page.borders.push([x, top - height, *width, height]);
            self.y = top - 2.0;
            for line in lines {
                self.line(&line, CELL, x + CELL_PADDING);
            }
            x += width;
        }
        self.page.text.push(row_line(row));
        self.y = top - height;
    }

    /// Sets words on one line, joining neighbours of the same weight.
    fn line(&mut self, line: &[Word], size: f64, mut x: f64) {
        let y = self.y - size;
        let mut rest = line;
        while let Some(first) = rest.first() {
            let length = rest
                .iter()
                .take_while(|word| word.font == first.font)
                .count();
            let (run, after) = rest.split_at(length);
            let mut text = run
                .iter()
                .map(|word| word.text.as_str())
                .collect::<Vec<_>>()
                .join(" ");
            if !after.is_empty() {
                text.push(' ');
            }
            let width = first.font.width(&text, size);
            self.page.marks.push(Mark {
                font: first.font,
                size,
                x,
                y,
                text,
            });
            x += width;
            rest = after;
        }
        self.y -= size * LEADING;
    }
}

fn count(lines: &[Vec<Word>]) -> f64 {
    f64::from(u32::try_from(lines.len()).unwrap_or(u32::MAX))
}

fn bold(text: &str) -> Vec<Word> {
    split(&[Span {
        text: text.to_owned(),
        bold: true,
    }])
}

fn split(spans: &[Span]) -> Vec<Word> {
    let mut found: Vec<Word> = Vec::new();
    let mut glue = false;
    for span in spans {
        let font = if span.bold { Font::Bold } else { Font::Regular };
        for (index, text) in span.text.split_whitespace().enumerate() {
            // "**Note**:" is one word: punctuation sticks to the bold word before it.
            let sticks = index == 0 && glue && !span.text.starts_with(' ');
            match found.last_mut() {
                Some(last) if sticks => last.text.push_str(text),
                _ => found.push(Word {
                    font,
                    text: text.to_owned(),
                }),
            }
        }
        glue = !span.text.ends_with(' ');
    }
    found
}

fn wrap(text: &[Word], size: f64, width: f64) -> Vec<Vec<Word>> {
    let mut lines: Vec<Vec<Word>> = Vec::new();
    let mut used = 0.0;
    for word in text {
        let advance = word.font.width(&word.text, size) + word.font.width(" ", size);
        let fits = used + advance - word.font.width(" ", size) <= width;
        let word = Word {
            font: word.font,
            text: word.text.clone(),
        };
        match lines.last_mut() {
            Some(line) if fits => line.push(word),
            _ => {
                lines.push(vec![word]);
                used = 0.0;
            }
        }
        used += advance;
    }
    lines
}

/// Narrow columns keep their natural width; wide ones share what is left.
fn column_widths(table: &Table) -> Vec<f64> {
    let columns = table.rows.iter().map(Vec::len).max().unwrap_or(0);
    let natural: Vec<f64> = (0..columns)
        .map(|column| {
            let cells = table.rows.iter().filter_map(|row| row.get(column));
            cells
                .map(|cell| Font::Bold.width(&words(cell), CELL))
                .fold(24.0, f64::max)
                + 2.0 * CELL_PADDING
                + 1.0
        })
        .collect();
    let total: f64 = natural.iter().sum();
    if total <= WIDTH {
        return natural;
    }
    let fair = WIDTH / f64::from(u32::try_from(columns).unwrap_or(1));
    let narrow: f64 = natural.iter().filter(|width| **width <= fair).sum();
    let wide: f64 = natural.iter().filter(|width| **width > fair).sum();
    natural
        .iter()
        .map(|width| {
            if *width <= fair {
                *width
            } else {
                width * (WIDTH - narrow) / wide
            }
        })
        .collect()
}
