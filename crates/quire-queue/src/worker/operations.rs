//! What a worker wants done in the database, each as one transaction that runs beside its loop.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::debug;
use uuid::Uuid;

use quire_store::{Store, SystemTx};

use crate::lease::{self, Identity};
use crate::owner::Held;
use crate::policy::Ticket;
use crate::rows::{self, Arrival, Cursor, Handed, Pick, RowPlace, Settlement};
use crate::rules::{self, KindRow, TenantRow};
use crate::work::{self, Page, Report};
use crate::{Error, schedule};

const CHANNEL: &str = "quire_tasks";
/// Rows moved by one look at what is due.
const DUE: i64 = 1_000;
/// How far back a change of rules is looked for at every beat.
const CHANGES: Duration = Duration::from_secs(15);

/// An operation that ended.
pub(super) enum Done {
    Beat(Result<BeatResult, Error>),
    Poll(Result<(Cursor, News), Error>),
    Due(Result<Due, Error>),
    HandOut {
        receipt: Uuid,
        taken: Vec<(Ticket, Held)>,
        result: Result<Vec<Handed>, Error>,
    },
    Settle {
        receipts: Vec<Uuid>,
        result: Result<Vec<Uuid>, Error>,
    },
    Ledger(Result<(), Error>),
    Upkeep(Result<(), Error>),
    Call,
}

/// Ready tasks, and what is said about their tenants.
#[derive(Default)]
pub(super) struct News {
    pub(super) rows: Vec<Arrival>,
    pub(super) tenants: Vec<TenantRow>,
}

impl News {
    async fn of(tx: &mut SystemTx, rows: Vec<Arrival>) -> Result<Self, Error> {
        if rows.is_empty() {
            return Ok(Self::default());
        }
        let tenants: HashSet<Uuid> = rows.iter().map(|row| row.tenant_id).collect();
        let tenants = tenants.into_iter().collect::<Vec<_>>();
        let tenants = rules::of_tenants(tx, &tenants).await?;
        Ok(Self { rows, tenants })
    }
}

/// What a worker tells at a beat.
pub(super) struct Beat {
    pub(super) is_draining: bool,
    /// The shards it believes to own, with their epochs.
    pub(super) mine: Vec<(i16, i64)>,
    /// Shards that it may let go now.
    pub(super) release: Vec<i16>,
    /// Shards that it will let go.
    pub(super) leaving: HashSet<i16>,
    pub(super) running: Vec<RowPlace>,
    pub(super) report: Report,
}

/// What a worker learns at a beat.
pub(super) struct BeatResult {
    /// Whether other workers live.
    pub(super) has_company: bool,
    pub(super) released: Vec<i16>,
    /// Shards that others have taken over.
    pub(super) lost: Vec<i16>,
    /// Shards that others should have.
    pub(super) let_go: Vec<i16>,
    pub(super) taken: Option<Taken>,
    /// Running tasks whose rows are gone.
    pub(super) cancelled: HashSet<Uuid>,
    pub(super) kinds: Vec<KindRow>,
    pub(super) tenants: Vec<TenantRow>,
}

/// Shards that were taken, and what is ready in them.
pub(super) struct Taken {
    pub(super) shards: Vec<(i16, i64)>,
    pub(super) cursor: Cursor,
    pub(super) news: News,
}

pub(super) async fn beat(store: Store, me: Identity, beat: Beat) -> Done {
    Done::Beat(try_beat(&store, &me, beat).await)
}

