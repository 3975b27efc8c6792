//! Ids: UUIDv7 behind a type and a printed prefix, so that two kinds of id can't be mixed up in code
//! or in a log line.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// A text that is not an id of the expected kind.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{text}' is not {what} id; it looks like {prefix}0198c0de00007000a000000000000001")]
pub struct BadId {
    text: String,
    what: &'static str,
    prefix: &'static str,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// What the printed form starts with.
            pub const PREFIX: &'static str = $prefix;

            /// A new id; later ids sort after earlier ones.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id behind a stored UUID.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID as PostgreSQL stores it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                text.strip_prefix($prefix)
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or_else(|| BadId {
                        text: text.chars().take(64).collect(),
                        what: $what,
                        prefix: $prefix,
                    })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

id!(
    /// A customer company: the unit of isolation, placement, plan and budget.
    TenantId, "ten_", "a tenant"
);
id!(
    /// A tenant's container of sources.
    NotebookId, "nb_", "a notebook"
);
id!(
    /// A document, recording, image, message or record.
    SourceId, "src_", "a source"
);
id!(
    /// A piece of a source that can be retrieved and cited.
    PassageId, "psg_", "a passage"
);
impl PassageId {
    /// The id of the passage that comes `n` after this one in the same version of a source: those of a
    /// version are numbered on from the first, so that one id names them all.
    #[must_use]
    pub fn nth(self, n: u32) -> Self {
        // The last 62 bits of a UUIDv7 are random; version and time stay as they are.
        const RANDOM: u128 = (1 << 62) - 1;
        let first = self.0.as_u128();
        Self(Uuid::from_u128(
            (first & !RANDOM) | ((first + u128::from(n)) & RANDOM),
        ))
    }
}

id!(
    /// A question for whose answer nobody waits.
    QuestionId, "qst_", "a question"
);
id!(
    /// A record of a product that quire is told about: an invoice, a daily log.
    RecordId, "rec_", "a record"
);
id!(
    /// An account elsewhere that content flows in from.
    ConnectionId, "con_", "a connection"
);
id!(
    /// An address of a tenant that is told what happens.
    EndpointId, "whk_", "an endpoint"
);
id!(
    /// Something that happened, as it is told.
    MessageId, "msg_", "a message"
);
id!(
    /// An immutable file of search, part of one tenant's corpus.
    SegmentId, "seg_", "a segment"
);
id!(
    /// An API key; the secret is never an id.
    KeyId, "key_", "a key"
);
id!(
    /// A unit of background work.
    TaskId, "tsk_", "a task"
);
id!(
    /// What creates tasks in time.
    ScheduleId, "sch_", "a schedule"
);
id!(
    /// One HTTP request, echoed to the caller and written to the log.
    RequestId, "req_", "a request"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_what_it_prints() {
        let id = NotebookId::generate();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            serde_json::from_str::<NotebookId>(&serde_json::to_string(&id).unwrap_or_default())
                .ok(),
            Some(id)
        );
    }

    #[test]
    fn other_kinds_and_other_shapes_are_refused() {
        let id = NotebookId::generate();
        for text in [
            String::new(),
            id.uuid().to_string(),
            format!("nb_{}", id.uuid()),
            format!("src_{}", id.uuid().simple()),
            format!("nb_{}x", id.uuid().simple()),
        ] {
            assert!(text.parse::<NotebookId>().is_err(), "{text} was accepted");
        }
    }
}
