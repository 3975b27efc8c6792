//! Moving notebooks between tiers: the rules say where each belongs, search moves the passages.
//!
//! Every step can be repeated: what has moved is found moved, so whoever is stopped begins again.

mod rules;

use std::time::Duration;

use chrono::{TimeDelta, Utc};

use quire_index::{Moved, Search};
use quire_store::tiers::{self, NotebookTier};
use quire_store::{Placement, Store};
use quire_tenancy::{Control, LimitName};
use quire_types::Tier;

use crate::Error;
use crate::quotas::active;
pub use rules::tier;

/// Moves every notebook of a tenant to the tier where it belongs. Returns for how long nothing changes by
/// itself; none where nothing ever does.
///
/// # Errors
/// A refusal where the tenant is not active; those of search and its stores. What moved has moved.
pub async fn tier_notebooks(
    store: &Store,
    search: &Search,
    control: &Control,
    placement: Placement,
) -> Result<Option<Duration>, Error> {
    let account = active(control, placement.tenant).await?;
    let days = account.terms.limit(LimitName::ArchiveAfterDays).most();
    // What no calendar holds is never.
    let archive_after = days.and_then(|days| TimeDelta::try_days(i64::try_from(days).ok()?));
    let mut tx = store.tenant(placement).await?;
    let notebooks = tiers::tiers(&mut tx, None).await?;
    tx.commit().await?;
    let now = Utc::now();
    let mut due = None;
    for notebook in notebooks {
        let (wanted, next) = tier(&notebook, archive_after, now);
        move_notebook(store, search, placement, &notebook, wanted).await?;
        due = [due, next].into_iter().flatten().min();
    }
    Ok(due.map(|due| (due - now).to_std().unwrap_or_default()))
}

/// Moves a notebook to a tier, if it is not there.
///
/// # Errors
/// Those of search and its stores. What moved has moved.
pub async fn move_notebook(
    store: &Store,
    search: &Search,
    placement: Placement,
    notebook: &NotebookTier,
    wanted: Tier,
) -> Result<Moved, Error> {
    let id = notebook.notebook;
    let moved = match wanted {
        Tier::Archived if notebook.archived < notebook.passages => {
            search.archive(placement, id).await?
        }
        Tier::Hot | Tier::Warm | Tier::Cold if notebook.archived > 0 => {
            search.bring_back(placement, id).await?
        }
        _ if wanted == notebook.tier => return Ok(Moved::default()),
        _ => Moved::default(),
    };
    let mut tx = store.tenant(placement).await?;
    tiers::set(&mut tx, id, wanted).await?;
    tx.commit().await?;
    tracing::info!(tenant = %placement.tenant, notebook = %id, from = %notebook.tier, to = %wanted,
        passages = moved.passages, "moved a notebook to another tier");
    Ok(moved)
}
