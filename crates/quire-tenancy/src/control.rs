//! Letting requests in: who is calling → rates → budgets → a seat, before anything is spent.
//!
//! What a request takes on its way is held by values that give it back when they are dropped, so a refusal,
//! an error and a client that goes away all end the same way. What was really used is charged when the last
//! of them goes.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex as Turn;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use quire_store::Store;
use quire_types::{NanoUsd, TenantId};

use crate::budgets::{self, Need, Purse};
use crate::error::{Reason, Refusal};
use crate::gate::{Gate, GateConfig};
use crate::known::{Account, Caller, Known, Who};
use crate::limit::LimitName;
use crate::meter::Meter;
use crate::models::SealedSupply;
use crate::overload::{Insistence, Ladder};
use crate::rates::{self, Counters, Rate, RateState, Slices, UsedUp};
use crate::seats::Class;
use crate::{Error, notices, upkeep};

mod admitted;
mod call;
mod lasting;

pub use admitted::{Admitted, Attempt, Route};
pub use call::Call;
pub(crate) use lasting::Lasting;

use admitted::{Spending, Taken};
use call::{TOKENS, allowed, budget_refusal, check_state, entry, needs, rate_text, rates_of};

/// How long a request waits for others of its tenant that ask the database: the line must not grow.
const LONGEST_TURN: Duration = Duration::from_secs(2);
/// How long it waits for the answer, as long as for a connection.
const LONGEST_ANSWER: Duration = Duration::from_secs(5);

/// What the control plane is built from.
#[derive(Clone)]
pub struct ControlConfig {
    /// Rows.
    pub store: Store,
    /// Seats of this process.
    pub gate: GateConfig,
    /// What happens under load.
    pub ladder: Ladder,
}

/// Decides who may do what, and counts it. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) store: Store,
    pub(crate) known: Known,
    pub(crate) gate: Arc<Gate>,
    pub(crate) meter: Meter,
    pub(crate) ladder: Ladder,
    counters: Counters,
    live: Mutex<HashMap<TenantId, Arc<Live>>>,
    /// Holds that are over and that the database did not want to hear of yet.
    unsettled: Mutex<Vec<budgets::Account>>,
    counts: Tally,
}

/// What happened so far, for metrics.
#[derive(Default)]
pub(crate) struct Tally {
    admitted: AtomicU64,
    cheaper: AtomicU64,
    refused: [AtomicU64; Reason::ALL.len()],
}

/// What this process has taken for a tenant that is active.
#[derive(Default)]
pub(crate) struct Live {
    rates: Mutex<Slices>,
    purse: Mutex<Purse>,
    insistence: Mutex<Insistence>,
    /// One request at a time asks the database for rates, and one for money; those behind them find what
    /// they brought.
    rates_turn: Arc<Turn<()>>,
    purse_turn: Arc<Turn<()>>,
}

impl Control {
    /// A control plane with these parts. [`Control::run`] keeps it going.
    pub fn new(config: ControlConfig) -> Self {
        Self::with_counters(config, Counters::Postgres)
    }

    /// The same, with rates counted by the Redis or Valkey at this address. Money stays in PostgreSQL.
    pub fn with_redis(config: ControlConfig, url: &str) -> Result<Self, Error> {
        let redis = rates::redis::Counters::new(url)?;
        Ok(Self::with_counters(
            config,
            Counters::Redis(Box::new(redis)),
        ))
    }

    fn with_counters(config: ControlConfig, counters: Counters) -> Self {
        Self {
            inner: Arc::new(Inner {
                counters,
                known: Known::new(config.store.clone()),
                gate: Gate::new(config.gate),
                meter: Meter::default(),
                ladder: config.ladder,
                live: Mutex::default(),
                unsettled: Mutex::default(),
                counts: Tally::default(),
                store: config.store,
            }),
        }
    }

    /// Hears of changes, writes usage and settles what is over, until told to stop; then settles the rest.
    pub async fn run(self, stop: CancellationToken) {
        Box::pin(upkeep::run(&self.inner, stop)).await;
    }

