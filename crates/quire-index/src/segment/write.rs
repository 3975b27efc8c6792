//! Making a segment's file out of passages.
//!
//! Passages come source by source, in the order they will have. Everything is held in memory until the
//! end: about 450 bytes a passage and what it says, at 384 dimensions, and at the end its vector twice.

use bytes::Bytes;

use quire_store::{Objects, Placement, segments::NewSegment};
use quire_types::{Language, PassageId, Place, SegmentId, SourceId};
use quire_vectors::{CodesBuilder, Rotation, quantise, row_bytes, unsigned_row_bytes};

use super::clusters;
use super::format::{Extent, Footer, MAGIC, Section, VERSION};
use super::sources::SourceRows;
use super::texts::{TextBlock, TextsBuilder};
use super::{BLOCK_ROWS, padded};
use crate::Error;
use crate::text::LexicalBuilder;

/// How a segment is to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recipe {
    /// Of the vectors that will come.
    pub(crate) dimension: usize,
    /// Of the rotation they go through.
    pub(crate) rotation_seed: u64,
    /// What words are reduced with.
    pub(crate) language: Language,
    /// With so many rows or more it is searched by clusters.
    pub(crate) cluster_rows: u32,
    /// Whether it is only to be kept: without an inverted index and codes, which can be made again.
    pub(crate) is_archive: bool,
}

/// A segment in the making.
pub(crate) struct SegmentWriter {
    placement: Placement,
    id: SegmentId,
    recipe: Recipe,
    rotation: Rotation,
    vectors: Vec<u8>,
    texts: TextsBuilder,
    lexical: LexicalBuilder,
    sources: Vec<u8>,
    versions: Vec<(SourceId, i32)>,
    rows: u32,
    given: Vec<f32>,
    rotated: Vec<f32>,
}

impl SegmentWriter {
    /// A segment without passages.
    pub(crate) fn new(placement: Placement, recipe: Recipe) -> Result<Self, Error> {
        let dimension = padded(recipe.dimension);
        Ok(Self {
            placement,
            id: SegmentId::generate(),
            recipe,
            rotation: Rotation::new(dimension, recipe.rotation_seed)?,
            vectors: Vec::new(),
            texts: TextsBuilder::default(),
            lexical: LexicalBuilder::new(recipe.language)?,
            sources: Vec::new(),
            versions: Vec::new(),
            rows: 0,
            given: vec![0.0; dimension],
            rotated: vec![0.0; dimension],
        })
    }

    /// How many passages there are so far.
    pub(crate) fn rows(&self) -> u32 {
        self.rows
    }

    /// The next `rows` passages are those of this version, the first of which has this id. Sources come
    /// in order of their ids, each once.
    pub(crate) fn source(&mut self, source: SourceId, version: i32, first: PassageId, rows: u32) {
        self.versions.push((source, version));
        self.sources.extend(
            SourceRows {
                source,
                version,
                first_row: self.rows,
                rows,
                first_passage: first,
            }
            .encode(),
        );
    }

    /// A passage with the vector that a model gave it.
    pub(crate) fn push(
        &mut self,
        context: &str,
        body: &str,
        place: &Place,
        vector: &[f32],
    ) -> Result<(), Error> {
        self.check_dimension(vector.len())?;
        let square: f32 = vector.iter().map(|value| value * value).sum();
        if !square.is_normal() {
            return Err(Error::Direction);
        }
        let length = square.sqrt();
        for (out, value) in self.given.iter_mut().zip(vector) {
            *out = value / length;
        }
        self.rotation.rotate(&self.given, &mut self.rotated)?;
        quantise(&self.rotated, &mut self.vectors);
        self.text(context, body, place)
    }

    /// A passage of a segment with the same rotation, with its row there.
    pub(crate) fn push_kept(
        &mut self,
        context: &str,
        body: &str,
        place: &Place,
        row: &[u8],
    ) -> Result<(), Error> {
        self.check_dimension(self.recipe.dimension)?;
        self.vectors.extend(row);
        self.text(context, body, place)
    }

    fn check_dimension(&self, found: usize) -> Result<(), Error> {
        if found == self.recipe.dimension {
            Ok(())
        } else {
            Err(Error::Dimension {
                expected: self.recipe.dimension,
                found,
            })
        }
    }

    fn text(&mut self, context: &str, body: &str, place: &Place) -> Result<(), Error> {
        self.texts.push(context, body, place);
        if !self.recipe.is_archive {
            self.lexical.push(context, body)?;
        }
        self.rows += 1;
        Ok(())
    }

