//! Which model in which pool answers, and what happens when it does not.
//!
//! A *pool* is one AI project: a key at a provider, in a region, with a quota. A *chain* names models in the
//! order in which they are tried. [`Models::route`] keeps what a call may use at all: pools of the tenant's
//! region, models that hold it and have a price. [`Route::next`] then gives one [`Hop`] after the other, each
//! with its own price, until one answers or none is left. What is known of each model in each pool (quota,
//! breaker, concurrency) is kept in this process by pure policies that take the time as a number.
//!
//! Knows no database: pools and registry are handed in ([`Models::supply`]). Knows no budget either: whoever
//! follows a route pays for each hop.

mod batcher;
mod breaker;
mod choice;
mod fit;
mod gauge;
mod hedge;
mod hop;
mod retries;
mod route;
#[cfg(test)]
mod simulation;
mod tally;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use quire_types::{ErrorKind, Kind, NanoUsd, Secret, TenantId, Timestamp};

use crate::Error;
use crate::registry::{Feature, Model, Price, Registry, Tokens, Unit};
use crate::server::{Patience, Server, ServerConfig};
use fit::fit;
use gauge::{Gauge, Need};
use hedge::{Hedges, Pace};
use retries::Retries;

pub use batcher::Batcher;
pub use breaker::BreakerState;
pub use gauge::Quota;
pub use hop::Hop;
pub use tally::{Buckets, Tally};

/// Hops that one call makes at most.
const MOST_HOPS: usize = 4;

/// Milliseconds since this process began.
type Ms = u64;

/// An AI project: a key at a provider, in a region, with a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its name.
    pub id: String,
    /// The legal area it is in.
    pub region: String,
    /// Whose it is, by its name in the registry.
    pub provider: String,
    /// Where it is, unless where its provider is.
    pub base_url: Option<String>,
    /// What shows who is calling.
    pub key: Option<Secret>,
    /// The models it has; all of its provider when it is empty.
    pub models: Vec<String>,
    /// What its provider allows it, for each model.
    pub quota: Quota,
    /// Whether it works, and for whom.
    pub state: PoolState,
    /// The one tenant it is for.
    pub reserved_for: Option<TenantId>,
}

/// Whether a pool works, and for whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolState {
    /// For every tenant of its region.
    Active,
    /// For the tenants that are in it.
    Full,
    /// For nobody.
    Maintenance,
}

/// What there is to call: models and pools.
#[derive(Debug, Default)]
pub struct Supply {
    /// The models.
    pub registry: Arc<Registry>,
    /// The pools.
    pub pools: Vec<Pool>,
}

/// What the models of a process are built from.
#[derive(Clone, Debug, Default)]
pub struct ModelsConfig {
    /// Models by name in the order in which they are tried, by the name of what they are for.
    pub chains: BTreeMap<String, Vec<String>>,
    /// The longest waits.
    pub patience: Patience,
}

/// The models that this process can call. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct Models {
    inner: Arc<Inner>,
}

struct Inner {
    config: ModelsConfig,
    began: Instant,
    state: Mutex<State>,
}

struct State {
    supply: Arc<Supply>,
    /// By the name of the pool.
    servers: HashMap<String, Arc<Server>>,
    /// By the names of pool and model.
    gauges: HashMap<(String, String), Gauge>,
    tallies: HashMap<(String, String), Tally>,
    /// Times to the first word.
    paces: HashMap<(String, String), Pace>,
    retries: Retries,
    hedges: Hedges,
}

/// What a call wants of a model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Work {
    /// An answer.
    #[default]
    Chat,
    /// An order of passages, which is paid for as so many searches at the most where that is the unit.
    Rerank {
        /// Searches.
        searches: u64,
    },
    /// Vectors. There is no chain for these, since vectors of two models can't be compared: what is wished for is
    /// the model itself, in any pool that has it and at every provider that has the same one.
    Embed {
        /// Numbers in each.
        dimensions: u32,
        /// Whether the texts are questions; some models tell them from passages.
        are_questions: bool,
    },
    /// What is said in a piece of sound.
    Transcribe {
        /// How long it is, rounded up.
        seconds: u64,
    },
    /// An answer about a picture.
    Look,
    /// The text on a picture or a scanned page.
    Read,
}

/// A call that wants a model.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What the model is for: the name of a chain; for vectors, that of the model.
    pub chain: String,
    /// For whom.
    pub tenant: TenantId,
    /// Where it may be answered, and nowhere else.
    pub region: String,
    /// The pool the tenant is in.
    pub home: String,
    /// Tokens that go in, at the most.
    pub input_tokens: u64,
    /// Tokens that come out, at the most.
    pub output_tokens: u64,
    /// What is wanted of it.
    pub work: Work,
    /// What the model must be able to do beside that.
    pub features: Vec<Feature>,
}

