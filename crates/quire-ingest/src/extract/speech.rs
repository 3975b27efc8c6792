//! What was said and when, as text: short utterances of one speaker joined to paragraphs with their times.
//!
//! Knows no format: transcripts and recognisers both end here.

use quire_types::{Spot, TimeSpan};
use serde::{Deserialize, Serialize};

use super::builder::{Builder, one_line};
use super::document::BlockKind;
use super::error::ExtractError;

/// Where a paragraph may end with a sentence, and where it ends in any case.
const SOFT_CHARS: usize = 280;
const HARD_CHARS: usize = 700;
/// Silence after which somebody begins anew.
const PAUSE_MS: u64 = 4_000;

/// Stands for the speaker of what is written rather than said.
pub(super) const ON_SCREEN: &str = "On screen";

/// A stretch of speech.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Utterance {
    /// When.
    pub time: TimeSpan,
    /// Who speaks, where that is known.
    pub speaker: Option<String>,
    /// What is said.
    pub text: String,
}

pub(super) fn write(
    utterances: Vec<Utterance>,
    builder: &mut Builder<'_>,
) -> Result<(), ExtractError> {
    let mut open: Option<Utterance> = None;
    for mut next in utterances {
        next.text = one_line(&next.text);
        if next.text.is_empty() {
            continue;
        }
        match &mut open {
            Some(turn) if continues(turn, &next) => {
                turn.text.push(' ');
                turn.text.push_str(&next.text);
                turn.time.end_ms = turn.time.end_ms.max(next.time.end_ms);
            }
            _ => {
                if let Some(turn) = open.replace(next) {
                    push(&turn, builder)?;
                }
            }
        }
    }
    if let Some(turn) = open {
        push(&turn, builder)?;
    }
    builder.at(Spot::default());
    Ok(())
}

fn continues(turn: &Utterance, next: &Utterance) -> bool {
    let chars = turn.text.len();
    let ends_sentence = turn.text.ends_with(['.', '?', '!', '…']);
    turn.speaker == next.speaker
        && turn.speaker.as_deref() != Some(ON_SCREEN)
        && next.time.start_ms <= turn.time.end_ms.saturating_add(PAUSE_MS)
        && chars + next.text.len() <= HARD_CHARS
        && !(chars >= SOFT_CHARS && ends_sentence)
}

fn push(turn: &Utterance, builder: &mut Builder<'_>) -> Result<(), ExtractError> {
    builder.at(Spot {
        time: Some(turn.time),
        ..Spot::default()
    });
    match &turn.speaker {
        Some(speaker) => builder.push(
            BlockKind::Paragraph,
            &format!("{speaker}: {}", turn.text),
            None,
        ),
        None => builder.push(BlockKind::Paragraph, &turn.text, None),
    }
}
