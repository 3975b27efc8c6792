//! Google's recogniser of speech, version 2, with sound inside the request.
//!
//! Knows how its answer tells times and speakers, and nothing of who is calling.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde_json::json;

use super::{Heard, SoundUsage, TranscribeCall, Transcript};
use crate::Error;
use crate::server::{Server, Told};

/// Sound inside a request lasts a minute at the most.
pub(super) const MOST_SECONDS: u64 = 59;
/// Silence after which something new is said, in seconds.
const PAUSE: f64 = 1.5;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    #[serde(default)]
    results: Vec<Stretch>,
    // Every answer has it, also one in which nothing was said.
    metadata: Metadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    total_billed_duration: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Stretch {
    alternatives: Vec<Alternative>,
    result_end_offset: Option<String>,
    language_code: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Alternative {
    transcript: String,
    words: Vec<Word>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Word {
    start_offset: Option<String>,
    end_offset: Option<String>,
    word: String,
    speaker_label: Option<String>,
}

pub(super) async fn transcribe(
    server: &Server,
    call: &TranscribeCall<'_>,
) -> Result<(Transcript, Told), Error> {
    let mut features = json!({
        "enableWordTimeOffsets": true,
        "enableAutomaticPunctuation": true,
    });
    if call.tells_speakers {
        // How many there are, the recogniser finds out.
        features["diarizationConfig"] = json!({});
    }
    let body = json!({
        "config": {
            "autoDecodingConfig": {},
            "model": call.model,
            "languageCodes": [call.language.unwrap_or("auto")],
            "features": features,
        },
        "content": BASE64.encode(call.bytes),
    });
    let request = server.post("recognizers/_:recognize").json(&body);
    let (body, told) = server
        .fetch_within(request, server.patience().sound)
        .await?;
    Ok((transcript(server.parse(&body)?), told))
}

fn transcript(answer: Answer) -> Transcript {
    let (mut segments, mut texts) = (Vec::new(), Vec::new());
    let mut language = None;
    let mut at = 0.0;
    for stretch in answer.results {
        let end = seconds(stretch.result_end_offset.as_deref());
        // The first one is the most likely one.
        let Some(best) = stretch.alternatives.into_iter().next() else {
            continue;
        };
        language = language.or(stretch.language_code);
        let said = said(&best, (at, end));
        at = end
            .or(said.last().map(|last| last.end))
            .map_or(at, |end| end.max(at));
        segments.extend(said);
        texts.push(best.transcript.trim().to_owned());
    }
    segments.retain(|heard| heard.start.is_finite() && heard.end >= heard.start);
    Transcript {
        text: texts.join(" ").trim().to_owned(),
        language,
        duration: None,
        segments,
        usage: SoundUsage {
            seconds: seconds(answer.metadata.total_billed_duration.as_deref()),
            ..SoundUsage::default()
        },
    }
}

/// What is said in a stretch, by sentence, pause and speaker.
fn said(best: &Alternative, (start, end): (f64, Option<f64>)) -> Vec<Heard> {
    let begins = begins(&best.transcript, &best.words);
    let mut found: Vec<Heard> = Vec::new();
    let mut at = start;
    let mut is_open = false;
    for (number, word) in best.words.iter().enumerate() {
        // What is zero is left out of the answer.
        let begin = seconds(word.start_offset.as_deref()).unwrap_or(at);
        let until = seconds(word.end_offset.as_deref())
            .unwrap_or(begin)
            .max(begin);
        let text = match &begins {
            Some(begins) => {
                let next = begins.get(number + 1).copied();
                &best.transcript[begins[number]..next.unwrap_or(best.transcript.len())]
            }
            None => word.word.as_str(),
        };
        match found.last_mut().filter(|open| {
            is_open && open.speaker == word.speaker_label && begin <= open.end + PAUSE
        }) {
            Some(open) => {
                if begins.is_none() {
                    open.text.push(' ');
                }
                open.text.push_str(text);
                open.end = until;
            }
            None => found.push(Heard {
                start: begin,
                end: until,
                text: text.to_owned(),
                speaker: word.speaker_label.clone(),
                ..Heard::default()
            }),
        }
        is_open = !word.word.ends_with(['.', '?', '!', '…', '。', '？', '！']);
        at = until;
    }
    for heard in &mut found {
        heard.text.truncate(heard.text.trim_end().len());
    }
    let has_times = best.words.iter().any(|word| word.end_offset.is_some());
    if !has_times {
        // When each word was said is not told: the place is the stretch.
        for heard in &mut found {
            (heard.start, heard.end) = (start, end.unwrap_or(start));
        }
    }
    if found.is_empty() && !best.transcript.trim().is_empty() {
        found.push(Heard {
            start,
            end: end.unwrap_or(start),
            text: best.transcript.trim().to_owned(),
            ..Heard::default()
        });
    }
    found
}

/// Where each word begins in the text, which has the spaces that its language has; none if they don't match.
fn begins(text: &str, words: &[Word]) -> Option<Vec<usize>> {
    let mut at = 0;
    let mut begins = Vec::with_capacity(words.len());
    for word in words {
        let begin = at + text[at..].find(&word.word)?;
        begins.push(begin);
        at = begin + word.word.len();
    }
    Some(begins)
}

/// Of a duration like `1.300s`.
fn seconds(text: Option<&str>) -> Option<f64> {
    let seconds: f64 = text?.strip_suffix('s')?.parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then_some(seconds)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn heard(answer: serde_json::Value) -> Vec<(f64, f64, Option<String>, String)> {
        let transcript = transcript(serde_json::from_value(answer).unwrap());
        let segments = transcript.segments.into_iter();
        segments
            .map(|one| (one.start, one.end, one.speaker, one.text))
            .collect()
    }

    #[test]
    fn words_become_sentences_with_times_and_speakers() {
        let word = |word: &str, start: &str, end: &str, speaker: &str| json!({"word": word, "startOffset": start, "endOffset": end, "speakerLabel": speaker});
        let mut first = word("Pour", "", "0.400s", "1");
        first.as_object_mut().unwrap().remove("startOffset");
        let found = heard(json!({
            "results": [{
                "alternatives": [{"transcript": "Pour Friday. Yes, at  six", "words": [
                    first, word("Friday.", "0.400s", "1s", "1"), word("Yes,", "1.100s", "1.500s", "2"),
                    word("at", "1.500s", "1.600s", "2"), word("six", "9s", "9.500s", "2"),
                ]}],
                "resultEndOffset": "9.600s", "languageCode": "en-us", "unheardOf": 1,
            }],
            "metadata": {"requestId": "1", "totalBilledDuration": "10s"},
        }));
        let speaker = |name: &str| Some(name.to_owned());
        let wanted = [
            (0.0, 1.0, speaker("1"), "Pour Friday.".to_owned()),
            (1.1, 1.6, speaker("2"), "Yes, at".to_owned()),
            (9.0, 9.5, speaker("2"), "six".to_owned()),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn without_times_of_words_the_place_is_the_stretch() {
        let found = heard(json!({
            "results": [
                {"alternatives": [{"transcript": "静かに。"}], "resultEndOffset": "4s"},
                {"alternatives": []},
                {"alternatives": [{"transcript": "Ja. Nein.", "words": [
                    {"word": "Ja.", "speakerLabel": "1"}, {"word": "nein", "speakerLabel": "2"}]}],
                    "resultEndOffset": "7.500s"},
            ],
            "metadata": {},
        }));
        let texts: Vec<(f64, f64, &str)> = found
            .iter()
            .map(|(start, end, _, text)| (*start, *end, text.as_str()))
            .collect();
        // The second one's words are not those of its text.
        let wanted = [
            (0.0, 4.0, "静かに。"),
            (4.0, 7.5, "Ja."),
            (4.0, 7.5, "nein"),
        ];
        assert_eq!(texts, wanted);
        assert!(heard(json!({"metadata": {"totalBilledDuration": "3s"}})).is_empty());
        assert_eq!(seconds(Some("-3s")), None);
        assert_eq!(seconds(Some("soon")), None);
    }
}