/// Why no model can be asked.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoHop {
    /// The chain is not configured.
    #[error("no model is configured for '{0}': set it in [chains]")]
    NoChain(String),
    /// No pool of the region has any of the models.
    #[error(
        "no pool in region '{region}' has a model of the chain '{chain}': see `quire pool list`"
    )]
    Residency {
        /// The region.
        region: String,
        /// The chain.
        chain: String,
    },
    /// The models there are don't hold it, or have ended, or have no price.
    #[error("no model of the chain '{chain}' can take this: {why}")]
    Unfit {
        /// The chain.
        chain: String,
        /// Why the last one could not.
        why: String,
    },
    /// All are at their limits, or left alone because they failed.
    #[error("every model of the chain '{0}' is busy or failing right now; try again")]
    Busy(String),
}

impl Kind for NoHop {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Residency { .. } => ErrorKind::Forbidden,
            _ => ErrorKind::Unavailable,
        }
    }
}

/// The hops that a call may make, found one after the other.
pub struct Route {
    models: Models,
    supply: Arc<Supply>,
    wish: Wish,
    at: Timestamp,
    /// The models of the chain that can take it, with their prices.
    fitting: Vec<(Arc<Model>, Price)>,
    tried: Vec<(String, String)>,
    hops: usize,
}

impl Models {
    /// Models with these chains, and nothing to call yet.
    pub fn new(config: ModelsConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                config,
                began: Instant::now(),
                state: Mutex::new(State {
                    supply: Arc::default(),
                    servers: HashMap::new(),
                    gauges: HashMap::new(),
                    tallies: HashMap::new(),
                    paces: HashMap::new(),
                    retries: Retries::new(),
                    hedges: Hedges::new(0.0),
                }),
            }),
        }
    }

    /// The same, and for this share of calls, from 0 to 1, a second model may be asked while the first is silent for
    /// unusually long.
    #[must_use]
    pub fn hedging(self, share: f64) -> Self {
        self.inner.state().hedges = Hedges::new(share);
        self
    }

    /// The configured chains.
    pub fn chains(&self) -> &BTreeMap<String, Vec<String>> {
        &self.inner.config.chains
    }

    /// Whether anything is to be asked for this at all.
    pub fn has_chain(&self, chain: &str) -> bool {
        self.chains()
            .get(chain)
            .is_some_and(|models| !models.is_empty())
    }

    /// Says what there is to call from now on. Calls that run go on with what they began with; a pool whose key
    /// or address is as before keeps its connections.
    pub fn supply(&self, supply: Arc<Supply>) -> Result<(), Error> {
        let mut state = self.inner.state();
        if Arc::ptr_eq(&state.supply, &supply) {
            return Ok(());
        }
        let old = state.supply.clone();
        let known: HashMap<&str, &Pool> = old
            .pools
            .iter()
            .map(|pool| (pool.id.as_str(), pool))
            .collect();
        let mut servers = HashMap::new();
        for pool in &supply.pools {
            let is_as_before = known.get(pool.id.as_str()).is_some_and(|before| {
                (&before.key, &before.base_url, &before.provider)
                    == (&pool.key, &pool.base_url, &pool.provider)
                    && old.registry.provider(&pool.provider)
                        == supply.registry.provider(&pool.provider)
            });
            let kept = state
                .servers
                .get(&pool.id)
                .filter(|_| is_as_before)
                .cloned();
            let server = match kept {
                Some(server) => server,
                None => Arc::new(self.server(pool, &supply.registry)?),
            };
            servers.insert(pool.id.clone(), server);
            for ((id, _), gauge) in &mut state.gauges {
                if *id == pool.id {
                    gauge.set_quota(pool.quota);
                    if !is_as_before {
                        gauge.forgive();
                    }
                }
            }
        }
        state.servers = servers;
        state.supply = supply;
        Ok(())
    }

    fn server(&self, pool: &Pool, registry: &Registry) -> Result<Server, Error> {
        let wrong = |why: String| Error::Config(format!("pool '{}': {why}", pool.id));
        let provider = registry
            .provider(&pool.provider)
            .ok_or_else(|| wrong(format!("there is no provider '{}'", pool.provider)))?;
        let base_url = pool.base_url.clone().or_else(|| provider.base_url.clone());
        Server::new(ServerConfig {
            wire: provider.wire,
            base_url: base_url.ok_or_else(|| wrong("it needs a base_url".to_owned()))?,
            api_key: pool.key.clone(),
            patience: self.inner.config.patience,
        })
        .map_err(|error| wrong(error.to_string()))
    }

    /// The hops of a call, as far as they can be told now. A region without any is an error of its own kind.
    pub fn route(&self, wish: Wish, at: Timestamp) -> Result<Route, NoHop> {
        let supply = self.inner.state().supply.clone();
        let same;
        let chain = match wish.work {
            Work::Embed { .. } => {
                same = supply.registry.same_vectors(&wish.chain);
                same.as_slice()
            }
            Work::Chat
            | Work::Rerank { .. }
            | Work::Transcribe { .. }
            | Work::Look
            | Work::Read => {
                let chain = self.chains().get(&wish.chain).map(Vec::as_slice);
                let chain = chain.filter(|names| !names.is_empty());
                chain.ok_or_else(|| NoHop::NoChain(wish.chain.clone()))?
            }
        };
        let mut unfit = None;
        let mut fitting = Vec::new();
        let mut is_anywhere = false;
        for name in chain {
            match fit(&supply.registry, name, &wish, at) {
                Err(why) => unfit = Some(why),
                Ok((model, price)) => {
                    let mut pools = supply.pools.iter();
                    if pools.any(|pool| pool.serves(&model, &wish)) {
                        is_anywhere = true;
                        fitting.push((model, price));
                    }
                }
            }
        }
        match (is_anywhere, unfit) {
            (false, Some(why)) => Err(NoHop::Unfit {
                chain: wish.chain,
                why,
            }),
            (false, None) => Err(NoHop::Residency {
                region: wish.region,
                chain: wish.chain,
            }),
            (true, _) => Ok(Route {
                models: self.clone(),
                supply,
                at,
                wish,
                fitting,
                tried: Vec::new(),
                hops: 0,
            }),
        }
    }

    /// What happened so far, by pool and model.
    pub fn tallies(&self) -> Vec<(String, String, Tally)> {
        let now = self.inner.now();
        let mut state = self.inner.state();
        let state = &mut *state;
        let all = state.tallies.iter().map(|((pool, model), tally)| {
            let mut tally = tally.clone();
            if let Some(gauge) = state.gauges.get_mut(&(pool.clone(), model.clone())) {
                tally.breaker = Some(gauge.breaker(now));
                tally.running = gauge.running();
                tally.headroom = gauge.headroom(
                    now,
                    Need {
                        input_tokens: 1_000,
                        output_tokens: 1_000,
                    },
                );
            }
            (pool.clone(), model.clone(), tally)
        });
        all.collect()
    }
}

