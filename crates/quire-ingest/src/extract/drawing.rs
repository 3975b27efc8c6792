//! A piece of a source made anew: a picture for showing a citation in place (a page, the picture itself, or a moment
//! of a film), and sound for whoever writes it down.
//!
//! Always made here: no byte of the original reaches a browser or a provider as it came.

use quire_types::{Kind as _, MediaType};
use serde::{Deserialize, Serialize};

use super::error::ExtractError;
use super::image::Kind;
use super::known::Placed;
use super::limits::Limits;
use super::recording;
use super::tool::{Tool, ffmpeg, on_disk, scratch};
use super::{audio, image, pdf, video};

/// The longer side of what is drawn, in pixels, and that of a thumbnail.
const SIDE: u32 = 1_600;
const SMALL_SIDE: u32 = 320;

/// Which picture of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    /// The page, from 1.
    pub page: u32,
    /// The moment of a film.
    pub at_ms: u64,
    /// Whether a thumbnail will do.
    pub is_small: bool,
}

/// How much there is of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// How long it is, in milliseconds.
    pub length_ms: u64,
    /// Whether there is sound in it.
    pub has_sound: bool,
}

/// How much there is of a recording; nothing of it is decoded.
pub fn measure(bytes: &[u8], limits: &Limits) -> Result<Measured, ExtractError> {
    let demuxer = recording::demuxer(bytes)?;
    let file = on_disk(bytes, "")?;
    let facts = recording::probe(file.path(), demuxer, limits)?;
    Ok(Measured {
        length_ms: facts.duration_ms,
        has_sound: facts.has_sound,
    })
}

/// A part of the sound of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Where it begins.
    pub start_ms: u64,
    /// Where it ends at the latest; in a pause before, if there is one.
    pub end_ms: u64,
    /// Whether nothing comes behind it: then it ends in no pause.
    pub is_last: bool,
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
    audio::part(file.path(), demuxer, &facts, part)
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
    let side = if wanted.is_small { SMALL_SIDE } else { SIDE };
    if media != MediaType::Pdf {
        let scale = format!("scale={side}:{side}:force_original_aspect_ratio=decrease");
        return frame(media, bytes, wanted.at_ms, (&scale, &png), limits);
    }
    let (side, page) = (side.to_string(), wanted.page.max(1).to_string());
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
    let folder = scratch()?;
    let made = folder.path().join("made");
    match media {
        MediaType::Image => {
            image::size(bytes, limits)?;
            let kind = Kind::of(bytes).ok_or_else(nothing)?;
            let file = on_disk(bytes, "")?;
            let upright = format!("{}{scale}", image::turn_of(bytes));
            ffmpeg(kind.demuxer(), file.path())
                .args(["-frames:v", "1", "-vf", &upright])
                .args(encoder)
                .args(["-f", "image2", "-update", "1"])
                .arg(&made)
                .run(1 << 20)?;
        }
        MediaType::Video => {
            let demuxer = recording::demuxer(bytes)?;
            let file = on_disk(bytes, "")?;
            let facts = recording::probe(file.path(), demuxer, limits)?;
            if facts.picture.is_none() || at_ms > facts.duration_ms {
                return Err(nothing());
            }
            let drawn = video::still(file.path(), demuxer, at_ms, (scale, encoder), &made);
            drawn.map_err(|error| match error.kind().is_transient() {
                true => error,
                false => nothing(),
            })?;
        }
        _ => return Err(nothing()),
    }
    std::fs::read(&made).map_err(|_| nothing())
}

fn nothing() -> ExtractError {
    ExtractError::NoPicture
}