async fn try_beat(store: &Store, me: &Identity, beat: Beat) -> Result<BeatResult, Error> {
    let mut tx = store.system().await?;
    lease::renew(
        &mut tx,
        me,
        beat.is_draining,
        &serde_json::to_value(&beat.report)?,
    )
    .await?;
    if !beat.release.is_empty() {
        lease::release(&mut tx, me.id, &beat.release).await?;
    }
    let (workers, shards) = lease::view(&mut tx).await?;
    let is_mine = |shard: i16, epoch: i64| {
        shards
            .iter()
            .any(|row| row.shard == shard && row.epoch == epoch && row.owner == Some(me.id))
    };
    let lost = beat
        .mine
        .iter()
        .filter(|(shard, epoch)| !is_mine(*shard, *epoch));
    let lost: Vec<i16> = lost.map(|(shard, _)| *shard).collect();
    let balance = lease::balance(me, &workers, &shards);
    let there = rows::existing(&mut tx, &beat.running).await?;
    let there: HashSet<Uuid> = there.into_iter().collect();
    let cancelled = beat
        .running
        .iter()
        .map(|place| place.id)
        .filter(|id| !there.contains(id));
    let cancelled = cancelled.collect();
    let kinds = rules::of_kinds(&mut tx).await?;
    let tenants = rules::changed(&mut tx, CHANGES).await?;
    lease::bury(&mut tx).await?;
    // The lease must not depend on how long taking shards over takes.
    tx.commit().await?;

    let taken = if balance.take.is_empty() || beat.is_draining {
        None
    } else {
        take(store, me, &balance.take).await?
    };
    Ok(BeatResult {
        has_company: workers.len() > 1,
        released: beat.release,
        lost,
        let_go: balance
            .release
            .into_iter()
            .filter(|shard| !beat.leaving.contains(shard))
            .collect(),
        taken,
        cancelled,
        kinds,
        tenants,
    })
}

async fn take(store: &Store, me: &Identity, shards: &[i16]) -> Result<Option<Taken>, Error> {
    let mut tx = store.system().await?;
    let taken = lease::take(&mut tx, me.id, shards).await?;
    if taken.is_empty() {
        tx.commit().await?;
        return Ok(None);
    }
    let cursor = rows::now(&mut tx).await?;
    let rows = lease::load(&mut tx, &taken).await?;
    let news = News::of(&mut tx, rows).await?;
    tx.commit().await?;
    Ok(Some(Taken {
        shards: taken
            .into_iter()
            .map(|(shard, epoch, _)| (shard, epoch))
            .collect(),
        cursor,
        news,
    }))
}

/// Where the last looks at what is due ended.
#[derive(Clone, Debug, Default)]
pub(super) struct PollMarks {
    deferred: Mark,
    schedules: Mark,
}

/// Where a look at a due-time index ended. The entries before belong to rows that are gone, and stay in the
/// index as long as anybody holds an old snapshot. A row may come to lie before the mark if the transaction
/// that wrote it took long, so the mark lies back a little and every minute the look starts afresh.
#[derive(Clone, Debug, Default)]
struct Mark {
    since: Option<DateTime<Utc>>,
    last_whole: Option<Instant>,
}

impl Mark {
    const SLACK: TimeDelta = TimeDelta::minutes(5);
    const WHOLE: Duration = Duration::from_secs(60);

    /// Where to start this time.
    fn start(&mut self) -> Option<DateTime<Utc>> {
        let is_whole = self
            .last_whole
            .is_none_or(|last| last.elapsed() > Self::WHOLE);
        if is_whole {
            self.last_whole = Some(Instant::now());
            return None;
        }
        self.since
    }

    fn ended(&mut self, last: Option<DateTime<Utc>>) {
        let since = last.and_then(|last| last.checked_sub_signed(Self::SLACK));
        self.since = self.since.max(since);
    }
}

/// What a look at what is due did.
pub(super) struct Due {
    pub(super) marks: PollMarks,
    /// Tasks that became ready, of whatever shard.
    pub(super) moved: u64,
    /// There was more than one look could move.
    pub(super) is_more: bool,
}

/// Moves what is due.
pub(super) async fn due(store: Store, marks: PollMarks) -> Done {
    Done::Due(try_due(&store, marks).await)
}

