//! Search from beginning to end: a current view, ranked rows, what the passages say.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use quire_store::corpus::{self, Change, Embedding, Entry};
use quire_store::passages::{self, Indexed, Passage};
use quire_store::segments::{self, Manifest};
use quire_store::{CopyTotals, Page, PageRequest, Placement, Store, TenantTx, tiers};
use quire_types::{ErrorKind, Kind, Language, NotebookId, PassageId, SegmentId, SourceId};

use crate::asked::Asked;
use crate::blocks::Blocks;
use crate::cache::{Slot, Views};
use crate::score::{self, Address};
use crate::segment::{Io, Segment, Text};
use crate::totals::Counts;
use crate::view::{Archived, Contents, View, added_in};
use crate::{BlockTotals, Error, Filter, FoldPolicy, Found, Hit, Query, blocking};

/// Passages that are read from the database at a time.
const READ_ROWS: i64 = 2_000;

/// How search works in this installation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SearchConfig {
    /// Views and blocks in memory, in bytes.
    pub memory_bytes: usize,
    /// What words are reduced with, where a tenant has no language of its own.
    pub language: Language,
    /// When passages move from the tail into segments.
    pub fold: FoldPolicy,
    /// How long a segment is left alone at least that could not be read.
    pub retry: Duration,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            language: Language::English,
            fold: FoldPolicy::default(),
            retry: Duration::from_secs(5),
        }
    }
}

/// Searches tenants' passages.
#[derive(Clone)]
pub struct Search {
    pub(crate) store: Store,
    pub(crate) config: SearchConfig,
    pub(crate) views: Arc<Views>,
    pub(crate) blocks: Arc<Blocks>,
    pub(crate) counts: Arc<Counts>,
    asked: Asked,
}

impl Search {
    /// A search over what the store holds. Half of the memory is for views, the rest for blocks and
    /// vectors.
    pub fn new(store: Store, config: SearchConfig) -> Self {
        let blocks_bytes = config.memory_bytes / 2;
        Self {
            store,
            config,
            views: Arc::new(Views::new(config.memory_bytes - blocks_bytes)),
            blocks: Arc::new(Blocks::new(blocks_bytes)),
            counts: Arc::default(),
            asked: Asked::default(),
        }
    }

    /// The best passages for a question, best first. Sees everything that was committed before the
    /// call. Where a segment can't be read, the others answer, and the answer says so. An archived notebook
    /// comes back when the filter names it; where it can't, the others that it names answer likewise.
    ///
    /// # Errors
    /// [`Error::Archived`] while it is on its way; otherwise those of reading.
    pub async fn search(&self, placement: Placement, query: Query) -> Result<Found, Error> {
        let snapshot = self.snapshot(placement, &query.filter).await?;
        snapshot.search(&query).await
    }

    /// The corpus as it is now, to be asked several times: every answer is from the same version, and
    /// the database is not asked again. Archived notebooks that the filter names are part of it.
    ///
    /// # Errors
    /// Those of [`Search::search`].
    pub async fn snapshot(&self, placement: Placement, filter: &Filter) -> Result<Snapshot, Error> {
        let view = self.view(placement).await?;
        let (view, asleep) = self.woken(placement, view, filter).await?;
        Ok(Snapshot {
            view,
            asleep,
            search: self.clone(),
            placement,
        })
    }

    pub(crate) async fn search_view(
        &self,
        placement: Placement,
        view: &Arc<View>,
        query: &Query,
    ) -> Result<Found, Error> {
        for segment in &view.segments {
            segment.asked(self.store.objects(), &self.blocks);
        }
        let io = self.io(placement);
        let mut broken = Vec::new();
        // What can't be read must not take the place of what can: until nothing more breaks, which is once
        // a part at most, the others are ranked again.
        let (ranking, mut passages) = loop {
            let known = broken.len();
            let ranking = score::rank(view, &io, query, &mut broken).await?;
            if broken.len() > known {
                continue;
            }
            let rows = ranking.rows.iter();
            let addresses: Vec<Address> = rows.map(|(address, _)| *address).collect();
            let passages = self.passages_at(&io, view, &addresses, &mut broken).await;
            if broken.len() == known {
                break (ranking, passages);
            }
        };
        let hits = ranking
            .rows
            .into_iter()
            .filter_map(|(address, scores)| {
                let passage = passages.remove(&address)?;
                Some(Hit { passage, scores })
            })
            .collect();
        self.counts.searched();
        self.counts.read(io.read_bytes());
        let mut missing = view.missing.clone();
        missing.extend(
            broken
                .iter()
                .filter_map(|part| Some(view.segments.get(*part)?.id())),
        );
        missing.sort_unstable();
        missing.dedup();
        Ok(Found {
            hits,
            explained: ranking.explained,
            missing,
        })
    }

