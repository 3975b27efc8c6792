//! A database with tenants, and everything that works on their records.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use quire_connect::connections::SyncConnection;
use quire_connect::egress::Egress;
use quire_connect::outbound::DeliverEvents;
use quire_connect::records::SyncRecords;
use quire_connect::{Connect, ConnectConfig};
use quire_index::{Search, SearchConfig};
use quire_ingest::extract::Limits;
use quire_ingest::passages::PassageOptions;
use quire_ingest::sandbox::Extractor;
use quire_ingest::tasks::{FoldTail, PurgeObjects, ReadRecording, ReadSource, SweepObjects};
use quire_ingest::{Ingest, IngestConfig};
use quire_models::Embedder;
use quire_queue::{Worker, WorkerOptions};
use quire_store::sealed::Keyring;
use quire_store::tenants::{self, NewTenant, Tenant};
use quire_store::{Placement, Store};
use quire_tenancy::{Control, ControlConfig, Embeddings, GateConfig, Ladder, Stage, plans};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::lab::Lab;
use crate::model_dir;

pub(super) struct Scene {
    pub(super) store: Store,
    pub(super) connect: Connect,
    ingest: Ingest,
    bell: Arc<Notify>,
}

#[derive(Clone)]
struct Workshop(Ingest, Connect);

impl Borrow<Ingest> for Workshop {
    fn borrow(&self) -> &Ingest {
        &self.0
    }
}

impl Borrow<Connect> for Workshop {
    fn borrow(&self) -> &Connect {
        &self.1
    }
}

/// A worker that runs until it is stopped.
pub(super) struct Working {
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

impl Working {
    pub(super) async fn end(self) {
        self.stop.cancel();
        // It was told to end and does.
        drop(self.worker.await);
    }

    /// Ends it in the middle of whatever it does.
    pub(super) fn abort(self) {
        self.worker.abort();
    }
}

impl Scene {
    pub(super) async fn open(lab: &Lab) -> Result<Self, Failure> {
        let (name, store) = lab.database().await?;
        let mut tx = store.system().await?;
        plans::ensure_catalogue(&mut tx).await?;
        tx.commit().await?;
        let control = Control::new(ControlConfig {
            store: store.clone(),
            gate: GateConfig::default(),
            ladder: Ladder::default(),
        });
        let program = std::env::current_exe().map_err(Failure::doing("finding my own file"))?;
        let bell = Arc::new(Notify::new());
        let ingest = Ingest::new(IngestConfig {
            store: store.clone(),
            search: Search::new(store.clone(), SearchConfig::default()),
            embeddings: Embeddings::local(Embedder::load(&model_dir()?)?),
            extractor: Extractor::new(program).with_limits(Limits::default()),
            extracting: Stage::new("read", (1, 2, 2), Duration::from_secs(60)),
            recognising: Stage::new("listen", (1, 1, 1), Duration::from_secs(60)),
            control,
            providers: None,
            passages: PassageOptions::default(),
            bell: bell.clone(),
            file_bytes: 1 << 20,
            batch_passages: 0,
            object_grace: Duration::from_secs(3_600),
        });
        let own = "127.0.0.0/8"
            .parse()
            .map_err(Failure::doing("reading a network"))?;
        let connect = Connect::new(ConnectConfig {
            store: store.clone(),
            ingest: ingest.clone(),
            keyring: Keyring::open(&lab.folder().join(format!("{name}.keys")))?,
            egress: Egress::new(vec![own]).map_err(Failure::doing("making a client"))?,
            public_url: None,
            zoom: None,
            teams: None,
            bell: bell.clone(),
        });
        Ok(Self {
            store,
            connect,
            ingest,
            bell,
        })
    }

    /// A tenant that may keep as much as there is.
    pub(super) async fn tenant(&self, slug: &str) -> Result<Placement, Failure> {
        let mut tx = self.store.system().await?;
        let tenant: Tenant = tenants::create(&mut tx, &NewTenant::local(slug, slug)).await?;
        for limit in ["passages", "storage_bytes", "notebooks"] {
            let name = limit.parse().map_err(Failure::doing("naming a limit"))?;
            plans::set_override(&mut tx, tenant.id, name, Some("unlimited")).await?;
        }
        tx.commit().await?;
        Ok(tenant.placement())
    }

    pub(super) fn work(&self) -> Working {
        let stop = CancellationToken::new();
        let options = WorkerOptions {
            lease: Duration::from_secs(2),
            ..WorkerOptions::default()
        };
        let workshop = Workshop(self.ingest.clone(), self.connect.clone());
        let worker = Worker::new(self.store.clone(), workshop, self.bell.clone(), options)
            .with::<ReadSource>()
            .with::<ReadRecording>()
            .with::<PurgeObjects>()
            .with::<FoldTail>()
            .with::<SweepObjects>()
            .with::<SyncRecords>()
            .with::<DeliverEvents>()
            .with::<SyncConnection>();
        let worker = tokio::spawn(worker.run(stop.clone()));
        Working { stop, worker }
    }
}
