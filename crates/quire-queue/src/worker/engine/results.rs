//! What the loop of a worker does with the answers of the database and the ends of tasks.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt;
use tracing::{info, warn};
use uuid::Uuid;

use quire_types::{ErrorKind, TaskId};

use super::{Ended, Engine, Running, operations, rule};
use crate::handler::Void;
use crate::lease::Work;
use crate::owner::Held;
use crate::policy::{TenantRule, Ticket};
use crate::rows::{Arrival, Handed, HandedOut, Outcome, Settlement};
use crate::work::Report;
use crate::worker::operations::{Beat, BeatResult, News, Taken};
use crate::{Attempt, Error, Failure};

/// A shard in which a task has run for longer than this is not let go until the task ends.
const LONG: Duration = Duration::from_secs(5);

impl<C: Clone + Send + Sync + 'static> Engine<C> {
    pub(super) fn beat(&mut self) -> Beat {
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
            busy_ms: u64::try_from(self.ledger.last_busy().as_millis()).unwrap_or(u64::MAX),
            unknown_kinds: self
                .owner
                .policy
                .unknown_kinds()
                .map(str::to_owned)
                .collect(),
        }
    }

    pub(super) fn after_beat(&mut self, result: BeatResult) {
        self.has_company = result.rank.of > 1;
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

        for handler in self.worker.handlers.values() {
            let row = result.kinds.iter().find(|row| row.kind == handler.kind);
            self.owner
                .policy
                .set_kind(handler.kind, rule(handler, row, result.rank));
        }
        for row in &result.tenants {
            if self.owner.policy.knows(row.tenant_id) {
                self.owner.policy.set_tenant(row.tenant_id, row.rule());
            }
        }
        if !self.is_draining {
            self.wanted = result.take;
        }
    }

    pub(super) fn after_take(&mut self, taken: Taken) {
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
    pub(super) fn arrive(&mut self, news: News) {
        let now = self.now_ms();
        let rules: HashMap<Uuid, TenantRule> = news
            .tenants
            .iter()
            .map(|row| (row.tenant_id, row.rule()))
            .collect();
        for (tenant, rule) in rules {
            self.owner.policy.set_tenant(tenant, rule);
        }
        // What was cancelled ends before its kind is told.
        let cancelled: HashMap<Uuid, i64> = news
            .rows
            .iter()
            .filter(|row| row.is_cancelled)
            .map(|row| (row.id, row.run_token))
            .collect();
        if !cancelled.is_empty() {
            let was_moved = |held: &Held| {
                let now_at = cancelled.get(&held.place.id);
                now_at.is_some_and(|token| *token != held.place.token)
            };
            self.owner.cancel(was_moved);
            self.cancel(was_moved);
        }
        for row in &news.rows {
            if row.is_cancelled && !self.worker.handlers.contains_key(row.kind.as_str()) {
                self.forget(row);
            } else {
                self.owner.arrive(row, now);
            }
        }
    }

    /// Ends a cancelled task that nobody here could be told of: cancelling is how tasks of a kind that
    /// no longer exists are got rid of.
    fn forget(&mut self, row: &Arrival) {
        warn!(
            task.id = %TaskId::from(row.id), task.kind = row.kind,
            "a task of an unknown kind was cancelled; nobody is told"
        );
        self.ended.push_back(Ended {
            settlement: Settlement {
                place: row.place(),
                tenant: row.tenant_id,
                is_keyed: false,
                outcome: Outcome::Cancelled,
            },
            // It was never handed out.
            receipt: Uuid::nil(),
            may_be_gone: true,
        });
    }

    pub(super) fn after_due(&mut self, due: operations::Due) {
        self.marks = due.marks;
        if due.moved > 0 {
            self.is_poll_wanted = true;
            self.is_news = true;
        }
        if due.is_more {
            self.next_due = Instant::now();
        }
    }

    pub(super) fn after_hand_out(
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
        let mut changing = Vec::new();
        for (ticket, held) in taken {
            let handed = handed.remove(&(held.place.id, held.place.token));
            if handed.is_some_and(|handed| self.start(ticket, held, handed, receipt)) {
                open += 1;
            } else {
                if later.contains(&held.place.id) {
                    changing.push(held.place);
                }
                self.owner.gone(ticket);
            }
        }
        if !changing.is_empty() {
            let store = self.worker.store.clone();
            self.operations.spawn(operations::later(store, changing));
        }
        if open > 0 {
            self.receipts.insert(receipt, open);
        } else {
            self.closed_receipts.push(receipt);
        }
    }

    fn start(&mut self, ticket: Ticket, held: Held, handed: Handed, receipt: Uuid) -> bool {
        if self.owner.is_void(ticket) {
            return false;
        }
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
        let void = match held.is_cancelled {
            true => Some(Void::Cancelled),
            false => handed.is_late.then_some(Void::Late),
        };
        let context = self.worker.context.clone();
        let outcomes = self.outcomes.clone();
        let kind = handler.kind;
        self.runs += 1;
        let run = self.runs;
        let number = attempt.number;
        let work = tokio::spawn(async move {
            let attempt = handler.attempt(context, handed, attempt, void);
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

    pub(super) fn finish(&mut self, ticket: Ticket, run: u64, outcome: Outcome) {
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
        self.ended.push_back(Ended {
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

    pub(super) fn after_settle(&mut self, receipts: Vec<Uuid>, result: Result<Vec<Uuid>, Error>) {
        let settling = std::mem::take(&mut self.settling);
        let settled: HashSet<Uuid> = match result {
            Ok(settled) => settled.into_iter().collect(),
            Err(error) => {
                warn!(%error, tasks = settling.len(), "can't record how tasks ended; trying again");
                for ended in settling.into_iter().rev() {
                    self.ended.push_front(Ended {
                        may_be_gone: true,
                        ..ended
                    });
                }
                self.closed_receipts.extend(receipts);
                self.pause();
                return;
            }
        };
        for ended in settling {
            let place = ended.settlement.place;
            if !settled.contains(&place.id) && !ended.may_be_gone {
                warn!(
                    task.id = %TaskId::from(place.id),
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
                    task.id = %TaskId::from(running.held.place.id), task.kind = running.kind,
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
    pub(super) async fn leave(mut self) {
        for (_, running) in self.running.drain() {
            running.abort.abort();
            info!(
                task.id = %TaskId::from(running.held.place.id), task.kind = running.kind,
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
            match operations::leave(store, &self.me, &settlements, &page).await {
                Ok(()) => return,
                Err(error) => {
                    warn!(%error, "can't hand the shards over; the lease runs out by itself");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }
}
