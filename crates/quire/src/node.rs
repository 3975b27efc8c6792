//! One running quire: data directory, PostgreSQL (`ground`), store, and the services on top of them.

mod ground;
mod pool;

use std::borrow::Borrow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use quire_ask::{ANSWER, AnswerQuestion, Asker, AskerConfig, Asking, COMPLEX, Caches};
use quire_connect::connections::{EndSubscriptions, KeepSubscription, SyncConnection};
use quire_connect::egress::Egress;
use quire_connect::outbound::DeliverEvents;
use quire_connect::records::SyncRecords;
use quire_connect::{Connect, ConnectConfig};
use quire_index::{Search, SearchConfig};
use quire_ingest::extract::Limits;
use quire_ingest::passages::PassageOptions;
use quire_ingest::sandbox::Extractor;
use quire_ingest::tasks::{
    EmbedCorpus, FoldTail, PurgeObjects, ReadRecording, ReadSource, RereadSources, SweepObjects,
    TierNotebooks,
};
use quire_ingest::{Ingest, IngestConfig};
use quire_models::{Embedder, Models, ModelsConfig, Patience};
use quire_postgres::Server;
use quire_queue::{Worker, WorkerOptions};
use quire_server::{Metrics, SpanTotals};
use quire_store::sealed::Keyring;
use quire_store::tenants::{self, Tenant};
use quire_store::{Store, StoreConfig};
use quire_tenancy::{Caller, Control, ControlConfig, Embeddings, Providers, Stage, plans};
use quire_types::{RequestId, TenantId};
use tracing::warn;

use crate::cli::Cli;
use crate::config::{Config, Places};
use crate::failure::Failure;

/// How long a request waits for a stage: less than people do.
const STAGE_PATIENCE: Duration = Duration::from_secs(5);

/// How long a task waits to read its file: nobody sits before it, and coming back costs it an attempt.
const EXTRACT_PATIENCE: Duration = Duration::from_secs(3_600);
/// How often this machine asks whose copies it may keep.
const COPIES_CHECKED: Duration = Duration::from_hours(1);
/// Between two tries to plan what is to be read again.
const REREADING_TRIED: Duration = Duration::from_mins(1);
/// A recording waits for those before it.
const LISTEN_PATIENCE: Duration = Duration::from_secs(4 * 3_600);

/// Rows and bytes, with the server they are in.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) places: Places,
    pub(crate) data: PathBuf,
    pub(crate) store: Store,
    pub(crate) control: Control,
    /// Counts spans that are exported; none where none are.
    pub(crate) spans: Option<SpanTotals>,
    postgres: Option<Private>,
}

/// The private server and the task that keeps it alive.
struct Private {
    stop: CancellationToken,
    keeper: JoinHandle<Server>,
}

/// Everything that works on content.
pub(crate) struct Services {
    pub(crate) asker: Arc<Asker>,
    pub(crate) providers: Providers,
    pub(crate) search: Search,
    pub(crate) ingest: Ingest,
    pub(crate) connect: Connect,
    bell: Arc<Notify>,
    pub(crate) metrics: Arc<Metrics>,
}

/// What tasks work with, each with its part.
#[derive(Clone)]
struct Workshop {
    ingest: Ingest,
    connect: Connect,
    asker: Arc<Asker>,
}

impl Borrow<Ingest> for Workshop {
    fn borrow(&self) -> &Ingest {
        &self.ingest
    }
}

impl Borrow<Connect> for Workshop {
    fn borrow(&self) -> &Connect {
        &self.connect
    }
}

impl Borrow<Arc<Asker>> for Workshop {
    fn borrow(&self) -> &Arc<Asker> {
        &self.asker
    }
}

impl Node {
    /// Prepares the data directory, starts or joins PostgreSQL, and connects.
    pub(crate) async fn open(cli: &Cli) -> Result<Self, Failure> {
        let places = Places::find();
        let config = Config::load(cli, &places)?;
        let data = config.data_dir(&places)?;
        ground::prepare(&data)?;
        let objects = config.objects.open(&data)?;
        let (database, server) = ground::database(&config, &data).await?;
        let connected = connect(StoreConfig {
            database,
            objects,
            connections: config.database.connections,
            migrations: &[quire_queue::MIGRATIONS, quire_tenancy::MIGRATIONS],
        })
        .await;
        let store = match connected {
            Ok(store) => store,
            Err(error) => {
                if let Some(server) = server {
                    server.close().await?;
                }
                return Err(error);
            }
        };
        let control = ControlConfig {
            store: store.clone(),
            gate: config.admission.gate(),
            ladder: config.admission.ladder(),
        };
        let control = match &config.admission.redis_url {
            Some(url) => Control::with_redis(control, url.expose())?,
            None => Control::new(control),
        };
        let postgres = server.map(|server| {
            let stop = CancellationToken::new();
            let stopped = stop.clone();
            let keeper = tokio::spawn(async move {
                server.supervise(stopped.cancelled()).await;
                server
            });
            Private { stop, keeper }
        });
        Ok(Self {
            config,
            places,
            data,
            store,
            control,
            postgres,
            spans: None,
        })
    }

