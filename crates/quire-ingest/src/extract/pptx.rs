//! Presentations (.pptx): the text of every slide in order, its tables and its notes.
//!
//! A slide's title is the heading of what stands on it. Knows no charts, no animations and no layouts;
//! dates, footers and slide numbers that every slide repeats are left out.

use quick_xml::events::Event;
use quire_types::Spot;

use super::builder::Builder;
use super::document::{BlockKind, Document};
use super::error::ExtractError;
use super::limits::Limits;
use super::package::Package;
use super::table::Table;
use super::xml;

const MAIN_PART: &str = "ppt/presentation.xml";

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let mut package = Package::open(bytes, limits)?;
    let main = package.need(MAIN_PART)?;
    let relations = package.relations(MAIN_PART)?;
    let mut builder = Builder::new(limits, bytes.len());
    if let Some(title) = package.title()? {
        builder.title(&title);
    }
    let mut number = 0;
    for id in slide_ids(&main)? {
        let Some(slide) = relations.iter().find(|relation| relation.id == id) else {
            continue;
        };
        number += 1;
        if number > limits.max_pages {
            return Err(ExtractError::too_large("slides", limits.max_pages.into()));
        }
        let content = shapes(&package.need(&slide.target)?)?;
        let mut notes = Vec::new();
        for relation in package.relations(&slide.target)? {
            if relation.kind == "notesSlide"
                && let Some(part) = package.part(&relation.target)?
            {
                notes = shapes(&part)?;
            }
        }
        builder.close_headings();
        builder.at(Spot {
            slide: Some(number),
            ..Spot::default()
        });
        write(content, notes, &mut builder)?;
    }
    builder.pages(number);
    builder.finish()
}

/// Relations of the slides, in the order in which they are shown.
fn slide_ids(main: &str) -> Result<Vec<String>, ExtractError> {
    let mut reader = xml::reader(main);
    let mut ids = Vec::new();
    loop {
        match xml::next(&mut reader)? {
            Event::Start(element) if element.local_name().as_ref() == "sldId" => {
                ids.extend(xml::relation_id(&element));
            }
            Event::Eof => return Ok(ids),
            _ => {}
        }
    }
}

/// A box with text, or a table.
#[derive(Default)]
struct Shape {
    role: Role,
    paragraphs: Vec<String>,
    table: Option<Table>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Role {
    Title,
    Body,
    /// Dates, footers, numbers.
    Repeated,
    #[default]
    Free,
}

impl Role {
    fn of(placeholder: Option<&str>) -> Self {
        match placeholder {
            Some("title" | "ctrTitle") => Self::Title,
            Some("dt" | "ftr" | "sldNum" | "hdr" | "sldImg") => Self::Repeated,
            _ => Self::Body,
        }
    }
}

fn shapes(part: &str) -> Result<Vec<Shape>, ExtractError> {
    let mut reader = xml::reader(part);
    let mut done = Vec::new();
    let mut open: Option<Shape> = None;
    let mut cell: Option<String> = None;
    let mut text: Option<String> = None;
    let mut in_text = false;
    let mut skipped_depth = 0_usize;
    loop {
        match xml::next(&mut reader)? {
            Event::Start(element) => {
                let local = element.local_name();
                // The old form of a drawing, which stands beside the new one.
                if skipped_depth > 0 || local.as_ref() == "Fallback" {
                    skipped_depth += 1;
                    continue;
                }
                match local.as_ref() {
                    "sp" | "graphicFrame" => open = Some(Shape::default()),
                    "p" => text = Some(String::new()),
                    "t" => in_text = true,
                    "br" => text.iter_mut().for_each(|text| text.push('\n')),
                    "tc" => cell = Some(String::new()),
                    _ => {}
                }
                let Some(shape) = &mut open else { continue };
                match local.as_ref() {
                    "ph" => shape.role = Role::of(xml::attribute(&element, "type").as_deref()),
                    "tbl" => shape.table = Some(Table::default()),
                    "tr" => shape.table.iter_mut().for_each(Table::row),
                    _ => {}
                }
            }
            Event::End(element) => {
                if skipped_depth > 0 {
                    skipped_depth -= 1;
                    continue;
                }
                match element.local_name().as_ref() {
                    "sp" | "graphicFrame" => done.extend(open.take()),
                    "t" => in_text = false,
                    "p" => {
                        let paragraph = text.take().unwrap_or_default();
                        match (&mut cell, &mut open) {
                            (Some(cell), _) => *cell = format!("{cell} {paragraph}"),
                            (None, Some(shape)) => shape.paragraphs.push(paragraph),
                            (None, None) => {}
                        }
                    }
                    "tc" => {
                        let text = cell.take().unwrap_or_default();
                        let table = open.as_mut().and_then(|shape| shape.table.as_mut());
                        table.into_iter().for_each(|table| table.cell(&text));
                    }
                    _ => {}
                }
            }
            Event::Text(part) if in_text && skipped_depth == 0 => {
                text.iter_mut()
                    .for_each(|text| text.push_str(&part.xml10_content()));
            }
            Event::GeneralRef(reference) if in_text && skipped_depth == 0 => {
                text.iter_mut()
                    .for_each(|text| text.extend(xml::resolve(&reference)));
            }
            Event::Eof => return Ok(done),
            _ => {}
        }
    }
}

fn write(
    content: Vec<Shape>,
    notes: Vec<Shape>,
    builder: &mut Builder<'_>,
) -> Result<(), ExtractError> {
    // Wherever the title stands in the file, it stands above the slide.
    let (titles, rest): (Vec<Shape>, Vec<Shape>) = content
        .into_iter()
        .partition(|shape| shape.role == Role::Title);
    for title in titles {
        builder.heading(1, &title.paragraphs.join(" "), None)?;
    }
    for shape in rest {
        if shape.role == Role::Repeated {
            continue;
        }
        let is_list = shape.role == Role::Body && shape.paragraphs.len() > 1;
        for paragraph in shape
            .paragraphs
            .iter()
            .filter(|text| !text.trim().is_empty())
        {
            if is_list {
                builder.push(BlockKind::ListItem, &format!("- {paragraph}"), None)?;
            } else {
                builder.push(BlockKind::Paragraph, paragraph, None)?;
            }
        }
        if let Some(table) = shape.table {
            table.write(None, builder)?;
        }
    }
    let spoken = notes.iter().filter(|shape| shape.role == Role::Body);
    let spoken: Vec<&str> = spoken
        .flat_map(|shape| &shape.paragraphs)
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
        .collect();
    if !spoken.is_empty() {
        builder.push(
            BlockKind::Paragraph,
            &format!("Notes: {}", spoken.join("\n")),
            None,
        )?;
    }
    Ok(())
}
