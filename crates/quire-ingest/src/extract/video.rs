//! Films: what is said in them and what can be read in their pictures, on one timeline.
//!
//! Pictures are looked at more seldom the longer a film is, and read only where they change: a slide that
//! stands for ten minutes is one text. What is looked at is what whoever watches sees at that moment: the last picture
//! up to it. What they show besides text takes a vision model to say.

use std::path::Path;

use quire_types::TimeSpan;

use super::audio;
use super::builder::Builder;
use super::document::Document;
use super::error::ExtractError;
use super::heard::Heard;
use super::limits::Limits;
use super::meter::Meter;
use super::ocr;
use super::recording::{self, Facts};
use super::speech::{self, ON_SCREEN, Utterance};
use super::tool::{ffmpeg, ffmpeg_with, on_disk, scratch, seconds};

/// A picture is compared as 32 × 32 fields of grey. Where a new scene begins, so many of them differ by more
/// than a step.
const FIELDS: usize = 32 * 32;
const SCENE_FIELDS: usize = 8;
const FIELD_STEP: u8 = 10;
/// Pictures that are read at most; of more, so many that lie evenly among them.
const MAX_PICTURES: usize = 60;
/// The picture of a moment is looked for so long before it, and only then from the beginning.
const NEAR_MS: u64 = 10_000;
/// From this length on only whole pictures of the stream are decoded; those between add nothing.
const LONG_SECONDS: u64 = 600;
const READ_SIDE: u32 = 1_920;

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
    let mut timeline = audio::words(file.path(), demuxer, &facts, heard, meter.part(0, 2))?;
    let what = if facts.picture.is_some() {
        "Film"
    } else {
        "Recording"
    };
    let has_words = !timeline.is_empty();
    audio::describe(what, &facts, has_words, heard, &mut builder)?;
    if facts.picture.is_some() {
        let (found, pictures) = on_screen(file.path(), demuxer, &facts, meter.part(1, 2))?;
        builder.images(pictures);
        timeline.extend(found);
        timeline.sort_by_key(|one| one.time.start_ms);
    }
    speech::write(timeline, &mut builder)?;
    builder.finish()
}

/// How many milliseconds lie between two looks.
fn step_ms(duration_ms: u64) -> u64 {
    match duration_ms / 1000 {
        0..60 => 1_000,
        60..600 => 2_000,
        600..3600 => 5_000,
        _ => 10_000,
    }
}

/// The texts of distinct pictures, each from where it appears to the next one, and how many pictures were read.
fn on_screen(
    file: &Path,
    demuxer: &str,
    facts: &Facts,
    meter: Meter<'_>,
) -> Result<(Vec<Utterance>, usize), ExtractError> {
    let scenes = scenes(file, demuxer, facts)?;
    let languages = ocr::languages()?;
    let folder = scratch()?;
    let picture = folder.path().join("frame.png");
    let mut found: Vec<Utterance> = Vec::new();
    let mut pictures = 0;
    for (at, start_ms) in scenes.iter().enumerate() {
        meter.at(at, scenes.len());
        let end_ms = scenes.get(at + 1).copied().unwrap_or(facts.duration_ms);
        let scale = format!(
            "scale={READ_SIDE}:{READ_SIDE}:force_original_aspect_ratio=decrease:flags=bicubic"
        );
        drop(std::fs::remove_file(&picture));
        let png = ["-pix_fmt", "gray", "-c:v", "png"];
        still(file, demuxer, *start_ms, (&scale, &png), &picture)?;
        // A stream may end before its header says so.
        if !picture.exists() {
            continue;
        }
        pictures += 1;
        let text = ocr::read(&picture, &languages)?.join(" ");
        match found.last_mut().filter(|last| last.text == text) {
            Some(last) => last.time.end_ms = end_ms.max(*start_ms),
            None => found.push(Utterance {
                time: TimeSpan {
                    start_ms: *start_ms,
                    end_ms: end_ms.max(*start_ms),
                },
                speaker: Some(ON_SCREEN.to_owned()),
                text,
            }),
        }
    }
    found.retain(|one| !one.text.is_empty());
    Ok((found, pictures))
}

