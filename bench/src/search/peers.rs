//! Other engines over the same corpus in the same run, each on one core.
//!
//! Each is a module in `bench/peers/search`, driven by `drive.py` in a process of its own, in an environment of
//! pinned packages that is made once in quire's cache. What can't be installed or run is left out with a message.
//! The drivers say what they found and how long it took; percentiles and recall are counted here, alike for all.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::corpus::Corpus;
use super::measure::Percentiles;
use super::truth::Truth;
use crate::failure::Failure;
use crate::python::Drivers;
use crate::report::note;

/// Names as they are printed, and the modules that drive them.
pub(super) const PEERS: [(&str, &str); 8] = [
    ("pgvector", "peer_pgvector"),
    ("lancedb", "peer_lancedb"),
    ("chromadb", "peer_chromadb"),
    ("qdrant-edge", "peer_qdrant_edge"),
    ("usearch", "peer_usearch"),
    ("faiss", "peer_faiss"),
    ("tantivy", "peer_tantivy"),
    ("faiss+tantivy", "peer_faiss_tantivy"),
];

/// Every library that asks gets one thread. With LANCE_IO_THREADS=1 LanceDB 0.40 stands still.
const ONE_THREAD: [&str; 6] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
    "LANCE_CPU_THREADS",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Vector,
    Lexical,
    Hybrid,
}

/// A driver that takes longer over one size is stopped.
const PATIENCE: Duration = Duration::from_secs(1_800);

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Vector => "vector",
            Self::Lexical => "lexical",
            Self::Hybrid => "hybrid",
        }
    }
}

/// What a driver prints for one way of asking.
#[derive(Deserialize)]
struct Said {
    kind: Kind,
    name: String,
    version: String,
    took_ms: Vec<f64>,
    found: Vec<Vec<u32>>,
    load_s: f64,
    build_s: f64,
    disk_bytes: f64,
    memory_mib: f64,
}

/// One way of asking one engine, measured.
pub(super) struct Outcome {
    pub(super) peer: &'static str,
    pub(super) version: String,
    pub(super) rows: usize,
    pub(super) kind: Kind,
    pub(super) way: String,
    pub(super) waits: Percentiles,
    /// Mean recall@10 against exact search; None where there is no such truth.
    pub(super) recall: Option<f64>,
    /// Until the rows are in, then until they are indexed.
    pub(super) load_s: f64,
    pub(super) build_s: f64,
    pub(super) disk_mib: f64,
    /// What the engine's processes hold more than before.
    pub(super) memory_mib: f64,
}

/// How a peer is asked.
pub(super) struct Asking<'a> {
    pub(super) corpus: &'a Corpus,
    pub(super) truth: &'a Truth,
    pub(super) questions: usize,
    pub(super) core: usize,
}

/// What drives them.
pub(super) struct Peers {
    drivers: Drivers,
}

impl Peers {
    /// Installs what is not there yet; the text of the failure is for the reader, since none is fatal.
    pub(super) async fn install(drivers: &Path) -> Result<Self, Failure> {
        Ok(Self {
            drivers: Drivers::install(drivers, "search").await?,
        })
    }

    /// Runs one peer over the first rows of the corpus; what was measured before a failure stays.
    pub(super) async fn measure(
        &self,
        (peer, module): (&'static str, &str),
        asking: &Asking<'_>,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), Failure> {
        let Asking { corpus, truth, .. } = asking;
        let folder = crate::lab::open_folder()?;
        let mut command = Command::new(&self.drivers.python);
        command
            .args(["drive.py", module])
            .arg("--rows-folder")
            .arg(corpus.rows_folder())
            .arg("--questions-folder")
            .arg(corpus.folder())
            .args(["--rows", &truth.rows().to_string()])
            .args(["--questions", &asking.questions.to_string()])
            .args(["--core", &asking.core.to_string()])
            .arg("--folder")
            .arg(folder.path())
            .envs(ONE_THREAD.map(|name| (name, "1")))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .current_dir(&self.drivers.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(Failure::doing("starting Python"))?;
        let output = child.stdout.take();
        let output = output.ok_or_else(|| Failure::failed("a driver has no output"))?;
        let mut lines = BufReader::new(output).lines();
        let reading = async {
            while let Some(line) = lines.next_line().await.map_err(Failure::doing(module))? {
                let said: Said = serde_json::from_str(&line)
                    .map_err(Failure::doing("understanding a driver"))?;
                let recall = (said.kind == Kind::Vector).then(|| truth.recall(&said.found));
                let waits = Percentiles::of(said.took_ms);
                note(format!("  {}: p50 {:.3} ms", said.name, waits.p50));
                outcomes.push(Outcome {
                    peer,
                    version: said.version,
                    rows: truth.rows(),
                    kind: said.kind,
                    way: said.name,
                    waits,
                    recall,
                    load_s: said.load_s,
                    build_s: said.build_s,
                    disk_mib: said.disk_bytes / f64::from(1 << 20),
                    memory_mib: said.memory_mib,
                });
            }
            Ok::<(), Failure>(())
        };
        // Both at once: a driver whose complaints nobody reads stands still.
        let errors = child.stderr.take();
        let both = async { tokio::join!(reading, last_line(errors)) };
        let both = tokio::time::timeout(PATIENCE, both).await;
        let (read, complaints) =
            both.map_err(|_| Failure::failed(format!("not done after {} s", PATIENCE.as_secs())))?;
        read?;
        let ended = child.wait().await.map_err(Failure::doing(module))?;
        if ended.success() {
            return Ok(());
        }
        Err(Failure::failed(complaints))
    }
}

/// Reads all and keeps the last words, where Python says what went wrong.
async fn last_line(errors: Option<tokio::process::ChildStderr>) -> String {
    let mut last = String::new();
    if let Some(errors) = errors {
        let mut lines = BufReader::new(errors).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if !line.trim().is_empty() {
                last = line;
            }
        }
    }
    last
}
