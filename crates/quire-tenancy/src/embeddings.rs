//! Vectors by the model that a corpus has: the one in this process, which costs nothing, or one of a provider,
//! which is paid for like every other.
//!
//! What is paid for is held before and charged after, by a request of its own for each list of texts, since a
//! repetition is paid again. Passages of one tenant that come at about the same time share requests (`together`, by
//! the policy in `gather`); questions, for which somebody waits, go at once. Never takes another model than the one
//! that is named: vectors of two can't be compared. Knows no passage and no question.

mod batched;
mod gather;
mod together;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use quire_models::{Embedder, Route, Work, batches};
use quire_store::corpus::Embedding;
use quire_types::ErrorKind;

use crate::control::{Admitted, Call, Control};
use crate::known::Account;
use crate::models::{Providers, Wanted};
use crate::seats::Class;
use crate::usage::{Kind, Quantities};
use crate::{Error, Refusal};
use gather::Limits;
use together::{Key, Payer, Together};

/// Texts and bytes of one caller that are never divided: small enough for the minute of a small pool.
const BATCH_TEXTS: usize = 128;
const BATCH_BYTES: usize = 120_000;
/// The least bytes of text in a token, so that what is held is enough.
const BYTES_PER_TOKEN: usize = 3;

pub use batched::{Looked, Note, Over, SentBatch};

/// Makes vectors. Cheap to clone.
#[derive(Clone)]
pub struct Embeddings {
    local: Embedder,
    remote: Option<(Control, Providers)>,
    together: Together,
}

/// Texts that are to become vectors.
#[derive(Clone, Debug)]
pub struct ToEmbed {
    /// The texts.
    pub texts: Vec<String>,
    /// Whether they are questions that somebody waits for.
    pub are_questions: bool,
    /// The tenant's own name of the user behind them.
    pub user: Option<String>,
}

/// Why texts did not become vectors.
#[derive(Debug, thiserror::Error)]
pub enum EmbedError {
    /// The tenant may not spend what they cost.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The control plane failed, or no model can be asked.
    #[error(transparent)]
    Control(#[from] Error),
    /// The model failed.
    #[error(transparent)]
    Model(#[from] quire_models::Error),
    /// The request failed that these texts shared with others of the tenant.
    #[error(transparent)]
    Shared(Arc<EmbedError>),
}

impl quire_types::Kind for EmbedError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Control(error) => error.kind(),
            Self::Model(error) => error.kind(),
            Self::Shared(error) => error.kind(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after(),
            Self::Control(_) | Self::Model(_) => None,
            Self::Shared(error) => error.retry_after(),
        }
    }
}

impl Embeddings {
    /// Vectors by the model in this process alone.
    pub fn local(embedder: Embedder) -> Self {
        Self {
            local: embedder,
            remote: None,
            together: Together::new(),
        }
    }

    /// Vectors by that model and by those of providers.
    pub fn new(embedder: Embedder, control: Control, providers: Providers) -> Self {
        Self {
            local: embedder,
            remote: Some((control, providers)),
            together: Together::new(),
        }
    }

    /// The model in this process.
    pub fn embedder(&self) -> &Embedder {
        &self.local
    }

