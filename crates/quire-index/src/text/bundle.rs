//! tantivy's files of one segment in one run of bytes, and that run read as a directory.
//!
//! ```text
//! magic "QLX1" | crc32 of all that follows (u32) | language (name) | files (u32)
//! per file: name | offset from the first byte after this table (u64) | length (u64)
//! the files
//! ```
//! Numbers are little-endian; a name is its length (u8) and its UTF-8 bytes. Knows nothing of what the
//! files mean. The sum is verified before tantivy sees a byte, since tantivy trusts what it reads.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32fast::Hasher;
use quire_types::Language;
use tantivy::Directory;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{
    DirectoryLock, FileHandle, Lock, OwnedBytes, WatchCallback, WatchHandle, WritePtr,
};

use crate::Error;

const MAGIC: &[u8; 4] = b"QLX1";
/// Magic and sum.
const SUMMED_FROM: usize = 8;

/// Joins files to a bundle.
pub(crate) fn pack(language: Language, files: &[(String, OwnedBytes)]) -> Vec<u8> {
    let content: usize = files.iter().map(|(_, file)| file.len()).sum();
    let mut bytes = Vec::with_capacity(content + 64 * (files.len() + 1));
    bytes.extend(MAGIC);
    bytes.extend([0; 4]);
    push_name(&mut bytes, language.as_str());
    bytes.extend((files.len() as u32).to_le_bytes());
    let mut offset = 0;
    for (name, file) in files {
        push_name(&mut bytes, name);
        bytes.extend((offset as u64).to_le_bytes());
        bytes.extend((file.len() as u64).to_le_bytes());
        offset += file.len();
    }
    for (_, file) in files {
        bytes.extend(file.as_slice());
    }
    let sum = crc32fast::hash(&bytes[SUMMED_FROM..]);
    bytes[MAGIC.len()..SUMMED_FROM].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// tantivy's names are a UUID and an ending: far below 255 bytes.
fn push_name(bytes: &mut Vec<u8>, name: &str) {
    let name = &name.as_bytes()[..name.len().min(255)];
    bytes.push(name.len() as u8);
    bytes.extend(name);
}

/// The checksum of all bytes of a bundle, told from its own sum of most of them. Holds where that is true, which
/// [opening](Bundle::open) verifies.
pub(crate) fn checksum(bytes: &[u8]) -> Option<u32> {
    let (head, rest) = bytes.split_at_checked(SUMMED_FROM)?;
    let sum = u32::from_le_bytes(*head.last_chunk()?);
    let mut hasher = Hasher::new();
    hasher.update(head);
    hasher.combine(&Hasher::new_with_initial_len(sum, rest.len() as u64));
    Some(hasher.finalize())
}

/// A bundle as tantivy's directory: every file a slice of it, nothing writable.
#[derive(Clone)]
pub(crate) struct Bundle {
    files: Arc<[(PathBuf, OwnedBytes)]>,
}

impl Bundle {
    /// Verifies the sum and finds the files.
    pub(crate) fn open(bytes: OwnedBytes) -> Result<(Language, Self), Error> {
        let sum = bytes
            .get(MAGIC.len()..SUMMED_FROM)
            .filter(|_| bytes.starts_with(MAGIC))
            .ok_or(Error::Damaged("not a lexical bundle of this version"))?;
        if sum != crc32fast::hash(&bytes[SUMMED_FROM..]).to_le_bytes() {
            return Err(Error::Damaged("checksum"));
        }
        let mut table = Table {
            bytes: &bytes,
            at: SUMMED_FROM,
        };
        let language = table
            .name()
            .and_then(|name| name.parse().ok())
            .ok_or(Error::Damaged("unknown language"))?;
        let ranges = table.files().ok_or(Error::Damaged("table of files"))?;
        let start = table.at;
        let mut files = Vec::with_capacity(ranges.len());
        for (name, range) in ranges {
            let range = start
                .checked_add(range.start)
                .zip(start.checked_add(range.end))
                .map(|(from, to)| from..to)
                .filter(|range| range.start <= range.end && range.end <= bytes.len())
                .ok_or(Error::Damaged("a file beyond the end"))?;
            files.push((name, bytes.slice(range)));
        }
        Ok((
            language,
            Self {
                files: files.into(),
            },
        ))
    }

    fn file(&self, path: &Path) -> Result<&OwnedBytes, OpenReadError> {
        self.files
            .iter()
            .find(|(name, _)| name == path)
            .map(|(_, bytes)| bytes)
            .ok_or_else(|| OpenReadError::FileDoesNotExist(path.to_owned()))
    }
}

struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Table<'_> {
    fn files(&mut self) -> Option<Vec<(PathBuf, Range<usize>)>> {
        let count = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        let mut files = Vec::new();
        for _ in 0..count {
            let name = PathBuf::from(self.name()?);
            let offset = self.number()?;
            let length = self.number()?;
            files.push((name, offset..offset.checked_add(length)?));
        }
        Some(files)
    }

    fn name(&mut self) -> Option<String> {
        let length = *self.take(1)?.first()?;
        let name = self.take(length.into())?.to_vec();
        String::from_utf8(name).ok()
    }

    fn number(&mut self) -> Option<usize> {
        let number = u64::from_le_bytes(self.take(8)?.try_into().ok()?);
        usize::try_from(number).ok()
    }

    fn take(&mut self, length: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.files.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Directory for Bundle {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        Ok(Arc::new(self.file(path)?.clone()))
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.file(path).is_ok())
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        Ok(self.file(path)?.to_vec())
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError {
            io_error: Arc::new(read_only()),
            filepath: path.to_owned(),
        })
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(read_only(), path.to_owned()))
    }

    fn atomic_write(&self, _path: &Path, _data: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    /// Nothing changes here, so there is nothing to lock.
    fn acquire_lock(&self, _lock: &Lock) -> Result<DirectoryLock, LockError> {
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, "a bundle is read-only")
}
