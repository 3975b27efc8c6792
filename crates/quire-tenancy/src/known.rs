//! Who is calling and what they may use, remembered.
//!
//! Looked up once and then kept for as long as the database tells us about changes; while it does not, for
//! a second. What is read while a change is announced is not kept. Keys are remembered by the hash of their
//! text; a key that does not exist is looked up every time.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use quire_store::Store;
use quire_store::keys::{self, ApiKey, KeyOwner, KeyText};
use quire_store::tenants::Tenant;
use quire_types::{KeyId, TenantId};

use crate::Error;
use crate::catalogue::{Plan, PlanId};
use crate::limit::LimitName;
use crate::models::{self, SealedSupply};
use crate::plans::{self, Agreed};
use crate::pools;
use crate::terms::{Features, Terms};

const CHANNEL: &str = "quire_control";
/// How long something is believed while changes are heard of.
const LISTENING_LIFE: Duration = Duration::from_secs(60);
/// The same while they are not.
const DEAF_LIFE: Duration = Duration::from_secs(1);
/// How long the database may take to answer, as long as for a connection.
const LONGEST_LOOK: Duration = Duration::from_secs(5);
/// Entries of each kind that are kept.
const MOST_ENTRIES: usize = 50_000;

/// Somebody who showed a key.
#[derive(Clone)]
pub enum Who {
    /// The operator of the installation.
    Admin(KeyId),
    /// A tenant, by this key.
    Tenant(Caller, Arc<ApiKey>),
}

/// A tenant that calls.
#[derive(Clone)]
pub struct Caller {
    /// The tenant with what it may use.
    pub account: Arc<Account>,
    /// The key it showed; none on the command line of the operator.
    pub key: Option<KeyId>,
}

/// A tenant with what it may use.
#[derive(Clone, Debug)]
pub struct Account {
    /// The tenant.
    pub tenant: Tenant,
    /// What it may use.
    pub terms: Terms,
    /// The features that are switched for it alone.
    pub switches: BTreeMap<String, bool>,
}

/// What all tenants share.
pub(crate) struct Shared {
    pub(crate) plans: BTreeMap<PlanId, Arc<Plan>>,
    pub(crate) default_plan: PlanId,
    pub(crate) supply: Arc<SealedSupply>,
    pub(crate) features: Features,
}

pub(crate) struct Known {
    store: Store,
    keys: Shelf<[u8; 32], Arc<ApiKey>>,
    accounts: Shelf<TenantId, Arc<Account>>,
    shared: Shelf<(), Arc<Shared>>,
    /// Raised by every change that is heard of.
    changes: AtomicU64,
    is_listening: AtomicBool,
}

