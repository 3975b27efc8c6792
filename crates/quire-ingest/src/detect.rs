//! The type of a file, found from its content.
//!
//! The name decides only what content cannot: Markdown is a way to read text. Knows magic numbers and
//! parses nothing, so it is safe on any bytes.

mod magic;

use quire_types::MediaType;

use crate::extract::{
    ExtractError, PictureKind, decode, look_at_recording, looks_like_csv, looks_like_transcript,
    looks_like_utf16,
};

/// A text sample large enough for a doctype behind comments and an XML declaration.
const SAMPLE_BYTES: usize = 4096;
const PDF_MARK: &[u8] = b"%PDF-";
const ZIP_END: &[u8] = b"PK\x05\x06";
const OLE2_MARK: &[u8] = b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1";

/// Says how to read a file, or refuses with what the file looks like. `name` may be any text.
pub fn detect(name: &str, bytes: &[u8]) -> Result<MediaType, ExtractError> {
    if bytes.is_empty() {
        return Err(ExtractError::Empty);
    }
    if is_pdf(bytes) {
        return Ok(MediaType::Pdf);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(ZIP_END) {
        return zip_kind(bytes);
    }
    if bytes.starts_with(OLE2_MARK) {
        return Err(old_office(bytes));
    }
    if PictureKind::of(bytes).is_some() {
        return Ok(MediaType::Image);
    }
    if let Some((_, media)) = look_at_recording(bytes) {
        return Ok(media);
    }
    if let Some(found) = magic::known(bytes) {
        return Err(unsupported(found));
    }
    if !is_text(bytes) {
        return Err(unsupported("a binary file"));
    }
    Ok(text_kind(name, bytes))
}

/// What the first bytes alone suggest, for deciding how long a file may take. Right about every file that
/// takes long; says nothing about the others.
pub(crate) fn glance(name: &str, bytes: &[u8]) -> Option<MediaType> {
    let head = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    if find(head, PDF_MARK).is_some() {
        return Some(MediaType::Pdf);
    }
    if PictureKind::of(bytes).is_some() {
        return Some(MediaType::Image);
    }
    if let Some((_, media)) = look_at_recording(bytes) {
        return Some(media);
    }
    (is_text(head) && text_kind(name, head) == MediaType::Email).then_some(MediaType::Email)
}

/// Whether a file is sound or a film.
pub(crate) fn is_recording(name: &str, bytes: &[u8]) -> bool {
    matches!(
        glance(name, bytes),
        Some(MediaType::Audio | MediaType::Video)
    )
}

/// The mark stands at the start, or behind junk from a mail program: then objects must follow, because
/// a text may talk about PDF.
fn is_pdf(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(1024)];
    match find(head, PDF_MARK) {
        Some(0) => true,
        Some(at) => {
            find(&bytes[at..], b" obj").is_some() && find(&bytes[at..], b"endobj").is_some()
        }
        None => false,
    }
}

/// Names of entries stand uncompressed in the directory of a zip file. Elsewhere in it those of files inside its files
/// may stand as well.
fn zip_kind(bytes: &[u8]) -> Result<MediaType, ExtractError> {
    let tail_at = bytes.len().saturating_sub((64 << 10) + 22);
    let end = bytes[tail_at..]
        .windows(ZIP_END.len())
        .rposition(|window| window == ZIP_END);
    let Some(end) = end.map(|at| tail_at + at) else {
        return Err(ExtractError::damaged(
            "Office or zip",
            "the end of the file is missing",
        ));
    };
    let directory = zip_directory(bytes, end).unwrap_or(bytes);
    let main_parts: [(&[u8], MediaType); 3] = [
        (b"word/document", MediaType::Docx),
        (b"ppt/presentation.xml", MediaType::Pptx),
        (b"xl/workbook.xml", MediaType::Xlsx),
    ];
    let office = main_parts
        .iter()
        .find(|(mark, _)| find(directory, mark).is_some());
    if let Some((_, media)) = office {
        return Ok(*media);
    }
    let kinds: [(&[u8], &str); 6] = [
        (b"xl/workbook.bin", "a binary Excel workbook (.xlsb)"),
        (b"ppt/presentation", "a presentation"),
        (
            b"application/vnd.oasis.opendocument",
            "an OpenDocument file",
        ),
        (b"application/epub+zip", "an e-book (EPUB)"),
        (b"META-INF/MANIFEST.MF", "a Java archive"),
        (b"AndroidManifest.xml", "an Android app"),
    ];
    let kind = kinds.iter().find(|(mark, _)| find(bytes, mark).is_some());
    Err(unsupported(
        kind.map_or("a zip archive", |(_, found)| found),
    ))
}

