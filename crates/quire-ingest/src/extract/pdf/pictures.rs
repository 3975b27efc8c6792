//! Pictures on pages that have text: taken out by `pdfimages`, read by tesseract like any other picture.
//!
//! Only what can hold text is read: large enough, shown once or twice, and not the scan below a layer of text that
//! was made from it. What the page says already is left out. What should have been read and was not, is said.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use quire_types::Kind as _;
use tempfile::TempDir;

use super::super::error::ExtractError;
use super::super::image;
use super::super::known::{Known, Placed};
use super::super::limits::Limits;
use super::super::meter::Meter;
use super::super::ocr;
use super::super::tool::{Tool, scratch};
use super::PACKAGE;

/// The smallest picture that is read, in pixels.
const LEAST_WIDTH: u32 = 200;
const LEAST_HEIGHT: u32 = 60;
const LEAST_PIXELS: u64 = 60_000;
/// Pictures of a file that are read at most, beside those that cover their page: these count as scanned pages.
pub(crate) const MOST_PICTURES: usize = 50;
/// A page with more pieces than that is drawn out of them.
const MOST_ON_PAGE: usize = 30;
/// After so many pages in a row whose pictures don't come out, no others are tried.
const GIVES_UP_AFTER: usize = 3;
/// What stands on so many pages is a letterhead.
const OFTEN: usize = 3;
/// A picture that covers so much of a page with so many letters lies below them.
const COVERS: f64 = 0.8;
const PAGE_LETTERS: usize = 200;
/// A paragraph so much of which stands on the page is no news, in percent of its words.
const KNOWN_PERCENT: usize = 70;

/// A row of the list of pictures.
#[derive(Clone, Debug, PartialEq)]
struct Listed {
    page: usize,
    /// Which picture of its page, as they are taken out.
    number: usize,
    is_picture: bool,
    width: u32,
    height: u32,
    /// The object that it is, unless it is written into the page itself.
    object: Option<(u32, u32)>,
    /// Square inches that it covers.
    area: Option<f64>,
}

/// The pictures that are worth reading.
#[derive(Debug, Default)]
struct Chosen {
    pictures: Vec<Listed>,
    /// The pages of those that are too many.
    left_out: Vec<usize>,
}

/// What was read in pictures.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Paragraphs by page, from 1.
    pub(super) paragraphs: BTreeMap<usize, Vec<String>>,
    /// What was not read and why, in sentences.
    pub(super) notes: Vec<String>,
    /// How many were read.
    pub(super) read: usize,
}

/// The pictures that are worth reading. `text` is that of all pages, which end with form feeds, before scanned ones
/// were read; `page_area` is that of a page in square inches.
fn chosen(
    (file, bytes): (&Path, &[u8]),
    pages: &[&str],
    page_area: Option<f64>,
    limits: &Limits,
) -> Result<Chosen, ExtractError> {
    // A picture is a stream, and the dictionary of a stream is never compressed: most files need no second program.
    if !bytes.windows(6).any(|window| window == b"/Image") {
        return Ok(Chosen::default());
    }
    let list = Tool::new("pdfimages", PACKAGE)
        .arg("-list")
        .arg(file)
        .run(64 << 20)?;
    let listed = listed(&String::from_utf8_lossy(&list.stdout));
    Ok(wanted(&listed, pages, page_area, limits))
}

/// The pictures that others can be asked about.
pub(super) fn placed(
    file: (&Path, &[u8]),
    text: &str,
    page_area: Option<f64>,
    limits: &Limits,
) -> Result<Vec<Placed>, ExtractError> {
    let pages: Vec<&str> = text.split('\u{c}').collect();
    let chosen = chosen(file, &pages, page_area, limits)?;
    let placed = chosen.pictures.into_iter().filter_map(|picture| {
        Some(Placed {
            page: u32::try_from(picture.page).ok()?,
            number: picture.number,
        })
    });
    Ok(placed.collect())
}

/// One of the pictures, as PNG.
pub(super) fn one(file: &Path, at: Placed, folder: &Path) -> Result<PathBuf, ExtractError> {
    let page = usize::try_from(at.page).unwrap_or(usize::MAX);
    take_out(file, page, &folder.join("p"))?;
    let drawn = named(folder, at.number);
    match drawn.exists() {
        true => Ok(drawn),
        false => Err(ExtractError::NoPicture),
    }
}

