//! Speech, pictures and pages by models of providers, which are paid for like every other.
//!
//! Each piece of sound, each picture and each page is a request of its own: what it may cost is held before it is sent and
//! charged after, hop after hop. That nobody can be asked, or that the tenant has no money for it, is an outcome and
//! no error, since whoever asks can go on without. Knows no file and no passage.

mod hearing;
mod reading;
mod seeing;

use std::sync::Arc;

use uuid::Uuid;

use quire_models::{Hop, NoHop};
use quire_types::{ErrorKind, Kind, NanoUsd, NotebookId};

use crate::control::{Admitted, Call};
use crate::known::Account;
use crate::models::Providers;
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

impl Providers {
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
    fn by(hop: &Hop, value: T) -> Self {
        Self::By {
            model: hop.model().to_owned(),
            value,
        }
    }

    /// How the last one failed says more than that there is no other.
    fn none(none: NoHop, failed: Option<quire_models::Error>) -> Self {
        Self::Nobody {
            why: failed.map_or_else(|| none.to_string(), |error| error.to_string()),
        }
    }

    /// That no model can be asked is an outcome; that the database can't be is an error.
    fn no_route(error: Error) -> Result<Self, SenseError> {
        match error {
            Error::NoModel(none) => Ok(Self::none(none, None)),
            other => Err(other.into()),
        }
    }
}

impl<T> From<Refusal> for Sensed<T> {
    fn from(refusal: Refusal) -> Self {
        Self::Nobody { why: refusal.text }
    }
}
