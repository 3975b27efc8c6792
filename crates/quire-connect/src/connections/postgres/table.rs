//! A table or view that is mapped to a type of records, and its rows as events.

use std::collections::HashSet;

use chrono::Utc;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use quire_store::foreign::{ForeignRow, Relation, TableName, is_name};
use quire_store::records::Event;
use quire_types::Lane;

use crate::records::{event, type_name};

/// What one table or view is, as whoever connects it says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mapping {
    /// Its name, with its schema where that is not on the role's search path.
    table: String,
    /// The type of its records.
    record: String,
    /// The column that tells its rows apart.
    id: String,
    /// The column that says when a row was last changed.
    updated_at: String,
    /// The column that says when a row was deleted, where rows stay.
    deleted_at: Option<String>,
    /// What a row is about.
    entity: EntityMapping,
    /// The column with the groups of people who see a row: a text with commas, or an array of texts.
    groups: Option<String>,
    /// The columns that are read; all that can be read where none is named.
    #[serde(default)]
    columns: Vec<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntityMapping {
    /// Its type: `job`, `client`, `vendor`, `company`.
    #[serde(rename = "type")]
    kind: String,
    /// The column with its id.
    id: String,
    /// The column with its name.
    name: Option<String>,
}

/// A table or view that is read.
pub(super) struct Table {
    pub(super) relation: Relation,
    /// The type of its records.
    pub(super) record: String,
    /// What reading it has come to is known by: another table, id or time is another reading.
    pub(super) key: String,
    entity: EntityMapping,
    groups: Option<String>,
}

/// Rows that became no records.
#[derive(Default)]
pub(super) struct LeftOut {
    count: usize,
    first: Option<String>,
}

impl LeftOut {
    fn add(&mut self, id: &str, why: String) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{id}: {why}"));
    }

    /// For people; nothing when there are none.
    pub(super) fn told(&self, table: &Table) -> Option<String> {
        let first = self.first.as_ref()?;
        let (count, table) = (self.count, &table.relation.table);
        Some(format!(
            "left out of {table}: {count} rows, such as {first}"
        ))
    }
}

impl Table {
    /// All of a connection. Each has a type of records for itself, or nobody could tell what is gone.
    pub(super) fn all(mappings: Vec<Mapping>) -> Result<Vec<Self>, String> {
        let mut types = HashSet::new();
        let tables: Result<Vec<Self>, String> = mappings.into_iter().map(Self::new).collect();
        let tables = tables?;
        match tables.iter().find(|table| !types.insert(&table.record)) {
            Some(table) => Err(format!(
                "two tables can't both be {}, which is there twice: make one view of them",
                table.record
            )),
            None => Ok(tables),
        }
    }

    fn new(mapping: Mapping) -> Result<Self, String> {
        let record = type_name(&mapping.record)?;
        let table = match mapping.table.split_once('.') {
            Some((schema, name)) if !name.contains('.') => TableName {
                schema: Some(schema.to_owned()),
                name: name.to_owned(),
            },
            _ => TableName {
                schema: None,
                name: mapping.table.clone(),
            },
        };
        let entity = mapping.entity;
        let has_dots = table.schema.is_none() && table.name.contains('.');
        let names = [&table.name, &mapping.id, &mapping.updated_at, &entity.id]
            .into_iter()
            .chain(&table.schema)
            .chain(&mapping.deleted_at)
            .chain(&entity.name)
            .chain(&mapping.groups)
            .chain(&mapping.columns);
        for name in names {
            if !is_name(name) || has_dots {
                return Err(format!(
                    "'{}' is no name of a table, view or column",
                    name.escape_default()
                ));
            }
        }
        let mut also = vec![entity.id.clone()];
        also.extend(entity.name.clone());
        also.extend(mapping.groups.clone());
        Ok(Self {
            key: format!("{record} {table} {} {}", mapping.id, mapping.updated_at),
            relation: Relation {
                table,
                id: mapping.id,
                updated_at: mapping.updated_at,
                deleted_at: mapping.deleted_at,
                columns: mapping.columns,
                also,
            },
            record,
            entity,
            groups: mapping.groups,
        })
    }

    /// Rows as events; those that can't be records are left out.
    pub(super) fn events(
        &self,
        rows: Vec<ForeignRow>,
        lane: Lane,
        left_out: &mut LeftOut,
    ) -> Vec<Event> {
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            match self.event(&row, lane) {
                Ok(event) => events.push(event),
                Err(why) => left_out.add(&row.id, why),
            }
        }
        events
    }

    fn event(&self, row: &ForeignRow, lane: Lane) -> Result<Event, String> {
        let mut fields: Map<String, Value> = serde_json::from_str(&row.fields)
            .map_err(|_| "its columns can't be read as JSON".to_owned())?;
        let mut sent = json!({
            "type": self.record, "id": row.id, "version": row.version, "action": "delete",
        });
        if !row.is_deleted {
            let entity_id = text(fields.get(&self.entity.id)).ok_or_else(|| {
                format!(
                    "its {} is empty, so it is about no {}",
                    self.entity.id, self.entity.kind
                )
            })?;
            sent["action"] = "update".into();
            sent["entity"] = json!({ "type": self.entity.kind, "id": entity_id });
            if let Some(name) = &self.entity.name {
                sent["entity"]["name"] = text(fields.get(name)).into();
            }
            if let Some(name) = &self.groups {
                sent["groups"] = groups(fields.get(name))?;
            }
            let Relation {
                columns,
                updated_at,
                deleted_at,
                ..
            } = &self.relation;
            match columns.is_empty() {
                // That a row was touched is no content.
                true => fields.retain(|name, _| {
                    let name = Some(name);
                    name != Some(updated_at)
                        && deleted_at.as_ref() != name
                        && self.groups.as_ref() != name
                }),
                false => fields.retain(|name, _| columns.contains(name)),
            }
            sent["fields"] = Value::Object(fields);
        }
        let event = event(sent, lane, Utc::now())?;
        match event.key.id == row.id {
            true => Ok(event),
            // It would be looked for under another name than it has.
            false => Err("its id begins or ends with a blank".to_owned()),
        }
    }
}

/// The groups in a value; nothing is for everybody. What can't be read as groups is not for everybody either.
fn groups(value: Option<&Value>) -> Result<Value, String> {
    match value {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(Value::String(text)) => {
            let names = text.split(',').map(str::trim);
            Ok(names.filter(|name| !name.is_empty()).collect())
        }
        Some(Value::Array(names)) => Ok(Value::Array(names.clone())),
        Some(_) => Err("its groups are neither a text nor an array of texts".to_owned()),
    }
}

/// A value that can be an id or a name.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
