//! Who gets the next seat for an interactive request. Pure: time comes in as microseconds; nothing is
//! read, written or drawn by lot. It knows no connection, no money and no rate: it orders what it is asked
//! for, and the caller wakes whoever holds the ticket.
//!
//! Three levels, each in O(log n). *Classes* have guaranteed seats; what a class does not use is lent to
//! the others, the higher class first, and comes back when the borrower ends, for nothing is preempted.
//! *Tenants* of a class are start-time fair by measured cost: every tenant has one tag, the virtual time at
//! which its next request starts; the smallest goes first and grows by cost / weight. The cost is an
//! estimate when a request starts and is corrected by what it really took. *Users* of a tenant take turns.
//! A tenant with dedicated seats finds them free and is not charged for them; beyond them it is a tenant
//! like any other. Who is at its cap is in no order at all, so that nothing ever looks past it.
//!
//! Sources: P. Goyal, H. Vin and H. Cheng, "Start-time Fair Queuing", IEEE/ACM Transactions on Networking
//! 5(5), 1997; W. Jin, J. Chase and J. Kaur, "Interposed Proportional Sharing", SIGMETRICS 2004, for many
//! seats; Kubernetes API Priority and Fairness (KEP-1040) for guarantees that are lent and for the
//! correction. One tag per tenant instead of one per request: tags fixed at arrival drift when estimates
//! are wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use uuid::Uuid;

#[cfg(test)]
mod fairness;
mod line;
#[cfg(test)]
mod simulation;
mod wanted;

use line::Line;
pub use wanted::Class;
pub(crate) use wanted::{Count, Refused, SeatPlan, Share, Ticket, Wanted};

/// Units of a tag per microsecond of cost at weight 1.
const SCALE: u64 = 1 << 10;
/// No single cost counts as more than a day, so that a tag cannot overflow within centuries.
const MOST_COST_US: u64 = 86_400_000_000;
/// How long the dedicated seats of a tenant without requests stay free for it.
const DEDICATED_REST_US: u64 = 3_600_000_000;

/// The waiting and running requests of one process.
pub(crate) struct Seats {
    plan: SeatPlan,
    now: u64,
    latest_ticket: u64,
    waiting: u32,
    running: u32,
    /// Dedicated seats without a request: free, and not for others.
    kept: u32,
    /// The start of the latest guaranteed seat, in the virtual time of the classes.
    virtual_time: u64,
    classes: [Lane; Class::COUNT],
    tenants: HashMap<Uuid, Tenant>,
    entries: HashMap<Ticket, Entry>,
    /// What goes next of each tenant that waits beside a free dedicated seat.
    claims: BTreeSet<Ticket>,
    /// Tenants with dedicated seats, by when they came.
    dedicated: BTreeMap<u64, Uuid>,
    /// Those of them without a request, by since when.
    resting: BTreeSet<(u64, Uuid)>,
    served: BTreeMap<Uuid, u64>,
}

/// One class.
#[derive(Default)]
struct Lane {
    waiting: u32,
    running: u32,
    /// Running on seats that are not dedicated.
    shared: u32,
    /// When its next guaranteed seat starts, in the virtual time of the classes.
    tag: u64,
    /// The start of the latest request, in the virtual time of the tenants.
    virtual_time: u64,
    /// The largest tag a tenant ever got.
    latest_tag: u64,
    /// What goes next of each tenant that may run, by tag and then by when it came.
    order: BTreeSet<(u64, Ticket)>,
    deadlines: BTreeSet<(u64, Ticket)>,
    /// Tenants without requests that had more than their share here, by tag.
    debtors: BTreeSet<(u64, Uuid)>,
    /// Moving average of what a request took; 0 as long as none ended.
    typical_us: u64,
}

struct Tenant {
    share: Share,
    came: u64,
    waiting: u32,
    running: u32,
    /// Dedicated seats that it got, and its requests on them.
    granted: u32,
    own: u32,
    flows: [Flow; Class::COUNT],
    // Where it stands in the sets of `Seats` and `Lane`; only `settle` changes these.
    claim: Option<Ticket>,
    debt: Option<(usize, u64)>,
    rests_since: Option<u64>,
}

/// A tenant in one class.
#[derive(Default)]
struct Flow {
    tag: u64,
    line: Line,
    place: Option<(u64, Ticket)>,
}

struct Entry {
    tenant: Uuid,
    user: u64,
    class: Class,
    estimate_us: u64,
    deadline_us: u64,
    /// Virtual time of the class when the request came: a refund never goes below it.
    floor: u64,
    run: Option<Run>,
}

