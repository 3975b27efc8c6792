//! A disk that is small enough to be full.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A file system in memory, mounted below a temporary directory for as long as this lives.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// A disk of so many bytes; none where this process may not mount one.
    pub fn new(bytes: usize) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={bytes}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .stderr(Stdio::null())
            .status();
        mounted
            .is_ok_and(|status| status.success())
            .then_some(Self(dir))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes up all the room that is left.
    pub fn fill(&self) {
        let mut file = fs::File::create(self.filler()).expect("a file");
        let full = loop {
            if let Err(error) = file.write_all(&[0; 4_096]) {
                break error.kind();
            }
        };
        assert_eq!(full, ErrorKind::StorageFull);
    }

    /// Gives that room back.
    pub fn free(&self) {
        fs::remove_file(self.filler()).expect("a file that takes up the room");
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}
