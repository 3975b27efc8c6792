//! Cutting a passage into quotable pieces: lines first, since a table row or a list item stands for
//! itself, then sentences.

use std::ops::Range;

use unicode_segmentation::UnicodeSegmentation;

/// A piece of a passage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sentence<'a> {
    pub(crate) text: &'a str,
    /// Where it stands, in characters from the beginning of the passage.
    pub(crate) chars: Range<u32>,
}

/// Pieces shorter than this are joined with the next: "No." and "e.g." end in a full stop, too.
const MIN_CHARS: usize = 25;

/// The sentences of a passage, trimmed, in order.
pub(crate) fn sentences(passage: &str) -> Vec<Sentence<'_>> {
    let mut found = Vec::new();
    let mut line_start = 0;
    for line in passage.split_inclusive('\n') {
        split_line(passage, line_start, line, &mut found);
        line_start += line.len();
    }
    found
}

fn split_line<'a>(passage: &'a str, line_start: usize, line: &str, found: &mut Vec<Sentence<'a>>) {
    let mut start = None;
    for (offset, piece) in line.split_sentence_bound_indices() {
        let from = *start.get_or_insert(line_start + offset);
        let to = line_start + offset + piece.len();
        let Some(text) = passage.get(from..to) else {
            continue;
        };
        let is_last = offset + piece.len() == line.len();
        if text.trim().chars().count() >= MIN_CHARS && !ends_in_abbreviation(text) || is_last {
            push(passage, from, text, found);
            start = None;
        }
    }
}

/// Whether the last word is one that a sentence does not end with.
fn ends_in_abbreviation(text: &str) -> bool {
    const ABBREVIATIONS: [&str; 16] = [
        "no.", "nos.", "mr.", "mrs.", "ms.", "dr.", "st.", "inc.", "co.", "e.g.", "i.e.",
        "approx.", "vs.", "fig.", "sec.", "art.",
    ];
    let last = text
        .split_whitespace()
        .next_back()
        .unwrap_or_default()
        .to_lowercase();
    let is_initial =
        last.len() == 2 && last.ends_with('.') && last.starts_with(char::is_alphabetic);
    is_initial || ABBREVIATIONS.contains(&last.trim_start_matches('('))
}

fn push<'a>(passage: &'a str, from: usize, text: &'a str, found: &mut Vec<Sentence<'a>>) {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return;
    }
    let leading = text.len() - text.trim_start().len();
    let before = passage
        .get(..from + leading)
        .map_or(0, |before| before.chars().count());
    let start = u32::try_from(before).unwrap_or(u32::MAX);
    let length = u32::try_from(trimmed.chars().count()).unwrap_or(u32::MAX);
    found.push(Sentence {
        text: trimmed,
        chars: start..start.saturating_add(length),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(passage: &str, expected: &[&str]) {
        let found = sentences(passage);
        assert_eq!(
            found
                .iter()
                .map(|sentence| sentence.text)
                .collect::<Vec<_>>(),
            expected
        );
        for sentence in found {
            let chars = sentence.chars.start as usize..sentence.chars.end as usize;
            let at_place: String = passage
                .chars()
                .skip(chars.start)
                .take(chars.len())
                .collect();
            assert_eq!(at_place, sentence.text);
        }
    }

    #[test]
    fn sentences_keep_their_place() {
        check("", &[]);
        check("  \n \n", &[]);
        check("One short line", &["One short line"]);
        check(
            "Größe über alles in Köln zählt. The retainage is 7.5% of each payment.  It ends later on, in May.",
            &[
                "Größe über alles in Köln zählt.",
                "The retainage is 7.5% of each payment.",
                "It ends later on, in May.",
            ],
        );
        check(
            "Item: tile; Total: $1,200\nItem: grout; Total: $90\n",
            &["Item: tile; Total: $1,200", "Item: grout; Total: $90"],
        );
    }

    #[test]
    fn abbreviations_and_initials_do_not_end_a_sentence() {
        check(
            "The change was approved by Mr. J. Alvarez on site. Invoice No. 1042 is open and overdue.",
            &[
                "The change was approved by Mr. J. Alvarez on site.",
                "Invoice No. 1042 is open and overdue.",
            ],
        );
    }
}
