//! What a recording is, before anything is decoded: its length, its streams, when it was made.
//!
//! Its header says how long it is, if it does: browsers write none, and others may write what they like. So its
//! packets are looked through, which costs little.

use std::path::Path;

use quire_types::{MediaType, TimeSpan};
use serde::Deserialize;

use super::error::ExtractError;
use super::limits::Limits;
use super::tool::{Tool, ffmpeg};

/// The end of the last packet is not told, so a header may say so much more than its packets.
const LAST_PACKET_MS: u64 = 10_000;
/// And less by so much, as times are rounded.
const SLACK_MS: u64 = 500;

/// Names of ffmpeg's readers, by the first bytes of a file. A playlist has none of these, so no file can send
/// ffmpeg elsewhere.
pub(crate) fn look(bytes: &[u8]) -> Option<(&'static str, MediaType)> {
    let at =
        |from: usize, mark: &[u8]| bytes.get(from..).is_some_and(|rest| rest.starts_with(mark));
    let found = match () {
        () if at(0, b"RIFF") && at(8, b"WAVE") => ("wav", MediaType::Audio),
        () if at(0, b"RIFF") && at(8, b"AVI ") => ("avi", MediaType::Video),
        () if at(0, b"fLaC") => ("flac", MediaType::Audio),
        // Ogg holds sound as a rule; the streams decide.
        () if at(0, b"OggS") => ("ogg", MediaType::Audio),
        () if at(4, b"ftypM4A") || at(4, b"ftypM4B") => ("mov", MediaType::Audio),
        () if at(4, b"ftyp") && !is_picture(bytes) => ("mov", MediaType::Video),
        () if at(0, b"\x1A\x45\xDF\xA3") => ("matroska", MediaType::Video),
        () if at(0, b"#!AMR\n") => ("amr", MediaType::Audio),
        () if at(0, b"ID3") && bytes.get(3).is_some_and(|version| *version < 16) => {
            ("mp3", MediaType::Audio)
        }
        () if is_adts(bytes) => ("aac", MediaType::Audio),
        () if is_mpeg_audio(bytes) => ("mp3", MediaType::Audio),
        () => return None,
    };
    Some(found)
}

/// The name of ffmpeg's reader for a recording.
pub(super) fn demuxer(bytes: &[u8]) -> Result<&'static str, ExtractError> {
    let found =
        look(bytes).ok_or_else(|| ExtractError::damaged("recording", "of no known kind"))?;
    Ok(found.0)
}

/// Pictures in the container of films (HEIC, AVIF), which no reader here turns into pixels.
fn is_picture(bytes: &[u8]) -> bool {
    let brand = bytes.get(8..12).unwrap_or_default();
    [
        b"heic", b"heix", b"heim", b"hevc", b"mif1", b"msf1", b"avif", b"avis",
    ]
    .iter()
    .any(|known| brand == known.as_slice())
}

/// Two frames of AAC, one behind the other.
fn is_adts(bytes: &[u8]) -> bool {
    let length = |at: usize| -> Option<usize> {
        let head = bytes.get(at..at + 6)?;
        let is_frame = head[0] == 0xFF && head[1] & 0xF6 == 0xF0;
        let length = (usize::from(head[3]) & 3) << 11
            | usize::from(head[4]) << 3
            | usize::from(head[5]) >> 5;
        (is_frame && length > 7).then_some(length)
    };
    length(0).and_then(length).is_some()
}

