//! The best rows of a search, kept while it runs.

/// Keeps the `limit` rows of the highest sums; of equal sums, the lowest row numbers. Rows without a sum are
/// none.
pub(crate) struct Best {
    limit: usize,
    kept: Vec<(u32, u32)>,
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
        self.kept.push((row, sum));
        // Half of twice the limit goes at a time, so that a row costs a constant number of steps.
        if self.kept.len() >= self.limit.saturating_mul(2) {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.limit > 0 && self.kept.len() >= self.limit {
            self.kept.select_nth_unstable_by(self.limit - 1, order);
            self.kept.truncate(self.limit);
            self.threshold = self.kept[self.limit - 1].1;
        }
    }

    /// The rows, best first.
    pub(crate) fn into_sorted(mut self) -> Vec<(u32, u32)> {
        self.shrink();
        self.kept.sort_unstable_by(order);
        self.kept
    }
}

fn order(a: &(u32, u32), b: &(u32, u32)) -> std::cmp::Ordering {
    b.1.cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Whether a mask lets a row through: bit `j` of word `w` is row `32 * w + j`.
pub(crate) fn passes(mask: &[u32], row: u32) -> bool {
    mask.get(row as usize / 32)
        .is_some_and(|word| word >> (row % 32) & 1 == 1)
}
