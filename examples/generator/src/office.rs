//! Presentations and workbooks: the parts that PowerPoint and Excel need to show text and numbers.

use std::fmt::Write as _;
use std::io::{Cursor, Write as _};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::Error;
use crate::html::escape;

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
const MAIN: &str = "http://schemas.openxmlformats.org/presentationml/2006/main";
const DRAWING: &str = "http://schemas.openxmlformats.org/drawingml/2006/main";
const SHEET: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const TYPE: &str = "application/vnd.openxmlformats-officedocument";

/// A slide: its title, its points, and what the speaker says.
pub struct Slide {
    /// Stands at the top.
    pub title: &'static str,
    /// One line each.
    pub points: &'static [&'static str],
    /// Shown to the speaker only; may be empty.
    pub notes: &'static str,
}

/// A cell of a workbook.
#[derive(Clone, Copy)]
pub enum Cell {
    /// Words.
    Text(&'static str),
    /// Cents, shown in dollars.
    Dollars(i64),
    /// A day, counted as Excel does.
    Day(u32),
}

/// A presentation of these slides.
pub fn presentation(title: &str, slides: &[Slide]) -> Result<Vec<u8>, Error> {
    let mut parts = vec![core(title)];
    let (mut ids, mut relations, mut types) = (String::new(), Vec::new(), String::new());
    for (number, slide) in (1..).zip(slides) {
        let _ = write!(
            ids,
            "<p:sldId id=\"{}\" r:id=\"rId{number}\"/>",
            255 + number
        );
        relations.push(("slide", format!("slides/slide{number}.xml")));
        types += &content_type(
            &format!("ppt/slides/slide{number}.xml"),
            "presentationml.slide",
        );
        let content = shape("title", &[slide.title]) + &shape("body", slide.points);
        parts.push((
            format!("ppt/slides/slide{number}.xml"),
            slide_xml("sld", &content),
        ));
        if !slide.notes.is_empty() {
            let target = format!("../notesSlides/notesSlide{number}.xml");
            types += &content_type(
                &format!("ppt/notesSlides/notesSlide{number}.xml"),
                "presentationml.notesSlide",
            );
            parts.push((
                format!("ppt/slides/_rels/slide{number}.xml.rels"),
                relations_xml(&[("notesSlide", target)]),
            ));
            parts.push((
                format!("ppt/notesSlides/notesSlide{number}.xml"),
                slide_xml("notes", &shape("body", &[slide.notes])),
            ));
        }
    }
    types += &content_type("ppt/presentation.xml", "presentationml.presentation.main");
    parts.push((
        "ppt/presentation.xml".to_owned(),
        format!(
            "{XML}<p:presentation xmlns:p=\"{MAIN}\" xmlns:r=\"{RELATIONS}\"><p:sldIdLst>{ids}</p:sldIdLst>\
             <p:sldSz cx=\"9144000\" cy=\"6858000\"/></p:presentation>"
        ),
    ));
    parts.push((
        "ppt/_rels/presentation.xml.rels".to_owned(),
        relations_xml(&relations),
    ));
    package(parts, &types, "ppt/presentation.xml")
}

/// A workbook of one sheet, whose first row is its header.
pub fn workbook(title: &str, sheet: &str, rows: &[&[Cell]]) -> Result<Vec<u8>, Error> {
    let mut data = String::new();
    for (number, row) in (1..).zip(rows) {
        let _ = write!(data, "<row r=\"{number}\">");
        for (column, cell) in ('A'..).zip(*row) {
            let place = format!("{column}{number}");
            let _ = match cell {
                Cell::Text(text) => write!(
                    data,
                    "<c r=\"{place}\" t=\"inlineStr\"><is><t>{}</t></is></c>",
                    escape(text)
                ),
                Cell::Dollars(cents) => write!(
                    data,
                    "<c r=\"{place}\" s=\"1\"><v>{}.{:02}</v></c>",
                    cents / 100,
                    cents % 100
                ),
                Cell::Day(day) => write!(data, "<c r=\"{place}\" s=\"2\"><v>{day}</v></c>"),
            };
        }
        data += "</row>";
    }
    let styles = format!(
        "{XML}<styleSheet xmlns=\"{SHEET}\"><numFmts count=\"1\"><numFmt numFmtId=\"164\" \
         formatCode=\"&quot;$&quot;#,##0.00\"/></numFmts><fonts count=\"1\"><font/></fonts><fills count=\"1\"><fill/></fills>\
         <borders count=\"1\"><border/></borders><cellStyleXfs count=\"1\"><xf/></cellStyleXfs><cellXfs count=\"3\">\
         <xf numFmtId=\"0\"/><xf numFmtId=\"164\" applyNumberFormat=\"1\"/><xf numFmtId=\"14\" applyNumberFormat=\"1\"/>\
         </cellXfs></styleSheet>"
    );
    let parts = vec![
        core(title),
        (
            "xl/workbook.xml".to_owned(),
            format!(
                "{XML}<workbook xmlns=\"{SHEET}\" xmlns:r=\"{RELATIONS}\"><sheets><sheet name=\"{}\" sheetId=\"1\" \
                 r:id=\"rId1\"/></sheets></workbook>",
                escape(sheet)
            ),
        ),
        (
            "xl/_rels/workbook.xml.rels".to_owned(),
            relations_xml(&[
                ("worksheet", "worksheets/sheet1.xml".to_owned()),
                ("styles", "styles.xml".to_owned()),
            ]),
        ),
        (
            "xl/worksheets/sheet1.xml".to_owned(),
            format!("{XML}<worksheet xmlns=\"{SHEET}\"><sheetData>{data}</sheetData></worksheet>"),
        ),
        ("xl/styles.xml".to_owned(), styles),
    ];
    let types = content_type("xl/workbook.xml", "spreadsheetml.sheet.main")
        + &content_type("xl/worksheets/sheet1.xml", "spreadsheetml.worksheet")
        + &content_type("xl/styles.xml", "spreadsheetml.styles");
    package(parts, &types, "xl/workbook.xml")
}

fn shape(kind: &str, paragraphs: &[&str]) -> String {
    let paragraphs: String = paragraphs
        .iter()
        .map(|text| format!("<a:p><a:r><a:t>{}</a:t></a:r></a:p>", escape(text)))
        .collect();
    format!(
        "<p:sp><p:nvSpPr><p:cNvPr id=\"2\" name=\"{kind}\"/><p:cNvSpPr/><p:nvPr><p:ph type=\"{kind}\"/></p:nvPr></p:nvSpPr>\
         <p:spPr/><p:txBody><a:bodyPr/>{paragraphs}</p:txBody></p:sp>"
    )
}

fn slide_xml(root: &str, shapes: &str) -> String {
    format!(
        "{XML}<p:{root} xmlns:p=\"{MAIN}\" xmlns:a=\"{DRAWING}\"><p:cSld><p:spTree><p:nvGrpSpPr><p:cNvPr id=\"1\" \
         name=\"\"/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>{shapes}</p:spTree></p:cSld></p:{root}>"
    )
}

fn relations_xml(all: &[(&str, String)]) -> String {
    let each = (1..).zip(all).map(|(number, (kind, target))| {
        format!(
            "<Relationship Id=\"rId{number}\" Type=\"{RELATIONS}/{kind}\" Target=\"{target}\"/>"
        )
    });
    format!(
        "{XML}<Relationships xmlns=\"{PACKAGE}/relationships\">{}</Relationships>",
        each.collect::<String>()
    )
}

fn content_type(part: &str, kind: &str) -> String {
    format!("<Override PartName=\"/{part}\" ContentType=\"{TYPE}.{kind}+xml\"/>")
}

fn core(title: &str) -> (String, String) {
    let core = format!(
        "{XML}<cp:coreProperties xmlns:cp=\"{PACKAGE}/metadata/core-properties\" \
         xmlns:dc=\"http://purl.org/dc/elements/1.1/\"><dc:title>{}</dc:title></cp:coreProperties>",
        escape(title)
    );
    ("docProps/core.xml".to_owned(), core)
}

fn package(parts: Vec<(String, String)>, types: &str, main: &str) -> Result<Vec<u8>, Error> {
    let types = format!(
        "{XML}<Types xmlns=\"{PACKAGE}/content-types\"><Default Extension=\"rels\" \
         ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
         <Default Extension=\"xml\" ContentType=\"application/xml\"/>{types}</Types>"
    );
    let root = relations_xml(&[("officeDocument", main.to_owned())]);
    let first = [
        ("[Content_Types].xml".to_owned(), types),
        ("_rels/.rels".to_owned(), root),
    ];
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .last_modified_time(DateTime::default())
        .unix_permissions(0o644);
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, xml) in first.into_iter().chain(parts) {
        archive.start_file(name, options)?;
        archive.write_all(xml.as_bytes())?;
    }
    Ok(archive.finish()?.into_inner())
}
