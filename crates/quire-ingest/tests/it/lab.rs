//! Ingest on a store of its own, with tenants that have the limits a test needs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use quire_index::{Search, SearchConfig};
use quire_ingest::passages::PassageOptions;
use quire_ingest::sandbox::Extractor;
use quire_ingest::tasks::{
    FoldTail, PurgeObjects, ReadRecording, ReadSource, RereadSources, SweepObjects, TierNotebooks,
};
use quire_ingest::{Error, Ingest, IngestConfig};
use quire_models::{Embedder, Models, ModelsConfig, Pool, PoolState, Quota, find_model};
use quire_queue::{Worker, WorkerOptions};
use quire_store::sealed::Keyring;
use quire_store::sources::{self, Added, Source};
use quire_store::tenants::Tenant;
use quire_store::{PageRequest, notebooks};
use quire_tenancy::pools::NewPool;
use quire_tenancy::{
    Control, ControlConfig, Embeddings, GateConfig, Ladder, LocalPool, Providers, Stage, plans,
    pools,
};
use quire_testkit::postgres::{TestStore, eventually};
use quire_testkit::provider::ChatDouble;
use quire_types::{NotebookId, Secret, SourceId, SourceState};
use tempfile::TempDir;
use tokio::sync::{Notify, OnceCell};
use tokio_util::sync::{CancellationToken, DropGuard};

pub(crate) struct Lab {
    pub(crate) db: TestStore,
    pub(crate) control: Control,
    pub(crate) extracting: Stage,
    pub(crate) recognising: Stage,
    pub(crate) ingest: Ingest,
    _keys: Option<TempDir>,
}

impl Lab {
    pub(crate) async fn new() -> Self {
        Self::with_models(None, &[]).await
    }

