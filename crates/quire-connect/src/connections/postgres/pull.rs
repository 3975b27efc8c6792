//! Reading what changed, table after table: the records of a page and the place to go on in one transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;

use quire_queue::Attempt;
use quire_store::connections::{self as rows, Connection};
use quire_store::foreign::{Foreign, ForeignRow, Place};
use quire_store::records::{Event, RecordKey};
use quire_store::{Placement, TenantTx, pulled};
use quire_types::{ConnectionId, ErrorKind, Kind, Lane, Secret, Timestamp};

use super::table::{LeftOut, Table};
use super::{Cms, compare, is_of_table};
use crate::connections::sync::SyncConnection;
use crate::egress::Egress;
use crate::records::hear_in;
use crate::{Connect, Error};

/// Rows of one page, and of one turn.
const PAGE: usize = 1_000;
/// What the rows of a page take together, or a little more.
const PAGE_BYTES: usize = 4 << 20;
/// How often all ids are compared.
const COMPARE_EVERY: TimeDelta = TimeDelta::hours(6);
/// Problems that are told at once.
const MOST_TOLD: usize = 5;

/// How far a connection has been read.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Cursor {
    /// The table that is read next; after the last one they are compared in the same order.
    step: usize,
    /// How far each table has come.
    spots: BTreeMap<String, Spot>,
    /// When all tables were compared.
    compared_at: Option<Timestamp>,
}

/// How far a table has come.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
struct Spot {
    /// The last change of the rounds before.
    watermark: Option<String>,
    /// Time and id of the last row of this round.
    after: Option<(String, String)>,
    /// Why it can't be read.
    unread: Option<String>,
    /// Why it can't be compared.
    not_compared: Option<String>,
    /// Rows that became no records.
    left_out: Option<String>,
}

impl Spot {
    fn place(&self, lookback_s: u32) -> Place {
        match (&self.after, &self.watermark) {
            (Some((at, id)), _) => Place::After {
                at: at.clone(),
                id: id.clone(),
            },
            (None, Some(at)) => Place::Before {
                at: at.clone(),
                lookback_s,
            },
            (None, None) => Place::Start,
        }
    }

    fn move_on(&mut self, last: Option<&ForeignRow>, has_more: bool) {
        if let Some(last) = last {
            self.after = last.at.clone().map(|at| (at, last.id.clone()));
        }
        if !has_more && let Some((at, _)) = self.after.take() {
            self.watermark = Some(at);
        }
    }
}

impl Cursor {
    fn of(connection: &Connection, tables: &[Table]) -> Self {
        let mut cursor: Self =
            serde_json::from_value(connection.cursor.clone()).unwrap_or_default();
        if connection.is_wished {
            cursor.step = 0;
            cursor.compared_at = None;
        }
        // What is not read any more has no troubles either.
        let is_read = |key: &String| tables.iter().any(|table| table.key == *key);
        cursor.spots.retain(|key, _| is_read(key));
        cursor
    }

    fn spot(&mut self, table: &Table) -> &mut Spot {
        self.spots.entry(table.key.clone()).or_default()
    }

    /// What keeps tables from being read or compared.
    fn problems(&self) -> impl Iterator<Item = &str> {
        let spots = self.spots.values();
        spots
            .flat_map(|spot| spot.unread.iter().chain(&spot.not_compared))
            .map(String::as_str)
    }

    /// What people should know, if there is anything.
    fn told(&self) -> Option<String> {
        let left_out = self
            .spots
            .values()
            .filter_map(|spot| spot.left_out.as_deref());
        let all: Vec<&str> = self.problems().chain(left_out).take(MOST_TOLD).collect();
        (!all.is_empty()).then(|| all.join(" · "))
    }
}

