//! Removing everything of a tenant: its rows in the shard, its objects, what is in memory.

use quire_store::Placement;
use quire_store::erasure::{self, TenantTable};

use crate::{Error, Search};

/// Rows that are deleted in one transaction.
const ERASED_ROWS: i64 = 5_000;

/// What an erasure removed, and the proof that nothing is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Rows that were deleted by this call, of every table with rows of tenants; what a deletion took along
    /// in other tables is not counted.
    pub rows: Vec<(TenantTable, u64)>,
    /// Objects that were deleted by this call.
    pub objects: u64,
    /// Rows that are left, counted afterwards, of every table with rows of tenants.
    pub rows_left: Vec<(TenantTable, i64)>,
    /// Objects that are left, listed afterwards.
    pub objects_left: usize,
}

impl Erased {
    /// Whether nothing is left.
    pub fn is_complete(&self) -> bool {
        self.objects_left == 0 && self.rows_left.iter().all(|(_, rows)| *rows == 0)
    }
}

impl Search {
    /// Removes every row of the tenant in the shard and every object of this life of it, then counts what is
    /// left. May be broken off anywhere and repeated. Nobody may write for the tenant meanwhile: what is
    /// written shows in what is left. Other processes forget their views when they next look.
    ///
    /// # Errors
    /// Those of the stores. What is gone is gone; call again.
    pub async fn erase(&self, placement: Placement) -> Result<Erased, Error> {
        let mut tx = self.store.tenant(placement).await?;
        let tables = erasure::tenant_tables(&mut tx).await?;
        tx.commit().await?;
        let mut erased = Erased::default();
        // Rows first, so that none ever names an object that is gone.
        for table in &tables {
            let mut rows = 0;
            loop {
                let mut tx = self.store.tenant(placement).await?;
                let some = erasure::erase_rows(&mut tx, table, ERASED_ROWS).await?;
                tx.commit().await?;
                if some == 0 {
                    break;
                }
                rows += some;
            }
            erased.rows.push((table.clone(), rows));
        }
        let objects = self.store.objects();
        erased.objects = objects.delete_all(placement).await?;
        self.views.forget(placement);
        self.blocks.forget(placement);

        let mut tx = self.store.tenant(placement).await?;
        for table in tables {
            let rows = erasure::count_rows(&mut tx, &table).await?;
            erased.rows_left.push((table, rows));
        }
        tx.commit().await?;
        erased.objects_left = objects.entries(placement).await?.len();
        Ok(erased)
    }
}
