//! Collects blocks into a document: cleans their text, counts characters, keeps the path of headings.
//!
//! Every reader writes through it, so limits and clean text hold for all formats.

use quire_types::Spot;

use super::document::{Block, BlockKind, Document, Sensed};
use super::error::ExtractError;
use super::limits::Limits;

/// Titles and headings are cut here wherever they name a place.
pub(crate) const PATH_ENTRY_CHARS: usize = 160;
const TEXT_RATIO_GRACE_CHARS: u64 = 1_000_000;

pub(super) struct Builder<'a> {
    limits: &'a Limits,
    input_bytes: u64,
    document: Document,
    chars: u64,
    /// Bytes of headings and names that blocks repeat, each its own.
    repeated: u64,
    /// Open headings with their level.
    open: Vec<(u8, String)>,
    /// Where the next blocks stand.
    spot: Spot,
}

impl<'a> Builder<'a> {
    pub(super) fn new(limits: &'a Limits, input_bytes: usize) -> Self {
        Self {
            limits,
            input_bytes: input_bytes as u64,
            document: Document::default(),
            chars: 0,
            repeated: 0,
            open: Vec::new(),
            spot: Spot::default(),
        }
    }

    /// Goes on with what was read before.
    pub(super) fn resume(limits: &'a Limits, document: Document) -> Self {
        Self {
            limits,
            // What stands in the file was measured against it already.
            input_bytes: u64::MAX,
            chars: document.text.chars().count() as u64,
            repeated: 0,
            document,
            open: Vec::new(),
            spot: Spot::default(),
        }
    }

    pub(super) fn title(&mut self, title: &str) {
        let title = one_line(title);
        if self.document.title.is_none() && !title.is_empty() {
            self.document.title = Some(title.chars().take(PATH_ENTRY_CHARS).collect());
        }
    }

    pub(super) fn has_title(&self) -> bool {
        self.document.title.is_some()
    }

    pub(super) fn pages(&mut self, pages: u32) {
        self.document.pages = Some(pages);
        self.document.sensed.pages = pages.into();
    }

    /// A recording, or a film, that is so long.
    pub(super) fn duration(&mut self, ms: u64, has_sound: bool) {
        self.document.duration_ms = Some(ms);
        self.document.sensed.add(Sensed {
            recordings: 1,
            sound_ms: if has_sound { ms } else { 0 },
            ..Sensed::default()
        });
    }

    /// So many pictures were looked at.
    pub(super) fn images(&mut self, images: usize) {
        self.document.sensed.images += images as u64;
    }

    pub(super) fn picture_hash(&mut self, hash: u64) {
        self.document.picture_hash = Some(hash);
    }

    /// Where the blocks that follow stand in the original.
    pub(super) fn at(&mut self, spot: Spot) {
        self.spot = spot;
    }

    /// Ends all headings: what follows stands below none of them.
    pub(super) fn close_headings(&mut self) {
        self.open.clear();
    }

    /// Adds another file that stands inside this one, below the headings that are open here.
    pub(super) fn include(&mut self, part: &str, inner: &Document) -> Result<(), ExtractError> {
        self.document.sensed.add(inner.sensed);
        self.append_blocks(inner, |spot| Spot {
            part: Some(match &spot.part {
                Some(inside) => format!("{part} › {inside}"),
                None => part.to_owned(),
            }),
            ..spot.clone()
        })
    }

    /// Adds what another reader made of a piece of this file.
    pub(super) fn append_all(&mut self, piece: &Document) -> Result<(), ExtractError> {
        let here = self.spot.clone();
        self.append_blocks(piece, |_| here.clone())
    }

    fn append_blocks(
        &mut self,
        inner: &Document,
        spot: impl Fn(&Spot) -> Spot,
    ) -> Result<(), ExtractError> {
        let before = self.spot.clone();
        let outside = self.open.len();
        let depth = u8::try_from(outside).unwrap_or(u8::MAX);
        let mut rest = inner.text.as_str();
        let mut at = 0;
        for block in &inner.blocks {
            let (gap, length) = (block.char_start - at, block.char_end - block.char_start);
            let start = byte_of(rest, gap);
            let end = start + byte_of(&rest[start..], length);
            let text = &rest[start..end];
            self.spot = spot(&block.spot);
            match block.kind {
                BlockKind::Heading(level) => {
                    self.heading(level.saturating_add(depth), text, block.page)?;
                }
                kind => self.push(kind, text, block.page)?,
            }
            (rest, at) = (&rest[end..], block.char_end);
        }
        self.open.truncate(outside);
        self.spot = before;
        Ok(())
    }

    pub(super) fn heading(
        &mut self,
        level: u8,
        text: &str,
        page: Option<u32>,
    ) -> Result<(), ExtractError> {
        let text = one_line(text);
        if text.is_empty() {
            return Ok(());
        }
        self.open.retain(|(open, _)| *open < level);
        self.append(BlockKind::Heading(level), &text, page)?;
        self.open
            .push((level, text.chars().take(PATH_ENTRY_CHARS).collect()));
        Ok(())
    }

