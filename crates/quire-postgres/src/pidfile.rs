//! `postmaster.pid`, the note a server leaves in its data directory. Refuses to know whether it is true.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::socket::socket_in;

/// What the note says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PidFile {
    /// The server's process.
    pub(crate) pid: i32,
    /// Where its socket is; empty while it starts.
    pub(crate) socket_dir: PathBuf,
    /// Whether it calls itself ready for connections.
    pub(crate) ready: bool,
}

impl PidFile {
    /// The path of the note.
    pub(crate) fn path(data: &Path) -> PathBuf {
        data.join("postmaster.pid")
    }

    /// Reads the note; `None` when there is none or nothing sensible is in it.
    pub(crate) fn read(data: &Path) -> Result<Option<PidFile>, Error> {
        let path = Self::path(data);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(parse(&text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(Error::io("read", &path)(error)),
        }
    }

    /// The socket the server listens on.
    pub(crate) fn socket(&self) -> PathBuf {
        socket_in(&self.socket_dir)
    }
}

/// Lines: pid, data directory, start time, port, socket directory, address, shared memory key, status.
fn parse(text: &str) -> Option<PidFile> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let pid = lines.first()?.parse().ok()?;
    let line = |index: usize| lines.get(index).copied().unwrap_or_default();
    (pid > 0).then(|| PidFile {
        pid,
        socket_dir: PathBuf::from(line(4)),
        ready: line(7) == "ready",
    })
}

#[cfg(test)]
mod tests;
