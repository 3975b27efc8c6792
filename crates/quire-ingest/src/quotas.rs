//! What a tenant may keep, checked where something is added and nowhere else: whoever has too much, because
//! the plan became smaller, still finds all of it.
//!
//! A tenant with limits adds one thing at a time. As long as nine tenths of every limit are enough, what was
//! summed a moment ago and what this process added since tell; beyond that the rows are summed for each
//! addition. So a limit is exceeded only if other processes add more than its last tenth within
//! [`BELIEVED`], and by the passages of files that are being read at that moment. A tenant without limits
//! costs nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quire_store::notebooks::{self, Notebook};
use quire_store::sources::{self, Totals};
use quire_store::{Placement, Store, TenantTx};
use quire_tenancy::limit::Unit;
use quire_tenancy::{Account, Control, Limit, LimitName, Reason, Refusal};
use quire_types::{TenantId, TenantState};

use crate::Error;
use crate::onboarding::NOTEBOOK;

/// How long a sum is believed.
const BELIEVED: Duration = Duration::from_secs(10);
/// Tenants whose sums are remembered.
const MOST_TENANTS: usize = 10_000;

/// What tenants keep, as far as it is known.
#[derive(Default)]
pub(crate) struct Stock(Mutex<HashMap<TenantId, (Instant, Totals)>>);

impl Stock {
    /// Whether the tenant may keep so much more; call it before that is written, in the same transaction.
    /// What is not asked for is not checked.
    pub(crate) async fn room(
        &self,
        tx: &mut TenantTx,
        account: &Account,
        more: Totals,
    ) -> Result<Result<(), Refusal>, quire_store::Error> {
        let wanted = [
            (LimitName::StorageBytes, more.stored_bytes),
            (LimitName::Passages, more.passages),
        ];
        let wanted = wanted.map(|(name, more)| match account.terms.limit(name) {
            Limit::At(most) if more > 0 => Some((name, most, more)),
            _ => None,
        });
        if wanted.iter().all(Option::is_none) {
            return Ok(Ok(()));
        }
        tx.alone_with("sources").await?;
        if self.take(account.tenant.id, wanted, more) {
            return Ok(Ok(()));
        }
        let read_at = Instant::now();
        let totals = sources::totals(tx).await?;
        for ((name, most, more), used) in in_use(wanted, totals) {
            if used.saturating_add(more).unsigned_abs() > most {
                return Ok(Err(full(name, most, used, more)));
            }
        }
        self.learn(account.tenant.id, (read_at, sum(totals, more)));
        Ok(Ok(()))
    }

    /// Whether it is certain from memory that there is room; if so it is taken.
    fn take(&self, tenant: TenantId, wanted: [Option<Wanted>; 2], more: Totals) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((read_at, totals)) = known.get_mut(&tenant) else {
            return false;
        };
        let has_room = read_at.elapsed() < BELIEVED
            && in_use(wanted, *totals).all(|((_, most, more), used)| {
                used.saturating_add(more).unsigned_abs() <= most - most / 10
            });
        if has_room {
            *totals = sum(*totals, more);
        }
        has_room
    }

    fn learn(&self, tenant: TenantId, entry: (Instant, Totals)) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_TENANTS {
            known.retain(|_, (read_at, _)| read_at.elapsed() < BELIEVED);
        }
        known.insert(tenant, entry);
    }
}

/// A limit that something more is to stay within.
type Wanted = (LimitName, u64, i64);

fn in_use(wanted: [Option<Wanted>; 2], totals: Totals) -> impl Iterator<Item = (Wanted, i64)> {
    wanted
        .into_iter()
        .zip([totals.stored_bytes, totals.passages])
        .filter_map(|(wanted, used)| Some((wanted?, used)))
}

fn sum(one: Totals, other: Totals) -> Totals {
    Totals {
        stored_bytes: one.stored_bytes.saturating_add(other.stored_bytes),
        passages: one.passages.saturating_add(other.passages),
    }
}

/// Creates an empty notebook. Refused when the tenant is not active or may not have another one, however
/// many are created at once.
pub async fn create_notebook(
    store: &Store,
    control: &Control,
    placement: Placement,
    name: &str,
) -> Result<Notebook, Error> {
    let account = active(control, placement.tenant).await?;
    let mut tx = store.tenant(placement).await?;
    if let Limit::At(most) = account.terms.limit(LimitName::Notebooks) {
        tx.alone_with("notebooks").await?;
        // The one that every tenant begins with is quire's gift.
        let there = notebooks::count_besides(&mut tx, NOTEBOOK).await?;
        if there.unsigned_abs() >= most {
            return Err(full(LimitName::Notebooks, most, there, 1).into());
        }
    }
    let notebook = notebooks::create(&mut tx, name).await?;
    tx.commit().await?;
    Ok(notebook)
}

/// The tenant with what it may use; refused unless it is active.
pub(crate) async fn active(control: &Control, tenant: TenantId) -> Result<Arc<Account>, Error> {
    let account = control.account(tenant).await?;
    check_active(account.tenant.state)?;
    Ok(account)
}

/// Only an active tenant adds anything.
pub(crate) fn check_active(state: TenantState) -> Result<(), Refusal> {
    match state {
        TenantState::Active => Ok(()),
        state => Err(refusal(Reason::State, format!("the tenant is {state}"))),
    }
}

/// The refusal of what does not fit any more.
fn full(name: LimitName, most: u64, used: i64, more: i64) -> Refusal {
    let unit = match name.unit() {
        Unit::Bytes => " bytes",
        _ => "",
    };
    refusal(
        Reason::Size,
        format!(
            "{name} is limited to {most}{unit}; {used} are used and this takes {more} more: \
             delete something or change the plan"
        ),
    )
}

pub(crate) fn refusal(reason: Reason, text: String) -> Refusal {
    Refusal {
        reason,
        text,
        retry_after: None,
        rate: None,
    }
}
