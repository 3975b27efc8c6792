//! The loop of a worker: owns shards, hands tasks to its seats, records how they ended, leaves in order.
//!
//! It holds everything in memory and never waits for the database: what it wants done there runs beside it,
//! one operation of each kind at a time (two for handing out), so batches grow by themselves with the load.
//! No transaction is open while a task runs. What it does with the answers is in `engine/results.rs`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use quire_types::TenantId;

use super::operations::{self, Done, PollMarks};
use super::{CALL, Worker};
use crate::handler::Handler;
use crate::lease::{Identity, Rank};
use crate::owner::{Held, Owner};
use crate::policy::{KindRule, Seats, Ticket};
use crate::rows::{Cursor, Outcome, Pick, Settlement};
use crate::rules::KindRow;
use crate::work::Ledger;

mod results;

/// Tasks handed out by one statement.
const HAND_OUT: usize = 500;
/// Batches that are handed out side by side: a task that comes while one is under way need not wait for it.
const HANDING: usize = 2;
/// Outcomes recorded by one transaction.
const SETTLE: usize = 1_000;
/// With so many outcomes unrecorded nothing more is handed out: a crash would repeat them all.
const UNRECORDED: usize = 4 * SETTLE;
/// The tables are looked after this often.
const UPKEEP: Duration = Duration::from_secs(3_600);

/// A task that is running.
struct Running {
    /// Tells it from a task that had the same ticket before.
    run: u64,
    held: Held,
    kind: &'static str,
    receipt: Uuid,
    waited_ms: u64,
    started: Instant,
    is_complete: Arc<AtomicBool>,
    abort: AbortHandle,
}