    /// With a pool of models at this provider, OpenAI's, and these chains of one model each.
    pub(crate) async fn with_models(double: Option<&ChatDouble>, chains: &[(&str, &str)]) -> Self {
        let db = TestStore::new().await;
        let mut tx = db.store.system().await.unwrap();
        plans::ensure_catalogue(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        let control = Control::new(ControlConfig {
            store: db.store.clone(),
            gate: GateConfig::default(),
            ladder: Ladder::default(),
        });
        let extracting = Stage::new("read", (1, 1, 1), Duration::from_secs(1));
        // Whoever is in a task there waits for as long as the test lasts.
        let recognising = Stage::new("listen", (1, 1, 1), Duration::from_secs(3_600));
        let keys = double.map(|_| TempDir::new().unwrap());
        let providers = double
            .zip(keys.as_ref())
            .map(|(double, keys)| providers(double, chains, &control, keys));
        let stages = (&extracting, &recognising);
        let ingest = ingest(&db, &control, stages, providers).await;
        Self {
            db,
            control,
            extracting,
            recognising,
            ingest,
            _keys: keys,
        }
    }

    /// With these pools, each a provider with its address and credential, and these chains.
    pub(crate) async fn with_pools(
        pools: &[(&str, String, Option<Secret>)],
        chains: &[(&str, &[&str])],
    ) -> Self {
        let mut lab = Self::new().await;
        let keys = TempDir::new().unwrap();
        let keyring = Keyring::open(&keys.path().join("keys")).unwrap();
        let mut tx = lab.db.store.system().await.unwrap();
        for (provider, base_url, key) in pools {
            let new = NewPool {
                id: (*provider).to_owned(),
                region: "local".to_owned(),
                provider: (*provider).to_owned(),
                base_url: Some(base_url.clone()),
                key: key.clone(),
                models: Vec::new(),
                quota: Quota::default(),
                reserved_for: None,
            };
            pools::add(&mut tx, &keyring, new).await.unwrap();
        }
        tx.commit().await.unwrap();
        let chains = chains.iter().map(|(chain, models)| {
            let models = models.iter().map(|model| (*model).to_owned());
            ((*chain).to_owned(), models.collect())
        });
        let models = Models::new(ModelsConfig {
            chains: chains.collect(),
            ..ModelsConfig::default()
        });
        let providers = Providers::new(lab.control.clone(), keyring, models, None);
        let stages = (&lab.extracting, &lab.recognising);
        lab.ingest = ingest(&lab.db, &lab.control, stages, Some(providers)).await;
        lab._keys = Some(keys);
        lab
    }

    /// Another process on the same database.
    pub(crate) async fn other(&self) -> Ingest {
        let stages = (&self.extracting, &self.recognising);
        ingest(&self.db, &self.control, stages, None).await
    }

    /// Runs tasks until it is dropped.
    pub(crate) fn work(&self) -> DropGuard {
        let stop = CancellationToken::new();
        let worker = Worker::new(
            self.db.store.clone(),
            self.ingest.clone(),
            Arc::default(),
            WorkerOptions::default(),
        )
        .with::<ReadSource>()
        .with::<ReadRecording>()
        .with::<RereadSources>()
        .with::<PurgeObjects>()
        .with::<FoldTail>()
        .with::<SweepObjects>()
        .with::<TierNotebooks>();
        tokio::spawn(worker.run(stop.clone()));
        stop.drop_guard()
    }

    pub(crate) async fn tenant(&self, slug: &str, limits: &[(&str, &str)]) -> Tenant {
        let tenant = self.db.tenant(slug).await;
        for (name, value) in limits {
            self.limit(&tenant, name, Some(value)).await;
        }
        tenant
    }

    pub(crate) async fn limit(&self, tenant: &Tenant, name: &str, value: Option<&str>) {
        let mut tx = self.db.store.system().await.unwrap();
        plans::set_override(&mut tx, tenant.id, name.parse().unwrap(), value)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        self.control.forget(tenant.id);
    }

    pub(crate) async fn notebook(&self, tenant: &Tenant) -> NotebookId {
        let mut tx = self.db.tx(tenant).await;
        let notebook = notebooks::create(&mut tx, "Site").await.unwrap();
        tx.commit().await.unwrap();
        notebook.id
    }

    pub(crate) async fn sources(&self, tenant: &Tenant, notebook: NotebookId) -> Vec<Source> {
        let mut tx = self.db.tx(tenant).await;
        let page = sources::list(&mut tx, notebook, PageRequest::first()).await;
        page.unwrap().items
    }

    /// Tasks that wait or run.
    pub(crate) async fn tasks(&self) -> i64 {
        let mut tx = self.db.store.system().await.unwrap();
        sqlx::query_scalar("select count(*) from queue.ready")
            .fetch_one(tx.connection())
            .await
            .unwrap()
    }

    /// The source, once it is in this state.
    pub(crate) async fn until(&self, tenant: &Tenant, id: SourceId, state: SourceState) -> Source {
        let get = async || {
            let mut tx = self.db.tx(tenant).await;
            sources::get(&mut tx, id).await.unwrap()
        };
        eventually(state.as_str(), async || get().await.state == state).await;
        get().await
    }
}

fn providers(
    double: &ChatDouble,
    chains: &[(&str, &str)],
    control: &Control,
    keys: &TempDir,
) -> Providers {
    let models = chains
        .iter()
        .map(|(_, model)| (*model).to_owned())
        .collect();
    let pool = Pool {
        id: "local".to_owned(),
        region: "local".to_owned(),
        provider: "openai".to_owned(),
        base_url: Some(double.base_url()),
        key: None,
        models,
        quota: Quota::default(),
        state: PoolState::Active,
        reserved_for: None,
    };
    let chains = chains
        .iter()
        .map(|(chain, model)| ((*chain).to_owned(), vec![(*model).to_owned()]));
    let models = Models::new(ModelsConfig {
        chains: chains.collect(),
        ..ModelsConfig::default()
    });
    let local = LocalPool {
        pool,
        models: Vec::new(),
    };
    let keyring = Keyring::open(&keys.path().join("keys")).unwrap();
    Providers::new(control.clone(), keyring, models, Some(local))
}

async fn ingest(
    db: &TestStore,
    control: &Control,
    (extracting, recognising): (&Stage, &Stage),
    providers: Option<Providers>,
) -> Ingest {
    static EMBEDDER: OnceCell<Embedder> = OnceCell::const_new();
    let embedder = EMBEDDER
        .get_or_init(async || Embedder::load(&model()).unwrap())
        .await;
    Ingest::new(IngestConfig {
        store: db.store.clone(),
        search: Search::new(db.store.clone(), SearchConfig::default()),
        embeddings: Embeddings::local(embedder.clone()),
        extractor: Extractor::new(env!("CARGO_BIN_EXE_quire-parse")),
        extracting: extracting.clone(),
        recognising: recognising.clone(),
        control: control.clone(),
        providers,
        passages: PassageOptions::default(),
        bell: Arc::<Notify>::default(),
        file_bytes: 1 << 20,
        batch_passages: 0,
        object_grace: Duration::from_secs(3_600),
    })
}

fn model() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").filter(|path| !path.is_empty());
    let cache = cache.map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache"),
        PathBuf::from,
    );
    find_model(None, &cache).unwrap()
}

/// Adds a text.
pub(crate) async fn add(
    ingest: &Ingest,
    tenant: &Tenant,
    notebook: NotebookId,
    name: &str,
    text: impl Into<Bytes>,
) -> Result<Added, Error> {
    let bytes = Ok::<_, std::io::Error>(text.into());
    let bytes = stream::iter([bytes]).boxed();
    ingest.add(tenant.placement(), notebook, name, bytes).await
}