/// What is read in pictures, by others before or here.
pub(super) fn read(
    (file, bytes): (&Path, &[u8]),
    text: &str,
    page_area: Option<f64>,
    known: &Known,
    limits: &Limits,
    meter: Meter<'_>,
) -> Result<Found, ExtractError> {
    let pages: Vec<&str> = text.split('\u{c}').collect();
    let Chosen { pictures, left_out } = chosen((file, bytes), &pages, page_area, limits)?;
    if pictures.is_empty() {
        return Ok(Found::default());
    }
    let mut found = BTreeMap::new();
    let mut damaged = Vec::new();
    let mut reader = Reader::new(file)?;
    for (done, picture) in pictures.iter().enumerate() {
        meter.at(done, pictures.len());
        let words = words(pages.get(picture.page - 1).copied().unwrap_or_default());
        let news = |paragraphs: Vec<String>| -> Vec<String> {
            let paragraphs = paragraphs.into_iter();
            paragraphs
                .filter(|paragraph| is_news(paragraph, &words))
                .collect()
        };
        let paragraphs = match known.picture(picture.page, picture.number) {
            Some(read) => read.told_of(news(read.paragraphs.clone())),
            None => match reader.read(picture) {
                Ok(paragraphs) => news(paragraphs),
                Err(error) if error.kind().is_transient() => return Err(error),
                Err(_) => {
                    damaged.push(picture.page);
                    continue;
                }
            },
        };
        if !paragraphs.is_empty() {
            found
                .entry(picture.page)
                .or_insert_with(Vec::new)
                .extend(paragraphs);
        }
    }
    let notes = [
        note(&damaged, "they can't be decoded"),
        note(&left_out, "there are more than are read of one file"),
    ];
    Ok(Found {
        paragraphs: found,
        notes: notes.into_iter().flatten().collect(),
        read: pictures.len() - damaged.len(),
    })
}

/// Says which pictures were not read.
fn note(pages: &[usize], why: &str) -> Option<String> {
    let (first, last) = (pages.iter().min()?, pages.iter().max()?);
    let count = pages.len();
    Some(match first == last {
        true => format!("Pictures on page {first} that were not read: {count}, since {why}."),
        false => {
            format!("Pictures on pages {first} to {last} that were not read: {count}, since {why}.")
        }
    })
}

/// Takes pictures out of a file, page by page, and has tesseract read them.
struct Reader<'a> {
    file: &'a Path,
    languages: Option<String>,
    folder: TempDir,
    /// The page whose pictures are in the folder.
    page: usize,
    /// Pages in a row whose pictures did not come out.
    in_vain: usize,
}

impl<'a> Reader<'a> {
    fn new(file: &'a Path) -> Result<Self, ExtractError> {
        Ok(Self {
            file,
            languages: None,
            folder: scratch()?,
            page: 0,
            in_vain: 0,
        })
    }

    fn read(&mut self, picture: &Listed) -> Result<Vec<String>, ExtractError> {
        if self.page != picture.page {
            if self.in_vain >= GIVES_UP_AFTER {
                return Err(ExtractError::NoPicture);
            }
            self.page = picture.page;
            self.folder = scratch()?;
            self.in_vain += 1;
            take_out(self.file, picture.page, &self.folder.path().join("p"))?;
            self.in_vain = 0;
        }
        let languages = match &mut self.languages {
            Some(languages) => languages,
            none => none.insert(ocr::languages()?),
        };
        paragraphs(picture, self.folder.path(), languages)
    }
}

/// What tesseract reads in a picture that was taken out.
fn paragraphs(
    picture: &Listed,
    folder: &Path,
    languages: &str,
) -> Result<Vec<String>, ExtractError> {
    let ready = folder.join("ready.png");
    let size = (picture.width, picture.height);
    image::enlarge(&named(folder, picture.number), size, &ready)?;
    ocr::read(&ready, languages)
}

/// As it is called once it is taken out.
fn named(folder: &Path, number: usize) -> PathBuf {
    folder.join(format!("p-{number:03}.png"))
}

