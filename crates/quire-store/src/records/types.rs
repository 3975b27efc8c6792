//! Types of records: the typed rows of their fields, and the templates of a tenant's own.

use serde_json::Value;
use sqlx::types::Json;
use uuid::Uuid;

use quire_types::{RecordId, Timestamp};

use crate::{Error, TenantTx};

/// One field of a record with its type.
#[derive(Clone, Debug, PartialEq)]
pub struct TypedValue {
    /// The name; those of nested fields are joined by dots.
    pub name: String,
    /// A text.
    pub text: Option<String>,
    /// A number, as it was written.
    pub number: Option<String>,
    /// An instant.
    pub time: Option<Timestamp>,
    /// Yes or no.
    pub bool: Option<bool>,
}

/// Replaces the typed rows of records.
pub async fn set_values(
    tx: &mut TenantTx,
    records: &[(RecordId, Vec<TypedValue>)],
) -> Result<(), Error> {
    let ids: Vec<Uuid> = records.iter().map(|(id, _)| id.uuid()).collect();
    sqlx::query("delete from shard.record_values where tenant_id = $1 and record_id = any($2)")
        .bind(tx.tenant_id())
        .bind(&ids)
        .execute(tx.connection())
        .await?;
    let rows: Vec<(Uuid, &TypedValue)> = records
        .iter()
        .flat_map(|(id, values)| values.iter().map(|value| (id.uuid(), value)))
        .collect();
    sqlx::query(
        "insert into shard.record_values (tenant_id, record_id, name, text, number, time, bool)
         select $1, v.record_id, v.name, v.text, v.number::numeric, v.time, v.bool
         from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::bool[])
              as v (record_id, name, text, number, time, bool)
         on conflict do nothing",
    )
    .bind(tx.tenant_id())
    .bind(rows.iter().map(|(id, _)| *id).collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|(_, value)| value.name.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        rows.iter()
            .map(|(_, value)| value.text.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(
        rows.iter()
            .map(|(_, value)| value.number.as_deref())
            .collect::<Vec<_>>(),
    )
    .bind(rows.iter().map(|(_, value)| value.time).collect::<Vec<_>>())
    .bind(rows.iter().map(|(_, value)| value.bool).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// A template of the tenant's own.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct RecordType {
    /// The type of records.
    pub name: String,
    /// How they become text.
    pub template: String,
    /// The fields it was tested with.
    pub sample: Json<Value>,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// The tenant's own templates by name.
pub async fn types(tx: &mut TenantTx) -> Result<Vec<RecordType>, Error> {
    let rows =
        sqlx::query_as("select * from shard.record_types where tenant_id = $1 order by name")
            .bind(tx.tenant_id())
            .fetch_all(tx.connection())
            .await?;
    Ok(rows)
}

/// Sets a template.
pub async fn set_type(
    tx: &mut TenantTx,
    name: &str,
    template: &str,
    sample: &Value,
) -> Result<RecordType, Error> {
    let row = sqlx::query_as(
        "insert into shard.record_types (tenant_id, name, template, sample) values ($1, $2, $3, $4)
         on conflict (tenant_id, name) do update
         set template = excluded.template, sample = excluded.sample, updated_at = now()
         returning *",
    )
    .bind(tx.tenant_id())
    .bind(name)
    .bind(template)
    .bind(Json(sample))
    .fetch_one(tx.connection())
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("record_types_template_check") => {
            Error::Invalid("a template has 1 to 20000 characters".to_owned())
        }
        _ => error.into(),
    })?;
    Ok(row)
}

/// Removes a template; the one that ships counts again, if there is one.
pub async fn unset_type(tx: &mut TenantTx, name: &str) -> Result<(), Error> {
    let done = sqlx::query("delete from shard.record_types where tenant_id = $1 and name = $2")
        .bind(tx.tenant_id())
        .bind(name)
        .execute(tx.connection())
        .await?;
    match done.rows_affected() {
        0 => Err(Error::NotFound {
            what: "record type",
        }),
        _ => Ok(()),
    }
}