#[derive(Clone, Copy)]
struct Run {
    since: u64,
    seat: Seat,
    /// What the tag grew by is divided by; a later change of terms must not touch the correction.
    weight: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seat {
    Dedicated,
    Guaranteed,
    Lent,
}

impl Seats {
    /// Seats of which none is taken.
    pub(crate) fn new(plan: SeatPlan) -> Self {
        Self {
            plan,
            now: 0,
            latest_ticket: 0,
            waiting: 0,
            running: 0,
            kept: 0,
            virtual_time: 0,
            classes: Default::default(),
            tenants: HashMap::new(),
            entries: HashMap::new(),
            claims: BTreeSet::new(),
            dedicated: BTreeMap::new(),
            resting: BTreeSet::new(),
            served: BTreeMap::new(),
        }
    }

    /// Requests that wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting
    }

    /// The requests of a class.
    pub(crate) fn count(&self, class: Class) -> Count {
        let lane = &self.classes[class.index()];
        Count {
            waiting: lane.waiting,
            running: lane.running,
        }
    }

    /// Tells the terms of a tenant before it asks, so that its dedicated seats are free when it does.
    pub(crate) fn know(&mut self, now: u64, id: Uuid, share: Share) {
        self.now = self.now.max(now);
        self.set_share(id, share);
        self.settle(id);
    }

    /// Puts a request into its line. Call [`Seats::next`] afterwards: it may run at once.
    pub(crate) fn ask(&mut self, now: u64, wanted: &Wanted) -> Result<Ticket, Refused> {
        self.now = self.now.max(now);
        self.set_share(wanted.tenant, wanted.share);
        let admitted = self.admit(wanted);
        self.settle(wanted.tenant);
        admitted
    }

    /// Seats the next request; none when no seat is free or nothing may run. Call it until then after
    /// every change.
    pub(crate) fn next(&mut self, now: u64) -> Option<Ticket> {
        self.now = self.now.max(now);
        if self.running >= self.plan.seats {
            return None;
        }
        if let Some(ticket) = self.claims.first().copied() {
            self.start(ticket, Seat::Dedicated);
            return Some(ticket);
        }
        if self.running + self.kept >= self.plan.seats {
            return None;
        }
        let (lane, seat) = self.next_lane()?;
        let (_, ticket) = lane.order.first().copied()?;
        self.start(ticket, seat);
        Some(ticket)
    }

    /// Ends a request that ran and cost `actual_us`. False when the ticket does not run.
    pub(crate) fn finish(&mut self, now: u64, ticket: Ticket, actual_us: u64) -> bool {
        self.now = self.now.max(now);
        let Some(class) = self.leave_seat(ticket, actual_us) else {
            return false;
        };
        let typical_us = &mut self.classes[class.index()].typical_us;
        // An eighth of the way each time: a change shows within some ten requests.
        *typical_us = match *typical_us {
            0 => actual_us.min(MOST_COST_US),
            typical => (typical * 7 + actual_us.min(MOST_COST_US)) / 8,
        };
        true
    }

    /// Ends a request that nobody wants any more: free of charge while it waits, for the time it ran
    /// otherwise. False when the ticket has ended.
    pub(crate) fn cancel(&mut self, now: u64, ticket: Ticket) -> bool {
        self.now = self.now.max(now);
        let Some(entry) = self.entries.get(&ticket) else {
            return false;
        };
        match entry.run {
            // What was cut short says nothing about how long a request takes.
            Some(run) => self
                .leave_seat(ticket, self.now.saturating_sub(run.since))
                .is_some(),
            None => self.leave_line(ticket),
        }
    }

    /// Drops the waiting requests that cannot end in time: the deadline has passed or is nearer than a
    /// request of the class typically takes. Call it before [`Seats::next`] when a seat became free, and
    /// by a timer.
    pub(crate) fn overdue(&mut self, now: u64) -> Vec<Ticket> {
        self.now = self.now.max(now);
        let mut dropped = Vec::new();
        for index in 0..Class::COUNT {
            while let Some((deadline, ticket)) = self.classes[index].deadlines.first().copied() {
                let typical_us = &mut self.classes[index].typical_us;
                let left = deadline.saturating_sub(self.now);
                if left > 0 && left >= *typical_us {
                    break;
                }
                if left > 0 {
                    // A belief that drops everything would never be put to the test again.
                    *typical_us -= typical_us.div_ceil(32);
                }
                self.leave_line(ticket);
                dropped.push(ticket);
            }
        }
        while let Some((since, id)) = self.resting.first().copied() {
            if self.now.saturating_sub(since) < DEDICATED_REST_US {
                break;
            }
            let Some(tenant) = self.tenants.get(&id) else {
                break;
            };
            let share = Share {
                dedicated: 0,
                ..tenant.share
            };
            self.set_share(id, share);
            self.settle(id);
        }
        dropped
    }

