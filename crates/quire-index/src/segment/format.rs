//! What a segment's file looks like from outside: its sections and the footer that finds them.
//!
//! ```text
//! magic │ vectors │ texts │ lexical │ codes │ sources │ blocks │ clusters │ footer
//!        ╰── read by blocks ──╯ ╰─────────── read at once when opened ───────────╯
//! ```
//! All numbers are little-endian. Each section has a CRC-32 in the footer, or one per block in
//! `blocks`; the footer has its own and names the tenant, its incarnation and the segment, so that no
//! byte is used that is damaged or somebody else's.

use std::ops::Range;

use quire_store::Placement;
use quire_types::SegmentId;
use uuid::Uuid;

use super::SegmentError;

/// The first bytes of the file and of its footer.
pub(crate) const MAGIC: [u8; 8] = *b"quireseg";
/// The version of the format that is written. The one before is read as well; others are refused.
pub(crate) const VERSION: u32 = 2;
/// The version whose vectors are signed bytes; everything else is as it is today.
pub(crate) const WITH_SIGNED_BYTES: u32 = 1;

/// A part of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    /// Vectors without their signs, which the codes hold, to score candidates with: a byte for each dimension; 32
    /// rows to a block. Those of an archive have their signs.
    Vectors,
    /// What the passages say and where they stand, compressed block by block.
    Texts,
    /// The inverted index.
    Lexical,
    /// One-bit codes, which every search scans.
    Codes,
    /// Which rows belong to which version of which source.
    Sources,
    /// Where the blocks of texts are, and the checksums of all blocks.
    Blocks,
    /// Centroids and the order of the codes; empty in a small segment.
    Clusters,
}

impl Section {
    pub(crate) const ALL: [Self; 7] = [
        Self::Vectors,
        Self::Texts,
        Self::Lexical,
        Self::Codes,
        Self::Sources,
        Self::Blocks,
        Self::Clusters,
    ];

    /// Whether the section is read at once when the segment is opened.
    pub(crate) const fn is_hot(self) -> bool {
        !matches!(self, Self::Vectors | Self::Texts)
    }
}

/// Where a section is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// CRC-32 of the section; 0 for those that are checked block by block.
    pub(crate) crc: u32,
}

impl Extent {
    pub(crate) const fn range(self) -> Range<u64> {
        self.offset..self.offset + self.length
    }
}

/// The end of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    /// Of the format.
    pub(crate) version: u32,
    pub(crate) tenant: Uuid,
    pub(crate) incarnation: Uuid,
    pub(crate) segment: Uuid,
    pub(crate) dimension: u32,
    pub(crate) rows: u32,
    /// Of the rotation that the vectors went through.
    pub(crate) rotation_seed: u64,
    pub(crate) extents: [Extent; 7],
}

impl Footer {
    /// The length of every footer.
    pub(crate) const BYTES: usize = 8 + 4 + 3 * 16 + 4 + 4 + 8 + 7 * 20 + 4;

