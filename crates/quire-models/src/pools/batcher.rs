//! A pool that takes texts in batches. Asked apart from hops: providers count batches against limits of their own, and
//! whoever waits a day does not go to the next pool.

use std::sync::Arc;

use quire_types::{NanoUsd, Timestamp};

use super::{Models, Pool, PoolState, Wish, Work, fit};
use crate::Error;
use crate::batches::{Batch, BatchRoom, Collected};
use crate::registry::Model;
use crate::server::Server;

/// One model in one pool that makes vectors in batches.
pub struct Batcher {
    model: Arc<Model>,
    server: Arc<Server>,
    pool: String,
    /// For a million tokens.
    price: NanoUsd,
    dimensions: u32,
    room: BatchRoom,
}

impl Models {
    /// The pool to which batches of a model go, or the one of this name; none where no pool of the region takes any,
    /// or nobody said what they cost.
    pub fn batcher(&self, wish: &Wish, at: Timestamp, named: Option<&str>) -> Option<Batcher> {
        let Work::Embed { dimensions, .. } = wish.work else {
            return None;
        };
        let (supply, servers) = {
            let state = self.inner.state();
            (state.supply.clone(), state.servers.clone())
        };
        let (model, price) = fit(&supply.registry, &wish.chain, wish, at).ok()?;
        let provider = supply.registry.provider(&model.provider)?;
        let room = BatchRoom::of(provider.wire, dimensions).filter(|_| provider.batches)?;
        let price = price.batch_input?;
        let takes = |pool: &&Pool| match named {
            // What it has been given is asked for there, whatever has become of it.
            Some(name) => {
                let open = Pool {
                    state: PoolState::Active,
                    ..Pool::clone(pool)
                };
                pool.id == name && open.serves(&model, wish)
            }
            None => pool.serves(&model, wish),
        };
        let pools = supply.pools.iter().filter(takes);
        let pool = pools.max_by_key(|pool| pool.liking(wish))?;
        let server = servers.get(&pool.id)?.clone();
        Some(Batcher {
            server,
            pool: pool.id.clone(),
            price,
            dimensions,
            room,
            model,
        })
    }
}

impl Batcher {
    /// The pool.
    pub fn pool(&self) -> &str {
        &self.pool
    }

    /// Whose it is, by the name in the registry.
    pub fn provider(&self) -> &str {
        &self.model.provider
    }

    /// The model, by its name at its provider.
    pub fn model(&self) -> &str {
        &self.model.name
    }

    /// What one batch may have.
    pub fn room(&self) -> BatchRoom {
        self.room
    }

    /// What so many tokens cost.
    pub fn cost(&self, tokens: u64) -> NanoUsd {
        self.price.rate_per_million(tokens)
    }

    /// Has texts made into vectors within a day, each under its id.
    pub async fn begin(&self, texts: &[(String, String)], mark: &str) -> Result<Batch, Error> {
        let (model, dimensions) = (&self.model.name, self.dimensions);
        self.server
            .begin_batch(model, dimensions, texts, mark)
            .await
    }

    /// The batch that bears a mark.
    pub async fn marked(&self, mark: &str) -> Result<Option<Batch>, Error> {
        self.server.marked_batch(mark).await
    }

    /// How far a batch is.
    pub async fn look(&self, id: &str) -> Result<Batch, Error> {
        self.server.batch(id).await
    }

    /// Asks for it to be stopped.
    pub async fn cancel(&self, id: &str) -> Result<(), Error> {
        self.server.cancel_batch(id).await
    }

    /// What came of it.
    pub async fn collect(&self, batch: &Batch) -> Result<Collected, Error> {
        self.server.collect_batch(batch, self.dimensions).await
    }

    /// Deletes its files at the provider.
    pub async fn forget(&self, batch: &Batch) -> Result<(), Error> {
        self.server.forget_batch(batch).await
    }
}
