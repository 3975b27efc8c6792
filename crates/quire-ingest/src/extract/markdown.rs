//! Markdown by pulldown-cmark: headings, paragraphs, lists, tables, code, and HTML inside it.
//!
//! Links keep their text only; images keep their description.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::builder::Builder;
use super::document::{BlockKind, Document};
use super::error::ExtractError;
use super::html;
use super::limits::Limits;
use super::table::{Header, Table};
use super::text;

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let source = text::decode(bytes, None);
    if source.chars().count() as u64 > limits.max_text_chars {
        return Err(ExtractError::too_large(
            "characters of text",
            limits.max_text_chars,
        ));
    }
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut reader = Reader {
        builder: Builder::new(limits, bytes.len()),
        text: String::new(),
        lists: Vec::new(),
        item_marker: None,
        table: None,
        in_metadata: false,
    };
    for event in Parser::new_ext(&source, options) {
        reader.event(event)?;
    }
    reader.flush()?;
    reader.builder.finish()
}

struct Reader<'a> {
    builder: Builder<'a>,
    text: String,
    /// The number of the next item of each open list; none for bullets.
    lists: Vec<Option<u64>>,
    /// The marker of an item whose text has not been written yet.
    item_marker: Option<String>,
    table: Option<Table>,
    in_metadata: bool,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>) -> Result<(), ExtractError> {
        match event {
            Event::Start(tag) => self.start(tag)?,
            Event::End(tag) => self.end(tag)?,
            Event::Text(text)
            | Event::Code(text)
            | Event::InlineMath(text)
            | Event::DisplayMath(text) => {
                self.text.push_str(&text);
            }
            Event::Html(html) => self.text.push_str(&html),
            Event::InlineHtml(tag) if tag.starts_with("<br") => self.text.push('\n'),
            Event::SoftBreak => self.text.push(' '),
            Event::HardBreak => self.text.push('\n'),
            Event::Rule => self.flush()?,
            Event::TaskListMarker(done) => self.text.push_str(if done { "[x] " } else { "[ ] " }),
            Event::InlineHtml(_) | Event::FootnoteReference(_) => {}
        }
        Ok(())
    }

    fn start(&mut self, tag: Tag<'_>) -> Result<(), ExtractError> {
        match tag {
            Tag::Heading { .. }
            | Tag::Paragraph
            | Tag::BlockQuote(_)
            | Tag::HtmlBlock
            | Tag::CodeBlock(_) => {
                self.flush()?;
            }
            Tag::List(first) => {
                self.flush()?;
                self.lists.push(first);
            }
            Tag::Item => {
                self.flush()?;
                self.item_marker = Some(self.next_marker());
            }
            Tag::Table(_) => {
                self.flush()?;
                self.table = Some(Table::with_header(Header::First));
            }
            Tag::TableHead | Tag::TableRow => {
                if let Some(table) = &mut self.table {
                    table.row();
                }
            }
            Tag::MetadataBlock(_) => {
                self.flush()?;
                self.in_metadata = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, tag: TagEnd) -> Result<(), ExtractError> {
        match tag {
            TagEnd::Heading(level) => {
                let text = std::mem::take(&mut self.text);
                self.item_marker = None;
                if level == HeadingLevel::H1 {
                    self.builder.title(&text);
                }
                self.builder.heading(level as u8, &text, None)?;
            }
            TagEnd::CodeBlock => {
                let text = std::mem::take(&mut self.text);
                self.builder.push(BlockKind::Code, &text, None)?;
            }
            TagEnd::HtmlBlock => {
                let source = std::mem::take(&mut self.text);
                html::read_fragment(&source, &mut self.builder)?;
            }
            TagEnd::TableCell => {
                let text = std::mem::take(&mut self.text);
                if let Some(table) = &mut self.table {
                    table.cell(&text);
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    table.write(None, &mut self.builder)?;
                }
            }
            TagEnd::List(_) => {
                self.flush()?;
                self.lists.pop();
            }
            TagEnd::MetadataBlock(_) => {
                self.in_metadata = false;
                let metadata = std::mem::take(&mut self.text);
                if let Some(title) = front_matter_title(&metadata) {
                    self.builder.title(title);
                }
            }
            TagEnd::Paragraph | TagEnd::BlockQuote(_) | TagEnd::Item => self.flush()?,
            _ => {}
        }
        Ok(())
    }

    fn next_marker(&mut self) -> String {
        match self.lists.last_mut() {
            Some(Some(number)) => {
                let marker = format!("{number}. ");
                *number = number.saturating_add(1);
                marker
            }
            _ => "- ".into(),
        }
    }

    /// Writes the collected text. Only the first paragraph of an item carries the item's marker.
    fn flush(&mut self) -> Result<(), ExtractError> {
        if self.in_metadata || self.text.trim().is_empty() {
            self.text.clear();
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        match (self.item_marker.take(), self.lists.is_empty()) {
            (Some(marker), _) => self
                .builder
                .push(BlockKind::ListItem, &(marker + &text), None),
            (None, false) => self.builder.push(BlockKind::ListItem, &text, None),
            (None, true) => self.builder.push(BlockKind::Paragraph, &text, None),
        }
    }
}

fn front_matter_title(metadata: &str) -> Option<&str> {
    let title = metadata
        .lines()
        .find_map(|line| line.strip_prefix("title:"))?;
    Some(title.trim().trim_matches(['"', '\'']))
}
