//! Letting requests in: who is calling → rates → budgets → a seat, before anything is spent.
//!
//! What a request takes on its way is held by values that give it back when they are dropped, so a refusal,
//! an error and a client that goes away all end the same way. What was really used is charged when the last
//! of them goes.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::Utc;
use tokio::sync::Mutex as Turn;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use quire_store::Store;
use quire_types::{NanoUsd, NotebookId, TenantId, TenantState, Timestamp};

use crate::budgets::{self, Counted, Need, Owner, Period, Purse, Scope};
use crate::catalogue::{Price, QuestionType};
use crate::error::{Reason, Refusal};
use crate::gate::{Entry, Gate, GateConfig, Seat};
use crate::known::{Account, Caller, Known, Who};
use crate::limit::{Limit, LimitName};
use crate::meter::Meter;
use crate::overload::{Insistence, Ladder};
use crate::rates::{self, Counters, Rate, RateState, Slices};
use crate::seats::{Class, Share};
use crate::usage::{Event, Kind, Quantities};
use crate::{Error, upkeep};

/// The rate of tokens, of which a request takes what it may need and gives back what it did not.
const TOKENS: &str = "tokens";

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
    /// One request at a time asks the database; those behind it find what it brought.
    asking: Turn<()>,
}

/// A request that wants in.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its id; the same for a repetition of the same request.
    pub request: Uuid,
    /// When it came.
    pub at: Timestamp,
    /// What it is for.
    pub class: Class,
    /// The tenant's own name of the user behind it.
    pub user: Option<String>,
    /// The notebook it is about, if only one.
    pub notebook: Option<NotebookId>,
    /// Questions it counts as.
    pub questions: u64,
    /// Tokens it will use, at most.
    pub tokens: u64,
    /// What it will cost, at most.
    pub cost: NanoUsd,
    /// How long it will hold a seat.
    pub estimate: Duration,
    /// How long it may wait for one.
    pub patience: Duration,
}

impl Call {
    /// A request that uses no model and waits for a seat as long as people do.
    pub fn new(request: Uuid, class: Class) -> Self {
        Self {
            request,
            at: Utc::now(),
            class,
            user: None,
            notebook: None,
            questions: 0,
            tokens: 0,
            cost: NanoUsd::ZERO,
            estimate: Duration::from_millis(50),
            patience: Duration::from_secs(10),
        }
    }
}

