//! Where in a source something stands, so that a person can be taken there.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// Where a passage stands in its source: in the extracted text always, in the original as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Page, counted from 1, where the source has pages; of several the first.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub page: Option<u32>,
    /// The place in originals that are no pages.
    #[serde(flatten)]
    pub spot: Spot,
    /// Headings above the passage, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub heading_path: Vec<String>,
    /// First character, counted in Unicode scalar values from 0.
    pub char_start: u32,
    /// One past the last character.
    pub char_end: u32,
}

/// A place in an original that is a container, a presentation, a workbook or a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spot {
    /// The name of the attachment, or the names of one inside the other with ` › ` between them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub part: Option<String>,
    /// Slide, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub slide: Option<u32>,
    /// The name of a sheet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sheet: Option<String>,
    /// Cells of the sheet or table.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cells: Option<Cells>,
    /// From when to when in a recording.
    #[serde(flatten)]
    pub time: Option<TimeSpan>,
    /// Where the pages begin that come after the first one.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub turns: Vec<Turn>,
    /// The stretches of a recording that it is made of, where these are several.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub moments: Vec<Moment>,
}

/// When something is said or seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// From when to when.
    #[serde(flatten)]
    pub time: TimeSpan,
    /// Its first character, counted as those of the place.
    pub at: u32,
}

/// The beginning of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The page, counted from 1.
    pub page: u32,
    /// Its first character, counted as those of the place.
    pub at: u32,
}

/// A rectangle of cells, printed as spreadsheets do: `B2:D7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cells {
    /// First column, from 0.
    pub left: u32,
    /// First row, from 0.
    pub top: u32,
    /// Last column.
    pub right: u32,
    /// Last row.
    pub bottom: u32,
}

/// A part of a recording, in milliseconds from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeSpan {
    /// Where it begins.
    pub start_ms: u64,
    /// Where it ends.
    pub end_ms: u64,
}

impl Place {
    /// The place of a part of it, whose characters count from its beginning.
    #[must_use]
    pub fn part(&self, chars: Range<u32>) -> Self {
        let char_start = self.char_start + chars.start;
        let char_end = self.char_start + chars.end;
        let turns = &self.spot.turns;
        let begun = turns.iter().take_while(|turn| turn.at <= char_start);
        let inside = |turn: &&Turn| turn.at > char_start && turn.at < char_end;
        let moments = self.moments_between(char_start, char_end);
        let time = moments
            .iter()
            .map(|moment| moment.time)
            .reduce(TimeSpan::join);
        Self {
            page: begun.last().map_or(self.page, |turn| Some(turn.page)),
            spot: Spot {
                turns: turns.iter().filter(inside).copied().collect(),
                time: time.or(self.spot.time),
                moments: if moments.len() > 1 {
                    moments
                } else {
                    Vec::new()
                },
                ..self.spot.clone()
            },
            heading_path: self.heading_path.clone(),
            char_start,
            char_end,
        }
    }

    /// Its parts page by page, whose characters count from its beginning.
    pub fn pages(&self) -> Vec<Range<u32>> {
        self.parts(self.spot.turns.iter().map(|turn| turn.at))
    }

    /// Its parts stretch by stretch of a recording, counted alike.
    pub fn stretches(&self) -> Vec<Range<u32>> {
        let begins = self.spot.moments.iter().map(|moment| moment.at);
        self.parts(begins.filter(|at| *at > self.char_start))
    }

    /// The parts that begin at these characters after the first one.
    fn parts(&self, begins: impl Iterator<Item = u32>) -> Vec<Range<u32>> {
        let starts: Vec<u32> = std::iter::once(self.char_start).chain(begins).collect();
        let ends = starts.iter().copied().skip(1).chain([self.char_end]);
        let from_here = |at: u32| at.saturating_sub(self.char_start);
        let parts = starts.iter().zip(ends);
        parts
            .map(|(start, end)| from_here(*start)..from_here(end))
            .collect()
    }

    /// The stretches that reach into these characters of the source.
    fn moments_between(&self, char_start: u32, char_end: u32) -> Vec<Moment> {
        let moments = &self.spot.moments;
        let ends = moments.iter().skip(1).map(|next| next.at).chain([u32::MAX]);
        let inside = |(moment, end): &(&Moment, u32)| {
            moment.at < char_end.max(char_start.saturating_add(1)) && *end > char_start
        };
        let found = moments.iter().zip(ends).filter(inside);
        found.map(|(moment, _)| *moment).collect()
    }
}

