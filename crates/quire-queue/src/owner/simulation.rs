//! Many small histories of the queue, each from a seed: workers that die, freeze and come back, answers
//! that get lost after the database has acted, tasks that fail or take their worker down. The owner is the
//! real one; the database is a model of what the statements in `rows.rs` and `lease.rs` do.
//!
//! Held at every step: no limit is exceeded among what an owner runs, no task runs twice in it, and what one
//! worker began no other one begins before it was counted. While nobody comes or goes the limit of a kind
//! holds for all workers together. Held at the end, once the faults have stopped: every task ended, none
//! ended twice, none was given up before its attempts were used, and of each cancelled one its kind was told.
//! A failure names its seed; `QUIRE_SIM_SEED=<seed>` runs that one alone, `QUIRE_SIM_SEEDS=<n>` runs n.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::lease::{Alive, Identity, Rank, Shard, Work, balance};
use crate::policy::{KindRule, TenantRule};

const SHARDS: i16 = 6;
const MAX_ATTEMPTS: i16 = 4;
const TENANT_LIMIT: u32 = 3;
const LEASE_MS: u64 = 5_000;
const KINDS: [&str; 3] = ["short", "long", "narrow"];
/// Tasks of the kind "narrow" that all workers run at once, if they are not more themselves.
const NARROW: u32 = 3;
const NARROW_MS: u64 = 1_500;
/// After a change among the workers, when the last lease has run out, the last beat has come and what was
/// begun before is over.
const STEADY_MS: u64 = LEASE_MS * 5 / 4 + NARROW_MS + 200;

#[derive(Clone)]
struct Row {
    arrival: Arrival,
    /// Attempts at which the task fails, and at which it kills its worker.
    fails: i16,
    kills: i16,
    takes_ms: u64,
}

/// What PostgreSQL would hold.
#[derive(Default)]
struct Model {
    token: i64,
    ready: BTreeMap<Uuid, Row>,
    deferred: Vec<(u64, Row)>,
    shards: HashMap<i16, (Option<usize>, i64)>,
    /// Worker, where the task was.
    receipts: HashSet<(usize, RowPlace)>,
    /// Who began what stands at a place.
    begun: HashMap<RowPlace, usize>,
    leases: HashMap<usize, u64>,
    done: HashMap<Uuid, u32>,
    dead: HashMap<Uuid, i16>,
    told: HashMap<Uuid, u32>,
}

impl Model {
    fn insert(&mut self, mut row: Row) {
        self.token += 1;
        row.arrival.run_token = self.token;
        self.ready.insert(row.arrival.id, row);
    }

    fn at(&self, place: RowPlace) -> Option<&Row> {
        self.ready
            .get(&place.id)
            .filter(|row| row.arrival.run_token == place.token)
    }
}

struct Task {
    held: Held,
    kind: Arc<str>,
    ends_at: u64,
    outcome: End,
}

#[derive(Clone, Copy, PartialEq)]
enum End {
    Done,
    Fails,
    Kills,
    Told,
}

/// A worker process.
struct Process {
    owner: Owner,
    cursor: i64,
    running: HashMap<Ticket, Task>,
    /// Outcomes that are not recorded yet.
    ended: Vec<(Held, End)>,
    frozen_until: u64,
    next_beat: u64,
    /// Shards to let go as soon as nothing of them is open.
    leaving: HashSet<i16>,
    is_dead: bool,
}

struct World {
    rng: StdRng,
    now: u64,
    model: Model,
    processes: Vec<Process>,
    tasks: usize,
    /// The workers that are at work, and since when.
    crew: (Vec<usize>, u64),
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = World {
            rng: StdRng::seed_from_u64(seed),
            now: 0,
            model: Model::default(),
            processes: Vec::new(),
            tasks: 0,
            crew: (Vec::new(), 0),
        };
        for shard in 0..SHARDS {
            world.model.shards.insert(shard, (None, 0));
        }
        for _ in 0..world.rng.random_range(1..4) {
            world.spawn();
        }
        world
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    fn spawn(&mut self) {
        let all = self.rng.random_range(1..12);
        let mut owner = Owner::new(Seats {
            all,
            reserve: u32::from(all > 1),
            aging_ms: 60_000,
        });
        for kind in KINDS {
            owner.policy.set_kind(kind, rule(kind, Rank::ALONE));
        }
        self.processes.push(Process {
            owner,
            cursor: 0,
            running: HashMap::new(),
            ended: Vec::new(),
            frozen_until: 0,
            next_beat: self.now,
            leaving: HashSet::new(),
            is_dead: false,
        });
    }

