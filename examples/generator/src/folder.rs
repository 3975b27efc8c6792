//! The folder the files are written to: writing them, and telling which are out of date.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::{Error, File};

/// How one file of the folder differs from what would be written.
#[derive(Debug, PartialEq, Eq)]
pub enum Difference {
    /// The file is not there.
    Missing(String),
    /// The file is there with other bytes.
    Changed(String),
    /// The file is there but the generator does not write it.
    Extra(String),
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(out, "missing: {path}"),
            Self::Changed(path) => write!(out, "changed: {path}"),
            Self::Extra(path) => write!(out, "extra: {path}"),
        }
    }
}

/// Writes all files below `dir`, making folders as needed.
pub fn write(dir: &Path, files: &[File]) -> Result<(), Error> {
    for file in files {
        let path = dir.join(file.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, &file.bytes)?;
    }
    Ok(())
}

/// Compares the companies' folders below `dir` with `files`. Other content of `dir` is left alone.
pub fn compare(dir: &Path, files: &[File]) -> Result<Vec<Difference>, Error> {
    let mut differences = Vec::new();
    for file in files {
        match fs::read(dir.join(file.path)) {
            Ok(bytes) if bytes == file.bytes => {}
            Ok(_) => differences.push(Difference::Changed(file.path.to_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                differences.push(Difference::Missing(file.path.to_owned()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    let expected: BTreeSet<&str> = files.iter().map(|file| file.path).collect();
    let companies: BTreeSet<&str> = expected
        .iter()
        .filter_map(|path| path.split('/').next())
        .collect();
    for company in companies {
        let mut present = Vec::new();
        list(&dir.join(company), company, &mut present)?;
        present.sort();
        let extra = present
            .into_iter()
            .filter(|path| !expected.contains(path.as_str()));
        differences.extend(extra.map(Difference::Extra));
    }
    Ok(differences)
}

fn list(dir: &Path, prefix: &str, found: &mut Vec<String>) -> Result<(), Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for entry in entries {
        let entry = entry?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}
