//! From a document to passages: the pieces that are embedded, found and cited.
//!
//! Structure comes first: a passage is made of whole blocks of one section where that is possible, and of whole
//! sentences where a paragraph is too long. It ends with the paragraph that makes it large enough, so sizes vary with
//! the text: packing paragraphs up to one size found less (`docs/benchmarks.md`). Knows no model; sizes are
//! characters, chosen so that a passage fits the window of the embedding model.

mod chars;
mod pack;
mod split;

use quire_types::{Moment, Place, Spot, Turn};
use serde::{Deserialize, Serialize};

use crate::extract::{Block, BlockKind, Document, PATH_ENTRY_CHARS};
use chars::CharIndex;

/// How large passages are, in characters. Letters of scripts that models read in small pieces count
/// double (Cyrillic, Arabic, …) or fourfold (Chinese, Japanese, Korean, …).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PassageOptions {
    /// A passage of this size ends with its paragraph.
    pub enough_chars: u32,
    /// The size that no passage exceeds.
    pub max_chars: u32,
    /// A section smaller than this shares a passage with its neighbours.
    pub min_chars: u32,
    /// The longest sentence that is repeated where a paragraph had to be cut.
    pub overlap_chars: u32,
}

impl Default for PassageOptions {
    fn default() -> Self {
        Self {
            enough_chars: 600,
            max_chars: 1450,
            min_chars: 300,
            overlap_chars: 150,
        }
    }
}

/// A passage before it has an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PassageDraft {
    /// Its number in the document, from 0.
    pub ordinal: u32,
    /// The text to quote: exactly what stands at `place` in the document's text.
    pub text: String,
    /// Title and headings above it, for the search; never part of a quote.
    pub context: String,
    /// Where it stands.
    pub place: Place,
}

/// Cuts a document into passages. `name` stands in for a missing title.
pub fn passages(document: &Document, name: &str, options: &PassageOptions) -> Vec<PassageDraft> {
    let index = CharIndex::new(&document.text);
    let sizes = pack::Sizes::new(options);
    let units = split::units(document, &index, &sizes);
    let title = document
        .title
        .as_deref()
        .map(str::trim)
        .filter(|title| !title.is_empty())
        .unwrap_or(name);
    let mut drafts = Vec::new();
    for group in pack::groups(&units, &sizes) {
        let (Some(first), Some(last)) = (units.get(group.start), units.get(group.end - 1)) else {
            continue;
        };
        let (char_start, char_end) = (
            if group.overlaps {
                first.overlap_start
            } else {
                first.start
            },
            last.end,
        );
        let blocks = &document.blocks[first.block..=last.block];
        let heading_path = common_path(blocks, &document.text, &index);
        drafts.push(PassageDraft {
            ordinal: u32::try_from(drafts.len()).unwrap_or(u32::MAX),
            text: index.slice(&document.text, char_start, char_end).to_owned(),
            context: context(title, &heading_path),
            place: Place {
                // The name of an attachment stands on no page, what is in it may.
                page: blocks.iter().find_map(|block| block.page),
                spot: Spot {
                    turns: turns(blocks),
                    moments: moments(blocks),
                    ..joined_spot(blocks)
                },
                heading_path,
                char_start,
                char_end,
            },
        });
    }
    drafts
}

/// Where pages begin after the first one; a block stands on one page.
fn turns(blocks: &[Block]) -> Vec<Turn> {
    let mut begins = blocks.iter().filter_map(|block| {
        let page = block.page?;
        Some(Turn {
            page,
            at: block.char_start,
        })
    });
    let mut open = begins.next().map(|first| first.page);
    begins
        .filter(|turn| open.replace(turn.page) != Some(turn.page))
        .collect()
}

/// The stretches of a recording, where there are several.
fn moments(blocks: &[Block]) -> Vec<Moment> {
    let moments = blocks.iter().filter_map(|block| {
        Some(Moment {
            time: block.spot.time?,
            at: block.char_start,
        })
    });
    let moments: Vec<Moment> = moments.collect();
    if moments.len() > 1 {
        moments
    } else {
        Vec::new()
    }
}

fn joined_spot(blocks: &[Block]) -> Spot {
    let mut spots = blocks.iter().map(|block| &block.spot);
    let first = spots.next().cloned().unwrap_or_default();
    spots.fold(first, |joined, spot| joined.join(spot))
}

/// The headings that hold for all blocks. A heading stands above itself here: a reader who is led to
/// the top of section 4.2 wants to see "4.2".
fn common_path(blocks: &[Block], text: &str, index: &CharIndex) -> Vec<String> {
    let mut blocks = blocks.iter();
    let mut path = blocks
        .next()
        .map(|block| section_path(block, text, index))
        .unwrap_or_default();
    for block in blocks {
        let other = section_path(block, text, index);
        let common = path
            .iter()
            .zip(&other)
            .take_while(|(one, two)| one == two)
            .count();
        path.truncate(common);
    }
    path
}

fn section_path(block: &Block, text: &str, index: &CharIndex) -> Vec<String> {
    let mut path = block.heading_path.clone();
    if matches!(block.kind, BlockKind::Heading(_)) {
        let heading = index.slice(text, block.char_start, block.char_end);
        path.push(heading.chars().take(PATH_ENTRY_CHARS).collect());
    }
    path
}

fn context(title: &str, heading_path: &[String]) -> String {
    let headings = heading_path
        .iter()
        .map(String::as_str)
        .filter(|heading| *heading != title);
    std::iter::once(title)
        .chain(headings)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" › ")
}
