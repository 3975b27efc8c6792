//! Where the server binaries are and which version they have. Refuses to know data directories.

use std::cmp::Reverse;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Error;

/// The oldest major version quire's SQL is written for.
const OLDEST_MAJOR: u32 = 15;

/// Parents of `<version>/bin` directories, with the prefix that the version's name carries.
const VERSIONED: [(&str, &str); 4] = [
    ("/usr/lib/postgresql", ""),         // Debian, Ubuntu
    ("/usr", "pgsql-"),                  // Red Hat family, PGDG packages
    ("/opt/homebrew/opt", "postgresql"), // macOS, Apple silicon
    ("/usr/local/opt", "postgresql"),    // macOS, Intel
];

/// Single directories worth a look before `PATH`.
const PLAIN: [&str; 3] = [
    "/usr/local/pgsql/bin",
    "/opt/homebrew/bin",
    "/usr/local/bin",
];

/// A server version; development builds such as `18beta1` count as minor 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 15, 16, 17 …; data directories are bound to it.
    pub major: u32,
    /// Bug-fix number within the major version.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}.{}", self.major, self.minor)
    }
}

/// A directory with `postgres` and `initdb` of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binaries {
    /// The directory.
    pub dir: PathBuf,
    /// What its `postgres --version` says.
    pub version: Version,
}

impl Binaries {
    /// The newest server of at least version 15: in `configured` if given, else anywhere on the machine.
    pub fn find(configured: Option<&Path>) -> Result<Binaries, Error> {
        if let Some(dir) = configured {
            return Self::configured(dir);
        }
        let newest = installed().into_iter().next();
        match newest {
            Some(binaries) if binaries.version.major >= OLDEST_MAJOR => Ok(binaries),
            Some(old) => Err(Error::NoBinaries {
                seen: format!(" (newest is {} in {})", old.version, old.dir.display()),
            }),
            None => Err(Error::NoBinaries {
                seen: String::new(),
            }),
        }
    }

    /// The newest server that can run `data`, which was written by version `major`.
    pub fn find_major(
        configured: Option<&Path>,
        major: u32,
        data: &Path,
    ) -> Result<Binaries, Error> {
        let candidates = match configured {
            Some(dir) => vec![Self::configured(dir)?],
            None => installed(),
        };
        candidates
            .into_iter()
            .find(|binaries| binaries.version.major == major)
            .ok_or_else(|| Error::OtherMajor {
                data: data.to_owned(),
                major,
            })
    }

    /// The path of one program, such as `postgres` or `psql`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn configured(dir: &Path) -> Result<Binaries, Error> {
        let problem = match Self::at(dir) {
            Some(binaries) if binaries.version.major >= OLDEST_MAJOR => return Ok(binaries),
            Some(old) => format!("version {} is older than {OLDEST_MAJOR}", old.version),
            None => "postgres or initdb is missing or does not run".to_owned(),
        };
        Err(Error::BadBinaries {
            dir: dir.to_owned(),
            problem,
        })
    }

    /// The server in `dir`, if there is one that runs.
    fn at(dir: &Path) -> Option<Binaries> {
        // A link such as /usr/bin/postgres leads to the directory that also holds initdb.
        let postgres = fs::canonicalize(dir.join("postgres")).ok()?;
        let dir = postgres.parent()?.to_owned();
        if !dir.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(&postgres)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let version = parse_version(&String::from_utf8_lossy(&output.stdout))?;
        Some(Binaries { dir, version })
    }
}

/// Every server on the machine, newest first.
fn installed() -> Vec<Binaries> {
    let mut found: Vec<Binaries> = Vec::new();
    for dir in candidate_dirs() {
        if let Some(binaries) = Binaries::at(&dir)
            && !found.contains(&binaries)
        {
            found.push(binaries);
        }
    }
    found.sort_by_key(|binaries| Reverse(binaries.version));
    found
}

fn candidate_dirs() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for (parent, prefix) in VERSIONED {
        let Ok(entries) = fs::read_dir(parent) else {
            continue;
        };
        let matching = entries
            .flatten()
            .filter(|entry| starts_with(&entry.file_name(), prefix));
        dirs.extend(matching.map(|entry| entry.path().join("bin")));
    }
    dirs.extend(PLAIN.iter().map(PathBuf::from));
    if let Some(path) = std::env::var_os("PATH") {
        dirs.extend(std::env::split_paths(&path));
    }
    dirs
}

fn starts_with(name: &OsStr, prefix: &str) -> bool {
    name.to_string_lossy().starts_with(prefix)
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
fn parse_version(line: &str) -> Option<Version> {
    let (_, version) = line.split_once("(PostgreSQL) ")?;
    let word = version.split_whitespace().next()?;
    let (major, rest) = leading_number(word)?;
    let minor = rest
        .strip_prefix('.')
        .and_then(leading_number)
        .map_or(0, |(minor, _)| minor);
    Some(Version { major, minor })
}

fn leading_number(text: &str) -> Option<(u32, &str)> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, &text[end..]))
}

#[cfg(test)]
mod tests;