    /// Search over what the store holds.
    pub(crate) fn search(&self) -> Search {
        let config = SearchConfig {
            memory_bytes: self.config.limits.search_memory_bytes,
            ..SearchConfig::default()
        };
        Search::new(self.store.clone(), config)
    }

    /// What answers were given, for the operator.
    pub(crate) fn caches(&self) -> Result<Caches, Failure> {
        let url = self.config.cache.redis_url.as_ref();
        Ok(Caches::new(
            self.store.clone(),
            url.map(|url| url.expose()),
        )?)
    }

    /// Loads the model and builds what works on content.
    pub(crate) async fn services(&self) -> Result<Services, Failure> {
        let model = quire_models::find_model(self.config.model.dir.as_deref(), &self.places.cache)?;
        let embedder = tokio::task::spawn_blocking(move || Embedder::load(&model))
            .await
            .map_err(|_| Failure::internal("loading the model was interrupted"))??;
        let providers = self.providers()?;
        providers.refresh().await?;
        let embeddings = Embeddings::new(embedder, self.control.clone(), providers.clone());
        let program = std::env::current_exe().map_err(|error| {
            Failure::internal(format!("can't find my own program file: {error}"))
        })?;
        let limits = &self.config.limits;
        let bell = Arc::new(Notify::new());
        let search = self.search();
        let ingest = Ingest::new(IngestConfig {
            store: self.store.clone(),
            search: search.clone(),
            embeddings: embeddings.clone(),
            extractor: Extractor::new(program).with_limits(Limits {
                max_input_bytes: limits.file_bytes,
                ..self.config.files.clone()
            }),
            extracting: Stage::new(
                "read",
                (1, 2, self.config.admission.extractions.max(2)),
                EXTRACT_PATIENCE,
            ),
            // One recogniser keeps one processor busy for as long as a recording lasts.
            recognising: Stage::new("listen", (1, 1, 2), LISTEN_PATIENCE),
            control: self.control.clone(),
            providers: Some(providers.clone()),
            passages: PassageOptions::default(),
            bell: bell.clone(),
            file_bytes: limits.file_bytes,
            batch_passages: self.config.embedding.batch_passages,
            object_grace: limits.object_grace(),
        });
        let connect = Connect::new(ConnectConfig {
            store: self.store.clone(),
            ingest: ingest.clone(),
            keyring: self.keyring()?,
            egress: Egress::new(self.config.connect.networks()?)?,
            public_url: self.config.connect.public_url.clone(),
            zoom: self.config.connect.zoom(),
            teams: self.config.connect.teams()?,
            bell: bell.clone(),
        });
        let asker = Asker::new(AskerConfig {
            store: self.store.clone(),
            control: self.control.clone(),
            search: search.clone(),
            searching: stage("search", self.config.admission.searches),
            embeddings,
            providers: providers.clone(),
            answer_tokens: u64::from(self.config.chat.max_tokens),
            question_chars: limits.question_chars,
            passages: limits.answer_passages,
            depth: self.config.depth.depth()?,
            cache_bytes: limits.answer_cache_bytes,
            cache_redis_url: (self.config.cache.redis_url.as_ref())
                .map(|url| url.expose().to_owned()),
            bell: bell.clone(),
        })?
        .giving_near_answers(self.config.cache.near_answers);
        Ok(Services {
            asker: Arc::new(asker),
            providers,
            search,
            ingest,
            connect,
            bell,
            metrics: Arc::new(match &self.spans {
                Some(spans) => Metrics::default().telling_of(spans),
                None => Metrics::default(),
            }),
        })
    }

    /// The models that this installation calls.
    pub(crate) fn providers(&self) -> Result<Providers, Failure> {
        let chat = &self.config.chat;
        let local = pool::local_pool(&self.config)?;
        let mut chains = self.config.chains.clone();
        for (chain, model) in [(ANSWER, &chat.model), (COMPLEX, &chat.large_model)] {
            if let Some(model) = model {
                chains
                    .entry(chain.to_owned())
                    .or_insert_with(|| vec![model.clone()]);
            }
        }
        let patience = Patience {
            first_token: Duration::from_secs(chat.first_token_timeout_s),
            between_tokens: Duration::from_secs(chat.between_tokens_timeout_s),
            sound: Duration::from_secs(chat.sound_timeout_s),
            ..Patience::default()
        };
        let models = Models::new(ModelsConfig { chains, patience }).hedging(chat.hedged()?);
        Ok(Providers::new(
            self.control.clone(),
            self.keyring()?,
            models,
            local,
        ))
    }

    /// The keys that seal the secrets of others.
    pub(crate) fn keyring(&self) -> Result<Keyring, Failure> {
        Ok(Keyring::of_data_dir(&self.data)?)
    }

