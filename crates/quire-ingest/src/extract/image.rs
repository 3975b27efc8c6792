//! Pictures: the text in them, when and where they were taken, and a hash by which copies are known.
//!
//! Knows no objects and no scenes: saying what a picture shows takes a vision model.

use std::io::Cursor;
use std::path::Path;

use exif::{Exif, In, Rational, Tag, Value};

use super::builder::Builder;
use super::document::{BlockKind, Document};
use super::error::ExtractError;
use super::known::{Known, ToSense};
use super::limits::Limits;
use super::meter::Meter;
use super::ocr;
use super::tool::{ffmpeg, on_disk, scratch};

/// The longest side of what is read, in pixels; letters of a page are large enough at this size.
const OCR_SIDE: u32 = 4_000;
/// Smaller pictures are enlarged, since tesseract expects letters of 20 pixels and more.
const SMALL_SIDE: u32 = 1_400;
const FORMAT: &str = "picture";

/// The kinds of pictures that are read, and the names of ffmpeg's readers for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Png,
    Jpeg,
    Gif,
    WebP,
    Bmp,
    Tiff,
}

impl Kind {
    /// By the first bytes.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let starts = |mark: &[u8]| bytes.starts_with(mark);
        Some(match () {
            () if starts(b"\x89PNG\r\n\x1A\n") => Self::Png,
            () if starts(b"\xFF\xD8\xFF") => Self::Jpeg,
            () if starts(b"GIF87a") || starts(b"GIF89a") => Self::Gif,
            () if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => Self::WebP,
            () if starts(b"II*\0") || starts(b"MM\0*") => Self::Tiff,
            // Two letters are no proof: the size of the file follows, and two zeros.
            () if starts(b"BM") && bytes.get(6..10) == Some(&[0; 4]) => Self::Bmp,
            () => return None,
        })
    }

    pub(super) const fn demuxer(self) -> &'static str {
        match self {
            Self::Png => "png_pipe",
            Self::Jpeg => "jpeg_pipe",
            Self::Gif => "gif",
            Self::WebP => "webp_pipe",
            Self::Bmp => "bmp_pipe",
            Self::Tiff => "tiff_pipe",
        }
    }

    /// Whether the mark is there that a whole file ends with; half a picture would be read as a whole one.
    fn has_its_end(self, bytes: &[u8]) -> bool {
        let tail = &bytes[bytes.len() / 2..];
        let has = |mark: &[u8]| tail.windows(mark.len()).any(|window| window == mark);
        let size_at = |at: usize| -> Option<usize> {
            let size = bytes.get(at..at + 4)?.first_chunk()?;
            usize::try_from(u32::from_le_bytes(*size)).ok()
        };
        match self {
            Self::Png => has(b"IEND"),
            Self::Jpeg => has(b"\xFF\xD9"),
            Self::Gif => tail.contains(&0x3B),
            Self::WebP => size_at(4).is_some_and(|size| size.saturating_add(8) <= bytes.len()),
            Self::Bmp => size_at(2).is_some_and(|size| size <= bytes.len()),
            Self::Tiff => true,
        }
    }
}

/// The picture itself; a TIFF may hold many pages, of which others would see only the first.
pub(super) fn to_sense(bytes: &[u8], limits: &Limits) -> Result<ToSense, ExtractError> {
    let (kind, _) = whole(bytes, limits)?;
    Ok(ToSense {
        pages: if kind == Kind::Tiff {
            Vec::new()
        } else {
            vec![1]
        },
        ..ToSense::default()
    })
}

