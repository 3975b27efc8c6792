//! What can go wrong around the server, each with the way out. Refuses to know SQL errors.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use quire_types::{ErrorKind, Kind};

/// Why the private server cannot be found, started, shared or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The machine has no server new enough.
    #[error(
        "no PostgreSQL server 15 or newer found{seen}: install one (Debian, Ubuntu: apt-get install \
         postgresql), or name the directory that holds postgres and initdb"
    )]
    NoBinaries {
        /// What was found instead, as ` (newest is 14.11 in /usr/lib/…)`, or nothing.
        seen: String,
    },
    /// The configured directory holds no usable server.
    #[error(
        "{} has no usable PostgreSQL server ({problem}): name the directory that holds postgres and \
         initdb", dir.display()
    )]
    BadBinaries {
        /// The configured directory.
        dir: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The data was written by a major version that is not installed.
    #[error(
        "{} was written by PostgreSQL {major}, and no server {major} is installed: apt-get install \
         postgresql-{major}, or name the directory of its postgres and initdb", data.display()
    )]
    OtherMajor {
        /// The data directory.
        data: PathBuf,
        /// The version in its `PG_VERSION`.
        major: u32,
    },
    /// The data directory holds something else.
    #[error("{} is not empty and no PostgreSQL data directory: move it away or use another --data", .0.display())]
    ForeignData(PathBuf),
    /// The user who has to run the server cannot reach the directory.
    #[error(
        "{} is not accessible for user {user}, who runs PostgreSQL because it refuses root: use --data \
         /var/lib/quire, or chmod o+x {}", path.display(), path.display()
    )]
    Unreachable {
        /// The directory that cannot be passed.
        path: PathBuf,
        /// The user that cannot pass it.
        user: String,
    },
    /// The directory belongs to somebody else.
    #[error("{} belongs to user {owner}, not to {user}: run as {owner}, or use another --data", path.display())]
    NotOwner {
        /// The directory in question.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who wanted it.
        user: String,
    },
    /// Root runs quire and there is no user to run the server as.
    #[error(
        "PostgreSQL refuses to run as root, and there is no user postgres or nobody: useradd --system postgres"
    )]
    NoAccount,
    /// A setting that the privacy of the server rests on, or one that is not a name.
    #[error(
        "PostgreSQL setting {0:?} cannot be set here: remove it, quire decides it or it is no setting name"
    )]
    BadSetting(String),
    /// Another quire process is busy with the server for too long.
    #[error(
        "waited {waited_s} s for {holder}, which is starting or stopping PostgreSQL in {}: try again, \
         or end that process", dir.display()
    )]
    GateHeld {
        /// The directory both want.
        dir: PathBuf,
        /// The other process, as `quire process 123`.
        holder: String,
        /// How long this one waited.
        waited_s: u64,
    },
    /// `initdb` failed.
    #[error("initdb could not make {}: {output}", data.display())]
    Initdb {
        /// The directory it should have made.
        data: PathBuf,
        /// Its last words.
        output: String,
    },
    /// The server ended while starting.
    #[error("PostgreSQL ended at start ({status}), see {}: {tail}", log.display())]
    Exited {
        /// How it ended.
        status: ExitStatus,
        /// Where it logs.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// The server runs and accepts nobody.
    #[error(
        "PostgreSQL accepts no connections after {waited_s} s, see {}: allow more time if it recovers \
         from a crash", log.display()
    )]
    NotReady {
        /// How long it had.
        waited_s: u64,
        /// Where it logs.
        log: PathBuf,
    },
    /// A server answers whose process cannot be seen from here.
    #[error(
        "a PostgreSQL server that is not visible from here answers at {}: stop it (another container?) \
         or use another --data", .0.display()
    )]
    HiddenServer(PathBuf),
    /// The server survived every signal.
    #[error("PostgreSQL process {0} does not end: look at it with ps, it may hang on a disk")]
    NotStopping(u32),
    /// The operating system said no.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb phrase.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Error {
    /// Wraps a system error, for `map_err`.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io {
            doing,
            path,
            source,
        }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::BadBinaries { .. } | Self::ForeignData(_) | Self::BadSetting(_) => {
                ErrorKind::Invalid
            }
            Self::Unreachable { .. } | Self::NotOwner { .. } => ErrorKind::Forbidden,
            Self::HiddenServer(_) => ErrorKind::Conflict,
            Self::GateHeld { .. } | Self::NotReady { .. } | Self::NotStopping(_) => {
                ErrorKind::Timeout
            }
            Self::NoBinaries { .. }
            | Self::OtherMajor { .. }
            | Self::NoAccount
            | Self::Initdb { .. }
            | Self::Exited { .. }
            | Self::Io { .. } => ErrorKind::Unavailable,
        }
    }
}
