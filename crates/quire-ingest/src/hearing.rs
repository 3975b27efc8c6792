//! What is said in a recording, by models of providers where there is a chain for it.
//!
//! The sound goes out in parts, which a child cuts; what no model wrote down is left to the recogniser on this
//! machine, part by part, and the parts that were written down are kept beside it. They are kept in memory: an attempt
//! that breaks off later begins anew, and its parts are sent and paid again.

use std::sync::Arc;

use bytes::Bytes;
use quire_models::{Heard as Segment, Transcript};
use quire_store::sources::Source;
use quire_tenancy::{Account, Providers, Sensed, ToHear};
use quire_types::TimeSpan;
use tracing::warn;

use crate::extract::{ExtractError, Heard, HeardPart, Part, Utterance};
use crate::sandbox::{Extractor, Tell};
use crate::{Error, Ingest};

/// Sound that is cut out at once, and of which smaller parts are made for those that listen to less.
const CUT_MS: u64 = 600_000;
const FILE_NAME: &str = "part.flac";
/// Nobody says more in a second; whoever writes down more makes it up.
const MOST_CHARS_PER_SECOND: usize = 60;
/// What a model takes for no speech and is unsure of was not said, by the rule of Whisper's own decoder.
const NO_SPEECH: f64 = 0.6;
const UNSURE: f64 = -1.0;

/// A recording that is to be listened to.
pub(crate) struct ToListen<'a> {
    pub(crate) source: &'a Source,
    /// What it is called: the source, or an attachment.
    pub(crate) name: &'a str,
    pub(crate) bytes: &'a Bytes,
    pub(crate) length_ms: u64,
    /// Whether it was read before: then a worse recogniser must not take the place of a better one.
    pub(crate) again: bool,
}

impl Ingest {
    /// Whether recordings are sent to models of providers.
    pub(crate) fn has_ears(&self) -> bool {
        let providers = self.config.providers.as_ref();
        providers.is_some_and(quire_tenancy::Providers::can_hear)
    }

    /// What models of providers hear in a recording. Tells percent.
    pub(crate) async fn listen(
        &self,
        account: &Arc<Account>,
        extractor: &Extractor,
        recording: ToListen<'_>,
        tell: &Tell,
    ) -> Result<Heard, Error> {
        let mut heard = Heard::default();
        let Some(providers) = self.config.providers.as_ref().filter(|_| self.has_ears()) else {
            return Ok(heard);
        };
        let length_ms = recording.length_ms.max(1);
        let at_once = providers.hears_at_once(account).await?;
        let part_ms = at_once
            .map_or(CUT_MS, |seconds| seconds * 1_000)
            .min(CUT_MS);
        let (mut at_ms, mut number) = (0, 0);
        while at_ms < length_ms {
            let bytes = recording.bytes.clone();
            let place = part(at_ms, CUT_MS, length_ms);
            let (cut, cut_ms) = self.cut(extractor, recording.name, bytes, place).await?;
            if cut.is_empty() {
                break;
            }
            let cut_end_ms = at_ms + cut_ms;
            let mut in_cut_ms = 0;
            while at_ms < cut_end_ms {
                // Below 100.
                tell((at_ms * 100 / length_ms) as u8);
                let (sound, sound_ms) = match part_ms < CUT_MS {
                    true => {
                        let place = part(in_cut_ms, part_ms, cut_ms);
                        self.cut(extractor, FILE_NAME, cut.clone(), place).await?
                    }
                    false => (cut.clone(), cut_ms),
                };
                if sound.is_empty() {
                    break;
                }
                number += 1;
                let part = Listening {
                    recording: &recording,
                    sound: &sound,
                    time: (at_ms, at_ms + sound_ms),
                    number: (length_ms > part_ms).then_some(number),
                };
                let written = self.write_down(providers, account, part).await?;
                heard.parts.extend(written);
                in_cut_ms += sound_ms;
                at_ms += sound_ms;
            }
            at_ms = cut_end_ms;
        }
        Ok(heard)
    }

    /// A part of a recording, or less of it, with its length.
    async fn cut(
        &self,
        extractor: &Extractor,
        name: &str,
        bytes: Bytes,
        part: Part,
    ) -> Result<(Bytes, u64), Error> {
        let _place = self.config.extracting.enter().await?;
        Ok(extractor.cut_sound(name, bytes, part).await?)
    }

    /// What is said in one part; none where nobody wrote it down.
    async fn write_down(
        &self,
        providers: &Providers,
        account: &Arc<Account>,
        part: Listening<'_>,
    ) -> Result<Option<HeardPart>, Error> {
        let (start_ms, end_ms) = part.time;
        let source = part.recording.source;
        let to_hear = ToHear {
            sound: part.sound,
            file_name: FILE_NAME,
            length_ms: end_ms - start_ms,
            notebook: source.notebook,
        };
        match providers.write_down(account, to_hear).await? {
            Sensed::By { model, value } => Ok(Some(HeardPart {
                start_ms,
                end_ms,
                by: model,
                tells_speakers: value.tells_speakers,
                utterances: utterances(value.transcript, part.time, part.number),
            })),
            Sensed::Nobody { why } if part.recording.again => {
                let detail = format!("nobody listens to it now: {why}");
                Err(ExtractError::Unavailable { detail }.into())
            }
            Sensed::Nobody { why } => {
                warn!(
                    source = %source.id, start_ms, why,
                    "no provider wrote down a part of a recording; the recogniser on this machine does"
                );
                Ok(None)
            }
        }
    }
}

