//! Embedding a tenant's passages anew, by another model, beside what search reads; and the way back.
//!
//! Page by page: what is not embedded yet is read ([`Search::page_to_embed`]), whoever calls has it embedded, and
//! it becomes a segment that search does not read ([`Search::keep_embedded`]). What is published meanwhile is not
//! embedded yet, so it comes with a later page. When nothing is left, [`Search::switch_embedding`] checks recall
//! and makes all sources name the new segments at once. Everything that is done is a row, so whoever goes on after
//! a crash begins where the last page ended. Knows models by their names only.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use quire_store::Placement;
use quire_store::builds::{self, BuildState};
use quire_store::corpus::Embedding;
use quire_store::embeddings::{self, Embedded, NewEmbedding, Switched};
use quire_store::passages::Indexed;
use quire_store::segments;
use quire_types::{PassageId, SegmentId, SourceId};

use super::rebuild::plan;
use super::{Rebuild, RebuildError, Rebuilt, recall};
use crate::blocks::Blocks;
use crate::segment::{Built, Io, Recipe, Segment, SegmentWriter, Stored, Text, merge};
use crate::view::{Contents, View};
use crate::{Error, Search, blocking};

/// Passages that a build has not embedded yet.
#[derive(Debug)]
pub struct EmbedPage {
    sources: Vec<PageSource>,
}

#[derive(Debug)]
struct PageSource {
    source: SourceId,
    version: i32,
    first: PassageId,
    texts: Vec<Text>,
}

impl EmbedPage {
    /// The passages in order: title and headings above each, and the text.
    pub fn passages(&self) -> impl Iterator<Item = (&str, &str)> {
        let texts = self.sources.iter().flat_map(|source| &source.texts);
        texts.map(|text| (text.context.as_str(), text.body.as_str()))
    }
}