/// Writes the pictures of a page.
fn take_out(file: &Path, page: usize, to: &Path) -> Result<(), ExtractError> {
    let number = page.to_string();
    Tool::new("pdfimages", PACKAGE)
        .args(["-png", "-f", &number, "-l", &number])
        .arg(file)
        .arg(to)
        .need(1 << 20, "PDF")
        .map(drop)
}

/// Reads the list: `page num type width height color comp bpc enc interp object ID x-ppi y-ppi size ratio`.
fn listed(list: &str) -> Vec<Listed> {
    let mut on_page: HashMap<usize, usize> = HashMap::new();
    let rows = list.lines().skip(2).filter_map(|row| {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let page: usize = fields.first()?.parse().ok().filter(|page| *page > 0)?;
        let number = on_page.entry(page).or_default();
        let this = *number;
        *number += 1;
        let number_at = |at: usize| fields.get(at)?.parse::<u32>().ok();
        // What is written into the page has one word in place of object and id.
        let object = number_at(10)
            .zip(number_at(11))
            .filter(|_| fields.len() >= 16);
        let side = |pixels: u32, dots: Option<u32>| {
            let dots = dots.filter(|dots| *dots > 0)?;
            Some(f64::from(pixels) / f64::from(dots))
        };
        let (width, height) = (number_at(3)?, number_at(4)?);
        let area =
            object.and_then(|_| Some(side(width, number_at(12))? * side(height, number_at(13))?));
        Some(Listed {
            page,
            number: this,
            is_picture: fields.get(2) == Some(&"image"),
            width,
            height,
            object,
            area,
        })
    });
    rows.collect()
}

/// Those that are worth reading, in the order of pages.
fn wanted(listed: &[Listed], pages: &[&str], page_area: Option<f64>, limits: &Limits) -> Chosen {
    let mut shown: HashMap<(u32, u32), usize> = HashMap::new();
    let mut on_page: HashMap<usize, (usize, u64)> = HashMap::new();
    let pixels = |one: &Listed| u64::from(one.width) * u64::from(one.height);
    for one in listed {
        if let Some(object) = one.object {
            *shown.entry(object).or_default() += 1;
        }
        let (count, largest) = on_page.entry(one.page).or_default();
        *count += 1;
        *largest = pixels(one).max(*largest);
    }
    let letters = |page: usize| {
        let text = pages.get(page - 1).copied().unwrap_or_default();
        text.chars().filter(|c| c.is_alphanumeric()).count()
    };
    let share = |one: &Listed| {
        one.area
            .zip(page_area)
            .map_or(0.0, |(area, page)| area / page)
    };
    let mut seen = HashSet::new();
    let mut is_wanted = |one: &Listed| {
        let (count, largest) = on_page.get(&one.page).copied().unwrap_or_default();
        let is_large =
            one.width >= LEAST_WIDTH && one.height >= LEAST_HEIGHT && pixels(one) >= LEAST_PIXELS;
        if !one.is_picture || !is_large || count > MOST_ON_PAGE || largest > limits.max_pixels {
            return false;
        }
        let Some(object) = one.object else {
            return false;
        };
        let letters = letters(one.page);
        // A page without text was read as a whole.
        letters > 0
            && shown.get(&object).is_some_and(|shown| *shown < OFTEN)
            && !(share(one) >= COVERS && letters >= PAGE_LETTERS)
            && seen.insert(object)
    };
    let mut chosen = Chosen::default();
    let (mut scans, mut others) = (limits.max_scanned_pages as usize, MOST_PICTURES);
    for one in listed.iter().filter(|one| is_wanted(one)) {
        let room = match share(one) >= COVERS {
            true => &mut scans,
            false => &mut others,
        };
        match room.checked_sub(1) {
            Some(rest) => {
                *room = rest;
                chosen.pictures.push(one.clone());
            }
            None => chosen.left_out.push(one.page),
        }
    }
    chosen
}

