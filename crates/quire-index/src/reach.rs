//! What a filter lets through, without any question. Scores nothing.

use quire_store::Placement;
use quire_store::passages::Passage;

use crate::Filter;
use crate::score::Address;
use crate::search::{Search, Snapshot};

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