    /// Writes and settles everything now; for a process that ends.
    pub async fn settle(&self) -> Result<(), Error> {
        upkeep::settle(&self.inner, true).await
    }

    /// Whose key this is; none for a key that is unknown, mistyped or revoked.
    pub async fn who(&self, presented: &str) -> Result<Option<Who>, Error> {
        self.inner.known.who(presented).await
    }

    /// A tenant with what it may use, for whoever acts on its behalf.
    pub async fn account(&self, tenant: TenantId) -> Result<Arc<Account>, Error> {
        self.inner.known.account(tenant).await
    }

    /// Whether a feature is on for a tenant.
    pub async fn feature(&self, account: &Account, feature: &str) -> Result<bool, Error> {
        if let Some(is_on) = account.switches.get(feature) {
            return Ok(*is_on);
        }
        let shared = self.inner.known.shared().await?;
        Ok(shared.features.is_on(feature, account.tenant.id))
    }

    /// Models and pools, as the database has them.
    pub(crate) async fn supply(&self) -> Result<Arc<SealedSupply>, Error> {
        Ok(self.inner.known.shared().await?.supply.clone())
    }

    /// The plan of a tenant that is made without one.
    pub async fn default_plan(&self) -> Result<String, Error> {
        Ok(self.inner.known.shared().await?.default_plan.to_string())
    }

    /// A change of a tenant was just made by this process: the next request sees it.
    pub fn forget(&self, tenant: TenantId) {
        self.inner.known.forget(tenant);
    }

    /// Lets a request in, or says why not. Waits for a seat.
    pub async fn admit(&self, caller: &Caller, call: Call) -> Result<Admitted, Refusal> {
        let admitted = self.try_admit(caller, call).await;
        self.inner.counts.note(&admitted);
        admitted.inspect_err(|refusal| self.note_refusal(caller.account.tenant.id, refusal.reason))
    }

    /// Whether a request would be refused at once, as far as this process remembers.
    pub fn check(&self, caller: &Caller) -> Result<(), Refusal> {
        let tenant = &caller.account.tenant;
        check_state(tenant.state)?;
        if self.inner.meter.is_full() {
            return Err(Refusal::new(
                Reason::Unknown,
                "usage can't be written right now, so nothing new is begun; try again",
            )
            .after(Duration::from_secs(2)));
        }
        let live = self.inner.live(tenant.id);
        match lock(&live.insistence).pause(Instant::now()) {
            Some(pause) => Err(Refusal::new(
                Reason::Throttled,
                "this tenant kept sending although it was refused, and is held off for a while",
            )
            .after(pause)),
            None => Ok(()),
        }
    }

    /// Lets in a request that is answered by what was worked out before: it counts against rates and numbers of
    /// questions, but needs neither a seat nor money. A refusal is not held against the tenant, since the caller may
    /// answer all the same.
    pub async fn admit_repetition(&self, caller: &Caller, call: Call) -> Result<Admitted, Refusal> {
        self.check(caller)?;
        let account = caller.account.clone();
        let tenant = account.tenant.id;
        let live = self.inner.live(tenant);
        let rates = rates_of(caller, &call)?;
        let (taken, mut spending) = tokio::try_join!(
            biased;
            self.take(&live, tenant, rates),
            self.hold(&live, &account, &call, NanoUsd::ZERO),
        )?;
        spending.tokens = taken.units(TOKENS);
        let rate = taken.state;
        taken.keep();
        Ok(Admitted {
            route: Route::Full,
            rate,
            waited: Duration::ZERO,
            spending: Arc::new(spending),
            call,
            account,
            control: self.clone(),
            _seat: None,
        })
    }

    /// Lets in the work of a background task: it holds what it needs of budgets, and neither rates nor a seat.
    pub async fn admit_task(
        &self,
        account: &Arc<Account>,
        call: Call,
    ) -> Result<Admitted, Refusal> {
        check_state(account.tenant.state)?;
        let live = self.inner.live(account.tenant.id);
        let spending = self.hold(&live, account, &call, call.cost).await?;
        Ok(Admitted {
            route: Route::Full,
            rate: None,
            waited: Duration::ZERO,
            spending: Arc::new(spending),
            call,
            account: account.clone(),
            control: self.clone(),
            _seat: None,
        })
    }

