//! Web pages, as the office saves them from its document program.

use std::fmt::Write as _;

use crate::markup::{Block, Document, Span, Table};

const STYLE: &str = "body{font-family:Arial,sans-serif;max-width:48rem;margin:2rem auto;line-height:1.5}\
table{border-collapse:collapse}th,td{border:1px solid #999;padding:.25rem .6rem;text-align:left}";

/// Writes a whole page.
pub fn render(document: &Document) -> String {
    let title = escape(&document.title);
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n"
    );
    let mut open_list = None;
    for block in &document.blocks {
        let list = match block {
            Block::Item(mark, _) if mark == "•" => Some("ul"),
            Block::Item(..) => Some("ol"),
            _ => None,
        };
        switch_list(&mut page, open_list, list);
        open_list = list;
        page.push_str(&block_html(block));
    }
    switch_list(&mut page, open_list, None);
    page.push_str("</body>\n</html>\n");
    page
}

fn switch_list(page: &mut String, from: Option<&str>, to: Option<&str>) {
    if from == to {
        return;
    }
    for (list, slash) in [(from, "/"), (to, "")] {
        if let Some(list) = list {
            let _ = writeln!(page, "<{slash}{list}>");
        }
    }
}

fn block_html(block: &Block) -> String {
    match block {
        Block::Heading(level, text) => format!("<h{0}>{1}</h{0}>\n", level + 1, escape(text)),
        Block::Paragraph(spans) => format!("<p>{}</p>\n", inline(spans)),
        Block::Item(_, spans) => format!("<li>{}</li>\n", inline(spans)),
        Block::Table(table) => table_html(table),
        Block::PageBreak => String::new(),
    }
}

fn table_html(table: &Table) -> String {
    let mut html = "<table>\n".to_owned();
    for (index, row) in table.rows.iter().enumerate() {
        let tag = if index == 0 && table.header {
            "th"
        } else {
            "td"
        };
        let cells: String = row
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", inline(cell)))
            .collect();
        let _ = writeln!(html, "<tr>{cells}</tr>");
    }
    html.push_str("</table>\n");
    html
}

fn inline(spans: &[Span]) -> String {
    spans
        .iter()
        .map(|span| {
            let text = escape(&span.text);
            if span.bold {
                format!("<strong>{text}</strong>")
            } else {
                text
            }
        })
        .collect()
}

/// Escapes the characters that HTML and XML reserve.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
