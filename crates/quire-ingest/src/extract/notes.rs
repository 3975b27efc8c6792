//! What somebody else says about a file, added to the text that was read in it.

use quire_types::Spot;

use super::builder::Builder;
use super::document::{BlockKind, Document};
use super::error::ExtractError;
use super::limits::Limits;

/// A paragraph about a file, with the place that it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The page, where the file has pages.
    pub page: Option<u32>,
    /// The place in a file without.
    pub spot: Spot,
    /// What is said; it says by whom.
    pub text: String,
}

impl Document {
    /// The same with notes at its end, below no heading. Their text is cleaned like every other.
    pub fn with_notes(self, notes: &[Note], limits: &Limits) -> Result<Self, ExtractError> {
        let mut builder = Builder::resume(limits, self);
        for note in notes {
            builder.at(note.spot.clone());
            builder.push(BlockKind::Paragraph, &note.text, note.page)?;
        }
        builder.finish()
    }

    /// How many letters and digits were read in it, the first paragraph aside: of a picture that is what its file
    /// says about itself.
    pub(crate) fn letters_read(&self) -> usize {
        let first = self.blocks.first().map_or(0, |block| block.char_end);
        let read = self.text.chars().skip(first as usize);
        read.filter(|c| c.is_alphanumeric()).count()
    }
}

#[cfg(test)]
mod tests {
    use quire_types::TimeSpan;

    use super::*;

    #[test]
    fn notes_stand_at_the_end_with_their_place_and_without_noise() -> Result<(), ExtractError> {
        let limits = Limits::default();
        let mut builder = Builder::new(&limits, 100);
        builder.duration(9_000, true);
        builder.heading(1, "Überblick", None)?;
        builder.push(BlockKind::Paragraph, "Read.", None)?;
        let before = builder.finish()?;
        assert_eq!(before.letters_read(), 4);
        let note = Note {
            spot: Spot {
                time: Some(TimeSpan {
                    start_ms: 5,
                    end_ms: 9,
                }),
                ..Spot::default()
            },
            text: "A  crane\u{7}.".to_owned(),
            ..Note::default()
        };
        let after = before
            .clone()
            .with_notes(std::slice::from_ref(&note), &limits)?;
        assert!(after.is_consistent());
        assert_eq!(after.text, "Überblick\n\nRead.\n\nA crane.");
        assert_eq!((after.duration_ms, after.blocks.len()), (Some(9_000), 3));
        assert!(after.blocks.starts_with(&before.blocks));
        let last = after
            .blocks
            .last()
            .map(|block| (&block.spot, block.heading_path.len()));
        assert_eq!(last, Some((&note.spot, 0)));
        assert_eq!(before.clone().with_notes(&[], &limits)?, before);
        let small = Limits {
            max_text_chars: 20,
            ..limits
        };
        assert!(before.with_notes(&[note], &small).is_err());
        Ok(())
    }
}