    /// What the passages at these places say. Those that can't be read are left out, and their parts
    /// noted.
    pub(crate) async fn passages_at(
        &self,
        io: &Io<'_>,
        view: &View,
        addresses: &[Address],
        broken: &mut Vec<usize>,
    ) -> HashMap<Address, Passage> {
        let mut of_parts: HashMap<usize, Vec<u32>> = HashMap::new();
        for address in addresses {
            of_parts.entry(address.part).or_default().push(address.row);
        }
        let mut found = HashMap::with_capacity(addresses.len());
        for (part, rows) in of_parts {
            let Some(segment) = view.segments.get(part) else {
                found.extend(
                    rows.into_iter()
                        .filter_map(|row| Some((Address { part, row }, tail_passage(view, row)?))),
                );
                continue;
            };
            match segment.texts(io, &rows).await {
                Ok(texts) => found.extend(rows.into_iter().zip(texts).filter_map(|(row, text)| {
                    Some((
                        Address { part, row },
                        folded_passage(view, segment, row, text)?,
                    ))
                })),
                Err(error) => {
                    tracing::warn!(
                        tenant = %io.placement.tenant,
                        segment = %segment.id(),
                        %error,
                        "texts of a segment can't be read; answering without them"
                    );
                    broken.push(part);
                }
            }
        }
        found
    }

    /// The passages of a source that search sees, in reading order.
    ///
    /// # Errors
    /// Not found when there is no such source; otherwise those of reading.
    pub async fn passages(
        &self,
        placement: Placement,
        source: SourceId,
        page: PageRequest,
    ) -> Result<Page<Passage>, Error> {
        let view = self.view(placement).await?;
        let Some(seen) = view.source(source) else {
            let mut tx = self.store.tenant(placement).await?;
            let known = quire_store::sources::get(&mut tx, source).await?;
            tx.commit().await?;
            if let Some(segment) = view.missing.first().filter(|_| known.passages > 0) {
                return Err(Error::Missing { segment: *segment });
            }
            let notebook = Filter {
                notebooks: Some(vec![known.notebook]),
                ..Filter::default()
            };
            if known.passages > 0 && !view.archived_in(&notebook).is_empty() {
                let (_, asleep) = self.woken(placement, view, &notebook).await?;
                if let Some(segment) = asleep.first() {
                    return Err(Error::Missing { segment: *segment });
                }
                return Box::pin(self.passages(placement, source, page)).await;
            }
            return Ok(page.page(Vec::new()));
        };
        let (part, first_row, rows) = view.rows_of(seen);
        let ids = (first_row..first_row + rows).map(|row| (row, passage_id(&view, part, row)));
        let after = page.after.map(PassageId::from);
        let wanted = ids
            .skip_while(|(_, id)| after.is_some_and(|after| id.is_none_or(|id| id <= after)))
            .map(|(row, _)| Address { part, row })
            .take(PageRequest::MAX.min(page.limit.max(1)) as usize + 1);
        let wanted: Vec<Address> = wanted.collect();
        let mut broken = Vec::new();
        let io = self.io(placement);
        let mut found = self.passages_at(&io, &view, &wanted, &mut broken).await;
        if let Some(segment) = broken.first().and_then(|part| view.segments.get(*part)) {
            return Err(Error::Missing {
                segment: segment.id(),
            });
        }
        let passages = wanted.iter().filter_map(|at| found.remove(at)).collect();
        Ok(page.page(passages))
    }

    /// Makes the next question of a tenant fast: its view is in memory when this returns.
    ///
    /// # Errors
    /// Those of reading.
    pub async fn prefetch(&self, placement: Placement) -> Result<(), Error> {
        self.view(placement).await.map(drop)
    }

    /// Tenants whose view is in memory, and the bytes of all views.
    pub fn usage(&self) -> (usize, usize) {
        self.views.usage()
    }

    /// What became of the blocks that were read.
    pub fn block_totals(&self) -> BlockTotals {
        self.blocks.totals()
    }

    /// What became of reads of segments that copies on local disk could answer; none where none are kept.
    pub fn copy_totals(&self) -> Option<CopyTotals> {
        self.store.objects().copy_totals()
    }