/// So much from a moment on of sound that is so long.
fn part(start_ms: u64, most_ms: u64, length_ms: u64) -> Part {
    let end_ms = (start_ms + most_ms).min(length_ms);
    Part {
        start_ms,
        end_ms,
        is_last: end_ms == length_ms,
    }
}

/// A part of a recording.
struct Listening<'a> {
    recording: &'a ToListen<'a>,
    sound: &'a Bytes,
    /// From where to where, in milliseconds.
    time: (u64, u64),
    /// Which one it is, where there are several.
    number: Option<u64>,
}

/// What was said in a part, with the times of the whole recording. A speaker's name counts within the part that it was
/// given in.
fn utterances(
    transcript: Transcript,
    (start_ms, end_ms): (u64, u64),
    part: Option<u64>,
) -> Vec<Utterance> {
    let seconds = (end_ms - start_ms).div_ceil(1_000).max(1);
    let mut room = usize::try_from(seconds)
        .unwrap_or(usize::MAX)
        .saturating_mul(MOST_CHARS_PER_SECOND);
    let segments = match transcript.segments.is_empty() {
        false => transcript.segments,
        // When each word was said is not told: the place is the part.
        true => vec![Segment {
            end: (end_ms - start_ms) as f64 / 1_000.0,
            text: transcript.text,
            ..Segment::default()
        }],
    };
    let at = |seconds: f64| {
        // Saturates, and is bounded by the part.
        let ms = (seconds.max(0.0) * 1_000.0) as u64;
        start_ms.saturating_add(ms).min(end_ms)
    };
    let mut said = Vec::new();
    for segment in segments {
        let is_silence = segment.no_speech_prob.is_some_and(|p| p > NO_SPEECH)
            && segment.avg_logprob.is_some_and(|sure| sure < UNSURE);
        let text: String = segment.text.trim().chars().take(room).collect();
        if is_silence || text.is_empty() {
            continue;
        }
        room -= text.chars().count();
        said.push(Utterance {
            time: TimeSpan {
                start_ms: at(segment.start),
                end_ms: at(segment.end),
            },
            speaker: segment.speaker.and_then(|name| speaker(&name, part)),
            text,
        });
    }
    said
}

/// Models call speakers A and B, whoever they are, and anew in each part.
fn speaker(name: &str, part: Option<u64>) -> Option<String> {
    let plain = name.replace(char::is_control, " ");
    let name: String = plain.trim().chars().take(60).collect();
    if name.is_empty() {
        return None;
    }
    let name = match name.chars().count() {
        1..=3 => format!("Speaker {name}"),
        _ => name,
    };
    Some(match part {
        Some(part) => format!("{name} (part {part})"),
        None => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(start: f64, end: f64, text: &str) -> Segment {
        Segment {
            start,
            end,
            text: text.to_owned(),
            ..Segment::default()
        }
    }

    #[test]
    fn times_are_those_of_the_recording_and_what_was_not_said_is_left_out() {
        let silence = Segment {
            no_speech_prob: Some(0.9),
            avg_logprob: Some(-1.4),
            ..said(4.0, 5.0, "Thanks for watching!")
        };
        let quiet = Segment {
            no_speech_prob: Some(0.9),
            avg_logprob: Some(-0.2),
            speaker: Some("B".to_owned()),
            ..said(5.0, 9_000.0, "Six.")
        };
        let endless = said(6.0, 7.0, &"la ".repeat(30_000));
        let transcript = Transcript {
            segments: vec![said(1.5, 3.0, " Close it. "), silence, quiet, endless],
            ..Transcript::default()
        };
        let found = utterances(transcript, (600_000, 700_000), Some(2));
        let times: Vec<(u64, u64)> = found
            .iter()
            .map(|one| (one.time.start_ms, one.time.end_ms))
            .collect();
        assert_eq!(
            times,
            [(601_500, 603_000), (605_000, 700_000), (606_000, 607_000)]
        );
        assert_eq!(found[0].text, "Close it.");
        assert_eq!(found[1].speaker.as_deref(), Some("Speaker B (part 2)"));
        let chars: usize = found.iter().map(|one| one.text.chars().count()).sum();
        assert_eq!(chars, 100 * MOST_CHARS_PER_SECOND);
    }

    #[test]
    fn text_without_times_stands_for_its_part() {
        let transcript = Transcript {
            text: "Pour on Friday.".to_owned(),
            ..Transcript::default()
        };
        let found = utterances(transcript, (0, 4_200), None);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].time.start_ms, found[0].time.end_ms), (0, 4_200));
        assert_eq!(speaker("Priya N.", None).as_deref(), Some("Priya N."));
        assert_eq!(speaker(" \u{7} ", None), None);
    }
}
