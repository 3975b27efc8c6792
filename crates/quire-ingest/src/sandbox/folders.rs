//! Where reading children work: a folder for each process of quire, and in it one for each file.
//!
//! The process holds a lock on its folder for as long as it lives, which those who tidy up `/tmp` respect. What the
//! dead left behind nobody holds, and the next process removes it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use tempfile::{Builder, TempDir};
use tracing::warn;

const PREFIX: &str = "quire-parse-";
/// Until it is locked a folder has another name, so that nobody takes it for that of a dead process.
const MAKING_PREFIX: &str = "quire-making-";
/// Whoever makes one needs less.
const MAKING: Duration = Duration::from_mins(1);

/// The folder of this process.
#[derive(Debug)]
pub(super) struct Folders {
    own: PathBuf,
    _lock: File,
    /// Whether something of the dead may be left: what they started ends a second or two after them.
    is_littered: AtomicBool,
}

impl Folders {
    /// Makes one in this folder, and removes those of the dead.
    pub(super) fn new(parent: &Path) -> io::Result<Self> {
        let making = Builder::new().prefix(MAKING_PREFIX).tempdir_in(parent)?;
        let lock = File::open(making.path())?;
        lock.try_lock()?;
        let name = making.path().file_name().unwrap_or_default();
        let name = name.to_string_lossy().replace(MAKING_PREFIX, PREFIX);
        let own = parent.join(name);
        fs::rename(making.path(), &own)?;
        // It is no longer there under its first name.
        drop(making.keep());
        let folders = Self {
            own,
            _lock: lock,
            is_littered: AtomicBool::new(true),
        };
        folders.tidy(parent);
        Ok(folders)
    }

    /// One for a file.
    pub(super) fn one(&self) -> io::Result<TempDir> {
        if self.is_littered.load(Ordering::Relaxed)
            && let Some(parent) = self.own.parent()
        {
            self.tidy(parent);
        }
        TempDir::new_in(&self.own)
    }

    fn tidy(&self, parent: &Path) {
        let is_clean = remove_dead(parent).unwrap_or_else(|error| {
            warn!(%error, "can't look for what dead processes left behind");
            true
        });
        self.is_littered.store(!is_clean, Ordering::Relaxed);
    }
}

impl Drop for Folders {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.own));
    }
}

/// Says whether nothing of them is left that could be removed later.
fn remove_dead(parent: &Path) -> io::Result<bool> {
    let mut is_clean = true;
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let is_made = name.starts_with(PREFIX);
        let is_ours = is_made || name.starts_with(MAKING_PREFIX);
        // Somebody else's may not be opened, and it may be gone already.
        if is_ours
            && entry.file_type()?.is_dir()
            && is_dead(&entry.path(), is_made).unwrap_or(false)
        {
            is_clean &= fs::remove_dir_all(entry.path()).is_ok();
        }
    }
    Ok(is_clean)
}

fn is_dead(folder: &Path, is_made: bool) -> io::Result<bool> {
    let folder = File::open(folder)?;
    let age = SystemTime::now().duration_since(folder.metadata()?.modified()?);
    Ok((is_made || age.is_ok_and(|age| age >= MAKING)) && folder.try_lock().is_ok())
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
        let (dead, _) = make("quire-parse-dead", false);
        let (half_made, _) = make("quire-making-old", true);
        let (new, _) = make("quire-making-new", false);
        let (foreign, _) = make("other-dead", true);
        let (living, lock) = make("quire-parse-living", true);
        lock.lock().unwrap();
        let folders = Folders::new(parent.path()).unwrap();
        let one = folders.one().unwrap();
        assert!(!dead.exists() && !half_made.exists());
        assert!(new.exists() && foreign.exists() && living.exists() && one.path().exists());
        // Its own lock holds against another process, however old it becomes.
        let other = File::open(&folders.own).unwrap();
        assert!(other.try_lock().is_err());
        let own = folders.own.clone();
        drop((one, folders));
        assert!(!own.exists());
    }
}
