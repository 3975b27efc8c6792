//! Speech written down and text spoken, by any server that speaks OpenAI's audio protocol (OpenAI itself,
//! faster-whisper, speaches, LocalAI), and written down by Google. Refuses to know formats of sound.

mod google;

use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::json;

use crate::Error;
use crate::registry::Wire;
use crate::server::{Server, Told};

/// The longest text that is spoken at once.
const MOST_SPOKEN_CHARS: usize = 4_096;
/// Sound that is sent at once: as FLAC of one channel below 20 MB, where providers take 25.
const MOST_SECONDS: u64 = 600;

/// Seconds of sound that a provider listens to in one request; none where it listens to nothing.
pub(crate) fn seconds_at_once(wire: Wire) -> Option<u64> {
    match wire {
        Wire::OpenAi | Wire::Responses => Some(MOST_SECONDS),
        Wire::GoogleSpeech => Some(google::MOST_SECONDS),
        _ => None,
    }
}

/// Sound that is to be written down.
#[derive(Clone, Copy, Debug)]
pub struct TranscribeCall<'a> {
    /// The model, by its name at the provider.
    pub model: &'a str,
    /// The file.
    pub bytes: &'a [u8],
    /// Its name, whose ending tells the format: flac, mp3, mp4, m4a, ogg, wav or webm.
    pub file_name: &'a str,
    /// The language, as in ISO 639-1, if it is known.
    pub language: Option<&'a str>,
    /// Whether it is to tell who says what, which few models can.
    pub tells_speakers: bool,
}

/// What was said.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Transcript {
    /// All of it.
    pub text: String,
    /// The language that was heard.
    pub language: Option<String>,
    /// Seconds of sound, where the server said so.
    pub duration: Option<f64>,
    /// When what was said; empty when the server does not tell.
    #[serde(default)]
    pub segments: Vec<Heard>,
    /// What it took, where the server said so.
    #[serde(default)]
    pub usage: SoundUsage,
}

/// What writing down took, by whichever unit the model is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct SoundUsage {
    /// Seconds of sound.
    pub seconds: Option<f64>,
    /// Tokens sent.
    pub input_tokens: Option<u64>,
    /// Tokens received.
    pub output_tokens: Option<u64>,
}

/// A piece of what was said.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Heard {
    /// Where it begins, in seconds.
    pub start: f64,
    /// Where it ends, in seconds.
    pub end: f64,
    /// What was said.
    pub text: String,
    /// How likely that is not speech at all, from 0 to 1.
    pub no_speech_prob: Option<f64>,
    /// How sure the model was of its words, as the mean of their logarithms.
    pub avg_logprob: Option<f64>,
    /// Who says it, by a name that counts in this piece of sound alone.
    pub speaker: Option<String>,
}

/// Text that is to be spoken.
#[derive(Clone, Copy, Debug)]
pub struct SpeakCall<'a> {
    /// The model, by its name at the provider.
    pub model: &'a str,
    /// The text, 4,096 characters at most.
    pub text: &'a str,
    /// Whose voice.
    pub voice: &'a str,
    /// `mp3`, `opus`, `aac`, `flac`, `wav` or `pcm`.
    pub format: &'a str,
}

impl Server {
    /// Writes down what is said.
    pub async fn transcribe(&self, call: &TranscribeCall<'_>) -> Result<(Transcript, Told), Error> {
        if self.wire() == Wire::GoogleSpeech {
            return google::transcribe(self, call).await;
        }
        let (content_type, body) = form(call);
        let request = self
            .post("audio/transcriptions")
            .header(CONTENT_TYPE, content_type)
            .body(body);
        let (body, told) = self.fetch_within(request, self.patience().sound).await?;
        let mut transcript: Transcript = self.parse(&body)?;
        transcript
            .segments
            .retain(|heard| heard.start.is_finite() && heard.end >= heard.start);
        Ok((transcript, told))
    }

    /// Speaks a text: the bytes of a file of sound.
    pub async fn speak(&self, call: &SpeakCall<'_>) -> Result<(Vec<u8>, Told), Error> {
        let chars = call.text.chars().count();
        if chars == 0 || chars > MOST_SPOKEN_CHARS {
            return Err(Error::Config(format!(
                "{chars} characters can't be spoken at once: 1 to {MOST_SPOKEN_CHARS} can"
            )));
        }
        let body = json!({"model": call.model, "input": call.text, "voice": call.voice,
            "response_format": call.format});
        let (sound, told) = self.fetch(self.post("audio/speech").json(&body)).await?;
        match sound.first() {
            // No format of sound begins with a brace, and every error does.
            Some(b'{') => self.parse::<Never>(&sound).map(|never| match never {}),
            None => Err(Error::Malformed {
                what: "no sound".to_owned(),
            }),
            Some(_) => Ok((sound, told)),
        }
    }
}

/// What no JSON is.
#[derive(Deserialize)]
enum Never {}

/// The body of a form with a file (RFC 7578).
fn form(call: &TranscribeCall<'_>) -> (String, Vec<u8>) {
    // Longer than anything that sound holds by chance.
    let boundary = format!("quire-{:032x}", rand::random::<u128>());
    let mut body = Vec::with_capacity(call.bytes.len() + 1_024);
    let mut field = |name: &str, value: &str| {
        body.extend_from_slice(
            format!(
                "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            )
            .as_bytes(),
        );
    };
    field("model", call.model);
    if call.tells_speakers {
        field("response_format", "diarized_json");
        // Of more than half a minute the model wants to be told how to cut it.
        field("chunking_strategy", "auto");
    } else {
        field("response_format", "verbose_json");
        field("timestamp_granularities[]", "segment");
    }
    if let Some(language) = call.language {
        field("language", language);
    }
    let name: String = call
        .file_name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || ".-_".contains(c) {
                c
            } else {
                '_'
            }
        })
        .collect();
    body.extend_from_slice(
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n"
        )
        .as_bytes(),
    );
    body.extend_from_slice(call.bytes);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), body)
}
