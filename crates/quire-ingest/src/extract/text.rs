//! Plain text, and the encodings of all text formats.
//!
//! Knows no structure beyond paragraphs: a short line of a text file may be anything.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};

use super::builder::Builder;
use super::document::{BlockKind, Document};
use super::error::ExtractError;
use super::limits::Limits;

const ESCAPE: u8 = 0x1B;
/// Nobody breaks lines by hand as late as this: such a line is a paragraph, and ends one.
const LONG_LINE: usize = 200;

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let text = decode(bytes, None);
    let mut builder = Builder::new(limits, bytes.len());
    let mut paragraph_start = None;
    let mut at = 0_usize;
    for line in text.split_inclusive(['\n', '\r', '\u{c}']) {
        if line.chars().all(char::is_whitespace) {
            // The second half of "\r\n" is no blank line.
            let inside_crlf =
                line == "\n" && text.as_bytes().get(at.wrapping_sub(1)) == Some(&b'\r');
            if !inside_crlf && let Some(start) = paragraph_start.take() {
                builder.push(BlockKind::Paragraph, &text[start..at], None)?;
            }
        } else {
            let start = *paragraph_start.get_or_insert(at);
            if line.len() > LONG_LINE {
                builder.push(BlockKind::Paragraph, &text[start..at + line.len()], None)?;
                paragraph_start = None;
            }
        }
        at += line.len();
    }
    if let Some(start) = paragraph_start {
        builder.push(BlockKind::Paragraph, &text[start..], None)?;
    }
    builder.finish()
}

/// Text in any encoding. `declared` is what the file says about itself; a byte-order mark and valid
/// UTF-8 beat it, because labels are wrong more often than those.
pub(crate) fn decode(bytes: &[u8], declared: Option<&'static Encoding>) -> String {
    if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
        return encoding
            .decode_without_bom_handling(&bytes[mark..])
            .0
            .into_owned();
    }
    if let Some(encoding) = looks_like_utf16(bytes) {
        return encoding.decode_without_bom_handling(bytes).0.into_owned();
    }
    // Every byte of it is one of ASCII, so it would pass for UTF-8.
    if declared == Some(ISO_2022_JP) && bytes.is_ascii() && bytes.contains(&ESCAPE) {
        return ISO_2022_JP
            .decode_without_bom_handling(bytes)
            .0
            .into_owned();
    }
    if is_mostly_utf8(bytes) {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let encoding = declared
        .filter(|encoding| *encoding != UTF_8)
        .unwrap_or_else(|| guess(bytes));
    encoding.decode_without_bom_handling(bytes).0.into_owned()
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, true);
    detector.guess(None, Utf8Detection::Deny)
}

/// Valid UTF-8, or UTF-8 with a few broken places: a cut end, one bad byte in a long text.
fn is_mostly_utf8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().bytes().filter(|byte| *byte >= 0xC0).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    bad == 0 || good >= bad * 20
}

/// UTF-16 without a byte-order mark: one half of nearly all pairs is zero, the other hardly ever.
pub(crate) fn looks_like_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    let pairs = bytes[..bytes.len().min(4096)].as_chunks::<2>().0;
    let zeros = |side: usize| pairs.iter().filter(|pair| pair[side] == 0).count();
    let (first, second) = (zeros(0), zeros(1));
    let most = |count: usize| count * 10 >= pairs.len() * 6;
    let few = |count: usize| count * 20 <= pairs.len();
    if pairs.is_empty() {
        None
    } else if most(second) && few(first) {
        Some(UTF_16LE)
    } else if most(first) && few(second) {
        Some(UTF_16BE)
    } else {
        None
    }
}