pub(super) fn read(
    bytes: &[u8],
    known: &Known,
    limits: &Limits,
    meter: Meter<'_>,
) -> Result<Document, ExtractError> {
    let (kind, (width, height)) = whole(bytes, limits)?;
    let file = on_disk(bytes, "")?;
    let exif = exif::Reader::new()
        .read_from_container(&mut Cursor::new(bytes))
        .ok();
    let pages = if let Some(read) = known.pages.get(&1) {
        vec![read.told()]
    } else if kind == Kind::Tiff {
        // May hold many pages, as scanners and fax machines write them; only tesseract turns all of them.
        let (count, languages) = (tiff_pages(bytes, limits)?, ocr::languages()?);
        let pages = (0..count).map(|page| {
            meter.at(page, count);
            ocr::read_page(file.path(), &languages, page)
        });
        pages.collect::<Result<Vec<_>, _>>()?
    } else {
        let folder = scratch()?;
        let upright = folder.path().join("upright.png");
        let filter = upright_filter(exif.as_ref(), width, height);
        draw(file.path(), kind, &filter, &upright)?;
        vec![ocr::read(&upright, &ocr::languages()?)?]
    };
    let mut builder = Builder::new(limits, bytes.len());
    builder.picture_hash(hash(file.path(), kind)?);
    builder.images(pages.len());
    let description = describe(exif.as_ref(), width, height);
    builder.push(BlockKind::Paragraph, &description, None)?;
    let are_many = pages.len() > 1;
    for (number, page) in (1..).zip(&pages) {
        for paragraph in page {
            builder.push(BlockKind::Paragraph, paragraph, are_many.then_some(number))?;
        }
    }
    builder.finish()
}

/// How many pages a TIFF has: directories, each of which says where the next one stands.
fn tiff_pages(bytes: &[u8], limits: &Limits) -> Result<usize, ExtractError> {
    let is_little = bytes.starts_with(b"II");
    let number = |at: usize, length: usize| -> Option<usize> {
        let digits = bytes.get(at..at.checked_add(length)?)?;
        let append = |number: usize, digit: &u8| number << 8 | usize::from(*digit);
        Some(match is_little {
            true => digits.iter().rev().fold(0, append),
            false => digits.iter().fold(0, append),
        })
    };
    let most = limits.max_scanned_pages;
    let (mut pages, mut place) = (0, number(4, 4));
    while let Some(at) = place.filter(|at| *at > 0) {
        pages += 1;
        // Also where a directory leads back to one before it.
        if pages > most as usize {
            return Err(ExtractError::too_large("scanned pages", most.into()));
        }
        place = number(at, 2).and_then(|entries| number(at + 2 + entries * 12, 4));
    }
    Ok(pages.max(1))
}

/// The kind and the size of a picture that is all there.
fn whole(bytes: &[u8], limits: &Limits) -> Result<(Kind, (u32, u32)), ExtractError> {
    let kind = Kind::of(bytes).ok_or_else(|| damaged("it is of no known kind"))?;
    let size = size(bytes, limits)?;
    match kind.has_its_end(bytes) {
        true => Ok((kind, size)),
        false => Err(damaged("its end is missing")),
    }
}

/// The size that the file declares, before anything makes room for it.
pub(super) fn size(bytes: &[u8], limits: &Limits) -> Result<(u32, u32), ExtractError> {
    let size = imagesize::blob_size(bytes).map_err(|_| damaged("its size is missing"))?;
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let (width, height) = (side(size.width), side(size.height));
    if width == 0 || height == 0 {
        return Err(damaged("it has no pixels"));
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(ExtractError::too_large("pixels", limits.max_pixels));
    }
    Ok((width, height))
}

/// Writes the first frame as a grey PNG.
fn draw(file: &Path, kind: Kind, filter: &str, to: &Path) -> Result<(), ExtractError> {
    ffmpeg(kind.demuxer(), file)
        .args(["-frames:v", "1", "-vf", filter, "-pix_fmt", "gray"])
        .args(["-f", "image2", "-update", "1", "-c:v", "png"])
        .arg(to)
        .need(1 << 20, FORMAT)?;
    // With some damaged files ffmpeg ends well and writes nothing.
    if to.exists() {
        Ok(())
    } else {
        Err(damaged("no picture comes out of it"))
    }
}

/// Brings the letters of a picture to a size that can be read.
pub(super) fn enlarge(
    png: &Path,
    (width, height): (u32, u32),
    to: &Path,
) -> Result<(), ExtractError> {
    draw(png, Kind::Png, &upright_filter(None, width, height), to)
}