fn words(text: &str) -> HashSet<String> {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

/// Whether a paragraph says what its page does not.
fn is_news(paragraph: &str, known: &HashSet<String>) -> bool {
    let words = words(paragraph);
    let letters: usize = words.iter().map(|word| word.chars().count()).sum();
    let known = words.intersection(known).count();
    letters >= 3 && known * 100 < words.len() * KNOWN_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "page   num  type   width height color comp bpc  enc interp  object ID x-ppi y-ppi size ratio\n\
        --------------------------------------------------------------------------------------------\n   \
        1     0 image    1200   800  rgb     3   8  jpeg   no        10  0   200   200  101K 3.6%\n   \
        1     1 smask    1200   800  gray    1   8  image  no        10  0   200   200 1234B 0.1%\n   \
        1     2 image     120    40  gray    1   8  image  no        11  0    72    72 4800B 100%\n   \
        1     3 image     900   900  gray    1   8  image  no   [inline]   72    72 4800B 100%\n   \
        2     4 image    2550  3300  gray    1   1  ccitt  no        12  0   300   300   50K 4.9%\n   \
        2     5 image     600   300  rgb     3   8  jpeg   no        13  0   150   150   20K 3.7%\n   \
        3     6 image     600   300  rgb     3   8  jpeg   no        13  0   150   150   20K 3.7%\n   \
        4     7 image     600   300  rgb     3   8  jpeg   no        14  0   150   150   20K 3.7%\n";

    fn worth_reading(pages: &[&str], limits: &Limits) -> Vec<(usize, usize)> {
        let wanted = wanted(&listed(LIST), pages, Some(8.5 * 11.0), limits);
        wanted
            .pictures
            .iter()
            .map(|one| (one.page, one.number))
            .collect()
    }

    #[test]
    fn what_can_hold_text_is_read_once_and_no_scan_below_its_own_text() {
        let long = "word ".repeat(60);
        let limits = Limits::default();
        // The one of page 3 is that of page 2, and page 4 is read as a whole.
        assert_eq!(
            worth_reading(&["a", &long, "a", ""], &limits),
            [(1, 0), (2, 1)]
        );
        assert_eq!(
            worth_reading(&["a", "Slide 2", "a", ""], &limits),
            [(1, 0), (2, 0), (2, 1)]
        );
        let small = Limits {
            max_pixels: 1_000_000,
            ..limits
        };
        assert_eq!(
            worth_reading(&["a", "Slide 2", "a", "b"], &small),
            [(1, 0), (3, 0), (4, 0)]
        );
        let everywhere: String = (1..=3)
            .map(|page| format!("{page} 0 image 600 300 rgb 3 8 jpeg no 14 0 150 150 20K 3.7%\n"))
            .collect();
        let list = listed(&format!("\n\n{everywhere}rubbish\n0 0 image 9\n"));
        assert_eq!(list.len(), 3);
        let wanted = wanted(&list, &["a"; 3], None, &Limits::default());
        assert!(wanted.pictures.is_empty());
    }

    #[test]
    fn a_fax_is_read_to_its_end_and_what_is_too_much_is_said() {
        let list = |width: u32, height: u32| {
            let rows = (1..=300).map(|page| {
                format!(
                    "{page} 0 image {width} {height} gray 1 8 jpeg no {page} 0 100 100 20K 3%\n"
                )
            });
            listed(&format!("\n\n{}", rows.collect::<String>()))
        };
        let pages = vec!["FAX 1 of 300"; 300];
        let limits = Limits::default();
        let fax = wanted(&list(850, 1_100), &pages, Some(8.5 * 11.0), &limits);
        assert_eq!((fax.pictures.len(), fax.left_out.len()), (300, 0));
        let photos = wanted(&list(425, 550), &pages, Some(8.5 * 11.0), &limits);
        assert_eq!(photos.pictures.len(), MOST_PICTURES);
        assert_eq!(
            note(&photos.left_out, "so").as_deref(),
            Some("Pictures on pages 51 to 300 that were not read: 250, since so.")
        );
        assert_eq!(note(&[], "so"), None);
    }

    #[test]
    fn only_news_is_kept() {
        let page = words("Panel B-7 stands beside the shut-off valve of room 112.");
        assert!(!is_news("SHUT-OFF VALVE\nROOM 112", &page));
        assert!(!is_news("7 |", &page));
        assert!(is_news("Circuit 31 feeds the chiller on the roof", &page));
    }
}
