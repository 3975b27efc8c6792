//! Where reading children work: a folder for each process of quire, and in it one for each file.
//!
//! The process holds a lock on its folder for as long as it lives, which those who tidy up `/tmp` respect. What the
//! dead left behind nobody holds, and the next process removes it.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::{Builder, TempDir};
use tracing::warn;

const PREFIX: &str = "quire-parse-";
/// A younger folder without a lock may be one that somebody makes right now.
const MAKING: Duration = Duration::from_mins(1);

/// The folder of this process.
#[derive(Debug)]
pub(super) struct Folders {
    own: TempDir,
    _lock: File,
}

impl Folders {
    /// Makes one in this folder, and removes those of the dead.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        if let Err(error) = remove_dead(parent) {
            warn!(%error, "can't look for what dead processes left behind");
        }
        let own = Builder::new().prefix(PREFIX).tempdir_in(parent)?;
        let lock = File::open(own.path())?;
        lock.try_lock()?;
        Ok(Self { own, _lock: lock })
    }

    /// One for a file.
    pub(super) fn one(&self) -> io::Result<TempDir> {
        TempDir::new_in(self.own.path())
    }
}

fn remove_dead(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // Somebody else's may not be removed, and it may be gone already.
        if is_ours && entry.file_type()?.is_dir() && is_dead(&entry.path()).unwrap_or(false) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
    Ok(())
}

fn is_dead(folder: &Path) -> io::Result<bool> {
    let folder = File::open(folder)?;
    let age = SystemTime::now().duration_since(folder.metadata()?.modified()?);
    Ok(age.is_ok_and(|age| age >= MAKING) && folder.try_lock().is_ok())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn what_the_dead_left_behind_goes_and_what_lives_stays() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, is_old: bool| {
            let path = parent.path().join(name);
            fs::create_dir_all(path.join("file")).unwrap();
            let folder = File::open(&path).unwrap();
            if is_old {
                folder.set_modified(SystemTime::now() - 2 * MAKING).unwrap();
            }
            (path, folder)
        };
        let (dead, _) = make("quire-parse-dead", true);
        let (new, _) = make("quire-parse-new", false);
        let (foreign, _) = make("other-dead", true);
        let (living, lock) = make("quire-parse-living", true);
        lock.lock().unwrap();
        let folders = Folders::new(parent.path()).unwrap();
        let one = folders.one().unwrap();
        assert!(!dead.exists());
        assert!(new.exists() && foreign.exists() && living.exists() && one.path().exists());
        // Its own lock holds against another process, however old it becomes.
        let other = File::open(folders.own.path()).unwrap();
        assert!(other.try_lock().is_err());
    }
}