    pub(crate) fn io(&self, placement: Placement) -> Io<'_> {
        Io::new(placement, self.store.objects(), &self.blocks)
    }

    /// The view of everything that was committed before the call.
    pub(crate) async fn view(&self, placement: Placement) -> Result<Arc<View>, Error> {
        // In a task of its own: whoever goes away must not throw away a refresh that others wait for.
        let search = self.clone();
        tokio::spawn(async move { search.current_view(placement).await })
            .await
            .map_err(|_| Error::Interrupted)?
    }

    async fn current_view(&self, placement: Placement) -> Result<Arc<View>, Error> {
        let slot: Arc<Slot> = self.views.slot(placement);
        let mut held = slot.view.lock().await;
        let mut tx = self.store.tenant_snapshot(placement).await?;
        let manifest = segments::manifest(&mut tx).await?;
        let old = held.clone();
        // A view that lacks a segment is tried again after a while: the store may be back. What it does have
        // stays open, which counts most while the store is away.
        let is_current = |view: &&Arc<View>| view.is_settled() && view.manifest == manifest;
        if let Some(view) = old.as_ref().filter(is_current) {
            tx.commit().await?;
            return Ok(view.clone());
        }
        let changes = match &old {
            Some(view) if can_advance(view, &manifest) => {
                corpus::changes(&mut tx, view.manifest.version, manifest.version).await?
            }
            _ => None,
        };
        let view = match (&old, changes) {
            (Some(view), Some(changes)) => advanced(tx, view.clone(), manifest, changes).await?,
            (old, _) => self.loaded(tx, placement, manifest, old.as_ref()).await?,
        };
        let view = Arc::new(view);
        self.views.resized(placement, &slot, view.bytes());
        *held = Some(view.clone());
        Ok(view)
    }

    /// When what could not be read is tried again: the later the longer it was waited for, so that a store that
    /// hangs holds up few.
    pub(crate) fn next_try(&self, began: Instant) -> Instant {
        let waited = u32::try_from(began.elapsed().as_secs()).unwrap_or(u32::MAX);
        Instant::now() + self.config.retry * waited.saturating_add(1)
    }

    /// What the tenant's words are reduced with.
    pub(crate) fn language_of(&self, manifest: &Manifest) -> Language {
        let own = manifest
            .language
            .as_ref()
            .and_then(|name| name.parse().ok());
        own.unwrap_or(self.config.language)
    }

    /// A view of everything, with the open segments of an older one.
    async fn loaded(
        &self,
        mut tx: TenantTx,
        placement: Placement,
        manifest: Manifest,
        old: Option<&Arc<View>>,
    ) -> Result<View, Error> {
        let entries = segments::live(&mut tx).await?;
        let located = segments::located(&mut tx, None).await?;
        let archives = tiers::archives(&mut tx, None).await?;
        let tail = read_tail(&mut tx, None).await?;
        tx.commit().await?;
        let mut archived: HashMap<NotebookId, Archived> = HashMap::new();
        for archive in archives {
            let of = archived.entry(archive.notebook).or_default();
            of.passages += u64::from(archive.segment.rows.unsigned_abs());
            of.segments.push(archive.segment.id);
        }
        let open: HashMap<SegmentId, &Arc<Segment>> = old
            .iter()
            .flat_map(|view| &view.segments)
            .map(|segment| (segment.id(), segment))
            .collect();
        let waiting = old.filter(|view| view.is_settled());
        let is_waiting = |id: &SegmentId| waiting.is_some_and(|view| view.missing.contains(id));
        let mut retry_at = waiting.and_then(|view| view.retry_at);
        let (entries, left): (Vec<segments::Segment>, Vec<_>) = entries
            .into_iter()
            .partition(|entry| open.contains_key(&entry.id) || !is_waiting(&entry.id));
        let began = Instant::now();
        let opened = join_all(entries.iter().map(async |entry| match open.get(&entry.id) {
            Some(segment) => Ok((*segment).clone()),
            None => Segment::open(self.store.objects(), placement, entry).await,
        }))
        .await;
        let named: HashSet<SegmentId> =
            located.iter().filter_map(|source| source.segment).collect();
        let mut segments = Vec::new();
        let left = left.iter().map(|entry| entry.id);
        let mut missing: Vec<SegmentId> = left.filter(|id| named.contains(id)).collect();
        for (entry, opened) in entries.iter().zip(opened) {
            match opened {
                Ok(segment) => {
                    if !open.contains_key(&entry.id) {
                        self.counts.read(segment.opened_bytes());
                    }
                    segments.push(segment);
                }
                Err(error) if !named.contains(&entry.id) => {
                    tracing::debug!(%error, "a segment that nothing names can't be read");
                }
                Err(error) => {
                    let kind = error.kind();
                    if kind == ErrorKind::Unavailable || kind == ErrorKind::Timeout {
                        tracing::warn!(tenant = %placement.tenant, segment = %entry.id, %error,
                            "a segment can't be reached; answering without it");
                    } else {
                        tracing::error!(tenant = %placement.tenant, segment = %entry.id, %error,
                            "a segment is damaged or gone; 'quire index mend' reads its sources again");
                    }
                    missing.push(entry.id);
                    retry_at = Some(self.next_try(began));
                }
            }
        }
        let contents = Contents {
            language: self.language_of(&manifest),
            manifest,
            located,
            segments,
            missing,
            retry_at,
            archived,
            tail,
        };
        blocking(move || Ok(View::new(contents))).await
    }
}

