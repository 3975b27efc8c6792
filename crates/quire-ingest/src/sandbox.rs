//! Reads files in a child process, so that a file that crashes its reader, eats memory or never ends
//! costs nobody anything but itself.
//!
//! The child runs the same program with the hidden command `parse`: bytes on its standard input, one
//! JSON answer on its standard output. It limits and confines itself before it reads the first byte.
//! Knows no database; hands the parent a document or a typed error, whatever happens.

mod child;
mod confine;
mod outcome;
mod reply;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use quire_types::MediaType;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::extract::{Document, ExtractError, Limits};

pub use child::parse_child;
pub use confine::{Confinement, confine};

/// Poppler and nothing else is looked up.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const STDERR_BYTES: u64 = 16 << 10;
/// Room for the JSON form of the largest document: text, escapes and the paths of its blocks.
const ANSWER_BYTES: u64 = 512 << 20;
const DEFAULT_WALL_CLOCK: Duration = Duration::from_secs(120);

/// Starts reading children. How many run at once is the caller's to bound.
#[derive(Clone, Debug)]
pub struct Extractor {
    program: PathBuf,
    limits: Limits,
    wall_clock: Duration,
}

/// What was found in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extraction {
    /// What the file is.
    pub media: MediaType,
    /// Its text and structure.
    pub document: Document,
    /// What the kernel kept the reader from doing.
    pub confinement: Confinement,
}

impl Extractor {
    /// An extractor that runs `program parse`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            limits: Limits::default(),
            wall_clock: DEFAULT_WALL_CLOCK,
        }
    }

    /// The same with other limits per file.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same with another time per file.
    pub fn with_wall_clock(self, wall_clock: Duration) -> Self {
        Self { wall_clock, ..self }
    }

    /// Finds the type of a file and reads it.
    pub async fn extract(&self, name: &str, bytes: Bytes) -> Result<Extraction, ExtractError> {
        if bytes.is_empty() {
            return Err(ExtractError::Empty);
        }
        if bytes.len() as u64 > self.limits.max_input_bytes {
            return Err(ExtractError::too_large(
                "bytes",
                self.limits.max_input_bytes,
            ));
        }
        let folder = tempfile::Builder::new()
            .prefix("quire-parse-")
            .tempdir()
            .map_err(|error| ExtractError::unavailable("no temporary folder", error))?;
        let child = self.command(name, folder.path())?.spawn();
        let child =
            child.map_err(|error| ExtractError::unavailable("cannot start the reader", error))?;
        let group = ProcessGroup::of(&child);
        let talk = tokio::time::timeout(self.wall_clock, outcome::talk(child, bytes));
        let answer = talk.await.unwrap_or(Err(ExtractError::TimedOut {
            seconds: self.wall_clock.as_secs(),
        }));
        // Also ends programs that the child left behind; on success there are none.
        drop(group);
        drop(folder);
        answer
    }

    fn command(&self, name: &str, folder: &std::path::Path) -> Result<Command, ExtractError> {
        let limits = serde_json::to_string(&self.limits)
            .map_err(|error| ExtractError::unavailable("limits", error))?;
        // One argument each, so that no name can be taken for an option.
        let name: String = name.chars().filter(|c| !c.is_control()).take(255).collect();
        let mut command = Command::new(&self.program);
        command
            .arg("parse")
            .arg(format!("--name={name}"))
            .arg(format!("--limits={limits}"))
            .env_clear()
            .envs([("PATH", PATH), ("LC_ALL", "C.UTF-8")])
            .envs([("HOME", folder), ("TMPDIR", folder)])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }
}

/// The child and everything it starts. Ends them all when it goes out of scope, also when the future
/// that holds it is dropped.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(child: &Child) -> Self {
        Self(
            child
                .id()
                .and_then(|id| i32::try_from(id).ok())
                .and_then(Pid::from_raw),
        )
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Reads a pipe to its end and keeps at most `limit` bytes; says whether there were more.
async fn read_capped(pipe: Option<impl AsyncRead + Unpin>, limit: u64) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    let Some(mut pipe) = pipe else {
        return (bytes, false);
    };
    let _ = (&mut pipe).take(limit).read_to_end(&mut bytes).await;
    let more = tokio::io::copy(&mut pipe, &mut tokio::io::sink())
        .await
        .unwrap_or(0);
    (bytes, more > 0)
}

async fn write_all(pipe: Option<impl tokio::io::AsyncWrite + Unpin>, bytes: &[u8]) {
    if let Some(mut pipe) = pipe {
        // A child that stops reading has decided already; its answer says why.
        let _ = pipe.write_all(bytes).await;
        let _ = pipe.shutdown().await;
    }
}
