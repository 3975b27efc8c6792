//! Immutable bytes in any object store: the files of sources and the segments of the search index.
//!
//! A key is made from a tenant's placement and is random below it, and a row that names the key is what
//! makes an object count. What is in an object is nobody's business here.

mod copies;
mod key;
mod multipart;
mod s3;
mod torn;

use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use self::copies::Copies;
pub use self::copies::{CopiesConfig, CopyTotals};
pub use self::key::ObjectKey;
use self::multipart::{Multipart, PART_BYTES};
pub use self::s3::{S3Config, S3Credentials};
use crate::{Error, Placement};

/// An object that was stored and belongs to no row yet.
#[derive(Clone, Debug)]
pub struct Upload {
    /// Its name.
    pub key: ObjectKey,
    /// SHA-256 of the bytes.
    pub content_hash: Vec<u8>,
    /// How many bytes.
    pub size_bytes: u64,
}

/// An object as a listing tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its name.
    pub key: ObjectKey,
    /// How many bytes.
    pub size_bytes: u64,
    /// When it was written, by the clock of the store.
    pub modified: DateTime<Utc>,
}

/// An object store. A clone is the same store.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    /// The directory of a store of files.
    root: Option<PathBuf>,
    copies: Option<Arc<Copies>>,
}

impl Objects {
    /// Objects in a store of any other kind.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            root: None,
            copies: None,
        }
    }

    /// Objects as files below a directory. Every write reaches the disk before it counts.
    pub fn directory(root: &FilePath) -> Result<Self, Error> {
        std::fs::create_dir_all(root).map_err(|source| {
            Error::Invalid(format!(
                "can't create the object directory {}: {source}",
                root.display()
            ))
        })?;
        // Without its cleanup of empty directories: the removal of a tenant's last object would take the
        // directory from under another one that is being written.
        let store = LocalFileSystem::new_with_prefix(root)?.with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            root: Some(root.to_owned()),
            copies: None,
        })
    }

    /// The same objects, with copies of segments that are read often on local disk.
    pub fn with_copies(self, config: CopiesConfig) -> Result<Self, Error> {
        let dir = config.dir.clone();
        let copies = Copies::open(config).map_err(|source| {
            Error::Invalid(format!(
                "can't use the directory {} for copies of segments: {source}",
                dir.display()
            ))
        })?;
        Ok(Self {
            copies: Some(Arc::new(copies)),
            ..self
        })
    }

    /// The same objects as the store has them, without copies.
    pub fn without_copies(&self) -> Self {
        Self {
            copies: None,
            ..self.clone()
        }
    }

    /// The same objects with something around their store, such as a cache or what makes it fail.
    pub fn wrapped(self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Self {
            store: wrap(self.store),
            ..self
        }
    }

    /// Stores a stream of bytes under a new name, hashing on the way. Stops, and leaves nothing
    /// behind, as soon as more than `limit_bytes` have arrived or the stream fails.
    pub async fn upload<E>(
        &self,
        placement: Placement,
        bytes: BoxStream<'_, Result<Bytes, E>>,
        limit_bytes: u64,
    ) -> Result<Upload, UploadError<E>> {
        let key = ObjectKey::original(placement);
        let mut hash = Sha256::new();
        let mut arrived = 0_u64;
        let bytes = bytes.map(|part| {
            let part = part.map_err(UploadError::Source)?;
            arrived += part.len() as u64;
            if arrived > limit_bytes {
                return Err(UploadError::Store(Error::TooLarge(format!(
                    "the file is larger than {limit_bytes} bytes: split it, or raise limits.file_bytes"
                ))));
            }
            hash.update(&part);
            Ok(part)
        });
        // The name is new, so nothing can be there.
        let size_bytes = self.write(&key, bytes.boxed()).await?;
        Ok(Upload {
            key,
            content_hash: hash.finalize().to_vec(),
            size_bytes,
        })
    }

    /// Writes an object in one piece; [`Error::Conflict`] when the name is taken.
    ///
    /// After an error that leaves open what happened (`Unavailable`), the object may be there all the
    /// same: try again under a new name, and leave the old one to the sweep of orphans.
    pub async fn put(&self, key: &ObjectKey, bytes: Bytes) -> Result<(), Error> {
        self.put_whole(key, vec![bytes]).await
    }

    /// Like [`put`](Self::put), with the bytes in several pieces of memory.
    pub async fn put_whole(&self, key: &ObjectKey, pieces: Vec<Bytes>) -> Result<(), Error> {
        let payload = PutPayload::from_iter(pieces);
        let create = PutMode::Create.into();
        self.store.put_opts(&key.path(), payload, create).await?;
        Ok(())
    }

    /// Writes an object from a stream with bounded memory, and returns its size in bytes; otherwise like
    /// [`put`](Self::put).
    ///
    /// The bytes go to a name of their own below `staging/` first, since no store completes an upload in
    /// parts only if the name is free; then they get their name if it is free. That is a link in a
    /// directory, and a copy within the store on S3.
    pub async fn put_parts<E>(
        &self,
        key: &ObjectKey,
        bytes: BoxStream<'_, Result<Bytes, E>>,
    ) -> Result<u64, UploadError<E>> {
        let staging = key.staging();
        let size_bytes = self
            .write(&staging, bytes.map_err(UploadError::Source).boxed())
            .await?;
        let named = self
            .store
            .rename_if_not_exists(&staging.path(), &key.path())
            .await;
        if let Err(error) = named {
            // What can't be removed now is an orphan: no row names it, and a sweep may take it.
            drop(self.delete(&staging).await);
            return Err(UploadError::Store(error.into()));
        }
        Ok(size_bytes)
    }

    /// Writes an object from a file, like [`put_parts`](Self::put_parts).
    pub async fn put_file(&self, key: &ObjectKey, file: &FilePath) -> Result<u64, Error> {
        let file = tokio::fs::File::open(file)
            .await
            .map_err(|source| file_error(file, &source))?;
        let parts = futures::stream::try_unfold(file, |mut file| async move {
            let mut part = Vec::with_capacity(PART_BYTES);
            let read = (&mut file)
                .take(PART_BYTES as u64)
                .read_to_end(&mut part)
                .await?;
            Ok::<_, std::io::Error>((read > 0).then(|| (Bytes::from(part), file)))
        });
        let written = self.put_parts(key, parts.boxed()).await;
        written.map_err(|error| match error {
            UploadError::Store(error) => error,
            UploadError::Source(error) => Error::Invalid(format!("can't read the file: {error}")),
        })
    }

    /// All bytes of an object.
    pub async fn read(&self, key: &ObjectKey) -> Result<Bytes, Error> {
        let object = self.store.get(&key.path()).await?;
        let size_bytes = object.meta.size;
        let bytes = object.bytes().await?;
        if bytes.len() as u64 != size_bytes {
            return Err(Error::Truncated { what: "object" });
        }
        Ok(bytes)
    }

    /// The bytes from `range.start` to before `range.end`: all of them, or an error.
    pub async fn range(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes, Error> {
        let mut found = self.ranges(key, std::slice::from_ref(&range)).await?;
        Ok(found.pop().unwrap_or_default())
    }

    /// Several ranges of one object in the order asked for: all bytes of all of them, or an error.
    /// Ranges with a small gap between them are read as one (where a read is a request: up to 1 MiB), the
    /// others side by side, ten at a time.
    pub async fn ranges(
        &self,
        key: &ObjectKey,
        ranges: &[Range<u64>],
    ) -> Result<Vec<Bytes>, Error> {
        if let Some(range) = ranges.iter().find(|range| range.start > range.end) {
            return Err(Error::Invalid(format!(
                "the range {}..{} of an object ends before it starts",
                range.start, range.end
            )));
        }
        // Stores refuse to read nothing.
        let asked: Vec<Range<u64>> = ranges.iter().filter(|r| !r.is_empty()).cloned().collect();
        if asked.is_empty() {
            return Ok(vec![Bytes::new(); ranges.len()]);
        }
        let copies = self.copies.as_ref().filter(|_| key.is_segment());
        let copied = match copies {
            Some(copies) => copies.ranges(key, &asked).await,
            None => None,
        };
        let is_copied = copied.is_some();
        let read = match copied {
            Some(read) => Ok(read),
            None => self.store.get_ranges(&key.path(), &asked).await,
        };
        let read = match read {
            Ok(read) => read,
            Err(error @ object_store::Error::Generic { .. }) => {
                // Stores have no common error for a range beyond the end, and it must not look like an
                // outage, which is worth another try.
                let end = asked.iter().map(|range| range.end).max().unwrap_or(0);
                return Err(match self.head(key).await {
                    Ok(size_bytes) if size_bytes < end => Error::Truncated { what: "object" },
                    _ => error.into(),
                });
            }
            Err(error) => return Err(error.into()),
        };
        let whole =
            |(range, bytes): (&Range<u64>, &Bytes)| range.end - range.start == bytes.len() as u64;
        if read.len() != asked.len() || !asked.iter().zip(&read).all(whole) {
            return Err(Error::Truncated { what: "object" });
        }
        if let Some(copies) = copies
            && !is_copied
        {
            copies.was_read(&self.store, key);
        }
        let mut read = read.into_iter();
        let answer = ranges.iter().map(|range| match range.is_empty() {
            true => Bytes::new(),
            false => read.next().unwrap_or_default(),
        });
        Ok(answer.collect())
    }

    /// How many bytes an object has.
    pub async fn head(&self, key: &ObjectKey) -> Result<u64, Error> {
        Ok(self.store.head(&key.path()).await?.size)
    }

    /// The bytes of an object as they come.
    pub async fn stream(
        &self,
        key: &ObjectKey,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let object = self.store.get(&key.path()).await?;
        Ok(object.into_stream().map_err(Error::from).boxed())
    }

    /// Drops the copy of a segment whose bytes were not what was written. Whether there was one: then the
    /// store may have the right ones.
    pub fn distrust(&self, key: &ObjectKey) -> bool {
        let copies = self.copies.as_ref();
        copies.is_some_and(|copies| copies.forget(key))
    }

    /// The tenants and incarnations that there are copies of on this machine.
    pub fn copied(&self) -> Vec<(Uuid, Uuid)> {
        let copies = self.copies.as_ref();
        copies.map(|copies| copies.owners()).unwrap_or_default()
    }

    /// Drops the copies of a tenant's segments, by tenant and incarnation, on this machine.
    pub fn forget_copies(&self, (tenant, incarnation): (Uuid, Uuid)) {
        if let Some(copies) = &self.copies {
            copies.forget_all(&key::prefix_of(tenant, incarnation));
        }
    }

    /// What became of reads of segments; none where no copies are kept.
    pub fn copy_totals(&self) -> Option<CopyTotals> {
        Some(self.copies.as_ref()?.totals())
    }

    /// Removes an object; one that is gone already is no error.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        self.distrust(key);
        match self.store.delete(&key.path()).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Removes every object of a tenant and returns how many there were. Safe to repeat: a second call
    /// returns what was written meanwhile, and 0 is the proof that nothing is left.
    pub async fn delete_all(&self, placement: Placement) -> Result<u64, Error> {
        self.forget_copies((placement.tenant.uuid(), placement.incarnation));
        let prefix = Path::from(key::prefix(placement));
        let names = self.store.list(Some(&prefix));
        let names = names.map_ok(|object| object.location).boxed();
        let mut deleted = self.store.delete_stream(names);
        let mut count = 0;
        while let Some(name) = deleted.next().await {
            match name {
                Ok(_) => count += 1,
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(root) = &self.root {
            // Files of uploads that a crash cut off have no name that a listing tells.
            match tokio::fs::remove_dir_all(root.join(prefix.as_ref())).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(directory_error(error).into());
                }
                _ => {}
            }
        }
        Ok(count)
    }

    /// The name of every object of a tenant, in no order.
    pub async fn list(&self, placement: Placement) -> Result<Vec<ObjectKey>, Error> {
        let entries = self.entries(placement).await?;
        Ok(entries.into_iter().map(|entry| entry.key).collect())
    }

    /// Every object of a tenant with its size and age, in no order.
    pub async fn entries(&self, placement: Placement) -> Result<Vec<ObjectEntry>, Error> {
        let prefix = Path::from(key::prefix(placement));
        let entries = self.store.list(Some(&prefix)).map_ok(|object| ObjectEntry {
            key: ObjectKey::found(&object.location),
            size_bytes: object.size,
            modified: object.last_modified,
        });
        Ok(entries.try_collect().await?)
    }

    /// Removes what writes to a directory left over that were cut off, and says how many bytes that is: files
    /// of the tenant that no listing tells, last written before an instant. A dry run leaves them.
    pub async fn remove_torn(
        &self,
        placement: Placement,
        before: DateTime<Utc>,
        is_dry: bool,
    ) -> Result<u64, Error> {
        let Some(root) = &self.root else {
            return Ok(0);
        };
        let dir = root.join(key::prefix(placement));
        let removed =
            tokio::task::spawn_blocking(move || torn::remove(&dir, before.into(), is_dry));
        let removed = removed.await.map_err(|_| Error::Interrupted)?;
        removed.map_err(|error| directory_error(error).into())
    }

    /// Writes a stream in parts, over whatever has the name, and returns its size in bytes.
    async fn write<E>(
        &self,
        key: &ObjectKey,
        mut bytes: BoxStream<'_, Result<Bytes, UploadError<E>>>,
    ) -> Result<u64, UploadError<E>> {
        let upload = self.store.put_multipart(&key.path()).await;
        let mut writer = Multipart::new(upload.map_err(store_error)?);
        let mut size_bytes = 0;
        let written = async {
            while let Some(part) = bytes.next().await {
                let part = part?;
                size_bytes += part.len() as u64;
                writer.write(part).await.map_err(store_error)?;
            }
            writer.finish().await.map_err(store_error)
        }
        .await;
        if let Err(error) = written {
            writer.abort().await;
            return Err(error);
        }
        Ok(size_bytes)
    }
}

/// Why an upload ended early.
#[derive(Debug, thiserror::Error)]
pub enum UploadError<E> {
    /// The bytes stopped coming.
    #[error("the upload was cut off")]
    Source(E),
    /// The store refused them.
    #[error(transparent)]
    Store(Error),
}

fn store_error<E>(error: object_store::Error) -> UploadError<E> {
    UploadError::Store(error.into())
}

fn directory_error(error: std::io::Error) -> object_store::Error {
    object_store::Error::Generic {
        store: "directory",
        source: error.into(),
    }
}

fn file_error(file: &FilePath, source: &std::io::Error) -> Error {
    Error::Invalid(format!("can't read {}: {source}", file.display()))
}
