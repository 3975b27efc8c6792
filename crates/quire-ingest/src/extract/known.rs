//! What others made of a file before it is read here: what is said in it, what stands on its pages and pictures, and
//! what these show. Of an e-mail, the same for each of its attachments.

use std::collections::BTreeMap;

use quire_types::Spot;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::error::ExtractError;
use super::heard::Heard;
use super::limits::Limits;
use super::notes::Note;

/// With fewer letters from whoever reads pictures, a picture is read by the model that describes it.
const FEW_LETTERS: usize = 20;

/// What is known of a file; what is not is left to the programs on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Known {
    /// What is said in it.
    pub heard: Heard,
    /// What stands on it, by page from 1; a picture has one page.
    pub pages: BTreeMap<u32, PageRead>,
    /// What stands on the pictures of its pages.
    pub pictures: Vec<PictureRead>,
    /// What its pictures show.
    pub seen: Vec<PictureSeen>,
    /// Why recordings that are attached to it may not be listened to, if so.
    pub unheard: Option<String>,
    /// The same of its attachments, by number from 1.
    pub inside: BTreeMap<usize, Known>,
}

/// What somebody read on a page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRead {
    /// Who: the name of a model.
    pub by: String,
    /// Whether that is a model that may make up what it can't read.
    pub may_be_made_up: bool,
    /// From top to bottom, lines within them kept.
    pub paragraphs: Vec<String>,
}

/// One of the pictures on a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The page, from 1.
    pub page: u32,
    /// Which picture of its page, as they are taken out.
    pub number: usize,
}

/// What somebody read on one of the pictures of a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureRead {
    /// Which one.
    pub at: Placed,
    /// What was read.
    pub read: PageRead,
}

/// What somebody sees in a picture.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureSeen {
    /// The page that the picture is on, where it is on one.
    pub page: Option<u32>,
    /// The place in a file without pages.
    pub spot: Spot,
    /// Who: the name of a model.
    pub by: String,
    /// What it shows.
    pub description: String,
    /// What is on it.
    pub objects: Vec<String>,
    /// What can be read on it, where that may be missing otherwise.
    pub text: String,
}

/// What there is in a file that others can be asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToSense {
    /// Pages that are pictures, from 1.
    pub pages: Vec<u32>,
    /// Pictures on other pages.
    pub pictures: Vec<Placed>,
    /// Attachments by number from 1, with their names.
    pub files: Vec<(usize, String)>,
    /// Recordings and films that are attached, however deep.
    pub recordings: u64,
    /// How much sound there is in them, in milliseconds.
    pub sound_ms: u64,
}

impl Known {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What is known of an attachment.
    pub(crate) fn of(&self, number: usize) -> Self {
        let inside = self.inside.get(&number).cloned().unwrap_or_default();
        Self {
            unheard: self.unheard.clone(),
            ..inside
        }
    }

    pub(super) fn picture(&self, page: usize, number: usize) -> Option<&PageRead> {
        let found = self.pictures.iter().find(|picture| {
            usize::try_from(picture.at.page) == Ok(page) && picture.at.number == number
        });
        found.map(|picture| &picture.read)
    }
}

impl PageRead {
    /// Its paragraphs; if they may be made up, the first one says by whom.
    pub(super) fn told(&self) -> Vec<String> {
        self.told_of(self.paragraphs.clone())
    }

    /// The same of some of its paragraphs.
    pub(super) fn told_of(&self, paragraphs: Vec<String>) -> Vec<String> {
        let by = (self.may_be_made_up && !paragraphs.is_empty())
            .then(|| format!("Text read by a model ({}):", self.by));
        by.into_iter().chain(paragraphs).collect()
    }
}

impl Document {
    /// The same with what others see in it, as paragraphs at its end.
    pub(super) fn with_seen(
        self,
        seen: &[PictureSeen],
        limits: &Limits,
    ) -> Result<Self, ExtractError> {
        if seen.is_empty() {
            return Ok(self);
        }
        let is_read = self.letters_read() >= FEW_LETTERS;
        let has_pages = self.blocks.iter().any(|block| block.page.is_some());
        let notes = seen.iter().flat_map(|seen| {
            let place = Note {
                // Of a fax of many pages the first one is shown.
                page: seen.page.or(has_pages.then_some(1)),
                spot: seen.spot.clone(),
                text: String::new(),
            };
            seen.said(!is_read).map(move |text| Note {
                text,
                ..place.clone()
            })
        });
        let notes: Vec<Note> = notes.collect();
        self.with_notes(&notes, limits)
    }
}

impl PictureSeen {
    /// Paragraphs that say what was seen and by whom.
    fn said(&self, with_text: bool) -> impl Iterator<Item = String> {
        let filled = |what: &str, text: &str| {
            let has_words = text.contains(char::is_alphanumeric);
            has_words.then(|| format!("{what} ({}): {text}", self.by))
        };
        let text = if with_text { self.text.as_str() } else { "" };
        [
            filled("Description by a model", &self.description),
            filled("Objects seen by a model", &self.objects.join(", ")),
            filled("Text read by a model", text),
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_says_by_whom_and_what_was_not_says_nothing() {
        let seen = PictureSeen {
            by: "gpt-4o".to_owned(),
            description: "A crane stands beside a wall.".to_owned(),
            objects: vec!["crane".to_owned(), "wall".to_owned()],
            text: "CR-4410".to_owned(),
            ..PictureSeen::default()
        };
        let all: Vec<String> = seen.said(true).collect();
        assert_eq!(
            all,
            [
                "Description by a model (gpt-4o): A crane stands beside a wall.",
                "Objects seen by a model (gpt-4o): crane, wall",
                "Text read by a model (gpt-4o): CR-4410"
            ]
        );
        assert_eq!(seen.said(false).count(), 2);
        let nothing = PictureSeen {
            text: " -- ".to_owned(),
            ..PictureSeen::default()
        };
        assert_eq!(nothing.said(true).count(), 0);
    }

    #[test]
    fn what_may_be_made_up_says_by_whom() {
        let read = |may_be_made_up, paragraphs: &[&str]| PageRead {
            by: "gpt-4o".to_owned(),
            may_be_made_up,
            paragraphs: paragraphs.iter().map(|one| (*one).to_owned()).collect(),
        };
        assert_eq!(read(false, &["Total $950"]).told(), ["Total $950"]);
        assert_eq!(
            read(true, &["Total $950"]).told(),
            ["Text read by a model (gpt-4o):", "Total $950"]
        );
        assert!(read(true, &[]).told().is_empty());
    }
}
