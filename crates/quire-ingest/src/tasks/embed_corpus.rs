//! Embedding a tenant's passages anew by another model, page by page, beside what search reads, then switching to
//! them. Slow on purpose: each turn is short, so that others get theirs, and goes on where the one before ended.
//! Where a provider's batches are wanted, vectors come out of these first (`batched`).

mod batched;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use quire_index::{EmbedPage, Rebuild, RebuildError};
use quire_queue::{Attempt, Failure, Priority, Task, Wishes};
use quire_store::corpus::Embedding;
use quire_store::{Placement, TenantTx, batches};
use quire_tenancy::usage::{self, Event, Quantities};
use quire_types::{ErrorKind, Kind};

use super::{FoldTail, SweepObjects, failure, placement};
use crate::texts::made_at;
use crate::vectors::to_embed;
use crate::{Error, Ingest};
use batched::{Batches, Begun, name_of};

/// Passages that become one segment; few of these are made of many before the switch.
const PAGE_ROWS: usize = 1_000;
/// After so long the next turn is a task of its own.
const TURN: Duration = Duration::from_secs(30);
/// A build that has to wait for longer, such as for a budget, is looked at in between: a sweep takes one that is
/// silent for too long for dead.
const LONGEST_SILENCE: Duration = Duration::from_mins(30);
/// When the batch of a build is ended that was given up.
const BATCH_ENDED_AFTER: Duration = Duration::from_mins(10);

/// Embeds what a build has not embedded yet, and switches when that is everything.
#[derive(Serialize, Deserialize)]
pub struct EmbedCorpus {
    /// The build, begun by [`quire_index::Search::begin_embedding`].
    pub build: Uuid,
}

impl EmbedCorpus {
    /// Makes sure that a build goes on. One such task of a tenant waits at most.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn plan(&self, tx: &mut TenantTx) -> Result<(), Error> {
        self.plan_after(tx, Duration::ZERO).await
    }

    async fn plan_after(&self, tx: &mut TenantTx, delay: Duration) -> Result<(), Error> {
        let wishes = Wishes::once(format!("embed-{}", self.build), delay);
        quire_queue::enqueue_with(tx, self, wishes).await?;
        Ok(())
    }

    /// Goes on after a while, when there may be more to do.
    async fn wait(
        &self,
        ingest: &Ingest,
        placement: Placement,
        delay: Duration,
    ) -> Result<(), Error> {
        let mut tx = ingest.config.store.tenant(placement).await?;
        self.plan_after(&mut tx, delay).await?;
        Ok(tx.commit().await?)
    }

    async fn work(
        &self,
        ingest: &Ingest,
        placement: Placement,
        attempt: &Attempt,
    ) -> Result<(), Error> {
        let (config, build) = (&ingest.config, self.build);
        let search = &config.search;
        let began = Instant::now();
        let feed = Batches {
            ingest,
            account: config.control.account(placement.tenant).await?,
            build,
        };
        let here = match search.embedding_of(placement, build).await? {
            Some(embedding) => feed.begin(&embedding).await?,
            // A later build took its place, or it is switched.
            None => match feed.end().await? {
                Some(delay) => Begun::Wait(delay),
                None => return Ok(()),
            },
        };
        let here = match here {
            Begun::Wait(delay) => return self.wait(ingest, placement, delay).await,
            Begun::Here(here) => Some(here),
            Begun::Nothing => None,
        };
        let mut characters = 0;
        loop {
            let Some(embedding) = search.embedding_of(placement, build).await? else {
                // What is under way is ended by the next turn.
                return self.wait(ingest, placement, Duration::ZERO).await;
            };
            let page = search.page_to_embed(placement, build, PAGE_ROWS).await?;
            let texts = page.as_ref().map(texts_of);
            if let (Some(here), Some(texts)) = (&here, &texts)
                && !texts
                    .iter()
                    .any(|text| here.vectors.contains_key(&name_of(text)))
            {
                // All of the batch is kept, and the rest may be worth another one.
                break;
            }
            let done = match page.zip(texts) {
                Some((page, texts)) => {
                    // What a provider did is written down with each call.
                    if embedding.model.is_none() {
                        characters += texts.iter().map(|text| text.chars().count()).sum::<usize>();
                    }
                    let known = here.as_ref().map(|here| &here.vectors);
                    let vectors = vectors(ingest, placement, &embedding, texts, known).await?;
                    search
                        .keep_embedded(placement, build, page, vectors)
                        .await
                        .map(|()| false)
                }
                None => {
                    let change = Rebuild::default();
                    let own = ingest
                        .asked(placement, &embedding, change.questions)
                        .await?;
                    let switched = search.switch_embedding(placement, build, change, &own);
                    switched.await.map(|switched| switched.is_some())
                }
            };
            match done {
                Ok(true) => break,
                // What a batch brought is in memory only now.
                Ok(false) if here.is_none() && began.elapsed() >= TURN => break,
                Ok(false) => {}
                Err(RebuildError::Search(error)) => return Err(error.into()),
                // It is over, and its row says how.
                Err(error) => {
                    tracing::warn!(tenant = %placement.tenant, %build, %error,
                        "a tenant's passages were not taken over by another embedding model");
                    break;
                }
            }
        }
        if let Some(here) = &here {
            feed.keep(here).await?;
        }
        let mut tx = config.store.tenant(placement).await?;
        if characters > 0 {
            let at = made_at(attempt);
            let (tenant, task) = (attempt.tenant, attempt.task.uuid());
            let event = Event {
                quantities: Quantities {
                    characters: i64::try_from(characters).unwrap_or(i64::MAX),
                    ..Quantities::default()
                },
                ..Event::new(tenant, usage::Kind::Embed, task, attempt.number, at)
            };
            usage::record_in(&mut tx, &[event]).await?;
        }
        if quire_store::embeddings::building(&mut tx, build)
            .await?
            .is_some()
        {
            self.plan(&mut tx).await?;
        } else {
            FoldTail::plan(&mut tx, ingest).await?;
        }
        tx.commit().await?;
        config.bell.notify_one();
        Ok(())
    }
}