    /// The vectors of texts of a tenant, in their order.
    ///
    /// # Errors
    /// A refusal when the tenant can't pay, and when no model can be asked.
    pub async fn embed(
        &self,
        account: &Arc<Account>,
        embedding: &Embedding,
        to_embed: ToEmbed,
    ) -> Result<Vec<Vec<f32>>, EmbedError> {
        let ToEmbed {
            texts,
            are_questions,
            user,
        } = to_embed;
        let Some(model) = &embedding.model else {
            return Ok(match are_questions {
                true => self.local.embed_queries(texts).await?,
                false => self.local.embed(texts).await?,
            });
        };
        let (control, providers) = self.remote()?;
        let dimensions = embedding.dimension.unwrap_or(0).unsigned_abs();
        let work = Work::Embed {
            dimensions,
            are_questions,
        };
        let all = self.route(account, model, work, &texts).await?;
        let class = match are_questions {
            true => Class::Interactive,
            false => Class::Background,
        };
        let call = Call {
            user,
            cost: all.most(),
            ..Call::new(Uuid::now_v7(), class)
        };
        let admitted = control.admit_task(account, call).await?;
        let pieces = batches(&texts, BATCH_TEXTS, BATCH_BYTES);
        let mut vectors = Vec::with_capacity(texts.len());
        if are_questions {
            let mut number = 0;
            for piece in pieces {
                let hops = self.route(account, model, work, piece).await?;
                vectors.extend(by_provider(&admitted, hops, piece, &mut number).await?);
            }
            return Ok(vectors);
        }
        let key = Key {
            tenant: account.tenant.id,
            model: model.clone(),
            dimensions,
        };
        let (most_texts, most_bytes) = all.at_once();
        let limits = Limits {
            texts: most_texts,
            bytes: most_bytes,
        };
        let payer = Arc::new(Payer::new(admitted));
        let add = |piece: &[String]| {
            let (key, piece) = (key.clone(), piece.to_vec());
            self.together.add(key, limits, providers, &payer, piece)
        };
        let answers: Vec<_> = pieces.map(add).collect();
        for answer in answers {
            let answer = answer.await.map_err(|_| quire_models::Error::Abandoned)?;
            let own = |error| Arc::try_unwrap(error).unwrap_or_else(EmbedError::Shared);
            vectors.extend(answer.map_err(own)?);
        }
        Ok(vectors)
    }

    async fn route(
        &self,
        account: &Account,
        model: &str,
        work: Work,
        texts: &[String],
    ) -> Result<Route, EmbedError> {
        let (_, providers) = self.remote()?;
        let wanted = Wanted {
            chain: model.to_owned(),
            input_tokens: most_tokens(texts),
            work,
            ..Wanted::default()
        };
        Ok(providers.route(account, wanted).await?)
    }

    fn remote(&self) -> Result<&(Control, Providers), EmbedError> {
        self.remote.as_ref().ok_or_else(|| {
            let why = "no provider can be asked for vectors here";
            Error::Invalid(why.to_owned()).into()
        })
    }
}

impl Providers {
    /// Whether a model can be asked for vectors of this tenant; the error says why not.
    ///
    /// # Errors
    /// That it is unknown, makes no vectors, or is in no pool of the tenant's region.
    pub async fn can_embed(&self, account: &Account, model: &str) -> Result<(), Error> {
        let wanted = Wanted {
            chain: model.to_owned(),
            work: Work::Embed {
                dimensions: 1,
                are_questions: false,
            },
            ..Wanted::default()
        };
        self.route(account, wanted).await.map(drop)
    }
}

/// Tokens of texts, at the most.
fn most_tokens(texts: &[String]) -> u64 {
    let bytes: usize = texts.iter().map(String::len).sum();
    (bytes.div_ceil(BYTES_PER_TOKEN) + texts.len()) as u64
}

/// Asks one pool after the other until one answers.
async fn by_provider(
    admitted: &Admitted,
    mut hops: Route,
    texts: &[String],
    number: &mut i16,
) -> Result<Vec<Vec<f32>>, EmbedError> {
    let mut failed: Option<quire_models::Error> = None;
    loop {
        let hop = match hops.next(failed.as_ref()) {
            Ok(hop) => hop,
            // How the last one failed says more than that there is no other.
            Err(none) => return Err(failed.map_or_else(|| Error::from(none).into(), Into::into)),
        };
        *number = number.saturating_add(1);
        let (provider, model) = (hop.provider(), hop.model());
        let attempt = admitted
            .attempt(Kind::Embed, *number, provider, model, hop.costs())
            .await?;
        match hop.embed(texts).await {
            Ok((embedded, cost)) => {
                if let Some(cost) = cost {
                    let tokens = embedded.input_tokens.unwrap_or_default();
                    let chars: usize = texts.iter().map(|text| text.chars().count()).sum();
                    let quantities = Quantities {
                        input_tokens: i64::try_from(tokens).unwrap_or(i64::MAX),
                        characters: i64::try_from(chars).unwrap_or(i64::MAX),
                        ..Quantities::default()
                    };
                    attempt.close(quantities, cost);
                }
                return Ok(embedded.vectors);
            }
            Err(error) => {
                attempt.failed(&error);
                failed = Some(error);
            }
        }
    }
}
