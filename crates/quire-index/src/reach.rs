//! What a filter lets through and what stands around a passage, without any question. Scores nothing.

use quire_store::Placement;
use quire_store::passages::Passage;

use crate::score::Address;
use crate::search::{Search, Snapshot};
use crate::view::View;
use crate::{Filter, Hit};

impl Search {
    /// Passages that a filter lets through, where the tenant's corpus is in memory and nobody catches up with
    /// it right now. Asks neither the database nor the store.
    pub fn known_passages(&self, placement: Placement, filter: &Filter) -> Option<u64> {
        let slot = self.views.held(placement)?;
        let view = slot.view.try_lock().ok()?.clone()?;
        let rows = view.passing(filter).map(|seen| view.rows_of(seen).2);
        Some(rows.map(u64::from).sum())
    }
}

impl Snapshot {
    /// The first passage of each source that a filter lets through, of the newest sources, `most` at most.
    /// What can't be read is left out.
    pub async fn openings(&self, filter: &Filter, most: usize) -> Vec<Passage> {
        let mut sources: Vec<_> = self.view.passing(filter).collect();
        sources.sort_by_key(|seen| std::cmp::Reverse(seen.located.source));
        let firsts = sources.into_iter().take(most).map(|seen| {
            let (part, row, _) = self.view.rows_of(seen);
            Address { part, row }
        });
        self.passages(firsts.collect()).await
    }

    /// The passages of the same source up to `reach` before and after a hit, itself among them, in reading
    /// order. What can't be read is left out.
    pub async fn around(&self, hit: &Hit, reach: u32) -> Vec<Passage> {
        let rows = rows_around(&self.view, &hit.passage, reach);
        self.passages(rows.unwrap_or_default()).await
    }

    async fn passages(&self, wanted: Vec<Address>) -> Vec<Passage> {
        let io = self.search.io(self.placement);
        let mut broken = Vec::new();
        let found = self
            .search
            .passages_at(&io, &self.view, &wanted, &mut broken);
        let mut found = found.await;
        wanted.iter().filter_map(|at| found.remove(at)).collect()
    }
}

fn rows_around(view: &View, passage: &Passage, reach: u32) -> Option<Vec<Address>> {
    let (part, first, rows) = view.rows_of(view.source(passage.source)?);
    let at = u32::try_from(passage.ordinal)
        .ok()
        .filter(|at| *at < rows)?;
    let last = at.saturating_add(reach).min(rows - 1);
    let around = at.saturating_sub(reach)..=last;
    let address = |row| Address {
        part,
        row: first + row,
    };
    Some(around.map(address).collect())
}