impl TimeSpan {
    /// The shortest one that holds both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        Self {
            start_ms: self.start_ms.min(other.start_ms),
            end_ms: self.end_ms.max(other.end_ms),
        }
    }
}

impl Spot {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether one passage may hold both: nobody can be taken to two slides at once.
    pub fn may_join(&self, other: &Self) -> bool {
        (&self.part, self.slide, &self.sheet) == (&other.part, other.slide, &other.sheet)
    }

    /// The smallest place that holds both, where one passage may.
    #[must_use]
    pub fn join(mut self, other: &Self) -> Self {
        self.cells = match (self.cells, other.cells) {
            (Some(one), Some(two)) => Some(Cells {
                left: one.left.min(two.left),
                top: one.top.min(two.top),
                right: one.right.max(two.right),
                bottom: one.bottom.max(two.bottom),
            }),
            (one, two) => one.or(two),
        };
        self.time = match (self.time, other.time) {
            (Some(one), Some(two)) => Some(one.join(two)),
            (one, two) => one.or(two),
        };
        self
    }
}

/// For people: `part quote.pdf, page 2`, `sheet Costs, cells A2:F9`, `0:12–0:31`. Empty for plain text.
impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spot = &self.spot;
        let known = [
            spot.part.as_ref().map(|part| format!("part {part}")),
            self.page.map(|page| format!("page {page}")),
            spot.slide.map(|slide| format!("slide {slide}")),
            spot.sheet.as_ref().map(|sheet| format!("sheet {sheet}")),
            spot.cells.map(|cells| format!("cells {cells}")),
            spot.time.map(|time| time.to_string()),
        ];
        let known: Vec<String> = known.into_iter().flatten().collect();
        out.write_str(&known.join(", "))
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}–{}", clock(self.start_ms), clock(self.end_ms))
    }
}

/// `m:ss`, or `h:mm:ss` from an hour on.
fn clock(ms: u64) -> String {
    let seconds = ms / 1000;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

impl fmt::Display for Cells {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", column(self.left), u64::from(self.top) + 1)?;
        if (self.left, self.top) != (self.right, self.bottom) {
            write!(out, ":{}{}", column(self.right), u64::from(self.bottom) + 1)?;
        }
        Ok(())
    }
}

/// The letters of a column: A, …, Z, AA, …
fn column(mut at: u32) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(b'A' + u8::try_from(at % 26).unwrap_or(0));
        match (at / 26).checked_sub(1) {
            Some(next) => at = next,
            None => break,
        }
    }
    letters
        .iter()
        .rev()
        .map(|letter| char::from(*letter))
        .collect()
}

/// A text that names no cells.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' names no cells: write B2 or B2:D7")]
pub struct NoCells(pub String);

impl std::str::FromStr for Cells {
    type Err = NoCells;

    fn from_str(text: &str) -> Result<Self, NoCells> {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let ends = cell(first).zip(cell(last));
        let ((left, top), (right, bottom)) =
            ends.ok_or_else(|| NoCells(text.chars().take(64).collect()))?;
        Ok(Self {
            left,
            top,
            right,
            bottom,
        })
    }
}

/// Column and row of `B7`, from 0.
fn cell(text: &str) -> Option<(u32, u32)> {
    let digits = text.find(|c: char| c.is_ascii_digit())?;
    let column = text[..digits].bytes().try_fold(0_u32, |sum, letter| {
        let letter = letter.is_ascii_uppercase().then(|| letter - b'A')?;
        sum.checked_mul(26)?.checked_add(u32::from(letter) + 1)
    })?;
    let row: u32 = text[digits..].parse().ok()?;
    Some((column.checked_sub(1)?, row.checked_sub(1)?))
}

impl TryFrom<String> for Cells {
    type Error = NoCells;

    fn try_from(text: String) -> Result<Self, NoCells> {
        text.parse()
    }
}

