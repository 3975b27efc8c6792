//! Many small histories of the seats, each from a seed, beside a model that counts everything by hand:
//! requests come in bursts, end early or late, are cancelled and run out of time, while terms and the
//! number of seats change. Held at every step: no seat, cap or reservation is exceeded, none stays empty
//! while somebody may have it, and every class and user gets its turn. Held at the end: every ticket ended
//! once and nothing is left behind. A failure names its seed; `QUIRE_SIM_SEED=<seed>` runs that one alone,
//! `QUIRE_SIM_SEEDS=<n>` runs n.

use super::*;

pub(super) const NEVER: u64 = u64::MAX;

/// splitmix64.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn class(&mut self) -> Class {
        Class::ALL[self.below(Class::COUNT as u64) as usize]
    }

    /// Exponentially distributed.
    pub(super) fn wait(&mut self, mean: f64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        (-(1.0 - unit).ln() * mean) as u64
    }
}

pub(super) fn name(tenant: usize) -> Uuid {
    Uuid::from_u128(tenant as u128 + 1)
}

struct Asked {
    tenant: usize,
    wanted: Wanted,
    run: Option<Ran>,
}

struct Ran {
    is_own: bool,
    ends: u64,
    takes: u64,
}

struct World {
    dice: Dice,
    now: u64,
    seats: Seats,
    shares: Vec<Share>,
    live: BTreeMap<Ticket, Asked>,
    ended: Vec<Ticket>,
    served: u64,
    starts: u64,
    /// The latest start of a user in a line, and the latest ticket then.
    turns: HashMap<(usize, Class, u64), (u64, Ticket)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let mut guaranteed = [0; Class::COUNT];
        guaranteed.fill_with(|| dice.below(3) as u32);
        let plan = SeatPlan {
            seats: (guaranteed.iter().sum::<u32>() + dice.below(4) as u32).max(1),
            guaranteed,
            most_waiting: 5 + dice.below(40) as u32,
        };
        let tenants = 1 + dice.below(6);
        let mut world = Self {
            dice,
            now: 0,
            seats: Seats::new(plan),
            shares: Vec::new(),
            live: BTreeMap::new(),
            ended: Vec::new(),
            served: 0,
            starts: 0,
            turns: HashMap::new(),
        };
        for _ in 0..tenants {
            let share = world.any_share();
            world.shares.push(share);
        }
        world
    }

    fn any_share(&mut self) -> Share {
        let has_own = self.dice.chance(30);
        Share {
            weight: 1 + self.dice.below(4) as u32,
            most_running: self.dice.below(8) as u32,
            most_waiting: 1 + self.dice.below(20) as u32,
            dedicated: u32::from(has_own) * self.dice.below(4) as u32,
        }
    }

    fn ask(&mut self) {
        let tenant = self.dice.below(self.shares.len() as u64) as usize;
        let patience = match self.dice.chance(40) {
            true => NEVER - self.now,
            false => self.dice.below(400),
        };
        let wanted = Wanted {
            class: self.dice.class(),
            tenant: name(tenant),
            user: self.dice.below(3),
            share: self.shares[tenant],
            estimate_us: self.dice.below(100),
            deadline_us: self.now + patience,
        };
        let own_waiting = self
            .waiting()
            .filter(|asked| asked.tenant == tenant)
            .count() as u32;
        let has_own = self.granted(tenant) > self.own(tenant) + own_waiting;
        let waiting = self.waiting().count() as u32;
        match self.seats.ask(self.now, &wanted) {
            Ok(ticket) => {
                assert!(own_waiting < wanted.share.most_waiting, "tenant's room");
                let is_over = waiting >= self.seats.plan.most_waiting;
                assert!(!is_over || self.granted(tenant) > 0, "room");
                let asked = Asked {
                    tenant,
                    wanted,
                    run: None,
                };
                assert!(self.live.insert(ticket, asked).is_none(), "ticket twice");
            }
            Err(Refused::Suspended) => assert_eq!(wanted.share.most_running, 0),
            Err(Refused::Late) => assert_eq!(patience, 0),
            Err(Refused::TenantFull) => assert!(own_waiting >= wanted.share.most_waiting),
            Err(Refused::Full) => {
                assert!(!has_own, "kept from its own seat");
                assert!(waiting * 5 + 5 > self.seats.plan.most_waiting, "room");
            }
        }
    }

    fn waiting(&self) -> impl Iterator<Item = &Asked> {
        self.live.values().filter(|asked| asked.run.is_none())
    }

    fn running(&self) -> impl Iterator<Item = (&Asked, &Ran)> {
        (self.live.values()).filter_map(|asked| Some((asked, asked.run.as_ref()?)))
    }

    fn own(&self, tenant: usize) -> u32 {
        let own = |(asked, run): &(&Asked, &Ran)| asked.tenant == tenant && run.is_own;
        self.running().filter(own).count() as u32
    }

    fn granted(&self, tenant: usize) -> u32 {
        let tenant = self.seats.tenants.get(&name(tenant));
        tenant.map_or(0, |tenant| tenant.granted)
    }

    fn kept(&self) -> u32 {
        (0..self.shares.len())
            .map(|tenant| self.granted(tenant).saturating_sub(self.own(tenant)))
            .sum()
    }

    /// Requests on shared seats and, of those that wait, the ones that nothing holds back.
    fn by_class(&self) -> ([u32; Class::COUNT], [u32; Class::COUNT]) {
        let mut shared = [0; Class::COUNT];
        let mut ready = [0; Class::COUNT];
        let mut running = vec![0; self.shares.len()];
        for (asked, run) in self.running() {
            running[asked.tenant] += 1;
            shared[asked.wanted.class.index()] += u32::from(!run.is_own);
        }
        for asked in self.waiting() {
            let terms = self.seats.tenants[&name(asked.tenant)].share;
            let may_run = running[asked.tenant] < terms.most_running;
            ready[asked.wanted.class.index()] += u32::from(may_run);
        }
        (shared, ready)
    }

    fn has_claim(&self) -> bool {
        self.waiting().any(|asked| {
            let most = self.seats.tenants[&name(asked.tenant)].share.most_running;
            let running = self.running().filter(|(run, _)| run.tenant == asked.tenant);
            (running.count() as u32) < most && self.own(asked.tenant) < self.granted(asked.tenant)
        })
    }

    fn seat_all(&mut self) {
        loop {
            let (shared, ready) = self.by_class();
            let running = self.running().count() as u32;
            let (all, kept, has_claim) = (self.seats.plan.seats, self.kept(), self.has_claim());
            let Some(ticket) = self.seats.next(self.now) else {
                assert!(running >= all || !has_claim, "no dedicated seat");
                assert!(running + kept > all || !has_claim, "seat not kept");
                let is_idle = running + kept < all && ready.iter().any(|ready| *ready > 0);
                assert!(!is_idle, "a seat is free and somebody waits");
                return;
            };
            let asked = &self.live[&ticket];
            let (tenant, class) = (asked.tenant, asked.wanted.class.index());
            assert!(asked.run.is_none(), "seated twice");
            assert!(running < all, "more than the seats");
            self.check_turn(ticket);
            let of_tenant = self.running().filter(|(other, _)| other.tenant == tenant);
            let cap = self.seats.tenants[&name(tenant)].share.most_running;
            assert!((of_tenant.count() as u32) < cap, "more than the cap");

            let is_own = self.own(tenant) < self.granted(tenant);
            if !is_own {
                assert!(!has_claim, "before one with a dedicated seat");
                assert!(running + kept < all, "on somebody else's seat");
                let guaranteed = self.seats.plan.guaranteed;
                let is_entitled =
                    |class: usize| ready[class] > 0 && shared[class] < guaranteed[class];
                let best = (0..Class::COUNT).find(|class| ready[*class] > 0);
                if (0..Class::COUNT).any(is_entitled) {
                    assert!(is_entitled(class), "lent while a guarantee is open");
                } else {
                    assert_eq!(best, Some(class), "lent to a lower class");
                }
            }
            let takes = self.dice.below(120);
            let ends = self.now + takes;
            if let Some(asked) = self.live.get_mut(&ticket) {
                asked.run = Some(Ran {
                    is_own,
                    ends,
                    takes,
                });
            }
        }
    }

    /// A user's requests go in order, and it does not go twice while another user waits.
    fn check_turn(&mut self, ticket: Ticket) {
        let line = |asked: &Asked| (asked.tenant, asked.wanted.class, asked.wanted.user);
        let mine = line(&self.live[&ticket]);
        let mut earlier = self.live.range(..ticket).map(|(_, other)| other);
        assert!(
            !earlier.any(|other| other.run.is_none() && line(other) == mine),
            "a user's requests out of order"
        );
        if let Some((start, latest)) = self.turns.get(&mine) {
            for other in self.live.range(..=*latest).map(|(_, other)| other) {
                let theirs = line(other);
                let is_rival = theirs != mine && (theirs.0, theirs.1) == (mine.0, mine.1);
                let had_turn = self
                    .turns
                    .get(&theirs)
                    .is_some_and(|(turn, _)| turn > start);
                let waits = other.run.is_none();
                assert!(!waits || !is_rival || had_turn, "a user goes twice");
            }
        }
        self.starts += 1;
        let latest = Ticket(self.seats.latest_ticket);
        self.turns.insert(mine, (self.starts, latest));
    }

    fn end(&mut self, ticket: Ticket) {
        self.live.remove(&ticket);
        self.ended.push(ticket);
    }

    fn finish_due(&mut self) {
        let is_due = |asked: &Asked| (asked.run.as_ref()).is_some_and(|run| run.ends <= self.now);
        let due: Vec<(Ticket, u64)> = (self.live.iter())
            .filter(|(_, asked)| is_due(asked))
            .filter_map(|(ticket, asked)| Some((*ticket, asked.run.as_ref()?.takes)))
            .collect();
        for (ticket, takes) in due {
            assert!(self.seats.finish(self.now, ticket, takes), "did not run");
            self.served += takes;
            self.end(ticket);
        }
    }

    fn cancel(&mut self) {
        let at = self.dice.below(self.live.len().max(1) as u64) as usize;
        let Some((ticket, asked)) = self.live.iter().nth(at) else {
            return;
        };
        let (ticket, since) = (*ticket, asked.run.as_ref().map(|run| run.ends - run.takes));
        if since.is_none() {
            assert!(!self.seats.finish(self.now, ticket, 1), "finished waiting");
        }
        assert!(self.seats.cancel(self.now, ticket), "not cancelled");
        self.served += since.map_or(0, |since| self.now - since);
        self.end(ticket);
    }

    fn drop_overdue(&mut self) {
        let typical = |class: Class| self.seats.classes[class.index()].typical_us;
        let typical = Class::ALL.map(typical);
        for ticket in self.seats.overdue(self.now) {
            let asked = &self.live[&ticket];
            let left = asked.wanted.deadline_us.saturating_sub(self.now);
            let is_hopeless = left == 0 || left < typical[asked.wanted.class.index()];
            assert!(asked.run.is_none() && is_hopeless, "dropped in time");
            self.end(ticket);
        }
        let now = self.now;
        assert!(self.waiting().all(|asked| asked.wanted.deadline_us > now));
    }

    fn audit(&self) {
        let seats = &self.seats;
        assert_eq!(seats.waiting() as usize, self.waiting().count());
        let running: u32 = Class::ALL
            .iter()
            .map(|class| seats.count(*class).running)
            .sum();
        assert_eq!(running as usize, self.running().count());
        assert_eq!(seats.entries.len(), self.live.len());
        assert_eq!(seats.kept, self.kept());
        let granted: u32 = seats.tenants.values().map(|tenant| tenant.granted).sum();
        let wished = |tenant: &Tenant| tenant.share.dedicated;
        let wished: u32 = seats.tenants.values().map(wished).sum();
        assert_eq!(granted, wished.min(seats.plan.seats / 2), "grants");
        for class in Class::ALL {
            let is_here = |asked: &&Asked| asked.wanted.class == class;
            let count = seats.count(class);
            let running = self.running().filter(|(asked, _)| is_here(asked));
            assert_eq!(
                count.waiting as usize,
                self.waiting().filter(is_here).count()
            );
            assert_eq!(count.running as usize, running.count());
            let lane = &seats.classes[class.index()];
            assert_eq!(lane.deadlines.len(), count.waiting as usize);
            seats.wait_us(class, name(0));
        }
    }

    fn step(&mut self) {
        self.now += self.dice.below(25);
        self.finish_due();
        match self.dice.below(19) {
            0..12 => (0..=self.dice.below(4)).for_each(|_| self.ask()),
            12..14 => self.cancel(),
            14..17 => self.drop_overdue(),
            17 => {
                let tenant = self.dice.below(self.shares.len() as u64) as usize;
                self.shares[tenant] = self.any_share();
                self.seats.know(self.now, name(tenant), self.shares[tenant]);
            }
            _ => {
                let at = self.dice.below(self.ended.len().max(1) as u64) as usize;
                if let Some(ticket) = self.ended.get(at).copied() {
                    assert!(!self.seats.finish(self.now, ticket, 1), "ended twice");
                    assert!(!self.seats.cancel(self.now, ticket), "ended twice");
                }
            }
        }
        self.seat_all();
        self.audit();
    }

    fn drain(&mut self) {
        for tenant in 0..self.shares.len() {
            self.shares[tenant].most_running = self.shares[tenant].most_running.max(1);
            self.seats.know(self.now, name(tenant), self.shares[tenant]);
        }
        let mut steps = 0;
        while !self.live.is_empty() {
            self.now += 20;
            self.finish_due();
            self.seat_all();
            steps += 1;
            assert!(steps < 2_000, "{} requests are stuck", self.live.len());
        }
        self.audit();
        self.seats.overdue(self.now + DEDICATED_REST_US);
        let seats = &mut self.seats;
        let served: u64 = seats.take_served().into_iter().map(|(_, cost)| cost).sum();
        assert_eq!(served, self.served, "cost lost");
        let sets = [
            seats.tenants.len(),
            seats.claims.len(),
            seats.dedicated.len(),
        ];
        assert_eq!(
            (sets, seats.resting.len(), seats.kept),
            ([0; 3], 0, 0),
            "left behind"
        );
        for lane in &seats.classes {
            let sets = [lane.order.len(), lane.deadlines.len(), lane.debtors.len()];
            assert_eq!((sets, lane.shared), ([0; 3], 0), "left behind");
        }
    }
}

fn history(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..150 {
        world.step();
    }
    world.drain();
}

pub(super) fn for_each_seed(run: fn(u64)) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("QUIRE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUIRE_SIM_SEEDS").unwrap_or(200),
    };
    for seed in seeds {
        let run = std::panic::catch_unwind(|| run(seed));
        assert!(
            run.is_ok(),
            "seed {seed} failed; replay it with QUIRE_SIM_SEED={seed}"
        );
    }
}

#[test]
fn histories_exceed_nothing_waste_nothing_and_leave_nothing_behind() {
    for_each_seed(history);
}
