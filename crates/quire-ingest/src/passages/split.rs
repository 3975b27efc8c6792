//! Cuts blocks that are too long for one passage: at sentences, else at words, else anywhere.
//!
//! Works through a window of bounded size, so that a text without any boundary costs linear time.

use quire_types::TimeSpan;
use unicode_segmentation::UnicodeSegmentation;

use super::chars::CharIndex;
use super::pack::Sizes;
use crate::extract::{Block, BlockKind, Document};

/// "e.g.", "no.", "vs.": shorter words before a full stop may go on behind it.
const LONGEST_ABBREVIATION: usize = 3;
/// Two stretches that share a passage reach no further together.
const LONGEST_TIME_MS: u64 = 120_000;

/// A block, or a piece of one, that is never cut again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) block: usize,
    pub(super) kind: BlockKind,
    /// Grows where a passage must end: between slides, sheets, attachments and far moments.
    pub(super) region: u32,
    pub(super) start: u32,
    pub(super) end: u32,
    /// Where to start instead if the piece before it is in another passage.
    pub(super) overlap_start: u32,
    pub(super) weight: u32,
    /// The weight of what stands between `overlap_start` and `start`.
    pub(super) overlap_weight: u32,
}

/// What a character costs: see [`super::PassageOptions`].
pub(super) fn weight(c: char) -> u32 {
    match u32::from(c) {
        0..0x370 => 1,
        0x370..0x2000 => 2,
        // Punctuation and symbols.
        0x2000..0x2E80 => 1,
        _ => 4,
    }
}

pub(super) fn units(document: &Document, index: &CharIndex, sizes: &Sizes) -> Vec<Unit> {
    let mut units = Vec::with_capacity(document.blocks.len());
    let mut region = 0;
    let mut before: Option<&Block> = None;
    for (block, known) in document.blocks.iter().enumerate() {
        let goes_on = before.is_none_or(|before| {
            before.spot.may_join(&known.spot) && is_soon(before.spot.time, known.spot.time)
        });
        region += u32::from(!goes_on);
        before = Some(known);
        let end = known.char_end.min(index.chars());
        let text = index.slice(&document.text, known.char_start, end);
        split(text, known.char_start, sizes, |piece| {
            units.push(Unit {
                block,
                kind: known.kind,
                region,
                ..piece
            });
        });
    }
    units
}

/// Whether two stretches of a recording may share a passage: nobody wants to be taken to two minutes of it, and what
/// goes back in time is told by somebody else.
fn is_soon(before: Option<TimeSpan>, next: Option<TimeSpan>) -> bool {
    let (Some(before), Some(next)) = (before, next) else {
        return true;
    };
    let end_ms = before.end_ms.max(next.end_ms);
    before.start_ms <= next.start_ms && end_ms.saturating_sub(before.start_ms) <= LONGEST_TIME_MS
}

/// Cuts one block and hands out its pieces in order.
fn split(text: &str, char_start: u32, sizes: &Sizes, mut found: impl FnMut(Unit)) {
    let (mut rest, mut at) = (text, char_start);
    let (mut left, mut overlap, mut overlap_weight) =
        (text.chars().map(weight).fold(0, u32::saturating_add), 0, 0);
    loop {
        let blank = rest.len() - rest.trim_start().len();
        let skipped = rest[..blank].chars().count() as u32;
        left = left.saturating_sub(rest[..blank].chars().map(weight).sum());
        (rest, at, overlap) = (
            &rest[blank..],
            at + skipped,
            if overlap > 0 { overlap + skipped } else { 0 },
        );
        if rest.is_empty() {
            return;
        }
        let cut = if left <= sizes.piece_max {
            Cut::whole(rest)
        } else {
            next_cut(rest, left, sizes)
        };
        let piece = rest[..cut.end].trim_end();
        let chars = piece.chars().count() as u32;
        found(Unit {
            block: 0,
            kind: BlockKind::Paragraph,
            region: 0,
            start: at,
            end: at + chars,
            overlap_start: at - overlap,
            weight: piece.chars().map(weight).sum(),
            overlap_weight,
        });
        let taken = &rest[..cut.end];
        let last_sentence = &taken[cut.last_sentence..];
        let last_weight = last_sentence.chars().map(weight).sum();
        // A sentence that is the whole piece would repeat the piece.
        let repeats = cut.last_sentence > 0 && last_weight <= sizes.overlap;
        (overlap, overlap_weight) = if repeats {
            (last_sentence.chars().count() as u32, last_weight)
        } else {
            (0, 0)
        };
        left = left.saturating_sub(taken.chars().map(weight).sum());
        at += taken.chars().count() as u32;
        rest = &rest[cut.end..];
    }
}

