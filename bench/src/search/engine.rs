//! quire's own side of the suite.
//!
//! It is not measured yet: the engine of segments is being built. What belongs here, by the names of its numbers:
//! `hybrid_p50_ms_{10k,100k,1m}` on one pinned core; `recall10_min` over all sizes and filters of 500, 50 and 5 in
//! 1,000 ([`super::corpus::passes`], [`super::truth::Truth`]); `build_s_100k`; `segment_bytes_per_passage`;
//! `touched_tenant_mb_1k`; `rss_mb_100k_tenants_{start,touched}`; `startup_s_{1k,100k}_tenants`;
//! `cold_ms_{1k,70k}_local`, `cold_ms_70k_63ms`; `write_to_searchable_p99_ms`; `mixed_p99_ms`;
//! `fusion_min_margin`.

use super::corpus::{Corpus, Question};
use super::measure::Percentiles;
use crate::failure::Failure;
use crate::report::Report;

/// What the peers are compared with.
pub(super) struct Ours {
    pub(super) rows: usize,
    pub(super) vector: Percentiles,
    pub(super) hybrid: Percentiles,
}

/// Measures quire at every size and adds its numbers to the report. Empty until it can be measured.
pub(super) fn measure(
    _corpus: &Corpus,
    _sizes: &[usize],
    _questions: &[Question],
    _core: usize,
    _report: &mut Report,
) -> Result<Vec<Ours>, Failure> {
    Ok(Vec::new())
}
