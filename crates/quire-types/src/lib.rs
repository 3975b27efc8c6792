//! The words every other crate speaks: ids, error kinds, places in a source, and states.
//!
//! Knows no database, no HTTP and no model. A type lives here only when two layers need the same one.

mod error;
mod groups;
mod id;
mod money;
mod place;
mod secret;
mod source;

pub use error::{ErrorKind, Kind};
pub use groups::{BadGroups, Groups};
pub use id::{
    BadId, ConnectionId, EndpointId, KeyId, MessageId, NotebookId, PassageId, QuestionId, RecordId,
    RequestId, ScheduleId, SegmentId, SourceId, TaskId, TenantId,
};
pub use money::{BadMoney, NanoUsd};
pub use place::{Cells, Moment, NoCells, Place, Spot, TimeSpan, Turn};
pub use secret::Secret;
pub use source::{
    ChatMessage, ChatRole, ConnectionState, EndpointState, KeyRole, Lane, Language, MediaType,
    NotebookStatus, QuestionState, RecordState, SourceState, TenantState, Tier, UnknownName,
};

/// The instant type of the whole project: UTC, microsecond precision in PostgreSQL.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
