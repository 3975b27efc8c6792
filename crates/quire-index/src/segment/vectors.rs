//! The vectors of a segment: read by blocks, compared with a question, and taken over into another segment.
//!
//! A row is a vector in nine bits a coordinate ([`quire_vectors::quantise`]). The signs are in the codes, so the
//! file holds rows without them; an archive has no codes, and whole rows. Files of the first version hold signed
//! bytes instead, which are rows of today as they are read: so many units are twice as many halves of one.

use std::ops::Range;

use bytes::Bytes;

use quire_vectors::{Level, row_bytes, unsigned_row_bytes};

use super::format::{Section, WITH_SIGNED_BYTES};
use super::{BLOCK_ROWS, Io, Segment};
use crate::Error;
use crate::blocks::BlockKind;

impl Segment {
    /// Where the vector of a row is: its block, and its place in it.
    pub(crate) fn vector_place(&self, row: u32) -> (u32, usize) {
        let position = match &self.clusters {
            Some(clusters) => clusters.position(row).unwrap_or(row),
            None => row,
        };
        let rows = BLOCK_ROWS as u32;
        (position / rows, (position % rows) as usize)
    }

    /// The rows of vectors, in the same order.
    pub(crate) async fn vectors(&self, io: &Io<'_>, rows: &[u32]) -> Result<Vec<Vec<u8>>, Error> {
        let mut found = Vec::with_capacity(rows.len());
        self.each_vector(io, rows, |position, kept| {
            let mut row = Vec::with_capacity(row_bytes(self.dimension));
            row.extend(kept);
            if !self.is_archive() {
                self.codes()?.push_signs(position, &mut row)?;
            }
            found.push(row);
            Ok(())
        })
        .await?;
        Ok(found)
    }

    /// The cosines of rows to a rotated question, in the same order.
    pub(crate) async fn cosines(
        &self,
        io: &Io<'_>,
        rotated: &[f32],
        rows: &[u32],
    ) -> Result<Vec<f32>, Error> {
        let (codes, level) = (self.codes()?, Level::detect());
        let mut cosines = Vec::with_capacity(rows.len());
        self.each_vector(io, rows, |position, kept| {
            cosines.push(codes.dot(rotated, position, kept, level)?);
            Ok(())
        })
        .await?;
        Ok(cosines)
    }

    /// A vector as it was before it was rotated.
    pub(crate) fn unrotated(&self, row: &[u8]) -> Result<Vec<f32>, Error> {
        let mut rotated = vec![0.0; self.dimension];
        let mut vector = vec![0.0; self.dimension];
        quire_vectors::dequantise(row, &mut rotated)?;
        self.rotation.undo(&rotated, &mut vector)?;
        vector.truncate(self.footer.dimension as usize);
        Ok(vector)
    }

