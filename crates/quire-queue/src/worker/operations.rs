//! What a worker wants done in the database, each as one transaction that runs beside its loop.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use uuid::Uuid;

use quire_store::{Store, SystemTx};

use crate::lease::{self, Identity, Rank, Work};
use crate::owner::Held;
use crate::policy::Ticket;
use crate::rows::{self, Arrival, Cursor, HandedOut, Pick, RowPlace, Settlement};
use crate::rules::{self, KindRow, TenantRow};
use crate::work::{self, Page, Report};
use crate::{Error, schedule};

const CHANNEL: &str = "quire_tasks";
/// Rows moved by one look at what is due.
const DUE: i64 = 1_000;
/// How long an operation may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How long a task is left to a producer that is just changing it.
const CHANGING: Duration = Duration::from_millis(100);
/// How far back a change of rules is looked for at every beat.
const CHANGES: Duration = Duration::from_secs(15);

/// A database that does not answer at all must not hold an operation for ever.
async fn limited<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Slow(LIMIT)),
    }
}

/// An operation that ended.
pub(super) enum Done {
    Beat(Result<BeatResult, Error>),
    Take(Result<Option<Taken>, Error>),
    Poll {
        /// Which set of shards was looked at.
        generation: u64,
        result: Result<(Cursor, News), Error>,
    },
    Due(Result<Due, Error>),
    HandOut {
        receipt: Uuid,
        taken: Vec<(Ticket, Held)>,
        result: Result<HandedOut, Error>,
    },
    /// Tasks whose producers were just changing them.
    Later(News),
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
    async fn of(tx: &mut SystemTx, mut rows: Vec<Arrival>) -> Result<Self, Error> {
        if rows.is_empty() {
            return Ok(Self::default());
        }
        let tenants: HashSet<Uuid> = rows.iter().map(|row| row.tenant_id).collect();
        let tenants = tenants.into_iter().collect::<Vec<_>>();
        let tenants = rules::of_tenants(tx, &tenants).await?;
        // Ids are in the order of time: tasks of one key run in the order they came.
        rows.sort_unstable_by_key(|row| row.id);
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
    /// What goes on in its shards; nothing in those that are not here.
    pub(super) work: HashMap<i16, Work>,
    /// Take nothing from those who look dead.
    pub(super) is_modest: bool,
    /// Shards are just being taken.
    pub(super) is_taking: bool,
    /// How long ago the rules were read.
    pub(super) since: Duration,
    pub(super) running: Vec<RowPlace>,
    pub(super) report: Report,
}

/// What a worker learns at a beat.
pub(super) struct BeatResult {
    pub(super) rank: Rank,
    pub(super) released: Vec<i16>,
    /// Shards that others have taken over.
    pub(super) lost: Vec<i16>,
    /// Shards that others should have.
    pub(super) let_go: Vec<i16>,
    /// Shards that it should have.
    pub(super) take: Vec<i16>,
    /// The lease had run out.
    pub(super) had_lapsed: bool,
    /// Running tasks whose rows are gone.
    pub(super) cancelled: HashSet<RowPlace>,
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
    Done::Beat(limited(try_beat(&store, &me, beat)).await)
}

async fn try_beat(store: &Store, me: &Identity, beat: Beat) -> Result<BeatResult, Error> {
    let mut tx = store.system().await?;
    let report = serde_json::to_value(&beat.report)?;
    let had_lapsed = lease::renew(&mut tx, me, beat.is_draining, &report).await?;
    // The lease must not wait for the rest.
    tx.commit().await?;

    let mut tx = store.system().await?;
    if !beat.release.is_empty() {
        lease::release(&mut tx, me.id, &beat.release).await?;
    }
    let (workers, mut shards) = lease::view(&mut tx).await?;
    let mine: HashMap<i16, i64> = beat.mine.iter().copied().collect();
    // Taken, and the answer got lost: nobody serves them.
    let stray: Vec<i16> = shards
        .iter()
        .filter(|row| row.owner == Some(me.id) && !beat.is_taking)
        .map(|row| row.shard)
        .filter(|shard| !mine.contains_key(shard) && !beat.leaving.contains(shard))
        .collect();
    if !stray.is_empty() {
        lease::release(&mut tx, me.id, &stray).await?;
        for row in shards.iter_mut().filter(|row| stray.contains(&row.shard)) {
            row.owner = None;
        }
    }
    let is_mine = |shard: i16, epoch: i64| {
        shards
            .iter()
            .any(|row| row.shard == shard && row.epoch == epoch && row.owner == Some(me.id))
    };
    let lost = mine
        .iter()
        .filter(|(shard, epoch)| !is_mine(**shard, **epoch));
    let lost: Vec<i16> = lost.map(|(shard, _)| *shard).collect();
    let work = |shard: i16| beat.work.get(&shard).copied().unwrap_or(Work::None);
    let balance = lease::balance(me, &workers, &shards, work, beat.is_modest || had_lapsed);
    let there = rows::at(&mut tx, &beat.running).await?;
    let there: HashSet<Uuid> = there.iter().map(|row| row.id).collect();
    let cancelled = beat
        .running
        .into_iter()
        .filter(|place| !there.contains(&place.id))
        .collect();
    let kinds = rules::kinds(&mut tx).await?;
    let tenants = rules::changed(&mut tx, beat.since + CHANGES).await?;
    lease::bury(&mut tx).await?;
    tx.commit().await?;
    Ok(BeatResult {
        rank: Rank::of(me.id, &workers),
        released: beat.release,
        lost,
        let_go: balance
            .release
            .into_iter()
            .filter(|shard| !beat.leaving.contains(shard))
            .collect(),
        take: balance.take,
        had_lapsed,
        cancelled,
        kinds,
        tenants,
    })
}

/// Takes shards over, with what is ready in them.
pub(super) async fn take(store: Store, me: Uuid, shards: Vec<i16>) -> Done {
    let taken = async {
        let mut tx = store.system().await?;
        let taken = lease::take(&mut tx, me, &shards).await?;
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
    };
    Done::Take(taken.await)
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
    Done::Due(limited(try_due(&store, marks)).await)
}

async fn try_due(store: &Store, mut marks: PollMarks) -> Result<Due, Error> {
    let mut tx = store.system().await?;
    let (deferred, last) = rows::promote(&mut tx, marks.deferred.start(), DUE).await?;
    marks.deferred.ended(last);
    tx.commit().await?;
    // By themselves: a schedule that can't be fired must not hold up what is tried again.
    let mut tx = store.system().await?;
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
pub(super) async fn poll(store: Store, shards: Vec<i16>, cursor: Cursor, generation: u64) -> Done {
    let news = async {
        let mut tx = store.system().await?;
        let (rows, cursor) = rows::arrivals(&mut tx, &shards, &cursor).await?;
        let news = News::of(&mut tx, rows).await?;
        tx.commit().await?;
        Ok((cursor, news))
    };
    Done::Poll {
        generation,
        result: limited(news).await,
    }
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
    let result = limited(result).await;
    Done::HandOut {
        receipt,
        taken,
        result,
    }
}

/// Looks again, after a moment, at tasks whose producers were just changing them.
pub(super) async fn later(store: Store, places: Vec<RowPlace>) -> Done {
    loop {
        tokio::time::sleep(CHANGING).await;
        let news = async {
            let mut tx = store.system().await?;
            let rows = rows::at(&mut tx, &places).await?;
            let news = News::of(&mut tx, rows).await?;
            tx.commit().await?;
            Ok(news)
        };
        match limited(news).await {
            Ok(news) => return Done::Later(news),
            Err(error) => {
                warn!(%error, "can't look for tasks that were being changed; trying again")
            }
        }
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
    let result = limited(result).await;
    Done::Settle { receipts, result }
}

pub(super) async fn ledger(store: Store, me: Identity, page: Page) -> Done {
    let result = async {
        let mut tx = store.system().await?;
        work::write(&mut tx, &me, &page).await?;
        tx.commit().await?;
        Ok(())
    };
    Done::Ledger(limited(result).await)
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
///
/// A connection that broke may have been the server's end, and then what was seen of it may be void: that is `lost`.
pub(super) async fn listen(store: Store, heard: Arc<Notify>, lost: Arc<Notify>) {
    loop {
        match store.listen(CHANNEL).await {
            Ok(mut listener) => {
                // What was called before it listened was not heard.
                heard.notify_one();
                // `recv` would connect again without a word.
                listener.eager_reconnect(false);
                while let Ok(Some(_)) = listener.try_recv().await {
                    heard.notify_one();
                }
                lost.notify_one();
            }
            Err(error) => debug!(%error, "can't listen for calls of other workers"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Records what has ended, gives everything back and writes the last page; the page is worth least.
pub(super) async fn leave(
    store: &Store,
    me: &Identity,
    settlements: &[Settlement],
    page: &Page,
) -> Result<(), Error> {
    let mut tx = store.system().await?;
    rows::settle(&mut tx, settlements, &[]).await?;
    lease::leave(&mut tx, me.id).await?;
    tx.commit().await?;
    let mut tx = store.system().await?;
    work::write(&mut tx, me, page).await?;
    tx.commit().await?;
    Ok(())
}
