//! The best rows of a search, kept while it runs.

/// Keeps the `limit` rows of the highest scores; of equal scores, the lowest row numbers.
pub(crate) struct Best {
    limit: usize,
    kept: Vec<(u32, f32)>,
    threshold: f32,
}

impl Best {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            kept: Vec::new(),
            threshold: if limit == 0 { f32::MAX } else { f32::MIN },
        }
    }

    /// What a later row must exceed to be among the best.
    pub(crate) fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Offers a row; rows come in ascending order.
    pub(crate) fn push(&mut self, row: u32, score: f32) {
        if score <= self.threshold {
            return;
        }
        self.kept.push((row, score));
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
    pub(crate) fn into_sorted(mut self) -> Vec<(u32, f32)> {
        self.shrink();
        self.kept.sort_unstable_by(order);
        self.kept
    }
}

fn order(a: &(u32, f32), b: &(u32, f32)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Whether a mask lets a row through: bit `j` of word `w` is row `32 * w + j`.
pub(crate) fn passes(mask: &[u32], row: u32) -> bool {
    mask.get(row as usize / 32)
        .is_some_and(|word| word >> (row % 32) & 1 == 1)
}
