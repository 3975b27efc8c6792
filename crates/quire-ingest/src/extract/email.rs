//! E-mails (.eml): who wrote what to whom and when, and every attachment by the reader of its own type.
//!
//! Attachments inside attachments are followed to a fixed depth. One that can't be read is named with the
//! reason, and the rest is read all the same: a letter is worth more than its letterhead.

use mail_parser::{Address, Message, MessageParser, MessagePart, MimeHeaders, PartType};
use quire_types::{Kind as _, MediaType, Spot};

use super::builder::{Builder, one_line};
use super::document::{BlockKind, Document};
use super::drawing::measure;
use super::error::ExtractError;
use super::known::{Known, ToSense};
use super::limits::Limits;
use super::meter::Meter;
use super::{Depth, html, inside, text};
use crate::detect::glance;

/// What is drawn into the text and is smaller is a letterhead or a smile.
const SMALL_IMAGE_BYTES: usize = 8 << 10;

pub(super) fn read(
    bytes: &[u8],
    known: &Known,
    limits: &Limits,
    depth: Depth,
    meter: Meter<'_>,
) -> Result<Document, ExtractError> {
    let message = parse(bytes)?;
    read_message(&message, bytes.len(), known, limits, depth, meter)
}

fn parse(bytes: &[u8]) -> Result<Message<'_>, ExtractError> {
    MessageParser::default()
        .parse(bytes)
        .ok_or_else(|| ExtractError::damaged("e-mail", "it has no header"))
}

/// Attachments that others can be asked about, or that may hold such.
pub(super) fn to_sense(bytes: &[u8], limits: &Limits) -> Result<ToSense, ExtractError> {
    let message = parse(bytes)?;
    if message.attachment_count() as u64 > limits.max_parts {
        return Err(ExtractError::too_large("attachments", limits.max_parts));
    }
    let attachments = message.attachments().enumerate();
    let files = attachments.filter_map(|(before, part)| {
        if is_decoration(part) {
            return None;
        }
        let name = match &part.body {
            PartType::Message(_) => "message.eml".to_owned(),
            _ => part.attachment_name().map(one_line).unwrap_or_default(),
        };
        let media = glance(&name, part.contents())?;
        let is_asked_about = matches!(
            media,
            MediaType::Pdf
                | MediaType::Image
                | MediaType::Audio
                | MediaType::Video
                | MediaType::Email
        );
        is_asked_about.then_some((before + 1, name))
    });
    let recordings = recordings(&message, limits, Depth::default())?;
    Ok(ToSense {
        files: files.collect(),
        recordings: recordings.len() as u64,
        sound_ms: recordings.iter().sum(),
        ..ToSense::default()
    })
}

/// Recordings and films that are attached, as deep as attachments are followed, each with its sound in milliseconds.
/// What can't be measured is left to its reader, which says why.
fn recordings(
    message: &Message<'_>,
    limits: &Limits,
    depth: Depth,
) -> Result<Vec<u64>, ExtractError> {
    let mut found = Vec::new();
    let Some(deeper) = depth.deeper() else {
        return Ok(found);
    };
    for part in message.attachments() {
        let (name, bytes) = (part.attachment_name().unwrap_or_default(), part.contents());
        match &part.body {
            PartType::Message(inner) => found.extend(recordings(inner, limits, deeper)?),
            _ => match glance(name, bytes) {
                Some(MediaType::Audio | MediaType::Video) => match measure(bytes, limits) {
                    Ok(measured) if measured.has_sound => found.push(measured.length_ms),
                    Ok(_) => found.push(0),
                    Err(error) if error.kind().is_transient() => return Err(error),
                    Err(_) => {}
                },
                Some(MediaType::Email) => {
                    if let Ok(inner) = parse(bytes) {
                        found.extend(recordings(&inner, limits, deeper)?);
                    }
                }
                _ => {}
            },
        }
    }
    Ok(found)
}

/// The bytes of an attachment.
pub(super) fn unpack(bytes: &[u8], number: usize) -> Result<Vec<u8>, ExtractError> {
    let message = parse(bytes)?;
    let part = message.attachments().nth(number.saturating_sub(1));
    let part = part.ok_or(ExtractError::NoPicture)?;
    Ok(part.contents().to_vec())
}