impl SyncConnection {
    /// Reads and compares until there is a page full of news or nothing left to do.
    pub(in crate::connections) async fn pull(
        &self,
        connect: &Connect,
        placement: Placement,
        attempt: &Attempt,
        connection: &Connection,
    ) -> Result<(), Error> {
        let secret = connect.secret_of(placement, connection).await?;
        let egress = connect.config.egress.clone();
        let (cms, mut foreign) = open(egress, connection, &secret).await?;
        let mut cursor = Cursor::of(connection, &cms.tables);
        let mut work = 0;
        loop {
            let (events, effort) = match cms.tables.get(cursor.step) {
                Some(table) => read(&cms, table, &mut foreign, &mut cursor).await?,
                None => {
                    let reader = compare::Reader {
                        connect,
                        placement,
                        connection: connection.id,
                    };
                    compare_next(&reader, &cms, &mut foreign, &mut cursor).await?;
                    // Others get their turn after it.
                    (Vec::new(), PAGE)
                }
            };
            work += effort;
            let is_end = cursor.step == 0;
            let is_last = is_end || work >= PAGE;
            let mut tx = connect.config.store.tenant(placement).await?;
            hear(&mut tx, connection.id, &events).await?;
            let is_all_well = is_end && cursor.problems().next().is_none();
            rows::move_on(&mut tx, connection, &json!(cursor), is_all_well).await?;
            if is_end && let Some(told) = cursor.told() {
                rows::note_error(&mut tx, connection.id, &told).await?;
            }
            if is_last {
                if !is_end {
                    self.plan(&mut tx, Duration::ZERO).await?;
                }
                attempt.complete(&mut tx).await?;
            }
            tx.commit().await?;
            connect.config.bell.notify_one();
            if is_last {
                foreign.close().await;
                return Ok(());
            }
        }
    }
}

/// Opens the database. What no later attempt will change stops the connection.
async fn open(
    egress: Egress,
    connection: &Connection,
    secret: &Secret,
) -> Result<(Cms, Foreign), Error> {
    let opened = async {
        let cms = Cms::new(egress, &connection.settings, secret)?;
        let foreign = cms.open().await?;
        Ok((cms, foreign))
    };
    opened.await.map_err(|error: Error| match error.kind() {
        ErrorKind::Invalid => Error::Stopped(error.to_string()),
        _ => error,
    })
}

/// Reads a page of a table. One that can't be read keeps nothing from the others. Also says how much work it was.
async fn read(
    cms: &Cms,
    table: &Table,
    foreign: &mut Foreign,
    cursor: &mut Cursor,
) -> Result<(Vec<Event>, usize), Error> {
    let spot = cursor.spot(table);
    // The first reading may be a long one, and waits for what is fresh.
    let lane = match spot.watermark {
        Some(_) => Lane::Standard,
        None => Lane::Batch,
    };
    let reading = async {
        let mut opened = foreign.relation(&table.relation).await?;
        let place = spot.place(cms.lookback_s);
        opened.changed(&place, PAGE, PAGE_BYTES).await
    };
    let page = match reading.await {
        Ok(page) => page,
        Err(error) if is_of_table(&error) => {
            spot.unread = Some(error.to_string());
            cursor.step += 1;
            // The failure ended the transaction, and with it every later question.
            *foreign = cms.open().await?;
            return Ok((Vec::new(), 1));
        }
        Err(error) => return Err(error.into()),
    };
    let effort = page.rows.len();
    spot.unread = None;
    spot.move_on(page.rows.last(), page.has_more);
    let mut left_out = LeftOut::default();
    let events = table.events(page.rows, lane, &mut left_out);
    // What was left out before is told until a comparison finds that it is not.
    spot.left_out = left_out.told(table).or(spot.left_out.take());
    if !page.has_more {
        cursor.step += 1;
    }
    Ok((events, effort))
}

/// Compares the next table, if it is time for that; begins anew after the last one.
async fn compare_next(
    reader: &compare::Reader<'_>,
    cms: &Cms,
    foreign: &mut Foreign,
    cursor: &mut Cursor,
) -> Result<(), Error> {
    let now = Utc::now();
    let is_due = cursor.compared_at.is_none_or(|at| now - at > COMPARE_EVERY);
    let next = cms.tables.get(cursor.step - cms.tables.len());
    let Some(table) = next.filter(|_| is_due) else {
        cursor.step = 0;
        if is_due {
            cursor.compared_at = Some(now);
        }
        return Ok(());
    };
    cursor.step += 1;
    let spot = cursor.spot(table);
    if spot.unread.is_some() {
        return Ok(());
    }
    match reader.compare(cms, table, foreign).await {
        Ok(left_out) => {
            spot.not_compared = None;
            spot.left_out = left_out.told(table);
        }
        Err(compare::Failed::Table(why)) => {
            spot.not_compared = Some(why);
            *foreign = cms.open().await?;
        }
        Err(compare::Failed::Way(error)) => return Err(error),
    }
    Ok(())
}

/// Takes events in, as records of this connection.
pub(super) async fn hear(
    tx: &mut TenantTx,
    connection: ConnectionId,
    events: &[Event],
) -> Result<(), Error> {
    if events.is_empty() {
        return Ok(());
    }
    drop(hear_in(tx, events).await?);
    let keys: Vec<RecordKey> = events.iter().map(|event| event.key.clone()).collect();
    pulled::claim(tx, connection, &keys).await?;
    Ok(())
}
