//! Which ready task is next. Pure: time comes in as milliseconds, nothing is read or written.
//!
//! Three layers, each start-time fair by measured cost. First the five priorities share the seats by
//! weight, so that the lowest is slow but never starved. Within a priority tenants share by the weight of
//! their plan: every tenant has one tag, the virtual time at which its next task starts; the smallest tag
//! goes first and grows by cost / weight. Within a tenant concurrency keys take turns. The cost is an
//! estimate when a task is taken and is corrected by the time it really took. What may not run now (a
//! tenant, key or kind at its limit, or paused) is not in the order at all, so nothing ever looks past it.
//!
//! Source: P. Goyal, H. Vin and H. Cheng, "Start-time Fair Queuing", IEEE/ACM Transactions on Networking
//! 5(5), 1997; with one tag per tenant instead of one per task, read when a task is taken, since tags fixed
//! at arrival drift when estimates are wrong.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Priority;

mod line;
#[cfg(test)]
mod tests;

use line::{End, Flow, NO_KEY};

/// How much of the time each priority gets when all have work.
const CLASS_WEIGHTS: [u8; Priority::COUNT] = [64, 16, 8, 4, 1];
/// Units of a tag per microsecond of work at weight 1.
const SCALE: u64 = 1 << 10;
/// Of tenants with the same tag the one that came last is next, so that somebody with a single task does
/// not wait for a round of all others; but every so often the one that came first is, so that a stream of
/// newcomers holds nobody back for ever.
const LATEST_OF: u64 = 32;

/// A task that was added and not yet finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Ticket(u32);

impl Ticket {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the order depends on.
#[derive(Clone, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) tenant: Uuid,
    pub(crate) kind: &'a str,
    pub(crate) key: Option<&'a str>,
    pub(crate) priority: Priority,
    /// What the producer expects, in microseconds; otherwise the kind's average counts.
    pub(crate) cost_us: Option<u64>,
}

/// What a tenant may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TenantRule {
    /// Its share against other tenants, from 1.
    pub(crate) weight: u32,
    /// Tasks that may run at once.
    pub(crate) most_running: u32,
    pub(crate) is_paused: bool,
}

impl Default for TenantRule {
    fn default() -> Self {
        Self {
            weight: 1,
            most_running: u32::MAX,
            is_paused: false,
        }
    }
}

/// What a kind of task may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KindRule {
    /// Tasks that may run at once.
    pub(crate) most_running: u32,
    /// Tasks of one concurrency key that may run at once.
    pub(crate) most_per_key: u32,
    pub(crate) is_paused: bool,
}

/// The size of the process that asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seats {
    /// Tasks that run at once.
    pub(crate) all: u32,
    /// Of these, kept free for critical tasks.
    pub(crate) reserve: u32,
    /// A task that waits this long counts as one priority higher; twice as long, two.
    pub(crate) aging_ms: u64,
}

/// The ready and running tasks of one process.
pub(crate) struct Policy {
    seats: Seats,
    running: u32,
    virtual_time: u64,
    comers: u64,
    classes: [Class; Priority::COUNT],
    entries: Vec<Option<Entry>>,
    free_entries: Vec<u32>,
    tenants: Vec<Tenant>,
    free_tenants: Vec<u32>,
    tenants_by_id: HashMap<Uuid, u32>,
    kinds: Vec<Kind>,
    kinds_by_name: HashMap<String, u16>,
    keys: Vec<Key>,
    free_keys: Vec<u32>,
    keys_by_name: HashMap<(u32, Box<str>), u32>,
}

/// One priority.
#[derive(Default)]
struct Class {
    /// When its next task starts, in the virtual time of the priorities.
    tag: u64,
    /// The start of the latest task taken, in the virtual time of its tenants.
    virtual_time: u64,
    is_active: bool,
    queued: u32,
    running: u32,
    /// For each kind, the tenants that may run a task of it, by tag and then by when they came.
    order: Vec<BTreeSet<(u64, u64, u32)>>,
    turns: u64,
}

struct Tenant {
    id: Uuid,
    rule: TenantRule,
    running: u32,
    queued: u32,
    flows: [Flow; Priority::COUNT],
}

struct Kind {
    name: Arc<str>,
    rule: KindRule,
    running: u32,
    tasks: u32,
    /// Moving average of what a task took, in microseconds.
    average_us: u64,
}

