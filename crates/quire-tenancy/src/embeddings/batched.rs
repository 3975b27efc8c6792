//! Vectors for texts that may take a day, for half the price: what a pool's batch API makes of them.
//!
//! Whoever asks keeps a note of each batch ([`Note`]) and looks at it from time to time. Nothing here is remembered,
//! so a process may die at any point: the mark of a batch tells whether it was sent, and its money is charged when it
//! begins and corrected when it ends.

use std::collections::HashMap;

use uuid::Uuid;

use quire_models::{Batch, BatchRoom, BatchState, Batcher, Wish, Work};
use quire_store::corpus::Embedding;
use quire_types::{ErrorKind, Kind as _, NanoUsd, Timestamp};

use super::{EmbedError, Embeddings, most_tokens};
use crate::Error;
use crate::control::Lasting;
use crate::known::Account;
use crate::models::Providers;
use crate::usage::{Kind, Quantities};

/// What has to be remembered of a batch.
#[derive(Clone, Debug)]
pub struct Note {
    /// Its id, by which the provider finds it, too.
    pub id: Uuid,
    /// The pool it is in.
    pub pool: String,
    /// When it was noted.
    pub at: Timestamp,
    /// What the provider calls it, once that is known.
    pub remote: Option<String>,
}

/// What became of sending.
#[derive(Debug)]
pub enum SentBatch {
    /// The provider has it, under this name.
    As(String),
    /// The provider, or the pool, will not have it. Nothing was charged.
    Refused(String),
}

/// How far a batch is.
pub enum Looked {
    /// It goes on.
    Running,
    /// It is over.
    Over(Box<Over>),
}

/// A batch that is over.
pub struct Over {
    /// Vectors by the ids of their texts. What is missing has to be made the ordinary way.
    pub vectors: HashMap<String, Vec<f32>>,
    input_tokens: Option<u64>,
    /// None where the provider does not know it any more.
    batch: Option<(Batcher, Batch)>,
}

impl Over {
    /// A batch of which nobody knows what became. It stays charged as it was when it began.
    pub fn lost() -> Self {
        Self {
            vectors: HashMap::new(),
            input_tokens: None,
            batch: None,
        }
    }
}

impl Embeddings {
    /// The pool that takes batches for this tenant and model, or the one of this name, and what one may have; none where
    /// no pool does.
    ///
    /// # Errors
    /// Those of the control plane.
    pub async fn batch_pool(
        &self,
        account: &Account,
        by: &Embedding,
        named: Option<&str>,
    ) -> Result<Option<(String, BatchRoom)>, EmbedError> {
        let batcher = self.batcher(account, by, named).await?;
        Ok(batcher.map(|batcher| (batcher.pool().to_owned(), batcher.room())))
    }

    /// Sends texts, each with an id of the caller's, and charges what they cost at the most. `may_be_sent` says
    /// whether that was tried before and nobody knows how it ended.
    ///
    /// # Errors
    /// A tenant that can't pay; a provider that can't be asked right now, after which it is to be tried again.
    pub async fn send_batch(
        &self,
        account: &Account,
        by: &Embedding,
        note: &Note,
        texts: &[(String, String)],
        may_be_sent: bool,
    ) -> Result<SentBatch, EmbedError> {
        let Some(batcher) = self.batcher(account, by, Some(&note.pool)).await? else {
            return Ok(SentBatch::Refused("its pool is gone".to_owned()));
        };
        let mark = note.id.to_string();
        if may_be_sent && let Some(found) = batcher.marked(&mark).await? {
            return Ok(SentBatch::As(found.id));
        }
        let (control, _) = self.remote()?;
        let all: u64 = texts
            .iter()
            .map(|(_, text)| most_tokens(std::slice::from_ref(text)))
            .sum();
        let work = lasting(note, &batcher);
        control
            .begin_lasting(account, &work, batcher.cost(all))
            .await?;
        match batcher.begin(texts, &mark).await {
            Ok(batch) => Ok(SentBatch::As(batch.id)),
            // What is too much just now may not be a minute later, and what broke off may have arrived.
            Err(error) if !is_refusal(&error) => Err(error.into()),
            Err(error) => {
                let nothing = (NanoUsd::ZERO, false);
                control
                    .end_lasting(account, &work, nothing, Quantities::default())
                    .await?;
                Ok(SentBatch::Refused(error.to_string()))
            }
        }
    }

    /// The name of a batch at its provider, where sending it was tried and nobody knows how that ended.
    ///
    /// # Errors
    /// A provider that can't be asked right now.
    pub async fn find_batch(
        &self,
        account: &Account,
        by: &Embedding,
        note: &Note,
    ) -> Result<Option<String>, EmbedError> {
        let Some(batcher) = self.batcher(account, by, Some(&note.pool)).await? else {
            return Ok(None);
        };
        let found = batcher.marked(&note.id.to_string()).await?;
        Ok(found.map(|batch| batch.id))
    }

