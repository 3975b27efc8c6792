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

    /// The passages right before and right after these in their sources. What can't be read is left out.
    pub async fn beside(&self, passages: &[Passage]) -> Vec<Passage> {
        let mut wanted = Vec::with_capacity(passages.len() * 2);
        for passage in passages {
            let Some(seen) = self.view.source(passage.source) else {
                continue;
            };
            let (part, first, rows) = self.view.rows_of(seen);
            let Ok(at) = u32::try_from(passage.ordinal) else {
                continue;
            };
            let around = [at.checked_sub(1), at.checked_add(1)];
            let inside = around.into_iter().flatten().filter(|at| *at < rows);
            wanted.extend(inside.map(|at| Address {
                part,
                row: first + at,
            }));
        }
        wanted.sort_unstable();
        wanted.dedup();
        self.passages(wanted).await
    }

    /// How many archived notebooks the filter would let through if they were not archived. Those that it names
    /// have come back.
    pub fn left_out(&self, filter: &Filter) -> usize {
        match filter.notebooks {
            None => self.view.archived.len(),
            Some(_) => 0,
        }
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
