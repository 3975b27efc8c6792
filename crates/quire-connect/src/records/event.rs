//! What other products send: one JSON object for each change.

use chrono::{TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use quire_store::records::{EntityKey, Event, RecordKey};
use quire_types::{Groups, Lane, Timestamp};

use super::template;
use crate::Error;

/// The most events of one request.
pub const MOST_EVENTS: usize = 10_000;

/// The largest record; more is a file.
const MOST_BYTES: usize = 256 << 10;

/// A clock that is further ahead would hide every later change.
const AHEAD: TimeDelta = TimeDelta::hours(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "type")]
    kind: String,
    id: Text,
    entity: Option<WireEntity>,
    action: Action,
    #[serde(default)]
    fields: Map<String, Value>,
    version: Option<i64>,
    time: Option<Timestamp>,
    lane: Option<Lane>,
    origin: Option<String>,
    groups: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireEntity {
    #[serde(rename = "type")]
    kind: String,
    id: Text,
    name: Option<String>,
}

/// Ids are texts; products that count send numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Number(i64),
}

impl Text {
    fn into_string(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
        }
    }
}

#[derive(Clone, Copy, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Action {
    Add,
    Update,
    Delete,
}

/// An event that can't be used; the others are not affected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its number among those that were sent, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads one event, a JSON array of events, or one event a line. `lane` is for those that name none.
///
/// # Errors
/// When nothing of it can be read, or it is too much.
pub fn parse(bytes: &[u8], lane: Lane) -> Result<(Vec<Event>, Vec<Refused>), Error> {
    let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
    let values: Vec<Result<Value, String>> = if first == Some(&b'[') {
        let all: Vec<Value> = serde_json::from_slice(bytes)
            .map_err(|error| Error::Invalid(format!("the array can't be read: {error}")))?;
        all.into_iter().map(Ok).collect()
    } else if let Ok(one) = serde_json::from_slice::<Value>(bytes) {
        vec![Ok(one)]
    } else {
        bytes
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
            .map(|line| serde_json::from_slice(line).map_err(|error| error.to_string()))
            .collect()
    };
    if values.is_empty() {
        return Err(Error::Invalid(
            "there is no event in the body: send one JSON object, an array, or one object a line"
                .to_owned(),
        ));
    }
    if values.len() > MOST_EVENTS {
        return Err(Error::Invalid(format!(
            "{} events are more than {MOST_EVENTS}: send them in several requests",
            values.len()
        )));
    }
    let now = Utc::now();
    let mut events = Vec::with_capacity(values.len());
    let mut refused = Vec::new();
    for (index, value) in values.into_iter().enumerate() {
        match value.and_then(|value| event(value, lane, now)) {
            Ok(event) => events.push(event),
            Err(reason) => refused.push(Refused { index, reason }),
        }
    }
    Ok((events, refused))
}

