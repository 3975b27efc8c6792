//! One picture of a source, for showing a citation in place: a page, the picture itself, or a moment of a film.
//!
//! Always a PNG that was made here; no byte of the original reaches a browser as it came.

use quire_types::MediaType;
use serde::{Deserialize, Serialize};

use super::error::ExtractError;
use super::image::Kind;
use super::limits::Limits;
use super::recording;
use super::tool::{Tool, ffmpeg, ffmpeg_with, on_disk, scratch};
use super::{image, pdf};

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

/// Draws it. A type without pictures, and a page or moment that is not there, are refused.
pub fn draw(
    media: MediaType,
    bytes: &[u8],
    wanted: Wanted,
    limits: &Limits,
) -> Result<Vec<u8>, ExtractError> {
    let folder = scratch()?;
    let drawn = folder.path().join("drawn.png");
    let side = SIDE.to_string();
    let scale = format!("scale={SIDE}:{SIDE}:force_original_aspect_ratio=decrease");
    let one = [
        "-frames:v",
        "1",
        "-vf",
        &scale,
        "-f",
        "image2",
        "-update",
        "1",
        "-c:v",
        "png",
    ];
    let tool = match media {
        MediaType::Pdf => {
            let file = on_disk(bytes, ".pdf")?;
            let page = wanted.page.max(1).to_string();
            let tool = Tool::new("pdftoppm", pdf::PACKAGE)
                .args([
                    "-png",
                    "-singlefile",
                    "-scale-to",
                    &side,
                    "-f",
                    &page,
                    "-l",
                    &page,
                ])
                .arg(file.path())
                .arg(drawn.with_extension(""));
            (tool, file)
        }
        MediaType::Image => {
            image::size(bytes, limits)?;
            let kind = Kind::of(bytes).ok_or_else(nothing)?;
            let file = on_disk(bytes, "")?;
            (
                ffmpeg(kind.demuxer(), file.path()).args(one).arg(&drawn),
                file,
            )
        }
        MediaType::Video => {
            let demuxer = recording::demuxer(bytes)?;
            let file = on_disk(bytes, "")?;
            recording::probe(file.path(), demuxer, limits)?;
            let at = format!("{}.{:03}", wanted.at_ms / 1000, wanted.at_ms % 1000);
            let tool = ffmpeg_with(&["-ss", &at], demuxer, file.path());
            (tool.args(one).arg(&drawn), file)
        }
        _ => return Err(nothing()),
    };
    let (tool, _file) = tool;
    tool.run(1 << 20)?;
    std::fs::read(&drawn).map_err(|_| nothing())
}

fn nothing() -> ExtractError {
    ExtractError::NoPicture
}