/// Two frames of MPEG audio, one behind the other.
fn is_mpeg_audio(bytes: &[u8]) -> bool {
    const RATES: [usize; 15] = [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ];
    const RATES_2: [usize; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let frame = |at: usize| -> Option<usize> {
        let head = bytes.get(at..at + 4)?;
        if head[0] != 0xFF || head[1] & 0xE6 != 0xE2 {
            return None;
        }
        let is_first = head[1] & 0x18 == 0x18;
        let rate = *if is_first { &RATES } else { &RATES_2 }.get(usize::from(head[2] >> 4))?;
        let hertz = *[44_100, 48_000, 32_000].get(usize::from(head[2] >> 2 & 3))?;
        let (hertz, samples) = if is_first {
            (hertz, 144_000)
        } else {
            (hertz / 2, 72_000)
        };
        let length = samples * rate / hertz + usize::from(head[2] >> 1 & 1);
        (length > 4).then_some(at + length)
    };
    frame(0).and_then(frame).is_some()
}

/// What ffprobe says.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) duration_ms: u64,
    /// Such as `mp3`.
    pub(super) format: String,
    pub(super) has_sound: bool,
    /// Width and height of the picture, if there is a moving one.
    pub(super) picture: Option<(u32, u32)>,
    pub(super) title: Option<String>,
    pub(super) made_at: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Probe {
    streams: Vec<Stream>,
    format: Format,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Stream {
    codec_type: String,
    width: u32,
    height: u32,
    duration: Option<String>,
    disposition: Disposition,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Disposition {
    attached_pic: u8,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Format {
    duration: Option<String>,
    format_name: String,
    tags: Tags,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Tags {
    title: Option<String>,
    creation_time: Option<String>,
}

/// Looks at a recording and refuses one that is longer or larger than may be.
pub(super) fn probe(file: &Path, demuxer: &str, limits: &Limits) -> Result<Facts, ExtractError> {
    let json = Tool::new("ffprobe", "ffmpeg")
        .args([
            "-v",
            "error",
            "-protocol_whitelist",
            "file,pipe",
            "-f",
            demuxer,
        ])
        .args(["-show_format", "-show_streams", "-of", "json", "-i"])
        .arg(file)
        .need(4 << 20, "recording")?;
    let probe: Probe = serde_json::from_slice(&json)
        .map_err(|_| ExtractError::damaged("recording", "it says nothing about itself"))?;
    let is_moving = |stream: &&Stream| {
        stream.codec_type == "video" && stream.disposition.attached_pic == 0 && stream.width > 0
    };
    let picture = probe.streams.iter().find(is_moving);
    let picture = picture.map(|stream| (stream.width, stream.height));
    let has_sound = probe
        .streams
        .iter()
        .any(|stream| stream.codec_type == "audio");
    if !has_sound && picture.is_none() {
        return Err(ExtractError::damaged(
            "recording",
            "it holds neither sound nor pictures",
        ));
    }
    let seconds = |text: &Option<String>| text.as_ref()?.parse::<f64>().ok();
    let longest = probe
        .streams
        .iter()
        .filter_map(|stream| seconds(&stream.duration));
    let longest = seconds(&probe.format.duration).into_iter().chain(longest);
    // Positive, and below any number of milliseconds that a file has.
    let told_ms = (longest.fold(0.0, f64::max) * 1_000.0) as u64;
    if told_ms > limits.max_seconds.saturating_mul(1_000) {
        return Err(ExtractError::too_large("seconds", limits.max_seconds));
    }
    if let Some((width, height)) = picture
        && u64::from(width) * u64::from(height) > limits.max_pixels
    {
        return Err(ExtractError::too_large(
            "pixels in a picture",
            limits.max_pixels,
        ));
    }
    let measured_ms = measure(file, demuxer)?.unwrap_or(told_ms);
    let is_so = told_ms > 0
        && (measured_ms.saturating_sub(SLACK_MS)..measured_ms + LAST_PACKET_MS).contains(&told_ms);
    let duration_ms = if is_so { told_ms } else { measured_ms };
    if duration_ms > limits.max_seconds.saturating_mul(1_000) {
        return Err(ExtractError::too_large("seconds", limits.max_seconds));
    }
    Ok(Facts {
        duration_ms,
        format: probe
            .format
            .format_name
            .split(',')
            .next()
            .unwrap_or_default()
            .to_owned(),
        has_sound,
        picture,
        title: probe.format.tags.title,
        made_at: probe.format.tags.creation_time,
    })
}

/// When the last packet of sound or picture begins, in milliseconds; none where nobody can tell. Decodes nothing.
fn measure(file: &Path, demuxer: &str) -> Result<Option<u64>, ExtractError> {
    let told = ffmpeg(demuxer, file)
        .args(["-map", "0:a:0?", "-map", "0:V:0?", "-c", "copy"])
        .args(["-progress", "pipe:1", "-f", "null", "-"])
        .run(4 << 20)?;
    let told = String::from_utf8_lossy(&told.stdout);
    let mut ends = told
        .lines()
        .filter_map(|line| line.strip_prefix("out_time_us="));
    let last_us: Option<u64> = ends.next_back().and_then(|end| end.parse().ok());
    Ok(last_us.map(|us| us / 1_000).filter(|ms| *ms > 0))
}

impl Facts {
    /// The whole recording.
    pub(super) fn time(&self) -> TimeSpan {
        TimeSpan {
            start_ms: 0,
            end_ms: self.duration_ms,
        }
    }
}
