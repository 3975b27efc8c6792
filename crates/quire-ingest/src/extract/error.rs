//! Why a file could not be read, said so that its owner knows what to do.
//!
//! The type is serialised by the reading child process and read back by its parent.

use quire_types::{ErrorKind, Kind};
use serde::{Deserialize, Serialize};

/// A file that was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case")]
pub enum ExtractError {
    /// No bytes at all.
    #[error("the file is empty: upload a file with content")]
    Empty,
    /// A type that no reader exists for.
    #[error(
        "{found} is not supported yet; supported: PDF, Word, PowerPoint and Excel (.docx, .pptx, .xlsx), CSV, \
         HTML, Markdown, e-mail (.eml), transcripts (.vtt, .srt), plain text, pictures (PNG, JPEG, GIF, WebP, \
         TIFF, BMP), recordings and films"
    )]
    Unsupported {
        /// What the file looks like, with its article.
        found: String,
    },
    /// A PDF that asks for a password.
    #[error("the PDF is password-protected: upload a copy without a password")]
    PasswordProtected,
    /// An OLE2 container: an old Office file, or a modern one behind a password.
    #[error("{found}: save it as .docx, .xlsx or .pptx without a password and upload that")]
    OldOffice {
        /// What the container looks like.
        found: String,
    },
    /// A file that breaks the rules of its own format.
    #[error(
        "the {format} file is damaged or cut off ({detail}): upload it again or export it anew"
    )]
    Damaged {
        /// The format it claims to be.
        format: String,
        /// What the reader stumbled over.
        detail: String,
    },
    /// A PDF of pictures.
    #[error(
        "the PDF has no text, and none was found in the pictures of its pages: upload a better scan or a version \
         with text"
    )]
    Scanned,
    /// A file, page or moment that nothing can be shown of.
    #[error("there is no such picture: pages of PDFs, pictures and moments of films can be shown")]
    NoPicture,
    /// A readable file without a single word.
    #[error("the file has no text in it: upload a file with text")]
    NoText,
    /// A file above a limit.
    #[error("the file has more than {limit} {what}: split it and upload the parts")]
    TooLarge {
        /// What is counted.
        what: String,
        /// The most that is accepted.
        limit: u64,
    },
    /// A file made to exhaust its reader, or that looks like one.
    #[error("the file was refused for safety ({detail}): export it anew from its application")]
    Unsafe {
        /// What gave it away.
        detail: String,
    },
    /// A recording that nobody may listen to.
    #[error("recordings can't be listened to: {why}")]
    Unheard {
        /// What stands against it.
        why: String,
    },
    /// The reader died.
    #[error(
        "the file made the reader crash ({how}); it was left out, other files are not affected"
    )]
    Crashed {
        /// The signal or exit code.
        how: String,
    },
    /// The reader ran into its memory limit.
    #[error(
        "reading the file needs more memory than one file may use: split it and upload the parts"
    )]
    OutOfMemory,
    /// The reader ran into its time limit.
    #[error(
        "reading the file took longer than {seconds} s and was stopped: split it or export it anew"
    )]
    TimedOut {
        /// The limit it hit.
        seconds: u64,
    },
    /// A program that has to be installed on the machine.
    #[error("{tool} is missing on this machine: install {package}")]
    ToolMissing {
        /// The program.
        tool: String,
        /// The system package that brings it.
        package: String,
    },
    /// The reader could not be started, or something outside the file ended it.
    #[error("the reader of files is not available ({detail}); try again later")]
    Unavailable {
        /// What failed.
        detail: String,
    },
}

impl ExtractError {
    /// The stable name, as stored and as serialised.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Unsupported { .. } => "unsupported",
            Self::PasswordProtected => "password-protected",
            Self::OldOffice { .. } => "old-office",
            Self::Damaged { .. } => "damaged",
            Self::Scanned => "scanned",
            Self::NoPicture => "no-picture",
            Self::NoText => "no-text",
            Self::TooLarge { .. } => "too-large",
            Self::Unsafe { .. } => "unsafe",
            Self::Unheard { .. } => "unheard",
            Self::Crashed { .. } => "crashed",
            Self::OutOfMemory => "out-of-memory",
            Self::TimedOut { .. } => "timed-out",
            Self::ToolMissing { .. } => "tool-missing",
            Self::Unavailable { .. } => "unavailable",
        }
    }

    pub(crate) fn too_large(what: &str, limit: u64) -> Self {
        Self::TooLarge {
            what: what.into(),
            limit,
        }
    }

    pub(crate) fn damaged(format: &str, detail: impl ToString) -> Self {
        let detail = detail
            .to_string()
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect();
        Self::Damaged {
            format: format.into(),
            detail,
        }
    }

    pub(crate) fn refused(detail: impl Into<String>) -> Self {
        Self::Unsafe {
            detail: detail.into(),
        }
    }

    pub(crate) fn unavailable(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Unavailable {
            detail: format!("{what}: {error}"),
        }
    }
}

impl Kind for ExtractError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut { .. } => ErrorKind::Timeout,
            Self::NoPicture => ErrorKind::NotFound,
            Self::ToolMissing { .. } | Self::Unavailable { .. } => ErrorKind::Unavailable,
            _ => ErrorKind::Invalid,
        }
    }
}
