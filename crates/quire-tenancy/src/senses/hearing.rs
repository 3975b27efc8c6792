//! What is said in a piece of sound, by the chain `speech`.

use std::sync::Arc;

use quire_models::{Hop, Transcript, Work};
use quire_types::NotebookId;

use super::{Sense, SenseError, Sensed, Tried};
use crate::control::Admitted;
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
        self.sense(account, &to_hear).await
    }
}

impl Sense for ToHear<'_> {
    type Made = Written;

    fn notebook(&self) -> NotebookId {
        self.notebook
    }

    fn wanted(&self) -> Wanted {
        let seconds = self.length_ms.div_ceil(1_000).max(1);
        Wanted {
            chain: SPEECH.to_owned(),
            input_tokens: seconds.saturating_mul(INPUT_TOKENS),
            output_tokens: seconds.saturating_mul(OUTPUT_TOKENS),
            work: Work::Transcribe { seconds },
            ..Wanted::default()
        }
    }

    async fn ask(&self, admitted: &Admitted, number: i16, hop: &Hop) -> Tried<Written> {
        let (provider, model) = (hop.provider(), hop.model());
        let attempt = admitted
            .attempt(Kind::Transcribe, number, provider, model, hop.costs())
            .await?;
        match hop.transcribe(self.sound, self.file_name).await {
            Ok((transcript, cost)) => {
                if let Some(cost) = cost {
                    let count = |tokens: Option<u64>| {
                        i64::try_from(tokens.unwrap_or_default()).unwrap_or(i64::MAX)
                    };
                    let quantities = Quantities {
                        audio_ms: i64::try_from(self.length_ms).unwrap_or(i64::MAX),
                        input_tokens: count(transcript.usage.input_tokens),
                        output_tokens: count(transcript.usage.output_tokens),
                        ..Quantities::default()
                    };
                    attempt.close(quantities, cost);
                }
                Ok(Ok(Written {
                    transcript,
                    tells_speakers: hop.tells_speakers(),
                }))
            }
            Err(error) => {
                attempt.failed(&error);
                Ok(Err(error))
            }
        }
    }
}