    async fn try_admit(&self, caller: &Caller, call: Call) -> Result<Admitted, Refusal> {
        let inner = &self.inner;
        let account = caller.account.clone();
        let tenant = account.tenant.id;
        self.check(caller)?;
        let live = inner.live(tenant);

        let entry = entry(&account, &call);
        if entry.share.dedicated > 0 {
            // While the database is asked, a seat may come free already.
            inner.gate.expect(entry.tenant, entry.share);
        }
        let rates = rates_of(caller, &call)?;
        // Who finds neither in memory asks the database for both at once; what one gave goes back if the other
        // refuses. A rate that is known to be used up is the first to say so, and nobody is asked for money.
        let (taken, spending) = tokio::try_join!(
            biased;
            self.take(&live, tenant, rates),
            async { Ok(self.pay(&live, &account, &call).await) },
        )?;
        let rate = taken.state;
        let with_rate = |mut refusal: Refusal| {
            refusal.rate = rate;
            refusal
        };
        let (route, mut spending) = spending.map_err(with_rate)?;
        let seat = inner.gate.enter(entry).await.map_err(with_rate)?;
        // It may have waited for long.
        let account = self
            .account(tenant)
            .await
            .map_err(|error| Refusal::unknown(&error))?;
        check_state(account.tenant.state)?;
        spending.tokens = taken.units(TOKENS);
        taken.keep();
        Ok(Admitted {
            route,
            rate,
            waited: seat.waited,
            spending: Arc::new(spending),
            call,
            account,
            control: self.clone(),
            _seat: Some(seat),
        })
    }

    /// Counts an upload against the rate of uploads, or says why not.
    pub async fn admit_upload(&self, caller: &Caller) -> Result<(), Refusal> {
        let account = &caller.account;
        check_state(account.tenant.state)?;
        let live = self.inner.live(account.tenant.id);
        let limit = allowed(account, LimitName::UploadsPerMinute)?;
        let rates: Vec<Rate> = Rate::of("uploads", limit, 1).into_iter().collect();
        self.take(&live, account.tenant.id, rates)
            .await
            .inspect_err(|refusal| self.note_refusal(account.tenant.id, refusal.reason))?
            .keep();
        Ok(())
    }

    async fn take(
        &self,
        live: &Arc<Live>,
        tenant: TenantId,
        rates: Vec<Rate>,
    ) -> Result<Taken, Refusal> {
        let now = Instant::now();
        if rates.is_empty() || lock(&live.rates).spend(now, &rates) {
            return Ok(Taken::new(live, rates));
        }
        let used_up = lock(&live.rates).used_up(now, &rates);
        if let Some(used_up) = used_up {
            return Err(rate_refusal(live, &used_up, &rates));
        }
        let (control, taking) = (self.clone(), live.clone());
        let fetched = async move { control.fetch(&taking, tenant, rates).await };
        alone(&live.rates_turn, fetched.boxed()).await
    }

    /// Takes units from where all processes share them.
    async fn fetch(
        &self,
        live: &Arc<Live>,
        tenant: TenantId,
        rates: Vec<Rate>,
    ) -> Result<Taken, Refusal> {
        let now = Instant::now();
        // Whoever was here before may have brought enough.
        if lock(&live.rates).spend(now, &rates) {
            return Ok(Taken::new(live, rates));
        }
        let used_up = lock(&live.rates).used_up(now, &rates);
        if let Some(used_up) = used_up {
            return Err(rate_refusal(live, &used_up, &rates));
        }
        let orders = lock(&live.rates).order(now, &rates);
        match self
            .inner
            .counters
            .take(&self.inner.store, tenant, &orders)
            .await
        {
            Ok(Ok(given)) => {
                lock(&live.rates).keep(Instant::now(), orders, &given);
                Ok(Taken::new(live, rates))
            }
            Ok(Err(used_up)) => {
                lock(&live.rates).put_back(Instant::now(), &orders, &used_up);
                Err(rate_refusal(live, &used_up, &rates))
            }
            Err(error) => Err(Refusal::unknown(&error)),
        }
    }

