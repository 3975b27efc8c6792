//! Word files: the parts Word needs, stored uncompressed with one fixed date, so that the bytes
//! depend on nothing but the text.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::Error;
use crate::html::escape;
use crate::markup::{Block, Document, Span, Table};

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
const TYPES: &str = include_str!("docx/content_types.xml");
const RELATIONS: &str = include_str!("docx/relations.xml");
const DOCUMENT_RELATIONS: &str = include_str!("docx/document_relations.xml");
const STYLES: &str = include_str!("docx/styles.xml");
const NUMBERING: &str = include_str!("docx/numbering.xml");
/// A bullet is Word's own list; numbers are typed, so that each list starts at one without more ado.
const BULLET: &str = "<w:pStyle w:val=\"ListParagraph\"/><w:numPr><w:ilvl w:val=\"0\"/><w:numId w:val=\"1\"/></w:numPr>";
const INDENT: &str = "<w:ind w:left=\"720\" w:hanging=\"360\"/>";
const NAMESPACE: &str = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";
/// Text width of a Letter page with one-inch margins, in twentieths of a point.
const TEXT_WIDTH: usize = 9360;

/// Writes a document as a DOCX archive.
pub fn render(document: &Document, author: &str) -> Result<Vec<u8>, Error> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let parts = [
        ("[Content_Types].xml", TYPES.to_owned()),
        ("_rels/.rels", RELATIONS.to_owned()),
        ("docProps/core.xml", core(&document.title, author)),
        ("word/document.xml", body(document)),
        ("word/styles.xml", STYLES.to_owned()),
        ("word/numbering.xml", NUMBERING.to_owned()),
        (
            "word/_rels/document.xml.rels",
            DOCUMENT_RELATIONS.to_owned(),
        ),
    ];
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, xml) in parts {
        archive.start_file(name, options)?;
        archive.write_all(xml.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}

fn core(title: &str, author: &str) -> String {
    format!(
        "{XML}<cp:coreProperties xmlns:cp=\"http://schemas.openxmlformats.org/package/2006/metadata/core-properties\" \
         xmlns:dc=\"http://purl.org/dc/elements/1.1/\"><dc:title>{}</dc:title><dc:creator>{}</dc:creator>\
         </cp:coreProperties>",
        escape(title),
        escape(author)
    )
}

fn body(document: &Document) -> String {
    let mut xml = format!("{XML}<w:document xmlns:w=\"{NAMESPACE}\"><w:body>");
    xml.push_str(&styled("Title", &document.title));
    for block in &document.blocks {
        match block {
            Block::Heading(level, text) => xml.push_str(&styled(&format!("Heading{level}"), text)),
            Block::Paragraph(spans) => {
                let _ = write!(xml, "<w:p>{}</w:p>", runs(spans, false));
            }
            Block::Item(mark, spans) => {
                let properties = if mark == "•" { BULLET } else { INDENT };
                let number = if mark == "•" {
                    String::new()
                } else {
                    format!("{mark} ")
                };
                let _ = write!(
                    xml,
                    "<w:p><w:pPr>{properties}</w:pPr><w:r><w:t xml:space=\"preserve\">{number}</w:t></w:r>{}</w:p>",
                    runs(spans, false)
                );
            }
            Block::Table(table) => xml.push_str(&table_xml(table)),
            Block::PageBreak => xml.push_str("<w:p><w:r><w:br w:type=\"page\"/></w:r></w:p>"),
        }
    }
    xml.push_str(
        "<w:sectPr><w:pgSz w:w=\"12240\" w:h=\"15840\"/><w:pgMar w:top=\"1440\" w:right=\"1440\" \
         w:bottom=\"1440\" w:left=\"1440\" w:header=\"720\" w:footer=\"720\" w:gutter=\"0\"/></w:sectPr>\
         </w:body></w:document>",
    );
    xml
}

fn styled(style: &str, text: &str) -> String {
    format!(
        "<w:p><w:pPr><w:pStyle w:val=\"{style}\"/></w:pPr><w:r><w:t xml:space=\"preserve\">{}</w:t></w:r></w:p>",
        escape(text)
    )
}

fn runs(spans: &[Span], all_bold: bool) -> String {
    spans
        .iter()
        .map(|span| {
            let weight = if span.bold || all_bold {
                "<w:rPr><w:b/></w:rPr>"
            } else {
                ""
            };
            format!(
                "<w:r>{weight}<w:t xml:space=\"preserve\">{}</w:t></w:r>",
                escape(&span.text)
            )
        })
        .collect()
}

fn table_xml(table: &Table) -> String {
    let columns = table.rows.iter().map(Vec::len).max().unwrap_or(1);
    let width = TEXT_WIDTH / columns;
    let mut xml =
        "<w:tbl><w:tblPr><w:tblStyle w:val=\"TableGrid\"/><w:tblW w:w=\"0\" w:type=\"auto\"/></w:tblPr><w:tblGrid>"
            .to_owned();
    xml.push_str(&format!("<w:gridCol w:w=\"{width}\"/>").repeat(columns));
    xml.push_str("</w:tblGrid>");
    for (index, row) in table.rows.iter().enumerate() {
        let is_header = index == 0 && table.header;
        xml.push_str("<w:tr>");
        if is_header {
            xml.push_str("<w:trPr><w:tblHeader/></w:trPr>");
        }
        for cell in row {
            let _ = write!(
                xml,
                "<w:tc><w:tcPr><w:tcW w:w=\"{width}\" w:type=\"dxa\"/></w:tcPr><w:p>{}</w:p></w:tc>",
                runs(cell, is_header)
            );
        }
        xml.push_str("</w:tr>");
    }
    // Word joins two tables that touch, so each one is followed by an empty paragraph.
    xml.push_str("</w:tbl><w:p/>");
    xml
}
