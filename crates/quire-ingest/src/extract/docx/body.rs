//! The text of a Word part: one pass over its XML events.
//!
//! Paragraphs nest (text boxes) and tables nest (cells), so both are stacks; nothing recurses.

use quick_xml::events::{BytesStart, Event};

use super::super::archive;
use super::super::builder::Builder;
use super::super::document::BlockKind;
use super::super::error::ExtractError;
use super::super::table::Table;
use super::super::xml;
use super::styles::Styles;

/// Word itself stops far below.
const MAX_NESTING: usize = 256;

/// Elements whose content an editor does not show: deleted text, and text at the place it left.
const SKIPPED: &[&str] = &["del", "moveFrom"];

pub(super) fn read(
    part: &str,
    styles: &Styles,
    builder: &mut Builder<'_>,
) -> Result<(), ExtractError> {
    let mut reader = xml::reader(part);
    let mut body = Body {
        styles,
        builder,
        paragraphs: Vec::new(),
        tables: Vec::new(),
        in_text: false,
    };
    let mut skipped_depth = 0_usize;
    // Word writes one prefix for its own names; the root element shows which.
    let mut prefix: Option<String> = None;
    loop {
        match xml::next(&mut reader)? {
            Event::Start(element) => {
                let name = element.name();
                let own = prefix_of(name.into_inner());
                let is_word = prefix.get_or_insert_with(|| own.to_owned()) == own;
                let local = element.local_name();
                // `Fallback` is the old form of a drawing that stands beside the new one.
                let hides =
                    (is_word && SKIPPED.contains(&local.as_ref())) || local.as_ref() == "Fallback";
                if skipped_depth > 0 || hides {
                    skipped_depth += 1;
                } else if is_word {
                    body.open(local.as_ref(), &element)?;
                }
            }
            Event::End(element) => {
                let name = element.name();
                let own = prefix_of(name.into_inner());
                if skipped_depth > 0 {
                    skipped_depth -= 1;
                } else if prefix.as_deref() == Some(own) {
                    body.close(element.local_name().as_ref())?;
                }
            }
            Event::Text(text) if skipped_depth == 0 => body.text(&text.xml10_content()),
            Event::CData(text) if skipped_depth == 0 => body.text(&text.xml10_content()),
            Event::GeneralRef(reference) if skipped_depth == 0 => {
                if let Some(c) = xml::resolve(&reference) {
                    body.text(c.encode_utf8(&mut [0; 4]));
                }
            }
            Event::Eof if body.paragraphs.is_empty() && body.tables.is_empty() => return Ok(()),
            Event::Eof => {
                return Err(ExtractError::damaged(
                    archive::FORMAT,
                    "the text ends in the middle",
                ));
            }
            _ => {}
        }
    }
}

fn prefix_of(name: &str) -> &str {
    name.split_once(':').map_or("", |(prefix, _)| prefix)
}

struct Body<'b, 'l> {
    styles: &'b Styles,
    builder: &'b mut Builder<'l>,
    paragraphs: Vec<Paragraph>,
    tables: Vec<OpenTable>,
    in_text: bool,
}

#[derive(Default)]
struct Paragraph {
    text: String,
    style: String,
    outline: Option<u8>,
    is_list: bool,
    hides_run: bool,
    /// How many tables were open around it.
    depth: usize,
}

#[derive(Default)]
struct OpenTable {
    table: Table,
    cell: String,
    span: usize,
    continues_above: bool,
}