    fn produce(&mut self) {
        for _ in 0..self.rng.random_range(1..8) {
            let tenant = self.rng.random_range(0..5_u128);
            let key = self
                .chance(40)
                .then(|| format!("key {}", self.rng.random_range(0..3)));
            let id = Uuid::from_u128(self.tasks as u128 + 1);
            self.tasks += 1;
            let kind = KINDS[self.rng.random_range(0..KINDS.len())];
            let row = Row {
                arrival: Arrival {
                    shard: (tenant % SHARDS as u128) as i16,
                    run_token: 0,
                    id,
                    tenant_id: Uuid::from_u128(1_000 + tenant),
                    kind: kind.to_owned(),
                    priority: self.rng.random_range(0..5),
                    attempt: 0,
                    key,
                    cost_ms: None,
                    is_keyed: false,
                    is_cancelled: false,
                },
                fails: if self.chance(10) {
                    self.rng.random_range(1..6)
                } else {
                    0
                },
                kills: if self.chance(2) {
                    self.rng.random_range(1..6)
                } else {
                    0
                },
                takes_ms: self.rng.random_range(
                    1..match kind {
                        "long" => 4_000,
                        "narrow" => NARROW_MS,
                        _ => 100,
                    },
                ),
            };
            self.model.insert(row);
        }
    }

    /// Cancels some task that has not ended.
    fn cancel(&mut self) {
        let deferred = self.model.deferred.len();
        let some = self
            .rng
            .random_range(0..(deferred + self.model.ready.len()).max(1));
        let row = if some < deferred {
            (!self.model.deferred[some].1.arrival.is_cancelled)
                .then(|| self.model.deferred.swap_remove(some).1)
        } else {
            let row = self.model.ready.values().nth(some - deferred);
            row.filter(|row| !row.arrival.is_cancelled).cloned()
        };
        if let Some(mut row) = row {
            row.arrival.is_cancelled = true;
            row.arrival.key = None;
            self.model.insert(row);
        }
    }

    /// One beat of a worker: its lease, its shards.
    fn beat(&mut self, index: usize) {
        let now = self.now;
        let process = &mut self.processes[index];
        process.next_beat = now + LEASE_MS / 4;
        self.model.leases.insert(index, now + LEASE_MS);
        let lost: Vec<i16> = process
            .owner
            .epochs()
            .into_iter()
            .filter(|(shard, epoch)| self.model.shards[shard] != (Some(index), *epoch))
            .map(|(shard, _)| shard)
            .collect();
        process.owner.disown(&lost);
        let cancelled: Vec<Ticket> = process
            .running
            .iter()
            .filter(|(_, task)| lost.contains(&task.held.place.shard))
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in cancelled {
            process.running.remove(&ticket);
            process.owner.gone(ticket);
        }

        let id = |index: usize| Uuid::from_u128(index as u128 + 1);
        let alive: Vec<Alive> = (0..self.processes.len())
            .filter(|other| {
                self.model
                    .leases
                    .get(other)
                    .is_some_and(|until| *until > now)
            })
            .map(|other| Alive {
                id: id(other),
                dedicated: None,
                is_draining: false,
            })
            .collect();
        let shards: Vec<Shard> = (0..SHARDS)
            .map(|shard| {
                let (owner, epoch) = self.model.shards[&shard];
                Shard {
                    shard,
                    reserved_for: None,
                    owner: owner.map(id),
                    epoch,
                }
            })
            .collect();
        let me = Identity {
            id: id(index),
            name: String::new(),
            seats: 1,
            dedicated: None,
            lease: std::time::Duration::ZERO,
        };
        let balance = balance(&me, &alive, &shards, |_| Work::None, false);
        let process = &mut self.processes[index];
        for kind in KINDS {
            let rule = rule(kind, Rank::of(me.id, &alive));
            process.owner.policy.set_kind(kind, rule);
        }
        process.owner.disown(&balance.release);
        process.leaving.extend(balance.release);
        process
            .leaving
            .retain(|shard| self.model.shards[shard].0 == Some(index));
        for shard in process.leaving.clone() {
            let is_open = process
                .running
                .values()
                .any(|task| task.held.place.shard == shard)
                || process
                    .ended
                    .iter()
                    .any(|(held, _)| held.place.shard == shard);
            let (owner, epoch) = self.model.shards[&shard];
            if !is_open && owner == Some(index) {
                self.model.shards.insert(shard, (None, epoch));
                process.leaving.remove(&shard);
            }
        }
        for shard in balance.take {
            self.take_over(index, shard);
        }
    }