/// One event as it was sent.
pub(crate) fn event(value: Value, lane: Lane, now: Timestamp) -> Result<Event, String> {
    let wire: Wire = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let is_deleted = wire.action == Action::Delete;
    let version = match (wire.version, wire.time) {
        (Some(_), Some(_)) => return Err("send a version or a time, not both".to_owned()),
        (Some(version), None) => version,
        (None, Some(time)) if time > now + AHEAD => {
            return Err(format!(
                "its time {time} is in the future: check the sender's clock"
            ));
        }
        (None, Some(time)) => time.timestamp_micros(),
        (None, None) => {
            return Err(
                "it needs a version or a time, or events that overtake each other could not be told apart"
                    .to_owned(),
            );
        }
    };
    // Two deletions of one version must be the same, whatever else they say.
    let told = wire.entity.filter(|_| !is_deleted);
    let entity_name = told.as_ref().and_then(|entity| entity.name.clone());
    let entity = told
        .map(|entity| {
            Ok::<_, String>(EntityKey {
                kind: kind(&entity.kind)?,
                id: id("the id of the entity", entity.id.into_string())?,
            })
        })
        .transpose()?;
    if entity.is_none() && !is_deleted {
        return Err(
            "it needs an entity: the job, client, vendor or company that it is about".to_owned(),
        );
    }
    let mut fields = match is_deleted {
        true => Value::Object(Map::new()),
        false => Value::Object(wire.fields),
    };
    clean(&mut fields);
    let groups = wire.groups.filter(|_| !is_deleted).map(Groups::new);
    let groups = groups.transpose().map_err(|error| error.to_string())?;
    let content_hash = match is_deleted {
        true => Vec::new(),
        false => content_hash(entity.as_ref(), &fields, groups.as_ref())?,
    };
    Ok(Event {
        key: RecordKey {
            kind: type_name(&wire.kind)?,
            id: id("the id", wire.id.into_string())?,
        },
        entity,
        entity_name: entity_name
            .map(|name| one_line(&name, 150))
            .filter(|name| !name.is_empty()),
        version,
        is_deleted,
        fields,
        content_hash,
        lane: wire.lane.unwrap_or(lane),
        origin: wire.origin.map(|origin| one_line(&origin, 100)),
        groups,
    })
}

/// The type that a record of this name counts as.
pub(crate) fn type_name(text: &str) -> Result<String, String> {
    Ok(template::type_of(&kind(text)?).to_owned())
}

/// The name of a type: lower case, words joined by underscores.
pub(super) fn kind(text: &str) -> Result<String, String> {
    let kind = text.trim().to_lowercase().replace([' ', '-'], "_");
    let is_word = |kind: &str| {
        kind.chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    if (1..=60).contains(&kind.len()) && is_word(&kind) {
        Ok(kind)
    } else {
        Err(format!(
            "'{}' is no type: use 1 to 60 letters, digits and underscores",
            one_line(text, 60)
        ))
    }
}

fn id(what: &str, text: String) -> Result<String, String> {
    let text = text.trim();
    if !(1..=200).contains(&text.chars().count()) || text.chars().any(char::is_control) {
        return Err(format!("{what} has 1 to 200 characters in one line"));
    }
    Ok(text.to_owned())
}

/// A short text without line breaks.
pub(super) fn one_line(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ");
    line.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect()
}

/// Takes out what PostgreSQL can't hold.
fn clean(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => text.retain(|c| c != '\0'),
        Value::Array(items) => items.iter_mut().for_each(clean),
        Value::Object(fields) => {
            let names: Vec<String> = fields
                .keys()
                .filter(|name| name.contains('\0'))
                .cloned()
                .collect();
            for name in names {
                if let Some(value) = fields.remove(&name) {
                    fields.insert(name.replace('\0', ""), value);
                }
            }
            fields.values_mut().for_each(clean);
        }
        _ => {}
    }
}

