//! Reads files in a child process, so that a file that crashes its reader, eats memory or never ends
//! costs nobody anything but itself.
//!
//! The child runs the same program with the hidden command `parse`: bytes on its standard input, one JSON answer on
//! its standard output, before it lines that say how far it is. It limits and confines itself before it reads the
//! first byte. Knows no database; hands the parent a document or a typed error, whatever happens.

mod asked;
mod budget;
mod child;
mod confine;
mod folders;
mod orphan;
mod outcome;
mod reply;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quire_types::MediaType;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::OnceCell;

use crate::extract::{
    Document, ExtractError, Known, Limits, Measured, Part, Shown, ToSense, Wanted,
};

use asked::{Asked, KNOWN_FILE};
use budget::Budget;
use folders::Folders;
use reply::Reply;

pub use child::parse_child;
pub use confine::{Confinement, confine};

/// Where the programs of readers are looked up.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";
const STDERR_BYTES: u64 = 16 << 10;
/// Room for the JSON form of the largest document: text, escapes and the paths of its blocks.
const ANSWER_BYTES: u64 = 512 << 20;

/// Is told percent.
pub type Tell = dyn Fn(u8) + Send + Sync;

/// Starts reading children. How many run at once is the caller's to bound.
#[derive(Clone, Debug)]
pub struct Extractor {
    program: PathBuf,
    limits: Limits,
    /// Instead of what the type of a file allows.
    wall_clock: Option<Duration>,
    /// Made when the first file comes.
    folders: Arc<OnceCell<Folders>>,
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
            wall_clock: None,
            folders: Arc::default(),
        }
    }

    /// The same with other limits per file.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same with another time per file.
    pub fn with_wall_clock(self, wall_clock: Duration) -> Self {
        Self {
            wall_clock: Some(wall_clock),
            ..self
        }
    }

    /// Finds the type of a file and reads it, and tells how much of it is read, in percent, where that takes long.
    pub async fn extract(
        &self,
        name: &str,
        bytes: Bytes,
        tell: &Tell,
    ) -> Result<Extraction, ExtractError> {
        outcome::understand(self.ask(name, bytes, Asked::Read, tell).await?).await
    }

    /// The same of a file of which others made something before.
    pub async fn extract_known(
        &self,
        name: &str,
        bytes: Bytes,
        known: &Known,
        tell: &Tell,
    ) -> Result<Extraction, ExtractError> {
        if known.is_empty() {
            return self.extract(name, bytes, tell).await;
        }
        let beside = serde_json::to_vec(known)
            .map_err(|error| ExtractError::unavailable("what others made of it", error))?;
        let reply = self.ask_beside(name, bytes, Asked::ReadKnown, &beside, tell);
        outcome::understand(reply.await?).await
    }

    /// What there is in a file that others can be asked about.
    pub async fn to_sense(&self, name: &str, bytes: Bytes) -> Result<ToSense, ExtractError> {
        let reply = self.ask(name, bytes, Asked::ToSense, &|_| ()).await?;
        outcome::understand_to_sense(reply, &self.limits)
    }

    /// An attachment of an e-mail, by its number.
    pub async fn unpack(
        &self,
        name: &str,
        bytes: Bytes,
        number: usize,
    ) -> Result<Bytes, ExtractError> {
        let asked = Asked::Unpack(number);
        outcome::understand_unpacked(self.ask(name, bytes, asked, &|_| ()).await?)
    }

    /// A part of the sound of a recording as a small file (FLAC, one channel), with its length in milliseconds; nothing
    /// where it has no sound.
    pub async fn cut_sound(
        &self,
        name: &str,
        bytes: Bytes,
        part: Part,
    ) -> Result<(Bytes, u64), ExtractError> {
        let asked = Asked::Sound(part);
        outcome::understand_sound(self.ask(name, bytes, asked, &|_| ()).await?, part)
    }

    /// Draws one picture of a file, as PNG.
    pub async fn draw(
        &self,
        name: &str,
        bytes: Bytes,
        wanted: Wanted,
    ) -> Result<Bytes, ExtractError> {
        outcome::understand_picture(self.ask(name, bytes, Asked::Draw(wanted), &|_| ()).await?)
    }

    /// A picture, a page, or a moment of a film, as a JPEG in base64.
    pub async fn show(
        &self,
        name: &str,
        bytes: Bytes,
        shown: Shown,
    ) -> Result<String, ExtractError> {
        outcome::understand_shown(self.ask(name, bytes, Asked::Show(shown), &|_| ()).await?)
    }

    /// Where the picture of a film changes, in milliseconds.
    pub async fn scenes(&self, name: &str, bytes: Bytes) -> Result<Vec<u64>, ExtractError> {
        outcome::understand_scenes(self.ask(name, bytes, Asked::Scenes, &|_| ()).await?)
    }

    /// How much there is of a recording.
    pub async fn measure(&self, name: &str, bytes: Bytes) -> Result<Measured, ExtractError> {
        outcome::understand_measured(self.ask(name, bytes, Asked::Measure, &|_| ()).await?)
    }

    /// What any file may have here.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    async fn ask<T: DeserializeOwned + Send + 'static>(
        &self,
        name: &str,
        bytes: Bytes,
        asked: Asked,
        tell: &Tell,
    ) -> Result<Reply<T>, ExtractError> {
        self.ask_beside(name, bytes, asked, &[], tell).await
    }

    /// Asks with something beside the file, which the child finds in its folder.
    async fn ask_beside<T: DeserializeOwned + Send + 'static>(
        &self,
        name: &str,
        bytes: Bytes,
        asked: Asked,
        beside: &[u8],
        tell: &Tell,
    ) -> Result<Reply<T>, ExtractError> {
        if bytes.is_empty() {
            return Err(ExtractError::Empty);
        }
        if bytes.len() as u64 > self.limits.max_input_bytes {
            return Err(ExtractError::too_large(
                "bytes",
                self.limits.max_input_bytes,
            ));
        }
        let no_folder = |error| ExtractError::unavailable("no temporary folder", error);
        let folders = async { Folders::new(&std::env::temp_dir()) };
        let folders = self.folders.get_or_try_init(|| folders).await;
        let folder = folders.and_then(Folders::one).map_err(no_folder)?;
        if !beside.is_empty() {
            tokio::fs::write(folder.path().join(KNOWN_FILE), beside)
                .await
                .map_err(|error| ExtractError::unavailable("no temporary file", error))?;
        }
        let budget = Budget::of(name, &bytes);
        let wall_clock = self.wall_clock.unwrap_or(budget.wall_clock);
        let child = self.command(name, &budget, asked, folder.path())?.spawn();
        let child =
            child.map_err(|error| ExtractError::unavailable("cannot start the reader", error))?;
        let group = ProcessGroup::of(&child);
        let talk = outcome::talk(child, bytes, budget.cpu_seconds, tell);
        let talk = tokio::time::timeout(wall_clock, talk);
        let answer = talk.await.unwrap_or(Err(ExtractError::TimedOut {
            seconds: wall_clock.as_secs(),
        }));
        // Also ends programs that the child left behind; on success there are none.
        drop(group);
        drop(folder);
        answer
    }

    fn command(
        &self,
        name: &str,
        budget: &Budget,
        asked: Asked,
        folder: &std::path::Path,
    ) -> Result<Command, ExtractError> {
        let limits = serde_json::to_string(&self.limits)
            .map_err(|error| ExtractError::unavailable("limits", error))?;
        // One argument each, so that no name can be taken for an option.
        let name: String = name.chars().filter(|c| !c.is_control()).take(255).collect();
        let asked = serde_json::to_string(&asked)
            .map_err(|error| ExtractError::unavailable("question", error))?;
        let mut command = Command::new(&self.program);
        command
            .arg("parse")
            .arg(format!("--name={name}"))
            .arg(format!("--limits={limits}"))
            .arg(format!("--cpu-seconds={}", budget.cpu_seconds))
            .arg(format!("--ask={asked}"))
            .env_clear()
            .envs([("PATH", PATH), ("LC_ALL", "C.UTF-8")])
            // As many files are read at once as there are processors; more threads only get in each other's way.
            .env("OMP_THREAD_LIMIT", "1")
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
