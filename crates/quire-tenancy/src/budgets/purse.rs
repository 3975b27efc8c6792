//! What this process holds of a tenant's budgets, spent in memory by one request after another.
//!
//! Takes the time as a value and asks nobody: whoever calls makes the hold in the database first, and charges
//! it there when it is over.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use uuid::Uuid;

use quire_types::TenantId;

use super::{Need, Scope};

/// How long a hold serves new requests before it is accounted for.
const SLICE_LIFE: Duration = Duration::from_secs(30);
/// How often it is said that a hold is still in use.
const RENEW_EVERY: Duration = Duration::from_secs(30);
/// The most requests that are held for ahead.
const MOST_AHEAD: i64 = 50;

/// What this process holds for one tenant.
#[derive(Default)]
pub(crate) struct Purse {
    holds: HashMap<Uuid, Hold>,
}

struct Hold {
    scopes: Vec<Scope>,
    left: Vec<i64>,
    used: Vec<i64>,
    /// Requests that spend from it.
    open: u32,
    until: Instant,
    /// When it was last said to be in use.
    renewed: Instant,
    /// For how many requests it was made.
    size: i64,
    served: i64,
}

impl Hold {
    /// Whether it is of exactly these budgets.
    fn is_for(&self, needs: &[Need]) -> bool {
        self.scopes.len() == needs.len()
            && self
                .scopes
                .iter()
                .zip(needs)
                .all(|(scope, need)| *scope == need.scope)
    }
}

/// The part of a hold that one request may spend.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) hold: Uuid,
    amounts: Vec<i64>,
}

/// A hold that is over, with what was used of it.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) tenant: TenantId,
    pub(crate) hold: Uuid,
    pub(super) scopes: Vec<Scope>,
    pub(super) used: Vec<i64>,
}

impl Purse {
    /// A share of what is held already, if enough of it is.
    pub(crate) fn spend(&mut self, now: Instant, needs: &[Need]) -> Option<Share> {
        let (id, hold) = self.holds.iter_mut().find(|(_, hold)| {
            hold.until > now
                && hold.is_for(needs)
                && hold
                    .left
                    .iter()
                    .zip(needs)
                    .all(|(left, need)| *left >= need.amount)
        })?;
        for (left, need) in hold.left.iter_mut().zip(needs) {
            *left -= need.amount;
        }
        hold.open += 1;
        hold.served += 1;
        Some(Share {
            hold: *id,
            amounts: needs.iter().map(|need| need.amount).collect(),
        })
    }

    /// For how many requests to hold next: more while holds are used up in time.
    pub(crate) fn size(&self, now: Instant, needs: &[Need]) -> i64 {
        let hot = self
            .holds
            .values()
            .filter(|hold| hold.is_for(needs))
            .filter(|hold| hold.until > now && hold.served >= hold.size)
            .map(|hold| hold.size * 2)
            .max();
        hot.unwrap_or(1).clamp(1, MOST_AHEAD)
    }

    /// Keeps a hold that was made for `size` requests.
    pub(crate) fn keep(&mut self, now: Instant, id: Uuid, needs: &[Need], size: i64) {
        let hold = Hold {
            scopes: needs.iter().map(|need| need.scope.clone()).collect(),
            left: needs
                .iter()
                .map(|need| need.amount.saturating_mul(size))
                .collect(),
            used: vec![0; needs.len()],
            open: 0,
            until: now + SLICE_LIFE,
            renewed: now,
            size,
            served: 0,
        };
        self.holds.insert(id, hold);
    }

    /// Charges what a request used; the rest of its share serves others.
    pub(crate) fn settle(&mut self, share: &Share, used: impl Fn(&Scope) -> i64) {
        let Some(hold) = self.holds.get_mut(&share.hold) else {
            return;
        };
        for (index, scope) in hold.scopes.iter().enumerate() {
            let used = used(scope).max(0);
            hold.left[index] += share.amounts[index] - used;
            hold.used[index] += used;
        }
        hold.open = hold.open.saturating_sub(1);
    }

    /// Takes out what is over: past its time with nobody spending from it, or all when `every`.
    pub(crate) fn close(&mut self, tenant: TenantId, now: Instant, every: bool) -> Vec<Account> {
        self.holds
            .extract_if(|_, hold| hold.open == 0 && (every || hold.until <= now))
            .map(|(id, hold)| Account {
                tenant,
                hold: id,
                scopes: hold.scopes,
                used: hold.used,
            })
            .collect()
    }

    /// The holds of which it is time to say that they are still in use.
    pub(crate) fn to_renew(&self, now: Instant) -> Vec<Uuid> {
        self.holds
            .iter()
            .filter(|(_, hold)| now.duration_since(hold.renewed) >= RENEW_EVERY)
            .map(|(id, _)| *id)
            .collect()
    }

    /// It was said of these.
    pub(crate) fn renewed(&mut self, now: Instant, holds: &[Uuid]) {
        for id in holds {
            if let Some(hold) = self.holds.get_mut(id) {
                hold.renewed = now;
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }
}