/// Whoever stops looking after a task stops the task.
impl Drop for Running {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

/// An outcome on its way to the database.
struct Ended {
    settlement: Settlement,
    receipt: Uuid,
    /// The row is expected to be gone: the task ended itself, or this was sent before.
    may_be_gone: bool,
}

pub(super) struct Engine<C> {
    worker: Arc<Worker<C>>,
    me: Identity,
    clock: Instant,
    owner: Owner,
    cursor: Option<Cursor>,
    /// Counts the sets of shards that it owned: a look that began with another set is half a look.
    generation: u64,
    marks: PollMarks,
    operations: JoinSet<Done>,
    busy: HashSet<&'static str>,
    next_poll: Instant,
    next_due: Instant,
    is_poll_wanted: bool,
    /// What was seen may not be what the server remembers.
    has_lost_sight: bool,
    next_beat: Instant,
    last_beat: Instant,
    /// Until then it takes nothing from those who look dead.
    modest_until: Instant,
    /// Shards that it should take.
    wanted: Vec<i16>,
    running: HashMap<Ticket, Running>,
    /// Shards of tasks that are being handed out, by receipt.
    handing: HashMap<Uuid, Vec<i16>>,
    runs: u64,
    outcomes: mpsc::UnboundedSender<(Ticket, u64, Outcome)>,
    finished: mpsc::UnboundedReceiver<(Ticket, u64, Outcome)>,
    ended: VecDeque<Ended>,
    settling: Vec<Ended>,
    pause_until: Option<Instant>,
    /// Open tasks of each receipt.
    receipts: HashMap<Uuid, usize>,
    closed_receipts: Vec<Uuid>,
    /// Receipts that closed with nothing more to record are removed at every beat.
    is_flush_due: bool,
    /// Shards to let go as soon as nothing of them is open.
    leaving: HashSet<i16>,
    ledger: Ledger,
    next_ledger: Instant,
    next_upkeep: Instant,
    /// Whether there are other workers.
    has_company: bool,
    is_news: bool,
    next_call: Instant,
    is_draining: bool,
}

impl<C: Clone + Send + Sync + 'static> Engine<C> {
    pub(super) fn new(worker: Arc<Worker<C>>) -> Self {
        let options = &worker.options;
        let seats = u32::try_from(options.seats).unwrap_or(u32::MAX).max(1);
        let me = Identity {
            id: Uuid::now_v7(),
            name: options.name.clone(),
            seats: i32::try_from(seats).unwrap_or(i32::MAX),
            dedicated: options.dedicated.map(TenantId::uuid),
            lease: options.lease,
        };
        let seats = Seats {
            all: seats,
            // A tenth, but never the only seat.
            reserve: if seats == 1 { 0 } else { (seats / 10).max(1) },
            aging_ms: u64::try_from(options.aging.as_millis()).unwrap_or(u64::MAX),
        };
        let mut owner = Owner::new(seats);
        for handler in worker.handlers.values() {
            owner
                .policy
                .set_kind(handler.kind, rule(handler, None, Rank::ALONE));
        }
        let (outcomes, finished) = mpsc::unbounded_channel();
        let now = Instant::now();
        let ledger = Ledger::new(worker.options.tally.clone());
        // Others that live may be about to renew their leases, if the database was away.
        let modest_until = now + me.lease / 2;
        Self {
            worker,
            me,
            clock: now,
            owner,
            cursor: None,
            generation: 0,
            marks: PollMarks::default(),
            operations: JoinSet::new(),
            busy: HashSet::new(),
            next_poll: now,
            next_due: now,
            is_poll_wanted: false,
            has_lost_sight: false,
            next_beat: now,
            last_beat: now,
            modest_until,
            wanted: Vec::new(),
            running: HashMap::new(),
            handing: HashMap::new(),
            runs: 0,
            outcomes,
            finished,
            ended: VecDeque::new(),
            settling: Vec::new(),
            pause_until: None,
            receipts: HashMap::new(),
            closed_receipts: Vec::new(),
            is_flush_due: false,
            leaving: HashSet::new(),
            ledger,
            next_ledger: now + Ledger::PERIOD,
            next_upkeep: now,
            has_company: false,
            is_news: false,
            next_call: now,
            is_draining: false,
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let bell = self.worker.bell.clone();
        let (heard, lost) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let mut ears = JoinSet::new();
        ears.spawn(operations::listen(
            self.worker.store.clone(),
            heard.clone(),
            lost.clone(),
        ));
        let mut give_up: Option<Instant> = None;
        loop {
            if self.is_draining && self.is_done(give_up) {
                break;
            }
            self.launch();
            let wake = self.next_wake(give_up);
            tokio::select! {
                Some(done) = self.operations.join_next(), if !self.operations.is_empty() => {
                    match done {
                        Ok(done) => self.handle(done),
                        // Nobody knows what is still true in memory.
                        Err(error) => std::panic::resume_unwind(Box::new(error.to_string())),
                    }
                }
                Some((ticket, run, outcome)) = self.finished.recv() => {
                    self.finish(ticket, run, outcome);
                    while let Ok((ticket, run, outcome)) = self.finished.try_recv() {
                        self.finish(ticket, run, outcome);
                    }
                }
                () = bell.notified() => {
                    self.is_poll_wanted = true;
                    self.is_news = true;
                }
                () = heard.notified() => self.is_poll_wanted = true,
                () = lost.notified() => self.has_lost_sight = true,
                () = tokio::time::sleep_until(wake.into()) => {}
                () = stop.cancelled(), if !self.is_draining => {
                    self.is_draining = true;
                    give_up = Some(Instant::now() + self.worker.options.grace);
                    let shards: Vec<i16> = self.owner.epochs().iter().map(|(shard, _)| *shard).collect();
                    self.owner.disown(&shards);
                    self.leaving.extend(shards);
                    self.next_beat = Instant::now();
                }
            }
        }
        self.leave().await;
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn next_wake(&self, give_up: Option<Instant>) -> Instant {
        // What is under way wakes the loop when it ends.
        let when = |name: &str, moment: Instant| (!self.busy.contains(name)).then_some(moment);
        let mut moments = vec![when("beat", self.next_beat), give_up, self.pause_until];
        if !self.is_draining {
            moments.push(when("ledger", self.next_ledger));
            moments.push(when("due", self.next_due));
            if self.cursor.is_some() {
                moments.push(when("poll", self.next_poll));
            }
        }
        let soonest = Instant::now() + Duration::from_millis(1);
        let latest = soonest + Duration::from_secs(1);
        moments
            .into_iter()
            .flatten()
            .min()
            .map_or(latest, |moment| moment.clamp(soonest, latest))
    }

    /// Whether a worker that was told to stop may go.
    fn is_done(&self, give_up: Option<Instant>) -> bool {
        let is_over = give_up.is_some_and(|moment| moment <= Instant::now());
        let is_idle = self.running.is_empty() && self.handing.is_empty();
        is_over || (is_idle && self.ended.is_empty() && self.settling.is_empty())
    }

    /// Starts what is due and not under way.
    fn launch(&mut self) {
        let now = Instant::now();
        if now >= self.next_beat && self.is_free_for("beat") {
            self.next_beat = now + self.worker.options.lease / 4;
            let beat = self.beat();
            self.operations.spawn(operations::beat(
                self.worker.store.clone(),
                self.me.clone(),
                beat,
            ));
        }
        if self.pause_until.is_some_and(|until| until > now) {
            return;
        }
        self.pause_until = None;
        let is_flush = self.is_flush_due && !self.closed_receipts.is_empty();
        if (!self.ended.is_empty() || is_flush) && self.is_free_for("settle") {
            self.is_flush_due = false;
            let batch = self.ended.len().min(SETTLE);
            self.settling = self.ended.drain(..batch).collect();
            let settlements = self
                .settling
                .iter()
                .map(|ended| ended.settlement.clone())
                .collect();
            let receipts = std::mem::take(&mut self.closed_receipts);
            self.operations.spawn(operations::settle(
                self.worker.store.clone(),
                settlements,
                receipts,
            ));
        }
        if self.is_draining {
            return;
        }
        if now >= self.next_ledger && self.is_free_for("ledger") {
            self.next_ledger = now + Ledger::PERIOD;
            self.owner.policy.sweep();
            let running: Vec<_> = self.owner.policy.running_by_tenant().collect();
            let page = self.ledger.close(&running);
            let store = self.worker.store.clone();
            self.operations
                .spawn(operations::ledger(store, self.me.clone(), page));
        }
        if now >= self.next_upkeep && self.is_free_for("upkeep") {
            self.next_upkeep = now + UPKEEP;
            self.operations
                .spawn(operations::upkeep(self.worker.store.clone()));
        }
        // Others may own the shard of what was added here.
        if self.is_news && self.has_company && now >= self.next_call && self.is_free_for("call") {
            self.is_news = false;
            self.next_call = now + CALL;
            self.operations
                .spawn(operations::call(self.worker.store.clone()));
        }
        if now >= self.next_due && self.is_free_for("due") {
            self.next_due = now + self.worker.options.poll;
            let marks = std::mem::take(&mut self.marks);
            self.operations
                .spawn(operations::due(self.worker.store.clone(), marks));
        }
        // Not beside a beat, which would take shards that it does not know of for strays.
        let may_take = !self.wanted.is_empty() && !self.busy.contains("beat");
        if may_take && self.is_free_for("take") {
            let wanted = std::mem::take(&mut self.wanted);
            let take = operations::take(self.worker.store.clone(), self.me.id, wanted);
            self.operations.spawn(take);
        }
        if let Some(cursor) = &self.cursor
            && (self.is_poll_wanted || now >= self.next_poll)
            && !self.busy.contains("poll")
        {
            let cursor = match std::mem::take(&mut self.has_lost_sight) {
                true => Cursor::START,
                false => cursor.clone(),
            };
            self.busy.insert("poll");
            self.is_poll_wanted = false;
            self.next_poll = now + self.worker.options.poll;
            let shards = self
                .owner
                .epochs()
                .iter()
                .map(|(shard, _)| *shard)
                .collect();
            self.operations.spawn(operations::poll(
                self.worker.store.clone(),
                shards,
                cursor,
                self.generation,
            ));
        }
        let may_hand_out = self.handing.len() < HANDING && self.ended.len() < UNRECORDED;
        if may_hand_out && self.owner.policy.free_seats() > 0 {
            let taken = self.owner.take(HAND_OUT, self.now_ms());
            if !taken.is_empty() {
                let receipt = Uuid::now_v7();
                let shards: Vec<i16> = taken.iter().map(|(_, held)| held.place.shard).collect();
                let mut epochs = self.owner.epochs();
                epochs.retain(|(shard, _)| shards.contains(shard));
                self.handing.insert(receipt, shards);
                let picks = taken.iter().map(|(_, held)| pick(held)).collect();
                self.operations.spawn(operations::hand_out(
                    self.worker.store.clone(),
                    self.me.id,
                    receipt,
                    epochs,
                    picks,
                    taken,
                ));
            }
        }
    }

    /// Whether the operation is not under way; it is from now on.
    fn is_free_for(&mut self, operation: &'static str) -> bool {
        self.busy.insert(operation)
    }

    fn handle(&mut self, done: Done) {
        match done {
            Done::Beat(result) => {
                self.busy.remove("beat");
                match result {
                    Ok(result) => self.after_beat(result),
                    Err(error) => {
                        warn!(%error, "can't renew the lease of the task worker; trying again")
                    }
                }
            }
            Done::Take(result) => {
                self.busy.remove("take");
                match result {
                    Ok(Some(taken)) => self.after_take(taken),
                    Ok(None) => {}
                    Err(error) => warn!(%error, "can't take shards over; trying again"),
                }
            }
            Done::Poll { generation, result } => {
                self.busy.remove("poll");
                match result {
                    Ok((cursor, news)) => {
                        if generation == self.generation {
                            self.cursor = Some(cursor);
                        }
                        self.arrive(news);
                    }
                    Err(error) => warn!(%error, "can't look for tasks; trying again"),
                }
            }
            Done::Due(result) => {
                self.busy.remove("due");
                match result {
                    Ok(due) => self.after_due(due),
                    Err(error) => warn!(%error, "can't see what is due; trying again"),
                }
            }
            Done::HandOut {
                receipt,
                taken,
                result,
            } => {
                self.handing.remove(&receipt);
                self.after_hand_out(receipt, taken, result);
            }
            Done::Later(news) => self.arrive(news),
            Done::Settle { receipts, result } => {
                self.busy.remove("settle");
                self.after_settle(receipts, result);
            }
            Done::Call => {
                self.busy.remove("call");
            }
            Done::Upkeep(result) => {
                self.busy.remove("upkeep");
                if let Err(error) = result {
                    warn!(%error, "the upkeep of the queue's tables failed; it is tried again in an hour");
                }
            }
            Done::Ledger(result) => {
                self.busy.remove("ledger");
                if let Err(error) = result {
                    warn!(%error, "can't write down what was done");
                }
            }
        }
    }
}

fn pick(held: &Held) -> Pick {
    Pick {
        place: held.place,
        tenant: held.tenant,
        is_keyed: held.is_keyed,
    }
}

/// What a kind may use here: this worker's part of what its code says, tightened by what an operator says.
fn rule<C>(handler: &Handler<C>, row: Option<&KindRow>, rank: Rank) -> KindRule {
    let most = row
        .and_then(|row| row.most_running)
        .and_then(|most| u32::try_from(most).ok());
    KindRule {
        most_running: rank.part(handler.most_running.min(most.unwrap_or(u32::MAX))),
        most_per_key: handler.most_per_key,
        is_paused: row.is_some_and(|row| row.is_paused),
    }
}
