//! Search in this process: what is in memory, what was read for want of it, what was folded.

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use quire_index::Search;
use quire_ingest::tasks::FoldTotals;

#[derive(Default)]
pub(super) struct SearchMetrics {
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
