//! What a PostgreSQL of somebody else says when it does not do what was asked.

use quire_types::{ErrorKind, Kind};

/// What went wrong over there.
#[derive(Debug, thiserror::Error)]
pub enum ForeignError {
    /// It does not let this role in.
    #[error("the database refuses the login: {0}")]
    Refused(String),
    /// What was asked for is not there or may not be read.
    #[error("{0}")]
    Invalid(String),
    /// It can't be reached or has too much to do.
    #[error("the database can't be reached: {0}")]
    Down(String),
    /// Its certificate is not to be trusted, or it has none.
    #[error(
        "no protected way to the database: {0}; choose sslmode=require or give its root_certificate"
    )]
    Tls(String),
    /// It does not answer in time.
    #[error(
        "the database did not answer in time: an index on the time and the id of each table helps"
    )]
    Timeout,
    /// Something else.
    #[error("the database answered: {0}")]
    Other(String),
}

impl Kind for ForeignError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(_) => ErrorKind::Forbidden,
            Self::Invalid(_) | Self::Tls(_) => ErrorKind::Invalid,
            Self::Down(_) | Self::Other(_) => ErrorKind::Unavailable,
            Self::Timeout => ErrorKind::Timeout,
        }
    }
}

impl std::convert::From<sqlx::Error> for ForeignError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(database) => {
                let text = database.message().to_owned();
                of_code(database.code().as_deref().unwrap_or_default(), text)
            }
            sqlx::Error::Tls(inner) => Self::Tls(inner.to_string()),
            // What comes of a handshake, a certificate of somebody else above all.
            sqlx::Error::Io(inner) if inner.kind() == std::io::ErrorKind::InvalidData => {
                Self::Tls(inner.to_string())
            }
            sqlx::Error::Io(inner) => Self::Down(inner.to_string()),
            other => Self::Other(other.to_string()),
        }
    }
}

/// By the codes of PostgreSQL's appendix A.
fn of_code(code: &str, text: String) -> ForeignError {
    match code {
        "42501" => ForeignError::Invalid(format!(
            "{text}: grant the role usage on the schema and select on the table"
        )),
        // The statement took too long, or waited too long for a lock.
        "57014" | "55P03" => ForeignError::Timeout,
        _ if code.starts_with("28") || code == "3D000" => ForeignError::Refused(text),
        // Values that don't fit, views that write, and what is not there: relations, columns, types, zones of time.
        _ if ["22", "25", "3F", "42"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            ForeignError::Invalid(text)
        }
        _ if ["08", "53", "57"]
            .iter()
            .any(|class| code.starts_with(class)) =>
        {
            ForeignError::Down(text)
        }
        _ => ForeignError::Other(format!("{text} ({code})")),
    }
}
