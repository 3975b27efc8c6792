//! The texts of a segment: blocks of passages, each compressed on its own, so that one passage costs
//! one small read.
//!
//! A block holds passages until it is full, compressed with LZ4, which is unpacked in microseconds.

use bytes::Bytes;

use quire_types::{Place, Spot};

use super::format::Reader;

/// Unpacked bytes after which a block is full. A longer passage has a block of its own.
const BLOCK_BYTES: usize = 16 << 10;

/// What a segment keeps of a passage beside its vector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) context: String,
    pub(crate) body: String,
    pub(crate) place: Place,
}

/// An entry of the table of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextBlock {
    pub(crate) first_row: u32,
    /// From the start of the section.
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) crc: u32,
}

impl TextBlock {
    pub(crate) const BYTES: usize = 20;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.first_row.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.offset.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.length.to_le_bytes());
        bytes[16..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        Some(Self {
            first_row: reader.u32()?,
            offset: u64::from_le_bytes(reader.take()?),
            length: reader.u32()?,
            crc: reader.u32()?,
        })
    }
}

/// Packs texts row by row.
#[derive(Default)]
pub(crate) struct TextsBuilder {
    section: Vec<u8>,
    blocks: Vec<TextBlock>,
    block: Vec<u8>,
    block_first_row: u32,
    rows: u32,
}

impl TextsBuilder {
    pub(crate) fn push(&mut self, context: &str, body: &str, place: &Place) {
        let start = self.block.len();
        self.block.extend([0; 4]);
        for text in [context, body] {
            put_bytes(&mut self.block, text.as_bytes());
        }
        // Pages count from 1.
        for number in [place.page.unwrap_or(0), place.char_start, place.char_end] {
            self.block.extend(number.to_le_bytes());
        }
        let headings = u32::try_from(place.heading_path.len()).unwrap_or(u32::MAX);
        self.block.extend(headings.to_le_bytes());
        for heading in &place.heading_path {
            put_bytes(&mut self.block, heading.as_bytes());
        }
        // Most passages have none, and segments written before there were any end here.
        if !place.spot.is_empty()
            && let Ok(spot) = serde_json::to_vec(&place.spot)
        {
            put_bytes(&mut self.block, &spot);
        }
        let length = u32::try_from(self.block.len() - start - 4).unwrap_or(u32::MAX);
        self.block[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.rows += 1;
        if self.block.len() >= BLOCK_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.block.is_empty() {
            return;
        }
        let packed = lz4_flex::compress_prepend_size(&self.block);
        self.blocks.push(TextBlock {
            first_row: self.block_first_row,
            offset: self.section.len() as u64,
            length: u32::try_from(packed.len()).unwrap_or(u32::MAX),
            crc: crc32fast::hash(&packed),
        });
        self.section.extend(packed);
        self.block.clear();
        self.block_first_row = self.rows;
    }

    /// The section and its blocks.
    pub(crate) fn finish(mut self) -> (Vec<u8>, Vec<TextBlock>) {
        self.flush();
        (self.section, self.blocks)
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(bytes);
}

/// Unpacks a block; none when it is not one.
pub(crate) fn unpack(packed: &[u8]) -> Option<Bytes> {
    // The size before the packed bytes was under the checksum, but a bound costs nothing: LZ4 packs at
    // most 255 to 1.
    let size = Reader(packed).u32()? as usize;
    if size > packed.len().saturating_mul(256) {
        return None;
    }
    lz4_flex::decompress_size_prepended(packed)
        .ok()
        .map(Bytes::from)
}

/// The text at this place of an unpacked block.
pub(crate) fn text_at(block: &[u8], place: usize) -> Option<Text> {
    let mut reader = Reader(block);
    for _ in 0..place {
        reader.bytes()?;
    }
    let mut record = Reader(reader.bytes()?);
    let context = record.text()?.to_owned();
    let body = record.text()?.to_owned();
    let page = Some(record.u32()?).filter(|page| *page > 0);
    let (char_start, char_end) = (record.u32()?, record.u32()?);
    let headings = record.u32()?;
    let mut heading_path = Vec::new();
    for _ in 0..headings {
        heading_path.push(record.text()?.to_owned());
    }
    let spot = match record.0 {
        [] => Spot::default(),
        _ => serde_json::from_slice(record.bytes()?).ok()?,
    };
    Some(Text {
        context,
        body,
        place: Place {
            page,
            spot,
            heading_path,
            char_start,
            char_end,
        },
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back_from_its_block() {
        let texts: Vec<Text> = (0..500_u32)
            .map(|row| Text {
                context: format!("Title › part {}", row / 10),
                body: "straße ".repeat(row as usize % 70) + &row.to_string(),
                place: Place {
                    page: (row % 3 > 0).then_some(row),
                    spot: Spot {
                        slide: (row % 7 == 0).then_some(row),
                        cells: (row % 5 == 0).then(|| "B2:D7".parse().unwrap()),
                        ..Spot::default()
                    },
                    heading_path: vec!["h".to_owned(); row as usize % 4],
                    char_start: row,
                    char_end: row * 2,
                },
            })
            .collect();
        let mut builder = TextsBuilder::default();
        for text in &texts {
            builder.push(&text.context, &text.body, &text.place);
        }
        let (section, blocks) = builder.finish();
        assert!(blocks.len() > 3);
        for (at, block) in blocks.iter().enumerate() {
            assert_eq!(TextBlock::decode(&block.encode()), Some(*block));
            let start = usize::try_from(block.offset).unwrap();
            let packed = &section[start..start + block.length as usize];
            let unpacked = unpack(packed).unwrap();
            let end = blocks.get(at + 1).map_or(500, |next| next.first_row);
            for row in block.first_row..end {
                let text = text_at(&unpacked, (row - block.first_row) as usize);
                assert_eq!(text.as_ref(), Some(&texts[row as usize]));
            }
            assert_eq!(text_at(&unpacked, (end - block.first_row) as usize), None);
            for cut in 0..packed.len() {
                // Whatever comes out of half a block, it is no panic.
                if let Some(block) = unpack(&packed[..cut]) {
                    let _ = text_at(&block, 0);
                }
            }
        }
    }
}