/// A tenant's corpus at one version.
pub struct Snapshot {
    pub(crate) search: Search,
    pub(crate) placement: Placement,
    pub(crate) view: Arc<View>,
    /// Archives that the filter names and that can't be brought back now.
    asleep: Vec<SegmentId>,
}

impl Snapshot {
    /// What makes the vectors of the corpus, and so has to make those of questions.
    pub fn embedding(&self) -> Embedding {
        let manifest = &self.view.manifest;
        Embedding {
            model: manifest.embedding.clone(),
            dimension: manifest.dimension,
        }
    }

    /// The best passages for a question, best first.
    ///
    /// # Errors
    /// Those of reading segments.
    pub async fn search(&self, query: &Query) -> Result<Found, Error> {
        let search = &self.search;
        let found = search.search_view(self.placement, &self.view, query);
        let mut found = found.await?;
        found.missing.extend(&self.asleep);
        let asked = &search.asked;
        asked.note(&search.store, self.placement, &found.hits);
        Ok(found)
    }
}

/// Whether the changes since tell all that is different now.
fn can_advance(view: &View, manifest: &Manifest) -> bool {
    view.is_settled()
        && view.manifest.generation == manifest.generation
        // Only an erased corpus begins again.
        && view.manifest.version <= manifest.version
        && !view.needs_rebuild()
}

async fn advanced(
    mut tx: TenantTx,
    view: Arc<View>,
    manifest: Manifest,
    changes: Vec<Entry>,
) -> Result<View, Error> {
    let mut added: Vec<SourceId> = added_in(&changes).into_iter().collect();
    added.sort_unstable();
    let mut told: Vec<SourceId> = changes
        .iter()
        .filter(|entry| entry.change == Change::Regrouped)
        .map(|entry| entry.source)
        .chain(added.iter().copied())
        .collect();
    told.sort_unstable();
    told.dedup();
    let located = match told.is_empty() {
        true => Vec::new(),
        false => segments::located(&mut tx, Some(&told)).await?,
    };
    let added = match added.is_empty() {
        true => Vec::new(),
        false => read_tail(&mut tx, Some(&added)).await?,
    };
    tx.commit().await?;
    blocking(move || Ok(view.advance(manifest, &changes, located, added))).await
}

/// The tail, of some sources or whole.
pub(crate) async fn read_tail(
    tx: &mut TenantTx,
    only: Option<&[SourceId]>,
) -> Result<Vec<Indexed>, Error> {
    let mut all = Vec::new();
    loop {
        let after = all.last().map(|passage: &Indexed| passage.id);
        let part = passages::tail(tx, only, after, READ_ROWS).await?;
        let is_last = part.len() < usize::try_from(READ_ROWS).unwrap_or(usize::MAX);
        all.extend(part);
        if is_last {
            return Ok(all);
        }
    }
}

fn passage_id(view: &View, part: usize, row: u32) -> Option<PassageId> {
    match view.segments.get(part) {
        Some(segment) => segment.passage(row).map(|(_, id)| id),
        None => view.tail.passage(row).map(|passage| passage.id),
    }
}

fn tail_passage(view: &View, row: u32) -> Option<Passage> {
    let passage = view.tail.passage(row)?;
    let source = &view.source(passage.source)?.located;
    Some(Passage {
        id: passage.id,
        notebook: source.notebook,
        source: passage.source,
        source_version: passage.version,
        source_name: source.name.clone(),
        ordinal: passage.ordinal,
        context: passage.text.context.clone(),
        body: passage.text.body.clone(),
        place: passage.text.place.clone(),
    })
}

fn folded_passage(view: &View, segment: &Segment, row: u32, text: Text) -> Option<Passage> {
    let (rows, id) = segment.passage(row)?;
    let source = &view.source(rows.source)?.located;
    Some(Passage {
        id,
        notebook: source.notebook,
        source: rows.source,
        source_version: rows.version,
        source_name: source.name.clone(),
        ordinal: i32::try_from(row - rows.first_row).ok()?,
        context: text.context,
        body: text.body,
        place: text.place,
    })
}