    /// Adds a block of any kind but a heading. Text without a visible character adds nothing.
    pub(super) fn push(
        &mut self,
        kind: BlockKind,
        text: &str,
        page: Option<u32>,
    ) -> Result<(), ExtractError> {
        let text = match kind {
            BlockKind::Code => code(text),
            BlockKind::TableRow => one_line(text),
            _ => prose(text),
        };
        if text.is_empty() {
            return Ok(());
        }
        self.append(kind, &text, page)
    }

    pub(super) fn finish(self) -> Result<Document, ExtractError> {
        if self.document.blocks.is_empty() {
            return Err(ExtractError::NoText);
        }
        Ok(self.document)
    }

    fn append(
        &mut self,
        kind: BlockKind,
        text: &str,
        page: Option<u32>,
    ) -> Result<(), ExtractError> {
        if let Some(last) = self.document.blocks.last() {
            let tight =
                last.kind == kind && matches!(kind, BlockKind::ListItem | BlockKind::TableRow);
            let gap = if tight { "\n" } else { "\n\n" };
            self.document.text.push_str(gap);
            self.chars += gap.len() as u64;
        }
        let start = self.chars;
        let end = start + text.chars().count() as u64;
        self.repeated += self.repeats();
        self.check(end)?;
        self.document.text.push_str(text);
        self.chars = end;
        self.document.blocks.push(Block {
            kind,
            char_start: offset(start)?,
            char_end: offset(end)?,
            page,
            spot: self.spot.clone(),
            heading_path: self
                .open
                .iter()
                .map(|(_, heading)| heading.clone())
                .collect(),
        });
        Ok(())
    }

    /// What the next block says beside its text.
    fn repeats(&self) -> u64 {
        let headings = self.open.iter().map(|(_, heading)| heading.len());
        let names = [&self.spot.part, &self.spot.sheet];
        let names = names.into_iter().flatten().map(String::len);
        headings.chain(names).sum::<usize>() as u64
    }

    fn check(&self, chars: u64) -> Result<(), ExtractError> {
        if chars > self.limits.max_text_chars {
            return Err(ExtractError::too_large(
                "characters of text",
                self.limits.max_text_chars,
            ));
        }
        if self.repeated > self.limits.max_repeated_bytes {
            return Err(ExtractError::too_large(
                "bytes of headings, repeated for each of its paragraphs",
                self.limits.max_repeated_bytes,
            ));
        }
        if self.document.blocks.len() as u64 >= self.limits.max_blocks {
            return Err(ExtractError::too_large(
                "paragraphs and rows",
                self.limits.max_blocks,
            ));
        }
        if chars > TEXT_RATIO_GRACE_CHARS && chars / self.limits.max_ratio.max(1) > self.input_bytes
        {
            return Err(ExtractError::refused(
                "it unfolds into far more text than it holds",
            ));
        }
        Ok(())
    }
}

/// Where the character with this number begins.
fn byte_of(text: &str, chars: u32) -> usize {
    let found = text.char_indices().nth(chars as usize);
    found.map_or(text.len(), |(at, _)| at)
}

fn offset(chars: u64) -> Result<u32, ExtractError> {
    u32::try_from(chars)
        .map_err(|_| ExtractError::too_large("characters of text", u64::from(u32::MAX)))
}

/// Whether a character has no place in stored text. Soft hyphens and byte-order marks are layout,
/// not content, and would hide a word from the search.
fn is_noise(c: char) -> bool {
    (c.is_control() && !c.is_whitespace())
        || matches!(
            c,
            '\u{ad}' | '\u{feff}' | '\u{200b}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Running text: single spaces, trimmed lines, no blank lines.
fn prose(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for line in text.split([
        '\n', '\r', '\u{2028}', '\u{2029}', '\u{85}', '\u{b}', '\u{c}',
    ]) {
        let before = clean.len();
        if before > 0 {
            clean.push('\n');
        }
        let line_start = clean.len();
        append_words(&mut clean, line);
        if clean.len() == line_start {
            clean.truncate(before);
        }
    }
    clean
}

/// The same in one line.
pub(super) fn one_line(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    append_words(&mut clean, text);
    clean
}

fn append_words(clean: &mut String, text: &str) {
    let start = clean.len();
    let mut space = false;
    for c in text.chars() {
        if c.is_whitespace() {
            space = true;
        } else if !is_noise(c) {
            if space && clean.len() > start {
                clean.push(' ');
            }
            space = false;
            clean.push(c);
        }
    }
}

/// Preformatted text: lines and indentation stay, tabs become four spaces.
fn code(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for line in text.lines() {
        for c in line.trim_end().chars() {
            match c {
                '\t' => clean.push_str("    "),
                c if c.is_control() || is_noise(c) => {}
                c => clean.push(c),
            }
        }
        clean.push('\n');
    }
    let end = clean.trim_end().len();
    clean.truncate(end);
    // Blank lines at the start go, the indentation of the first line stays.
    let first = clean.find(|c: char| !c.is_whitespace()).unwrap_or(0);
    let line_start = clean[..first].rfind('\n').map_or(0, |at| at + 1);
    clean.split_off(line_start)
}
