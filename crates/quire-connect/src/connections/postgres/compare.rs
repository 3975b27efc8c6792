//! Comparing a table with the records that were read from it, id by id, a part at a time from both sides.
//!
//! Each side is walked in its own order and the other one is asked for the same ids, so neither has to be sorted
//! like the other, and both find them by an index.

use std::collections::HashMap;

use serde_json::json;

use quire_store::foreign::{Foreign, ForeignError, Opened};
use quire_store::records::{Event, RecordKey};
use quire_store::{Placement, pulled};
use quire_types::{ConnectionId, Lane};

use super::pull::hear;
use super::table::{LeftOut, Table};
use super::{Cms, is_of_table};
use crate::{Connect, Error};

/// Ids that are compared at once.
const IDS: usize = 5_000;
/// Rows that are read, or records that are deleted, at once.
const ROWS: usize = 500;
/// So few may always go, unless they are all there is.
const FEW: usize = 5;

/// Why a table could not be compared.
pub(super) enum Failed {
    /// Because of the table.
    Table(String),
    /// Because of anything else.
    Way(Error),
}

impl From<ForeignError> for Failed {
    fn from(error: ForeignError) -> Self {
        match is_of_table(&error) {
            true => Self::Table(error.to_string()),
            false => Self::Way(error.into()),
        }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Way(error)
    }
}

impl From<quire_store::Error> for Failed {
    fn from(error: quire_store::Error) -> Self {
        Self::Way(error.into())
    }
}

/// Whose records are compared.
pub(super) struct Reader<'a> {
    pub(super) connect: &'a Connect,
    pub(super) placement: Placement,
    pub(super) connection: ConnectionId,
}

impl Reader<'_> {
    /// Takes in what was missed and deletes what is gone. Returns what is left out.
    pub(super) async fn compare(
        &self,
        cms: &Cms,
        table: &Table,
        foreign: &mut Foreign,
    ) -> Result<LeftOut, Failed> {
        let mut theirs = foreign.relation(&table.relation).await?;
        let left_out = self.take_in_missed(table, &mut theirs).await?;
        let (gone, count) = self.gone(table, &mut theirs).await?;
        if is_too_much(gone.len(), count, cms.most_deleted_share) {
            return Err(Failed::Table(format!(
                "{} of {count} records of type {} are no longer in {}, and that many are not deleted at once: look \
                 at the table; if it is right, set most_deleted_share to 1 and read the connection",
                gone.len(),
                table.record,
                table.relation.table
            )));
        }
        for part in gone.chunks(ROWS) {
            self.hear(part).await?;
        }
        Ok(left_out)
    }

    async fn take_in_missed(
        &self,
        table: &Table,
        theirs: &mut Opened<'_>,
    ) -> Result<LeftOut, Failed> {
        let mut left_out = LeftOut::default();
        let mut after: Option<String> = None;
        loop {
            let page = theirs.ids(after.as_deref(), IDS).await?;
            let ids: Vec<String> = page.iter().map(|(id, _)| id.clone()).collect();
            let mut tx = self.connect.config.store.tenant(self.placement).await?;
            let known = pulled::versions(&mut tx, &table.record, &ids).await?;
            tx.commit().await?;
            let is_missed = |id: &str, version: i64| {
                known
                    .get(id)
                    .is_none_or(|(known, is_deleted)| *is_deleted || *known < version)
            };
            let missed: Vec<String> = page
                .iter()
                .filter(|(id, version)| is_missed(id, *version))
                .map(|(id, _)| id.clone())
                .collect();
            for part in missed.chunks(ROWS) {
                let rows = theirs.rows(part).await?;
                let mut events = table.events(rows, Lane::Batch, &mut left_out);
                revive(&mut events, &known);
                self.hear(&events).await?;
            }
            after = ids.last().cloned();
            if ids.len() < IDS {
                return Ok(left_out);
            }
        }
    }

    /// Deletions of what is no longer there, and of how many records. Ours are asked for first: what is known came
    /// from there before, so what is missing after that is gone.
    async fn gone(
        &self,
        table: &Table,
        theirs: &mut Opened<'_>,
    ) -> Result<(Vec<Event>, usize), Failed> {
        let (mut gone, mut count, mut after) = (Vec::new(), 0, None);
        loop {
            let mut tx = self.connect.config.store.tenant(self.placement).await?;
            let known =
                pulled::known(&mut tx, self.connection, &table.record, after, most(IDS)).await?;
            tx.commit().await?;
            let ids: Vec<String> = known
                .iter()
                .map(|record| record.external_id.clone())
                .collect();
            let there = theirs.existing(&ids).await?;
            gone.extend(
                known
                    .iter()
                    .filter(|record| !there.contains(&record.external_id))
                    .map(|record| deletion(&table.record, &record.external_id, record.version)),
            );
            count += known.len();
            after = known.last().map(pulled::Known::id);
            if known.len() < IDS {
                return Ok((gone, count));
            }
        }
    }

    async fn hear(&self, events: &[Event]) -> Result<(), Failed> {
        let config = &self.connect.config;
        let mut tx = config.store.tenant(self.placement).await?;
        hear(&mut tx, self.connection, events).await?;
        tx.commit().await?;
        config.bell.notify_one();
        Ok(())
    }
}

/// What is there counts more than that it was deleted, even at the same version.
fn revive(events: &mut [Event], known: &HashMap<String, (i64, bool)>) {
    for event in events.iter_mut().filter(|event| !event.is_deleted) {
        if let Some((version, true)) = known.get(&event.key.id) {
            event.version = event.version.max(version + 1);
        }
    }
}

fn deletion(kind: &str, id: &str, version: i64) -> Event {
    Event {
        key: RecordKey {
            kind: kind.to_owned(),
            id: id.to_owned(),
        },
        entity: None,
        entity_name: None,
        version,
        is_deleted: true,
        fields: json!({}),
        content_hash: Vec::new(),
        lane: Lane::Batch,
        origin: None,
        groups: None,
    }
}

/// Whether so many of so many records look like a mistake.
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of records needs no more digits"
)]
fn is_too_much(gone: usize, of: usize, share: f64) -> bool {
    if share >= 1.0 {
        return false;
    }
    let is_all = gone == of && of > 1;
    let is_much = gone > FEW && gone as f64 > of as f64 * share;
    is_all || is_much
}

fn most(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_suddenly_empty_is_a_mistake() {
        for (gone, of, is_mistake) in [
            (0, 0, false),
            (0, 100, false),
            (1, 1, false),
            (2, 2, true),
            (5, 6, false),
            (5, 5, true),
            (6, 10, true),
            (20, 100, false),
            (21, 100, true),
        ] {
            assert_eq!(is_too_much(gone, of, 0.2), is_mistake, "{gone} of {of}");
            assert!(!is_too_much(gone, of, 1.0), "{gone} of {of}");
        }
    }
}