    /// The whole file.
    pub(crate) fn finish(mut self) -> Result<Built, Error> {
        let dimension = padded(self.recipe.dimension);
        let order = if self.recipe.is_archive {
            // An inverted index has a row at least; this one tells the language and nothing else.
            self.lexical.push("", "")?;
            None
        } else {
            clusters::order(
                &self.vectors,
                dimension,
                self.recipe.rotation_seed,
                self.recipe.cluster_rows,
            )?
        };
        let mut codes = CodesBuilder::new(dimension)?;
        let (vectors, kept_bytes) = if self.recipe.is_archive {
            (self.vectors, row_bytes(dimension))
        } else {
            let kept_bytes = unsigned_row_bytes(dimension);
            let mut unsigned = Vec::with_capacity(self.rows as usize * kept_bytes);
            let mut rotated = self.rotated;
            for position in 0..self.rows as usize {
                let row = order.as_ref().map_or(Some(position), |order| {
                    order.rows.get(position).map(|row| *row as usize)
                });
                let row = row_of(&self.vectors, row.unwrap_or(position), row_bytes(dimension));
                quire_vectors::dequantise(row, &mut rotated)?;
                codes.push(&rotated)?;
                unsigned.extend(row.iter().take(kept_bytes));
            }
            (unsigned, kept_bytes)
        };
        let lexical = self.lexical.finish()?;
        let (texts, text_blocks) = self.texts.finish();
        let blocks = block_table(&vectors, kept_bytes, &text_blocks);
        let clusters = order.map_or_else(Vec::new, |order| order.encode());

        let mut parts = vec![Bytes::from_static(&MAGIC)];
        let mut offset = MAGIC.len() as u64;
        let mut extents = [Extent::default(); 7];
        let sections = [
            vectors,
            texts,
            lexical,
            codes.finish(),
            self.sources,
            blocks,
            clusters,
        ];
        for (section, bytes) in Section::ALL.into_iter().zip(sections) {
            extents[section as usize] = Extent {
                offset,
                length: bytes.len() as u64,
                crc: if section.is_hot() {
                    crc32fast::hash(&bytes)
                } else {
                    0
                },
            };
            offset += bytes.len() as u64;
            parts.push(bytes.into());
        }
        let footer = Footer {
            version: VERSION,
            tenant: self.placement.tenant.uuid(),
            incarnation: self.placement.incarnation,
            segment: self.id.uuid(),
            dimension: size(self.recipe.dimension),
            rows: self.rows,
            rotation_seed: self.recipe.rotation_seed,
            extents,
        }
        .encode();
        parts.push(footer.clone().into());
        Ok(Built {
            placement: self.placement,
            id: self.id,
            rows: self.rows,
            dimension: self.recipe.dimension,
            versions: self.versions,
            footer,
            parts,
        })
    }
}

/// The bytes of a segment that no store has yet.
pub(crate) struct Built {
    placement: Placement,
    id: SegmentId,
    rows: u32,
    dimension: usize,
    /// Whose passages are in it.
    pub(crate) versions: Vec<(SourceId, i32)>,
    footer: Vec<u8>,
    parts: Vec<Bytes>,
}

impl Built {
    /// The id of the segment.
    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    /// Bytes of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }

    /// What the manifest is to know of it.
    pub(crate) fn new_segment(&self) -> NewSegment {
        NewSegment {
            id: self.id,
            rows: signed(self.rows),
            bytes: i64::try_from(self.bytes()).unwrap_or(i64::MAX),
            dimension: i32::try_from(self.dimension).unwrap_or(i32::MAX),
            footer: self.footer.clone(),
        }
    }

    /// Writes the object, which nothing names before it is installed.
    pub(crate) async fn store(self, objects: &Objects) -> Result<Stored, Error> {
        let new = self.new_segment();
        let key = super::key(self.placement, self.id);
        objects.put_whole(&key, self.parts).await?;
        Ok(Stored {
            new,
            versions: self.versions,
        })
    }
}

/// A segment whose object is stored.
pub(crate) struct Stored {
    pub(crate) new: NewSegment,
    pub(crate) versions: Vec<(SourceId, i32)>,
}

fn row_of(vectors: &[u8], row: usize, row_bytes: usize) -> &[u8] {
    vectors
        .get(row * row_bytes..(row + 1) * row_bytes)
        .unwrap_or_default()
}

/// The checksums of the blocks of vectors, then the blocks of texts.
fn block_table(vectors: &[u8], kept_bytes: usize, texts: &[TextBlock]) -> Vec<u8> {
    let checksums = vectors
        .chunks(kept_bytes * BLOCK_ROWS)
        .flat_map(|block| crc32fast::hash(block).to_le_bytes());
    let texts = texts.iter().flat_map(|block| block.encode());
    checksums.chain(texts).collect()
}

fn size(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn signed(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
