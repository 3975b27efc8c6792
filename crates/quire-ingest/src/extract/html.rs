//! HTML by scraper (html5ever): what a reader of the page sees, without menus, scripts and hidden parts.
//!
//! Walks the tree without recursion, because a hostile page can nest as deep as it likes. Knows no CSS
//! beyond `display:none`.

mod charset;
mod nesting;

use ego_tree::NodeRef;
use ego_tree::iter::Edge;
use scraper::node::Element;
use scraper::{Html, Node};

use super::builder::Builder;
use super::document::{BlockKind, Document};
use super::error::ExtractError;
use super::limits::Limits;
use super::table::{Header, Table};
use super::text;

/// Elements whose content is no text of the page.
const SKIPPED: &[&str] = &[
    "script", "style", "nav", "template", "noscript", "head", "svg", "math", "iframe", "object",
    "canvas", "audio", "video", "select", "textarea", "button", "input", "dialog", "title",
];

/// No cell reaches over more.
const MOST_ROWS: usize = 1_000;

/// Elements that end the text before them.
const BLOCKS: &[&str] = &[
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "header",
    "hr",
    "html",
    "main",
    "ol",
    "p",
    "section",
    "summary",
    "ul",
    "li",
    "tr",
    "caption",
];

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let source = text::decode(bytes, charset::declared(bytes));
    refuse_depth(&source)?;
    let html = Html::parse_document(&source);
    let mut builder = Builder::new(limits, bytes.len());
    if let Some(title) = title(&html) {
        builder.title(&title);
    }
    walk(html.tree.root(), &mut builder)?;
    builder.finish()
}

/// Reads a piece of HTML that stands inside another format.
pub(super) fn read_fragment(source: &str, builder: &mut Builder<'_>) -> Result<(), ExtractError> {
    refuse_depth(source)?;
    walk(Html::parse_fragment(source).tree.root(), builder)
}

fn refuse_depth(source: &str) -> Result<(), ExtractError> {
    if nesting::is_hostile(source) {
        return Err(ExtractError::refused("its elements nest without end"));
    }
    Ok(())
}

fn title(html: &Html) -> Option<String> {
    let title = html.tree.nodes().find(|node| {
        let in_head = |node: &NodeRef<'_, Node>| {
            let parent = node.parent();
            parent
                .and_then(|parent| parent.value().as_element())
                .is_some_and(|element| element.name() == "head")
        };
        node.value()
            .as_element()
            .is_some_and(|element| element.name() == "title")
            && in_head(node)
    })?;
    Some(
        title
            .children()
            .filter_map(|child| child.value().as_text())
            .map(|text| &**text)
            .collect(),
    )
}

fn walk(root: NodeRef<'_, Node>, builder: &mut Builder<'_>) -> Result<(), ExtractError> {
    let mut walker = Walker {
        builder,
        text: String::new(),
        kind: BlockKind::Paragraph,
        marker: None,
        lists: Vec::new(),
        tables: Vec::new(),
        pre: 0,
    };
    let mut skipped_depth = 0_usize;
    for edge in root.traverse() {
        match edge {
            Edge::Open(node) => match node.value() {
                Node::Element(element) if skipped_depth > 0 || is_skipped(element) => {
                    skipped_depth += 1
                }
                Node::Element(element) => walker.open(node, element)?,
                Node::Text(text) if skipped_depth == 0 => walker.text(text),
                _ => {}
            },
            Edge::Close(node) => match node.value() {
                Node::Element(_) if skipped_depth > 0 => skipped_depth -= 1,
                Node::Element(element) => walker.close(node, element)?,
                _ => {}
            },
        }
    }
    walker.flush()
}

fn is_skipped(element: &Element) -> bool {
    let hidden_by_style = || {
        element.attr("style").is_some_and(|style| {
            let style: String = style
                .chars()
                .filter(|c| !c.is_whitespace())
                .collect::<String>()
                .to_ascii_lowercase();
            style.contains("display:none") || style.contains("visibility:hidden")
        })
    };
    SKIPPED.contains(&element.name())
        || element.attr("hidden").is_some()
        || element.attr("aria-hidden") == Some("true")
        || element.attr("role") == Some("navigation")
        || hidden_by_style()
}

struct Walker<'w, 'l> {
    builder: &'w mut Builder<'l>,
    text: String,
    kind: BlockKind,
    marker: Option<String>,
    /// The number of the next item of each open list; none for bullets.
    lists: Vec<Option<u64>>,
    /// Open data tables; a table used for layout is `None` and reads like plain blocks.
    tables: Vec<Option<Table>>,
    pre: usize,
}

