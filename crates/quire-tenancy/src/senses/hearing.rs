//! What is said in a piece of sound, by the chain `speech`.

use std::sync::Arc;

use quire_models::{Hop, Transcript, Work};
use quire_types::NotebookId;

use super::{Held, SenseError, Sensed};
use crate::control::Attempt;
use crate::known::Account;
use crate::models::{Providers, Wanted};
use crate::usage::{Kind, Quantities};

/// The chain of models that write down speech.
pub const SPEECH: &str = "speech";

/// Tokens of a second at the most, for models that are paid by the token: sound is ten, and nobody says more than
/// five words.
const INPUT_TOKENS: u64 = 20;
const OUTPUT_TOKENS: u64 = 20;

/// A piece of sound.
#[derive(Clone, Copy, Debug)]
pub struct ToHear<'a> {
    /// A file of sound.
    pub sound: &'a [u8],
    /// What it is called; the ending tells its format.
    pub file_name: &'a str,
    /// How long it is, in milliseconds.
    pub length_ms: u64,
    /// The notebook it is of.
    pub notebook: NotebookId,
}

/// What is said in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// The text with its times.
    pub transcript: Transcript,
    /// Whether who speaks is told.
    pub tells_speakers: bool,
}

impl Providers {
    /// Whether any model is to be asked for speech.
    pub fn can_hear(&self) -> bool {
        self.models().has_chain(SPEECH)
    }

    /// How many seconds of sound may be sent at once, so that every model can be asked that may be asked for this tenant;
    /// none when there is none.
    ///
    /// # Errors
    /// When the control plane fails.
    pub async fn hears_at_once(&self, account: &Account) -> Result<Option<u64>, SenseError> {
        let wanted = Wanted {
            chain: SPEECH.to_owned(),
            work: Work::Transcribe { seconds: 1 },
            ..Wanted::default()
        };
        match self.route(account, wanted).await {
            Ok(hops) => Ok(hops.seconds_at_once()),
            Err(crate::Error::NoModel(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes down what is said in a piece of sound of a tenant.
    ///
    /// # Errors
    /// A refusal when the tenant is not active, and when the control plane fails.
    pub async fn write_down(
        &self,
        account: &Arc<Account>,
        to_hear: ToHear<'_>,
    ) -> Result<Sensed<Written>, SenseError> {
        let seconds = to_hear.length_ms.div_ceil(1_000).max(1);
        let wanted = Wanted {
            chain: SPEECH.to_owned(),
            input_tokens: seconds.saturating_mul(INPUT_TOKENS),
            output_tokens: seconds.saturating_mul(OUTPUT_TOKENS),
            work: Work::Transcribe { seconds },
            ..Wanted::default()
        };
        let mut hops = match self.route(account, wanted).await {
            Ok(hops) => hops,
            Err(error) => return Sensed::no_route(error),
        };
        let admitted = match self.hold(account, to_hear.notebook, hops.most()).await? {
            Held::Yes(admitted) => admitted,
            Held::NoMoney(refusal) => return Ok(refusal.into()),
        };
        let (mut failed, mut number) = (None, 0_i16);
        loop {
            let hop = match hops.next(failed.as_ref()) {
                Ok(hop) => hop,
                Err(none) => return Ok(Sensed::none(none, failed)),
            };
            number = number.saturating_add(1);
            let (provider, model) = (hop.provider(), hop.model());
            let attempt = admitted
                .attempt(Kind::Transcribe, number, provider, model, hop.costs())
                .await?;
            match ask(&hop, to_hear, attempt).await {
                Ok(transcript) => {
                    let value = Written {
                        transcript,
                        tells_speakers: hop.tells_speakers(),
                    };
                    return Ok(Sensed::by(&hop, value));
                }
                Err(error) => failed = Some(error),
            }
        }
    }
}

async fn ask(
    hop: &Hop,
    to_hear: ToHear<'_>,
    attempt: Attempt,
) -> Result<Transcript, quire_models::Error> {
    match hop.transcribe(to_hear.sound, to_hear.file_name).await {
        Ok((transcript, cost)) => {
            if let Some(cost) = cost {
                let count = |tokens: Option<u64>| {
                    i64::try_from(tokens.unwrap_or_default()).unwrap_or(i64::MAX)
                };
                let quantities = Quantities {
                    audio_ms: i64::try_from(to_hear.length_ms).unwrap_or(i64::MAX),
                    input_tokens: count(transcript.usage.input_tokens),
                    output_tokens: count(transcript.usage.output_tokens),
                    ..Quantities::default()
                };
                attempt.close(quantities, cost);
            }
            Ok(transcript)
        }
        Err(error) => {
            if error.is_unbilled() {
                attempt.refused();
            }
            Err(error)
        }
    }
}
