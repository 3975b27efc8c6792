//! Which rows of a segment belong to which version of which source.
//!
//! Rows of a version are together, and versions are in order of the ids of their sources, so both ways
//! are a binary search over entries of fixed length.

use std::cmp::Ordering;

use uuid::Uuid;

use quire_types::{PassageId, SourceId};

use super::format::Reader;

/// The rows of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceRows {
    pub(crate) source: SourceId,
    pub(crate) version: i32,
    pub(crate) first_row: u32,
    pub(crate) rows: u32,
    /// The id of the first passage; the others are numbered on from it.
    pub(crate) first_passage: PassageId,
}

impl SourceRows {
    const BYTES: usize = 16 + 4 + 4 + 4 + 16;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(self.source.uuid().as_bytes());
        bytes[16..20].copy_from_slice(&self.version.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.first_row.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.rows.to_le_bytes());
        bytes[28..].copy_from_slice(self.first_passage.uuid().as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        Some(Self {
            source: Uuid::from_bytes(reader.take()?).into(),
            version: i32::from_le_bytes(reader.take()?),
            first_row: reader.u32()?,
            rows: reader.u32()?,
            first_passage: Uuid::from_bytes(reader.take()?).into(),
        })
    }
}

/// The section of a segment.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a>(pub(crate) &'a [u8]);

impl<'a> Sources<'a> {
    pub(crate) fn len(self) -> usize {
        self.0.len() / SourceRows::BYTES
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = SourceRows> + 'a {
        self.0
            .chunks_exact(SourceRows::BYTES)
            .filter_map(SourceRows::decode)
    }

    /// The rows of a version, if the segment holds it.
    pub(crate) fn of(self, source: SourceId, version: i32) -> Option<SourceRows> {
        self.find(|entry| entry.source.cmp(&source))
            .filter(|entry| entry.version == version)
    }

    /// The version that a row belongs to.
    pub(crate) fn at(self, row: u32) -> Option<SourceRows> {
        self.find(|entry| {
            if row < entry.first_row {
                Ordering::Greater
            } else if row - entry.first_row >= entry.rows {
                Ordering::Less
            } else {
                Ordering::Equal
            }
        })
    }

    fn find(self, order: impl Fn(&SourceRows) -> Ordering) -> Option<SourceRows> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            let at = middle * SourceRows::BYTES;
            let entry = SourceRows::decode(self.0.get(at..at + SourceRows::BYTES)?)?;
            match order(&entry) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Some(entry),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_and_every_source_is_found() {
        let mut section = Vec::new();
        let mut entries = Vec::new();
        let mut first_row = 0;
        for rows in [3, 1, 0, 7] {
            let entry = SourceRows {
                source: SourceId::generate(),
                version: 2,
                first_row,
                rows,
                first_passage: PassageId::generate(),
            };
            first_row += rows;
            section.extend(entry.encode());
            entries.push(entry);
        }
        let sources = Sources(&section);
        assert_eq!(sources.iter().collect::<Vec<_>>(), entries);
        for entry in &entries {
            assert_eq!(sources.of(entry.source, 2), Some(*entry));
            assert_eq!(sources.of(entry.source, 1), None);
            for row in entry.first_row..entry.first_row + entry.rows {
                assert_eq!(sources.at(row), Some(*entry));
            }
        }
        assert_eq!(sources.at(first_row), None);
        assert_eq!(sources.of(SourceId::generate(), 2), None);
        assert_eq!(Sources(&[]).at(0), None);
    }
}
