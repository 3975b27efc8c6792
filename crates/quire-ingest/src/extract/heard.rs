//! What others than the recogniser on this machine heard in a recording, part by part.

use serde::{Deserialize, Serialize};

use super::speech::Utterance;

/// What was heard elsewhere; what no part covers is left to the recogniser on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The parts, in order.
    pub parts: Vec<HeardPart>,
}

/// What was heard in a part of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeardPart {
    /// Where it begins.
    pub start_ms: u64,
    /// Where it ends.
    pub end_ms: u64,
    /// Who heard it: the name of a model.
    pub by: String,
    /// Whether it tells who speaks.
    pub tells_speakers: bool,
    /// What is said, with the times of the whole recording.
    pub utterances: Vec<Utterance>,
}

impl Heard {
    /// The stretches of a recording that nobody heard yet, each no longer than `most_ms`.
    pub(super) fn rest(&self, end_ms: u64, most_ms: u64) -> Vec<(u64, u64)> {
        let mut rest = Vec::new();
        let mut at = 0;
        let end = (end_ms, end_ms);
        let parts = self.parts.iter().map(|part| (part.start_ms, part.end_ms));
        for (start, until) in parts.chain([end]) {
            while at < start.min(end_ms) {
                let next = (at + most_ms).min(start).min(end_ms);
                rest.push((at, next));
                at = next;
            }
            at = at.max(until);
        }
        rest
    }

    /// Who heard it and how far that can be trusted, in words.
    pub(super) fn told(&self, rest: &[(u64, u64)]) -> String {
        let mut models: Vec<&str> = Vec::new();
        for part in &self.parts {
            if !models.contains(&part.by.as_str()) {
                models.push(&part.by);
            }
        }
        let mut text = format!(" Its words were recognised by {}", models.join(" and "));
        if !rest.is_empty() {
            let mut stretches: Vec<(u64, u64)> = Vec::new();
            for (start, end) in rest {
                match stretches.last_mut() {
                    Some(last) if last.1 == *start => last.1 = *end,
                    _ => stretches.push((*start, *end)),
                }
            }
            let shown = stretches.iter().map(|(start, end)| {
                format!("{} to {}", clock(start / 1_000), clock(end.div_ceil(1_000)))
            });
            let shown = shown.collect::<Vec<_>>().join(", ");
            text += &format!(
                "; those from {shown} by a program on this machine, which gets many of them wrong"
            );
        }
        text += ".";
        if !self.parts.iter().any(|part| part.tells_speakers) {
            text += " Who speaks is not told.";
        }
        text
    }
}

fn clock(seconds: u64) -> String {
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(start_s: u64, end_s: u64) -> HeardPart {
        HeardPart {
            start_ms: start_s * 1_000,
            end_ms: end_s * 1_000,
            by: "whisper-1".to_owned(),
            tells_speakers: false,
            utterances: Vec::new(),
        }
    }

    #[test]
    fn what_nobody_heard_is_left_in_pieces_and_told() {
        let heard = Heard {
            parts: vec![part(0, 600), part(1_200, 1_500)],
        };
        let rest = heard.rest(1_800_500, 300_000);
        let seconds = [(600, 900), (900, 1_200), (1_500, 1_800)];
        let mut expected: Vec<(u64, u64)> = seconds
            .iter()
            .map(|(start, end)| (start * 1_000, end * 1_000))
            .collect();
        expected.push((1_800_000, 1_800_500));
        assert_eq!(rest, expected);
        assert_eq!(
            heard.told(&rest),
            " Its words were recognised by whisper-1; those from 10:00 to 20:00, 25:00 to 30:01 by a program on \
             this machine, which gets many of them wrong. Who speaks is not told."
        );
        let all = Heard {
            parts: vec![HeardPart {
                tells_speakers: true,
                ..part(0, 2_000)
            }],
        };
        assert!(all.rest(1_800_500, 300_000).is_empty());
        assert_eq!(all.told(&[]), " Its words were recognised by whisper-1.");
        assert_eq!(
            Heard::default().rest(400_000, 300_000),
            [(0, 300_000), (300_000, 400_000)]
        );
    }
}
