//! The worker: owns shards, hands tasks to its seats, records how they ended, and leaves in order.
//!
//! One loop holds everything in memory and never waits for the database: what it wants done there runs
//! beside it, one operation of each kind at a time, so batches grow by themselves with the load. No
//! transaction is open while a task runs.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use uuid::Uuid;

use quire_store::Store;
use quire_types::{ErrorKind, TenantId};

use crate::handler::Handler;
use crate::lease::{Identity, Work};
use crate::owner::{Held, Owner};
use crate::policy::{KindRule, Seats, TenantRule, Ticket};
use crate::rows::{Handed, HandedOut, Outcome, Pick, Settlement};
use crate::work::{Ledger, Report, Tally};
use crate::{Attempt, Error, Failure, Task};

mod operations;

pub use operations::relay;
use operations::{Beat, BeatResult, Done, News, PollMarks, Taken};

/// Tasks handed out by one statement.
const HAND_OUT: usize = 500;
/// Batches that are handed out side by side: a task that comes while one is under way need not wait for it.
const HANDING: usize = 2;
/// Outcomes recorded by one transaction.
const SETTLE: usize = 1_000;

/// A shard in which a task has run for longer than this is not let go until the task ends.
const LONG: Duration = Duration::from_secs(5);
/// Other workers are called no more often than this: a notice takes a lock of the whole server.
const CALL: Duration = Duration::from_millis(20);
/// The tables are looked after this often.
const UPKEEP: Duration = Duration::from_secs(3_600);

/// How a worker behaves.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// What people call the worker: the host, say.
    pub name: String,
    /// Tasks that run at once.
    pub seats: usize,
    /// How long the shards of a worker that says nothing stay its own.
    pub lease: Duration,
    /// How long an idle worker waits before it looks again without being woken.
    pub poll: Duration,
    /// How long running tasks may take to finish once the worker is told to stop.
    pub grace: Duration,
    /// Serve only this tenant, which has a shard of its own: see [`crate::dedicate`].
    pub dedicated: Option<TenantId>,
    /// A task that waits this long counts as one priority higher, twice as long as two.
    pub aging: Duration,
    /// Counts how tasks end.
    pub tally: Tally,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: "quire".to_owned(),
            seats: 4,
            lease: Duration::from_secs(5),
            poll: Duration::from_millis(200),
            grace: Duration::from_secs(20),
            dedicated: None,
            aging: Duration::from_secs(300),
            tally: Tally::default(),
        }
    }
}

/// Runs the tasks of the kinds it was told about.
pub struct Worker<C> {
    store: Store,
    context: C,
    options: WorkerOptions,
    handlers: HashMap<&'static str, Handler<C>>,
    bell: Arc<Notify>,
}

