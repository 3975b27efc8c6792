//! Budgets: what a tenant, one of its users or one of its notebooks may spend in a day or a month.
//!
//! Nothing is spent that was not held before. A hold is taken from all budgets of a request in one
//! statement, or from none, and the rows are locked in one order, so that holds never wait in a circle. What
//! was really used is charged always, even beyond the limit: `spent ≤ limit + Σ (actual − held)⁺`. A process
//! that serves a tenant often holds enough for several requests and spends it in memory (`purse`); since
//! that *is* a hold in the database (`rows`), two processes can't spend the last cent twice. A hold whose
//! process died is swept: what the usage events of it say is charged, the rest is free again, and the note of
//! it stays for a day in case the process was only asleep.
//!
//! Counts questions like money: a scope says what is counted. Knows no price.

use chrono::{Datelike, NaiveDate};
use uuid::Uuid;

use crate::Limit;

mod lasting;
mod purse;
mod rows;

pub use rows::{BudgetRow, of_tenant, sweep};

pub(crate) use lasting::{begin, end};
pub(crate) use purse::{Account, Purse, Share};
pub(crate) use rows::{forget, forget_plan, hold, renew, settle};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counted {
    /// Nano-dollars.
    Cost,
    /// Questions that were answered.
    Questions,
    /// Seconds of audio that were made or heard.
    AudioSeconds,
}

impl Counted {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Questions => "questions",
            Self::AudioSeconds => "audio",
        }
    }
}

/// Whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// All of the tenant.
    Tenant,
    /// One of its users, under the name the tenant gives them.
    User(String),
    /// One of its notebooks.
    Notebook(Uuid),
}

/// How long it has to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    /// A day of UTC.
    Day,
    /// A calendar month of UTC.
    Month,
}

impl Period {
    /// The first day of the period that `day` is in.
    pub fn start(self, day: NaiveDate) -> NaiveDate {
        match self {
            Self::Day => day,
            Self::Month => day.with_day(1).unwrap_or(day),
        }
    }

    /// The first day of the period after that.
    pub fn next(self, day: NaiveDate) -> NaiveDate {
        let start = self.start(day);
        let next = match self {
            Self::Day => start.succ_opt(),
            Self::Month => start.checked_add_months(chrono::Months::new(1)),
        };
        next.unwrap_or(start)
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
        }
    }
}

/// One budget.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) counted: Counted,
    pub(crate) owner: Owner,
    pub(crate) period: Period,
    pub(crate) starts_on: NaiveDate,
}

impl Scope {
    pub(crate) fn new(counted: Counted, owner: Owner, period: Period, today: NaiveDate) -> Self {
        Self {
            counted,
            owner,
            period,
            starts_on: period.start(today),
        }
    }

    /// The name it is stored under.
    pub(crate) fn name(&self) -> String {
        let owner = match &self.owner {
            Owner::Tenant => "tenant".to_owned(),
            Owner::User(name) => format!("user:{name}"),
            Owner::Notebook(id) => format!("notebook:{}", id.simple()),
        };
        format!("{}/{owner}/{}", self.counted.as_str(), self.period.as_str())
    }
}

/// What a request needs of one budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    pub(crate) scope: Scope,
    /// How much may be spent in the period.
    pub(crate) limit: i64,
    pub(crate) amount: i64,
}

impl Need {
    /// A need, unless there is no limit.
    pub(crate) fn of(scope: Scope, limit: Limit, amount: u64) -> Option<Self> {
        match limit {
            Limit::Unlimited => None,
            Limit::At(limit) => Some(Self {
                scope,
                limit: i64::try_from(limit).unwrap_or(i64::MAX),
                amount: i64::try_from(amount).unwrap_or(i64::MAX),
            }),
        }
    }
}

/// A budget that does not have enough.
#[derive(Clone, Debug)]
pub(crate) struct Exhausted {
    pub(crate) scope: Scope,
    pub(crate) limit: i64,
}