impl Walker<'_, '_> {
    fn open(&mut self, node: NodeRef<'_, Node>, element: &Element) -> Result<(), ExtractError> {
        match element.name() {
            "br" => self.text.push('\n'),
            "img" => {
                if let Some(description) = element.attr("alt") {
                    self.text.push_str(description);
                }
            }
            "table" => {
                self.flush()?;
                self.tables
                    .push(is_data_table(node).then(|| Table::with_header(Header::None)));
            }
            "td" | "th" if self.in_table() => self.text.clear(),
            "tr" if self.in_table() => {
                if let Some(Some(table)) = self.tables.last_mut() {
                    table.row();
                }
            }
            name if self.in_table() && BLOCKS.contains(&name) => self.text.push(' '),
            "pre" => {
                self.flush()?;
                self.pre += 1;
            }
            name if heading_level(name).is_some() => {
                self.flush()?;
                self.kind = BlockKind::Heading(heading_level(name).unwrap_or(1));
            }
            "ol" => {
                self.flush()?;
                let start = element
                    .attr("start")
                    .and_then(|start| start.trim().parse().ok());
                self.lists.push(Some(start.unwrap_or(1)));
            }
            "ul" => {
                self.flush()?;
                self.lists.push(None);
            }
            "li" => {
                self.flush()?;
                self.marker = Some(self.next_marker());
            }
            "td" | "th" => self.text.push(' '),
            name if BLOCKS.contains(&name) => self.flush()?,
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, node: NodeRef<'_, Node>, element: &Element) -> Result<(), ExtractError> {
        match element.name() {
            "td" | "th" if self.in_table() => self.close_cell(element),
            "tr" if self.in_table() => {
                if let Some(Some(table)) = self.tables.last_mut() {
                    table.fill_from_above();
                }
                // A row header stands beside data; a header row holds nothing else.
                let mut cells = node.children().filter_map(|cell| cell.value().as_element());
                if let Some(Some(table)) = self.tables.last_mut()
                    && cells.all(|cell| cell.name() == "th")
                {
                    table.mark_header();
                }
            }
            "table" => {
                if let Some(Some(table)) = self.tables.pop() {
                    self.text.clear();
                    table.write(None, self.builder)?;
                } else {
                    self.flush()?;
                }
            }
            // A caption is the only text of a table outside its cells.
            "caption" => self.flush()?,
            _ if self.in_table() => {}
            "pre" => {
                let text = std::mem::take(&mut self.text);
                self.pre = self.pre.saturating_sub(1);
                self.builder.push(BlockKind::Code, &text, None)?;
            }
            "ol" | "ul" => {
                self.flush()?;
                self.lists.pop();
            }
            name if heading_level(name).is_some() || BLOCKS.contains(&name) => self.flush()?,
            _ => {}
        }
        Ok(())
    }

    fn close_cell(&mut self, element: &Element) {
        let text = std::mem::take(&mut self.text);
        let span = |name: &str| -> usize {
            let span = element.attr(name).and_then(|span| span.trim().parse().ok());
            span.unwrap_or(1)
        };
        let beside = if element.name() == "th" { &text } else { "" };
        if let Some(Some(table)) = self.tables.last_mut() {
            // No rows at all means all that follow.
            let rows = match span("rowspan") {
                0 => MOST_ROWS,
                rows => rows.min(MOST_ROWS),
            };
            table.wide_cell(&text, beside, span("colspan").clamp(1, 100), rows);
        }
    }

    fn text(&mut self, text: &str) {
        if self.pre > 0 {
            self.text.push_str(text);
        } else {
            // Newlines in the source are spaces; `<br>` is the only line break.
            self.text.extend(
                text.chars()
                    .map(|c| if c.is_whitespace() { ' ' } else { c }),
            );
        }
    }

    fn in_table(&self) -> bool {
        matches!(self.tables.last(), Some(Some(_)))
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

    fn flush(&mut self) -> Result<(), ExtractError> {
        let kind = std::mem::replace(&mut self.kind, BlockKind::Paragraph);
        if self.text.trim().is_empty() {
            self.text.clear();
            self.kind = kind;
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        match (kind, self.marker.take(), self.lists.is_empty()) {
            (BlockKind::Heading(level), _, _) => {
                if level == 1 {
                    self.builder.title(&text);
                }
                self.builder.heading(level, &text, None)
            }
            (_, Some(marker), _) => self
                .builder
                .push(BlockKind::ListItem, &(marker + &text), None),
            (_, None, false) => self.builder.push(BlockKind::ListItem, &text, None),
            _ if self.pre > 0 => self.builder.push(BlockKind::Code, &text, None),
            _ => self.builder.push(BlockKind::Paragraph, &text, None),
        }
    }
}

fn heading_level(name: &str) -> Option<u8> {
    match name.as_bytes() {
        [b'h', level @ b'1'..=b'6'] => Some(level - b'0'),
        _ => None,
    }
}

/// A table of data has short cells. One that holds headings, sections or other tables lays out a page.
fn is_data_table(table: NodeRef<'_, Node>) -> bool {
    const LAYOUT: &[&str] = &[
        "table", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "pre", "form",
    ];
    !table
        .descendants()
        .skip(1)
        .filter_map(|node| node.value().as_element())
        .any(|element| LAYOUT.contains(&element.name()))
}