impl Body<'_, '_> {
    fn open(&mut self, name: &str, element: &BytesStart<'_>) -> Result<(), ExtractError> {
        let value = || xml::attribute(element, "val").map(|value| value.into_owned());
        match name {
            "p" | "tbl" if self.paragraphs.len() + self.tables.len() >= MAX_NESTING => {
                return Err(ExtractError::refused(
                    "it nests tables or text boxes without end",
                ));
            }
            "p" => self.paragraphs.push(Paragraph {
                depth: self.tables.len(),
                ..Paragraph::default()
            }),
            "tbl" => self.tables.push(OpenTable::default()),
            "t" => self.in_text = true,
            _ => {}
        }
        if let Some(table) = self.tables.last_mut() {
            match name {
                "tr" => table.table.row(),
                "tc" => (table.cell, table.span, table.continues_above) = (String::new(), 1, false),
                "gridSpan" => table.span = value().and_then(|span| span.parse().ok()).unwrap_or(1),
                "vMerge" => table.continues_above = value().as_deref() != Some("restart"),
                "tblHeader" if xml::is_on(element) => table.table.mark_header(),
                _ => {}
            }
        }
        if let Some(paragraph) = self.paragraphs.last_mut() {
            match name {
                "pStyle" => paragraph.style = value().unwrap_or_default(),
                "outlineLvl" => {
                    paragraph.outline = value()
                        .and_then(|level| level.parse().ok())
                        .filter(|level| *level < 9)
                }
                "numId" => paragraph.is_list = value().as_deref() != Some("0"),
                "r" => paragraph.hides_run = false,
                "vanish" => paragraph.hides_run = xml::is_on(element),
                "tab" | "ptab" => paragraph.text.push(' '),
                "br" | "cr" => paragraph.text.push('\n'),
                "noBreakHyphen" => paragraph.text.push('-'),
                _ => {}
            }
        }
        Ok(())
    }

    fn close(&mut self, name: &str) -> Result<(), ExtractError> {
        match name {
            "t" => self.in_text = false,
            "r" => {
                if let Some(paragraph) = self.paragraphs.last_mut() {
                    paragraph.hides_run = false;
                }
            }
            "p" => {
                if let Some(paragraph) = self.paragraphs.pop() {
                    self.write(paragraph)?;
                }
            }
            "tc" => {
                if let Some(table) = self.tables.last_mut() {
                    table.close_cell();
                }
            }
            "tbl" => {
                let Some(done) = self.tables.pop() else {
                    return Ok(());
                };
                match self.tables.last_mut() {
                    Some(outer) => outer.append(&done.table.flatten()),
                    None if done.table.is_empty() => {}
                    None => done.table.write(None, self.builder)?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if self.in_text
            && let Some(paragraph) = self.paragraphs.last_mut()
            && !paragraph.hides_run
        {
            paragraph.text.push_str(text);
        }
    }

    fn write(&mut self, paragraph: Paragraph) -> Result<(), ExtractError> {
        // A paragraph inside a cell belongs to the cell; a text box inside it, too.
        if paragraph.depth > 0
            && let Some(table) = self.tables.last_mut()
        {
            table.append(&paragraph.text);
            return Ok(());
        }
        if self.styles.is_title(&paragraph.style) && !self.builder.has_title() {
            self.builder.title(&paragraph.text);
        }
        let level = paragraph
            .outline
            .map(|level| level + 1)
            .or_else(|| self.styles.heading_level(&paragraph.style));
        match level {
            Some(level) => self.builder.heading(level, &paragraph.text, None),
            None if paragraph.text.trim().is_empty()
                || self.styles.is_contents(&paragraph.style) =>
            {
                Ok(())
            }
            None if paragraph.is_list || self.styles.is_list(&paragraph.style) => self
                .builder
                .push(BlockKind::ListItem, &format!("- {}", paragraph.text), None),
            None => self
                .builder
                .push(BlockKind::Paragraph, &paragraph.text, None),
        }
    }
}

impl OpenTable {
    fn append(&mut self, text: &str) {
        if !self.cell.is_empty() {
            self.cell.push(' ');
        }
        self.cell.push_str(text);
    }

    fn close_cell(&mut self) {
        let text = std::mem::take(&mut self.cell);
        let text = if self.continues_above {
            self.table.above()
        } else {
            text
        };
        self.table.cell(&text);
        for _ in 1..self.span.min(100) {
            self.table.cell("");
        }
    }
}
