//! What the named styles of a Word document mean: which are headings, which is the title.

use std::collections::HashMap;

use quick_xml::events::{BytesStart, Event};

use super::super::error::ExtractError;
use super::super::xml;

/// Styles inherit from each other; a longer chain is an error or an attack.
const MAX_CHAIN: usize = 16;

/// The styles of one document by id.
#[derive(Debug, Default)]
pub(super) struct Styles {
    by_id: HashMap<String, Style>,
}

#[derive(Debug, Default)]
struct Style {
    name: String,
    based_on: Option<String>,
    outline: Option<u8>,
    is_list: bool,
}

impl Styles {
    pub(super) fn read(part: &str) -> Result<Self, ExtractError> {
        let mut reader = xml::reader(part);
        let mut styles = Self::default();
        let mut open: Option<(String, Style)> = None;
        loop {
            match xml::next(&mut reader)? {
                Event::Start(element) => {
                    if element.local_name().as_ref() == "style" {
                        let id = xml::attribute(&element, "styleId")
                            .unwrap_or_default()
                            .into_owned();
                        open = Some((id, Style::default()));
                    } else if let Some((_, style)) = &mut open {
                        style.property(&element);
                    }
                }
                Event::End(element) if element.local_name().as_ref() == "style" => {
                    styles.by_id.extend(open.take())
                }
                Event::Eof => return Ok(styles),
                _ => {}
            }
        }
    }

    /// The heading level of a style, 1 to 9.
    pub(super) fn heading_level(&self, id: &str) -> Option<u8> {
        // Documents without a styles part still use Word's own ids.
        let by_name = |name: &str| {
            let name = name.to_ascii_lowercase();
            let level = name.strip_prefix("heading")?.trim().parse().ok()?;
            (1..=9).contains(&level).then_some(level)
        };
        by_name(id).or_else(|| {
            self.chain(id)
                .find_map(|style| by_name(&style.name).or(style.outline.map(|level| level + 1)))
        })
    }

    pub(super) fn is_title(&self, id: &str) -> bool {
        id.eq_ignore_ascii_case("title")
            || self
                .chain(id)
                .next()
                .is_some_and(|style| style.name.eq_ignore_ascii_case("title"))
    }

    /// Whether a style marks a line of the generated table of contents, which only repeats headings.
    pub(super) fn is_contents(&self, id: &str) -> bool {
        self.chain(id)
            .next()
            .is_some_and(|style| style.name.to_ascii_lowercase().starts_with("toc "))
    }

    pub(super) fn is_list(&self, id: &str) -> bool {
        self.chain(id)
            .any(|style| style.is_list || style.name.to_ascii_lowercase().starts_with("list "))
            && self.heading_level(id).is_none()
    }

    fn chain<'s>(&'s self, id: &str) -> impl Iterator<Item = &'s Style> {
        let first = self.by_id.get(id);
        std::iter::successors(first, |style| self.by_id.get(style.based_on.as_deref()?))
            .take(MAX_CHAIN)
    }
}

impl Style {
    fn property(&mut self, element: &BytesStart<'_>) {
        let value = || xml::attribute(element, "val").map(|value| value.into_owned());
        match element.local_name().as_ref() {
            "name" => self.name = value().unwrap_or_default(),
            "basedOn" => self.based_on = value(),
            "outlineLvl" => {
                self.outline = value()
                    .and_then(|level| level.parse().ok())
                    .filter(|level| *level < 9)
            }
            "numPr" => self.is_list = true,
            _ => {}
        }
    }
}
