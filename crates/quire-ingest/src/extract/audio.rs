//! Sound: its length and format from ffmpeg, its words with times from a recogniser on this machine.
//!
//! The local recogniser is pocketsphinx with its English model. It needs nothing but packages, and it gets
//! many words wrong (`docs/media.md` says how it was tried); whoever reads its text is told so. What others heard before
//! takes its place.

use std::path::Path;

use quire_types::{Spot, TimeSpan};

use super::builder::Builder;
use super::document::{BlockKind, Document};
use super::drawing::Part;
use super::error::ExtractError;
use super::heard::Heard;
use super::limits::Limits;
use super::meter::Meter;
use super::recording::{self, Facts};
use super::speech::{self, Utterance};
use super::tool::{Tool, ffmpeg_with, on_disk, scratch, seconds};

/// Sound that is recognised by one process, so that a long recording runs into no limit of one.
const PART_MS: u64 = 300_000;
/// How far before its end a part may end in a pause, a quarter of it at most.
const TAIL_MS: u64 = 15_000;
/// Samples of a tenth of a second, at 16 kHz. So many times quieter than the rest is a pause.
const WINDOW: usize = 1_600;
const WINDOW_MS: u64 = 100;
const SAMPLES_PER_MS: u64 = 16;
const PAUSE: u64 = 4;
const WORDS_BYTES: u64 = 16 << 20;

pub(super) fn read(
    bytes: &[u8],
    heard: &Heard,
    limits: &Limits,
    meter: Meter<'_>,
) -> Result<Document, ExtractError> {
    let demuxer = recording::demuxer(bytes)?;
    let file = on_disk(bytes, "")?;
    let facts = recording::probe(file.path(), demuxer, limits)?;
    let mut builder = Builder::new(limits, bytes.len());
    if let Some(title) = &facts.title {
        builder.title(title);
    }
    builder.duration(facts.duration_ms, facts.has_sound);
    let utterances = words(file.path(), demuxer, &facts, heard, meter)?;
    let has_words = !utterances.is_empty();
    describe("Recording", &facts, has_words, heard, &mut builder)?;
    speech::write(utterances, &mut builder)?;
    builder.finish()
}

/// A sentence that says what was recorded and how far its words can be trusted.
pub(super) fn describe(
    what: &str,
    facts: &Facts,
    has_words: bool,
    heard: &Heard,
    builder: &mut Builder<'_>,
) -> Result<(), ExtractError> {
    let length = facts.duration_ms.div_ceil(1000);
    let mut text = format!("{what} of {} min {} s", length / 60, length % 60);
    if let Some((width, height)) = facts.picture {
        text += &format!(", {width} × {height} pixels");
    }
    if let Some(made_at) = &facts.made_at {
        text += &format!(", made {made_at}");
    }
    text += &format!(" ({}).", facts.format);
    text += &match (has_words, heard.parts.is_empty()) {
        (true, true) => {
            " Its words were recognised by a program on this machine, which gets many of them wrong."
                .to_owned()
        }
        (true, false) => heard.told(&heard.rest(facts.duration_ms, PART_MS)),
        (false, _) => " No words were recognised in it.".to_owned(),
    };
    builder.at(Spot {
        time: Some(facts.time()),
        ..Spot::default()
    });
    builder.push(BlockKind::Paragraph, &text, None)?;
    builder.at(Spot::default());
    Ok(())
}

/// What is said in a recording, in order.
pub(super) fn words(
    file: &Path,
    demuxer: &str,
    facts: &Facts,
    heard: &Heard,
    meter: Meter<'_>,
) -> Result<Vec<Utterance>, ExtractError> {
    if !facts.has_sound {
        return Ok(Vec::new());
    }
    let known = heard.parts.iter().flat_map(|part| &part.utterances);
    let mut utterances: Vec<Utterance> = known.cloned().collect();
    let folder = scratch()?;
    let wave = folder.path().join("part.wav");
    // Of a recording that does not know its length there is at least a second.
    let rest = heard.rest(facts.duration_ms.max(1_000), PART_MS);
    for (done, (start, end)) in rest.iter().enumerate() {
        meter.at(done, rest.len());
        sound(file, demuxer, (*start, *end))
            .args(["-f", "wav"])
            .arg(&wave)
            .need(1 << 20, "recording")?;
        let said = Tool::new("pocketsphinx_continuous", "pocketsphinx pocketsphinx-en-us")
            .arg("-infile")
            .arg(&wave)
            .args(["-time", "yes", "-logfn", "/dev/null"])
            .need(WORDS_BYTES, "recording")?;
        utterances.extend(parse(&String::from_utf8_lossy(&said), *start));
    }
    utterances.sort_by_key(|one| one.time.start_ms);
    Ok(utterances)
}

/// The sound between two moments, 16 kHz of one channel. Its samples are counted, since times are what a file says.
fn sound(file: &Path, demuxer: &str, (start_ms, end_ms): (u64, u64)) -> Tool {
    let length_ms = end_ms - start_ms;
    let (start, length) = (seconds(start_ms), seconds(length_ms));
    let samples = length_ms * SAMPLES_PER_MS;
    ffmpeg_with(&["-ss", &start, "-t", &length], demuxer, file)
        .args(["-vn", "-sn", "-dn", "-ac", "1", "-ar", "16000"])
        .args([
            "-af",
            &format!("aresample=16000,atrim=end_sample={samples}"),
        ])
}

