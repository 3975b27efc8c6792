//! A piece of a source made anew: a picture for showing a citation in place (a page, the picture itself, or a moment
//! of a film), and sound for whoever writes it down.
//!
//! Always made here: no byte of the original reaches a browser or a provider as it came.

use quire_types::MediaType;
use serde::{Deserialize, Serialize};

use super::error::ExtractError;
use super::image::Kind;
use super::known::Placed;
use super::limits::Limits;
use super::recording;
use super::tool::{Tool, ffmpeg, ffmpeg_with, on_disk, scratch};
use super::{audio, image, pdf, video};

/// The longer side of what is drawn, in pixels.
const SIDE: u32 = 1_600;

/// Which picture of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// The page, from 1.
    pub page: u32,
    /// The moment of a film.
    pub at_ms: u64,
}

/// How long a recording is, in milliseconds; nothing of it is decoded.
pub fn measure(bytes: &[u8], limits: &Limits) -> Result<u64, ExtractError> {
    let demuxer = recording::demuxer(bytes)?;
    let file = on_disk(bytes, "")?;
    Ok(recording::probe(file.path(), demuxer, limits)?.duration_ms)
}

/// A part of the sound of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where it begins.
    pub start_ms: u64,
    /// Where it ends at the latest; in a pause before, if there is one.
    pub end_ms: u64,
}

/// That part, or less of it, as a small file (FLAC, one channel) with its length in milliseconds; nothing where the
/// recording has no sound.
pub fn cut_sound(
    bytes: &[u8],
    part: Part,
    limits: &Limits,
) -> Result<(Vec<u8>, u64), ExtractError> {
    let demuxer = recording::demuxer(bytes)?;
    let file = on_disk(bytes, "")?;
    let facts = recording::probe(file.path(), demuxer, limits)?;
    audio::part(file.path(), demuxer, &facts, (part.start_ms, part.end_ms))
}

/// Draws it. A type without pictures, and a page or moment that is not there, are refused.
pub fn draw(
    media: MediaType,
    bytes: &[u8],
    wanted: Wanted,
    limits: &Limits,
) -> Result<Vec<u8>, ExtractError> {
    let folder = scratch()?;
    let drawn = folder.path().join("drawn.png");
    let png = ["-c:v", "png"];
    if media != MediaType::Pdf {
        let scale = format!("scale={SIDE}:{SIDE}:force_original_aspect_ratio=decrease");
        return frame(media, bytes, wanted.at_ms, (&scale, &png), limits);
    }
    let (side, page) = (SIDE.to_string(), wanted.page.max(1).to_string());
    let file = on_disk(bytes, ".pdf")?;
    Tool::new("pdftoppm", pdf::PACKAGE)
        .args(["-png", "-singlefile", "-scale-to", &side])
        .args(["-f", &page, "-l", &page])
        .arg(file.path())
        .arg(drawn.with_extension(""))
        .run(1 << 20)?;
    std::fs::read(&drawn).map_err(|_| nothing())
}

/// What is to be shown to whoever says what can be seen or read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shown {
    /// The page of a PDF.
    pub page: u32,
    /// One of the pictures of a PDF, instead.
    pub picture: Option<Placed>,
    /// The moment of a film.
    pub at_ms: u64,
    /// Its longer side, in pixels, at the most.
    pub side: u32,
}

/// A picture, a page, or a moment of a film, as an upright JPEG.
pub fn show(
    media: MediaType,
    bytes: &[u8],
    shown: Shown,
    limits: &Limits,
) -> Result<Vec<u8>, ExtractError> {
    let side = shown.side;
    let scale =
        format!("scale='min({side},iw)':'min({side},ih)':force_original_aspect_ratio=decrease");
    let jpeg = ["-pix_fmt", "yuvj420p", "-q:v", "4", "-c:v", "mjpeg"];
    if media == MediaType::Pdf {
        let folder = scratch()?;
        let Some(picture) = shown.picture else {
            let drawn = pdf::draw_page(bytes, shown.page.max(1), side, folder.path())?;
            return std::fs::read(drawn).map_err(|_| nothing());
        };
        let png = std::fs::read(pdf::take_out(bytes, picture, folder.path())?);
        let png = png.map_err(|_| nothing())?;
        return frame(MediaType::Image, &png, 0, (&scale, &jpeg), limits);
    }
    frame(media, bytes, shown.at_ms, (&scale, &jpeg), limits)
}

/// Where the picture of a film changes, in milliseconds.
pub fn scenes(bytes: &[u8], limits: &Limits) -> Result<Vec<u64>, ExtractError> {
    let demuxer = recording::demuxer(bytes)?;
    let file = on_disk(bytes, "")?;
    let facts = recording::probe(file.path(), demuxer, limits)?;
    match facts.picture {
        Some(_) => video::scenes(file.path(), demuxer, &facts),
        None => Ok(Vec::new()),
    }
}

/// The first picture, or the one at a moment, made by ffmpeg with these options.
fn frame(
    media: MediaType,
    bytes: &[u8],
    at_ms: u64,
    (scale, encoder): (&str, &[&str]),
    limits: &Limits,
) -> Result<Vec<u8>, ExtractError> {
    let (tool, turn, _file) = match media {
        MediaType::Image => {
            image::size(bytes, limits)?;
            let kind = Kind::of(bytes).ok_or_else(nothing)?;
            let file = on_disk(bytes, "")?;
            (
                ffmpeg(kind.demuxer(), file.path()),
                image::turn_of(bytes),
                file,
            )
        }
        MediaType::Video => {
            let demuxer = recording::demuxer(bytes)?;
            let file = on_disk(bytes, "")?;
            recording::probe(file.path(), demuxer, limits)?;
            let at = format!("{}.{:03}", at_ms / 1000, at_ms % 1000);
            (ffmpeg_with(&["-ss", &at], demuxer, file.path()), "", file)
        }
        _ => return Err(nothing()),
    };
    let folder = scratch()?;
    let made = folder.path().join("made");
    tool.args(["-frames:v", "1", "-vf", &format!("{turn}{scale}")])
        .args(encoder)
        .args(["-f", "image2", "-update", "1"])
        .arg(&made)
        .run(1 << 20)?;
    std::fs::read(&made).map_err(|_| nothing())
}

fn nothing() -> ExtractError {
    ExtractError::NoPicture
}
