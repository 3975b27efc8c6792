//! Copies of segments on local disk, where the object store is far away.
//!
//! A segment that is read again and again is copied as a whole, in the background; from then on its ranges are
//! read from the copy. What is used more often stays (TinyLFU), within a number of bytes. A copy is believed as
//! little as the store is: readers check every byte, and [`Objects::distrust`](super::Objects::distrust) drops
//! a copy that does not agree. Nothing is lost with this directory.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use moka::notification::RemovalCause;
use moka::sync::Cache;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::ObjectKey;

/// Reads of a segment before it is copied; opening and asking it once takes three.
const COPIED_FROM: u32 = 8;
/// Copies that are made at a time.
const AT_ONCE: usize = 2;
/// No copy takes longer.
const LONGEST_COPY: Duration = Duration::from_hours(1);
/// Segments whose reads are counted.
const COUNTED: u64 = 100_000;
/// Sizes are counted in units, since they must fit into 32 bits.
const UNIT_BYTES: u64 = 4_096;

/// Where copies are kept.
#[derive(Clone, Debug)]
pub struct CopiesConfig {
    /// A directory of their own.
    pub dir: PathBuf,
    /// The bytes of all of them, at most.
    pub bytes: u64,
}

/// What became of reads that a copy could have answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyTotals {
    /// Reads from copies.
    pub hits: u64,
    /// Reads from the store.
    pub misses: u64,
    /// Copies there are.
    pub copies: u64,
    /// Their bytes.
    pub bytes: u64,
}

#[derive(Debug)]
pub(super) struct Copies {
    dir: PathBuf,
    /// Bytes of each copy.
    kept: Cache<ObjectKey, u64>,
    reads: Cache<ObjectKey, u32>,
    copying: Semaphore,
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Copies {
    /// Opens the directory, with what an earlier process left in it.
    pub(super) fn open(config: CopiesConfig) -> io::Result<Self> {
        let CopiesConfig { dir, bytes } = config;
        fs::create_dir_all(&dir)?;
        let root = dir.clone();
        let kept = Cache::builder()
            .max_capacity(bytes / UNIT_BYTES)
            .weigher(|_: &ObjectKey, bytes: &u64| {
                u32::try_from(bytes / UNIT_BYTES + 1).unwrap_or(u32::MAX)
            })
            .eviction_listener(move |key, _, cause| {
                if cause != RemovalCause::Replaced {
                    remove(&root.join(key.as_str()));
                }
            })
            .build();
        let copies = Self {
            kept,
            reads: Cache::new(COUNTED),
            copying: Semaphore::new(AT_ONCE),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            dir,
        };
        for (key, bytes) in copies.left()? {
            copies.kept.insert(key, bytes);
        }
        Ok(copies)
    }

    /// The copies in the directory; what a process was writing that died is removed.
    fn left(&self) -> io::Result<Vec<(ObjectKey, u64)>> {
        let mut found = Vec::new();
        let mut dirs = vec![self.dir.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let path = entry.path();
                if entry.file_type()?.is_dir() {
                    dirs.push(path);
                } else if path.extension().is_some_and(|end| end == "qseg") {
                    if let Some(name) = path.strip_prefix(&self.dir).ok().and_then(Path::to_str) {
                        let key = ObjectKey::found(&ObjectPath::from(name));
                        found.push((key, entry.metadata()?.len()));
                    }
                } else if is_old(&entry.metadata()?) {
                    remove(&path);
                }
            }
        }
        Ok(found)
    }

