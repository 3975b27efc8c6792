//! All vectors of a segment in memory, where it is asked often and there is room.
//!
//! Looking candidates up block by block costs more than comparing them. A segment that was asked
//! [`ASKED`] times gets its vectors as a whole, read and checked in the background; they go with the
//! segment. Where they can't be read, or the share of memory for them is used up, that is tried again when it
//! was asked as often once more.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use quire_store::Objects;

use super::Segment;
use super::format::Section;
use super::read::in_time;
use crate::Error;
use crate::blocks::{Blocks, Reserved};

/// How often a segment is asked before its vectors are loaded.
const ASKED: u32 = 16;

/// The vectors of a segment, or the way there.
#[derive(Default)]
pub(super) struct Resident {
    vectors: OnceLock<(Bytes, Reserved)>,
    asked: AtomicU32,
}

impl Resident {
    pub(super) fn vectors(&self) -> Option<&Bytes> {
        self.vectors.get().map(|(vectors, _)| vectors)
    }

    /// Notes that the segment was asked; true once, when its vectors should be loaded.
    fn asked(&self) -> bool {
        self.asked.fetch_add(1, Ordering::Relaxed) + 1 == ASKED
    }

    /// Begins to count anew: its vectors could not be loaded.
    fn failed(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }
}

impl Segment {
    /// Notes that the segment was asked, and loads its vectors in the background when that is worth it.
    pub(crate) fn asked(self: &Arc<Self>, objects: &Objects, blocks: &Arc<Blocks>) {
        if !self.resident.asked() {
            return;
        }
        let length = self.footer.extent(Section::Vectors).length;
        let Some(reserved) = usize::try_from(length)
            .ok()
            .and_then(|length| Blocks::reserve(blocks, length))
        else {
            self.resident.failed();
            return;
        };
        let (segment, objects) = (self.clone(), objects.clone());
        tokio::spawn(async move {
            match segment.read_vectors(&objects).await {
                Ok(vectors) => drop(segment.resident.vectors.set((vectors, reserved))),
                Err(error) => {
                    tracing::warn!(
                        tenant = %segment.placement.tenant,
                        segment = %segment.id,
                        %error,
                        "vectors can't be loaded; they are read block by block"
                    );
                    segment.resident.failed();
                }
            }
        });
    }

    async fn read_vectors(&self, objects: &Objects) -> Result<Bytes, Error> {
        let range = self.footer.extent(Section::Vectors).range();
        let vectors = in_time(self.id, objects.range(&self.key, range)).await?;
        let blocks = vectors.chunks(self.vector_block_bytes());
        for (index, bytes) in (0_u32..).zip(blocks) {
            let extent = self.vector_extent(index);
            if extent.is_none_or(|(_, crc)| crc != crc32fast::hash(bytes)) {
                return Err(self.damaged("vectors"));
            }
        }
        Ok(self.as_rows(vectors))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_is_tried_once_and_again_after_a_failure() {
        let resident = Resident::default();
        let tries = || (0..100).filter(|_| resident.asked()).count();
        assert_eq!((tries(), tries()), (1, 0));
        resident.failed();
        assert_eq!((tries(), tries()), (1, 0));
    }
}
