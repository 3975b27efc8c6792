//! What became of spans that were to go to a collector.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// How many spans went to a collector, and how many were lost. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct SpanTotals {
    exported: Counter,
    dropped: Counter,
}

impl SpanTotals {
    /// So many arrived.
    pub fn exported(&self, count: usize) {
        self.exported.inc_by(count as u64);
    }

    /// So many were dropped.
    pub fn dropped(&self, count: usize) {
        self.dropped.inc_by(count as u64);
    }

    /// How many arrived and how many were dropped so far.
    pub fn get(&self) -> (u64, u64) {
        (self.exported.get(), self.dropped.get())
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "spans_exported",
            "Spans that reached the collector",
            self.exported.clone(),
        );
        registry.register(
            "spans_dropped",
            "Spans that were lost because the collector did not take them in time",
            self.dropped.clone(),
        );
    }
}
