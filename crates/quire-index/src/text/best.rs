//! The best rows of a search, kept while it runs.

/// Keeps the `limit` rows of the highest sums; of equal sums, the lowest row numbers. Rows without a sum are
/// none.
pub(crate) struct Best {
    limit: usize,
    /// A number for each row that is smaller for a better one: numbers are selected without a branch for each
    /// comparison.
    kept: Vec<u64>,
    threshold: u32,
}

impl Best {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Vec::new(),
            threshold: if limit == 0 { u32::MAX } else { 0 },
        }
    }

    /// What a later row must exceed to be among the best.
    pub(crate) fn threshold(&self) -> u32 {
        self.threshold
    }

    /// Offers a row; rows come in ascending order.
    pub(crate) fn push(&mut self, row: u32, sum: u32) {
        if sum <= self.threshold {
            return;
        }
        self.kept.push(u64::from(!sum) << 32 | u64::from(row));
        // Half of twice the limit goes at a time, so that a row costs a constant number of steps.
        if self.kept.len() >= self.limit.saturating_mul(2) {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.limit > 0 && self.kept.len() >= self.limit {
            let (_, last, _) = self.kept.select_nth_unstable(self.limit - 1);
            self.threshold = sum(*last);
            self.kept.truncate(self.limit);
        }
    }

    /// The rows with their sums, best first.
    pub(crate) fn into_sorted(mut self) -> impl Iterator<Item = (u32, u32)> {
        self.shrink();
        self.kept.sort_unstable();
        self.kept.into_iter().map(|key| (key as u32, sum(key)))
    }
}

fn sum(key: u64) -> u32 {
    !((key >> 32) as u32)
}