async fn try_due(store: &Store, mut marks: PollMarks) -> Result<Due, Error> {
    let mut tx = store.system().await?;
    let (deferred, last) = rows::promote(&mut tx, marks.deferred.start(), DUE).await?;
    marks.deferred.ended(last);
    let (fired, last) = schedule::fire(&mut tx, marks.schedules.start(), DUE).await?;
    marks.schedules.ended(last);
    tx.commit().await?;
    Ok(Due {
        marks,
        moved: deferred + fired,
        is_more: deferred.max(fired) >= DUE.unsigned_abs(),
    })
}

/// Sees what is new.
pub(super) async fn poll(store: Store, shards: Vec<i16>, cursor: Cursor) -> Done {
    let news = async {
        let mut tx = store.system().await?;
        let (rows, cursor) = rows::arrivals(&mut tx, &shards, &cursor).await?;
        let news = News::of(&mut tx, rows).await?;
        tx.commit().await?;
        Ok((cursor, news))
    };
    Done::Poll(news.await)
}

pub(super) async fn hand_out(
    store: Store,
    worker: Uuid,
    receipt: Uuid,
    epochs: Vec<(i16, i64)>,
    picks: Vec<Pick>,
    taken: Vec<(Ticket, Held)>,
) -> Done {
    let result = async {
        let mut tx = store.system().await?;
        let handed = rows::hand_out(&mut tx, worker, receipt, &epochs, &picks).await?;
        tx.commit().await?;
        Ok(handed)
    };
    let result = result.await;
    Done::HandOut {
        receipt,
        taken,
        result,
    }
}

pub(super) async fn settle(
    store: Store,
    settlements: Vec<Settlement>,
    receipts: Vec<Uuid>,
) -> Done {
    let result = async {
        let mut tx = store.system().await?;
        let settled = rows::settle(&mut tx, &settlements, &receipts).await?;
        tx.commit().await?;
        Ok(settled)
    };
    let result = result.await;
    Done::Settle { receipts, result }
}

pub(super) async fn ledger(store: Store, page: Page) -> Done {
    let result = async {
        let mut tx = store.system().await?;
        work::write(&mut tx, &page).await?;
        tx.commit().await?;
        Ok(())
    };
    Done::Ledger(result.await)
}

pub(super) async fn upkeep(store: Store) -> Done {
    Done::Upkeep(crate::upkeep::upkeep(&store).await)
}

/// Tells other workers that there is something new. A notice that is lost costs a poll.
pub(super) async fn call(store: Store) -> Done {
    if let Err(error) = try_call(&store).await {
        debug!(%error, "can't call other workers");
    }
    Done::Call
}

/// Tells workers of other processes about tasks that this one has added and does not run itself. Ends
/// when `stop` does.
pub async fn relay(store: Store, bell: Arc<Notify>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = bell.notified() => drop(call(store.clone()).await),
        }
        tokio::time::sleep(super::CALL).await;
    }
}

async fn try_call(store: &Store) -> Result<(), Error> {
    let mut tx = store.system().await?;
    sqlx::query("select pg_notify($1, '')")
        .bind(CHANNEL)
        .execute(tx.connection())
        .await?;
    tx.commit().await?;
    Ok(())
}

/// Hears the calls of other processes for as long as it is polled. Where notices do not get through, as
/// behind a pooler of transactions, the polls find what is new.
pub(super) async fn listen(store: Store, heard: Arc<Notify>) {
    loop {
        match store.listen(CHANNEL).await {
            Ok(mut listener) => {
                while listener.recv().await.is_ok() {
                    heard.notify_one();
                }
            }
            Err(error) => debug!(%error, "can't listen for calls of other workers"),
        }
        // What was called meanwhile was not heard.
        heard.notify_one();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Gives everything back and writes the last page.
pub(super) async fn leave(store: &Store, me: Uuid, page: &Page) -> Result<(), Error> {
    let mut tx = store.system().await?;
    work::write(&mut tx, page).await?;
    lease::leave(&mut tx, me).await?;
    tx.commit().await?;
    Ok(())
}