/// Byte offsets into the rest of a block.
struct Cut {
    end: usize,
    last_sentence: usize,
}

impl Cut {
    fn whole(rest: &str) -> Self {
        Self {
            end: rest.len(),
            last_sentence: 0,
        }
    }
}

fn next_cut(rest: &str, left: u32, sizes: &Sizes) -> Cut {
    // Two even pieces are better than a full one and a stump.
    let aim = if left < sizes.piece_max * 2 {
        left / 2
    } else {
        sizes.piece
    };
    let window = prefix(rest, sizes.piece_max);
    let least = prefix(rest, aim / 2).len();
    let aimed = prefix(rest, aim);
    let aim = aimed.len();

    let sentences = sentence_starts(window);
    let fitting = sentences
        .iter()
        .enumerate()
        .filter(|(_, start)| **start >= least);
    if let Some((at, end)) = fitting.min_by_key(|(_, start)| start.abs_diff(aim)) {
        return Cut {
            end: *end,
            last_sentence: at.checked_sub(1).map_or(0, |before| sentences[before]),
        };
    }
    let word = aimed
        .char_indices()
        .rev()
        .find(|(at, c)| c.is_whitespace() && *at >= least);
    if let Some((end, _)) = word {
        return Cut {
            end,
            last_sentence: 0,
        };
    }
    // No boundary at all: keep letters together with their accents if that is cheap.
    let end = window
        .grapheme_indices(true)
        .next_back()
        .map_or(window.len(), |(at, _)| at);
    Cut {
        end: if end >= least && end > 0 {
            end
        } else {
            window.len()
        },
        last_sentence: 0,
    }
}

/// Where sentences begin, from zero. The rules of Unicode (UAX #29) see no end before a small letter, so a text without
/// capitals would be one sentence: there, a full stop behind a word ends one, too.
fn sentence_starts(window: &str) -> Vec<usize> {
    let text = unwrapped(window);
    let mut starts: Vec<usize> = text
        .split_sentence_bound_indices()
        .map(|(start, _)| start)
        .collect();
    if has_capitals(&text) {
        return starts;
    }
    let stops = text.match_indices(". ");
    let words = stops.filter(|(at, _)| {
        let word = text[..*at].rsplit(char::is_whitespace).next().unwrap_or("");
        word.chars().count() > LONGEST_ABBREVIATION && !word.contains('.')
    });
    starts.extend(words.map(|(at, stop)| at + stop.len()));
    starts.sort_unstable();
    starts.dedup();
    starts
}

/// Whether a text is written with capitals: one letter in two hundred, far fewer than there are sentences.
fn has_capitals(text: &str) -> bool {
    let large = text.chars().filter(|c| c.is_uppercase()).count();
    let small = text.chars().filter(|c| c.is_lowercase()).count();
    large * 200 >= small
}

/// A line break before a small letter is no end of a sentence. Lengths stay.
fn unwrapped(window: &str) -> String {
    let mut text = String::with_capacity(window.len());
    let mut chars = window.chars().peekable();
    while let Some(c) = chars.next() {
        let is_wrap = c == '\n' && chars.peek().is_some_and(|next| next.is_lowercase());
        text.push(if is_wrap { ' ' } else { c });
    }
    text
}

/// The longest beginning that is not heavier than `most`, at least one character.
fn prefix(text: &str, most: u32) -> &str {
    let mut sum = 0;
    let end = text.char_indices().find(|(at, c)| {
        sum += weight(*c);
        sum > most && *at > 0
    });
    end.map_or(text, |(at, _)| &text[..at])
}
