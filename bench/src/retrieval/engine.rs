//! A quire of one's own in a temporary folder: PostgreSQL, store, ingest with its worker, search.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use quire_index::{Explained, Filter, Fusion, Mode, Query, Search, SearchConfig};
use quire_ingest::passages::PassageOptions;
use quire_ingest::sandbox::Extractor;
use quire_ingest::tasks::{FoldTail, PurgeObjects, ReadRecording, ReadSource};
use quire_ingest::{Ingest, IngestConfig};
use quire_models::Embedder;
use quire_postgres::Server;
use quire_queue::{Worker, WorkerOptions};
use quire_store::passages::{self, NewPassage, Passage};
use quire_store::sources::{self, NewContent, Source};
use quire_store::tenants::NewTenant;
use quire_store::{
    Database, ObjectKey, Objects, PageRequest, Placement, Store, StoreConfig, notebooks, tenants,
};
use quire_tenancy::{Control, ControlConfig, Embeddings, GateConfig, Ladder, Stage};
use quire_types::{MediaType, NotebookId, Place, SourceId, SourceState};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::lists::{Found, Lists};
use crate::failure::Failure;
use crate::lab::open_folder;
use crate::report::note;

const FILE_BYTES: u64 = 64 << 20;

/// A running quire without HTTP.
pub(crate) struct Engine {
    store: Store,
    ingest: Ingest,
    search: Search,
    embedder: Embedder,
    stop: CancellationToken,
    worker: JoinHandle<()>,
    server: Server,
    _folder: TempDir,
}

impl Engine {
    /// Starts everything; `program` reads the files in its child processes.
    pub(crate) async fn open(program: PathBuf, options: PassageOptions) -> Result<Self, Failure> {
        let model = crate::model_dir()?;
        let embedder = tokio::task::spawn_blocking(move || Embedder::load(&model))
            .await
            .map_err(Failure::doing("loading the model"))??;
        let folder = open_folder()?;
        let objects = Objects::directory(&folder.path().join("objects"))?;
        let server = Server::open(quire_postgres::Options::new(folder.path().join("pg"))).await?;
        let (socket, port) = (server.socket_dir(), server.port());
        let connected = Store::connect(StoreConfig {
            database: Database::private(&socket, port, server.admin_user(), "quire"),
            objects,
            connections: 16,
            migrations: &[quire_queue::MIGRATIONS, quire_tenancy::MIGRATIONS],
        })
        .await;
        let store = match connected {
            Ok(store) => store,
            Err(error) => {
                server.close().await?;
                return Err(error.into());
            }
        };
        let bell = Arc::new(Notify::new());
        let search = Search::new(
            store.clone(),
            SearchConfig {
                memory_bytes: 512 << 20,
                ..SearchConfig::default()
            },
        );
        let ingest = Ingest::new(IngestConfig {
            store: store.clone(),
            search: search.clone(),
            embeddings: Embeddings::local(embedder.clone()),
            extractor: Extractor::new(program),
            extracting: Stage::new("read", (1, 2, 16), Duration::from_secs(3_600)),
            recognising: Stage::new("listen", (1, 1, 1), Duration::from_secs(3_600)),
            control: Control::new(ControlConfig {
                store: store.clone(),
                gate: GateConfig::default(),
                ladder: Ladder::default(),
            }),
            providers: None,
            passages: options,
            bell: bell.clone(),
            file_bytes: FILE_BYTES,
            batch_passages: 0,
            object_grace: Duration::ZERO,
        });
        let stop = CancellationToken::new();
        let worker = Worker::new(
            store.clone(),
            ingest.clone(),
            bell,
            WorkerOptions::default(),
        )
        .with::<ReadSource>()
        .with::<ReadRecording>()
        .with::<PurgeObjects>()
        .with::<FoldTail>();
        Ok(Self {
            search,
            worker: tokio::spawn(worker.run(stop.clone())),
            store,
            ingest,
            embedder,
            stop,
            server,
            _folder: folder,
        })
    }

