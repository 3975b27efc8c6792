//! A table or view over there, and the statements that read it.

use super::{ForeignError, Place};

/// The name of a table or view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// Its schema; where there is none, the role's search path counts.
    pub schema: Option<String>,
    /// Its own name.
    pub name: String,
}

impl TableName {
    /// As SQL.
    pub(super) fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{}.{}", quoted(schema), quoted(&self.name)),
            None => quoted(&self.name),
        }
    }
}

impl std::fmt::Display for TableName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// What is read of a table or view.
#[derive(Clone, Debug)]
pub struct Relation {
    /// Which one.
    pub table: TableName,
    /// The column that tells rows apart.
    pub id: String,
    /// The column that says when a row was last changed.
    pub updated_at: String,
    /// The column that says when a row was deleted, if rows stay.
    pub deleted_at: Option<String>,
    /// The columns that are read; all where none is named.
    pub columns: Vec<String>,
    /// Columns that have to be there beside them.
    pub also: Vec<String>,
}

/// A column over there.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Column {
    name: String,
    type_name: String,
    category: String,
    base: String,
    is_readable: bool,
}

/// A relation with what the catalogue says about it.
pub(super) struct Found {
    table: String,
    id: Typed,
    updated_at: Typed,
    is_deleted: String,
    read: Vec<String>,
}

struct Typed {
    /// As SQL.
    column: String,
    type_name: String,
}

impl Found {
    pub(super) fn new(wanted: &Relation, columns: Vec<Column>) -> Result<Self, ForeignError> {
        let find = |name: &str| {
            let Some(column) = columns.iter().find(|column| column.name == name) else {
                let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                return Err(ForeignError::Invalid(format!(
                    "{} has no column '{name}': it has {}",
                    wanted.table,
                    names.join(", ")
                )));
            };
            match column.is_readable {
                true => Ok(column),
                false => Err(ForeignError::Invalid(format!(
                    "permission denied for column '{name}' of {}: grant the role select on it",
                    wanted.table
                ))),
            }
        };
        let typed = |name: &str| {
            let column = find(name)?;
            Ok::<_, ForeignError>(Typed {
                column: of_row(name),
                type_name: column.type_name.clone(),
            })
        };
        let timed = |name: &str| {
            let column = find(name)?;
            let is_time = column.category == "D" && !["time", "timetz"].contains(&&*column.base);
            match is_time {
                true => typed(name),
                false => Err(ForeignError::Invalid(format!(
                    "column '{name}' of {} is no timestamp but {}: name the one that says when a row was last changed",
                    wanted.table, column.type_name
                ))),
            }
        };
        let (id, updated_at) = (typed(&wanted.id)?, timed(&wanted.updated_at)?);
        let mut read: Vec<String> = match wanted.columns.is_empty() {
            true => columns
                .iter()
                .filter(|column| column.is_readable && !is_opaque(&column.base))
                .map(|column| column.name.clone())
                .collect(),
            false => wanted.columns.clone(),
        };
        for name in &wanted.also {
            if !read.contains(name) {
                read.push(name.clone());
            }
        }
        for name in &read {
            find(name)?;
        }
        let is_deleted = match &wanted.deleted_at {
            Some(name) => {
                find(name)?;
                format!("{} is not null", of_row(name))
            }
            None => "false".to_owned(),
        };
        Ok(Self {
            table: wanted.table.quoted(),
            id,
            updated_at,
            is_deleted,
            read: read.iter().map(|name| of_row(name)).collect(),
        })
    }

    /// Rows in the order of their changes, and what is to be bound to it.
    pub(super) fn changed(
        &self,
        from: &Place,
        most: usize,
    ) -> (String, Option<String>, Option<String>) {
        let Typed { column, type_name } = &self.updated_at;
        let id = &self.id;
        let (condition, first, second) = match from {
            Place::Start => ("true".to_owned(), None, None),
            Place::Before { at, lookback_s } => (
                format!(
                    "{column} >= (least($1::text::timestamptz, now()) - interval '{lookback_s} seconds')::{type_name}"
                ),
                Some(at.clone()),
                None,
            ),
            Place::After { at, id: last } => (
                format!(
                    "({column}, {}) > ($1::text::{type_name}, $2::text::{})",
                    id.column, id.type_name
                ),
                Some(at.clone()),
                Some(last.clone()),
            ),
        };
        let sql = format!(
            "select {} from {} r where {condition} and not {} and {id} is not null
             order by {column}, {id} limit {most}",
            self.row(),
            self.table,
            self.is_ahead(),
            id = id.column,
        );
        (sql, first, second)
    }

    pub(super) fn ids(&self, is_after: bool, most: usize) -> String {
        let Typed { column, type_name } = &self.id;
        let condition = match is_after {
            true => format!("{column} > $1::text::{type_name}"),
            false => format!("{column} is not null"),
        };
        format!(
            "select {column}::text, {} from {} r
             where {condition} and not ({}) and {} is not true order by {column} limit {most}",
            self.version(),
            self.table,
            self.is_deleted,
            self.is_ahead()
        )
    }

    pub(super) fn rows(&self) -> String {
        let Typed { column, type_name } = &self.id;
        format!(
            "select {} from {} r where {column} = any($1::text[]::{type_name}[])",
            self.row(),
            self.table
        )
    }

    pub(super) fn existing(&self) -> String {
        let Typed { column, type_name } = &self.id;
        format!(
            "select {column}::text from {} r where {column} = any($1::text[]::{type_name}[]) and not ({})",
            self.table, self.is_deleted
        )
    }

    /// Whether a row is dated so far ahead that it would hide what comes after it; nothing when it has no date.
    fn is_ahead(&self) -> String {
        let Typed { column, type_name } = &self.updated_at;
        format!("({column} > (now() + interval '1 hour')::{type_name})")
    }

    fn row(&self) -> String {
        format!(
            "{}::text as id, {}::text as at, {} as version, ({}) as is_deleted,
             (select to_jsonb(quire_row)::text from (select {}) quire_row) as fields",
            self.id.column,
            self.updated_at.column,
            self.version(),
            self.is_deleted,
            self.read.join(", ")
        )
    }

    /// Microseconds since 1970; rows without a time, or with an endless one, are the oldest.
    fn version(&self) -> String {
        let at = format!("({}::timestamptz)", self.updated_at.column);
        format!("case when isfinite{at} then (extract(epoch from {at}) * 1000000)::int8 else 0 end")
    }
}

/// Types of which nobody can read the values.
fn is_opaque(base: &str) -> bool {
    ["bytea", "tsvector", "tsquery", "oid", "xid", "pg_lsn"].contains(&base)
}

/// A column as SQL, which no name of a result can be taken for.
fn of_row(name: &str) -> String {
    format!("r.{}", quoted(name))
}

/// A name as SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_name_whatever_is_in_it() {
        let table = TableName {
            schema: Some("a\"b".to_owned()),
            name: "x\"; drop table y; --".to_owned(),
        };
        assert_eq!(table.quoted(), r#""a""b"."x""; drop table y; --""#);
    }
}
