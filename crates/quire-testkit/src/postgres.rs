//! A real PostgreSQL for tests: one server per test process, one database per test.
//!
//! The server belongs to the process however that ends: a small shell holds the other end of a pipe,
//! and when the pipe closes it stops the server and removes everything. Refuses to know what is tested.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use quire_postgres::PORT;
use quire_postgres::{ADMIN_USER, Options, Server};
use quire_store::tenants::{self, NewTenant, Tenant};
use quire_store::{Database, MigrationSet, Objects, Store, StoreConfig, TenantTx};
use tokio::sync::{Mutex, OnceCell};

use crate::PATIENCE;

const MIGRATIONS: &[MigrationSet] = &[quire_queue::MIGRATIONS, quire_tenancy::MIGRATIONS];

/// A commit survives the server being killed, which tests do, but not the machine, which they don't.
const SETTINGS: [(&str, &str); 4] = [
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("max_connections", "300"),
    ("shared_buffers", "64MB"),
];

/// A server in a directory of its own.
pub struct Cluster {
    dir: PathBuf,
    server: Mutex<Server>,
    databases: AtomicU32,
    /// Closes with the process; never read.
    _reaper: ChildStdin,
}

impl Cluster {
    /// The server that all tests of this process share.
    pub async fn shared() -> &'static Cluster {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_init(Cluster::start).await
    }

    /// Starts a server that the caller may do anything to.
    pub async fn start() -> Cluster {
        let dir = tempfile::Builder::new()
            .prefix("quire-test-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .expect("a directory in /tmp")
            .keep();
        let reaper = reaper(&dir);
        let server = Box::pin(Server::open(options(&dir)))
            .await
            .expect("a PostgreSQL server");
        Cluster {
            dir,
            server: Mutex::new(server),
            databases: AtomicU32::new(0),
            _reaper: reaper,
        }
    }

    /// Where the socket of the server is.
    pub async fn socket_dir(&self) -> PathBuf {
        self.server.lock().await.socket_dir()
    }

    /// The process id of the server.
    pub async fn pid(&self) -> u32 {
        self.server.lock().await.pid()
    }

    /// The database of this name, reached as the product reaches it.
    pub async fn database(&self, name: &str) -> Database {
        Database::private(&self.socket_dir().await, PORT, ADMIN_USER, name)
    }

    /// Ends the server as a power cut would.
    pub async fn kill(&self) {
        self.signal("-KILL").await;
    }

    /// Ends the server as `pg_ctl stop -m immediate` does: no connection is closed in order, nothing is written down.
    pub async fn stop_at_once(&self) {
        let process = format!("/proc/{}/stat", self.pid().await);
        self.signal("-QUIT").await;
        eventually("the server ends", || async {
            // A process that has ended may wait for its parent to notice.
            std::fs::read_to_string(&process).map_or(true, |stat| stat.contains(") Z "))
        })
        .await;
    }

    /// Starts the server again after it was killed or stopped.
    pub async fn restart(&self) {
        let mut server = self.server.lock().await;
        *server = Box::pin(Server::open(options(&self.dir)))
            .await
            .expect("PostgreSQL recovers");
    }

    async fn signal(&self, signal: &str) {
        let pid = self.pid().await.to_string();
        let sent = Command::new("kill").args([signal, &pid]).status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "kill {signal} {pid}"
        );
    }
}

fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir.join("postgres"));
    options.settings = SETTINGS
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    options
}

/// Waits for the end of this process, in a process group of its own so that Ctrl-C spares it.
pub(crate) fn reaper(dir: &Path) -> ChildStdin {
    const SCRIPT: &str = r#"
        read _
        note="$1/postgres/data/postmaster.pid"
        pid=$(head -n 1 "$note" 2>/dev/null) && kill -QUIT "$pid"
        for _ in $(seq 100); do
            [ -n "$pid" ] && kill -0 "$pid" || break
            sleep 0.1
        done
        rm -rf "$1" || { sleep 2; rm -rf "$1"; }
    "#;
    let child = Command::new("sh")
        .args(["-c", SCRIPT, "reaper"])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn();
    let stdin = child.map(|mut child| child.stdin.take());
    stdin.ok().flatten().expect("a shell")
}

/// A migrated database of one test, with its objects.
pub struct TestStore {
    /// The open store.
    pub store: Store,
    name: String,
    cluster: &'static Cluster,
    objects: PathBuf,
}

impl TestStore {
    /// A fresh database on the shared server.
    pub async fn new() -> TestStore {
        Self::on(Cluster::shared().await).await
    }

    /// A fresh database on a server of the test's own.
    pub async fn on(cluster: &'static Cluster) -> TestStore {
        let number = cluster.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        let objects = cluster.dir.join("objects").join(&name);
        let store = connect(cluster, &name, directory(&objects), 8).await;
        TestStore {
            store,
            name,
            cluster,
            objects,
        }
    }

    /// The name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server of the database.
    pub fn cluster(&self) -> &'static Cluster {
        self.cluster
    }

    /// The directory of the objects.
    pub fn objects_dir(&self) -> &Path {
        &self.objects
    }

    /// Opens the same database again, with this many connections for tenants.
    pub async fn reopened(&self, connections: u32) -> Store {
        let objects = directory(&self.objects);
        connect(self.cluster, &self.name, objects, connections).await
    }

    /// Opens the same database again, with other objects, such as unreliable ones.
    pub async fn reopened_with(&self, objects: Objects) -> Store {
        connect(self.cluster, &self.name, objects, 8).await
    }

    /// Creates a tenant.
    pub async fn tenant(&self, slug: &str) -> Tenant {
        let mut tx = self.store.system().await.expect("a transaction");
        let tenant = tenants::create(&mut tx, &NewTenant::local(slug, slug))
            .await
            .expect("a tenant");
        tx.commit().await.expect("a commit");
        tenant
    }

    /// Begins a transaction of a tenant.
    pub async fn tx(&self, tenant: &Tenant) -> TenantTx {
        self.store
            .tenant(tenant.placement())
            .await
            .expect("a transaction")
    }
}

fn directory(objects: &Path) -> Objects {
    Objects::directory(objects).expect("an object store")
}

async fn connect(cluster: &Cluster, name: &str, objects: Objects, connections: u32) -> Store {
    let config = StoreConfig {
        database: cluster.database(name).await,
        objects,
        connections,
        migrations: MIGRATIONS,
    };
    Box::pin(Store::connect(config)).await.expect("a store")
}

/// Asks until the answer is yes; ends the test after [`PATIENCE`].
pub async fn eventually<F>(what: &str, mut is_so: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let started = Instant::now();
    while !is_so().await {
        assert!(started.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
