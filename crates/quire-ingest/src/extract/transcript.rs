//! Transcripts with times: WebVTT (.vtt) and SubRip (.srt).
//!
//! Both are blocks of lines: a line with two times, then what was said. Whatever has no times (notes,
//! styles, numbers) is no speech. [`Script`] writes what [`read`] reads.

use quire_types::TimeSpan;

use super::builder::{Builder, one_line};
use super::document::{Block, Document};
use super::error::ExtractError;
use super::limits::Limits;
use super::speech::{self, Utterance};
use super::text::decode;

const ARROW: &str = "-->";

pub(super) fn read(bytes: &[u8], limits: &Limits) -> Result<Document, ExtractError> {
    let text = decode(bytes, None)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    let mut builder = Builder::new(limits, bytes.len());
    let mut utterances = Vec::new();
    for block in text.split("\n\n") {
        let mut lines = block.lines().skip_while(|line| times(line).is_none());
        let Some(time) = lines.next().and_then(times) else {
            continue;
        };
        let said: Vec<&str> = lines.collect();
        utterances.push(utterance(time, &said.join(" ")));
    }
    speech::write(utterances, &mut builder)?;
    builder.finish()
}

/// Whether a text has times where a transcript has them.
pub(crate) fn looks_like_transcript(sample: &str) -> bool {
    let is_vtt = sample
        .strip_prefix("WEBVTT")
        .is_some_and(|rest| rest.starts_with([' ', '\t', '\n', '\r']));
    let mut lines = sample
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let is_number = |line: &str| line.chars().all(|c| c.is_ascii_digit());
    is_vtt
        || (lines.next().is_some_and(is_number)
            && lines.next().is_some_and(|line| times(line).is_some()))
}

/// The times of a line such as `00:01:02.500 --> 00:01:04.000 align:start`.
fn times(line: &str) -> Option<TimeSpan> {
    let (start, rest) = line.split_once(ARROW)?;
    let start_ms = clock(start.trim())?;
    let end_ms = clock(rest.split_whitespace().next()?)?;
    Some(TimeSpan {
        start_ms,
        end_ms: end_ms.max(start_ms),
    })
}

/// `h:mm:ss.fff`, `mm:ss.fff`, with a dot or a comma.
fn clock(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once(['.', ',']).unwrap_or((text, "0"));
    let mut seconds = 0_u64;
    let mut parts = 0;
    for part in whole.split(':') {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
        parts += 1;
    }
    let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    (2..=3)
        .contains(&parts)
        .then(|| seconds.checked_mul(1000)?.checked_add(millis))?
}

fn utterance(time: TimeSpan, said: &str) -> Utterance {
    let (voice, plain) = without_tags(said);
    let (speaker, text) = match voice {
        Some(voice) => (Some(voice), plain),
        None => match named(&plain) {
            Some((name, text)) => (Some(name.to_owned()), text.to_owned()),
            None => (None, plain),
        },
    };
    Utterance {
        time,
        speaker,
        text,
    }
}

/// Text without tags, and the name in the first `<v Name>`.
fn without_tags(said: &str) -> (Option<String>, String) {
    let (mut voice, mut plain) = (None, String::new());
    let mut rest = said;
    while let Some((before, tag)) = rest.split_once('<') {
        plain.push_str(before);
        let Some((tag, after)) = tag.split_once('>') else {
            plain.push('<');
            rest = tag;
            continue;
        };
        if let Some(name) = tag.strip_prefix("v ").or_else(|| {
            let (class, name) = tag.split_once(' ')?;
            class.starts_with("v.").then_some(name)
        }) {
            voice.get_or_insert_with(|| name.trim().to_owned());
        }
        rest = after;
    }
    plain.push_str(rest);
    let plain = plain
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&nbsp;", " ")
        .replace("&amp;", "&");
    (voice.filter(|voice| !voice.is_empty()), plain)
}

/// A transcript that is being written, as WebVTT.
pub(crate) struct Script(String);