    /// How long a request of the tenant that came now would wait, if the others go on as they do.
    pub(crate) fn wait_us(&self, class: Class, tenant: Uuid) -> u64 {
        let lane = &self.classes[class.index()];
        let next = lane.order.first().map(|(_, ticket)| ticket);
        let typical_us = match lane.typical_us {
            0 => next
                .and_then(|ticket| self.entries.get(ticket))
                .map_or(0, |entry| entry.estimate_us),
            typical => typical,
        };
        let mut own_before = 0;
        let mut at_cap_us = 0;
        if let Some(tenant) = self.tenants.get(&tenant) {
            if tenant.granted.saturating_sub(tenant.own) > tenant.waiting {
                return 0;
            }
            own_before = u64::from(tenant.flows[class.index()].line.waiting());
            if tenant.running + tenant.waiting >= tenant.share.most_running {
                let most_running = u64::from(tenant.share.most_running.max(1));
                at_cap_us = typical_us.saturating_mul(u64::from(tenant.waiting) + 1) / most_running;
            }
        }
        let is_free = lane.order.is_empty() && self.running + self.kept < self.plan.seats;
        if is_free {
            return at_cap_us;
        }
        // Everybody in the order goes about once for each request of this tenant.
        let rounds = (own_before + 1) * lane.order.len() as u64;
        let before = rounds.min(u64::from(lane.waiting));
        let seats =
            (lane.shared.max(self.plan.guaranteed[class.index()])).clamp(1, self.plan.seats.max(1));
        at_cap_us.max(typical_us.saturating_mul(before + 1) / u64::from(seats))
    }

    /// The cost of what ended since the last call, by tenant. Call it regularly: it remembers every tenant
    /// until then.
    pub(crate) fn take_served(&mut self) -> Vec<(Uuid, u64)> {
        std::mem::take(&mut self.served).into_iter().collect()
    }

    /// Whose turn the next seat is that is not dedicated.
    fn next_lane(&self) -> Option<(&Lane, Seat)> {
        let ready = || {
            let lanes = self.classes.iter().zip(self.plan.guaranteed);
            lanes.filter(|(lane, _)| !lane.order.is_empty())
        };
        let entitled = ready().filter(|(lane, guaranteed)| lane.shared < *guaranteed);
        match entitled.min_by_key(|(lane, _)| lane.tag) {
            Some((lane, _)) => Some((lane, Seat::Guaranteed)),
            None => ready().next().map(|(lane, _)| (lane, Seat::Lent)),
        }
    }

    fn set_share(&mut self, id: Uuid, share: Share) {
        self.latest_ticket += 1;
        let number = self.latest_ticket;
        let tenant = self.tenants.entry(id).or_insert_with(|| Tenant::new(share));
        let had = std::mem::replace(&mut tenant.share, share).dedicated;
        let is_listed = self.dedicated.contains_key(&tenant.came);
        if share.dedicated > 0 && !is_listed {
            tenant.came = number;
            self.dedicated.insert(number, id);
        } else if share.dedicated == 0 && is_listed {
            self.dedicated.remove(&tenant.came);
            tenant.granted = 0;
        } else if share.dedicated == had {
            return;
        }
        self.grant();
    }

    fn admit(&mut self, wanted: &Wanted) -> Result<Ticket, Refused> {
        if wanted.share.most_running == 0 {
            return Err(Refused::Suspended);
        }
        if wanted.deadline_us <= self.now {
            return Err(Refused::Late);
        }
        let index = wanted.class.index();
        let has_room = self.has_room(wanted.class);
        let lane = &mut self.classes[index];
        let Some(tenant) = self.tenants.get_mut(&wanted.tenant) else {
            return Err(Refused::Suspended);
        };
        if tenant.waiting >= wanted.share.most_waiting {
            return Err(Refused::TenantFull);
        }
        // Others that fill the room must not keep a tenant from its own free seat.
        let has_own = tenant.granted.saturating_sub(tenant.own) > tenant.waiting;
        if !has_room && !has_own {
            return Err(Refused::Full);
        }
        self.latest_ticket += 1;
        let ticket = Ticket(self.latest_ticket);
        self.waiting += 1;
        lane.waiting += 1;
        lane.deadlines.insert((wanted.deadline_us, ticket));
        tenant.waiting += 1;
        tenant.flows[index].line.push(wanted.user, ticket);
        let entry = Entry {
            tenant: wanted.tenant,
            user: wanted.user,
            class: wanted.class,
            estimate_us: wanted.estimate_us.clamp(1, MOST_COST_US),
            deadline_us: wanted.deadline_us,
            floor: lane.virtual_time,
            run: None,
        };
        self.entries.insert(ticket, entry);
        Ok(ticket)
    }