/// The way in which an admitted request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// As asked.
    Full,
    /// Without what costs money or much time, because of this.
    Cheaper(Reason),
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
                counts: Tally::default(),
                store: config.store,
            }),
        }
    }

    /// Hears of changes, writes usage and settles what is over, until told to stop; then settles the rest.
    pub async fn run(self, stop: CancellationToken) {
        upkeep::run(&self.inner, stop).await;
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

    /// What a model costs now; the conservative price for one that nobody has named.
    pub async fn price(&self, model: &str) -> Result<Price, Error> {
        Ok(self
            .inner
            .known
            .shared()
            .await?
            .prices
            .of(model, Utc::now()))
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
        admitted
    }

    async fn try_admit(&self, caller: &Caller, call: Call) -> Result<Admitted, Refusal> {
        let inner = &self.inner;
        let account = caller.account.clone();
        let tenant = account.tenant.id;
        check_state(account.tenant.state)?;
        if inner.meter.is_full() {
            return Err(Refusal::new(
                Reason::Unknown,
                "usage can't be written right now, so nothing new is begun; try again",
            )
            .after(Duration::from_secs(2)));
        }
        let live = inner.live(tenant);
        if let Some(pause) = lock(&live.insistence).pause(Instant::now()) {
            return Err(Refusal::new(
                Reason::Throttled,
                "this tenant kept sending although it was refused, and is held off for a while",
            )
            .after(pause));
        }

        let entry = entry(&account, &call);
        if entry.share.dedicated > 0 {
            // While the database is asked, a seat may come free already.
            inner.gate.expect(entry.tenant, entry.share);
        }
        let taken = self.take_rates(&live, caller, &call).await?;
        let rate = taken.state;
        let with_rate = |mut refusal: Refusal| {
            refusal.rate = rate;
            refusal
        };
        let mut route = match inner.gate.crowding() >= inner.ladder.cheaper_at {
            true => Route::Cheaper(Reason::Seats),
            false => Route::Full,
        };
        let cost = match route {
            Route::Full => call.cost,
            Route::Cheaper(_) => NanoUsd::ZERO,
        };
        let mut spending = self.hold(&live, &account, &call, cost).await;
        // Without money left there is still the way that costs none.
        if matches!(&spending, Err(refusal) if refusal.reason == Reason::Budget)
            && cost > NanoUsd::ZERO
        {
            route = Route::Cheaper(Reason::Budget);
            spending = self.hold(&live, &account, &call, NanoUsd::ZERO).await;
        }
        let mut spending = spending.map_err(with_rate)?;
        let seat = inner
            .gate
            .enter(entry)
            .await
            .map_err(with_rate)
            .inspect_err(|_| self.note_refusal(&live, tenant))?;
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
            _seat: seat,
        })
    }

    /// Counts an upload against the rate of uploads.
    pub async fn admit_upload(&self, caller: &Caller) -> Result<Option<RateState>, Refusal> {
        let account = &caller.account;
        check_state(account.tenant.state)?;
        let live = self.inner.live(account.tenant.id);
        let limit = allowed(account, LimitName::UploadsPerMinute)?;
        let rates: Vec<Rate> = Rate::of("uploads", limit, 1).into_iter().collect();
        let taken = self.take(&live, account.tenant.id, rates).await?;
        let state = taken.state;
        taken.keep();
        Ok(state)
    }

    async fn take_rates(
        &self,
        live: &Arc<Live>,
        caller: &Caller,
        call: &Call,
    ) -> Result<Taken, Refusal> {
        let account = &caller.account;
        let mut rates = Vec::with_capacity(4);
        rates.extend(Rate::of(
            "tenant",
            allowed(account, LimitName::RequestsPerMinute)?,
            1,
        ));
        if let Some(key) = &caller.key {
            let limit = allowed(account, LimitName::KeyRequestsPerMinute)?;
            rates.extend(Rate::of(format!("key:{}", key.uuid().simple()), limit, 1));
        }
        if let Some(user) = &call.user {
            let limit = allowed(account, LimitName::UserRequestsPerMinute)?;
            rates.extend(Rate::of(format!("user:{user}"), limit, 1));
        }
        if call.tokens > 0 {
            let limit = allowed(account, LimitName::TokensPerMinute)?;
            rates.extend(Rate::of(TOKENS, limit, call.tokens));
        }
        self.take(live, account.tenant.id, rates).await
    }

    async fn take(
        &self,
        live: &Arc<Live>,
        tenant: TenantId,
        rates: Vec<Rate>,
    ) -> Result<Taken, Refusal> {
        let taken = |rates: Vec<Rate>| Taken {
            state: rates.first().map(|rate| lock(&live.rates).state(rate)),
            rates,
            live: live.clone(),
        };
        if rates.is_empty() || lock(&live.rates).spend(Instant::now(), &rates) {
            return Ok(taken(rates));
        }
        let _turn = live.asking.lock().await;
        let now = Instant::now();
        if lock(&live.rates).spend(now, &rates) {
            return Ok(taken(rates));
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
                Ok(taken(rates))
            }
            Ok(Err(used_up)) => {
                lock(&live.rates).put_back(&orders);
                self.note_refusal(live, tenant);
                let mut refusal = Refusal::new(Reason::Rate, rate_text(&used_up.name, &rates))
                    .after(used_up.wait);
                refusal.rate = rates.first().map(|rate| RateState {
                    remaining: 0,
                    reset: used_up.wait,
                    ..lock(&live.rates).state(rate)
                });
                Err(refusal)
            }
            Err(error) => Err(Refusal::unknown(&error)),
        }
    }

    async fn hold(
        &self,
        live: &Arc<Live>,
        account: &Account,
        call: &Call,
        cost: NanoUsd,
    ) -> Result<Spending, Refusal> {
        let needs = needs(account, call, cost)?;
        let tenant = account.tenant.id;
        let spending = |share| Spending {
            live: live.clone(),
            share,
            tokens: 0,
            used: Mutex::default(),
        };
        if needs.is_empty() {
            return Ok(spending(None));
        }
        if let Some(share) = lock(&live.purse).spend(Instant::now(), &needs) {
            return Ok(spending(Some(share)));
        }
        let _turn = live.asking.lock().await;
        if let Some(share) = lock(&live.purse).spend(Instant::now(), &needs) {
            return Ok(spending(Some(share)));
        }
        let mut size = lock(&live.purse).size(Instant::now());
        loop {
            match budgets::hold(&self.inner.store, tenant, &needs, size).await {
                Ok(Ok(hold)) => {
                    let now = Instant::now();
                    let mut purse = lock(&live.purse);
                    purse.keep(now, hold, &needs, size);
                    return Ok(spending(purse.spend(now, &needs)));
                }
                // Not enough for many is perhaps enough for one.
                Ok(Err(_)) if size > 1 => size = 1,
                Ok(Err(exhausted)) => {
                    self.note_refusal(live, tenant);
                    return Err(budget_refusal(&exhausted));
                }
                Err(error) => return Err(Refusal::unknown(&error)),
            }
        }
    }

    fn note_refusal(&self, live: &Live, tenant: TenantId) {
        if lock(&live.insistence).refused(Instant::now(), &self.inner.ladder) {
            tracing::warn!(%tenant, "a tenant keeps sending although it is refused; it is held off");
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

/// Units of rates that come back unless the request is let in.
struct Taken {
    live: Arc<Live>,
    rates: Vec<Rate>,
    state: Option<RateState>,
}

impl Taken {
    fn units(&self, name: &str) -> u64 {
        let rate = self.rates.iter().find(|rate| rate.name == name);
        rate.map_or(0, |rate| rate.units)
    }

    fn keep(mut self) {
        self.rates.clear();
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.rates.is_empty() {
            lock(&self.live.rates).give_back(&self.rates);
        }
    }
}

/// The share of a hold that a request may spend; charged with what it used when it is over.
struct Spending {
    live: Arc<Live>,
    share: Option<budgets::Share>,
    /// Tokens that were taken from the rate.
    tokens: u64,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    cost: i64,
    questions: i64,
    audio_ms: i64,
    tokens: i64,
}

impl Spending {
    fn hold(&self) -> Option<Uuid> {
        self.share.as_ref().map(|share| share.hold)
    }

    fn add(&self, event: &Event) {
        let mut used = lock(&self.used);
        used.cost = used.cost.saturating_add(event.cost.nanos());
        used.questions += i64::from(event.kind == Kind::Question.as_str());
        used.audio_ms += event.quantities.audio_ms;
        used.tokens += event.quantities.input_tokens + event.quantities.output_tokens;
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        let used = lock(&self.used);
        let unused = self.tokens.saturating_sub(used.tokens.unsigned_abs());
        lock(&self.live.rates).give_back_units(TOKENS, unused);
        if let Some(share) = &self.share {
            lock(&self.live.purse).settle(share, |scope| match scope.counted {
                Counted::Cost => used.cost,
                Counted::Questions => used.questions,
                Counted::AudioSeconds => used.audio_ms / 1_000,
            });
        }
    }
}

/// A request that was let in. Dropping it frees its seat and charges what it used.
pub struct Admitted {
    /// The way it is to be answered.
    pub route: Route,
    /// What the tenant's rate has left; none without a limit.
    pub rate: Option<RateState>,
    /// How long it waited for its seat.
    pub waited: Duration,
    call: Call,
    account: Arc<Account>,
    control: Control,
    spending: Arc<Spending>,
    _seat: Seat,
}

impl Admitted {
    /// Notes local work of this request; it is written within a moment.
    pub fn note(&self, kind: Kind, quantities: Quantities) {
        let event = Event {
            quantities,
            ..self.event(kind, 1)
        };
        self.spending.add(&event);
        self.control.inner.meter.push(event);
    }

    /// Begins an attempt at a provider, which is written down before it is sent: `most` is what it costs
    /// unless somebody says otherwise, `input` what it costs if it is broken off before the first word.
    pub async fn attempt(
        &self,
        kind: Kind,
        number: i16,
        provider: &str,
        model: &str,
        (most, input): (NanoUsd, NanoUsd),
    ) -> Result<Attempt, Error> {
        let event = Event {
            provider: Some(provider.to_owned()),
            model: Some(model.to_owned()),
            is_open: true,
            is_estimated: true,
            cost: most,
            ..self.event(kind, number)
        };
        crate::usage::record(&self.control.inner.store, std::slice::from_ref(&event)).await?;
        Ok(Attempt {
            event: Some(event),
            input,
            spending: self.spending.clone(),
            control: self.control.clone(),
        })
    }

    fn event(&self, kind: Kind, attempt: i16) -> Event {
        let call = &self.call;
        Event {
            user: call.user.clone(),
            notebook: call.notebook.map(NotebookId::uuid),
            hold: self.spending.hold(),
            ..Event::new(self.account.tenant.id, kind, call.request, attempt, call.at)
        }
    }

    /// The tenant with what it may use.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Whether the plan has questions of this type.
    pub fn allows(&self, question: QuestionType) -> bool {
        self.account.terms.plan.question_types.contains(&question)
    }

    /// Returns once the tenant may not go on: it was suspended or is being closed. Never, otherwise.
    pub async fn revoked(&self) -> Refusal {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if let Ok(account) = self.control.account(self.account.tenant.id).await
                && let Err(refusal) = check_state(account.tenant.state)
            {
                return refusal;
            }
        }
    }
}

/// An attempt at a provider. Dropped without a word it costs what its input costs if no answer had begun, and
/// everything that was reserved otherwise: what nobody knows is never free.
pub struct Attempt {
    event: Option<Event>,
    input: NanoUsd,
    spending: Arc<Spending>,
    control: Control,
}

impl Attempt {
    /// The provider said what was used.
    pub fn close(mut self, quantities: Quantities, cost: NanoUsd) {
        if let Some(event) = self.event.take() {
            self.end(Event {
                quantities,
                cost,
                is_estimated: false,
                ..event
            });
        }
    }

    /// The answer has begun: from now on everything that was reserved is at stake.
    pub fn began(&mut self) {
        if let Some(event) = &self.event {
            self.input = event.cost;
        }
    }

    fn end(&self, event: Event) {
        let event = Event {
            is_open: false,
            ..event
        };
        self.spending.add(&event);
        self.control.inner.meter.push(event);
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            let cost = self.input;
            self.end(Event { cost, ..event });
        }
    }
}

