//! Which character of a file became which character of its extracted text.

use std::ops::Range;

use quire_store::passages::Passage;

/// A mapping between a plain text and what quire extracted from it: the same visible characters in the
/// same order, with other white space between them.
pub(super) struct Alignment {
    extracted: Vec<char>,
    /// For each extracted character its place in the file; none for white space.
    places: Vec<Option<usize>>,
}

impl Alignment {
    /// Walks through both texts side by side; what only the file has is skipped.
    pub(super) fn new(original: &str, passages: &[Passage]) -> Self {
        let extracted = extracted(passages);
        let mut rest = original.chars().enumerate();
        let places = extracted
            .iter()
            .map(|c| {
                if c.is_whitespace() {
                    return None;
                }
                rest.find(|(_, other)| other == c).map(|(place, _)| place)
            })
            .collect();
        Self { extracted, places }
    }

    /// The span of the file that a span of the extracted text came from.
    pub(super) fn original(&self, chars: &Range<u32>) -> Option<Range<usize>> {
        let places = self.places.get(chars.start as usize..chars.end as usize)?;
        let first = places.iter().flatten().next()?;
        let last = places.iter().flatten().next_back()?;
        Some(*first..last + 1)
    }

    /// What became of a span of the file.
    pub(super) fn extracted(&self, original: &Range<usize>) -> Option<String> {
        let is_inside = |place: &Option<usize>| place.is_some_and(|at| original.contains(&at));
        let first = self.places.iter().position(is_inside)?;
        let last = self.places.iter().rposition(is_inside)?;
        Some(self.extracted.get(first..=last)?.iter().collect())
    }
}

/// The extracted text, put together from the passages; between them there is only white space.
fn extracted(passages: &[Passage]) -> Vec<char> {
    let end = passages.iter().map(|passage| passage.place.char_end).max();
    let mut text = vec![' '; end.unwrap_or(0) as usize];
    for passage in passages {
        let places = text.iter_mut().skip(passage.place.char_start as usize);
        for (place, c) in places.zip(passage.body.chars()) {
            *place = c;
        }
    }
    text
}