impl From<Cells> for String {
    fn from(cells: Cells) -> Self {
        cells.to_string()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn cells_are_named_as_spreadsheets_name_them() {
        for (text, cells) in [
            ("A1", (0, 0, 0, 0)),
            ("Z9:AA10", (25, 8, 26, 9)),
            ("B2:XFD1048576", (1, 1, 16_383, 1_048_575)),
            ("ZZ1:AAA1", (701, 0, 702, 0)),
        ] {
            let (left, top, right, bottom) = cells;
            let cells = Cells {
                left,
                top,
                right,
                bottom,
            };
            assert_eq!(text.parse(), Ok(cells));
            assert_eq!(cells.to_string(), text);
        }
        for text in [
            "",
            "A",
            "1",
            "A0",
            "a1",
            "A1:",
            "AAAAAAAAAAAAAA1",
            "A99999999999",
        ] {
            assert!(text.parse::<Cells>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_place_survives_json_and_reads_well() {
        let place = Place {
            page: Some(2),
            spot: Spot {
                part: Some("quote.pdf".to_owned()),
                time: Some(TimeSpan {
                    start_ms: 12_400,
                    end_ms: 3_671_000,
                }),
                cells: "B2:D7".parse().ok(),
                ..Spot::default()
            },
            char_end: 9,
            ..Place::default()
        };
        let json = serde_json::to_value(&place).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"page": 2, "part": "quote.pdf", "cells": "B2:D7", "start_ms": 12_400,
                "end_ms": 3_671_000, "char_start": 0, "char_end": 9})
        );
        assert_eq!(serde_json::from_value::<Place>(json).unwrap(), place);
        assert_eq!(
            place.to_string(),
            "part quote.pdf, page 2, cells B2:D7, 0:12–1:01:11"
        );
        let bare = serde_json::json!({"char_start": 0, "char_end": 1});
        let bare: Place = serde_json::from_value(bare).unwrap();
        assert!(bare.spot.is_empty() && bare.to_string().is_empty());
    }

    #[test]
    fn a_part_of_a_recording_is_said_when_its_words_are() {
        let moment = |start_ms, at| Moment {
            time: TimeSpan {
                start_ms,
                end_ms: start_ms + 900,
            },
            at,
        };
        let moments = vec![moment(0, 10), moment(5_000, 40), moment(9_000, 60)];
        let place = Place {
            spot: Spot {
                time: Some(TimeSpan {
                    start_ms: 0,
                    end_ms: 9_900,
                }),
                moments,
                ..Spot::default()
            },
            char_start: 10,
            char_end: 90,
            ..Place::default()
        };
        let time = |chars| place.part(chars).to_string();
        assert_eq!(time(0..29), "0:00–0:00");
        assert_eq!(time(35..40), "0:05–0:05");
        assert_eq!(time(35..80), "0:05–0:09");
        assert_eq!(time(0..80), place.to_string());
        assert_eq!(place.part(0..80).spot.moments.len(), 3);
        assert_eq!(place.stretches(), [0..30, 30..50, 50..80]);
        let json = serde_json::to_value(&place).unwrap();
        assert_eq!(serde_json::from_value::<Place>(json).unwrap(), place);
    }

    #[test]
    fn a_part_of_a_place_stands_on_the_page_where_it_begins() {
        let turn = |page, at| Turn { page, at };
        let place = Place {
            page: Some(3),
            spot: Spot {
                turns: vec![turn(4, 150), turn(6, 180)],
                ..Spot::default()
            },
            char_start: 100,
            char_end: 200,
            ..Place::default()
        };
        assert_eq!(place.pages(), [0..50, 50..80, 80..100]);
        let part = |chars| {
            let part = place.part(chars);
            let turns: Vec<u32> = part.spot.turns.iter().map(|turn| turn.page).collect();
            (part.page, part.char_start, part.char_end, turns)
        };
        assert_eq!(part(0..100), (Some(3), 100, 200, vec![4, 6]));
        assert_eq!(part(10..50), (Some(3), 110, 150, vec![]));
        assert_eq!(part(49..60), (Some(3), 149, 160, vec![4]));
        assert_eq!(part(50..90), (Some(4), 150, 190, vec![6]));
        assert_eq!(part(99..100), (Some(6), 199, 200, vec![]));
        let json = serde_json::to_value(&place).unwrap();
        assert_eq!(
            json["turns"],
            serde_json::json!([{"page": 4, "at": 150}, {"page": 6, "at": 180}])
        );
        assert_eq!(serde_json::from_value::<Place>(json).unwrap(), place);
    }
}
