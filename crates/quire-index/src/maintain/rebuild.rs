//! Making a tenant's segments anew beside those that search reads, and switching when they are as good.
//!
//! The tail stays where it is: its rows are compared as they are, by whatever language the tenant has, so
//! there is nothing to make anew in them, and what is published meanwhile joins it as always. A process
//! that dies leaves the old segments in use, a build that a later one or a sweep ends, and objects that a
//! sweep finds.

use std::collections::HashMap;
use std::sync::Arc;

use futures::TryFutureExt;
use futures::future::try_join;
use tokio::sync::watch;
use uuid::Uuid;

use quire_store::Placement;
use quire_store::builds::{self, BuildState, NewBuild};
use quire_store::segments::{self, Located, NewSegment};
use quire_types::{ErrorKind, Kind, Language, SegmentId, SourceId};

use super::recall::{self, Tried};
use crate::blocks::Blocks;
use crate::segment::{Io, Recipe, Segment, SourceRows, Survivors, merge};
use crate::view::{Contents, View};
use crate::{Error, Search, blocking};

/// What is to be different, and how good it must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rebuild {
    /// Of the rotation of vectors; none for that of the installation, which later folds and merges use.
    pub rotation_seed: Option<u64>,
    /// What words are reduced with from the switch on; none for what they are reduced with now.
    pub language: Option<Language>,
    /// Questions that are asked before the switch.
    pub questions: usize,
    /// The share of the best ten passages that the new segments must find.
    pub least_recall: f64,
}

impl Default for Rebuild {
    fn default() -> Self {
        Self {
            rotation_seed: None,
            language: None,
            questions: 100,
            least_recall: 0.97,
        }
    }
}

/// How far a rebuild has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildProgress {
    /// Passages written so far.
    pub rows_done: u64,
    /// Passages in all.
    pub rows_total: u64,
}

/// What a rebuild did.
#[derive(Clone, Debug, PartialEq)]
pub struct Rebuilt {
    /// The build, as `shard.index_builds` knows it.
    pub build: Uuid,
    /// The segments that search reads now.
    pub segments: Vec<SegmentId>,
    /// Passages that moved to them.
    pub moved: i64,
    /// Passages that were replaced or deleted meanwhile; dead in the new segments.
    pub passed_over: i64,
    /// Bytes written to the object store.
    pub written_bytes: u64,
    /// Questions that were asked before the switch.
    pub questions: usize,
    /// Those of them that the tenant had asked; the others are like its passages.
    pub own_questions: usize,
    /// The share of the best ten passages that the new segments found; none where nothing could be asked.
    pub recall: Option<f64>,
}

/// Why segments were not made anew, or old ones not put back.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Search or its stores failed.
    #[error(transparent)]
    Search(#[from] Error),
    /// The new segments find too little; the old ones are still in use.
    #[error(
        "the new segments find {:.1} % of the best passages in {questions} questions, {own_questions} of them the \
         tenant's own, and {:.1} % were asked for: nothing was changed",
        .recall * 100.0, .least * 100.0
    )]
    Recall {
        /// The share that was found.
        recall: f64,
        /// The share that was asked for.
        least: f64,
        /// Questions that were asked.
        questions: usize,
        /// Those of them that the tenant had asked.
        own_questions: usize,
    },
    /// Another rebuild of the tenant began later, a merge moved the same passages, or a sweep took this one
    /// for dead.
    #[error("another rebuild or a merge was faster: nothing was changed; try again")]
    Superseded,
    /// No build can be undone.
    #[error("no rebuild of this tenant can be rolled back")]
    NoBuild,
    /// An old segment is past the recovery window, or damaged.
    #[error("the old segments are gone or damaged: they can't be put back; rebuild instead")]
    Gone {
        /// One of them.
        segment: Option<SegmentId>,
    },
}

impl From<quire_store::Error> for RebuildError {
    fn from(error: quire_store::Error) -> Self {
        Self::Search(error.into())
    }
}

impl Kind for RebuildError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Search(error) => error.kind(),
            Self::Recall { .. } | Self::Superseded | Self::Gone { .. } => ErrorKind::Conflict,
            Self::NoBuild => ErrorKind::NotFound,
        }
    }
}

/// A build that runs.
struct Building {
    placement: Placement,
    id: Uuid,
    recipe: Recipe,
    rows_total: u64,
    rows_done: u64,
    written_bytes: u64,
    /// The segments so far, the one that is about to be stored included.
    ids: Vec<SegmentId>,
    stored: Vec<(NewSegment, Vec<(SourceId, i32)>)>,
}