fn read_message(
    message: &Message<'_>,
    input_bytes: usize,
    known: &Known,
    limits: &Limits,
    depth: Depth,
    meter: Meter<'_>,
) -> Result<Document, ExtractError> {
    if message.attachment_count() as u64 > limits.max_parts {
        return Err(ExtractError::too_large("attachments", limits.max_parts));
    }
    let mut builder = Builder::new(limits, input_bytes);
    let subject = message.subject().unwrap_or("(no subject)");
    builder.title(subject);
    builder.heading(1, subject, None)?;
    builder.push(BlockKind::Paragraph, &envelope(message), None)?;
    for document in bodies(message, limits)? {
        builder.append_all(&document)?;
    }
    let attachments = message.attachment_count();
    for (before, part) in message.attachments().enumerate() {
        let meter = meter.part(before, attachments);
        meter.at(0, 1);
        let number = before + 1;
        let known = known.of(number);
        attachment((part, number), &known, limits, depth, meter, &mut builder)?;
    }
    builder.finish()
}

fn envelope(message: &Message<'_>) -> String {
    let addresses = |address: Option<&Address<'_>>| {
        let all = address.into_iter().flat_map(|address| address.iter());
        let all = all.map(|one| match (&one.name, &one.address) {
            (Some(name), Some(address)) => format!("{name} <{address}>"),
            (Some(one), None) | (None, Some(one)) => one.to_string(),
            (None, None) => String::new(),
        });
        all.filter(|one| !one.is_empty())
            .take(50)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let date = message.date().map(|date| date.to_rfc3339());
    let lines = [
        ("From", addresses(message.from())),
        ("To", addresses(message.to())),
        ("Cc", addresses(message.cc())),
        ("Date", date.unwrap_or_default()),
    ];
    let known = lines.into_iter().filter(|(_, value)| !value.is_empty());
    let known: Vec<String> = known
        .map(|(name, value)| format!("{name}: {value}"))
        .collect();
    known.join("\n")
}

/// The text as its writer formatted it where that has structure, else the plain one.
fn bodies(message: &Message<'_>, limits: &Limits) -> Result<Vec<Document>, ExtractError> {
    let plain: Vec<&str> = message
        .text_bodies()
        .filter_map(|part| match &part.body {
            PartType::Text(text) => Some(text.as_ref()),
            _ => None,
        })
        .collect();
    let formatted = message.html_bodies().filter_map(|part| match &part.body {
        PartType::Html(html) => Some(html.as_ref()),
        _ => None,
    });
    let mut found = Vec::new();
    for page in formatted {
        let has_table = page.contains("<table") || page.contains("<TABLE");
        if has_table || plain.is_empty() {
            found.push(html::read(page.as_bytes(), limits));
        }
    }
    if found.is_empty() {
        found.extend(
            plain
                .iter()
                .map(|plain| text::read(plain.as_bytes(), limits)),
        );
    }
    let found = found.into_iter();
    // A letter may say nothing beside its attachments.
    found
        .filter(|document| !matches!(document, Err(ExtractError::NoText | ExtractError::Empty)))
        .collect()
}

/// Programs draw small pictures into the text; they are no attachments to a reader.
fn is_decoration(part: &MessagePart<'_>) -> bool {
    let is_image = part
        .content_type()
        .is_some_and(|kind| kind.ctype() == "image");
    let is_unnamed = part.attachment_name().is_none();
    is_image
        && (is_unnamed || part.content_id().is_some())
        && part.contents().len() < SMALL_IMAGE_BYTES
}

fn attachment(
    (part, number): (&MessagePart<'_>, usize),
    known: &Known,
    limits: &Limits,
    depth: Depth,
    meter: Meter<'_>,
    builder: &mut Builder<'_>,
) -> Result<(), ExtractError> {
    if is_decoration(part) {
        return Ok(());
    }
    let name = part.attachment_name().map(one_line);
    let fallback = || match &part.body {
        PartType::Message(inner) => inner.subject().map(one_line),
        _ => None,
    };
    let name = name
        .or_else(fallback)
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| format!("attachment {number}"));
    let read = match &part.body {
        PartType::Message(inner) => match depth.deeper() {
            Some(depth) => {
                read_message(inner, inner.raw_message.len(), known, limits, depth, meter)
            }
            None => Err(ExtractError::refused(
                "attachments inside attachments without end",
            )),
        },
        _ => match (&known.unheard, glance(&name, part.contents())) {
            (Some(why), Some(MediaType::Audio | MediaType::Video)) => {
                Err(ExtractError::Unheard { why: why.clone() })
            }
            _ => inside(&name, part.contents(), known, limits, depth, meter),
        },
    };
    builder.at(Spot {
        part: Some(name.clone()),
        ..Spot::default()
    });
    builder.heading(2, &name, None)?;
    match read {
        Ok(document) => builder.include(&name, &document),
        // These end the reading of the whole file; the others concern the attachment alone.
        Err(
            error @ (ExtractError::OutOfMemory
            | ExtractError::ToolMissing { .. }
            | ExtractError::Unavailable { .. }),
        ) => Err(error),
        Err(error) => {
            let note = format!("The attachment {name} was not read: {error}");
            builder.push(BlockKind::Paragraph, &note, None)
        }
    }
}
