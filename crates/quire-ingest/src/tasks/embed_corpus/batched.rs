//! Vectors for a build out of a provider's batches, for half the price: one batch at a time is sent, looked at from
//! time to time, and read when it is over. What it lacks is made the ordinary way.
//!
//! A batch is a row before it is sent, and its texts go under names made from themselves, so that whatever was
//! published or deleted meanwhile, each vector finds its text. A process may die at any point.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use uuid::Uuid;

use quire_models::BatchRoom;
use quire_store::Placement;
use quire_store::batches::{self, Batch};
use quire_store::corpus::Embedding;
use quire_tenancy::{Account, Looked, Note, Over, SentBatch};

use crate::vectors::to_embed;
use crate::{Error, Ingest};

/// How often a batch is looked at: after a quarter of the time that it took so far, within these.
const SOONEST: Duration = Duration::from_secs(2);
const LATEST: Duration = Duration::from_mins(10);
/// A provider says that a day is enough. After this it is asked to stop, and after twice this it is not waited for.
const LONGEST: Duration = Duration::from_hours(26);

/// What a turn of the build begins with.
pub(super) enum Begun {
    /// A batch is under way; there is nothing to do for so long.
    Wait(Duration),
    /// A batch is over, and here is what it brought.
    Here(Here),
    /// Nothing is to come from batches.
    Nothing,
}

/// What a batch brought.
pub(super) struct Here {
    pub(super) vectors: HashMap<String, Vec<f32>>,
    batch: Batch,
    over: Box<Over>,
}

/// The name of a text in a batch.
pub(super) fn name_of(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// One build that may be fed from batches.
pub(super) struct Batches<'a> {
    pub(super) ingest: &'a Ingest,
    pub(super) account: Arc<Account>,
    pub(super) build: Uuid,
}

