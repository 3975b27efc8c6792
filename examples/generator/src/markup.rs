//! The small markup the office texts are written in: a slice of Markdown that knows headings,
//! paragraphs, lists, tables, bold words and `\newpage`, and nothing else.

/// Words in one weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The words.
    pub text: String,
    /// Whether they are bold.
    pub bold: bool,
}

/// A table; `header` says whether the first row names the columns.
#[derive(Debug, Clone)]
pub struct Table {
    /// The cells, row by row.
    pub rows: Vec<Vec<Vec<Span>>>,
    /// Whether the first row is a header.
    pub header: bool,
}

/// A piece of a document.
#[derive(Debug, Clone)]
pub enum Block {
    /// A heading; level 1 is a main section.
    Heading(u8, String),
    /// A paragraph of running text.
    Paragraph(Vec<Span>),
    /// A list item with its mark, a bullet or a number.
    Item(String, Vec<Span>),
    /// A table.
    Table(Table),
    /// The rest starts on a new page where the format has pages.
    PageBreak,
}

/// A parsed text.
#[derive(Debug, Clone)]
pub struct Document {
    /// The line marked `#`.
    pub title: String,
    /// Everything after it.
    pub blocks: Vec<Block>,
}

/// Reads a text; anything that is not special is a paragraph.
pub fn parse(text: &str) -> Document {
    let mut document = Document {
        title: String::new(),
        blocks: Vec::new(),
    };
    for chunk in text
        .split("\n\n")
        .map(str::trim)
        .filter(|chunk| !chunk.is_empty())
    {
        parse_chunk(chunk, &mut document);
    }
    document
}

fn parse_chunk(chunk: &str, document: &mut Document) {
    if chunk.starts_with('|') {
        document.blocks.push(Block::Table(parse_table(chunk)));
        return;
    }
    let mut paragraph = String::new();
    for line in chunk.lines().map(str::trim) {
        let block = if let Some(title) = line.strip_prefix("# ") {
            title.clone_into(&mut document.title);
            continue;
        } else if let Some(heading) = line.strip_prefix("## ") {
            Block::Heading(1, heading.to_owned())
        } else if let Some(heading) = line.strip_prefix("### ") {
            Block::Heading(2, heading.to_owned())
        } else if line == "\\newpage" {
            Block::PageBreak
        } else if let Some((mark, words)) = list_item(line) {
            Block::Item(mark, spans(words))
        } else {
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(line);
            continue;
        };
        flush(&mut paragraph, document);
        document.blocks.push(block);
    }
    flush(&mut paragraph, document);
}

fn flush(paragraph: &mut String, document: &mut Document) {
    if !paragraph.is_empty() {
        document.blocks.push(Block::Paragraph(spans(paragraph)));
        paragraph.clear();
    }
}

fn list_item(line: &str) -> Option<(String, &str)> {
    if let Some(words) = line.strip_prefix("- ") {
        return Some(("•".to_owned(), words));
    }
    let (number, words) = line.split_once(". ")?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| (format!("{number}."), words))
}

fn parse_table(chunk: &str) -> Table {
    let mut table = Table {
        rows: Vec::new(),
        header: false,
    };
    for line in chunk.lines() {
        let line = line.trim().trim_start_matches('|').trim_end_matches('|');
        if line.chars().all(|letter| "-|: ".contains(letter)) && line.contains('-') {
            table.header = true;
            continue;
        }
        table
            .rows
            .push(line.split('|').map(|cell| spans(cell.trim())).collect());
    }
    table
}

/// Splits a line at its `**` marks.
pub fn spans(line: &str) -> Vec<Span> {
    line.split("**")
        .enumerate()
        .filter(|(_, text)| !text.is_empty())
        .map(|(index, text)| Span {
            text: text.to_owned(),
            bold: index % 2 == 1,
        })
        .collect()
}

/// The words of some spans without their weight.
pub fn words(spans: &[Span]) -> String {
    spans.iter().map(|span| span.text.as_str()).collect()
}

/// The visible lines of a document, one per block and one per table row, as a reader would quote them.
pub fn lines(document: &Document) -> Vec<String> {
    let mut lines = vec![document.title.clone()];
    for block in &document.blocks {
        match block {
            Block::Heading(_, text) => lines.push(text.clone()),
            Block::Paragraph(spans) | Block::Item(_, spans) => lines.push(words(spans)),
            Block::Table(table) => lines.extend(table.rows.iter().map(|row| row_line(row))),
            Block::PageBreak => {}
        }
    }
    lines
}

/// A table row as one line.
pub fn row_line(row: &[Vec<Span>]) -> String {
    let cells: Vec<String> = row.iter().map(|cell| words(cell)).collect();
    cells.join(" | ")
}