    /// Whether a request of the class may wait: a flood from below never takes all of the room.
    fn has_room(&self, class: Class) -> bool {
        let from_here: u32 = (self.classes[class.index()..].iter())
            .map(|lane| lane.waiting)
            .sum();
        let fifths = (Class::COUNT - class.index()) as u64;
        let most = u64::from(self.plan.most_waiting) * fifths / Class::COUNT as u64;
        self.waiting < self.plan.most_waiting && u64::from(from_here) < most.max(1)
    }

    /// Gives the request a seat and moves the tags on.
    fn start(&mut self, ticket: Ticket, seat: Seat) {
        let Some(entry) = self.entries.get_mut(&ticket) else {
            return;
        };
        let Some(tenant) = self.tenants.get_mut(&entry.tenant) else {
            return;
        };
        let (id, index, estimate_us) = (entry.tenant, entry.class.index(), entry.estimate_us);
        let weight = tenant.share.weight.max(1);
        entry.run = Some(Run {
            since: self.now,
            seat,
            weight,
        });
        let lane = &mut self.classes[index];
        lane.deadlines.remove(&(entry.deadline_us, ticket));
        lane.waiting -= 1;
        lane.running += 1;
        self.waiting -= 1;
        self.running += 1;
        tenant.waiting -= 1;
        tenant.running += 1;
        let flow = &mut tenant.flows[index];
        flow.line.take(entry.user, ticket);
        if seat == Seat::Dedicated {
            tenant.own += 1;
            self.kept -= 1;
        } else {
            lane.shared += 1;
            lane.virtual_time = lane.virtual_time.max(flow.tag);
            flow.tag += tag_of(estimate_us, weight);
            lane.latest_tag = lane.latest_tag.max(flow.tag);
        }
        if seat == Seat::Guaranteed {
            self.virtual_time = self.virtual_time.max(lane.tag);
            lane.tag += tag_of(estimate_us, self.plan.guaranteed[index]);
        }
        self.settle(id);
    }

    /// Frees the seat of a request and corrects what it was charged.
    fn leave_seat(&mut self, ticket: Ticket, actual_us: u64) -> Option<Class> {
        let run = self.entries.get(&ticket)?.run?;
        let entry = self.entries.remove(&ticket)?;
        let actual_us = actual_us.min(MOST_COST_US);
        let (index, estimate_us) = (entry.class.index(), entry.estimate_us);
        let lane = &mut self.classes[index];
        let tenant = self.tenants.get_mut(&entry.tenant)?;
        self.running -= 1;
        lane.running -= 1;
        tenant.running -= 1;
        *self.served.entry(entry.tenant).or_default() += actual_us;
        if run.seat == Seat::Dedicated {
            tenant.own -= 1;
            self.kept += u32::from(tenant.own < tenant.granted);
        } else {
            lane.shared -= 1;
            let flow = &mut tenant.flows[index];
            let head = flow.line.head().and_then(|head| self.entries.get(&head));
            let floor = head.map_or(0, |head| head.floor);
            flow.tag = correct(flow.tag, estimate_us, actual_us, run.weight).max(floor);
            lane.latest_tag = lane.latest_tag.max(flow.tag);
        }
        if run.seat == Seat::Guaranteed {
            lane.tag = correct(
                lane.tag,
                estimate_us,
                actual_us,
                self.plan.guaranteed[index],
            );
        }
        self.settle(entry.tenant);
        self.forgive(index);
        Some(entry.class)
    }

    /// Takes a waiting request out. Nothing was charged yet.
    fn leave_line(&mut self, ticket: Ticket) -> bool {
        let Some(entry) = self.entries.remove(&ticket) else {
            return false;
        };
        let lane = &mut self.classes[entry.class.index()];
        lane.deadlines.remove(&(entry.deadline_us, ticket));
        lane.waiting -= 1;
        self.waiting -= 1;
        if let Some(tenant) = self.tenants.get_mut(&entry.tenant) {
            tenant.waiting -= 1;
            let line = &mut tenant.flows[entry.class.index()].line;
            line.remove(entry.user, ticket);
        }
        self.settle(entry.tenant);
        self.forgive(entry.class.index());
        true
    }

