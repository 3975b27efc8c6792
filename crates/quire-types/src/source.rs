//! What a source is, how far it has come, and where in it a passage stands.

use serde::{Deserialize, Serialize};

/// A stored name that this version of quire does not know.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}' is not one of the known names")]
pub struct UnknownName(pub String);

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[$(Self::$variant),+];

            /// The stable name, as stored and as shown.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl TryFrom<String> for $name {
            type Error = UnknownName;

            fn try_from(text: String) -> Result<Self, UnknownName> {
                text.parse()
            }
        }

        impl std::str::FromStr for $name {
            type Err = UnknownName;

            fn from_str(text: &str) -> Result<Self, UnknownName> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(UnknownName(text.chars().take(64).collect())),
                }
            }
        }
    };
}

names!(
    /// The type of a source's content, found from its bytes.
    MediaType {
        /// Text without structure.
        Text = "text",
        /// Markdown.
        Markdown = "markdown",
        /// An HTML page.
        Html = "html",
        /// A PDF document.
        Pdf = "pdf",
        /// A Word document (Office Open XML).
        Docx = "docx",
        /// A PowerPoint presentation (Office Open XML).
        Pptx = "pptx",
        /// An Excel workbook (Office Open XML).
        Xlsx = "xlsx",
        /// Rows of values between separators (CSV, TSV).
        Csv = "csv",
        /// An e-mail with its attachments (RFC 5322).
        Email = "email",
        /// What was said and when (WebVTT, SubRip).
        Transcript = "transcript",
        /// A picture (PNG, JPEG, GIF, WebP, TIFF, BMP).
        Image = "image",
        /// A recording of sound.
        Audio = "audio",
        /// A recording with moving pictures.
        Video = "video",
    }
);

names!(
    /// How far a source has come.
    SourceState {
        /// Stored; its task has not started.
        Queued = "queued",
        /// Its text is being read in a child process.
        Extracting = "extracting",
        /// Its passages are being turned into vectors.
        Embedding = "embedding",
        /// Every passage can be found.
        Searchable = "searchable",
        /// Given up; the reason says what a person can do.
        Failed = "failed",
    }
);

names!(
    /// What a notebook costs while nobody asks it.
    Tier {
        /// In use: kept in memory while there is room.
        Hot = "hot",
        /// Used lately: what was read is kept on local disk.
        Warm = "warm",
        /// Read from the object store when it is asked.
        Cold = "cold",
        /// Not in the index; comes back when it is asked.
        Archived = "archived",
    }
);

names!(
    /// How urgent a change of a record is.
    Lane {
        /// Somebody waits for it.
        Realtime = "realtime",
        /// The usual.
        Standard = "standard",
        /// A backfill: thousands at once, for which nobody waits.
        Batch = "batch",
    }
);

names!(
    /// The state of what a notebook is about, such as a construction job, as its owner tells it.
    NotebookStatus {
        /// Under way, or about to begin.
        Active = "active",
        /// Over.
        Completed = "completed",
    }
);

names!(
    /// How far a record has come.
    RecordState {
        /// Kept; search shows what it was before.
        Queued = "queued",
        /// Search shows it as it is.
        Searchable = "searchable",
        /// Kept, but not shown; the reason says what a person can do.
        Failed = "failed",
        /// Deleted where it came from; only its version is kept, so that nothing older brings it back.
        Deleted = "deleted",
    }
);

names!(
    /// Whether a connection is read.
    ConnectionState {
        /// Not until somebody over there agrees.
        Waiting = "waiting",
        /// It is.
        Active = "active",
        /// Not until somebody resumes it.
        Paused = "paused",
        /// Not until somebody does what its reason says.
        Failed = "failed",
    }
);

names!(
    /// How far a question has come for whose answer nobody waits.
    QuestionState {
        /// It is not answered yet.
        Queued = "queued",
        /// Its answer is there.
        Answered = "answered",
        /// There will be no answer; the reason says why.
        Failed = "failed",
    }
);

names!(
    /// Whether an endpoint is sent to.
    EndpointState {
        /// Everything is sent.
        Active = "active",
        /// What happens is kept for it.
        Paused = "paused",
        /// It failed for too long, or said that it is gone.
        Disabled = "disabled",
    }
);

names!(
    /// What a tenant's API key may do.
    KeyRole {
        /// Everything inside the tenant.
        Tenant = "tenant",
        /// Everything inside one notebook.
        Notebook = "notebook",
        /// Read and ask, in the tenant or in one notebook.
        ReadOnly = "read-only",
    }
);

names!(
    /// Whether a tenant may use the service.
    TenantState {
        /// In use.
        Active = "active",
        /// Kept, but every call is refused.
        Suspended = "suspended",
        /// Being removed: nothing new is taken, nothing costs any more.
        Closing = "closing",
        /// Removed; only what was used and paid is kept.
        Closed = "closed",
    }
);

names!(
    /// Who speaks in a chat with a model.
    ChatRole {
        /// Instructions of the service.
        System = "system",
        /// The person who asks.
        User = "user",
        /// The model.
        Assistant = "assistant",
    }
);

names!(
    /// The language whose stop words and word endings a text is searched by.
    Language {
        /// Arabic.
        Arabic = "arabic",
        /// Danish.
        Danish = "danish",
        /// Dutch.
        Dutch = "dutch",
        /// English.
        English = "english",
        /// Finnish.
        Finnish = "finnish",
        /// French.
        French = "french",
        /// German.
        German = "german",
        /// Greek.
        Greek = "greek",
        /// Hungarian.
        Hungarian = "hungarian",
        /// Italian.
        Italian = "italian",
        /// Norwegian.
        Norwegian = "norwegian",
        /// Portuguese.
        Portuguese = "portuguese",
        /// Romanian.
        Romanian = "romanian",
        /// Russian.
        Russian = "russian",
        /// Spanish.
        Spanish = "spanish",
        /// Swedish.
        Swedish = "swedish",
        /// Tamil.
        Tamil = "tamil",
        /// Turkish.
        Turkish = "turkish",
        /// Words as they stand: mixed or unknown languages.
        None = "none",
    }
);

/// One message of a chat with a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
}