/// The directory of a zip file with this end record, which stands right before it and says how long it is.
fn zip_directory(bytes: &[u8], end: usize) -> Option<&[u8]> {
    let length = bytes.get(end + 12..end + 16)?.first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    bytes.get(end.checked_sub(length)?..end)
}

/// Streams of an OLE2 container are named in UTF-16.
fn old_office(bytes: &[u8]) -> ExtractError {
    let has = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        find(bytes, &wide).is_some()
    };
    let found = if has("EncryptedPackage") {
        "the document is password-protected"
    } else if has("WordDocument") {
        "this is the old Word format (.doc)"
    } else if has("Workbook") {
        "this is the old Excel format (.xls)"
    } else if has("PowerPoint Document") {
        "this is the old PowerPoint format (.ppt)"
    } else if has("__nameid_version1.0") {
        return unsupported("an Outlook message (.msg)");
    } else {
        "the document is password-protected or in an old Office format"
    };
    ExtractError::OldOffice {
        found: found.into(),
    }
}

fn is_text(bytes: &[u8]) -> bool {
    let has_wide_mark = bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF");
    if has_wide_mark || looks_like_utf16(bytes).is_some() {
        return true;
    }
    let head = &bytes[..bytes.len().min(8192)];
    let controls = head
        .iter()
        .filter(|byte| matches!(byte, 1..=8 | 14..=26 | 28..=31))
        .count();
    !bytes.contains(&0) && controls * 20 <= head.len()
}

fn text_kind(name: &str, bytes: &[u8]) -> MediaType {
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension.to_ascii_lowercase());
    let extension = extension.as_deref().unwrap_or_default();
    let sample = decode(&bytes[..bytes.len().min(SAMPLE_BYTES)], None);
    let sample = sample.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if looks_like_transcript(sample) {
        return MediaType::Transcript;
    }
    if looks_like_email(sample, extension == "eml") {
        return MediaType::Email;
    }
    let lower = sample.to_ascii_lowercase();
    let start = after_preamble(&lower);
    let is_page = ["<!doctype html", "<html", "<head", "<body"]
        .iter()
        .any(|tag| start.starts_with(tag));
    // Markdown and plain text may begin with a tag; a page without a frame needs its extension.
    let is_fragment = matches!(extension, "html" | "htm" | "xhtml") && start.starts_with('<');
    match extension {
        _ if is_page || is_fragment => MediaType::Html,
        "md" | "markdown" => MediaType::Markdown,
        "csv" | "tsv" => MediaType::Csv,
        _ if looks_like_csv(sample) => MediaType::Csv,
        _ => MediaType::Text,
    }
}

/// Header lines of RFC 5322 down to an empty line. A memo has `From:` and `To:` as well; what a mail server
/// writes, or the extension, tells the two apart.
fn looks_like_email(sample: &str, is_named_so: bool) -> bool {
    const BY_SERVERS: [&str; 6] = [
        "received",
        "return-path",
        "delivered-to",
        "message-id",
        "mime-version",
        "dkim-signature",
    ];
    let head = sample.lines().take_while(|line| !line.trim().is_empty());
    let (mut names, mut is_sent) = (0, is_named_so);
    for line in head {
        if line.starts_with([' ', '\t']) {
            continue;
        }
        let Some((name, _)) = line.split_once(':') else {
            return false;
        };
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name {
            return false;
        }
        names += 1;
        is_sent |= BY_SERVERS.contains(&name.to_ascii_lowercase().as_str());
    }
    is_sent && names >= 2
}

/// Skips white space, comments and the XML declaration.
fn after_preamble(sample: &str) -> &str {
    let mut rest = sample.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    loop {
        let end = match rest {
            _ if rest.starts_with("<!--") => "-->",
            _ if rest.starts_with("<?") => "?>",
            _ => return rest,
        };
        match rest.split_once(end) {
            Some((_, after)) => rest = after.trim_start(),
            None => return rest,
        }
    }
}

fn unsupported(found: &str) -> ExtractError {
    ExtractError::Unsupported {
        found: found.into(),
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