    /// Deals out the dedicated seats, after the seats or the wishes changed.
    fn grant(&mut self) {
        let mut left = self.plan.seats / 2;
        self.kept = 0;
        for id in self.dedicated.values() {
            if let Some(tenant) = self.tenants.get_mut(id) {
                tenant.granted = tenant.share.dedicated.min(left);
                left -= tenant.granted;
                self.kept += tenant.granted.saturating_sub(tenant.own);
            }
        }
        let ids: Vec<Uuid> = self.dedicated.values().copied().collect();
        for id in ids {
            self.settle(id);
        }
    }

    /// Lets go of debts that the virtual time of a class has passed. Called when a request leaves, which
    /// follows everything that moves that time.
    fn forgive(&mut self, index: usize) {
        let lane = &mut self.classes[index];
        if lane.waiting == 0 && lane.shared == 0 {
            // Nobody is owed anything once everybody has had everything.
            lane.virtual_time = lane.virtual_time.max(lane.latest_tag);
        }
        while let Some((tag, id)) = self.classes[index].debtors.first().copied() {
            if tag > self.classes[index].virtual_time {
                break;
            }
            self.settle(id);
        }
    }

    /// Brings every set in line with what the tenant has and may do. Each change ends here.
    fn settle(&mut self, id: Uuid) {
        let Some(tenant) = self.tenants.get_mut(&id) else {
            return;
        };
        let may_run = tenant.running < tenant.share.most_running;
        for (flow, lane) in tenant.flows.iter_mut().zip(&mut self.classes) {
            let head = flow.line.head().filter(|_| may_run);
            if head.is_some() && flow.place.is_none() {
                // Neither idleness nor time at the cap earns anything.
                flow.tag = flow.tag.max(lane.virtual_time);
                if lane.order.is_empty() {
                    lane.tag = lane.tag.max(self.virtual_time);
                }
            }
            let place = head.map(|head| (flow.tag, head));
            replace(&mut lane.order, &mut flow.place, place);
        }

        let has_claim = may_run && tenant.own < tenant.granted;
        let heads = tenant.flows.iter().find_map(|flow| flow.line.head());
        let claim = heads.filter(|_| has_claim);
        replace(&mut self.claims, &mut tenant.claim, claim);

        let is_idle = tenant.waiting == 0 && tenant.running == 0;
        let rests = is_idle && tenant.share.dedicated > 0;
        if rests != tenant.rests_since.is_some() {
            let since = rests.then_some(self.now);
            if let Some(since) = std::mem::replace(&mut tenant.rests_since, since) {
                self.resting.remove(&(since, id));
            }
            self.resting.extend(since.map(|since| (since, id)));
        }

        let mut flows = tenant.flows.iter().zip(&self.classes).enumerate();
        let debt = flows.find(|(_, (flow, lane))| is_idle && flow.tag > lane.virtual_time);
        let debt = debt.map(|(index, (flow, _))| (index, flow.tag));
        if let Some((index, tag)) = std::mem::replace(&mut tenant.debt, debt) {
            self.classes[index].debtors.remove(&(tag, id));
        }
        if let Some((index, tag)) = debt {
            self.classes[index].debtors.insert((tag, id));
        }
        if is_idle && !rests && debt.is_none() {
            self.tenants.remove(&id);
        }
    }
}

impl Tenant {
    fn new(share: Share) -> Self {
        Self {
            share,
            came: 0,
            waiting: 0,
            running: 0,
            granted: 0,
            own: 0,
            flows: Default::default(),
            claim: None,
            debt: None,
            rests_since: None,
        }
    }
}

/// What a cost adds to a tag. Never nothing, or a large weight would stand still and starve the others.
fn tag_of(cost_us: u64, weight: u32) -> u64 {
    (cost_us * SCALE / u64::from(weight.max(1))).max(1)
}

/// The tag after the estimate was replaced by what the request took.
fn correct(tag: u64, estimate_us: u64, actual_us: u64, weight: u32) -> u64 {
    (tag + tag_of(actual_us, weight)).saturating_sub(tag_of(estimate_us, weight))
}

fn replace<T: Ord + Copy>(set: &mut BTreeSet<T>, old: &mut Option<T>, new: Option<T>) {
    if *old == new {
        return;
    }
    if let Some(old) = std::mem::replace(old, new) {
        set.remove(&old);
    }
    set.extend(new);
}
