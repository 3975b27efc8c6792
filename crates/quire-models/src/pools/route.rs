//! The hops of a call, one after the other, and one beside another.

use std::time::Duration;

use quire_types::{ErrorKind, Kind, NanoUsd, Timestamp};

use super::choice::{Candidate, choose};
use super::gauge::{Gauge, Need};
use super::{Hop, MOST_HOPS, NoHop, Route, Tally};
use crate::Error;
use crate::registry::Price;
use crate::{sound, vectors};

impl Route {
    /// What all hops together can cost at the most: each is paid for what goes in, and the dearest answers.
    pub fn most(&self) -> NanoUsd {
        let output = self.wish.output_tokens;
        let cost = |price: &Price, output| self.wish.cost(price, output);
        let inputs: NanoUsd = self.fitting.iter().map(|(_, price)| cost(price, 0)).sum();
        let dearest = self
            .fitting
            .iter()
            .map(|(_, price)| cost(price, output).saturating_sub(cost(price, 0)));
        inputs.saturating_add(dearest.max().unwrap_or_default())
    }

    /// The time that prices are of.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Texts and bytes that every provider of this route takes in one request for vectors.
    pub fn at_once(&self) -> (usize, usize) {
        let providers = self.fitting.iter().filter_map(|(model, _)| {
            let provider = self.supply.registry.provider(&model.provider)?;
            Some(vectors::at_once(provider.wire))
        });
        let least = |(a, b): (usize, usize), (c, d): (usize, usize)| (a.min(c), b.min(d));
        providers.reduce(least).unwrap_or((1, 1))
    }

    /// Seconds of sound that every provider of this route listens to in one request.
    pub fn seconds_at_once(&self) -> Option<u64> {
        let providers = self.fitting.iter().filter_map(|(model, _)| {
            let provider = self.supply.registry.provider(&model.provider)?;
            sound::seconds_at_once(provider.wire)
        });
        providers.min()
    }

    /// Counts a call for which somebody waits, and tells after how long without a word a second model may be asked for
    /// it; none where that is never done, or nobody knows yet what is slow there.
    pub fn hedge_after(&self, hop: &Hop) -> Option<Duration> {
        let mut state = self.models.inner.state();
        if !state.hedges.are_on() {
            return None;
        }
        state.hedges.note_call();
        let key = (hop.pool().to_owned(), hop.model().to_owned());
        let slow = state.paces.get(&key)?.slow_after()?;
        Some(Duration::from_millis(slow))
    }

    /// Another model to ask beside the one that is silent, or the same in another pool; none when enough calls were
    /// hedged lately, when providers fail, or when there is no other.
    pub fn hedge(&mut self) -> Option<Hop> {
        {
            let mut state = self.models.inner.state();
            if !state.retries.allows() || !state.hedges.take() {
                return None;
            }
        }
        self.next(None).ok()
    }

    /// Counts that another one was asked beside this hop.
    pub fn note_hedge(&self, silent: &Hop) {
        self.tally(silent, |tally| tally.hedged += 1);
    }

    /// Counts that the one which was asked beside this hop answered.
    pub fn note_hedge_won(&self, silent: &Hop) {
        self.tally(silent, |tally| tally.hedges_won += 1);
    }

    fn tally(&self, hop: &Hop, note: impl FnOnce(&mut Tally)) {
        let key = (hop.pool().to_owned(), hop.model().to_owned());
        note(self.models.inner.state().tallies.entry(key).or_default());
    }

    /// The next model to ask, in the pool where it fits best; none when nothing is left to try. `failed` is how
    /// the last one failed.
    pub fn next(&mut self, failed: Option<&Error>) -> Result<Hop, NoHop> {
        let busy = || NoHop::Busy(self.wish.chain.clone());
        if failed.is_some_and(|error| !error.may_fall_back()) || self.hops >= MOST_HOPS {
            return Err(busy());
        }
        let need = Need {
            input_tokens: self.wish.input_tokens,
            output_tokens: self.wish.output_tokens,
        };
        let inner = &self.models.inner;
        let now = inner.now();
        let mut state = inner.state();
        // To be told to wait is no failure, and to go elsewhere then no second try.
        let is_retry = failed.is_some_and(|error| error.kind() != ErrorKind::RateLimited);
        if is_retry && !state.retries.allows() {
            return Err(busy());
        }
        for (model, price) in &self.fitting {
            let mut pools = Vec::new();
            let mut candidates = Vec::new();
            for pool in self
                .supply
                .pools
                .iter()
                .filter(|pool| pool.serves(model, &self.wish))
            {
                let key = (pool.id.clone(), model.name.clone());
                if self.tried.contains(&key) {
                    continue;
                }
                let gauge = state
                    .gauges
                    .entry(key)
                    .or_insert_with(|| Gauge::new(pool.quota));
                candidates.push(Candidate {
                    headroom: gauge.headroom(now, need),
                    liking: pool.liking(&self.wish),
                });
                pools.push(pool);
            }
            let Some(pool) = choose(&candidates, rand::random()).map(|at| pools[at]) else {
                continue;
            };
            // A pool that was just removed is still in this route's list.
            let Some(server) = state.servers.get(&pool.id).cloned() else {
                continue;
            };
            let key = (pool.id.clone(), model.name.clone());
            let Some(gauge) = state.gauges.get_mut(&key) else {
                continue;
            };
            let begun = gauge.begin(now, need);
            drop(state);
            self.tried.push(key.clone());
            self.hops += 1;
            return Ok(Hop::new(
                &self.models,
                key,
                begun,
                server,
                model,
                *price,
                &self.wish,
            ));
        }
        Err(busy())
    }
}