fn entry(account: &Account, call: &Call) -> Entry {
    let plan = &account.terms.plan;
    let most = |name| {
        account
            .terms
            .limit(name)
            .most()
            .map_or(u32::MAX, saturating)
    };
    let mut user = DefaultHasher::new();
    call.user.hash(&mut user);
    Entry {
        class: call.class,
        tenant: account.tenant.id.uuid(),
        user: user.finish(),
        share: Share {
            weight: u32::from(plan.weight),
            most_running: most(LimitName::RunningRequests),
            most_waiting: most(LimitName::WaitingRequests).max(1),
            dedicated: plan.dedicated_seats,
        },
        estimate: call.estimate,
        patience: call.patience,
    }
}

fn saturating(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn needs(account: &Account, call: &Call, cost: NanoUsd) -> Result<Vec<Need>, Refusal> {
    let today = call.at.date_naive();
    let mut needs = Vec::with_capacity(7);
    let mut need = |counted, owner: &Owner, period, name, amount| {
        if amount > 0 {
            let scope = Scope::new(counted, owner.clone(), period, today);
            needs.extend(Need::of(scope, allowed(account, name)?, amount));
        }
        Ok::<(), Refusal>(())
    };
    let amount = cost.nanos().unsigned_abs();
    let tenant = Owner::Tenant;
    need(
        Counted::Cost,
        &tenant,
        Period::Day,
        LimitName::CostPerDay,
        amount,
    )?;
    need(
        Counted::Cost,
        &tenant,
        Period::Month,
        LimitName::CostPerMonth,
        amount,
    )?;
    need(
        Counted::Questions,
        &tenant,
        Period::Month,
        LimitName::QuestionsPerMonth,
        call.questions,
    )?;
    if let Some(user) = &call.user {
        let user = Owner::User(user.clone());
        need(
            Counted::Cost,
            &user,
            Period::Day,
            LimitName::UserCostPerDay,
            amount,
        )?;
        need(
            Counted::Cost,
            &user,
            Period::Month,
            LimitName::UserCostPerMonth,
            amount,
        )?;
    }
    if let Some(notebook) = call.notebook {
        let notebook = Owner::Notebook(notebook.uuid());
        need(
            Counted::Cost,
            &notebook,
            Period::Day,
            LimitName::NotebookCostPerDay,
            amount,
        )?;
        need(
            Counted::Cost,
            &notebook,
            Period::Month,
            LimitName::NotebookCostPerMonth,
            amount,
        )?;
    }
    Ok(needs)
}

/// A limit that allows anything at all.
fn allowed(account: &Account, name: LimitName) -> Result<Limit, Refusal> {
    let limit = account.terms.limit(name);
    if limit.is_off() {
        return Err(Refusal::new(
            Reason::Plan,
            format!("the plan allows nothing here: its {name} is 0"),
        ));
    }
    Ok(limit)
}

fn check_state(state: TenantState) -> Result<(), Refusal> {
    match state {
        TenantState::Active => Ok(()),
        state => Err(Refusal::new(
            Reason::State,
            format!("the tenant is {state}"),
        )),
    }
}

fn rate_text(name: &str, rates: &[Rate]) -> String {
    let per_minute = rates
        .iter()
        .find(|rate| rate.name == name)
        .map_or(0, |rate| rate.per_minute);
    match name.split(':').next() {
        Some("key") => format!("this key sent more than {per_minute} requests a minute"),
        Some("user") => format!("this user sent more than {per_minute} requests a minute"),
        Some(TOKENS) => format!("the tenant used more than {per_minute} tokens a minute"),
        Some("uploads") => format!("the tenant sent more than {per_minute} files a minute"),
        _ => format!("the tenant sent more than {per_minute} requests a minute"),
    }
}

fn budget_refusal(exhausted: &budgets::Exhausted) -> Refusal {
    let scope = &exhausted.scope;
    let whose = match scope.owner {
        Owner::Tenant => "the tenant's",
        Owner::User(_) => "this user's",
        Owner::Notebook(_) => "this notebook's",
    };
    let what = match scope.counted {
        Counted::Cost => format!(
            "budget of {} for models",
            NanoUsd::from_nanos(exhausted.limit)
        ),
        Counted::Questions => format!("{} questions", exhausted.limit),
        Counted::AudioSeconds => format!("{} seconds of audio", exhausted.limit),
    };
    let next = scope.period.next(scope.starts_on);
    let until = next
        .and_hms_opt(0, 0, 0)
        .and_then(|midnight| (midnight.and_utc() - Utc::now()).to_std().ok())
        .unwrap_or_default();
    Refusal::new(
        Reason::Budget,
        format!(
            "{whose} {what} of this {} are used up or reserved; the next begins on {next}",
            scope.period.as_str()
        ),
    )
    .after(until)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section here leaves its value whole, even if it panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