    fn take_over(&mut self, index: usize, shard: i16) {
        let (before, epoch) = self.model.shards[&shard];
        self.model.shards.insert(shard, (Some(index), epoch + 1));
        if let Some(dead) = before {
            let begun: Vec<Row> = self
                .model
                .ready
                .values()
                .filter(|row| row.arrival.shard == shard)
                .filter(|row| {
                    let receipt = (dead, row.arrival.place());
                    self.model.receipts.contains(&receipt)
                })
                .cloned()
                .collect();
            for mut row in begun {
                row.arrival.attempt += 1;
                self.model.insert(row);
            }
        }
        let process = &mut self.processes[index];
        process.owner.own(shard, epoch + 1);
        let ready = self.model.ready.values().map(|row| &row.arrival);
        arrive(process, ready.filter(|row| row.shard == shard), self.now);
    }

    fn poll(&mut self, index: usize) {
        let due: Vec<usize> = (0..self.model.deferred.len())
            .filter(|row| self.model.deferred[*row].0 <= self.now)
            .collect();
        for row in due.into_iter().rev() {
            let (_, row) = self.model.deferred.swap_remove(row);
            self.model.insert(row);
        }
        let process = &mut self.processes[index];
        let cursor = process.cursor;
        let ready = self.model.ready.values().map(|row| &row.arrival);
        arrive(
            process,
            ready.filter(|row| row.run_token > cursor),
            self.now,
        );
        process.cursor = self.model.token;
    }

    fn hand_out(&mut self, index: usize, faults: bool) {
        let limit = self.rng.random_range(1..6);
        let taken = self.processes[index].owner.take(limit, self.now);
        if taken.is_empty() {
            return;
        }
        let is_lost_before = faults && self.chance(2);
        let is_lost_after = faults && self.chance(2);
        let process = &mut self.processes[index];
        let epochs: HashMap<i16, i64> = process.owner.epochs().into_iter().collect();
        let mut found = HashSet::new();
        if !is_lost_before {
            for (_, held) in &taken {
                let epoch = epochs.get(&held.place.shard).copied().unwrap_or(-1);
                let is_mine = self.model.shards[&held.place.shard] == (Some(index), epoch);
                if is_mine && self.model.at(held.place).is_some() {
                    self.model.receipts.insert((index, held.place));
                    found.insert(held.place.id);
                    if !is_lost_after {
                        let first = *self.model.begun.entry(held.place).or_insert(index);
                        assert_eq!(first, index, "two workers began one task");
                    }
                }
            }
        }
        if is_lost_before || is_lost_after {
            for (ticket, _) in taken.into_iter().rev() {
                process.owner.put_back(ticket);
            }
            return;
        }
        for (ticket, held) in taken {
            if !found.contains(&held.place.id) {
                process.owner.gone(ticket);
                continue;
            }
            let row = &self.model.ready[&held.place.id];
            let number = held.attempt + 1;
            let outcome = if number <= row.kills && number <= MAX_ATTEMPTS {
                End::Kills
            } else if held.is_cancelled {
                End::Told
            } else if number <= row.fails || number > MAX_ATTEMPTS {
                End::Fails
            } else {
                End::Done
            };
            let kind = process.owner.policy.kind_of(ticket).unwrap_or_default();
            let ends_at = self.now + row.takes_ms;
            process.running.insert(
                ticket,
                Task {
                    held,
                    kind,
                    ends_at,
                    outcome,
                },
            );
        }
    }

