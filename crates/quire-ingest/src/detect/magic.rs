//! First bytes of files that quire meets but does not read, for refusals that name what came.

/// Magic bytes, where they stand, and what they mean.
const MAGIC: &[(usize, &[u8], &str)] = &[
    (4, b"ftypheic", "a picture (HEIC)"),
    (4, b"ftypheix", "a picture (HEIC)"),
    (4, b"ftypmif1", "a picture (HEIC)"),
    (4, b"ftypavif", "a picture (AVIF)"),
    (0, b"\x1F\x8B", "a gzip archive"),
    (0, b"\xFD7zXZ\0", "an xz archive"),
    (0, b"\x28\xB5\x2F\xFD", "a zstd archive"),
    (0, b"7z\xBC\xAF\x27\x1C", "a 7z archive"),
    (0, b"Rar!\x1A\x07", "a RAR archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x7FELF", "a program"),
    (0, b"\xCF\xFA\xED\xFE", "a program"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"wOFF", "a font"),
    (0, b"wOF2", "a font"),
    (0, b"{\\rtf", "a rich text file (.rtf)"),
    (0, b"%!PS", "a PostScript file"),
];

/// Marks so short that a text may begin with them; they count only in a file with zero bytes.
const SHORT: &[(&[u8], &str)] = &[
    (b"MZ", "a program"),
    (b"BZh", "a bzip2 archive"),
    (b"PAR1", "a Parquet file"),
    (b"\xFF\xFE\0\0", "a UTF-32 text"),
];

/// What the bytes are, with its article, if they are one of the known kinds.
pub(super) fn known(bytes: &[u8]) -> Option<&'static str> {
    let is_at = |at: usize, mark: &[u8]| bytes.get(at..).is_some_and(|rest| rest.starts_with(mark));
    let container = bytes.starts_with(b"RIFF");
    let found = MAGIC
        .iter()
        .find(|(at, mark, _)| is_at(*at, mark) && (*at != 8 || container));
    if let Some((_, _, found)) = found {
        return Some(found);
    }
    if !bytes.contains(&0) {
        return None;
    }
    if bytes.iter().all(|byte| *byte == 0) {
        return Some("a file of zero bytes");
    }
    SHORT
        .iter()
        .find(|(mark, _)| bytes.starts_with(mark))
        .map(|(_, found)| *found)
}