impl Inner {
    fn now(&self) -> Ms {
        // Not zero, which is before everything.
        Ms::try_from(self.began.elapsed().as_millis()).unwrap_or(Ms::MAX) + 1
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Whether it may be asked for this model by this call: the wall of the region, first of all.
    fn serves(&self, model: &Model, wish: &Wish) -> bool {
        let is_home = self.id == wish.home;
        self.region == wish.region
            && self.provider == model.provider
            && (self.models.is_empty() || self.models.contains(&model.name))
            && self.reserved_for.is_none_or(|tenant| tenant == wish.tenant)
            && match self.state {
                PoolState::Active => true,
                PoolState::Full => is_home,
                PoolState::Maintenance => false,
            }
    }

    /// How much a tenant likes it: highest random weight (Thaler and Ravishankar, 1998), its own pool above all.
    fn liking(&self, wish: &Wish) -> u64 {
        if self.id == wish.home || self.reserved_for.is_some() {
            return u64::MAX;
        }
        let mut hasher = DefaultHasher::new();
        (wish.tenant.uuid(), &self.id).hash(&mut hasher);
        hasher.finish() >> 1
    }
}

impl Wish {
    /// What it costs at this price with so many tokens that come out.
    fn cost(&self, price: &Price, output: u64) -> NanoUsd {
        let tokens = price.cost(Tokens {
            input: self.input_tokens,
            output,
            ..Tokens::default()
        });
        let beside = match self.work {
            Work::Chat | Work::Embed { .. } => None,
            Work::Rerank { searches } => price.cost_of(Unit::Searches, searches),
            Work::Transcribe { seconds } => price.cost_of(Unit::AudioSeconds, seconds),
            Work::Look => price.cost_of(Unit::Images, 1),
            Work::Read => {
                let page = price.cost_of(Unit::Pages, 1).unwrap_or_default();
                let picture = price.cost_of(Unit::Images, 1).unwrap_or_default();
                Some(page.saturating_add(picture))
            }
        };
        tokens.saturating_add(beside.unwrap_or_default())
    }
}