struct Key {
    tenant: u32,
    name: Box<str>,
    tasks: u32,
    running: u32,
    /// Lines that wait for this key.
    waiting: Vec<(u8, u16)>,
}

struct Entry {
    tenant: u32,
    kind: u16,
    key: u32,
    class: u8,
    is_running: bool,
    /// The weight of the priority that the task was charged at.
    class_weight: u8,
    estimate_us: u64,
    since_ms: u64,
    /// Virtual time of the class when the task came: a refund never goes below it.
    floor: u64,
}

/// A first guess at what a task of a new kind takes.
const FIRST_AVERAGE_US: u64 = 20_000;

impl Policy {
    pub(crate) fn new(seats: Seats) -> Self {
        Self {
            seats,
            running: 0,
            virtual_time: 0,
            comers: 0,
            classes: Default::default(),
            entries: Vec::new(),
            free_entries: Vec::new(),
            tenants: Vec::new(),
            free_tenants: Vec::new(),
            tenants_by_id: HashMap::new(),
            kinds: Vec::new(),
            kinds_by_name: HashMap::new(),
            keys: Vec::new(),
            free_keys: Vec::new(),
            keys_by_name: HashMap::new(),
        }
    }

    /// Seats without a task.
    pub(crate) fn free_seats(&self) -> u32 {
        self.seats.all.saturating_sub(self.running)
    }

    pub(crate) fn running(&self) -> u32 {
        self.running
    }

    /// The kind of a task.
    pub(crate) fn kind_of(&self, ticket: Ticket) -> Option<Arc<str>> {
        let entry = self.entries[ticket.index()].as_ref()?;
        Some(self.kinds[usize::from(entry.kind)].name.clone())
    }

    /// How long a task has been ready.
    pub(crate) fn waited_ms(&self, ticket: Ticket, now_ms: u64) -> u64 {
        let since = self.entries[ticket.index()]
            .as_ref()
            .map(|entry| entry.since_ms);
        now_ms.saturating_sub(since.unwrap_or(now_ms))
    }

    /// Whether the tenant has tasks here, so that its rule is known.
    pub(crate) fn knows(&self, tenant: Uuid) -> bool {
        self.tenants_by_id.contains_key(&tenant)
    }

    /// What a kind may use. A kind without a rule is kept and never taken.
    pub(crate) fn set_kind(&mut self, name: &str, rule: KindRule) {
        let kind = self.kind(name);
        self.kinds[usize::from(kind)].rule = rule;
    }

    /// What a tenant may use; forgotten together with its last task.
    pub(crate) fn set_tenant(&mut self, id: Uuid, rule: TenantRule) {
        let tenant = self.tenant(id);
        let rule = TenantRule {
            weight: rule.weight.max(1),
            ..rule
        };
        self.tenants[tenant as usize].rule = rule;
        self.relist(tenant);
    }