    pub(crate) fn extent(&self, section: Section) -> Extent {
        self.extents[section as usize]
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend(MAGIC);
        bytes.extend(self.version.to_le_bytes());
        for id in [self.tenant, self.incarnation, self.segment] {
            bytes.extend(id.as_bytes());
        }
        bytes.extend(self.dimension.to_le_bytes());
        bytes.extend(self.rows.to_le_bytes());
        bytes.extend(self.rotation_seed.to_le_bytes());
        for extent in self.extents {
            bytes.extend(extent.offset.to_le_bytes());
            bytes.extend(extent.length.to_le_bytes());
            bytes.extend(extent.crc.to_le_bytes());
        }
        bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// The version of the format that the bytes of a footer name, whether they can be used or not.
    pub(crate) fn format(bytes: &[u8]) -> Option<u32> {
        let mut reader = Reader(bytes);
        (reader.take::<8>()? == MAGIC).then_some(())?;
        reader.u32()
    }

    /// The footer of the segment with this id of the tenant at `placement`. Anything else is refused.
    pub(crate) fn decode(
        bytes: &[u8],
        placement: Placement,
        id: SegmentId,
    ) -> Result<Self, SegmentError> {
        let damaged = || SegmentError::Damaged { what: "footer" };
        if bytes.len() != Self::BYTES {
            return Err(damaged());
        }
        let (checked, crc) = bytes.split_at(Self::BYTES - 4);
        let mut reader = Reader(checked);
        if reader.take::<8>() != Some(MAGIC) || crc != crc32fast::hash(checked).to_le_bytes() {
            return Err(damaged());
        }
        let version = reader.u32().ok_or_else(damaged)?;
        if !matches!(version, WITH_SIGNED_BYTES | VERSION) {
            return Err(SegmentError::Version { found: version });
        }
        let footer = Self::fields(version, &mut reader).ok_or_else(damaged)?;
        let expected = [placement.tenant.uuid(), placement.incarnation, id.uuid()];
        if [footer.tenant, footer.incarnation, footer.segment] != expected {
            return Err(SegmentError::Foreign);
        }
        let extents = footer.extents;
        let is_whole = extents
            .windows(2)
            .all(|pair| pair[0].offset.checked_add(pair[0].length) == Some(pair[1].offset))
            && extents[6].offset.checked_add(extents[6].length).is_some();
        is_whole.then_some(footer).ok_or_else(damaged)
    }

    fn fields(version: u32, reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            version,
            tenant: Uuid::from_bytes(reader.take()?),
            incarnation: Uuid::from_bytes(reader.take()?),
            segment: Uuid::from_bytes(reader.take()?),
            dimension: reader.u32()?,
            rows: reader.u32()?,
            rotation_seed: u64::from_le_bytes(reader.take()?),
            extents: {
                let mut extents = [Extent::default(); 7];
                for extent in &mut extents {
                    extent.offset = u64::from_le_bytes(reader.take()?);
                    extent.length = u64::from_le_bytes(reader.take()?);
                    extent.crc = reader.u32()?;
                }
                extents
            },
        })
    }
}

/// Takes values off the front of bytes; none when they are too short.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    /// As many bytes as the number before them says.
    pub(crate) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(crate) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use quire_types::TenantId;

    use super::*;

    #[test]
    fn only_the_whole_footer_of_this_segment_is_accepted() {
        let placement = Placement {
            tenant: TenantId::generate(),
            incarnation: Uuid::new_v4(),
            shard: 0,
        };
        let id = SegmentId::generate();
        let mut extents = [Extent::default(); 7];
        for (at, extent) in (0..).zip(&mut extents) {
            *extent = Extent {
                offset: 8 + at * 10,
                length: 10,
                crc: 7,
            };
        }
        let footer = Footer {
            version: VERSION,
            tenant: placement.tenant.uuid(),
            incarnation: placement.incarnation,
            segment: id.uuid(),
            dimension: 384,
            rows: 3,
            rotation_seed: 5,
            extents,
        };
        let bytes = footer.encode();
        assert_eq!(bytes.len(), Footer::BYTES);
        assert_eq!(Footer::decode(&bytes, placement, id).unwrap(), footer);
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(
                Footer::decode(&flipped, placement, id).is_err(),
                "byte {at}"
            );
            assert!(
                Footer::decode(&bytes[..at], placement, id).is_err(),
                "{at} bytes"
            );
        }
        for (version, is_read) in [(0, false), (1, true), (2, true), (3, false)] {
            let other = Footer {
                version,
                ..footer.clone()
            };
            let decoded = Footer::decode(&other.encode(), placement, id);
            assert_eq!(decoded.is_ok(), is_read, "{version}");
        }
        let reborn = Placement {
            incarnation: Uuid::new_v4(),
            ..placement
        };
        let foreign = Footer::decode(&bytes, reborn, id).unwrap_err();
        assert!(matches!(foreign, SegmentError::Foreign));
        assert!(Footer::decode(&bytes, placement, SegmentId::generate()).is_err());
    }
}