/// A part of the sound of a recording as a small file of one channel, FLAC, and how long it is: no longer than asked, and
/// shorter where somebody pauses before its end, so that no word is cut in two. Nothing where there is no sound.
pub(super) fn part(
    file: &Path,
    demuxer: &str,
    facts: &Facts,
    part: Part,
) -> Result<(Vec<u8>, u64), ExtractError> {
    if !facts.has_sound {
        return Ok((Vec::new(), 0));
    }
    let (start_ms, mut end_ms) = (part.start_ms, part.end_ms.max(part.start_ms + 1));
    if !part.is_last {
        let tail_ms = end_ms - TAIL_MS.min((end_ms - start_ms) / 4);
        let tail = sound(file, demuxer, (tail_ms, end_ms))
            .args(["-f", "s16le", "-"])
            .run(1 << 20)?;
        if let Some(pause) = pause(&tail.stdout) {
            end_ms = tail_ms + pause;
        }
    }
    let folder = scratch()?;
    let flac = folder.path().join("part.flac");
    sound(file, demuxer, (start_ms, end_ms))
        .args(["-c:a", "flac", "-f", "flac"])
        .arg(&flac)
        .need(1 << 20, "recording")?;
    let flac = std::fs::read(&flac);
    let flac = flac.map_err(|error| ExtractError::unavailable("no part of the sound", error))?;
    Ok((flac, end_ms - start_ms))
}

/// The middle of the quietest tenth of a second, in milliseconds, if it is a pause beside the rest.
fn pause(samples: &[u8]) -> Option<u64> {
    let loudness: Vec<u64> = samples
        .chunks_exact(2 * WINDOW)
        .map(|window| {
            let samples = window.as_chunks::<2>().0.iter();
            samples
                .map(|sample| u64::from(i16::from_le_bytes(*sample).unsigned_abs()))
                .sum()
        })
        .collect();
    let mean = loudness.iter().sum::<u64>() / (loudness.len() as u64).max(1);
    // Of equally quiet ones the last.
    let windows = (0_u64..).zip(loudness);
    let (at, quietest) = windows.min_by_key(|(at, loud)| (*loud, u64::MAX - at))?;
    (quietest * PAUSE < mean).then_some(at * WINDOW_MS + WINDOW_MS / 2)
}

/// The recogniser prints a line for each stretch of speech, then its words: `pour(2) 1.29 1.57 0.75`.
fn parse(said: &str, offset_ms: u64) -> Vec<Utterance> {
    let mut utterances: Vec<Utterance> = Vec::new();
    let mut starts_anew = true;
    for line in said.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [word, start, end, probability] = fields[..] else {
            continue;
        };
        let at = |text: &str| {
            let seconds: f64 = text.parse().ok()?;
            // Positive and below a day.
            (0.0..86_400.0)
                .contains(&seconds)
                .then(|| offset_ms + (seconds * 1000.0) as u64)
        };
        let (Some(start_ms), Some(end_ms), Ok(_)) =
            (at(start), at(end), probability.parse::<f64>())
        else {
            continue;
        };
        match word {
            "<s>" | "</s>" => starts_anew = true,
            _ if word.starts_with(['<', '[', '+']) => {}
            _ => {
                let word = word.split('(').next().unwrap_or(word);
                match utterances.last_mut().filter(|_| !starts_anew) {
                    Some(open) => {
                        open.text.push(' ');
                        open.text.push_str(word);
                        open.time.end_ms = end_ms;
                    }
                    None => utterances.push(Utterance {
                        time: TimeSpan { start_ms, end_ms },
                        speaker: None,
                        text: word.to_owned(),
                    }),
                }
                starts_anew = false;
            }
        }
    }
    utterances
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_in_the_quietest_pause_before_its_end() {
        let tenths = |loud: &[i16]| -> Vec<u8> {
            let all = loud
                .iter()
                .flat_map(|loud| vec![loud.to_le_bytes(); WINDOW]);
            all.flatten().collect()
        };
        let said = tenths(&[900, 800, -10, 700, 10, 900, 800, 900]);
        assert_eq!(pause(&said), Some(450));
        // Somebody talks on, nobody says anything, or there is no sound.
        assert_eq!(pause(&tenths(&[900, 400, 900, 800])), None);
        assert_eq!(pause(&tenths(&[0, 0, 0])), None);
        assert_eq!(pause(&[]), None);
    }

    #[test]
    fn words_become_stretches_of_speech_with_times() {
        let said = "pour the\n<s> 0.000 0.020 0.99\npour(2) 0.030 0.110 0.1\n<sil> 0.120 0.190 0.5\n\
            the 0.200 0.770 0.1\n</s> 1 1.1 1\nnow\n<s> 4.89 4.98 1\nnow 5.0 5.5 0.2\n++UH++ 5.5 5.6 1\n";
        let found = parse(said, 300_000);
        let found: Vec<(u64, u64, &str)> = found
            .iter()
            .map(|one| (one.time.start_ms, one.time.end_ms, one.text.as_str()))
            .collect();
        assert_eq!(
            found,
            [(300_030, 300_770, "pour the"), (305_000, 305_500, "now")]
        );
    }
}