/// The same for the same content, whatever order its fields came in.
fn content_hash(
    entity: Option<&EntityKey>,
    fields: &Value,
    groups: Option<&Groups>,
) -> Result<Vec<u8>, String> {
    let mut text = String::new();
    canonical(fields, &mut text);
    if text.len() > MOST_BYTES {
        return Err(format!(
            "its fields take {} bytes, more than {MOST_BYTES}: add long texts as files",
            text.len()
        ));
    }
    let mut hash = Sha256::new();
    if let Some(entity) = entity {
        hash.update(entity.kind.as_bytes());
        hash.update([0]);
        hash.update(entity.id.as_bytes());
        hash.update([0]);
    }
    hash.update(text.as_bytes());
    // Behind what ends the fields, so that records for everybody keep the hash that they had.
    if let Some(groups) = groups {
        hash.update([0]);
        hash.update(groups.names().join(",").as_bytes());
    }
    Ok(hash.finalize().to_vec())
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            text.push('{');
            for (name, value) in sorted {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        other => text.push_str(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn one(text: &str) -> Result<Event, String> {
        match parse(text.as_bytes(), Lane::Standard) {
            Ok((mut events, _)) if !events.is_empty() => Ok(events.remove(0)),
            Ok((_, mut refused)) => Err(refused.remove(0).reason),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn events_are_read_and_useless_ones_refused() {
        let good = one(
            r#"{"type": "Purchase Orders", "id": 7, "action": "add", "version": 1,
                "entity": {"type": "job", "id": "4711", "name": " Riverside\nClinic "}, "fields": {"a": "b\u0000c"}}"#,
        );
        let good = good.unwrap();
        assert_eq!(
            (good.key.kind.as_str(), good.key.id.as_str()),
            ("purchase_order", "7")
        );
        assert_eq!(good.entity_name.as_deref(), Some("Riverside Clinic"));
        assert_eq!(good.fields["a"], "bc");

        let job = r#""entity": {"type": "job", "id": "1"}"#;
        for (bad, why) in [
            (
                format!(r#"{{"type":"a","id":"1","action":"add",{job}}}"#),
                "version or a time",
            ),
            (
                r#"{"type":"a","id":"1","action":"add","version":1}"#.to_owned(),
                "entity",
            ),
            (
                format!(r#"{{"type":"a/b","id":"1","action":"add","version":1,{job}}}"#),
                "no type",
            ),
            (
                format!(r#"{{"type":"a","id":"","action":"add","version":1,{job}}}"#),
                "1 to 200",
            ),
            (
                format!(r#"{{"type":"a","id":"1","action":"eat","version":1,{job}}}"#),
                "eat",
            ),
            (
                format!(
                    r#"{{"type":"a","id":"1","action":"add","version":1,"groups":["a,b"],{job}}}"#
                ),
                "no name of a group",
            ),
            (
                format!(
                    r#"{{"type":"a","id":"1","action":"add","time":"2999-01-01T00:00:00Z",{job}}}"#
                ),
                "future",
            ),
            (
                format!(
                    r#"{{"type":"a","id":"1","action":"add","version":1,"feilds":{{}},{job}}}"#
                ),
                "feilds",
            ),
            (
                format!(
                    r#"{{"type":"a","id":"1","action":"add","version":1,"fields":{{"x":"{}"}},{job}}}"#,
                    "y".repeat(300_000)
                ),
                "as files",
            ),
            (String::new(), "no event"),
        ] {
            let reason = one(&bad).err().unwrap_or_default();
            assert!(reason.contains(why), "{why}: {reason}");
        }
        assert!(one(r#"{"type":"a","id":"1","action":"delete","version":1}"#).is_ok());
    }

    #[test]
    fn the_order_of_fields_makes_no_difference() {
        let event = |fields: &str| {
            one(&format!(
                r#"{{"type":"a","id":"1","action":"add","version":1,"entity":{{"type":"job","id":"1"}},"fields":{fields}}}"#
            ))
            .map(|event| event.content_hash)
        };
        assert_eq!(
            event(r#"{"a":1,"b":{"c":[1,2],"d":null}}"#),
            event(r#"{"b":{"d":null,"c":[1,2]},"a":1}"#)
        );
        assert_ne!(event(r#"{"a":1}"#), event(r#"{"a":"1"}"#));
        // Who sees it is a part of what it is.
        let groups = |groups: &str| event(&format!(r#"{{"a":1}},"groups":{groups}"#));
        assert_eq!(
            groups(r#"["Crew","office"]"#),
            groups(r#"["office","crew"]"#)
        );
        assert_eq!(groups("null"), event(r#"{"a":1}"#));
        assert_ne!(groups("[]"), groups("null"));
        assert_ne!(groups("[]"), groups(r#"["crew"]"#));
    }

    #[test]
    fn a_bad_line_leaves_the_others_alone() {
        let line = r#"{"type":"a","id":"1","action":"delete","version":1}"#;
        let (events, refused) = parse(
            format!("{line}\nnonsense\n\n{line}\n").as_bytes(),
            Lane::Batch,
        )
        .unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].index, 1);
    }
}
