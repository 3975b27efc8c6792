//! The directories of one server and whose they are: `data`, `run` (the socket), `log` and the two lock
//! files. Refuses to know what runs in them.
//!
//! When root runs quire, the directory itself, the locks and the log stay root's, and only `data` and
//! `run` are given to the server's user: a server that was broken into can then plant no link that root
//! would follow.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::geteuid;

use crate::Error;
use crate::account::Account;
use crate::socket::socket_in;

/// A unix socket address holds 104 to 108 bytes, depending on the system.
const LONGEST_SOCKET_PATH: usize = 100;
/// A log larger than this becomes `postgres.log.1` at the next start.
const LARGEST_LOG_BYTES: u64 = 10 << 20;

/// Where everything of one server is.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The whole, absolute.
    pub(crate) dir: PathBuf,
    /// The data directory, which `initdb` makes.
    pub(crate) data: PathBuf,
    /// The directory of the socket.
    pub(crate) run: PathBuf,
    /// The server's log.
    pub(crate) log: PathBuf,
    /// Who runs the server.
    pub(crate) account: Account,
}

impl Layout {
    /// Makes what is missing in `dir` and checks that the server's user can work there.
    pub(crate) fn open(dir: &Path) -> Result<Layout, Error> {
        DirBuilder::new()
            .recursive(true)
            .create(dir)
            .map_err(Error::io("make directory", dir))?;
        let dir = fs::canonicalize(dir).map_err(Error::io("find", dir))?;
        let data = dir.join("data");
        let account = Account::for_dir(&dir, &data)?;
        limit_access(&dir)?;
        account.check_reach(&dir)?;

        let run = socket_dir(&dir);
        private_dir(&run, &account)?;
        let log_dir = dir.join("log");
        own_dir(&log_dir)?;
        Ok(Layout {
            log: log_dir.join("postgres.log"),
            dir,
            data,
            run,
            account,
        })
    }

    /// The lock that is held while the server is started or stopped.
    pub(crate) fn gate(&self) -> PathBuf {
        self.dir.join("gate.lock")
    }

    /// The lock that everybody shares who uses the server.
    pub(crate) fn users(&self) -> PathBuf {
        self.dir.join("users.lock")
    }

    /// Opens the log for the server to write to, a fresh one when it has grown too large.
    pub(crate) fn open_log(&self) -> Result<File, Error> {
        let large = fs::symlink_metadata(&self.log)
            .is_ok_and(|metadata| metadata.len() > LARGEST_LOG_BYTES);
        if large {
            let old = self.log.with_extension("log.1");
            fs::rename(&self.log, old).map_err(Error::io("rename", &self.log))?;
        }
        open_own(&self.log, OpenOptions::new().append(true))
    }

    /// The last lines of the log that were written after the first `from` bytes.
    pub(crate) fn log_tail(&self, from: u64) -> String {
        let mut text = Vec::new();
        let read = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(from))?;
            log.take(1 << 16).read_to_end(&mut text)
        });
        if read.is_err() {
            return String::new();
        }
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(6)..].join("; ")
    }
}

/// Opens or makes a file of ours; never through a link that somebody put in its place.
pub(crate) fn open_own(path: &Path, options: &mut OpenOptions) -> Result<File, Error> {
    let no_follow = OFlags::NOFOLLOW.bits().cast_signed();
    options
        .create(true)
        .mode(0o600)
        .custom_flags(no_follow)
        .open(path)
        .map_err(Error::io("open", path))
}

/// The directory is for us alone, except that root lets the server's user pass through.
fn limit_access(dir: &Path) -> Result<(), Error> {
    let metadata = fs::metadata(dir).map_err(Error::io("look at", dir))?;
    if metadata.uid() != geteuid().as_raw() {
        return Ok(());
    }
    let mode = if metadata.uid() == 0 { 0o711 } else { 0o700 };
    fs::set_permissions(dir, Permissions::from_mode(mode))
        .map_err(Error::io("set the mode of", dir))
}

/// Makes a directory that only the server's user (and root) can enter. One that exists must be a real
/// directory of that user: in a shared place such as `/tmp` anybody could have made it.
pub(crate) fn private_dir(path: &Path, account: &Account) -> Result<(), Error> {
    if make_dir(path)? {
        account.give(path)?;
    }
    let metadata = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
    if !metadata.is_dir() || !account.owns(&metadata) {
        return Err(Error::NotOwner {
            path: path.to_owned(),
            owner: Account::owner_name(&metadata),
            user: account.name().to_owned(),
        });
    }
    if metadata.mode() & 0o777 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))
            .map_err(Error::io("set the mode of", path))?;
    }
    Ok(())
}

/// Makes a directory that stays with the user who runs quire.
fn own_dir(path: &Path) -> Result<(), Error> {
    make_dir(path)?;
    let metadata = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
    if metadata.is_dir() {
        return Ok(());
    }
    Err(Error::ForeignData(path.to_owned()))
}

/// Whether the directory had to be made.
fn make_dir(path: &Path) -> Result<bool, Error> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::io("make directory", path)(error)),
    }
}

/// `run` in the directory, or a short stand-in for a path that no socket address can hold. The name is a
/// hash of the directory, so that every process finds the same one.
fn socket_dir(dir: &Path) -> PathBuf {
    let run = dir.join("run");
    let socket = socket_in(&run);
    let plain = run.to_str().is_some_and(|path| !path.contains(['"', '\n']));
    if plain && socket.as_os_str().len() <= LONGEST_SOCKET_PATH {
        return run;
    }
    PathBuf::from(format!(
        "/tmp/quire-pg-{:016x}",
        fnv(dir.as_os_str().as_bytes())
    ))
}

/// FNV-1a: the standard library promises no hash that stays the same between builds.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