/// Turns the picture as its camera was held, and brings letters to a size that can be read.
fn upright_filter(exif: Option<&Exif>, width: u32, height: u32) -> String {
    let side = width.max(height);
    let scale = match side {
        0..SMALL_SIDE => (SMALL_SIDE / side.max(1)).clamp(2, 4),
        _ => 1,
    };
    let bound = OCR_SIDE.min(side.saturating_mul(scale));
    format!(
        "{}scale={bound}:{bound}:force_original_aspect_ratio=decrease:flags=bicubic",
        turn(exif)
    )
}

/// The filter that turns a picture as its camera was held; nothing where it stands already.
pub(super) fn turn_of(bytes: &[u8]) -> &'static str {
    let exif = exif::Reader::new().read_from_container(&mut Cursor::new(bytes));
    turn(exif.ok().as_ref())
}

fn turn(exif: Option<&Exif>) -> &'static str {
    let orientation = exif
        .and_then(|exif| exif.get_field(Tag::Orientation, In::PRIMARY))
        .and_then(|field| field.value.get_uint(0));
    match orientation {
        Some(2) => "hflip,",
        Some(3) => "hflip,vflip,",
        Some(4) => "vflip,",
        Some(5) => "transpose=0,",
        Some(6) => "transpose=1,",
        Some(7) => "transpose=3,",
        Some(8) => "transpose=2,",
        _ => "",
    }
}

/// A difference hash: whether each of 8 × 8 fields is brighter than the one to its right. Copies in another
/// size or compression differ in a few bits. N. Krawetz, "Kind of Like That", 2013.
fn hash(file: &Path, kind: Kind) -> Result<u64, ExtractError> {
    let pixels = ffmpeg(kind.demuxer(), file)
        .args(["-frames:v", "1", "-vf", HASH_FILTER, "-f", "rawvideo", "-"])
        .need(1 << 20, FORMAT)?;
    pixels
        .as_chunks::<HASH_PIXELS>()
        .0
        .first()
        .map(difference_hash)
        .ok_or_else(|| damaged("no picture comes out of it"))
}

const HASH_FILTER: &str = "scale=9:8:flags=area,format=gray";
const HASH_PIXELS: usize = 72;

fn difference_hash(pixels: &[u8; HASH_PIXELS]) -> u64 {
    let rows = pixels.as_chunks::<9>().0.iter();
    rows.flat_map(|row| row.windows(2))
        .fold(0, |bits, pair| bits << 1 | u64::from(pair[0] > pair[1]))
}

/// What is known without reading it, so that a picture without text is found as well.
fn describe(exif: Option<&Exif>, width: u32, height: u32) -> String {
    let mut text = format!("Picture, {width} × {height} pixels");
    let Some(exif) = exif else { return text + "." };
    let field = |tag: Tag| exif.get_field(tag, In::PRIMARY);
    let shown = |tag: Tag| {
        let text = field(tag)?.display_value().to_string();
        let text = text.trim_matches('"').trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    if let Some(time) = shown(Tag::DateTimeOriginal).or_else(|| shown(Tag::DateTime)) {
        text += &format!(", taken {time}");
    }
    let degrees = |tag: Tag, side: Tag, negative: &str| {
        let Value::Rational(parts) = &field(tag)?.value else {
            return None;
        };
        let degrees = degrees(parts)?;
        let is_negative = shown(side).is_some_and(|side| side.starts_with(negative));
        Some(if is_negative { -degrees } else { degrees })
    };
    if let (Some(latitude), Some(longitude)) = (
        degrees(Tag::GPSLatitude, Tag::GPSLatitudeRef, "S"),
        degrees(Tag::GPSLongitude, Tag::GPSLongitudeRef, "W"),
    ) {
        text += &format!(", at latitude {latitude:.5}, longitude {longitude:.5}");
    }
    if let Some(model) = shown(Tag::Model) {
        text += &format!(", with {model}");
    }
    text + "."
}

/// Degrees, minutes and seconds as one number.
fn degrees(parts: &[Rational]) -> Option<f64> {
    let [degrees, minutes, seconds] = parts else {
        return None;
    };
    let sum = degrees.to_f64() + minutes.to_f64() / 60.0 + seconds.to_f64() / 3600.0;
    (0.0..=180.0).contains(&sum).then_some(sum)
}

fn damaged(detail: &str) -> ExtractError {
    ExtractError::damaged(FORMAT, detail)
}
