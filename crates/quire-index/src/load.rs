//! Bulk loads: many sources at once go straight into segments, without ever being rows of the tail.

use quire_store::Placement;
use quire_store::passages::NewPassage;
use quire_store::segments::{self, Loaded};
use quire_types::PassageId;

use crate::segment::{Recipe, SegmentWriter};
use crate::{Error, Folded, Search, blocking};

/// A version of a source with everything that is to be found of it.
#[derive(Clone, Debug)]
pub struct BulkSource {
    /// The version, whose row exists and which search does not see yet.
    pub loaded: Loaded,
    /// Its passages, in reading order.
    pub passages: Vec<NewPassage>,
}

impl Search {
    /// Makes many versions of sources searchable, segment by segment: each segment in one transaction.
    /// Versions that are no longer the latest, are searchable already or are gone are left out. Twice
    /// the same load changes nothing the second time.
    ///
    /// # Errors
    /// Those of writing, vectors of different dimensions, and such as no angle can be measured to. What was installed before stays.
    pub async fn load(
        &self,
        placement: Placement,
        sources: impl IntoIterator<Item = BulkSource, IntoIter: Send + 'static>,
    ) -> Result<Folded, Error> {
        let mut tx = self.store.tenant(placement).await?;
        let manifest = segments::manifest(&mut tx).await?;
        tx.commit().await?;
        let language = self.language_of(&manifest);
        let rotation_seed = self.store.rotation_seed();
        let most = self.config.fold.segment_rows;
        let cluster_rows = self.config.fold.cluster_rows;
        let mut sources = sources.into_iter().peekable();
        let mut done = Folded::default();
        loop {
            let first = sources.find(|source| !source.passages.is_empty());
            let Some(first) = first else { return Ok(done) };
            let recipe = Recipe {
                is_archive: false,
                dimension: first.passages.first().map_or(0, |one| one.embedding.len()),
                rotation_seed,
                language,
                cluster_rows,
            };
            let (rest, loaded, built) = blocking(move || {
                let mut part = vec![first];
                let mut rows = 0;
                while rows < most {
                    let Some(next) = sources.next() else { break };
                    rows += u32::try_from(next.passages.len()).unwrap_or(u32::MAX);
                    part.push(next);
                }
                let (loaded, built) = write(placement, recipe, part)?;
                Ok((sources, loaded, built))
            })
            .await?;
            sources = rest;
            done.written_bytes += built.bytes();
            let stored = self.put(placement, built).await?;
            let mut tx = self.store.tenant(placement).await?;
            let moved = segments::load(&mut tx, &stored.new, &loaded).await?;
            tx.commit().await?;
            if moved == 0 {
                self.take_back(placement, stored.new.id).await?;
            }
            done.folded += moved;
        }
    }
}

fn write(
    placement: Placement,
    recipe: Recipe,
    mut sources: Vec<BulkSource>,
) -> Result<(Vec<Loaded>, crate::segment::Built), Error> {
    // A segment has its sources in order, each once.
    sources.sort_by_key(|source| source.loaded.source);
    sources.dedup_by_key(|source| source.loaded.source);
    let mut writer = SegmentWriter::new(placement, recipe)?;
    let mut loaded = Vec::with_capacity(sources.len());
    for source in sources {
        let rows = u32::try_from(source.passages.len()).unwrap_or(u32::MAX);
        let Loaded {
            source: id,
            version,
            ..
        } = source.loaded;
        writer.source(id, version, PassageId::generate(), rows);
        for passage in &source.passages {
            writer.push(
                &passage.context,
                &passage.body,
                &passage.place,
                &passage.embedding,
            )?;
        }
        loaded.push(Loaded {
            passages: i32::try_from(rows).unwrap_or(i32::MAX),
            ..source.loaded
        });
    }
    Ok((loaded, writer.finish()?))
}