impl Script {
    /// Begins with what is known about the meeting, at its first moment.
    pub(crate) fn begin(about: &str) -> Self {
        let mut script = Self("WEBVTT\n".to_owned());
        let first = TimeSpan {
            start_ms: 0,
            end_ms: 0,
        };
        script.cue(first, &format!("<v About>{}", escaped(about)));
        script
    }

    /// Adds what was said in a part of the meeting that begins at this moment of it.
    pub(crate) fn add(&mut self, start_ms: u64, document: &Document) {
        let chars: Vec<char> = document.text.chars().collect();
        let said = |block: &Block| -> String {
            let range = block.char_start as usize..block.char_end as usize;
            chars.get(range).unwrap_or_default().iter().collect()
        };
        for block in &document.blocks {
            if let Some(time) = block.spot.time {
                let time = TimeSpan {
                    start_ms: start_ms.saturating_add(time.start_ms),
                    end_ms: start_ms.saturating_add(time.end_ms),
                };
                self.cue(time, &escaped(&said(block)));
            }
        }
    }

    fn cue(&mut self, time: TimeSpan, text: &str) {
        let clock = |ms: u64| {
            let (seconds, ms) = (ms / 1_000, ms % 1_000);
            let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
            format!("{hours:02}:{minutes:02}:{:02}.{ms:03}", seconds % 60)
        };
        let (start, end) = (clock(time.start_ms), clock(time.end_ms));
        self.0
            .push_str(&format!("\n{start} {ARROW} {end}\n{text}\n"));
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// Text on one line that can be taken neither for a tag nor for a time.
fn escaped(text: &str) -> String {
    one_line(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A name before a colon, as meeting programs write it: `Marian Holt: Good morning.`
fn named(text: &str) -> Option<(&str, &str)> {
    let (name, said) = text.split_once(": ")?;
    let name = name.trim();
    let words = name.split_whitespace().count();
    let is_name = (1..=4).contains(&words)
        && name.chars().count() <= 60
        && name.starts_with(char::is_uppercase)
        && !name.contains(['.', ',', '?', '!']);
    is_name.then_some((name, said.trim()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn what_is_written_is_read_again_with_shifted_times() {
        let limits = Limits::default();
        let given = "WEBVTT\n\n1\n00:00:01.000 --> 00:00:03.500\nDana Ruiz: 3 &lt; 4 &amp; \"--&gt;\" is <b>an</b> arrow.\n\n\
                     2\n00:00:09.000 --> 00:00:10.000\nNobody in particular.\n";
        let first = read(given.as_bytes(), &limits).unwrap();
        let mut script = Script::begin("Weekly <sync>\nwith Dana");
        script.add(0, &first);
        script.add(3_600_000, &first);
        let again = read(script.finish().as_bytes(), &limits).unwrap();
        let times: Vec<(u64, u64)> = again
            .blocks
            .iter()
            .filter_map(|block| block.spot.time)
            .map(|time| (time.start_ms, time.end_ms))
            .collect();
        let expected = [
            (0, 0),
            (1_000, 3_500),
            (9_000, 10_000),
            (3_601_000, 3_603_500),
            (3_609_000, 3_610_000),
        ];
        assert_eq!(times, expected, "{}", again.text);
        let lines: Vec<&str> = again.text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines[0], "About: Weekly <sync> with Dana");
        assert_eq!(lines[1], "Dana Ruiz: 3 < 4 & \"-->\" is an arrow.");
        assert_eq!(lines[2], lines[4]);
    }

    #[test]
    fn clocks_of_both_formats_are_read() {
        for (text, ms) in [
            ("00:00:01,250", Some(1_250)),
            ("01:02.5", Some(62_500)),
            ("100:00:00.000", Some(360_000_000)),
            ("12", None),
            ("a:b", None),
            ("99999999999999999999:00", None),
        ] {
            assert_eq!(clock(text), ms, "{text}");
        }
    }
}
