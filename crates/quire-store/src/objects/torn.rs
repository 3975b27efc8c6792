//! Files that a write to a directory leaves when its process dies: under the name that it was to get, and a
//! number, `….qseg#1`. No listing tells them, and no name of an object has that sign.

use std::fs::{self, DirEntry};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::SystemTime;

/// Removes those in the areas of a tenant that were last written before an instant, and says how many bytes
/// they have. A dry run leaves them.
pub(super) fn remove(tenant: &Path, before: SystemTime, is_dry: bool) -> io::Result<u64> {
    let mut bytes = 0;
    for area in entries(tenant)? {
        if !area.file_type()?.is_dir() {
            continue;
        }
        for file in entries(&area.path())? {
            if !is_torn(&file) {
                continue;
            }
            // Whoever writes it may have ended meanwhile.
            let Some(known) = unless_gone(file.metadata())? else {
                continue;
            };
            if known.modified()? < before {
                bytes += known.len();
                if !is_dry {
                    unless_gone(fs::remove_file(file.path()))?;
                }
            }
        }
    }
    Ok(bytes)
}

fn is_torn(file: &DirEntry) -> bool {
    let name = file.file_name();
    let number = name.to_str().and_then(|name| name.rsplit_once('#'));
    number.is_some_and(|(_, number)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn entries(dir: &Path) -> io::Result<Vec<DirEntry>> {
    let Some(entries) = unless_gone(fs::read_dir(dir))? else {
        return Ok(Vec::new());
    };
    entries.collect()
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
