//! The bytes of sources, in any object store.
//!
//! A key is made by one function from a tenant's placement and is random below it: objects are
//! immutable, so two uploads never meet, and a row that names the key is what makes an object count.

use std::path::Path as FilePath;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Error, Placement};

/// The name of an object; always inside one tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectKey(String);

impl ObjectKey {
    /// A new name for the bytes of a source.
    pub fn original(placement: Placement) -> Self {
        Self(format!(
            "{}originals/{}",
            prefix(placement),
            Uuid::now_v7().simple()
        ))
    }

    /// A name read back from a row or a task; refused when it lies outside the tenant.
    pub fn stored(placement: Placement, key: &str) -> Result<Self, Error> {
        if key.starts_with(&prefix(placement)) && !key.contains("..") {
            Ok(Self(key.to_owned()))
        } else {
            Err(Error::NotFound { what: "object" })
        }
    }

    /// The name as stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn path(&self) -> Path {
        Path::from(self.0.as_str())
    }
}

fn prefix(placement: Placement) -> String {
    format!("t/{}/{}/", placement.tenant.uuid(), placement.incarnation)
}

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

/// An object store.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
}

/// Parts of an upload; S3 wants at least 5 MiB.
const PART_BYTES: usize = 8 << 20;

impl Objects {
    /// Objects as files below a directory. Every write reaches the disk before it counts.
    pub fn directory(root: &FilePath) -> Result<Self, Error> {
        std::fs::create_dir_all(root).map_err(|source| {
            Error::Invalid(format!(
                "can't create the object directory {}: {source}",
                root.display()
            ))
        })?;
        let store = LocalFileSystem::new_with_prefix(root)?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(Self {
            store: Arc::new(store),
        })
    }

    /// Stores a stream of bytes under a new name, hashing on the way. Stops, and leaves nothing
    /// behind, as soon as more than `limit_bytes` have arrived or the stream fails.
    pub async fn upload<E>(
        &self,
        placement: Placement,
        mut bytes: BoxStream<'_, Result<Bytes, E>>,
        limit_bytes: u64,
    ) -> Result<Upload, UploadError<E>> {
        let key = ObjectKey::original(placement);
        let upload = self
            .store
            .put_multipart(&key.path())
            .await
            .map_err(store_error)?;
        let mut writer = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        let mut hash = Sha256::new();
        let mut size_bytes = 0_u64;
        let written = async {
            while let Some(part) = bytes.next().await {
                let part = part.map_err(UploadError::Source)?;
                size_bytes += part.len() as u64;
                if size_bytes > limit_bytes {
                    return Err(UploadError::Store(Error::TooLarge(format!(
                        "the file is larger than {limit_bytes} bytes: split it, or raise limits.file_bytes"
                    ))));
                }
                hash.update(&part);
                writer.wait_for_capacity(2).await.map_err(store_error)?;
                writer.put(part);
            }
            Ok(())
        }
        .await;
        if let Err(error) = written {
            // What can't be removed now is an orphan: no row names it, and a sweep may take it.
            drop(writer.abort().await);
            return Err(error);
        }
        writer.finish().await.map_err(store_error)?;
        Ok(Upload {
            key,
            content_hash: hash.finalize().to_vec(),
            size_bytes,
        })
    }

    /// All bytes of an object.
    pub async fn read(&self, key: &ObjectKey) -> Result<Bytes, Error> {
        Ok(self.store.get(&key.path()).await?.bytes().await?)
    }

    /// The bytes of an object as they come.
    pub async fn stream(
        &self,
        key: &ObjectKey,
    ) -> Result<BoxStream<'static, Result<Bytes, Error>>, Error> {
        let object = self.store.get(&key.path()).await?;
        Ok(object.into_stream().map_err(Error::from).boxed())
    }

    /// Removes an object; one that is gone already is no error.
    pub async fn delete(&self, key: &ObjectKey) -> Result<(), Error> {
        match self.store.delete(&key.path()).await {
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Every object of a tenant, for checks and tests.
    pub async fn list(&self, placement: Placement) -> Result<Vec<ObjectKey>, Error> {
        let prefix = Path::from(prefix(placement));
        let names: Vec<Path> = self
            .store
            .list(Some(&prefix))
            .map_ok(|object| object.location)
            .try_collect()
            .await?;
        Ok(names
            .into_iter()
            .map(|name| ObjectKey(name.to_string()))
            .collect())
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
    let full = std::iter::successors(
        Some(&error as &(dyn std::error::Error + 'static)),
        |error| error.source(),
    )
    .filter_map(|error| error.downcast_ref::<std::io::Error>())
    .any(|error| error.kind() == std::io::ErrorKind::StorageFull);
    UploadError::Store(if full { Error::DiskFull } else { error.into() })
}