    /// Adds a ready task.
    pub(crate) fn add(&mut self, item: &Item<'_>, now_ms: u64) -> Ticket {
        let tenant = self.tenant(item.tenant);
        let kind = self.kind(item.kind);
        let key = item.key.map_or(NO_KEY, |name| self.key(tenant, name));
        let class = item.priority as usize;
        let flow = &mut self.tenants[tenant as usize].flows[class];
        let now_virtual = self.classes[class].virtual_time;
        if flow.queued == 0 {
            // Idleness earns nothing.
            flow.tag = flow.tag.max(now_virtual);
            self.comers += 1;
            flow.came = self.comers;
        }
        let entry = Entry {
            tenant,
            kind,
            key,
            class: item.priority as u8,
            is_running: false,
            class_weight: 1,
            estimate_us: item
                .cost_us
                .unwrap_or(self.kinds[usize::from(kind)].average_us)
                .max(1),
            since_ms: now_ms,
            floor: now_virtual,
        };
        let ticket = match self.free_entries.pop() {
            Some(index) => {
                self.entries[index as usize] = Some(entry);
                Ticket(index)
            }
            None => {
                self.entries.push(Some(entry));
                Ticket(u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX))
            }
        };
        self.kinds[usize::from(kind)].tasks += 1;
        self.enter(ticket, End::Back);
        ticket
    }

    /// Takes the next task; none when no seat is free or nothing may run.
    pub(crate) fn next(&mut self, now_ms: u64) -> Option<Ticket> {
        if self.running >= self.seats.all {
            return None;
        }
        let only_critical = self.running + self.seats.reserve >= self.seats.all;
        let classes = if only_critical { 1 } else { Priority::COUNT };
        loop {
            let mut best: Option<(u64, usize, Head)> = None;
            for class in 0..classes {
                let head = self.head(class);
                let state = &mut self.classes[class];
                if head.is_some() && !state.is_active {
                    state.tag = state.tag.max(self.virtual_time);
                }
                state.is_active = head.is_some();
                if let Some(head) = head
                    && best.as_ref().is_none_or(|(tag, ..)| state.tag < *tag)
                {
                    best = Some((state.tag, class, head));
                }
            }
            let (_, class, head) = best?;
            if let Some(ticket) = self.take(class, &head, now_ms) {
                return Some(ticket);
            }
        }
    }

    /// Gives back a task that was taken and did not start.
    pub(crate) fn put_back(&mut self, ticket: Ticket) {
        let Some(entry) = &mut self.entries[ticket.index()] else {
            return;
        };
        entry.is_running = false;
        self.leave_seat(ticket, 0);
        self.enter(ticket, End::Front);
    }

    /// Ends a task that was taken. `took_us` is what it really cost; a task that never ran cost 0.
    pub(crate) fn finish(&mut self, ticket: Ticket, took_us: u64) {
        self.leave_seat(ticket, took_us);
        self.forget(ticket);
    }

    /// What a finished task teaches about its kind.
    pub(crate) fn learn(&mut self, ticket: Ticket, took_us: u64) {
        if let Some(entry) = &self.entries[ticket.index()] {
            let kind = &mut self.kinds[usize::from(entry.kind)];
            // An eighth of the way each time: a change shows within some ten tasks.
            kind.average_us = (kind.average_us * 7 + took_us) / 8;
        }
    }

    /// Drops the ready tasks for which `keep` says no. What runs is finished by its owner.
    pub(crate) fn retain(&mut self, keep: impl Fn(Ticket) -> bool) {
        for tenant in 0..self.tenants.len() {
            let mut dropped = Vec::new();
            for flow in &mut self.tenants[tenant].flows {
                for line in &mut flow.lines {
                    let mut sift = |tickets: &mut VecDeque<Ticket>| {
                        tickets.retain(|ticket| {
                            let stays = keep(*ticket);
                            if !stays {
                                dropped.push(*ticket);
                            }
                            stays
                        });
                    };
                    sift(&mut line.free);
                    line.keyed.values_mut().for_each(&mut sift);
                }
            }
            if dropped.is_empty() {
                continue;
            }
            for ticket in dropped {
                self.leave_line(ticket);
            }
            for class in 0..Priority::COUNT {
                for line in &mut self.tenants[tenant].flows[class].lines {
                    line.keyed.retain(|_, tickets| !tickets.is_empty());
                    let (free, keyed) = (&line.free, &line.keyed);
                    line.turns.retain(|key| match *key {
                        NO_KEY => !free.is_empty(),
                        key => keyed.contains_key(&key),
                    });
                }
            }
            self.relist(tenant as u32);
        }
    }

    /// Forgets tenants without work, so that memory follows what is going on.
    pub(crate) fn sweep(&mut self) {
        for index in 0..self.tenants.len() {
            let tenant = &self.tenants[index];
            let is_idle = tenant.queued == 0
                && tenant.running == 0
                && self.tenants_by_id.get(&tenant.id) == Some(&(index as u32));
            let is_even = (tenant.flows.iter().zip(&self.classes))
                .all(|(flow, class)| flow.tag <= class.virtual_time);
            if is_idle && is_even {
                self.tenants_by_id.remove(&tenant.id);
                self.tenants[index].flows = Default::default();
                self.free_tenants.push(index as u32);
            }
        }
    }

    /// Running tasks and their tenants.
    pub(crate) fn running_by_tenant(&self) -> impl Iterator<Item = (Uuid, u32)> {
        self.tenants
            .iter()
            .filter(|tenant| tenant.running > 0)
            .map(|tenant| (tenant.id, tenant.running))
    }

    /// What waits in each priority and may run when its turn comes.
    pub(crate) fn backlog(&self, now_ms: u64) -> [Backlog; Priority::COUNT] {
        let mut backlog = [Backlog::default(); Priority::COUNT];
        for entry in self.entries.iter().flatten() {
            let kind = &self.kinds[usize::from(entry.kind)];
            let tenant = &self.tenants[entry.tenant as usize];
            let sum = &mut backlog[usize::from(entry.class)];
            if entry.is_running {
                sum.running += 1;
                continue;
            }
            sum.queued += 1;
            let is_key_taken = entry.key != NO_KEY
                && self.keys[entry.key as usize].running >= kind.rule.most_per_key;
            if kind.rule.is_paused || kind.rule.most_running == 0 || tenant.rule.is_paused {
                sum.held += 1;
                continue;
            }
            if is_key_taken || tenant.running >= tenant.rule.most_running {
                continue;
            }
            sum.cost_us += entry.estimate_us;
            sum.oldest_ms = sum.oldest_ms.max(now_ms.saturating_sub(entry.since_ms));
        }
        backlog
    }

    fn tenant(&mut self, id: Uuid) -> u32 {
        if let Some(index) = self.tenants_by_id.get(&id) {
            return *index;
        }
        let tenant = Tenant {
            id,
            rule: TenantRule::default(),
            running: 0,
            queued: 0,
            flows: Default::default(),
        };
        let index = place(&mut self.tenants, &mut self.free_tenants, tenant);
        self.tenants_by_id.insert(id, index);
        index
    }

    fn kind(&mut self, name: &str) -> u16 {
        if let Some(index) = self.kinds_by_name.get(name) {
            return *index;
        }
        let index = u16::try_from(self.kinds.len()).unwrap_or(u16::MAX);
        self.kinds.push(Kind {
            name: name.into(),
            // Nobody has said that it can be run here.
            rule: KindRule {
                most_running: 0,
                most_per_key: 1,
                is_paused: false,
            },
            running: 0,
            tasks: 0,
            average_us: FIRST_AVERAGE_US,
        });
        self.kinds_by_name.insert(name.to_owned(), index);
        for class in &mut self.classes {
            class.order.push(BTreeSet::new());
        }
        index
    }

    fn key(&mut self, tenant: u32, name: &str) -> u32 {
        let by_name = (tenant, Box::from(name));
        if let Some(index) = self.keys_by_name.get(&by_name) {
            return *index;
        }
        let key = Key {
            tenant,
            name: by_name.1.clone(),
            tasks: 0,
            running: 0,
            waiting: Vec::new(),
        };
        let index = place(&mut self.keys, &mut self.free_keys, key);
        self.keys_by_name.insert(by_name, index);
        index
    }

    /// The tenant and kind with the smallest tag of a class.
    fn head(&self, class: usize) -> Option<Head> {
        let open = |kind: &Kind| !kind.rule.is_paused && kind.running < kind.rule.most_running;
        let state = &self.classes[class];
        let tenant = |order: &BTreeSet<(u64, u64, u32)>| {
            let first = *order.first()?;
            if state.turns.is_multiple_of(LATEST_OF) {
                return Some(first);
            }
            let last = (first.0, u64::MAX, u32::MAX);
            order.range(first..=last).next_back().copied()
        };
        (0u16..)
            .zip(&state.order)
            .filter(|(kind, _)| open(&self.kinds[usize::from(*kind)]))
            .filter_map(|(kind, order)| {
                let (tag, came, tenant) = tenant(order)?;
                Some(Head {
                    tag,
                    came,
                    tenant,
                    kind,
                })
            })
            .min_by_key(|head| (head.tag, Reverse(head.came), head.kind))
    }

    /// The next task of a line; none when every key of it is at its limit, and then the line is no
    /// longer in the order.
    fn take(&mut self, class: usize, head: &Head, now_ms: u64) -> Option<Ticket> {
        let most_per_key = self.kinds[usize::from(head.kind)].rule.most_per_key;
        let tenant = &mut self.tenants[head.tenant as usize];
        let line = tenant.flows[class].line(head.kind);
        let mut taken = None;
        while let Some(key) = line.turns.pop_front() {
            if key != NO_KEY && self.keys[key as usize].running >= most_per_key {
                self.keys[key as usize]
                    .waiting
                    .push((class as u8, head.kind));
                continue;
            }
            let (ticket, more) = line.pop(key);
            if more {
                line.turns.push_back(key);
            }
            taken = ticket;
            break;
        }
        let Some(ticket) = taken else {
            self.unlist(head.tenant, class, head.kind);
            return None;
        };
        self.charge(ticket, head.tag, now_ms);
        Some(ticket)
    }

    /// Gives the task a seat and moves the tags on.
    fn charge(&mut self, ticket: Ticket, start: u64, now_ms: u64) {
        let Some(entry) = &mut self.entries[ticket.index()] else {
            return;
        };
        entry.is_running = true;
        let (tenant, class) = (entry.tenant, usize::from(entry.class));
        let (estimate, waited) = (entry.estimate_us, now_ms.saturating_sub(entry.since_ms));
        let raised = usize::try_from(waited / self.seats.aging_ms.max(1)).unwrap_or(usize::MAX);
        entry.class_weight = CLASS_WEIGHTS[class.saturating_sub(raised)];
        let weight = u64::from(entry.class_weight);
        self.running += 1;
        self.kinds[usize::from(entry.kind)].running += 1;
        if entry.key != NO_KEY {
            self.keys[entry.key as usize].running += 1;
        }

        let state = &mut self.classes[class];
        state.queued -= 1;
        state.running += 1;
        state.turns += 1;
        self.virtual_time = self.virtual_time.max(state.tag);
        state.tag += estimate * SCALE / weight;
        state.virtual_time = state.virtual_time.max(start);

        let owner = &mut self.tenants[tenant as usize];
        owner.running += 1;
        owner.queued -= 1;
        owner.flows[class].queued -= 1;
        let tag = owner.flows[class].tag + estimate * SCALE / u64::from(owner.rule.weight);
        self.retag(tenant, class, tag);
        self.relist(tenant);
    }

    /// Frees the seat of a task and corrects what its tenant was charged.
    fn leave_seat(&mut self, ticket: Ticket, took_us: u64) {
        let Some(entry) = &self.entries[ticket.index()] else {
            return;
        };
        let (tenant, class, key) = (entry.tenant, usize::from(entry.class), entry.key);
        let (estimate, class_weight) = (entry.estimate_us, u64::from(entry.class_weight));
        self.running -= 1;
        self.kinds[usize::from(entry.kind)].running -= 1;
        let state = &mut self.classes[class];
        state.running -= 1;
        state.tag = correct(state.tag, estimate, took_us, class_weight);
        let is_last = state.queued == 0 && state.running == 0;

        let owner = &mut self.tenants[tenant as usize];
        owner.running -= 1;
        let flow = &owner.flows[class];
        let weight = u64::from(owner.rule.weight);
        let floor = flow
            .oldest()
            .and_then(|first| self.entries[first.index()].as_ref());
        let floor = floor.map_or(0, |entry| entry.floor);
        let tag = correct(flow.tag, estimate, took_us, weight).max(floor);
        self.retag(tenant, class, tag);
        self.relist(tenant);
        if is_last {
            // Nobody is owed anything once everybody has had everything.
            let state = &mut self.classes[class];
            state.virtual_time = state.virtual_time.max(tag);
        }
        if key != NO_KEY {
            self.keys[key as usize].running -= 1;
            for (class, kind) in std::mem::take(&mut self.keys[key as usize].waiting) {
                let line = self.tenants[tenant as usize].flows[usize::from(class)].line(kind);
                line.turns.push_back(key);
                self.list(tenant, usize::from(class), kind);
            }
        }
    }

    /// Puts a ready task into its line.
    fn enter(&mut self, ticket: Ticket, end: End) {
        let Some(entry) = &self.entries[ticket.index()] else {
            return;
        };
        let (tenant, class, kind, key) = (
            entry.tenant,
            usize::from(entry.class),
            entry.kind,
            entry.key,
        );
        self.classes[class].queued += 1;
        let owner = &mut self.tenants[tenant as usize];
        owner.queued += 1;
        let flow = &mut owner.flows[class];
        flow.queued += 1;
        flow.line(kind).push(key, ticket, end);
        if key != NO_KEY && matches!(end, End::Back) {
            self.keys[key as usize].tasks += 1;
        }
        self.list(tenant, class, kind);
    }

    /// Counts out a ready task that is no longer in its line.
    fn leave_line(&mut self, ticket: Ticket) {
        let Some(entry) = &self.entries[ticket.index()] else {
            return;
        };
        let (tenant, class, kind, key) = (
            entry.tenant,
            usize::from(entry.class),
            entry.kind,
            entry.key,
        );
        self.classes[class].queued -= 1;
        let owner = &mut self.tenants[tenant as usize];
        owner.queued -= 1;
        owner.flows[class].queued -= 1;
        let line = owner.flows[class].line(kind);
        if key != NO_KEY && line.is_empty_for(key) {
            let here = (class as u8, kind);
            self.keys[key as usize].waiting.retain(|line| *line != here);
        }
        self.forget(ticket);
    }

    fn forget(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries[ticket.index()].take() else {
            return;
        };
        self.free_entries.push(ticket.0);
        self.kinds[usize::from(entry.kind)].tasks -= 1;
        if entry.key == NO_KEY {
            return;
        }
        let key = &mut self.keys[entry.key as usize];
        key.tasks -= 1;
        if key.tasks == 0 {
            let name = (key.tenant, std::mem::take(&mut key.name));
            self.keys_by_name.remove(&name);
            self.free_keys.push(entry.key);
        }
    }

    fn may_run(&self, tenant: u32) -> bool {
        let tenant = &self.tenants[tenant as usize];
        !tenant.rule.is_paused && tenant.running < tenant.rule.most_running
    }

    fn list(&mut self, tenant: u32, class: usize, kind: u16) {
        if !self.may_run(tenant) {
            return;
        }
        let flow = &mut self.tenants[tenant as usize].flows[class];
        let place = (flow.tag, flow.came, tenant);
        let line = flow.line(kind);
        if !line.is_listed && !line.turns.is_empty() {
            line.is_listed = true;
            self.classes[class].order[usize::from(kind)].insert(place);
        }
    }

    fn unlist(&mut self, tenant: u32, class: usize, kind: u16) {
        let flow = &mut self.tenants[tenant as usize].flows[class];
        let place = (flow.tag, flow.came, tenant);
        let line = flow.line(kind);
        if line.is_listed {
            line.is_listed = false;
            self.classes[class].order[usize::from(kind)].remove(&place);
        }
    }

    /// Brings the order in line with whether the tenant may run anything, and with what it has.
    fn relist(&mut self, tenant: u32) {
        let may_run = self.may_run(tenant);
        for class in 0..Priority::COUNT {
            for index in 0..self.tenants[tenant as usize].flows[class].lines.len() {
                let line = &self.tenants[tenant as usize].flows[class].lines[index];
                let (kind, has_turn) = (line.kind, !line.turns.is_empty());
                if may_run && has_turn {
                    self.list(tenant, class, kind);
                } else {
                    self.unlist(tenant, class, kind);
                }
            }
        }
    }

    fn retag(&mut self, tenant: u32, class: usize, tag: u64) {
        let flow = &mut self.tenants[tenant as usize].flows[class];
        let old = std::mem::replace(&mut flow.tag, tag);
        for line in flow.lines.iter().filter(|line| line.is_listed) {
            let order = &mut self.classes[class].order[usize::from(line.kind)];
            order.remove(&(old, flow.came, tenant));
            order.insert((tag, flow.came, tenant));
        }
    }

    /// The kinds that have tasks here and nobody to run them.
    pub(crate) fn unknown_kinds(&self) -> impl Iterator<Item = &str> {
        self.kinds
            .iter()
            .filter(|kind| kind.rule.most_running == 0 && kind.tasks > 0)
            .map(|kind| &*kind.name)
    }
}

/// What waits in a priority.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backlog {
    /// Every ready task.
    pub(crate) queued: u32,
    /// Of these, those that nobody may run: paused, or of a kind that is not known here.
    #[serde(default)]
    pub(crate) held: u32,
    pub(crate) running: u32,
    /// Expected work of those that nothing holds back.
    pub(crate) cost_us: u64,
    /// The longest wait of those that nothing holds back.
    pub(crate) oldest_ms: u64,
}

struct Head {
    tag: u64,
    came: u64,
    tenant: u32,
    kind: u16,
}

/// The tag after the estimate was replaced by what the task took.
fn correct(tag: u64, estimate_us: u64, took_us: u64, weight: u64) -> u64 {
    (tag + took_us * SCALE / weight).saturating_sub(estimate_us * SCALE / weight)
}

fn place<T>(slots: &mut Vec<T>, free: &mut Vec<u32>, value: T) -> u32 {
    match free.pop() {
        Some(index) => {
            slots[index as usize] = value;
            index
        }
        None => {
            slots.push(value);
            u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
        }
    }
}