fn texts_of(page: &EmbedPage) -> Vec<String> {
    let passages = page.passages();
    passages
        .map(|(context, body)| to_embed(context, body))
        .collect()
}

/// The vectors of texts: those that a batch brought, and for the others those that are made now.
async fn vectors(
    ingest: &Ingest,
    placement: Placement,
    by: &Embedding,
    texts: Vec<String>,
    known: Option<&HashMap<String, Vec<f32>>>,
) -> Result<Vec<Vec<f32>>, Error> {
    let Some(known) = known else {
        return ingest.vectors(placement.tenant, by, texts).await;
    };
    let found: Vec<Option<Vec<f32>>> = texts
        .iter()
        .map(|text| known.get(&name_of(text)).cloned())
        .collect();
    let others = texts.into_iter().zip(&found);
    let others: Vec<String> = others
        .filter_map(|(text, found)| found.is_none().then_some(text))
        .collect();
    let made = match others.is_empty() {
        true => Vec::new(),
        false => ingest.vectors(placement.tenant, by, others).await?,
    };
    let mut made = made.into_iter();
    // As many were made as were missing.
    Ok(found
        .into_iter()
        .filter_map(|found| found.or_else(|| made.next()))
        .collect())
}

#[async_trait]
impl Task for EmbedCorpus {
    const KIND: &'static str = "embed-corpus";
    const PRIORITY: Priority = Priority::Low;
    /// One source of many thousand passages is one page.
    const TIMEOUT: Duration = Duration::from_hours(4);
    type Context = Ingest;

    async fn run(&self, ingest: &Ingest, attempt: &Attempt) -> Result<(), Failure> {
        let Some(placement) = placement(&ingest.config.store, attempt)
            .await
            .map_err(failure)?
        else {
            return Ok(());
        };
        match self.work(ingest, placement, attempt).await {
            Ok(()) => Ok(()),
            Err(error) => match error.retry_after() {
                Some(wait) if wait > LONGEST_SILENCE => {
                    tracing::warn!(tenant = %placement.tenant, build = %self.build, %error,
                        "a tenant's passages can't be embedded for a long time; they wait");
                    let waited = self.wait(ingest, placement, LONGEST_SILENCE).await;
                    waited.map_err(failure)
                }
                Some(wait) => Err(Failure::of(&error).retry_after(wait)),
                None => Err(Failure::of(&error)),
            },
        }
    }

    async fn gave_up(
        &self,
        ingest: &Ingest,
        attempt: &Attempt,
        _: &Failure,
    ) -> Result<(), Failure> {
        let config = &ingest.config;
        let Some(placement) = placement(&config.store, attempt).await.map_err(failure)? else {
            return Ok(());
        };
        // Search goes on with the vectors it has; what was embedded is removed.
        let building = config.search.embedding_of(placement, self.build).await;
        let is_building = building.map_err(failure)?.is_some();
        match config.search.give_up_embedding(placement, self.build).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failure(error)),
            _ => {}
        }
        let mut tx = config.store.tenant(placement).await.map_err(failure)?;
        let batch = batches::live(&mut tx, self.build).await.map_err(failure)?;
        match batch {
            // It is ended, too, if its provider can be asked then.
            Some(_) if is_building => self
                .plan_after(&mut tx, BATCH_ENDED_AFTER)
                .await
                .map_err(failure)?,
            Some(batch) => {
                let finished = batches::finish(&mut tx, batch.id, false).await;
                finished.map_err(failure)?;
            }
            None => {}
        }
        SweepObjects::plan(&mut tx, config.object_grace)
            .await
            .map_err(failure)?;
        tx.commit().await.map_err(failure)
    }
}