    /// Stops everything in order.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        self.stop.cancel();
        self.worker
            .await
            .map_err(Failure::doing("stopping the worker"))?;
        self.store.close().await;
        Ok(self.server.close().await?)
    }

    pub(crate) async fn tenant(&self, slug: &str) -> Result<Placement, Failure> {
        let mut tx = self.store.system().await?;
        let tenant = tenants::create(&mut tx, &NewTenant::local(slug, slug)).await?;
        tx.commit().await?;
        Ok(tenant.placement())
    }

    pub(crate) async fn notebook(
        &self,
        placement: Placement,
        name: &str,
    ) -> Result<NotebookId, Failure> {
        let mut tx = self.store.tenant(placement).await?;
        let notebook = notebooks::create(&mut tx, name).await?;
        tx.commit().await?;
        Ok(notebook.id)
    }

    /// Adds a file; the same content under another name gives the id of the first.
    pub(crate) async fn add(
        &self,
        placement: Placement,
        notebook: NotebookId,
        name: &str,
        content: impl Into<Bytes>,
    ) -> Result<SourceId, Failure> {
        let bytes = stream::iter([Ok::<_, std::io::Error>(content.into())]).boxed();
        let added = self.ingest.add(placement, notebook, name, bytes).await?;
        Ok(added.source().id)
    }

    /// Waits until every source can be found or has failed.
    pub(crate) async fn finished(
        &self,
        placement: Placement,
        ids: &[SourceId],
    ) -> Result<Vec<Source>, Failure> {
        for round in 1.. {
            let mut tx = self.store.tenant(placement).await?;
            let found = sources::by_ids(&mut tx, ids).await?;
            tx.commit().await?;
            let is_done = |source: &&Source| {
                matches!(source.state, SourceState::Searchable | SourceState::Failed)
            };
            let done = found.iter().filter(is_done).count();
            if done == found.len() {
                return Ok(found);
            }
            if round % 50 == 0 {
                note(format!("  {done} of {} sources are read", found.len()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(Vec::new())
    }

    /// Makes a source searchable whose passages were cut elsewhere: these characters of a text.
    pub(super) async fn publish(
        &self,
        placement: Placement,
        notebook: NotebookId,
        name: &str,
        text: &[char],
        pieces: &[Range<usize>],
    ) -> Result<(), Failure> {
        let bodies = pieces
            .iter()
            .map(|piece| String::from_iter(&text[piece.clone()]));
        let bodies: Vec<String> = bodies.collect();
        let texts = bodies.iter().map(|body| format!("{name}\n{body}"));
        let vectors = self.embedder.embed(texts.collect()).await?;
        let place = |chars: &Range<usize>| Place {
            char_start: chars.start as u32,
            char_end: chars.end as u32,
            ..Place::default()
        };
        let passages: Vec<NewPassage> = (pieces.iter().zip(bodies).zip(vectors))
            .map(|((chars, body), embedding)| NewPassage {
                context: name.to_owned(),
                body,
                place: place(chars),
                embedding,
            })
            .collect();
        let object = ObjectKey::original(placement);
        let content = NewContent {
            name,
            content_hash: name.as_bytes(),
            size_bytes: 1,
            object: &object,
        };
        let mut tx = self.store.tenant(placement).await?;
        let source = sources::add(&mut tx, notebook, &content).await?;
        let source = source.source();
        let (id, version) = (source.id, source.latest_version);
        passages::publish(&mut tx, id, version, MediaType::Text, None, &passages).await?;
        Ok(tx.commit().await?)
    }

    /// All passages of a source in reading order.
    pub(super) async fn passages(
        &self,
        placement: Placement,
        source: SourceId,
    ) -> Result<Vec<Passage>, Failure> {
        let mut all: Vec<Passage> = Vec::new();
        loop {
            let request = PageRequest {
                after: all.last().map(|passage| passage.id.uuid()),
                limit: PageRequest::MAX,
            };
            let page = self.search.passages(placement, source, request).await?;
            all.extend(page.items);
            if !page.more {
                return Ok(all);
            }
        }
    }

    /// The best passages for a question on each path, and on both.
    pub(super) async fn lists(
        &self,
        placement: Placement,
        notebook: NotebookId,
        text: &str,
        limit: usize,
    ) -> Result<Lists, Failure> {
        let vector = self.embedder.embed_query(text).await?;
        let list = async |mode: Mode| -> Result<(Vec<Found>, Option<Explained>), Failure> {
            let query = Query {
                text: text.to_owned(),
                vector: vector.clone(),
                filter: Filter {
                    notebooks: Some(vec![notebook]),
                    ..Filter::default()
                },
                limit,
                mode,
                fusion: Fusion::default(),
            };
            let found = self.search.search(placement, query).await?;
            let passages = found.hits.iter().map(Found::of).collect();
            Ok((passages, found.explained))
        };
        let (hybrid, explained) = list(Mode::Hybrid).await?;
        Ok(Lists {
            lexical: list(Mode::Lexical).await?.0,
            dense: list(Mode::Dense).await?.0,
            hybrid,
            explained,
        })
    }
}
