//! A zip container that may be hostile: entries are counted before it is opened, and every unpacked
//! byte is counted while it appears. Declared sizes only ever make it refuse earlier.

use std::io::{Cursor, Read};

use zip::ZipArchive;
use zip::result::ZipError;

use super::error::ExtractError;
use super::limits::Limits;

/// What people call the files that are zip containers.
pub(super) const FORMAT: &str = "Office";
const CENTRAL_ENTRY: &[u8] = b"PK\x01\x02";
const RATIO_GRACE_BYTES: u64 = 100 << 10;

pub(super) struct Archive<'a> {
    zip: ZipArchive<Cursor<&'a [u8]>>,
    limits: &'a Limits,
    unpacked: u64,
}

impl<'a> Archive<'a> {
    pub(super) fn open(bytes: &'a [u8], limits: &'a Limits) -> Result<Self, ExtractError> {
        // The directory is parsed into memory as a whole, so it is counted first.
        let entries = bytes
            .windows(CENTRAL_ENTRY.len())
            .filter(|window| *window == CENTRAL_ENTRY)
            .count();
        if entries as u64 > limits.max_zip_entries {
            return Err(ExtractError::too_large(
                "files in the container",
                limits.max_zip_entries,
            ));
        }
        let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(damaged)?;
        if zip.has_overlapping_files().map_err(damaged)? {
            return Err(ExtractError::refused(
                "files in the container overlap, as in a zip bomb",
            ));
        }
        if zip
            .decompressed_size()
            .is_some_and(|size| size > u128::from(limits.max_unpacked_bytes))
        {
            return Err(ExtractError::too_large(
                "bytes after unpacking",
                limits.max_unpacked_bytes,
            ));
        }
        Ok(Self {
            zip,
            limits,
            unpacked: 0,
        })
    }

    /// Unpacks one entry, or says that there is none of that name.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, ExtractError> {
        let mut entry = match self.zip.by_name(name) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(damaged(error)),
        };
        if entry.encrypted() {
            return Err(ExtractError::OldOffice {
                found: "the document is encrypted".into(),
            });
        }
        let stored = entry.compressed_size().max(1);
        let mut content = Vec::new();
        let mut chunk = [0; 64 << 10];
        loop {
            let count = entry
                .read(&mut chunk)
                .map_err(|error| ExtractError::damaged(FORMAT, error))?;
            if count == 0 {
                return Ok(Some(content));
            }
            content.extend_from_slice(&chunk[..count]);
            self.unpacked += count as u64;
            let size = content.len() as u64;
            if self.unpacked > self.limits.max_unpacked_bytes {
                return Err(ExtractError::too_large(
                    "bytes after unpacking",
                    self.limits.max_unpacked_bytes,
                ));
            }
            if size > RATIO_GRACE_BYTES && size / stored > self.limits.max_ratio {
                return Err(ExtractError::refused(
                    "it unfolds into far more than it holds, as a zip bomb does",
                ));
            }
        }
    }
}

fn damaged(error: ZipError) -> ExtractError {
    ExtractError::damaged(FORMAT, error)
}