/// Draws what is seen at a moment of a film, with this scaling and these options of the encoder; nothing behind its end.
pub(super) fn still(
    file: &Path,
    demuxer: &str,
    at_ms: u64,
    (scale, encoder): (&str, &[&str]),
    to: &Path,
) -> Result<(), ExtractError> {
    let draw = |reading: &[&str], filter: &str| {
        ffmpeg_with(reading, demuxer, file)
            .args(["-an", "-sn", "-dn", "-frames:v", "1"])
            .args(["-vf", &format!("{filter}{scale}")])
            .args(encoder)
            .args(["-f", "image2", "-update", "1"])
            .arg(to)
            .need(1 << 20, "film")
    };
    for window_ms in [at_ms.min(NEAR_MS), at_ms] {
        if window_ms == 0 {
            break;
        }
        let (from, length) = (seconds(at_ms - window_ms), seconds(window_ms));
        // Two pictures: of the beginning of the window and of its end, rounded up so that none comes before its time.
        let filter = format!(
            "select='lte(t,{length}+0.0005)',tpad=stop_mode=clone:stop_duration={length},\
             fps=1000/{window_ms}:round=up:start_time=0,select='eq(n,1)',"
        );
        let until = seconds(window_ms + 1);
        draw(&["-ss", &from, "-t", &until], &filter)?;
        if to.exists() {
            return Ok(());
        }
    }
    // Before the first picture there is none, so the first one stands for it.
    draw(&["-ss", &seconds(at_ms)], "").map(drop)
}

/// Where the picture changes, in milliseconds. A picture counts from the first look at which it is seen.
pub(super) fn scenes(file: &Path, demuxer: &str, facts: &Facts) -> Result<Vec<u64>, ExtractError> {
    let step = step_ms(facts.duration_ms);
    // The last picture stands until somebody looks once more.
    let last = seconds(step);
    let filter = format!(
        "tpad=stop_mode=clone:stop_duration={last},fps=1000/{step}:round=up,scale=32:32:flags=area,format=gray"
    );
    let tool = if facts.duration_ms / 1000 >= LONG_SECONDS {
        ffmpeg_with(&["-skip_frame", "nokey"], demuxer, file)
    } else {
        ffmpeg(demuxer, file)
    };
    let pixels = tool
        .args(["-an", "-sn", "-dn", "-vf", &filter, "-f", "rawvideo", "-"])
        .need(16 << 20, "film")?;
    let frames = pixels.as_chunks::<FIELDS>().0;
    let mut scenes = Vec::new();
    let mut last: Option<&[u8; FIELDS]> = None;
    for (number, frame) in (0..).zip(frames) {
        if last.is_none_or(|last| differs(last, frame)) {
            last = Some(frame);
            scenes.push((number * step).min(facts.duration_ms));
        }
    }
    Ok(evenly(&scenes, MAX_PICTURES))
}

/// So many of all at most, the first among them and the others evenly.
pub(crate) fn evenly<T: Copy>(all: &[T], most: usize) -> Vec<T> {
    let taken = all.len().min(most);
    let places = (0..taken).map(|number| number * all.len() / taken);
    places.filter_map(|place| all.get(place).copied()).collect()
}

/// Whether enough of the picture changed brightness for other text to stand there; a person who moves
/// through it, or grain, changes less.
fn differs(one: &[u8; FIELDS], two: &[u8; FIELDS]) -> bool {
    let pairs = one.iter().zip(two);
    let changed = pairs.filter(|(one, two)| one.abs_diff(**two) > FIELD_STEP);
    changed.count() > SCENE_FIELDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_as_many_as_may_be_are_taken() {
        let all: Vec<usize> = (0..61).collect();
        let taken = evenly(&all, 60);
        assert_eq!((taken.len(), taken[0], taken[59]), (60, 0, 59));
        assert_eq!(evenly(&all, 3), [0, 20, 40]);
        assert_eq!(evenly(&all, 100), all);
        assert!(evenly::<u64>(&[], 12).is_empty());
    }
}