impl<C: Clone + Send + Sync + 'static> Worker<C> {
    /// A worker without kinds. Ring `bell` after a transaction that enqueued has committed.
    pub fn new(store: Store, context: C, bell: Arc<Notify>, options: WorkerOptions) -> Self {
        Self {
            store,
            context,
            options,
            handlers: HashMap::new(),
            bell,
        }
    }

    /// Adds a kind of task.
    #[must_use]
    pub fn with<T: Task<Context = C>>(mut self) -> Self {
        self.handlers.insert(T::KIND, Handler::of::<T>());
        self
    }

    /// Works until told to stop, then lets running tasks finish or leaves them to others.
    pub async fn run(self, stop: CancellationToken) {
        let worker = Arc::new(self);
        loop {
            let engine = Box::pin(Engine::new(worker.clone()).run(stop.clone()));
            match AssertUnwindSafe(engine).catch_unwind().await {
                Ok(()) => return,
                // A defect of ours. What this life had begun is found by its receipts.
                Err(_) => error!("the task worker panicked; it begins anew"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

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

struct Engine<C> {
    worker: Arc<Worker<C>>,
    me: Identity,
    clock: Instant,
    owner: Owner,
    cursor: Option<crate::rows::Cursor>,
    /// Counts the sets of shards that it owned: a look that began with another set is half a look.
    generation: u64,
    marks: PollMarks,
    operations: JoinSet<Done>,
    busy: HashSet<&'static str>,
    next_poll: Instant,
    next_due: Instant,
    is_poll_wanted: bool,
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
    ended: Vec<Ended>,
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
    fn new(worker: Arc<Worker<C>>) -> Self {
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
            owner.set_kind(handler.kind, rule(handler, None));
        }
        let (outcomes, finished) = mpsc::unbounded_channel();
        let now = Instant::now();
        let ledger = Ledger::new(worker.options.tally.clone());
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
            next_beat: now,
            last_beat: now,
            modest_until: now,
            wanted: Vec::new(),
            running: HashMap::new(),
            handing: HashMap::new(),
            runs: 0,
            outcomes,
            finished,
            ended: Vec::new(),
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

    async fn run(mut self, stop: CancellationToken) {
        let bell = self.worker.bell.clone();
        let heard = Arc::new(Notify::new());
        let mut ears = JoinSet::new();
        ears.spawn(operations::listen(self.worker.store.clone(), heard.clone()));
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
            let rest = self.ended.split_off(self.ended.len().min(SETTLE));
            self.settling = std::mem::replace(&mut self.ended, rest);
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
            self.operations
                .spawn(operations::ledger(self.worker.store.clone(), page));
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
        if !self.wanted.is_empty() && self.is_free_for("take") {
            let wanted = std::mem::take(&mut self.wanted);
            let take = operations::take(self.worker.store.clone(), self.me.id, wanted);
            self.operations.spawn(take);
        }
        if let Some(cursor) = &self.cursor
            && (self.is_poll_wanted || now >= self.next_poll)
            && !self.busy.contains("poll")
        {
            let cursor = cursor.clone();
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
        if self.owner.policy.free_seats() > 0 && self.handing.len() < HANDING {
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

    fn beat(&mut self) -> Beat {
        let open: HashSet<i16> = self
            .running
            .values()
            .map(|running| running.held.place.shard)
            .chain(
                self.ended
                    .iter()
                    .chain(&self.settling)
                    .map(|ended| ended.settlement.place.shard),
            )
            .chain(self.handing.values().flatten().copied())
            .collect();
        let now = Instant::now();
        let mut work: HashMap<i16, Work> = open.iter().map(|shard| (*shard, Work::Short)).collect();
        for running in self.running.values() {
            if now.duration_since(running.started) > LONG {
                work.insert(running.held.place.shard, Work::Long);
            }
        }
        Beat {
            is_draining: self.is_draining,
            work,
            is_modest: self.modest_until > now,
            is_taking: self.busy.contains("take"),
            since: now.duration_since(self.last_beat),
            mine: self.owner.epochs(),
            release: self
                .leaving
                .iter()
                .copied()
                .filter(|shard| !open.contains(shard))
                .collect(),
            leaving: self.leaving.clone(),
            running: self
                .running
                .values()
                .filter(|running| !running.is_complete.load(Ordering::Acquire))
                .map(|running| running.held.place)
                .collect(),
            report: self.report(),
        }
    }

    fn report(&self) -> Report {
        Report {
            seats_used: self.owner.policy.running(),
            backlog: self.owner.policy.backlog(self.now_ms()),
            busy_share: self.ledger.busy_share(self.worker.options.seats),
            unknown_kinds: self
                .owner
                .policy
                .unknown_kinds()
                .map(str::to_owned)
                .collect(),
        }
    }

    fn after_beat(&mut self, result: BeatResult) {
        self.has_company = result.has_company;
        self.last_beat = Instant::now();
        self.is_flush_due = true;
        if result.had_lapsed {
            self.modest_until = self.last_beat + self.worker.options.lease;
        }
        for shard in &result.released {
            self.leaving.remove(shard);
        }
        if !result.lost.is_empty() {
            warn!(
                shards = result.lost.len(),
                "another worker took shards over from this one"
            );
            self.owner.disown(&result.lost);
            self.leaving.retain(|shard| !result.lost.contains(shard));
            self.cancel(|held| result.lost.contains(&held.place.shard));
        }
        self.cancel(|held| result.cancelled.contains(&held.place));
        self.leaving.extend(&result.let_go);
        self.owner.disown(&result.let_go);

        for row in &result.kinds {
            if let Some(handler) = self.worker.handlers.get(row.kind.as_str()) {
                self.owner.set_kind(handler.kind, rule(handler, Some(row)));
            }
        }
        for row in &result.tenants {
            if self.owner.policy.knows(row.tenant_id) {
                self.owner.set_tenant(row.tenant_id, row.rule());
            }
        }
        if !self.is_draining {
            self.wanted = result.take;
        }
    }

    fn after_take(&mut self, taken: Taken) {
        self.generation += 1;
        if self.is_draining {
            self.leaving
                .extend(taken.shards.iter().map(|(shard, _)| *shard));
            return;
        }
        for (shard, epoch) in taken.shards {
            self.leaving.remove(&shard);
            self.owner.own(shard, epoch);
        }
        // What came to these shards after they were read may lie before the present of the others.
        self.cursor = Some(match &self.cursor {
            Some(cursor) => cursor.earlier(&taken.cursor),
            None => taken.cursor,
        });
        self.arrive(taken.news);
        self.is_poll_wanted = true;
        // Others may have more to give in a moment.
        self.next_beat = self
            .next_beat
            .min(Instant::now() + self.worker.options.lease / 8);
    }

    /// Rules first: a task of a paused tenant must not slip through.
    fn arrive(&mut self, news: News) {
        let now = self.now_ms();
        let rules: HashMap<Uuid, TenantRule> = news
            .tenants
            .iter()
            .map(|row| (row.tenant_id, row.rule()))
            .collect();
        for (tenant, rule) in rules {
            self.owner.set_tenant(tenant, rule);
        }
        for row in &news.rows {
            self.owner.arrive(row, now);
        }
    }

    fn after_due(&mut self, due: operations::Due) {
        self.marks = due.marks;
        if due.moved > 0 {
            self.is_poll_wanted = true;
            self.is_news = true;
        }
        if due.is_more {
            self.next_due = Instant::now();
        }
    }

    fn after_hand_out(
        &mut self,
        receipt: Uuid,
        taken: Vec<(Ticket, Held)>,
        result: Result<HandedOut, Error>,
    ) {
        let handed = match result {
            Ok(handed) => handed,
            Err(error) => {
                warn!(%error, "can't hand tasks out; trying again");
                // From the last to the first, so that each lands in front of the one after it.
                for (ticket, _) in taken.into_iter().rev() {
                    self.owner.put_back(ticket);
                }
                // It may have been written all the same.
                self.closed_receipts.push(receipt);
                self.pause();
                return;
            }
        };
        let later: HashSet<Uuid> = handed.later.into_iter().collect();
        let mut handed: HashMap<(Uuid, i64), Handed> = handed
            .tasks
            .into_iter()
            .map(|handed| ((handed.id, handed.run_token), handed))
            .collect();
        let mut open = 0;
        for (ticket, held) in taken {
            let handed = handed.remove(&(held.place.id, held.place.token));
            if handed.is_some_and(|handed| self.start(ticket, held, handed, receipt)) {
                open += 1;
            } else if later.contains(&held.place.id) {
                self.owner.put_back(ticket);
                self.is_poll_wanted = true;
            } else {
                self.owner.gone(ticket);
            }
        }
        if open > 0 {
            self.receipts.insert(receipt, open);
        } else {
            self.closed_receipts.push(receipt);
        }
    }

    fn start(&mut self, ticket: Ticket, held: Held, handed: Handed, receipt: Uuid) -> bool {
        let Some(kind) = self.owner.policy.kind_of(ticket) else {
            return false;
        };
        let Some(handler) = self.worker.handlers.get(&*kind).cloned() else {
            return false;
        };
        let is_complete = Arc::new(AtomicBool::new(false));
        let attempt = Attempt {
            task: held.place.id.into(),
            tenant: held.tenant.into(),
            number: held.attempt.saturating_add(1),
            of: handler.max_attempts,
            place: held.place,
            is_complete: is_complete.clone(),
        };
        let is_too_late = held
            .deadline
            .is_some_and(|deadline| deadline < chrono::Utc::now());
        let context = self.worker.context.clone();
        let outcomes = self.outcomes.clone();
        let kind = handler.kind;
        self.runs += 1;
        let run = self.runs;
        let number = attempt.number;
        let work = tokio::spawn(async move {
            let attempt = handler.attempt(context, handed, attempt, is_too_late);
            let outcome = AssertUnwindSafe(attempt).catch_unwind().await;
            // Caught where it is called; what panics here is letting go of what it held.
            let outcome = outcome.unwrap_or_else(|_| Outcome::Again {
                failure: Failure::new(ErrorKind::Internal, "the task panicked at its end"),
                attempt: number,
                after: Duration::from_secs(2),
            });
            // The engine listens as long as it has running tasks.
            drop(outcomes.send((ticket, run, outcome)));
        });
        let running = Running {
            run,
            held,
            kind,
            receipt,
            waited_ms: self.owner.policy.waited_ms(ticket, self.now_ms()),
            started: Instant::now(),
            is_complete,
            abort: work.abort_handle(),
        };
        self.running.insert(ticket, running);
        true
    }

    fn finish(&mut self, ticket: Ticket, run: u64, outcome: Outcome) {
        // Another run or none: it was cancelled while its last words were under way.
        if self
            .running
            .get(&ticket)
            .is_none_or(|running| running.run != run)
        {
            return;
        }
        let Some(running) = self.running.remove(&ticket) else {
            return;
        };
        let took = running.started.elapsed();
        self.ledger.note(
            &running.held,
            running.kind,
            &outcome,
            took,
            running.waited_ms,
        );
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.owner.end(ticket, took_us);
        let may_be_gone = running.is_complete.load(Ordering::Acquire);
        self.ended.push(Ended {
            settlement: Settlement {
                place: running.held.place,
                tenant: running.held.tenant,
                is_keyed: running.held.is_keyed,
                // If the task ended itself, its row is gone and this finds nothing. If its transaction did
                // not commit after all, this is what counts.
                outcome,
            },
            receipt: running.receipt,
            may_be_gone,
        });
    }

    fn after_settle(&mut self, receipts: Vec<Uuid>, result: Result<Vec<Uuid>, Error>) {
        let settling = std::mem::take(&mut self.settling);
        let settled: HashSet<Uuid> = match result {
            Ok(settled) => settled.into_iter().collect(),
            Err(error) => {
                warn!(%error, tasks = settling.len(), "can't record how tasks ended; trying again");
                let again = settling.into_iter().map(|ended| Ended {
                    may_be_gone: true,
                    ..ended
                });
                self.ended.splice(0..0, again);
                self.closed_receipts.extend(receipts);
                self.pause();
                return;
            }
        };
        for ended in settling {
            let place = ended.settlement.place;
            if !settled.contains(&place.id) && !ended.may_be_gone {
                warn!(
                    task.id = %quire_types::TaskId::from(place.id),
                    "a late outcome was refused: the task was cancelled, or another worker has it"
                );
            }
            self.owner.recorded(place);
            self.close(ended.receipt);
        }
    }

    /// One task less in a receipt.
    fn close(&mut self, receipt: Uuid) {
        if let Some(open) = self.receipts.get_mut(&receipt) {
            *open -= 1;
            if *open == 0 {
                self.receipts.remove(&receipt);
                self.closed_receipts.push(receipt);
            }
        }
    }

    /// Stops running tasks; nothing is recorded for them.
    fn cancel(&mut self, which: impl Fn(&Held) -> bool) {
        let cancelled: Vec<Ticket> = self
            .running
            .iter()
            .filter(|(_, running)| {
                which(&running.held) && !running.is_complete.load(Ordering::Acquire)
            })
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in cancelled {
            if let Some(running) = self.running.remove(&ticket) {
                running.abort.abort();
                info!(
                    task.id = %quire_types::TaskId::from(running.held.place.id), task.kind = running.kind,
                    "a running task was stopped: it was cancelled, or another worker has it"
                );
                self.owner.gone(ticket);
                self.close(running.receipt);
            }
        }
    }

    /// The database is in trouble; asking it at full speed helps nobody.
    fn pause(&mut self) {
        self.pause_until = Some(Instant::now() + Duration::from_millis(500));
    }

    /// Leaves tasks that did not finish to others, with the attempt not counted.
    async fn leave(mut self) {
        for (_, running) in self.running.drain() {
            running.abort.abort();
            info!(
                task.id = %quire_types::TaskId::from(running.held.place.id), task.kind = running.kind,
                "leaving an unfinished task to another worker"
            );
        }
        self.operations.shutdown().await;
        let page = self.ledger.close(&[]);
        let settlements: Vec<Settlement> = self
            .ended
            .drain(..)
            .chain(self.settling.drain(..))
            .map(|ended| ended.settlement)
            .collect();
        for _ in 0..3 {
            let store = &self.worker.store;
            match operations::leave(store, self.me.id, &settlements, &page).await {
                Ok(()) => return,
                Err(error) => {
                    warn!(%error, "can't hand the shards over; the lease runs out by itself");
                    tokio::time::sleep(Duration::from_millis(200)).await;
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

/// What a kind may use: what its code says, tightened by what an operator says.
fn rule<C>(handler: &Handler<C>, row: Option<&crate::rules::KindRow>) -> KindRule {
    let most = row
        .and_then(|row| row.most_running)
        .and_then(|most| u32::try_from(most).ok());
    KindRule {
        most_running: handler.most_running.min(most.unwrap_or(u32::MAX)).max(1),
        most_per_key: handler.most_per_key,
        is_paused: row.is_some_and(|row| row.is_paused),
    }
}