impl Known {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            keys: Shelf::default(),
            accounts: Shelf::default(),
            shared: Shelf::default(),
            changes: AtomicU64::new(0),
            is_listening: AtomicBool::new(false),
        }
    }

    /// Whose key this is; none for a key that is unknown, mistyped or revoked.
    pub(crate) async fn who(&self, presented: &str) -> Result<Option<Who>, Error> {
        let hash: [u8; 32] = Sha256::digest(presented.as_bytes()).into();
        let known = self.keys.get(&hash, self.life());
        let key = match known {
            Some(key) => key,
            None if KeyText::parse(presented).is_none() => return Ok(None),
            None => {
                let seen = self.changes.load(Ordering::Acquire);
                let owner = in_time(Box::pin(async {
                    let mut connection = self.store.statement().await?;
                    Ok(keys::owner(&mut connection, presented).await?)
                }));
                let key = match owner.await? {
                    None => return Ok(None),
                    Some(KeyOwner::Admin(id)) => return Ok(Some(Who::Admin(id))),
                    Some(KeyOwner::Tenant(key)) => Arc::new(key),
                };
                self.keys.put(hash, key.clone(), || self.is_unchanged(seen));
                key
            }
        };
        let caller = Caller {
            account: self.account(key.tenant).await?,
            key: Some(key.id),
        };
        Ok(Some(Who::Tenant(caller, key)))
    }

    /// A tenant with what it may use.
    pub(crate) async fn account(&self, id: TenantId) -> Result<Arc<Account>, Error> {
        if let Some(account) = self.accounts.get(&id, self.life()) {
            return Ok(account);
        }
        let seen = self.changes.load(Ordering::Acquire);
        let terms = in_time(Box::pin(async {
            let mut connection = self.store.statement().await?;
            plans::agreed(&mut connection, id).await
        }));
        let terms = terms.await?;
        let account = Arc::new(account(terms, &*self.shared().await?)?);
        self.accounts
            .put(id, account.clone(), || self.is_unchanged(seen));
        Ok(account)
    }

    /// Plans, features, models and pools.
    pub(crate) async fn shared(&self) -> Result<Arc<Shared>, Error> {
        if let Some(shared) = self.shared.get(&(), self.life()) {
            return Ok(shared);
        }
        let seen = self.changes.load(Ordering::Acquire);
        let (features, catalogue, supply) = in_time(Box::pin(async {
            let mut tx = self.store.system().await?;
            let features = plans::features(&mut tx).await?;
            let catalogue = plans::catalogue(&mut tx).await?;
            let supply = SealedSupply {
                registry: Arc::new(models::registry(&mut tx).await?),
                pools: pools::sealed(&mut tx).await?,
            };
            tx.commit().await?;
            Ok((features, catalogue, supply))
        }))
        .await?;
        let mut shared = Shared {
            plans: catalogue
                .plans
                .into_iter()
                .map(|(id, plan)| (id, Arc::new(plan)))
                .collect(),
            default_plan: catalogue.default,
            supply: Arc::new(supply),
            features: Features::default(),
        };
        for (name, percent) in features {
            shared
                .features
                .set_percent(&name, u8::try_from(percent).unwrap_or(0));
        }
        let shared = Arc::new(shared);
        self.shared
            .put((), shared.clone(), || self.is_unchanged(seen));
        Ok(shared)
    }

    /// Hears of changes until told to stop.
    pub(crate) async fn listen(&self, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                if let Err(error) = self.hear().await {
                    warn!(%error, "changes of tenants are not heard of; looking again every second");
                }
                self.is_listening.store(false, Ordering::Release);
                self.forget_all();
                tokio::time::sleep(DEAF_LIFE).await;
            }
        })
        .await;
    }

    /// Until the connection is lost.
    async fn hear(&self) -> Result<(), Error> {
        let mut listener = self.store.listen(CHANNEL).await?;
        self.forget_all();
        self.is_listening.store(true, Ordering::Release);
        while let Some(notice) = listener.try_recv().await? {
            match Uuid::try_parse(notice.payload()) {
                Ok(tenant) => self.forget(tenant.into()),
                Err(_) => self.forget_all(),
            }
        }
        Ok(())
    }

    /// What was known of a tenant is old.
    pub(crate) fn forget(&self, tenant: TenantId) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.accounts.remove(|id, _| *id == tenant);
        self.keys.remove(|_, key| key.tenant == tenant);
    }

    fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.accounts.remove(|_, _| true);
        self.keys.remove(|_, _| true);
        self.shared.remove(|_, _| true);
    }

    /// Whether no change was heard of since.
    fn is_unchanged(&self, seen: u64) -> bool {
        self.changes.load(Ordering::Acquire) == seen
    }

    fn life(&self) -> Duration {
        if self.is_listening.load(Ordering::Acquire) {
            LISTENING_LIFE
        } else {
            DEAF_LIFE
        }
    }
}

/// What was agreed with a tenant, on top of its plan.
fn account(agreed: Agreed, shared: &Shared) -> Result<Account, Error> {
    let tenant = agreed.tenant;
    let plan = tenant
        .plan
        .parse::<PlanId>()
        .ok()
        .and_then(|id| shared.plans.get(&id));
    let plan = plan.ok_or_else(|| {
        Error::Invalid(format!(
            "the catalogue has no plan '{}': add it with `quire plan apply`",
            tenant.plan
        ))
    })?;
    let mut overrides: BTreeMap<LimitName, _> = BTreeMap::new();
    for (name, value) in agreed.overrides.0 {
        // What an older or newer quire wrote and this one can't read falls back to the plan.
        match name
            .parse::<LimitName>()
            .and_then(|name| Ok((name, name.parse_value(&value)?)))
        {
            Ok((name, limit)) => drop(overrides.insert(name, limit)),
            Err(error) => warn!(tenant = %tenant.id, %error, "an override can't be read"),
        }
    }
    Ok(Account {
        terms: Terms {
            plan: plan.clone(),
            overrides,
        },
        switches: agreed.switches.0,
        tenant,
    })
}

/// Does not wait for a database that takes long: whoever asks is better told.
/// On the heap, for it is seldom: who finds everything remembered need not carry it along.
async fn in_time<T>(asked: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(LONGEST_LOOK, asked)
        .await
        .unwrap_or(Err(Error::Slow(LONGEST_LOOK)))
}

/// Values with the time they were read at.
struct Shelf<K, V>(RwLock<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Shelf<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Eq + Hash, V: Clone> Shelf<K, V> {
    fn get(&self, key: &K, life: Duration) -> Option<V> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (read_at, value) = entries.get(key)?;
        (read_at.elapsed() < life).then(|| value.clone())
    }

    /// Keeps a value unless it is old already; that is asked under the lock, which whoever tells of a change
    /// takes afterwards.
    fn put(&self, key: K, value: V, is_new: impl FnOnce() -> bool) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MOST_ENTRIES {
            entries.retain(|_, (read_at, _)| read_at.elapsed() < LISTENING_LIFE / 4);
        }
        if entries.len() >= MOST_ENTRIES {
            entries.clear();
        }
        if is_new() {
            entries.insert(key, (Instant::now(), value));
        }
    }

    fn remove(&self, is_old: impl Fn(&K, &V) -> bool) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|key, (_, value)| !is_old(key, value));
    }
}