    /// Finds the way that there are seats and money for, and holds what it may cost.
    async fn pay(
        &self,
        live: &Arc<Live>,
        account: &Account,
        call: &Call,
    ) -> Result<(Route, Spending), Refusal> {
        let mut route = Route::Full;
        if self.inner.gate.crowding() >= self.inner.ladder.cheaper_at {
            route = Route::Cheaper(Reason::Seats);
        } else if call.cost > NanoUsd::ZERO {
            match self.hold(live, account, call, call.cost).await {
                // Without money left there is still the way that costs none.
                Err(refusal) if refusal.reason == Reason::Budget => {
                    route = Route::Cheaper(Reason::Budget);
                }
                spending => return Ok((route, spending?)),
            }
        }
        let spending = self.hold(live, account, call, NanoUsd::ZERO).await?;
        Ok((route, spending))
    }

    async fn hold(
        &self,
        live: &Arc<Live>,
        account: &Account,
        call: &Call,
        cost: NanoUsd,
    ) -> Result<Spending, Refusal> {
        let needs = needs(account, call, cost)?;
        if needs.is_empty() {
            return Ok(Spending::new(live, None));
        }
        let share = lock(&live.purse).spend(Instant::now(), &needs);
        if let Some(share) = share {
            return Ok(Spending::new(live, Some(share)));
        }
        let (control, holding, tenant) = (self.clone(), live.clone(), account.tenant.id);
        let fetched = async move { control.fetch_hold(&holding, tenant, &needs).await };
        alone(&live.purse_turn, fetched.boxed()).await
    }

    /// Takes a hold out of the budgets, large enough for more than this request where many come.
    async fn fetch_hold(
        &self,
        live: &Arc<Live>,
        tenant: TenantId,
        needs: &[Need],
    ) -> Result<Spending, Refusal> {
        let share = lock(&live.purse).spend(Instant::now(), needs);
        if let Some(share) = share {
            return Ok(Spending::new(live, Some(share)));
        }
        let mut size = lock(&live.purse).size(Instant::now(), needs);
        loop {
            match budgets::hold(&self.inner.store, tenant, needs, size).await {
                Ok(Ok(hold)) => {
                    let now = Instant::now();
                    let mut purse = lock(&live.purse);
                    purse.keep(now, hold, needs, size);
                    let share = purse.spend(now, needs);
                    drop(purse);
                    return Ok(Spending::new(live, share));
                }
                // Not enough for many is perhaps enough for one.
                Ok(Err(_)) if size > 1 => size = 1,
                Ok(Err(exhausted)) => return Err(budget_refusal(&exhausted)),
                Err(error) => return Err(Refusal::unknown(&error)),
            }
        }
    }

    /// Counts who is told to wait and comes all the same.
    fn note_refusal(&self, tenant: TenantId, reason: Reason) {
        // No seat may be the fault of others.
        if !matches!(reason, Reason::Rate | Reason::Budget) {
            return;
        }
        let live = self.inner.live(tenant);
        let is_too_much = lock(&live.insistence).refused(Instant::now(), &self.inner.ladder);
        if is_too_much {
            let store = self.inner.store.clone();
            let pause = self.inner.ladder.throttle_for;
            tokio::spawn(async move {
                if let Err(error) = notices::throttled(&store, tenant, pause).await {
                    tracing::warn!(%tenant, %error, "a tenant is held off, and that can't be noted");
                }
            });
        }
    }

    /// Requests of each class that wait and that run.
    pub fn queue(&self) -> Vec<(Class, u32, u32)> {
        Class::ALL
            .into_iter()
            .map(|class| {
                let count = self.inner.gate.count(class);
                (class, count.waiting, count.running)
            })
            .collect()
    }