impl Search {
    /// Begins to embed a tenant's passages anew. A build that is still building can't switch any more.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn begin_embedding(
        &self,
        placement: Placement,
        embedding: Embedding,
    ) -> Result<Uuid, Error> {
        self.begin(placement, embedding, None).await
    }

    pub(super) async fn begin(
        &self,
        placement: Placement,
        embedding: Embedding,
        undoes: Option<Uuid>,
    ) -> Result<Uuid, Error> {
        let new = NewEmbedding {
            id: Uuid::now_v7(),
            embedding,
            rotation_seed: self.store.rotation_seed(),
            undoes,
        };
        let mut tx = self.store.tenant(placement).await?;
        embeddings::begin(&mut tx, &new).await?;
        tx.commit().await?;
        Ok(new.id)
    }

    /// What a build embeds with; none when it is no longer building. Whoever asks keeps the build alive.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn embedding_of(
        &self,
        placement: Placement,
        build: Uuid,
    ) -> Result<Option<Embedding>, Error> {
        let mut tx = self.store.tenant(placement).await?;
        embeddings::note_alive(&mut tx, build).await?;
        let embedded = embeddings::building(&mut tx, build).await?;
        tx.commit().await?;
        Ok(embedded.map(|embedded| embedded.embedding))
    }

    /// Passages that a build has not embedded yet, in whole sources: about so many; none when nothing is left.
    ///
    /// # Errors
    /// Those of reading segments and of the database.
    pub async fn page_to_embed(
        &self,
        placement: Placement,
        build: Uuid,
        rows: usize,
    ) -> Result<Option<EmbedPage>, Error> {
        let view = self.view(placement).await?;
        let mut tx = self.store.tenant_snapshot(placement).await?;
        // Each source has a passage at least.
        let sources = i64::try_from(rows).unwrap_or(i64::MAX);
        let mut missing = embeddings::missing(&mut tx, build, sources).await?;
        let mut sum = 0;
        missing.retain(|located| {
            let fits = sum < rows;
            sum += located.passages.unsigned_abs() as usize;
            fits
        });
        if missing.is_empty() {
            tx.commit().await?;
            return Ok(None);
        }
        let named: Vec<SegmentId> = missing.iter().filter_map(|one| one.segment).collect();
        let entries = segments::kept(&mut tx, &named).await?;
        let in_tail = missing.iter().filter(|one| one.segment.is_none());
        let in_tail: Vec<SourceId> = in_tail.map(|one| one.source).collect();
        let tail = crate::search::read_tail(&mut tx, Some(&in_tail)).await?;
        tx.commit().await?;

        // Everything is read once; none of it is worth keeping in memory.
        let blocks = Blocks::new(0);
        let io = Io::new(placement, self.store.objects(), &blocks);
        let mut open: HashMap<SegmentId, Arc<Segment>> = HashMap::new();
        for entry in &entries {
            let known = view.segments.iter().find(|known| known.id() == entry.id);
            let segment = match known {
                Some(segment) => segment.clone(),
                None => Segment::open(io.objects, placement, entry).await?,
            };
            open.insert(entry.id, segment);
        }
        let mut of_tail = by_source(tail);
        let mut sources = Vec::with_capacity(missing.len());
        for located in &missing {
            let found = match located.segment {
                None => of_tail.remove(&located.source),
                Some(id) => {
                    let gone = || Error::Missing { segment: id };
                    let segment = open.get(&id).ok_or_else(gone)?;
                    let rows = segment.sources().of(located.source, located.version);
                    let rows = rows.ok_or_else(gone)?;
                    let all: Vec<u32> = (rows.first_row..rows.first_row + rows.rows).collect();
                    Some((rows.first_passage, segment.texts(&io, &all).await?))
                }
            };
            // Rows of the tail and sources are of one snapshot, so what is missing here is a source without rows.
            if let Some((first, texts)) = found {
                sources.push(PageSource {
                    source: located.source,
                    version: located.version,
                    first,
                    texts,
                });
            }
        }
        if sources.is_empty() {
            let what = "text of a source that search sees";
            return Err(quire_store::Error::NotFound { what }.into());
        }
        Ok(Some(EmbedPage { sources }))
    }

    /// Keeps a page with its vectors, in order, as a segment of the build.
    ///
    /// # Errors
    /// [`RebuildError::Superseded`] when it is no longer building; vectors that no angle can be measured to;
    /// those of the stores.
    pub async fn keep_embedded(
        &self,
        placement: Placement,
        build: Uuid,
        page: EmbedPage,
        vectors: Vec<Vec<f32>>,
    ) -> Result<(), RebuildError> {
        let mut tx = self.store.tenant(placement).await?;
        let manifest = segments::manifest(&mut tx).await?;
        tx.commit().await?;
        let recipe = Recipe {
            dimension: vectors.first().map_or(0, Vec::len),
            rotation_seed: self.store.rotation_seed(),
            language: self.language_of(&manifest),
            cluster_rows: self.config.fold.cluster_rows,
            is_archive: false,
        };
        let built = blocking(move || write(placement, recipe, page, &vectors)).await?;
        let stored = self.stored(placement, build, built).await?;
        self.keep(placement, build, &stored).await
    }

    /// Writes a segment of a build to the object store.
    async fn stored(
        &self,
        placement: Placement,
        build: Uuid,
        built: Built,
    ) -> Result<Stored, RebuildError> {
        // Written down before it is stored, so that a sweep knows it.
        let mut tx = self.store.tenant(placement).await?;
        let is_building = builds::note_segment(&mut tx, build, built.id()).await?;
        tx.commit().await?;
        if !is_building {
            return Err(RebuildError::Superseded);
        }
        Ok(self.put(placement, built).await?)
    }

    async fn keep(
        &self,
        placement: Placement,
        build: Uuid,
        stored: &Stored,
    ) -> Result<(), RebuildError> {
        let mut tx = self.store.tenant(placement).await?;
        let (new, versions) = (&stored.new, &stored.versions);
        let is_building = embeddings::keep(&mut tx, build, new, versions).await?;
        tx.commit().await?;
        is_building.then_some(()).ok_or(RebuildError::Superseded)
    }

    /// Makes search read what a build embedded, if that is everything and is found well enough: asks it what
    /// the tenant asked first (the vectors in `own`, by the new model), and questions like its passages where these
    /// are too few. None when something was published that is to be embedded before.
    ///
    /// # Errors
    /// [`RebuildError::Recall`], after which the build is over; [`RebuildError::Superseded`]; those of the stores.
    pub async fn switch_embedding(
        &self,
        placement: Placement,
        build: Uuid,
        change: Rebuild,
        own: &[Vec<f32>],
    ) -> Result<Option<Rebuilt>, RebuildError> {
        let mut tx = self.store.tenant(placement).await?;
        let missing = embeddings::missing(&mut tx, build, 1).await?;
        tx.commit().await?;
        let mut embedded = self.embedded(placement, build).await?;
        if !missing.is_empty() {
            return Ok(None);
        }
        let mut view = self.candidate_of(placement, &embedded).await?;
        let blocks = Blocks::new(0);
        let io = Io::new(placement, self.store.objects(), &blocks);
        if view.segments.len() > self.config.fold.segments {
            self.compact(&io, build, &view).await?;
            embedded = self.embedded(placement, build).await?;
            view = self.candidate_of(placement, &embedded).await?;
        }
        let tried = recall::tried(&view, &view, &io, change, own).await;
        if let Err(RebuildError::Recall { recall, .. }) = tried {
            let mut tx = self.store.tenant(placement).await?;
            builds::end_build(&mut tx, build, BuildState::Refused, Some(recall)).await?;
            tx.commit().await?;
        }
        let tried = tried?;
        let mut tx = self.store.tenant(placement).await?;
        let switched = embeddings::switch(&mut tx, build, tried.recall).await?;
        let moved = match switched {
            Switched::Done(moved) => moved,
            Switched::Behind => return Ok(None),
            Switched::Over => return Err(RebuildError::Superseded),
        };
        tx.commit().await?;
        let bytes = embedded.segments.iter().map(|one| one.bytes.unsigned_abs());
        Ok(Some(Rebuilt {
            build,
            written_bytes: bytes.sum(),
            segments: embedded.segments.iter().map(|one| one.id).collect(),
            moved,
            passed_over: 0,
            questions: tried.questions,
            own_questions: tried.own_questions,
            recall: tried.recall,
        }))
    }

    /// Gives a build up: nothing of it is read any more.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn give_up_embedding(&self, placement: Placement, build: Uuid) -> Result<(), Error> {
        let mut tx = self.store.tenant(placement).await?;
        builds::end_build(&mut tx, build, BuildState::Failed, None).await?;
        Ok(tx.commit().await?)
    }

    async fn embedded(&self, placement: Placement, build: Uuid) -> Result<Embedded, RebuildError> {
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let embedded = embeddings::building(&mut tx, build).await?;
        tx.commit().await?;
        embedded.ok_or(RebuildError::Superseded)
    }

    /// A view of what a build embedded, as search would have it.
    async fn candidate_of(
        &self,
        placement: Placement,
        embedded: &Embedded,
    ) -> Result<Arc<View>, RebuildError> {
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let mut manifest = segments::manifest(&mut tx).await?;
        let mut located = segments::located(&mut tx, None).await?;
        tx.commit().await?;
        let places: HashMap<(SourceId, i32), SegmentId> = embedded
            .places
            .iter()
            .map(|(source, version, segment)| ((*source, *version), *segment))
            .collect();
        located.retain_mut(|one| {
            one.segment = places.get(&(one.source, one.version)).copied();
            one.segment.is_some()
        });
        let mut opened = Vec::with_capacity(embedded.segments.len());
        for entry in &embedded.segments {
            opened.push(Segment::open(self.store.objects(), placement, entry).await?);
        }
        manifest.dimension = embedded.segments.first().map(|entry| entry.dimension);
        let contents = Contents {
            language: self.language_of(&manifest),
            manifest,
            located,
            segments: opened,
            missing: Vec::new(),
            retry_at: None,
            archived: HashMap::new(),
            tail: Vec::new(),
        };
        Ok(Arc::new(blocking(move || Ok(View::new(contents))).await?))
    }

    /// Makes few segments of the many that came page by page.
    async fn compact(&self, io: &Io<'_>, build: Uuid, view: &View) -> Result<(), RebuildError> {
        let fold = &self.config.fold;
        let placement = io.placement;
        for chunk in plan(view, |_| true, fold.segment_rows, fold.segments) {
            let Some(first) = chunk.first() else {
                continue;
            };
            let recipe = Recipe {
                cluster_rows: fold.cluster_rows,
                ..first.segment.recipe()
            };
            let Some(built) = merge(io, placement, recipe, &chunk, |_| {}).await? else {
                continue;
            };
            let stored = self.stored(placement, build, built).await?;
            self.keep(placement, build, &stored).await?;
        }
        let mut tx = self.store.tenant(placement).await?;
        embeddings::retire_unnamed(&mut tx, build).await?;
        Ok(tx.commit().await?)
    }
}

/// The rows of the tail by their sources: the first passage of each, and the texts.
fn by_source(mut tail: Vec<Indexed>) -> HashMap<SourceId, (PassageId, Vec<Text>)> {
    tail.sort_by_key(|passage| (passage.source, passage.ordinal));
    let mut found: HashMap<SourceId, (PassageId, Vec<Text>)> = HashMap::new();
    for passage in tail {
        let first = || (passage.id, Vec::new());
        let (_, texts) = found.entry(passage.source).or_insert_with(first);
        texts.push(Text {
            context: passage.context,
            body: passage.body,
            place: passage.place,
        });
    }
    found
}

fn write(
    placement: Placement,
    recipe: Recipe,
    page: EmbedPage,
    vectors: &[Vec<f32>],
) -> Result<Built, Error> {
    let mut writer = SegmentWriter::new(placement, recipe)?;
    let mut vectors = vectors.iter();
    for source in page.sources {
        let rows = u32::try_from(source.texts.len()).unwrap_or(u32::MAX);
        writer.source(source.source, source.version, source.first, rows);
        for text in &source.texts {
            let vector = vectors.next().ok_or(Error::Direction)?;
            writer.push(&text.context, &text.body, &text.place, vector)?;
        }
    }
    writer.finish()
}