    /// Runs tasks until told to stop: of all tenants, or of the one that this worker is dedicated to.
    pub(crate) fn work(
        &self,
        services: &Services,
        dedicated: Option<TenantId>,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let options = WorkerOptions {
            name: host_name(),
            seats: self.config.limits.task_seats.max(1),
            lease: Duration::from_secs(self.config.limits.task_lease_s.max(1)),
            dedicated,
            tally: services.metrics.tally(),
            ..WorkerOptions::default()
        };
        let worker = Worker::new(
            self.store.clone(),
            Workshop {
                ingest: services.ingest.clone(),
                connect: services.connect.clone(),
                asker: services.asker.clone(),
            },
            services.bell.clone(),
            options,
        )
        .with::<ReadSource>()
        .with::<ReadRecording>()
        .with::<RereadSources>()
        .with::<PurgeObjects>()
        .with::<FoldTail>()
        .with::<EmbedCorpus>()
        .with::<SweepObjects>()
        .with::<TierNotebooks>()
        .with::<SyncRecords>()
        .with::<DeliverEvents>()
        .with::<SyncConnection>()
        .with::<KeepSubscription>()
        .with::<EndSubscriptions>()
        .with::<AnswerQuestion>();
        tokio::spawn(worker.run(stop))
    }

    /// The operator asking on behalf of a tenant: as its own request would be, but by no key.
    pub(crate) async fn asking(&self, tenant: &Tenant) -> Result<Asking, Failure> {
        Ok(Asking {
            caller: Caller {
                account: self.control.account(tenant.id).await?,
                key: None,
            },
            user: None,
            request: RequestId::generate(),
        })
    }

    /// Keeps the control plane going until told to stop.
    pub(crate) fn keep_control(&self, stop: CancellationToken) -> JoinHandle<()> {
        tokio::spawn(self.control.clone().run(stop))
    }

    /// Has what older readers of files read read again, a while after an upgrade, until it is planned or told to stop.
    pub(crate) fn plan_rereading(
        &self,
        services: &Services,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let ingest = services.ingest.clone();
        tokio::spawn(async move {
            let plan = async {
                while let Err(error) = ingest.plan_rereading().await {
                    warn!(%error, "can't plan to read again what older readers of files read; trying again");
                    tokio::time::sleep(REREADING_TRIED).await;
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = plan => {}
            }
        })
    }

    /// Drops copies on this machine of tenants that are gone, whoever erased them, until told to stop.
    pub(crate) fn keep_copies(&self, stop: CancellationToken) -> JoinHandle<()> {
        let store = self.store.clone();
        tokio::spawn(async move {
            loop {
                if let Err(error) = drop_copies(&store).await {
                    warn!(%error, "can't ask which tenants are gone; copies of their segments stay until the next time");
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(COPIES_CHECKED) => {}
                }
            }
        })
    }

    /// Calls the workers of other processes when this one, which has none, adds tasks.
    pub(crate) fn relay(&self, services: &Services, stop: CancellationToken) -> JoinHandle<()> {
        tokio::spawn(quire_queue::relay(
            self.store.clone(),
            services.bell.clone(),
            stop,
        ))
    }

    /// Closes connections and leaves the private server, which stops when nobody else uses it.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        if let Err(error) = self.control.settle().await {
            warn!(%error, "usage can't be settled now; it is when what was reserved expires");
        }
        self.store.close().await;
        if let Some(private) = self.postgres {
            private.stop.cancel();
            let server = private
                .keeper
                .await
                .map_err(|_| Failure::internal("the keeper of PostgreSQL panicked"))?;
            server.close().await?;
        }
        Ok(())
    }
}

async fn drop_copies(store: &Store) -> Result<(), quire_store::Error> {
    let owners = store.objects().copied();
    if owners.is_empty() {
        return Ok(());
    }
    let mut tx = store.system().await?;
    let gone = tenants::gone(&mut tx, &owners).await?;
    tx.commit().await?;
    for owner in gone {
        store.objects().forget_copies(owner);
    }
    Ok(())
}

/// Connects, with plans to put tenants on.
async fn connect(config: StoreConfig) -> Result<Store, Failure> {
    let store = Store::connect(config).await?;
    let mut tx = store.system().await?;
    plans::ensure_catalogue(&mut tx).await?;
    tx.commit().await?;
    Ok(store)
}

/// A stage that begins with one place for each processor.
fn stage(name: &'static str, most: u32) -> Stage {
    let processors = std::thread::available_parallelism().map_or(2, |count| count.get());
    let begin = u32::try_from(processors).unwrap_or(2);
    Stage::new(name, (begin.min(2), begin, most.max(begin)), STAGE_PATIENCE)
}

/// What people call this machine, and the process on it.
fn host_name() -> String {
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    format!("{host}:{}", std::process::id())
}
