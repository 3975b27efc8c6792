//! The error of everything that touches rows or objects.

use quire_types::{ErrorKind, Kind};

/// What went wrong in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The thing does not exist for this tenant.
    #[error("{what} not found")]
    NotFound {
        /// What was looked for, without its id.
        what: &'static str,
    },
    /// The thing exists already.
    #[error("{0}")]
    Conflict(String),
    /// Vectors of one model were to join a corpus that is of another one by now.
    #[error("the embedding model of the tenant has changed meanwhile: try again")]
    Remodelled,
    /// A value can't be stored.
    #[error("{0}")]
    Invalid(String),
    /// A limit of the configuration is reached.
    #[error("{0}")]
    TooLarge(String),
    /// A role of the database may do more than it must.
    #[error("refusing to start: {0}")]
    UnsafeRole(String),
    /// PostgreSQL answered with an error, or did not answer.
    #[error("database: {0}")]
    Database(#[source] sqlx::Error),
    /// A migration failed.
    #[error("migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The object store failed.
    #[error("the stored bytes can't be reached right now")]
    Objects(#[source] object_store::Error),
    /// An object is shorter than whoever wrote it said.
    #[error("the {what} is shorter than it should be: restore it, or have it made anew")]
    Truncated {
        /// What is too short, without its name.
        what: &'static str,
    },
    /// A segment took so long to come that a sweep has removed it.
    #[error("a segment was swept before it was installed: it is made anew with the next try")]
    Swept,
    /// The disk below the object store is full.
    #[error("the disk is full: free some space below the data directory, then try again")]
    DiskFull,
    /// The disk of PostgreSQL is full.
    #[error("the disk of the database is full: free some space there, then try again")]
    DatabaseFull,
    /// A sealed secret can't be opened.
    #[error("{0}")]
    Sealed(&'static str),
    /// The file of keys that seal secrets can't be used.
    #[error("the keys that seal secrets: {0}")]
    Keyring(String),
    /// The process that ran the call is going away.
    #[error("the call was interrupted")]
    Interrupted,
}

impl Error {
    /// Whether PostgreSQL could not write because its disk is full.
    pub fn is_disk_full(error: &sqlx::Error) -> bool {
        matches!(error, sqlx::Error::Database(refused) if refused.code().as_deref() == Some("53100"))
    }

    /// The constraint that refused a write, if that is what happened.
    pub(crate) fn constraint(error: &sqlx::Error) -> Option<&str> {
        match error {
            sqlx::Error::Database(database) => database.constraint(),
            _ => None,
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match Self::is_disk_full(&error) {
            true => Self::DatabaseFull,
            false => Self::Database(error),
        }
    }
}

impl From<object_store::Error> for Error {
    fn from(error: object_store::Error) -> Self {
        let chain = std::iter::successors(
            Some(&error as &(dyn std::error::Error + 'static)),
            |error| error.source(),
        );
        let full = chain
            .filter_map(|error| error.downcast_ref::<std::io::Error>())
            .any(|error| error.kind() == std::io::ErrorKind::StorageFull);
        match error {
            _ if full => Self::DiskFull,
            object_store::Error::NotFound { .. } => Self::NotFound { what: "object" },
            object_store::Error::AlreadyExists { .. } => {
                Self::Conflict("the object exists already, and objects are written once".to_owned())
            }
            other => Self::Objects(other),
        }
    }
}

impl Kind for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } => ErrorKind::NotFound,
            Self::Conflict(_) => ErrorKind::Conflict,
            Self::Invalid(_) => ErrorKind::Invalid,
            Self::TooLarge(_) => ErrorKind::TooLarge,
            Self::DiskFull
            | Self::DatabaseFull
            | Self::Interrupted
            | Self::Remodelled
            | Self::Swept => ErrorKind::Unavailable,
            Self::Sealed(_) | Self::Keyring(_) => ErrorKind::Unavailable,
            Self::UnsafeRole(_) | Self::Migrate(_) | Self::Truncated { .. } => ErrorKind::Internal,
            Self::Database(error) => database_kind(error),
            Self::Objects(_) => ErrorKind::Unavailable,
        }
    }
}

fn database_kind(error: &sqlx::Error) -> ErrorKind {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => ErrorKind::Unavailable,
        sqlx::Error::PoolTimedOut => ErrorKind::Unavailable,
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // Classes of PostgreSQL's appendix A: 08 connection, 25006 read-only (a demoted primary),
            // 40 serialisation or deadlock, 53 out of resources, 55P03 lock, 57 shutdown or cancel.
            Some("25006" | "55P03") => ErrorKind::Unavailable,
            // Class 22: a value that PostgreSQL can't hold, such as a text with a NUL.
            Some(code) if code.starts_with("22") => ErrorKind::Invalid,
            Some(code)
                if ["08", "40", "53", "57"]
                    .iter()
                    .any(|class| code.starts_with(class)) =>
            {
                ErrorKind::Unavailable
            }
            _ => ErrorKind::Internal,
        },
        _ => ErrorKind::Internal,
    }
}