    /// These ranges of a copy; none when there is no copy, or not one that has them.
    pub(super) async fn ranges(
        &self,
        key: &ObjectKey,
        ranges: &[Range<u64>],
    ) -> Option<Vec<Bytes>> {
        self.kept.get(key)?;
        let (path, wanted) = (self.path(key), ranges.to_vec());
        let read = tokio::task::spawn_blocking(move || {
            let file = File::open(path)?;
            let read = |range: &Range<u64>| {
                let length = usize::try_from(range.end - range.start).unwrap_or(0);
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, range.start)?;
                Ok(Bytes::from(bytes))
            };
            wanted.iter().map(read).collect::<io::Result<Vec<Bytes>>>()
        });
        let Ok(Ok(read)) = read.await else {
            self.forget(key);
            return None;
        };
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(read)
    }

    /// Notes that a segment was read from the store, and copies it when that happens often.
    pub(super) fn was_read(self: &Arc<Self>, store: &Arc<dyn ObjectStore>, key: &ObjectKey) {
        self.misses.fetch_add(1, Ordering::Relaxed);
        let reads = self.reads.get(key).unwrap_or(0) + 1;
        self.reads.insert(key.clone(), reads);
        if reads < COPIED_FROM {
            return;
        }
        self.reads.invalidate(key);
        let (copies, store, key) = (self.clone(), store.clone(), key.clone());
        tokio::spawn(async move {
            // Who can't be copied now is read again.
            let Ok(_turn) = copies.copying.try_acquire() else {
                return;
            };
            if let Err(error) = copies.copy(&*store, &key).await {
                tracing::warn!(object = key.as_str(), %error,
                    "a segment can't be copied to local disk; it is read from the store");
            }
        });
    }

    async fn copy(&self, store: &dyn ObjectStore, key: &ObjectKey) -> Result<(), CopyError> {
        let object = store.get(&key.path()).await?;
        let size = object.meta.size;
        if size > self.kept.policy().max_capacity().unwrap_or(0) * UNIT_BYTES {
            return Ok(());
        }
        let path = self.path(key);
        let part = path.with_extension(format!("{}.part", Uuid::now_v7().simple()));
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        let written = async {
            let mut file = tokio::fs::File::create(&part).await?;
            let mut bytes = object.into_stream();
            let mut written = 0;
            while let Some(piece) = bytes.next().await {
                let piece = piece?;
                written += piece.len() as u64;
                file.write_all(&piece).await?;
            }
            file.flush().await?;
            if written != size {
                return Err(CopyError::Cut);
            }
            Ok(tokio::fs::rename(&part, &path).await?)
        };
        if let Err(error) = written.await {
            remove(&part);
            return Err(error);
        }
        self.kept.insert(key.clone(), size);
        self.kept.run_pending_tasks();
        Ok(())
    }

    /// Drops a copy; whether there was one.
    pub(super) fn forget(&self, key: &ObjectKey) -> bool {
        let kept = self.kept.remove(key).is_some();
        remove(&self.path(key));
        kept
    }

    /// Drops every copy of a tenant.
    pub(super) fn forget_all(&self, prefix: &str) {
        for (key, _) in &self.kept {
            if key.as_str().starts_with(prefix) {
                self.forget(&key);
            }
        }
        match fs::remove_dir_all(self.dir.join(prefix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(%prefix, %error,
                    "the copies of a tenant's segments can't be removed from local disk");
            }
            _ => {}
        }
    }

    /// The tenants and incarnations that there are copies of.
    pub(super) fn owners(&self) -> Vec<(Uuid, Uuid)> {
        let mut owners: Vec<(Uuid, Uuid)> = self
            .kept
            .iter()
            .filter_map(|(key, _)| key.owner())
            .collect();
        owners.sort_unstable();
        owners.dedup();
        owners
    }

    pub(super) fn totals(&self) -> CopyTotals {
        self.kept.run_pending_tasks();
        CopyTotals {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            copies: self.kept.entry_count(),
            bytes: self.kept.weighted_size() * UNIT_BYTES,
        }
    }

    fn path(&self, key: &ObjectKey) -> PathBuf {
        self.dir.join(key.as_str())
    }
}

/// Whether nobody can be writing it any more.
fn is_old(file: &fs::Metadata) -> bool {
    let age = file.modified().ok().and_then(|at| at.elapsed().ok());
    age.is_some_and(|age| age > LONGEST_COPY)
}

fn remove(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "a copy can't be removed");
        }
        _ => {}
    }
}

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
enum CopyError {
    #[error(transparent)]
    Store(#[from] object_store::Error),
    #[error("local disk: {0}")]
    Disk(#[from] io::Error),
    #[error("the object was cut off")]
    Cut,
}
