//! Search in this process: what is in memory, what was read for want of it, what was folded.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use quire_index::Search;
use quire_ingest::tasks::FoldTotals;

type Seconds = Gauge<f64, AtomicU64>;

/// Segments of about the same size.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SizeLabels {
    size: String,
}

#[derive(Default)]
pub(super) struct SearchMetrics {
    searches: Counter,
    cold_bytes: Counter,
    segments: Family<SizeLabels, Gauge>,
    rows: Family<SizeLabels, Gauge>,
    dead_rows: Family<SizeLabels, Gauge>,
    fold_lag: Seconds,
    views: Gauge,
    view_bytes: Gauge,
    block_hits: Counter,
    block_misses: Counter,
    block_read_bytes: Counter,
    block_kept_bytes: Gauge,
    copy_hits: Counter,
    copy_misses: Counter,
    copies: Gauge,
    copy_bytes: Gauge,
    folds: Counter,
    folded: Counter,
    merged: Counter,
    written_bytes: Counter,
    degraded: Counter,
}

impl SearchMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let search = Self::default();
        registry.register(
            "search_queries",
            "Searches, those for questions included",
            search.searches.clone(),
        );
        registry.register_with_unit(
            "search_cold",
            "What had to be read of segments for these, from the object store or its copies",
            Unit::Bytes,
            search.cold_bytes.clone(),
        );
        registry.register(
            "search_segments",
            "Open segments, by the passages that they have less than",
            search.segments.clone(),
        );
        registry.register(
            "search_segment_passages",
            "Passages in these, dead ones included",
            search.rows.clone(),
        );
        registry.register(
            "search_segment_dead_passages",
            "Passages in these that were deleted or replaced",
            search.dead_rows.clone(),
        );
        registry.register_with_unit(
            "search_fold_lag",
            "Age of the oldest passage that the latest fold moved out of a tail",
            Unit::Seconds,
            search.fold_lag.clone(),
        );
        registry.register(
            "search_views",
            "Tenants whose corpus is in memory",
            search.views.clone(),
        );
        registry.register_with_unit(
            "search_view",
            "Memory of these corpora",
            Unit::Bytes,
            search.view_bytes.clone(),
        );
        registry.register(
            "search_block_hits",
            "Blocks of segments that were found in memory",
            search.block_hits.clone(),
        );
        registry.register(
            "search_block_misses",
            "Blocks of segments that were read from the object store",
            search.block_misses.clone(),
        );
        registry.register_with_unit(
            "search_block_read",
            "Size of these, unpacked",
            Unit::Bytes,
            search.block_read_bytes.clone(),
        );
        registry.register_with_unit(
            "search_block_kept",
            "Memory of the blocks that are kept",
            Unit::Bytes,
            search.block_kept_bytes.clone(),
        );
        registry.register(
            "search_copy_hits",
            "Reads of segments from copies on local disk",
            search.copy_hits.clone(),
        );
        registry.register(
            "search_copy_misses",
            "Reads of segments from the object store where copies are kept",
            search.copy_misses.clone(),
        );
        registry.register(
            "search_copies",
            "Copies of segments on local disk",
            search.copies.clone(),
        );
        registry.register_with_unit(
            "search_copied",
            "Size of these",
            Unit::Bytes,
            search.copy_bytes.clone(),
        );
        registry.register(
            "search_folds",
            "Tasks that folded or merged passages",
            search.folds.clone(),
        );
        registry.register(
            "search_folded_passages",
            "Passages that these moved from the tail into segments",
            search.folded.clone(),
        );
        registry.register(
            "search_merged_passages",
            "Passages that these moved from segments into others",
            search.merged.clone(),
        );
        registry.register_with_unit(
            "search_stored",
            "Size of the segments that these wrote",
            Unit::Bytes,
            search.written_bytes.clone(),
        );
        registry.register(
            "search_degraded",
            "Searches, those for questions included, for which a part of the sources could not be read",
            search.degraded.clone(),
        );
        search
    }

    pub(super) fn update(&self, search: &Search, folds: FoldTotals, degraded: u64) {
        let gauge = |gauge: &Gauge, value: usize| {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        let set = |counter: &Counter, count| counter.inner().store(count, Ordering::Relaxed);
        let totals = search.totals();
        set(&self.searches, totals.searches);
        set(&self.cold_bytes, totals.cold_bytes);
        for class in search.open_segments() {
            let labels = SizeLabels {
                size: class.name.to_owned(),
            };
            for (family, count) in [
                (&self.segments, class.segments),
                (&self.rows, class.rows),
                (&self.dead_rows, class.dead_rows),
            ] {
                let count = i64::try_from(count).unwrap_or(i64::MAX);
                family.get_or_create(&labels).set(count);
            }
        }
        self.fold_lag.set(folds.lag_ms as f64 / 1_000.0);
        let (views, view_bytes) = search.usage();
        let blocks = search.block_totals();
        gauge(&self.views, views);
        gauge(&self.view_bytes, view_bytes);
        set(&self.block_hits, blocks.hits as u64);
        set(&self.block_misses, blocks.misses as u64);
        set(&self.block_read_bytes, blocks.read_bytes as u64);
        gauge(&self.block_kept_bytes, blocks.kept_bytes);
        if let Some(copies) = search.copy_totals() {
            let size = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
            set(&self.copy_hits, copies.hits);
            set(&self.copy_misses, copies.misses);
            gauge(&self.copies, size(copies.copies));
            gauge(&self.copy_bytes, size(copies.bytes));
        }
        set(&self.folds, folds.folds);
        set(&self.folded, folds.folded);
        set(&self.merged, folds.merged);
        set(&self.written_bytes, folds.written_bytes);
        set(&self.degraded, degraded);
    }
}
