//! A request that wants in: what it asks of rates, budgets and seats, and the words in which it is refused.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use chrono::Utc;
use uuid::Uuid;

use quire_types::{NanoUsd, NotebookId, TenantState, Timestamp};

use crate::budgets::{self, Counted, Need, Owner, Period, Scope};
use crate::error::{Reason, Refusal};
use crate::gate::Entry;
use crate::known::{Account, Caller};
use crate::limit::{Limit, LimitName};
use crate::rates::Rate;
use crate::seats::{Class, Share};

/// The rate of tokens, of which a request takes what it may need and gives back what it did not.
pub(super) const TOKENS: &str = "tokens";

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
    /// Seconds of sound it will make or listen to, at most.
    pub audio_seconds: u64,
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
            audio_seconds: 0,
            cost: NanoUsd::ZERO,
            estimate: Duration::from_millis(50),
            patience: Duration::from_secs(10),
        }
    }
}

/// The rates that a request counts against.
pub(super) fn rates_of(caller: &Caller, call: &Call) -> Result<Vec<Rate>, Refusal> {
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
    Ok(rates)
}

pub(super) fn entry(account: &Account, call: &Call) -> Entry {
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

pub(super) fn needs(account: &Account, call: &Call, cost: NanoUsd) -> Result<Vec<Need>, Refusal> {
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
    if call.audio_seconds > 0 {
        let limit = match allowed(account, LimitName::TranscribedMinutesPerMonth)? {
            Limit::At(minutes) => Limit::At(minutes.saturating_mul(60)),
            Limit::Unlimited => Limit::Unlimited,
        };
        let scope = Scope::new(Counted::AudioSeconds, tenant.clone(), Period::Month, today);
        needs.extend(Need::of(scope, limit, call.audio_seconds));
    }
    Ok(needs)
}

/// A limit that allows anything at all.
pub(super) fn allowed(account: &Account, name: LimitName) -> Result<Limit, Refusal> {
    let limit = account.terms.limit(name);
    if limit.is_off() {
        return Err(Refusal::new(
            Reason::Plan,
            format!("the plan allows nothing here: its {name} is 0"),
        ));
    }
    Ok(limit)
}

pub(super) fn check_state(state: TenantState) -> Result<(), Refusal> {
    match state {
        TenantState::Active => Ok(()),
        state => Err(Refusal::new(
            Reason::State,
            format!("the tenant is {state}"),
        )),
    }
}

pub(super) fn rate_text(name: &str, rates: &[Rate]) -> String {
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

pub(super) fn budget_refusal(exhausted: &budgets::Exhausted) -> Refusal {
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
        Counted::AudioSeconds => format!("{} minutes of sound", exhausted.limit / 60),
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