impl Search {
    /// Makes all segments of a tenant anew, asks the new ones what the tenant asked (the vectors in `own`, and
    /// questions like its passages where these are too few), and switches to them when they find enough. Search
    /// answers from the old ones until then, and writes go on. The old ones are retired; [`rollback`](Self::rollback)
    /// puts them back until a sweep removes them. `progress` hears how far it is, as does `shard.index_builds`. Only
    /// the newest rebuild of a tenant can switch.
    ///
    /// Holds about 400 bytes a passage, and what the passages say, in memory: up to the size of a segment.
    ///
    /// # Errors
    /// [`RebuildError::Recall`] and [`RebuildError::Superseded`]; [`Error::Missing`] while a segment can't be
    /// read; those of the stores. The old segments stay in use.
    pub async fn rebuild(
        &self,
        placement: Placement,
        change: Rebuild,
        own: &[Vec<f32>],
        mut progress: impl FnMut(BuildProgress) + Send,
    ) -> Result<Rebuilt, RebuildError> {
        let view = self.view(placement).await?;
        if let Some(segment) = view.missing.first() {
            return Err(Error::Missing { segment: *segment }.into());
        }
        let dimension = view.manifest.dimension;
        let recipe = Recipe {
            dimension: dimension.unwrap_or(0).unsigned_abs() as usize,
            rotation_seed: change.rotation_seed.unwrap_or(self.store.rotation_seed()),
            language: change.language.unwrap_or(view.language),
            cluster_rows: self.config.fold.cluster_rows,
            is_archive: false,
        };
        let fold = &self.config.fold;
        let chunks = plan(&view, |_| true, fold.segment_rows, fold.segments);
        let rows_total: u64 = chunks.iter().flatten().map(Survivors::rows).sum();
        let mut old: Vec<SegmentId> = chunks
            .iter()
            .flatten()
            .map(|one| one.segment.id())
            .collect();
        old.sort_unstable();
        old.dedup();

        let new = NewBuild {
            id: Uuid::now_v7(),
            old,
            dimension,
            rotation_seed: recipe.rotation_seed,
            language: change.language.map(|language| language.to_string()),
            rows_total: i64::try_from(rows_total).unwrap_or(i64::MAX),
        };
        let mut tx = self.store.tenant(placement).await?;
        builds::begin_build(&mut tx, &new).await?;
        tx.commit().await?;
        let mut building = Building {
            placement,
            id: new.id,
            recipe,
            rows_total,
            rows_done: 0,
            written_bytes: 0,
            ids: Vec::new(),
            stored: Vec::new(),
        };
        let tried = async {
            Box::pin(self.make(&mut building, &chunks, &mut progress)).await?;
            let candidate = Arc::new(self.candidate(&building, &view).await?);
            let blocks = Blocks::new(0);
            let io = Io::new(placement, self.store.objects(), &blocks);
            recall::tried(&candidate, &view, &io, change, own).await
        };
        let tried = tried.await;
        match tried {
            Ok(tried) => self.switch(building, tried).await,
            Err(error) => {
                self.discard(&building, &error).await;
                Err(error)
            }
        }
    }

    /// Stores the new segments.
    async fn make(
        &self,
        building: &mut Building,
        chunks: &[Vec<Survivors>],
        progress: &mut (dyn FnMut(BuildProgress) + Send),
    ) -> Result<(), RebuildError> {
        // Everything is read once; none of it is worth keeping in memory.
        let blocks = Blocks::new(0);
        let io = Io::new(building.placement, self.store.objects(), &blocks);
        for chunk in chunks {
            let (tell, mut told) = watch::channel(0);
            let merging = merge(
                &io,
                building.placement,
                building.recipe,
                chunk,
                move |rows| {
                    tell.send_replace(rows);
                },
            );
            let before = building.rows_done;
            let noting = async {
                while told.changed().await.is_ok() {
                    building.rows_done = before + u64::from(*told.borrow_and_update());
                    self.note(building).await?;
                    progress(BuildProgress {
                        rows_done: building.rows_done,
                        rows_total: building.rows_total,
                    });
                }
                Ok::<_, RebuildError>(())
            };
            let merging = merging.map_err(RebuildError::from);
            let (built, ()) = Box::pin(try_join(merging, noting)).await?;
            let Some(built) = built else { continue };
            building.ids.push(built.id());
            building.written_bytes += built.bytes();
            // Written down before it is stored, so that a sweep knows it.
            self.note(building).await?;
            let stored = self.put(building.placement, built).await?;
            building.stored.push((stored.new, stored.versions));
        }
        Ok(())
    }