    /// Ends what is over. False when a task took its worker down.
    fn finish(&mut self, index: usize) -> bool {
        let process = &mut self.processes[index];
        let mut over: Vec<Ticket> = process
            .running
            .iter()
            .filter(|(_, task)| task.ends_at <= self.now)
            .map(|(ticket, _)| *ticket)
            .collect();
        over.sort_unstable();
        for ticket in over {
            let Some(task) = process.running.remove(&ticket) else {
                continue;
            };
            if task.outcome == End::Kills {
                return false;
            }
            process.owner.end(ticket, 1 + self.now % 1_000 * 100);
            process.ended.push((task.held, task.outcome));
        }
        true
    }

    fn settle(&mut self, index: usize, faults: bool) {
        let is_lost_before = faults && self.chance(3);
        let is_lost_after = faults && self.chance(3);
        if is_lost_before {
            return;
        }
        let ended = self.processes[index].ended.clone();
        for (held, outcome) in &ended {
            let Some(mut row) = self.model.at(held.place).cloned() else {
                continue;
            };
            self.model.ready.remove(&held.place.id);
            let number = held.attempt + 1;
            match outcome {
                End::Done => *self.model.done.entry(held.place.id).or_default() += 1,
                End::Told => *self.model.told.entry(held.place.id).or_default() += 1,
                _ if number >= MAX_ATTEMPTS => {
                    self.model.dead.insert(held.place.id, number);
                }
                _ => {
                    row.arrival.attempt = number;
                    let after = self.rng.random_range(0..3_000);
                    self.model.deferred.push((self.now + after, row));
                }
            }
        }
        if is_lost_after {
            return;
        }
        let process = &mut self.processes[index];
        for (held, _) in process.ended.drain(..) {
            process.owner.recorded(held.place);
            self.model.receipts.remove(&(index, held.place));
        }
    }

    /// What runs at one owner stays within every limit.
    fn check_limits(&self, index: usize) {
        let process = &self.processes[index];
        let mut tenants: HashMap<Uuid, u32> = HashMap::new();
        let mut keys: HashMap<(Uuid, &str), u32> = HashMap::new();
        let mut places = HashSet::new();
        for task in process.running.values() {
            // Nor is its kind told while it still runs.
            assert!(places.insert(task.held.place.id), "one task runs twice");
            if !task.held.is_cancelled {
                *tenants.entry(task.held.tenant).or_default() += 1;
            }
            let row = self.model.at(task.held.place);
            if let Some(key) = row.and_then(|row| row.arrival.key.as_deref()) {
                *keys.entry((task.held.tenant, key)).or_default() += 1;
            }
        }
        let narrow = process.narrow();
        assert!(
            tenants.values().all(|running| *running <= TENANT_LIMIT),
            "tenant limit"
        );
        assert!(keys.values().all(|running| *running <= 1), "key limit");
        assert!(narrow <= NARROW, "kind limit");
        assert!(
            process.owner.policy.running() as usize >= process.running.len(),
            "seats"
        );
    }

    /// What runs at all workers stays within the limit of its kind.
    fn check_kind(&mut self) {
        let crew: Vec<usize> = (0..self.processes.len())
            .filter(|index| {
                let process = &self.processes[*index];
                !process.is_dead && process.frozen_until <= self.now
            })
            .collect();
        if crew != self.crew.0 {
            self.crew = (crew, self.now);
        }
        let (crew, since) = &self.crew;
        if self.now - since > STEADY_MS {
            let narrow: u32 = crew
                .iter()
                .map(|index| self.processes[*index].narrow())
                .sum();
            assert!(
                narrow as usize <= crew.len().max(NARROW as usize),
                "kind limit of all"
            );
        }
    }

    fn step(&mut self, faults: bool) {
        self.now += self.rng.random_range(1..60);
        for index in 0..self.processes.len() {
            let is_away =
                self.processes[index].is_dead || self.processes[index].frozen_until > self.now;
            if is_away {
                continue;
            }
            if faults && self.rng.random_range(0..1_500) == 0 {
                self.processes[index].is_dead = true;
                continue;
            }
            if faults && self.rng.random_range(0..1_500) == 0 {
                self.processes[index].frozen_until = self.now + self.rng.random_range(100..15_000);
                continue;
            }
            if !self.finish(index) {
                self.processes[index].is_dead = true;
                continue;
            }
            if self.processes[index].next_beat <= self.now {
                self.beat(index);
            }
            self.poll(index);
            self.hand_out(index, faults);
            self.settle(index, faults);
            self.check_limits(index);
        }
        self.check_kind();
        let alive = self
            .processes
            .iter()
            .filter(|process| !process.is_dead)
            .count();
        if alive == 0 || (faults && alive < 4 && self.rng.random_range(0..800) == 0) {
            self.spawn();
        }
    }

