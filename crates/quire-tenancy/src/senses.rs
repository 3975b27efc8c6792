//! Speech, pictures and pages by models of providers, which are paid for like every other.
//!
//! Each piece of sound, each picture and each page is a request of its own: what it may cost is held before it is
//! sent and charged after, hop after hop; a picture that is asked about once more is another. That nobody can be
//! asked, or that the tenant has no money for it, is an outcome and no error, since whoever asks can go on without.
//! Knows no file and no passage.

mod hearing;
mod reading;
mod seeing;

use std::sync::Arc;

use uuid::Uuid;

use quire_models::{Hop, NoHop};
use quire_types::{ErrorKind, Kind, NanoUsd, NotebookId};

use crate::control::{Admitted, Call};
use crate::known::Account;
use crate::models::{Providers, Wanted};
use crate::seats::Class;
use crate::{Error, Reason, Refusal};

pub use hearing::{SPEECH, ToHear, Written};
pub use reading::{OCR, ReadOff, ToRead};
pub use seeing::{Seen, ToSee, VISION};

/// What became of something that a model was to hear, see or read.
#[derive(Clone, Debug, PartialEq)]
pub enum Sensed<T> {
    /// What this model made of it.
    By {
        /// Its name.
        model: String,
        /// What it made of it.
        value: T,
    },
    /// No model made anything of it.
    Nobody {
        /// Why, for the log.
        why: String,
    },
}

/// Why it can't go on at all.
#[derive(Debug, thiserror::Error)]
pub enum SenseError {
    /// The tenant may use nothing, or nobody can tell what.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The control plane failed.
    #[error(transparent)]
    Control(#[from] Error),
}

impl Kind for SenseError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Control(error) => error.kind(),
        }
    }
}

/// What was held for, or why it was not.
enum Held {
    Yes(Box<Admitted>),
    NoMoney(Refusal),
}

/// What a model made of it, or how it failed, which the next one may make good; beside it what nobody can.
type Tried<T> = Result<Result<T, quire_models::Error>, SenseError>;

/// Something that a model is to hear, see or read.
trait Sense: Sync {
    /// What a model makes of it.
    type Made;

    /// The notebook it is of.
    fn notebook(&self) -> NotebookId;

    /// The models that may be asked, and what they may take.
    fn wanted(&self) -> Wanted;

    /// Asks one of them; `number` says which attempt it is.
    fn ask(
        &self,
        admitted: &Admitted,
        number: i16,
        hop: &Hop,
    ) -> impl Future<Output = Tried<Self::Made>> + Send;
}

impl Providers {
    /// Asks the models that are wanted, one after another, until one has an answer.
    async fn sense<S: Sense>(
        &self,
        account: &Arc<Account>,
        sense: &S,
    ) -> Result<Sensed<S::Made>, SenseError> {
        let mut hops = match self.route(account, sense.wanted()).await {
            Ok(hops) => hops,
            Err(Error::NoModel(none)) => return Ok(Sensed::none(none, None)),
            Err(error) => return Err(error.into()),
        };
        let admitted = match self.hold(account, sense.notebook(), hops.most()).await? {
            Held::Yes(admitted) => admitted,
            Held::NoMoney(refusal) => return Ok(Sensed::Nobody { why: refusal.text }),
        };
        let (mut failed, mut number) = (None, 0_i16);
        loop {
            let hop = match hops.next(failed.as_ref()) {
                Ok(hop) => hop,
                Err(none) => return Ok(Sensed::none(none, failed)),
            };
            number = number.saturating_add(1);
            match sense.ask(&admitted, number, &hop).await? {
                Ok(value) => {
                    return Ok(Sensed::By {
                        model: hop.model().to_owned(),
                        value,
                    });
                }
                Err(error) => failed = Some(error),
            }
        }
    }

    /// Holds what a piece of work may cost.
    async fn hold(
        &self,
        account: &Arc<Account>,
        notebook: NotebookId,
        cost: NanoUsd,
    ) -> Result<Held, SenseError> {
        let call = Call {
            notebook: Some(notebook),
            cost,
            // Of its own, since a repetition is paid again.
            ..Call::new(Uuid::now_v7(), Class::Background)
        };
        match self.control().admit_task(account, call).await {
            Ok(admitted) => Ok(Held::Yes(Box::new(admitted))),
            Err(refusal) if matches!(refusal.reason, Reason::Budget | Reason::Plan) => {
                Ok(Held::NoMoney(refusal))
            }
            Err(refusal) => Err(refusal.into()),
        }
    }
}

impl<T> Sensed<T> {
    /// How the last one failed says more than that there is no other.
    fn none(none: NoHop, failed: Option<quire_models::Error>) -> Self {
        Self::Nobody {
            why: failed.map_or_else(|| none.to_string(), |error| error.to_string()),
        }
    }
}