    /// A view of the new segments alone, as search would have it.
    async fn candidate(&self, building: &Building, view: &View) -> Result<View, RebuildError> {
        let mut opened = Vec::with_capacity(building.stored.len());
        let mut located: Vec<Located> = Vec::new();
        for (new, versions) in &building.stored {
            let entry = segments::Segment {
                id: new.id,
                rows: new.rows,
                bytes: new.bytes,
                dimension: new.dimension,
                footer: new.footer.clone(),
                created_at: Default::default(),
            };
            opened.push(Segment::open(self.store.objects(), building.placement, &entry).await?);
            let seen = versions
                .iter()
                .filter_map(|(source, _)| view.source(*source));
            located.extend(seen.map(|seen| Located {
                segment: Some(new.id),
                ..seen.located.clone()
            }));
        }
        let contents = Contents {
            manifest: view.manifest.clone(),
            language: building.recipe.language,
            located,
            segments: opened,
            missing: Vec::new(),
            retry_at: None,
            archived: HashMap::new(),
            tail: Vec::new(),
        };
        Ok(blocking(move || Ok(View::new(contents))).await?)
    }

    async fn note(&self, building: &Building) -> Result<(), RebuildError> {
        let rows = i64::try_from(building.rows_done).unwrap_or(i64::MAX);
        let mut tx = self.store.tenant(building.placement).await?;
        let is_building = builds::note_build(&mut tx, building.id, rows, &building.ids).await?;
        tx.commit().await?;
        is_building.then_some(()).ok_or(RebuildError::Superseded)
    }

    async fn switch(&self, building: Building, tried: Tried) -> Result<Rebuilt, RebuildError> {
        // After an error nobody knows whether it was switched, so then objects are left to the sweep.
        let mut tx = self.store.tenant(building.placement).await?;
        let moved = builds::switch(&mut tx, building.id, tried.recall, &building.stored).await?;
        tx.commit().await?;
        let Some(moved) = moved else {
            self.discard(&building, &RebuildError::Superseded).await;
            return Err(RebuildError::Superseded);
        };
        let mut installed = Vec::with_capacity(moved.len());
        for ((segment, _), rows) in building.stored.iter().zip(&moved) {
            if *rows > 0 {
                installed.push(segment.id);
            } else {
                self.take_back(building.placement, segment.id).await?;
            }
        }
        let moved: i64 = moved.into_iter().sum();
        Ok(Rebuilt {
            build: building.id,
            segments: installed,
            moved,
            passed_over: i64::try_from(building.rows_total).unwrap_or(i64::MAX) - moved,
            written_bytes: building.written_bytes,
            questions: tried.questions,
            own_questions: tried.own_questions,
            recall: tried.recall,
        })
    }

    /// Writes down how a build ended, and removes its objects. What can't be done now is for the sweep.
    async fn discard(&self, building: &Building, error: &RebuildError) {
        let ended = async {
            let (state, recall) = match error {
                RebuildError::Recall { recall, .. } => (BuildState::Refused, Some(*recall)),
                _ => (BuildState::Failed, None),
            };
            let mut tx = self.store.tenant(building.placement).await?;
            builds::end_build(&mut tx, building.id, state, recall).await?;
            tx.commit().await?;
            for id in &building.ids {
                self.take_back(building.placement, *id).await?;
            }
            Ok::<_, Error>(())
        };
        if let Err(error) = ended.await {
            tracing::warn!(
                tenant = %building.placement.tenant,
                build = %building.id,
                %error,
                "a build that is not used could not be removed; the sweep will"
            );
        }
    }
}

/// What goes into each new segment: all that is alive of the sources that are wanted, in order of the sources,
/// in as few pieces as the policy of folding has.
pub(super) fn plan(
    view: &View,
    is_wanted: impl Fn(&Located) -> bool,
    segment_rows: u32,
    segments: usize,
) -> Vec<Vec<Survivors>> {
    let is_wanted = |rows: &SourceRows| {
        let seen = view.source(rows.source);
        seen.is_some_and(|seen| is_wanted(&seen.located))
    };
    let mut all: Vec<(&Arc<Segment>, SourceRows)> = view
        .segments
        .iter()
        .flat_map(|segment| {
            let sources = view.survivors(segment).into_iter().filter(&is_wanted);
            sources.map(move |rows| (segment, rows)).collect::<Vec<_>>()
        })
        .collect();
    all.sort_unstable_by_key(|(_, rows)| rows.source);
    let total: u64 = all.iter().map(|(_, rows)| u64::from(rows.rows)).sum();
    let most = total
        .div_ceil(segments.max(1) as u64)
        .max(u64::from(segment_rows));
    let mut chunks: Vec<Vec<Survivors>> = Vec::new();
    let mut filled = most;
    for (segment, rows) in all {
        if filled >= most {
            chunks.push(Vec::new());
            filled = 0;
        }
        filled += u64::from(rows.rows);
        let Some(chunk) = chunks.last_mut() else {
            continue;
        };
        match chunk
            .iter_mut()
            .find(|part| part.segment.id() == segment.id())
        {
            Some(part) => part.sources.push(rows),
            None => chunk.push(Survivors {
                segment: segment.clone(),
                sources: vec![rows],
            }),
        }
    }
    chunks
}

impl Survivors {
    fn rows(&self) -> u64 {
        self.sources.iter().map(|rows| u64::from(rows.rows)).sum()
    }
}
