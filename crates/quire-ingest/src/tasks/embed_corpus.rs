//! Embedding a tenant's passages anew by another model, page by page, beside what search reads, then switching to
//! them. Slow on purpose: each turn is short, so that others get theirs, and goes on where the one before ended.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use quire_index::{Rebuild, RebuildError};
use quire_queue::{Attempt, Failure, Priority, Task, Wishes};
use quire_store::{Placement, TenantTx};
use quire_tenancy::usage::{self, Event, Quantities};
use quire_types::{ErrorKind, Kind};

use super::{FoldTail, SweepObjects, failure, placement};
use crate::texts::made_at;
use crate::vectors::to_embed;
use crate::{Error, Ingest};

/// Passages that become one segment; few of these are made of many before the switch.
const PAGE_ROWS: usize = 1_000;
/// After so long the next turn is a task of its own.
const TURN: Duration = Duration::from_secs(30);

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
        let wishes = Wishes::once(format!("embed-{}", self.build), Duration::ZERO);
        quire_queue::enqueue_with(tx, self, wishes).await?;
        Ok(())
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
        let mut characters = 0;
        loop {
            // A later build took its place, or it is switched.
            let Some(embedding) = search.embedding_of(placement, build).await? else {
                return Ok(());
            };
            let page = search.page_to_embed(placement, build, PAGE_ROWS).await?;
            let done = match page {
                Some(page) => {
                    let texts = page.passages();
                    let texts = texts.map(|(context, body)| to_embed(context, body));
                    let texts: Vec<String> = texts.collect();
                    // What a provider did is written down with each call.
                    if embedding.model.is_none() {
                        characters += texts.iter().map(|text| text.chars().count()).sum::<usize>();
                    }
                    let vectors = ingest.vectors(placement.tenant, &embedding, texts).await?;
                    search
                        .keep_embedded(placement, build, page, vectors)
                        .await
                        .map(|()| false)
                }
                None => {
                    let switched = search.switch_embedding(placement, build, Rebuild::default());
                    switched.await.map(|switched| switched.is_some())
                }
            };
            match done {
                Ok(true) => break,
                Ok(false) if began.elapsed() >= TURN => break,
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
            SweepObjects::plan(&mut tx, config.object_grace).await?;
        }
        tx.commit().await?;
        config.bell.notify_one();
        Ok(())
    }
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
            Err(error) => {
                let failed = Failure::of(&error);
                Err(match error.retry_after() {
                    Some(wait) => failed.retry_after(wait),
                    None => failed,
                })
            }
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
        match config.search.give_up_embedding(placement, self.build).await {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failure(error)),
            _ => {}
        }
        let mut tx = config.store.tenant(placement).await.map_err(failure)?;
        SweepObjects::plan(&mut tx, config.object_grace)
            .await
            .map_err(failure)?;
        tx.commit().await.map_err(failure)
    }
}
