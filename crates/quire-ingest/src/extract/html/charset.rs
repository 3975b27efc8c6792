//! The encoding a page declares in its first bytes.

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

const LOOKED_AT: usize = 4096;

/// Finds `charset=…` or `encoding="…"` near the start.
pub(super) fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes[..bytes.len().min(LOOKED_AT)].to_ascii_lowercase();
    let head = String::from_utf8_lossy(&head);
    let label = ["charset", "encoding"]
        .into_iter()
        .find_map(|key| label_after(&head, key))?;
    let encoding = Encoding::for_label(label.as_bytes())?;
    // A label that could be read byte by byte is not UTF-16, whatever it says.
    if encoding == UTF_16LE || encoding == UTF_16BE {
        Some(UTF_8)
    } else {
        Some(encoding)
    }
}

fn label_after<'a>(head: &'a str, key: &str) -> Option<&'a str> {
    head.match_indices(key).find_map(|(at, _)| {
        let value = head[at + key.len()..].trim_start().strip_prefix('=')?;
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        let end = value
            .find(|c: char| !(c.is_ascii_alphanumeric() || "-_:.".contains(c)))
            .unwrap_or(value.len());
        (end > 0).then(|| &value[..end])
    })
}