    /// How many requests were admitted, how many of them to the cheaper way, and how many were refused why.
    pub fn totals(&self) -> Totals {
        let counts = &self.inner.counts;
        Totals {
            admitted: counts.admitted.load(Ordering::Relaxed),
            cheaper: counts.cheaper.load(Ordering::Relaxed),
            refused: Reason::ALL
                .into_iter()
                .zip(&counts.refused)
                .map(|(reason, count)| (reason, count.load(Ordering::Relaxed)))
                .collect(),
        }
    }
}

/// What the control plane decided so far.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Requests that were let in.
    pub admitted: u64,
    /// Of these, those that were answered the cheaper way.
    pub cheaper: u64,
    /// Requests that were not.
    pub refused: Vec<(Reason, u64)>,
}

impl Tally {
    fn note(&self, admitted: &Result<Admitted, Refusal>) {
        match admitted {
            Ok(admitted) => {
                self.admitted.fetch_add(1, Ordering::Relaxed);
                if admitted.route != Route::Full {
                    self.cheaper.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(refusal) => {
                if let Some(count) = self.refused.get(refusal.reason as usize) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

impl Inner {
    fn live(&self, tenant: TenantId) -> Arc<Live> {
        lock(&self.live).entry(tenant).or_default().clone()
    }

    /// Everything this process has taken, tenant by tenant.
    pub(crate) fn lives(&self) -> Vec<(TenantId, Arc<Live>)> {
        lock(&self.live)
            .iter()
            .map(|(tenant, live)| (*tenant, live.clone()))
            .collect()
    }

    pub(crate) fn take_unsettled(&self) -> Vec<budgets::Account> {
        std::mem::take(&mut *lock(&self.unsettled))
    }

    pub(crate) fn keep_unsettled(&self, accounts: Vec<budgets::Account>) {
        lock(&self.unsettled).extend(accounts);
    }

    /// Forgets tenants that hold nothing and that nobody serves right now.
    pub(crate) fn forget_idle(&self) {
        lock(&self.live).retain(|_, live| {
            Arc::strong_count(live) > 1
                || !lock(&live.purse).is_empty()
                || !lock(&live.rates).is_idle(Instant::now())
                || lock(&live.insistence).pause(Instant::now()).is_some()
        });
    }
}

impl Live {
    pub(crate) fn purse(&self) -> MutexGuard<'_, Purse> {
        lock(&self.purse)
    }
}

fn rate_refusal(live: &Live, used_up: &UsedUp, rates: &[Rate]) -> Refusal {
    let text = format!(
        "{}; try again in {:.0} s",
        rate_text(&used_up.name, rates),
        used_up.wait.as_secs_f64().ceil()
    );
    let mut refusal = Refusal::new(Reason::Rate, text).after(used_up.wait);
    refusal.rate = rates.first().map(|rate| RateState {
        remaining: 0,
        reset: used_up.wait,
        ..lock(&live.rates).state(rate)
    });
    refusal
}

/// Asks the database when nobody else has the turn, and does not wait for it for ever. The asking itself is a
/// task of its own, so that a client that goes away in the middle, or was kept waiting for too long, does not take
/// with it what the database gives: then the result is dropped, and gives everything back.
async fn alone<T: Send + 'static>(
    turn: &Arc<Turn<()>>,
    asking: BoxFuture<'static, Result<T, Refusal>>,
) -> Result<T, Refusal> {
    let unknown = |text| Refusal::new(Reason::Unknown, text).after(LONGEST_TURN);
    let slow = |_| unknown("the database takes long to say what the tenant may use; try again");
    let mine = timeout(LONGEST_TURN, turn.clone().lock_owned());
    let mine = mine.await.map_err(slow)?;
    let asked = tokio::spawn(async move {
        let answer = asking.await;
        drop(mine);
        answer
    });
    let answer = timeout(LONGEST_ANSWER, asked).await.map_err(slow)?;
    answer.unwrap_or_else(|_| {
        Err(unknown(
            "the request was interrupted while it was let in; try again",
        ))
    })
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section here leaves its value whole, even if it panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