impl Batches<'_> {
    /// Looks at the batch that is under way, or sends one where that is wanted and enough is left to embed.
    pub(super) async fn begin(&self, by: &Embedding) -> Result<Begun, Error> {
        match self.live().await? {
            Some(batch) if batch.remote.is_some() => self.look(by, batch).await,
            Some(batch) => self.send(by, &batch, true).await,
            None => self.consider(by).await,
        }
    }

    /// Ends what is under way of a build that is over. Says for how long to wait for that; none when it is done.
    pub(super) async fn end(&self) -> Result<Option<Duration>, Error> {
        let Some(mut batch) = self.live().await? else {
            return Ok(None);
        };
        let by = &batch.embedding();
        let embeddings = &self.ingest.config.embeddings;
        if batch.remote.is_none() {
            let found = embeddings
                .find_batch(&self.account, by, &note(&batch))
                .await?;
            let Some(found) = found else {
                embeddings
                    .drop_batch(&self.account, by, &note(&batch))
                    .await?;
                self.finished(&batch, false).await?;
                return Ok(None);
            };
            self.sent(&batch, &found).await?;
            batch.remote = Some(found);
        }
        match embeddings
            .look_at_batch(&self.account, by, &note(&batch))
            .await?
        {
            Looked::Running => {
                embeddings
                    .cancel_batch(&self.account, by, &note(&batch))
                    .await?;
                Ok(Some(wait(&batch)))
            }
            Looked::Over(over) => {
                embeddings
                    .finish_batch(&self.account, &note(&batch), &over)
                    .await?;
                self.finished(&batch, false).await?;
                Ok(None)
            }
        }
    }

    /// What a batch brought is kept.
    pub(super) async fn keep(&self, here: &Here) -> Result<(), Error> {
        let embeddings = &self.ingest.config.embeddings;
        embeddings
            .finish_batch(&self.account, &note(&here.batch), &here.over)
            .await?;
        // Where most failed, the next one would bring no more.
        let wanted = usize::try_from(here.batch.texts).unwrap_or(usize::MAX);
        let is_good = here.vectors.len() >= wanted.div_ceil(2);
        self.finished(&here.batch, is_good).await
    }

    async fn look(&self, by: &Embedding, batch: Batch) -> Result<Begun, Error> {
        let embeddings = &self.ingest.config.embeddings;
        let note = note(&batch);
        match embeddings.look_at_batch(&self.account, by, &note).await? {
            Looked::Running if age(&batch) > 2 * LONGEST => Ok(Begun::Here(Here {
                vectors: HashMap::new(),
                batch,
                over: Box::new(Over::lost()),
            })),
            Looked::Running => {
                if age(&batch) > LONGEST {
                    embeddings.cancel_batch(&self.account, by, &note).await?;
                }
                Ok(Begun::Wait(wait(&batch)))
            }
            Looked::Over(mut over) => Ok(Begun::Here(Here {
                vectors: std::mem::take(&mut over.vectors),
                batch,
                over,
            })),
        }
    }

    /// Sends a batch if that is configured, a pool takes it, none failed before, and enough is left.
    async fn consider(&self, by: &Embedding) -> Result<Begun, Error> {
        let config = &self.ingest.config;
        if config.batch_passages == 0 || by.model.is_none() {
            return Ok(Begun::Nothing);
        }
        let embeddings = &config.embeddings;
        let Some((pool, room)) = embeddings.batch_pool(&self.account, by, None).await? else {
            return Ok(Begun::Nothing);
        };
        let placement = self.placement();
        let mut tx = config.store.tenant(placement).await?;
        let has_failed = batches::any_failed(&mut tx, self.build).await?;
        tx.commit().await?;
        if has_failed {
            return Ok(Begun::Nothing);
        }
        let texts = self.texts(room).await?;
        if texts.len() < config.batch_passages {
            return Ok(Begun::Nothing);
        }
        let mut tx = config.store.tenant(placement).await?;
        let count = i64::try_from(texts.len()).unwrap_or(i64::MAX);
        let batch = batches::begin(&mut tx, self.build, &pool, count).await?;
        tx.commit().await?;
        match batch {
            Some((batch, is_new)) => self.send_texts(by, &batch, &texts, !is_new).await,
            None => Ok(Begun::Nothing),
        }
    }

    async fn send(&self, by: &Embedding, batch: &Batch, may_be_sent: bool) -> Result<Begun, Error> {
        let embeddings = &self.ingest.config.embeddings;
        let pool = embeddings
            .batch_pool(&self.account, by, Some(&batch.pool))
            .await?;
        let texts = match pool {
            Some((_, room)) => self.texts(room).await?,
            // Whoever is to send it says so.
            None => Vec::new(),
        };
        self.send_texts(by, batch, &texts, may_be_sent).await
    }

    async fn send_texts(
        &self,
        by: &Embedding,
        batch: &Batch,
        texts: &[(String, String)],
        may_be_sent: bool,
    ) -> Result<Begun, Error> {
        let embeddings = &self.ingest.config.embeddings;
        let note = note(batch);
        let sent = embeddings.send_batch(&self.account, by, &note, texts, may_be_sent);
        match sent.await? {
            SentBatch::As(remote) => {
                self.sent(batch, &remote).await?;
                Ok(Begun::Wait(SOONEST))
            }
            SentBatch::Refused(why) => {
                tracing::warn!(tenant = %self.account.tenant.id, pool = %batch.pool, why,
                    "a batch can't be sent; its passages are embedded at once");
                self.finished(batch, false).await?;
                Ok(Begun::Nothing)
            }
        }
    }

    /// What is to be embedded next, as much as a batch has room for, each text once.
    async fn texts(&self, room: BatchRoom) -> Result<Vec<(String, String)>, Error> {
        let most = room.texts;
        let search = &self.ingest.config.search;
        let page = search
            .page_to_embed(self.placement(), self.build, most)
            .await?;
        let (mut texts, mut known, mut bytes) = (Vec::new(), HashSet::new(), 0);
        for (context, body) in page.iter().flat_map(quire_index::EmbedPage::passages) {
            let text = to_embed(context, body);
            let name = name_of(&text);
            bytes += text.len();
            if texts.len() == most || bytes > room.bytes {
                break;
            }
            if known.insert(name.clone()) {
                texts.push((name, text));
            }
        }
        Ok(texts)
    }

    async fn live(&self) -> Result<Option<Batch>, Error> {
        let mut tx = self.ingest.config.store.tenant(self.placement()).await?;
        let live = batches::live(&mut tx, self.build).await?;
        tx.commit().await?;
        Ok(live)
    }

    async fn sent(&self, batch: &Batch, remote: &str) -> Result<(), Error> {
        let mut tx = self.ingest.config.store.tenant(self.placement()).await?;
        batches::sent(&mut tx, batch.id, remote).await?;
        Ok(tx.commit().await?)
    }

    async fn finished(&self, batch: &Batch, is_good: bool) -> Result<(), Error> {
        let mut tx = self.ingest.config.store.tenant(self.placement()).await?;
        batches::finish(&mut tx, batch.id, is_good).await?;
        Ok(tx.commit().await?)
    }

    fn placement(&self) -> Placement {
        self.account.tenant.placement()
    }
}

fn note(batch: &Batch) -> Note {
    Note {
        id: batch.id,
        pool: batch.pool.clone(),
        at: batch.created_at,
        remote: batch.remote.clone(),
    }
}

fn age(batch: &Batch) -> Duration {
    (Utc::now() - batch.created_at).to_std().unwrap_or_default()
}

fn wait(batch: &Batch) -> Duration {
    (age(batch) / 4).clamp(SOONEST, LATEST)
}
