//! A segment: an immutable file with a part of one tenant's corpus, searchable by itself.
//!
//! Opening reads the hot part at once: one-bit codes, the inverted index, and tables. Candidates are
//! scored with vectors that are read in blocks of 32 rows (`vectors`), and answers with blocks of text
//! (`read`); every byte is checked before it is used. Knows which rows belong to which version of a source, but not which
//! of them are alive: that is for the view to say.

mod clusters;
mod format;
mod merge;
mod read;
mod resident;
mod sources;
mod texts;
mod vectors;
mod write;

use std::sync::Arc;

use bytes::Bytes;

use quire_store::{ObjectKey, Objects, Placement, segments};
use quire_types::{PassageId, SegmentId};
use quire_vectors::{Candidate, Codes, Level, Rotation, ScanQuery};

use clusters::Clusters;
pub(crate) use format::{Footer, Section};
use read::in_time;
use resident::Resident;

use crate::text::LexicalSegment;
use crate::{Error, mask};

pub(crate) use clusters::MIN_ROWS as MIN_CLUSTERED_ROWS;
pub(crate) use merge::{Survivors, merge};
pub(crate) use read::Io;
pub(crate) use sources::{SourceRows, Sources};
pub(crate) use texts::Text;
pub(crate) use write::{Built, Recipe, SegmentWriter, Stored};

/// Rows to a block of codes and of vectors, and bits to a word of a mask.
pub(crate) const BLOCK_ROWS: usize = 32;

/// The dimension of the codes: what the rotation and the scan can work with.
pub(crate) fn padded(dimension: usize) -> usize {
    dimension.next_multiple_of(64)
}

/// The object of a segment.
pub(crate) fn key(placement: Placement, id: SegmentId) -> ObjectKey {
    ObjectKey::segment(placement, id.uuid())
}

/// Why a segment can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Bytes that a checksum does not fit.
    #[error("damaged {what}")]
    Damaged {
        /// The part of the file.
        what: &'static str,
    },
    /// A file of a newer quire.
    #[error("its format {found} is not one that this quire reads: run the quire that wrote it")]
    Version {
        /// The version in the file.
        found: u32,
    },
    /// A file of another tenant, of an earlier life of this one, or under another's name.
    #[error("it belongs to somebody else")]
    Foreign,
}

/// An open segment.
pub(crate) struct Segment {
    placement: Placement,
    id: SegmentId,
    key: ObjectKey,
    footer: Footer,
    dimension: usize,
    hot: Bytes,
    lexical: LexicalSegment,
    clusters: Option<Clusters>,
    rotation: Rotation,
    resident: Resident,
}

impl Segment {
    /// Reads and checks the hot part of a segment that the manifest names.
    pub(crate) async fn open(
        objects: &Objects,
        placement: Placement,
        entry: &segments::Segment,
    ) -> Result<Arc<Self>, Error> {
        let id = entry.id;
        let broken = |source| Error::Segment {
            segment: id,
            source,
        };
        let footer = Footer::decode(&entry.footer, placement, id).map_err(broken)?;
        let key = key(placement, id);
        let end = u64::try_from(entry.bytes).unwrap_or(0);
        // Apart, since each is kept by itself: where both are one read, one of them is copied.
        let lexical = footer.extent(Section::Lexical).range();
        let parts = [lexical.clone(), lexical.end..end.max(lexical.end)];
        loop {
            let mut read = in_time(id, objects.ranges(&key, &parts)).await?.into_iter();
            let (lexical, hot) = (
                read.next().unwrap_or_default(),
                read.next().unwrap_or_default(),
            );
            let (name, footer) = (key.clone(), footer.clone());
            let checked =
                crate::blocking(move || Self::checked(placement, id, name, footer, lexical, hot));
            match checked.await {
                // A copy on local disk may be what is wrong.
                Err(Error::Segment { .. }) if objects.distrust(&key) => {}
                checked => return checked.map(Arc::new),
            }
        }
    }

