//! The sample company: every file of Northgate Builders and of its neighbour Harbor Fit-Out.
//!
//! `facts` holds the people, dates and amounts; `texts/` holds what the office wrote, with `{facts}`
//! left open. `manifest` lists the files, `template` fills the facts in, and the text becomes
//! Markdown or plain text as it stands, or is read by `markup` and written by `html`, `docx` or
//! `pdf`. Nothing here reads a clock or a random number, so each run writes the same bytes and
//! `folder` can tell a stale file by comparing.

pub mod cp1252;
pub mod docx;
pub mod facts;
pub mod folder;
pub mod html;
pub mod manifest;
pub mod markup;
pub mod media;
pub mod money;
pub mod office;
pub mod pdf;
pub mod plain;
pub mod season;
pub mod template;

use std::fmt;

/// Why the sample company could not be written.
#[derive(Debug)]
pub enum Error {
    /// A text asks for a fact that does not exist.
    UnknownFact {
        /// The placeholder as written, without its braces.
        fact: String,
    },
    /// A character has no place in windows-1252, which PDF text and one file use.
    Unencodable(char),
    /// The archive of a DOCX file could not be written.
    Archive(zip::result::ZipError),
    /// A file or folder could not be read or written.
    Io(std::io::Error),
    /// A file could not be made; the path says which.
    File {
        /// The path of the file inside the examples folder.
        path: String,
        /// What went wrong.
        source: Box<Error>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFact { fact } => write!(out, "no such fact: {{{fact}}}"),
            Self::Unencodable(letter) => write!(out, "{letter:?} is not a windows-1252 character"),
            Self::Archive(source) => write!(out, "cannot write the archive: {source}"),
            Self::Io(source) => write!(out, "{source}"),
            Self::File { path, source } => write!(out, "{path}: {source}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(source: std::io::Error) -> Self {
        Self::Io(source)
    }
}

impl From<zip::result::ZipError> for Error {
    fn from(source: zip::result::ZipError) -> Self {
        Self::Archive(source)
    }
}

/// A finished file.
pub struct File {
    /// Path below the examples folder, with forward slashes.
    pub path: &'static str,
    /// The bytes to write.
    pub bytes: Vec<u8>,
}

/// Makes every file of both companies, in the order of the manifest.
pub fn files() -> Result<Vec<File>, Error> {
    manifest::ENTRIES.iter().map(make).collect()
}

fn make(entry: &manifest::Entry) -> Result<File, Error> {
    let bytes = entry.render().map_err(|source| Error::File {
        path: entry.path.to_owned(),
        source: Box::new(source),
    })?;
    Ok(File {
        path: entry.path,
        bytes,
    })
}