    /// Looks how far a batch is, and reads what came of it when it is over.
    ///
    /// # Errors
    /// A provider that can't be asked right now.
    pub async fn look_at_batch(
        &self,
        account: &Account,
        by: &Embedding,
        note: &Note,
    ) -> Result<Looked, EmbedError> {
        let Some(batcher) = self.batcher(account, by, Some(&note.pool)).await? else {
            return Ok(Looked::Over(Box::new(Over::lost())));
        };
        let remote = note.remote.as_deref().unwrap_or_default();
        let lost = || Ok(Looked::Over(Box::new(Over::lost())));
        let batch = match batcher.look(remote).await {
            Err(error) if is_gone(&error) => return lost(),
            looked => looked?,
        };
        let collected = match &batch.state {
            BatchState::Running => return Ok(Looked::Running),
            BatchState::Failed(why) => {
                tracing::warn!(tenant = %account.tenant.id, batch = %batch.id, why, "a provider refused a batch");
                quire_models::Collected {
                    input_tokens: Some(0),
                    ..quire_models::Collected::default()
                }
            }
            BatchState::Completed | BatchState::Ended => match batcher.collect(&batch).await {
                // Somebody who died before that was noted has read and deleted it.
                Err(error) if is_gone(&error) => return lost(),
                collected => collected?,
            },
        };
        Ok(Looked::Over(Box::new(Over {
            vectors: collected.vectors,
            input_tokens: collected.input_tokens,
            batch: Some((batcher, batch)),
        })))
    }

    /// Asks the provider to stop a batch. What is done by then can be had and is paid for.
    ///
    /// # Errors
    /// A provider that can't be asked right now.
    pub async fn cancel_batch(
        &self,
        account: &Account,
        by: &Embedding,
        note: &Note,
    ) -> Result<(), EmbedError> {
        let batcher = self.batcher(account, by, Some(&note.pool)).await?;
        if let (Some(batcher), Some(remote)) = (batcher, &note.remote) {
            match batcher.cancel(remote).await {
                // It is over already, or being stopped.
                Err(error) if error.kind() == ErrorKind::Invalid => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Charges what a batch took, and deletes its texts and vectors at the provider. What nobody knows stays charged as
    /// it was when it began.
    ///
    /// # Errors
    /// Those of the control plane.
    pub async fn finish_batch(
        &self,
        account: &Account,
        note: &Note,
        over: &Over,
    ) -> Result<(), EmbedError> {
        let (control, _) = self.remote()?;
        let Some((batcher, batch)) = &over.batch else {
            return Ok(());
        };
        if let Some(tokens) = over.input_tokens {
            let quantities = Quantities {
                input_tokens: i64::try_from(tokens).unwrap_or(i64::MAX),
                ..Quantities::default()
            };
            let cost = (batcher.cost(tokens), false);
            let work = lasting(note, batcher);
            control
                .end_lasting(account, &work, cost, quantities)
                .await?;
        }
        if let Err(error) = batcher.forget(batch).await {
            // They go by themselves after three days.
            tracing::warn!(batch = %batch.id, %error, "the files of a batch can't be deleted at the provider");
        }
        Ok(())
    }

    /// Gives back what was charged for a batch that was never sent.
    ///
    /// # Errors
    /// Those of the control plane.
    pub async fn drop_batch(
        &self,
        account: &Account,
        by: &Embedding,
        note: &Note,
    ) -> Result<(), EmbedError> {
        let (control, _) = self.remote()?;
        if let Some(batcher) = self.batcher(account, by, Some(&note.pool)).await? {
            let work = lasting(note, &batcher);
            let nothing = (NanoUsd::ZERO, false);
            control
                .end_lasting(account, &work, nothing, Quantities::default())
                .await?;
        }
        Ok(())
    }

    async fn batcher(
        &self,
        account: &Account,
        by: &Embedding,
        pool: Option<&str>,
    ) -> Result<Option<Batcher>, EmbedError> {
        let (Some(model), Ok((_, providers))) = (&by.model, self.remote()) else {
            return Ok(None);
        };
        let dimensions = by.dimension.unwrap_or(0).unsigned_abs();
        Ok(providers.batcher(account, model, dimensions, pool).await?)
    }
}

impl Providers {
    /// The pool of a tenant's region that takes batches of a model, or the one of this name.
    async fn batcher(
        &self,
        account: &Account,
        model: &str,
        dimensions: u32,
        pool: Option<&str>,
    ) -> Result<Option<Batcher>, Error> {
        self.refresh().await?;
        let tenant = &account.tenant;
        let wish = Wish {
            chain: model.to_owned(),
            tenant: tenant.id,
            region: tenant.region.clone(),
            home: tenant.pool.clone(),
            input_tokens: 0,
            output_tokens: 0,
            work: Work::Embed {
                dimensions,
                are_questions: false,
            },
            features: Vec::new(),
        };
        Ok(self.models().batcher(&wish, chrono::Utc::now(), pool))
    }
}

/// Whether the provider does not know it any more.
fn is_gone(error: &quire_models::Error) -> bool {
    matches!(
        error,
        quire_models::Error::Refused {
            status: Some(404),
            ..
        }
    )
}

/// Whether the provider will not have it, today or tomorrow.
fn is_refusal(error: &quire_models::Error) -> bool {
    let quire_models::Error::Refused { status, .. } = error else {
        return matches!(error, quire_models::Error::Config(_));
    };
    status.is_some_and(|status| (400..500).contains(&status) && !matches!(status, 408 | 409 | 429))
}

fn lasting<'a>(note: &Note, batcher: &'a Batcher) -> Lasting<'a> {
    Lasting {
        id: note.id,
        at: note.at,
        kind: Kind::Embed,
        provider: batcher.provider(),
        model: batcher.model(),
    }
}
