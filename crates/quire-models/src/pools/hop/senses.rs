//! Hops that hear, see and read.

use quire_types::{ChatMessage, NanoUsd};
use tracing::Instrument;

use super::super::Work;
use super::super::gauge::Outcome;
use super::Hop;
use crate::Error;
use crate::chat::{ChatStream, Picture, Schema};
use crate::pages::PageText;
use crate::registry::{Capability, Feature, Tokens, Unit};
use crate::sound::{SoundUsage, TranscribeCall, Transcript};

impl Hop {
    /// Asks about a picture, which is shown with the last message. Refused the second time.
    pub async fn look(
        &self,
        messages: &[ChatMessage],
        schema: Option<&Schema>,
        picture: Picture<'_>,
    ) -> Result<ChatStream, Error> {
        self.stream_about(messages, schema, Some(picture)).await
    }

    /// What it cost to look at one picture and say this.
    pub fn look_cost(&self, used: Tokens) -> NanoUsd {
        let picture = self.price.cost_of(Unit::Images, 1).unwrap_or_default();
        self.price.cost(used).saturating_add(picture)
    }

    /// Whether it reads pictures and does nothing else; others that read are asked as in a conversation.
    pub fn is_reader(&self) -> bool {
        self.model.does.contains(&Capability::Read)
    }

    /// Asks what stands on a picture, one page, and tells what that cost. Refused the second time, too.
    pub async fn read(&self, picture: Picture<'_>) -> Result<(PageText, NanoUsd), Error> {
        if !self.is_reader() || self.wish.work != Work::Read {
            return Err(Error::Config("nothing was to be read".to_owned()));
        }
        let (mut ticket, span) = self.leave("read")?;
        let read = self.server.read_page(picture).instrument(span).await;
        let (text, told) = read.inspect_err(|error| ticket.failed(error))?;
        ticket.hear(&told);
        ticket.outcome = Outcome::Good;
        let cost = self.price.cost_of(Unit::Pages, 1).unwrap_or_default();
        ticket.beside = cost;
        Ok((text, cost))
    }

    /// Whether it tells who says what.
    pub fn tells_speakers(&self) -> bool {
        self.model.features.contains(&Feature::Speakers)
    }

    /// Asks what is said in a piece of sound, and tells what that cost if it is known. The transcript's usage is what
    /// was billed, as far as that can be true. Refused the second time, too.
    pub async fn transcribe(
        &self,
        sound: &[u8],
        file_name: &str,
    ) -> Result<(Transcript, Option<NanoUsd>), Error> {
        let Work::Transcribe { seconds } = self.wish.work else {
            return Err(Error::Config("nothing was to be written down".to_owned()));
        };
        let (mut ticket, span) = self.leave("transcribe")?;
        let call = TranscribeCall {
            model: &self.model.name,
            bytes: sound,
            file_name,
            language: None,
            tells_speakers: self.tells_speakers(),
        };
        let written = self.server.transcribe(&call).instrument(span).await;
        let (mut transcript, told) = written.inspect_err(|error| ticket.failed(error))?;
        ticket.hear(&told);
        ticket.outcome = Outcome::Good;
        let usage = std::mem::take(&mut transcript.usage);
        let billed = billed_seconds(&usage, seconds);
        if let Some(cost) = self.price.cost_of(Unit::AudioSeconds, billed) {
            transcript.usage.seconds = Some(billed as f64);
            ticket.beside = cost;
            return Ok((transcript, Some(cost)));
        }
        ticket.used = self.used_tokens(&usage);
        let cost = ticket.used.map(|tokens| {
            transcript.usage.input_tokens = Some(tokens.input);
            transcript.usage.output_tokens = Some(tokens.output);
            self.price.cost(tokens)
        });
        Ok((transcript, cost))
    }

    /// What the provider says it used, if that can be true: no more than what was reserved.
    fn used_tokens(&self, usage: &SoundUsage) -> Option<Tokens> {
        let used = Tokens {
            input: usage.input_tokens?,
            output: usage.output_tokens?,
            ..Tokens::default()
        };
        let can_be = used.input > 0
            && used.input <= self.wish.input_tokens
            && used.output <= self.wish.output_tokens;
        can_be.then_some(used)
    }
}

/// What was sent is known; a provider that leaves out silence may say less.
fn billed_seconds(usage: &SoundUsage, sent: u64) -> u64 {
    let told = usage.seconds.filter(|told| told.is_finite() && *told > 0.0);
    // Positive, and bounded by what was sent.
    told.map_or(sent, |told| (told.ceil() as u64).min(sent))
}