    fn checked(
        placement: Placement,
        id: SegmentId,
        key: ObjectKey,
        footer: Footer,
        lexical: Bytes,
        hot: Bytes,
    ) -> Result<Self, Error> {
        let broken = |what| Error::Segment {
            segment: id,
            source: SegmentError::Damaged { what },
        };
        // The copy in the manifest said where to look; what was found there must say the same.
        let tail = hot.len().checked_sub(Footer::BYTES);
        let own = tail.and_then(|tail| hot.get(tail..));
        if own != Some(&footer.encode()) {
            return Err(broken("footer"));
        }
        for (section, what) in [
            (Section::Codes, "codes"),
            (Section::Sources, "table"),
            (Section::Blocks, "table"),
            (Section::Clusters, "table"),
        ] {
            let bytes = slice(&hot, &footer, section).ok_or_else(|| broken("layout"))?;
            if crc32fast::hash(bytes) != footer.extent(section).crc {
                return Err(broken(what));
            }
        }
        let dimension = padded(footer.dimension as usize);
        let rows = footer.rows as usize;
        let part = |section| slice(&hot, &footer, section).unwrap_or_default();
        // An archive has no codes.
        let coded = if part(Section::Codes).is_empty() {
            0
        } else {
            rows
        };
        Codes::new(dimension, coded, part(Section::Codes)).map_err(|_| broken("codes"))?;
        let is_shared = !hot.is_unique();
        if crate::text::checksum(&lexical) != Some(footer.extent(Section::Lexical).crc) {
            return Err(broken("inverted index"));
        }
        let lexical = LexicalSegment::open(lexical).map_err(|_| broken("inverted index"))?;
        let clusters = part(Section::Clusters);
        let clusters = if clusters.is_empty() {
            None
        } else {
            let clusters = Clusters::decode(clusters, rows);
            Some(clusters.ok_or_else(|| broken("clusters"))?)
        };
        Ok(Self {
            placement,
            id,
            key,
            rotation: Rotation::new(dimension, footer.rotation_seed)?,
            footer,
            dimension,
            lexical,
            clusters,
            // A slice of something larger would keep all of it.
            hot: if is_shared {
                Bytes::copy_from_slice(&hot)
            } else {
                hot
            },
            resident: Resident::default(),
        })
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    /// How many rows there are, dead ones included.
    pub(crate) fn rows(&self) -> u32 {
        self.footer.rows
    }

    /// Whether it is only kept, and can't be searched.
    pub(crate) fn is_archive(&self) -> bool {
        self.footer.extent(Section::Codes).length == 0
    }

    /// What it would be made with again.
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe {
            dimension: self.footer.dimension as usize,
            rotation_seed: self.footer.rotation_seed,
            language: self.lexical.language(),
            cluster_rows: MIN_CLUSTERED_ROWS,
            is_archive: self.is_archive(),
        }
    }

    /// Bytes that it holds in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        let clusters = self.clusters.as_ref().map_or(0, Clusters::bytes);
        self.hot.len() + self.lexical.bytes() + clusters + size_of::<Self>()
    }

    /// Bytes that were read to open it.
    pub(crate) fn opened_bytes(&self) -> u64 {
        self.footer.extent(Section::Lexical).length + self.hot.len() as u64
    }

    pub(crate) fn lexical(&self) -> &LexicalSegment {
        &self.lexical
    }

    pub(crate) fn sources(&self) -> Sources<'_> {
        Sources(self.hot_part(Section::Sources))
    }

    /// The id of the passage at a row.
    pub(crate) fn passage(&self, row: u32) -> Option<(SourceRows, PassageId)> {
        let rows = self.sources().at(row)?;
        Some((rows, rows.first_passage.nth(row - rows.first_row)))
    }

    /// The question as this segment's vectors are rotated.
    pub(crate) fn rotate(&self, vector: &[f32]) -> Result<Vec<f32>, Error> {
        let mut given = vector.to_vec();
        given.resize(self.dimension, 0.0);
        let mut rotated = vec![0.0; self.dimension];
        self.rotation.rotate(&given, &mut rotated)?;
        Ok(rotated)
    }

    fn codes(&self) -> Result<Codes<'_>, Error> {
        let bytes = self.hot_part(Section::Codes);
        Ok(Codes::new(
            self.dimension,
            self.footer.rows as usize,
            bytes,
        )?)
    }

    /// The rows that promise most for a rotated question, with the estimate of their cosine.
    pub(crate) fn scan(
        &self,
        rotated: &[f32],
        mask: Option<&[u32]>,
        limit: usize,
    ) -> Result<Vec<Candidate>, Error> {
        let codes = self.codes()?;
        let query = ScanQuery::new(rotated)?;
        let all = 0..codes.blocks();
        let level = Level::detect();
        let Some(clusters) = &self.clusters else {
            return Ok(codes.scan(&query, all, mask, limit, level)?);
        };
        let blocks = match mask {
            Some(mask) if !lets_nearly_all(mask) => vec![all],
            _ => clusters.blocks(rotated)?,
        };
        let mask = mask.map(|mask| clusters.mask(mask));
        let blocks = blocks.into_iter().flatten();
        let mut found = codes.scan(&query, blocks, mask.as_deref(), limit, level)?;
        for candidate in &mut found {
            candidate.row = clusters.row(candidate.row).unwrap_or(candidate.row);
        }
        Ok(found)
    }

    fn hot_part(&self, section: Section) -> &[u8] {
        slice(&self.hot, &self.footer, section).unwrap_or_default()
    }

    fn damaged(&self, what: &'static str) -> Error {
        Error::Segment {
            segment: self.id,
            source: SegmentError::Damaged { what },
        }
    }
}

/// A section of what is read at once, after the inverted index.
fn slice<'a>(hot: &'a [u8], footer: &Footer, section: Section) -> Option<&'a [u8]> {
    let range = footer.extent(section).range();
    let first = footer.extent(Section::Lexical).range().end;
    let start = usize::try_from(range.start.checked_sub(first)?).ok()?;
    let end = usize::try_from(range.end.checked_sub(first)?).ok()?;
    hot.get(start..end)
}

/// Whether a mask holds so few rows back that those which are wanted are in the nearest lists as without it. Those
/// of another one may be in any list.
fn lets_nearly_all(mask: &[u32]) -> bool {
    mask::count(mask) * 10 >= mask.len() * BLOCK_ROWS * 9
}
