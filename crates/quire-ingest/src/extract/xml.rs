//! The little XML that parts of office files need, over quick-xml.
//!
//! Expands no entity but the five of XML itself and refuses document type definitions, which no office
//! program writes: entity bombs and references to outside files end here.

use std::borrow::Cow;

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use super::error::ExtractError;
use super::text;

pub(super) fn text_of(part: &[u8]) -> String {
    text::decode(part, None)
}

pub(super) fn reader(xml: &str) -> Reader<&[u8]> {
    let mut reader = Reader::from_str(xml);
    reader.config_mut().expand_empty_elements = true;
    reader
}

pub(super) fn next<'x>(reader: &mut Reader<&'x [u8]>) -> Result<Event<'x>, ExtractError> {
    match reader.read_event() {
        Ok(Event::DocType(_)) => Err(ExtractError::refused("it holds a document type definition")),
        Ok(event) => Ok(event),
        Err(error) => Err(ExtractError::damaged(super::archive::FORMAT, error)),
    }
}

/// The value of an attribute, whatever its prefix.
pub(super) fn attribute<'e>(element: &'e BytesStart<'_>, name: &str) -> Option<Cow<'e, str>> {
    let found = element
        .attributes()
        .flatten()
        .find(|attribute| attribute.key.local_name().as_ref() == name)?;
    found.normalized_value(XmlVersion::Implicit1_0).ok()
}

/// The relation that an element points with: `r:id`, beside an `id` of its own.
pub(super) fn relation_id(element: &BytesStart<'_>) -> Option<String> {
    let found = element.attributes().flatten().find(|attribute| {
        attribute.key.prefix().is_some() && attribute.key.local_name().as_ref() == "id"
    })?;
    let value = found.normalized_value(XmlVersion::Implicit1_0).ok()?;
    Some(value.into_owned())
}

/// An on/off property: present means on, unless its value says otherwise.
pub(super) fn is_on(element: &BytesStart<'_>) -> bool {
    !matches!(
        attribute(element, "val").as_deref(),
        Some("0" | "false" | "off" | "none")
    )
}

/// The character behind `&…;`, or none for an entity that a document would have to define.
pub(super) fn resolve(reference: &BytesRef<'_>) -> Option<char> {
    if let Ok(Some(c)) = reference.resolve_char_ref() {
        return Some(c);
    }
    match reference.xml10_content().as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

/// The text of the first element of a name.
pub(super) fn first_text(xml: &str, name: &str) -> Result<Option<String>, ExtractError> {
    let mut reader = reader(xml);
    let mut text = None;
    loop {
        match next(&mut reader)? {
            Event::Start(element) if element.local_name().as_ref() == name => {
                text = Some(String::new())
            }
            Event::End(element) if text.is_some() && element.local_name().as_ref() == name => {
                return Ok(text);
            }
            Event::Text(part) => {
                if let Some(text) = &mut text {
                    text.push_str(&part.xml10_content());
                }
            }
            Event::GeneralRef(reference) => {
                if let Some(text) = &mut text {
                    text.extend(resolve(&reference));
                }
            }
            Event::Eof => return Ok(text),
            _ => {}
        }
    }
}

/// The target of the first relation whose type ends in `kind`.
pub(super) fn relation(xml: &str, kind: &str) -> Result<Option<String>, ExtractError> {
    let mut reader = reader(xml);
    loop {
        match next(&mut reader)? {
            Event::Start(element)
                if attribute(&element, "Type").is_some_and(|found| found.ends_with(kind)) =>
            {
                return Ok(attribute(&element, "Target").map(Cow::into_owned));
            }
            Event::Eof => return Ok(None),
            _ => {}
        }
    }
}
