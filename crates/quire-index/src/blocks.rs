//! Blocks of segments that are kept in memory: those that are read again and again.
//!
//! A block is kept from the third time on that it is read within the memory of a small sketch of
//! frequencies, so a tenant that asks once leaves nothing behind, and a sweep over many tenants does not
//! push out what others use. What is kept gives way to what is used more often (TinyLFU: Einziger,
//! Friedman and Manes, "TinyLFU: A Highly Efficient Cache Admission Policy", ACM TOS 13(4), 2017).

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use bytes::Bytes;
use moka::sync::Cache;

use quire_store::Placement;
use quire_types::SegmentId;

/// Names a block of one tenant's segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BlockKey {
    pub(crate) placement: Placement,
    pub(crate) segment: SegmentId,
    pub(crate) kind: BlockKind,
    pub(crate) index: u32,
}

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BlockKind {
    /// 32 vectors.
    Vectors,
    /// Passages, unpacked.
    Texts,
}

impl BlockKind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Vectors => "vectors",
            Self::Texts => "texts",
        }
    }
}

/// How often blocks were found in memory, and what was read because they were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockTotals {
    /// Blocks found in memory.
    pub hits: usize,
    /// Blocks read from the store.
    pub misses: usize,
    /// Bytes of those, unpacked.
    pub read_bytes: usize,
    /// Bytes kept.
    pub kept_bytes: usize,
}

/// The blocks in memory.
pub(crate) struct Blocks {
    kept: Cache<BlockKey, Bytes>,
    /// For vectors of whole segments.
    reserve: usize,
    reserved: AtomicUsize,
    sketch: Sketch,
    hits: AtomicUsize,
    misses: AtomicUsize,
    read_bytes: AtomicUsize,
}

/// Times a block is read before it is kept.
const KEPT_FROM: u8 = 3;

impl Blocks {
    /// A cache of at most so many bytes, half of them for vectors of whole segments.
    pub(crate) fn new(budget_bytes: usize) -> Self {
        let reserve = budget_bytes / 2;
        let kept = Cache::builder()
            .max_capacity((budget_bytes - reserve) as u64)
            .weigher(|_: &BlockKey, block: &Bytes| {
                u32::try_from(block.len() + size_of::<BlockKey>() + OVERHEAD_BYTES)
                    .unwrap_or(u32::MAX)
            })
            .build();
        Self {
            kept,
            reserve,
            reserved: AtomicUsize::new(0),
            sketch: Sketch::default(),
            hits: AtomicUsize::new(0),
            misses: AtomicUsize::new(0),
            read_bytes: AtomicUsize::new(0),
        }
    }

    /// The block, if it is in memory.
    pub(crate) fn get(&self, key: &BlockKey) -> Option<Bytes> {
        let found = self.kept.get(key);
        let counter = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }

    /// Notes that a block was read, and keeps a copy if it is read often: what was read may be a slice of
    /// something larger.
    pub(crate) fn read(&self, key: BlockKey, block: &[u8]) {
        self.read_bytes.fetch_add(block.len(), Ordering::Relaxed);
        if self.sketch.add(&key) >= KEPT_FROM {
            self.kept.insert(key, Bytes::copy_from_slice(block));
        }
    }

    /// Drops what is kept of a tenant.
    pub(crate) fn forget(&self, placement: Placement) {
        for (key, _) in &self.kept {
            if key.placement == placement {
                self.kept.invalidate(key.as_ref());
            }
        }
    }

    /// Room for the vectors of a whole segment, until it is dropped; none when there is not so much left.
    pub(crate) fn reserve(blocks: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        let fits = |used: usize| Some(used + bytes).filter(|used| *used <= blocks.reserve);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        let taken = blocks.reserved.fetch_update(set, get, fits);
        taken.is_ok().then(|| Reserved {
            blocks: blocks.clone(),
            bytes,
        })
    }

    pub(crate) fn totals(&self) -> BlockTotals {
        BlockTotals {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            read_bytes: self.read_bytes.load(Ordering::Relaxed),
            kept_bytes: usize::try_from(self.kept.weighted_size())
                .unwrap_or(usize::MAX)
                .saturating_add(self.reserved.load(Ordering::Relaxed)),
        }
    }
}

/// Memory that was set aside.
pub(crate) struct Reserved {
    blocks: Arc<Blocks>,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.blocks
            .reserved
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// What an entry takes beside key and block, about: measured at 40,000 blocks.
const OVERHEAD_BYTES: usize = 160;

/// Counts keys roughly: a count-min sketch of two rows, halved as time goes on.
struct Sketch {
    hasher: RandomState,
    counters: Box<[AtomicU8]>,
    added: AtomicUsize,
}

const COUNTERS: usize = 1 << 17;

impl Default for Sketch {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            counters: (0..COUNTERS).map(|_| AtomicU8::new(0)).collect(),
            added: AtomicUsize::new(0),
        }
    }
}

impl Sketch {
    /// Counts a key and returns how often it was counted, at most.
    fn add(&self, key: &BlockKey) -> u8 {
        if self.added.fetch_add(1, Ordering::Relaxed) % (COUNTERS * 2) == COUNTERS * 2 - 1 {
            for counter in &self.counters {
                counter.store(counter.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
        let hash = self.hasher.hash_one(key);
        let places = [hash as usize, (hash >> 32) as usize];
        let counts = places.map(|place| {
            self.counters.get(place % COUNTERS).map_or(0, |counter| {
                let count = counter.load(Ordering::Relaxed).saturating_add(1);
                counter.store(count, Ordering::Relaxed);
                count
            })
        });
        counts[0].min(counts[1])
    }
}

#[cfg(test)]
mod tests {
    use quire_types::TenantId;
    use uuid::Uuid;

    use super::*;

    fn key(index: u32) -> BlockKey {
        BlockKey {
            placement: Placement {
                tenant: TenantId::from_uuid(Uuid::nil()),
                incarnation: Uuid::nil(),
                shard: 0,
            },
            segment: SegmentId::from_uuid(Uuid::nil()),
            kind: BlockKind::Vectors,
            index,
        }
    }

    #[test]
    fn only_what_is_read_again_is_kept_and_never_more_than_fits() {
        let blocks = Blocks::new(100_000);
        let block = Bytes::from(vec![7; 10_000]);
        for index in 0..1_000 {
            blocks.read(key(index), &block);
        }
        blocks.kept.run_pending_tasks();
        assert_eq!(blocks.totals().kept_bytes, 0);
        for _ in 0..3 {
            for index in 0..50 {
                blocks.read(key(index), &block);
            }
        }
        blocks.kept.run_pending_tasks();
        let totals = blocks.totals();
        assert!((1..=100_000).contains(&totals.kept_bytes), "{totals:?}");
        let kept = (0..50).filter(|index| blocks.get(&key(*index)).is_some());
        assert!((2..=4).contains(&kept.count()));
        // The other half is for whole segments, and comes back.
        let blocks = Arc::new(blocks);
        let half = Blocks::reserve(&blocks, 50_000);
        assert!(half.is_some() && Blocks::reserve(&blocks, 1).is_none());
        drop(half);
        assert!(Blocks::reserve(&blocks, 50_000).is_some());
    }
}