    /// Tells where the code of each row is, and what the file keeps of its vector beside that.
    async fn each_vector(
        &self,
        io: &Io<'_>,
        rows: &[u32],
        mut tell: impl FnMut(usize, &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let kept_bytes = self.kept_row_bytes();
        let position = |(block, place): (u32, usize)| block as usize * BLOCK_ROWS + place;
        if let Some(vectors) = self.resident.vectors() {
            for row in rows {
                let position = position(self.vector_place(*row));
                let kept = vectors.get(position * kept_bytes..(position + 1) * kept_bytes);
                tell(position, kept.ok_or_else(|| self.damaged("vectors"))?)?;
            }
            return Ok(());
        }
        let places: Vec<(u32, usize)> = rows.iter().map(|row| self.vector_place(*row)).collect();
        let wanted = places.iter().map(|(block, _)| *block).collect();
        let blocks = self.blocks(io, BlockKind::Vectors, wanted).await?;
        for (block, place) in places {
            let kept = blocks
                .get(block)
                .and_then(|block| block.get(place * kept_bytes..(place + 1) * kept_bytes));
            let kept = kept.ok_or_else(|| self.damaged("vectors"))?;
            tell(position((block, place)), kept)?;
        }
        Ok(())
    }

    /// Bytes of what is kept of a vector, once it was read.
    fn kept_row_bytes(&self) -> usize {
        if self.is_archive() {
            row_bytes(self.dimension)
        } else {
            unsigned_row_bytes(self.dimension)
        }
    }

    /// Bytes of a block of vectors in the file.
    pub(super) fn vector_block_bytes(&self) -> usize {
        let row = match self.footer.version {
            WITH_SIGNED_BYTES => unsigned_row_bytes(self.dimension),
            _ => self.kept_row_bytes(),
        };
        row * BLOCK_ROWS
    }

    /// What the file holds of vectors, as rows.
    pub(super) fn as_rows(&self, read: Bytes) -> Bytes {
        match self.footer.version {
            WITH_SIGNED_BYTES => of_signed_bytes(&read, self.dimension, self.is_archive()).into(),
            _ => read,
        }
    }

    pub(super) fn vector_blocks(&self) -> usize {
        (self.footer.rows as usize).div_ceil(BLOCK_ROWS)
    }

    /// Where a block of vectors is in the file, and its checksum.
    pub(super) fn vector_extent(&self, index: u32) -> Option<(Range<u64>, u32)> {
        let at = index as usize * 4;
        let crc = self.hot_part(Section::Blocks).get(at..at + 4)?;
        let section = self.footer.extent(Section::Vectors).range();
        let bytes = self.vector_block_bytes() as u64;
        let start = section.start + u64::from(index) * bytes;
        let end = (start + bytes).min(section.end);
        let crc = u32::from_le_bytes(crc.try_into().ok()?);
        (start < end).then_some((start..end, crc))
    }
}

/// Rows of signed bytes and a unit as rows of magnitudes, with their signs where no code holds these.
fn of_signed_bytes(read: &[u8], dimension: usize, with_signs: bool) -> Vec<u8> {
    let mut rows = Vec::with_capacity(read.len());
    for row in read.chunks_exact(unsigned_row_bytes(dimension)) {
        let (numbers, unit) = row.split_at(dimension);
        let signed = |byte: &u8| *byte as i8;
        let twice = |byte| signed(byte).unsigned_abs().saturating_mul(2);
        rows.extend(numbers.iter().map(twice));
        let unit = unit
            .first_chunk()
            .map_or(0.0, |unit| f32::from_le_bytes(*unit));
        rows.extend((unit / 2.0).to_le_bytes());
        if with_signs {
            rows.extend(numbers.chunks(8).map(|eight| {
                let above = eight.iter().map(|byte| u8::from(signed(byte) > 0));
                (0..)
                    .zip(above)
                    .fold(0, |signs, (bit, is_above)| signs | is_above << bit)
            }));
        }
    }
    rows
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use quire_vectors::dequantise;

    use super::*;

    #[test]
    fn signed_bytes_stand_for_the_same_vector_as_the_rows_they_become() {
        let numbers: [i8; 16] = [
            0, 1, -1, 2, -2, 63, -63, 64, -64, 126, -126, 127, -127, 5, 0, -9,
        ];
        let unit = 0.013_7_f32;
        let mut signed: Vec<u8> = numbers.iter().map(|number| *number as u8).collect();
        signed.extend(unit.to_le_bytes());
        let two = [signed.as_slice(), signed.as_slice()].concat();
        let rows = of_signed_bytes(&two, 16, true);
        assert_eq!(rows.len(), 2 * row_bytes(16));
        let expected = numbers.map(|number| f32::from(number) * unit);
        for row in rows.chunks(row_bytes(16)) {
            let mut vector = [0.0; 16];
            dequantise(row, &mut vector).unwrap();
            assert_eq!(vector, expected);
        }
        let unsigned = of_signed_bytes(&signed, 16, false);
        assert_eq!(unsigned, rows[..unsigned_row_bytes(16)]);
    }
}
