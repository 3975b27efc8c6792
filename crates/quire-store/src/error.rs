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
    Database(#[from] sqlx::Error),
    /// A migration failed.
    #[error("migration: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// The object store failed.
    #[error("the stored bytes can't be reached right now")]
    Objects(#[from] object_store::Error),
    /// The disk below the object store is full.
    #[error("the disk is full: free some space below the data directory, then try again")]
    DiskFull,
    /// The process that ran the call is going away.
    #[error("the call was interrupted")]
    Interrupted,
}

impl Error {
    /// The constraint that refused a write, if that is what happened.
    pub(crate) fn constraint(error: &sqlx::Error) -> Option<&str> {
        match error {
            sqlx::Error::Database(database) => database.constraint(),
            _ => None,
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
            Self::DiskFull | Self::Interrupted => ErrorKind::Unavailable,
            Self::UnsafeRole(_) | Self::Migrate(_) => ErrorKind::Internal,
            Self::Database(error) => database_kind(error),
            Self::Objects(object_store::Error::NotFound { .. }) => ErrorKind::NotFound,
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