    fn is_over(&self) -> bool {
        self.ended() == self.tasks
    }

    fn ended(&self) -> usize {
        self.model.done.len() + self.model.dead.len() + self.model.told.len()
    }
}

impl Process {
    /// Tasks of the kind "narrow" that run here.
    fn narrow(&self) -> u32 {
        let kinds = self.running.values().map(|task| &*task.kind);
        kinds.map(|kind| u32::from(kind == "narrow")).sum()
    }
}

fn rule(kind: &str, rank: Rank) -> KindRule {
    KindRule {
        most_running: rank.part(if kind == "narrow" { NARROW } else { u32::MAX }),
        most_per_key: 1,
        is_paused: false,
    }
}

/// As the engine does it.
fn arrive<'a>(process: &mut Process, rows: impl Iterator<Item = &'a Arrival>, now: u64) {
    let rows: Vec<&Arrival> = rows.collect();
    let was_moved = |held: &Held| {
        rows.iter().any(|row| {
            row.is_cancelled && row.id == held.place.id && row.run_token != held.place.token
        })
    };
    process.owner.cancel(was_moved);
    let stopped: Vec<Ticket> = process
        .running
        .iter()
        .filter(|(_, task)| was_moved(&task.held))
        .map(|(ticket, _)| *ticket)
        .collect();
    for ticket in stopped {
        process.running.remove(&ticket);
        process.owner.gone(ticket);
    }
    for row in rows {
        let rule = TenantRule {
            weight: 1,
            most_running: TENANT_LIMIT,
            is_paused: false,
        };
        process.owner.policy.set_tenant(row.tenant_id, rule);
        process.owner.arrive(row, now);
    }
}

#[test]
fn what_is_cancelled_while_it_is_handed_out_does_not_start() {
    let mut world = World::new(0);
    world.produce();
    let row = &world.model.ready[&Uuid::from_u128(1)];
    let process = &mut world.processes[0];
    process.owner.own(row.arrival.shard, 1);
    arrive(process, [&row.arrival].into_iter(), 0);
    let taken = process.owner.take(1, 0);
    let moved = Arrival {
        run_token: row.arrival.run_token + 100,
        is_cancelled: true,
        ..row.arrival.clone()
    };
    arrive(process, [&moved].into_iter(), 0);
    assert!(process.owner.is_void(taken[0].0));
    process.owner.put_back(taken[0].0);
    let taken = process.owner.take(2, 0);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].1.place, moved.place());
    assert!(!process.owner.is_void(taken[0].0));
}

fn simulate(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..600 {
        if world.chance(10) {
            world.produce();
        }
        if world.chance(2) {
            world.cancel();
        }
        world.step(true);
    }
    let mut steps = 0;
    while !world.is_over() {
        world.step(false);
        steps += 1;
        assert!(
            steps < 60_000,
            "{} of {} tasks ended; {} ready, {} deferred",
            world.ended(),
            world.tasks,
            world.model.ready.len(),
            world.model.deferred.len()
        );
    }
    assert!(
        world.model.done.values().all(|times| *times == 1),
        "a task ended twice"
    );
    assert!(
        world
            .model
            .told
            .iter()
            .all(|(id, times)| *times == 1 && !world.model.done.contains_key(id)),
        "a cancelled task ended"
    );
    assert!(
        world
            .model
            .dead
            .keys()
            .all(|id| !world.model.done.contains_key(id)),
        "a task ended and died"
    );
    assert!(
        world
            .model
            .dead
            .values()
            .all(|attempts| *attempts >= MAX_ATTEMPTS),
        "a task was given up too early"
    );
}

#[test]
fn histories_with_faults_lose_nothing_and_end_nothing_twice() {
    let number = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let seeds = match number("QUIRE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUIRE_SIM_SEEDS").unwrap_or(300),
    };
    for seed in seeds {
        let run = std::panic::catch_unwind(|| simulate(seed));
        assert!(
            run.is_ok(),
            "seed {seed} failed; replay it with QUIRE_SIM_SEED={seed}"
        );
    }
}
