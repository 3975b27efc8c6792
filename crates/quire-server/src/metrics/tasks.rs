//! The queue: how tasks ended in this process, and what all workers say about what waits.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use quire_queue::{Stats, Tally};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PriorityLabels {
    priority: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
    priority: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    kind: &'static str,
    priority: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
    priority: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

#[derive(Default)]
pub(super) struct Tasks {
    tally: Tally,
    ended: Family<EndLabels, Counter>,
    busy: Family<KindLabels, Counter<f64, AtomicU64>>,
    waiting: Family<StateLabels, Gauge>,
    drain: Family<PriorityLabels, Seconds>,
    oldest: Family<PriorityLabels, Seconds>,
    deferred: Gauge,
    dead: Gauge,
    broken_schedules: Gauge,
    workers: Gauge,
    seats: Gauge,
    seats_used: Gauge,
}

impl Tasks {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let tasks = Self::default();
        registry.register(
            "tasks_ended",
            "Attempts at tasks in this process by how they ended",
            tasks.ended.clone(),
        );
        registry.register_with_unit(
            "tasks_busy",
            "Time that attempts took in this process",
            Unit::Seconds,
            tasks.busy.clone(),
        );
        registry.register(
            "tasks",
            "Ready and running tasks of all workers; held are those of the ready that nobody may run",
            tasks.waiting.clone(),
        );
        registry.register_with_unit(
            "tasks_drain",
            "How long the ready tasks that nothing holds back would take all seats",
            Unit::Seconds,
            tasks.drain.clone(),
        );
        registry.register_with_unit(
            "tasks_oldest",
            "Longest wait of a ready task that nothing holds back",
            Unit::Seconds,
            tasks.oldest.clone(),
        );
        registry.register(
            "tasks_deferred",
            "Tasks that wait for their time",
            tasks.deferred.clone(),
        );
        registry.register(
            "tasks_dead",
            "Tasks that will not be tried again",
            tasks.dead.clone(),
        );
        registry.register(
            "schedules_broken",
            "Schedules that fire no more because something is wrong with them",
            tasks.broken_schedules.clone(),
        );
        registry.register("task_workers", "Workers that live", tasks.workers.clone());
        registry.register("task_seats", "Seats of all workers", tasks.seats.clone());
        registry.register(
            "task_seats_used",
            "Seats with a task",
            tasks.seats_used.clone(),
        );
        tasks
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally.clone()
    }

    pub(super) fn update(&self, stats: &Stats) {
        for (kind, priority, totals) in self.tally.totals() {
            let priority = priority.as_str();
            for (outcome, count) in [
                ("done", totals.done),
                ("failed", totals.failed),
                ("dead", totals.dead),
            ] {
                let labels = EndLabels {
                    kind,
                    priority,
                    outcome,
                };
                self.ended
                    .get_or_create(&labels)
                    .inner()
                    .store(count, Ordering::Relaxed);
            }
            let busy = totals.busy.as_secs_f64().to_bits();
            let labels = KindLabels { kind, priority };
            self.busy
                .get_or_create(&labels)
                .inner()
                .store(busy, Ordering::Relaxed);
        }
        for row in &stats.priorities {
            let priority = row.priority;
            for (state, count) in [
                ("ready", row.ready),
                ("held", row.held),
                ("running", row.running),
            ] {
                self.waiting
                    .get_or_create(&StateLabels { state, priority })
                    .set(whole(count));
            }
            self.drain
                .get_or_create(&PriorityLabels { priority })
                .set(row.drain_s);
            self.oldest
                .get_or_create(&PriorityLabels { priority })
                .set(row.oldest_s);
        }
        self.deferred.set(stats.deferred);
        self.dead.set(stats.dead);
        self.broken_schedules.set(stats.broken_schedules);
        self.workers.set(i64::from(stats.workers));
        self.seats.set(whole(stats.seats));
        self.seats_used.set(whole(stats.seats_used));
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
