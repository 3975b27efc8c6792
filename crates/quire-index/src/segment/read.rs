//! What is read of a segment after it was opened: blocks of vectors and of texts, from memory or from the store, each
//! checked before it is used.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use quire_store::{Objects, Placement};
use quire_types::SegmentId;

use super::Segment;
use super::format::Section;
use super::texts::{self, Text, TextBlock};
use crate::Error;
use crate::blocks::{BlockKey, BlockKind, Blocks};

impl Segment {
    /// The texts of rows, in the same order.
    pub(crate) async fn texts(&self, io: &Io<'_>, rows: &[u32]) -> Result<Vec<Text>, Error> {
        let mut places = Vec::with_capacity(rows.len());
        for row in rows {
            let (block, entry) = self
                .text_block_of(*row)
                .ok_or_else(|| self.damaged("table"))?;
            places.push((block, (row - entry.first_row) as usize));
        }
        let wanted = places.iter().map(|(block, _)| *block).collect();
        let blocks = self.blocks(io, BlockKind::Texts, wanted).await?;
        places
            .iter()
            .map(|(block, place)| {
                let text = blocks
                    .get(*block)
                    .and_then(|block| texts::text_at(block, *place));
                text.ok_or_else(|| self.damaged("texts"))
            })
            .collect()
    }

    /// These blocks, from memory or from the store, checked.
    pub(super) async fn blocks(
        &self,
        io: &Io<'_>,
        kind: BlockKind,
        mut wanted: Vec<u32>,
    ) -> Result<Found, Error> {
        wanted.sort_unstable();
        wanted.dedup();
        let mut found = Vec::with_capacity(wanted.len());
        let mut missing = Vec::new();
        for index in wanted {
            match io.blocks.get(&self.block_key(kind, index)) {
                Some(block) => found.push((index, block)),
                None => missing.push(index),
            }
        }
        if missing.is_empty() {
            return Ok(Found(found));
        }
        let mut extents = Vec::with_capacity(missing.len());
        for index in &missing {
            let extent = match kind {
                BlockKind::Vectors => self.vector_extent(*index),
                BlockKind::Texts => self.text_block(*index).map(|block| {
                    let start = self.footer.extent(Section::Texts).offset + block.offset;
                    (start..start + u64::from(block.length), block.crc)
                }),
            };
            extents.push(extent.ok_or_else(|| self.damaged("table"))?);
        }
        let ranges: Vec<Range<u64>> = extents.iter().map(|(range, _)| range.clone()).collect();
        let is_whole = |read: &[Bytes]| {
            let crcs = extents.iter().map(|(_, crc)| *crc);
            read.iter().map(|bytes| crc32fast::hash(bytes)).eq(crcs)
        };
        let mut read = in_time(self.id, io.objects.ranges(&self.key, &ranges)).await?;
        if !is_whole(&read) && io.objects.distrust(&self.key) {
            read = in_time(self.id, io.objects.ranges(&self.key, &ranges)).await?;
        }
        let bytes: usize = read.iter().map(Bytes::len).sum();
        io.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        for ((index, (_, crc)), bytes) in missing.into_iter().zip(extents).zip(read) {
            if crc32fast::hash(&bytes) != crc {
                return Err(self.damaged(kind.name()));
            }
            let block = match kind {
                BlockKind::Vectors => self.as_rows(bytes),
                BlockKind::Texts => texts::unpack(&bytes).ok_or_else(|| self.damaged("texts"))?,
            };
            io.blocks.read(self.block_key(kind, index), &block);
            found.push((index, block));
        }
        found.sort_unstable_by_key(|(index, _)| *index);
        Ok(Found(found))
    }

    fn block_key(&self, kind: BlockKind, index: u32) -> BlockKey {
        BlockKey {
            placement: self.placement,
            segment: self.id,
            kind,
            index,
        }
    }

    /// The table of the blocks of text.
    fn text_table(&self) -> &[u8] {
        self.hot_part(Section::Blocks)
            .get(self.vector_blocks() * 4..)
            .unwrap_or_default()
    }

    fn text_blocks(&self) -> u32 {
        u32::try_from(self.text_table().len() / TextBlock::BYTES).unwrap_or(u32::MAX)
    }

    fn text_block(&self, index: u32) -> Option<TextBlock> {
        let at = index as usize * TextBlock::BYTES;
        TextBlock::decode(self.text_table().get(at..at + TextBlock::BYTES)?)
    }

    /// The block that the text of a row is in.
    fn text_block_of(&self, row: u32) -> Option<(u32, TextBlock)> {
        let (mut low, mut high) = (0, self.text_blocks());
        while high - low > 1 {
            let middle = low.midpoint(high);
            if self.text_block(middle)?.first_row <= row {
                low = middle;
            } else {
                high = middle;
            }
        }
        Some((low, self.text_block(low)?))
    }

    /// Reads every byte that opening did not, and checks it.
    pub(crate) async fn verify(&self, objects: &Objects) -> Result<(), Error> {
        // Nothing is taken from memory, and nothing is kept there.
        let blocks = Blocks::new(0);
        let io = Io::new(self.placement, objects, &blocks);
        let vectors = u32::try_from(self.vector_blocks()).unwrap_or(u32::MAX);
        for (kind, count) in [
            (BlockKind::Vectors, vectors),
            (BlockKind::Texts, self.text_blocks()),
        ] {
            for first in (0..count).step_by(VERIFIED_BLOCKS as usize) {
                let end = count.min(first + VERIFIED_BLOCKS);
                self.blocks(&io, kind, (first..end).collect()).await?;
            }
        }
        Ok(())
    }
}

/// How long a read may take: a store that never answers must not hold up what can be answered.
const LONGEST_READ: Duration = Duration::from_secs(10);

pub(super) async fn in_time<T>(
    segment: SegmentId,
    read: impl Future<Output = Result<T, quire_store::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(LONGEST_READ, read).await {
        Ok(read) => Ok(read?),
        Err(_) => Err(Error::Missing { segment }),
    }
}

/// Blocks that are read at a time where all of them are.
const VERIFIED_BLOCKS: u32 = 256;

/// What reading blocks needs.
pub(crate) struct Io<'a> {
    pub(crate) placement: Placement,
    pub(crate) objects: &'a Objects,
    pub(crate) blocks: &'a Blocks,
    read_bytes: AtomicU64,
}

impl<'a> Io<'a> {
    pub(crate) fn new(placement: Placement, objects: &'a Objects, blocks: &'a Blocks) -> Self {
        Self {
            placement,
            objects,
            blocks,
            read_bytes: AtomicU64::new(0),
        }
    }

    /// Bytes of blocks that were not in memory, as the store has them.
    pub(crate) fn read_bytes(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }
}

/// Blocks by their number.
pub(super) struct Found(Vec<(u32, Bytes)>);

impl Found {
    pub(super) fn get(&self, index: u32) -> Option<&Bytes> {
        let at = self.0.binary_search_by_key(&index, |(index, _)| *index);
        at.ok()
            .and_then(|at| self.0.get(at))
            .map(|(_, block)| block)
    }
}
