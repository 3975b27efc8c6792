//! A tenant filled from the corpus: sources of ten passages in notebooks that serve as filters.

use std::ops::Range;
use std::time::{Duration, Instant};

use quire_index::{BulkSource, Filter, Folded, Search};
use quire_store::passages::Passage;
use quire_store::segments::Loaded;
use quire_store::tenants::{self, NewTenant, Tenant};
use quire_store::{ObjectKey, Placement, Store, notebooks};
use quire_types::{MediaType, NotebookId, SourceId};
use uuid::Uuid;

use crate::failure::Failure;
use crate::search::corpus::{self, Corpus};

/// Passages of a source.
pub(super) const PASSAGES: usize = 10;
/// Shares of the sources that filters let through, in 1,000; each is part of the next.
pub(super) const SHARES: [u64; 3] = [5, 50, 500];

/// Whether a filter of so many in 1,000 lets the source of a row through.
pub(super) fn passes(row: usize, per_mille: u64) -> bool {
    corpus::passes(row / PASSAGES, per_mille)
}

/// The row of the corpus that a passage was made from; its page says which.
pub(super) fn row_of(passage: &Passage) -> Option<u32> {
    passage.place.page.map(|page| page - 1)
}

/// A tenant with its notebooks.
pub(super) struct Bench {
    pub(super) store: Store,
    pub(super) tenant: Tenant,
    /// For each share those sources that are in no smaller one, and the rest.
    notebooks: [NotebookId; 4],
}

impl Bench {
    pub(super) async fn new(store: Store, slug: &str) -> Result<Self, Failure> {
        let mut tx = store.system().await?;
        let new = NewTenant::local(slug, slug);
        let tenant = tenants::create(&mut tx, &new).await?;
        tx.commit().await?;
        let mut tx = store.tenant(tenant.placement()).await?;
        let mut made = [NotebookId::generate(); 4];
        for (number, notebook) in (0..).zip(&mut made) {
            *notebook = notebooks::create(&mut tx, &format!("n{number}")).await?.id;
        }
        tx.commit().await?;
        Ok(Self {
            store,
            tenant,
            notebooks: made,
        })
    }

    pub(super) fn placement(&self) -> Placement {
        self.tenant.placement()
    }

    /// Lets through so many sources in 1,000.
    pub(super) fn filter(&self, per_mille: u64) -> Filter {
        let shares = SHARES.iter().take_while(|share| **share <= per_mille);
        let notebooks = match per_mille {
            1_000 => None,
            _ => Some(self.notebooks[..shares.count()].to_vec()),
        };
        Filter {
            notebooks,
            ..Filter::default()
        }
    }

    fn notebook(&self, source: usize) -> NotebookId {
        let share = SHARES
            .iter()
            .position(|share| corpus::passes(source, *share));
        self.notebooks[share.unwrap_or(3)]
    }

    /// Adds sources of these rows of the corpus as a bulk load does, and says how long the load took: from
    /// vectors and texts to searchable.
    pub(super) async fn load(
        &self,
        search: &Search,
        corpus: &Corpus,
        rows: Range<usize>,
    ) -> Result<(Duration, Folded), Failure> {
        let count = rows.len().div_ceil(PASSAGES);
        let ids: Vec<SourceId> = (0..count).map(|_| SourceId::generate()).collect();
        self.insert_sources(&ids).await?;
        let mut passages = corpus.passages(rows)?.into_iter();
        let sources: Vec<BulkSource> = ids
            .iter()
            .map(|source| BulkSource {
                loaded: Loaded {
                    source: *source,
                    version: 1,
                    media_type: MediaType::Text,
                    pages: None,
                    passages: 0,
                },
                passages: passages.by_ref().take(PASSAGES).collect(),
            })
            .collect();
        let begun = Instant::now();
        let folded = search.load(self.placement(), sources).await?;
        Ok((begun.elapsed(), folded))
    }

    /// Rows of sources that were uploaded and not read yet; their originals are nowhere.
    async fn insert_sources(&self, ids: &[SourceId]) -> Result<(), Failure> {
        let object = ObjectKey::original(self.placement());
        let mut tx = self.store.tenant(self.placement()).await?;
        for (first, part) in (0..).step_by(5_000).zip(ids.chunks(5_000)) {
            let uuids: Vec<Uuid> = part.iter().map(|id| id.uuid()).collect();
            let notebooks: Vec<Uuid> = (first..first + part.len())
                .map(|source| self.notebook(source).uuid())
                .collect();
            sqlx::query(
                "insert into shard.sources (tenant_id, id, notebook_id, name, state, latest_version,
                                            content_hash, size_bytes)
                 select $1, s.id, s.notebook, 'source ' || s.id, 'embedding', 1, ''::bytea, 1
                 from unnest($2::uuid[], $3::uuid[]) as s (id, notebook)",
            )
            .bind(tx.tenant_id())
            .bind(&uuids)
            .bind(&notebooks)
            .execute(tx.connection())
            .await
            .map_err(Failure::doing("inserting sources"))?;
            sqlx::query(
                "insert into shard.source_versions (tenant_id, source_id, version, content_hash,
                                                    object_key, size_bytes)
                 select $1, id, 1, ''::bytea, $3, 1 from unnest($2::uuid[]) as s (id)",
            )
            .bind(tx.tenant_id())
            .bind(&uuids)
            .bind(object.as_str())
            .execute(tx.connection())
            .await
            .map_err(Failure::doing("inserting versions"))?;
        }
        Ok(tx.commit().await?)
    }
}
