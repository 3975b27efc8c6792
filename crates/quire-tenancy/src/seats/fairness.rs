//! Who is served how much, and who waits how long: tenants that always wait are held to the bounds of
//! start-time fair queuing, newcomers are seated after a round, and a noisy tenant is hardly noticed.
//! Seeds are as in the simulation.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use super::simulation::{Dice, NEVER, for_each_seed, name};
use super::*;

const OPEN: Share = Share {
    weight: 1,
    most_running: u32::MAX,
    most_waiting: u32::MAX,
    dedicated: 0,
};

/// Plays requests whose ends are known: `(end, ticket, tenant, cost)`.
struct Player {
    seats: Seats,
    now: u64,
    ends: BTreeSet<(u64, Ticket, usize, u64)>,
    /// Tenant, cost and when it came.
    costs: HashMap<Ticket, (usize, u64, u64)>,
    waits: Vec<(usize, u64)>,
}

impl Player {
    fn new(seats: u32, guaranteed: [u32; Class::COUNT]) -> Self {
        Self {
            seats: Seats::new(SeatPlan {
                seats,
                guaranteed,
                most_waiting: u32::MAX,
            }),
            now: 0,
            ends: BTreeSet::new(),
            costs: HashMap::new(),
            waits: Vec::new(),
        }
    }

    fn ask(&mut self, tenant: usize, class: Class, share: Share, estimate_us: u64, cost: u64) {
        let wanted = Wanted {
            class,
            tenant: name(tenant),
            user: cost % 2,
            share,
            estimate_us,
            deadline_us: NEVER,
        };
        let ticket = self.seats.ask(self.now, &wanted).expect("room");
        self.costs.insert(ticket, (tenant, cost, self.now));
    }

    fn seat_all(&mut self) {
        while let Some(ticket) = self.seats.next(self.now) {
            let (tenant, cost, came) = self.costs[&ticket];
            self.waits.push((tenant, self.now - came));
            self.ends.insert((self.now + cost, ticket, tenant, cost));
        }
    }

    /// Ends the next request: its tenant and cost.
    fn finish_one(&mut self) -> Option<(usize, u64)> {
        let (end, ticket, tenant, cost) = self.ends.pop_first()?;
        self.now = end;
        self.costs.remove(&ticket);
        assert!(self.seats.finish(end, ticket, cost));
        Some((tenant, cost))
    }
}

/// Two tenants that always wait never differ by more than the bound of SFQ(D), and the error of the
/// estimates of what runs. The first of them may have been away or at its cap before: that earns nothing.
fn backlogged(seed: u64) {
    const EACH: u64 = 240;
    let mut dice = Dice(seed);
    let seats = 1 + dice.below(8);
    let tenants = 2 + dice.below(4) as usize;
    let mut player = Player::new(seats as u32, [1, 0, 0, 0, 0]);
    let mut longest = vec![0; tenants];
    let mut error = vec![0; tenants];
    let mut asks = Vec::new();
    let weights: Vec<u64> = (0..tenants).map(|_| 1 + dice.below(4)).collect();
    let share = |tenant: usize| Share {
        weight: weights[tenant] as u32,
        ..OPEN
    };
    for tenant in 0..tenants {
        let (most, factor) = (10 + dice.below(1_000), 25 + dice.below(400));
        for _ in 0..EACH {
            let cost = 1 + dice.below(most);
            let estimate = (cost * factor / 100).max(1);
            longest[tenant] = cost.max(estimate).max(longest[tenant]);
            error[tenant] = cost.abs_diff(estimate).max(error[tenant]);
            asks.push((tenant, estimate, cost));
        }
    }
    let (before, is_capped) = (dice.below(200), dice.below(2) == 0);
    let ask = |player: &mut Player, terms: Share, is_first: bool| {
        for (tenant, estimate, cost) in &asks {
            let terms = if *tenant == 0 { terms } else { share(*tenant) };
            if (*tenant == 0) == is_first {
                player.ask(*tenant, Class::Interactive, terms, *estimate, *cost);
            }
        }
    };
    let capped = Share {
        most_running: 1,
        ..share(0)
    };
    ask(&mut player, share(0), false);
    if is_capped {
        ask(&mut player, capped, true);
    }
    let mut left = vec![EACH; tenants];
    player.seat_all();
    for _ in 0..before {
        left[player.finish_one().expect("enough to do").0] -= 1;
        player.seat_all();
    }
    match is_capped {
        true => player.seats.know(player.now, name(0), share(0)),
        false => ask(&mut player, share(0), true),
    }
    player.seat_all();

    let mut work = vec![0.0; tenants];
    while left.iter().all(|left| *left > seats)
        && let Some((tenant, cost)) = player.finish_one()
    {
        player.seat_all();
        work[tenant] += cost as f64 / weights[tenant] as f64;
        left[tenant] -= 1;
        let slack = |tenant: usize| {
            let slack = (seats + 1) * longest[tenant] + seats * error[tenant];
            slack as f64 / weights[tenant] as f64
        };
        for other in 0..tenants {
            let apart = (work[tenant] - work[other]).abs();
            let most = slack(tenant) + slack(other) + 1.0;
            assert!(apart <= most, "{apart} apart, {most} at most");
        }
    }
}

/// A newcomer among classes and tenants that always wait is seated after a round of its class, also while
/// there are fewer seats than guarantees, and after one class was idle for long.
fn newcomer(seed: u64) {
    let mut dice = Dice(seed);
    let tenants = 1 + dice.below(4);
    let longest = 10 + dice.below(200);
    let mut guaranteed = [0; Class::COUNT];
    guaranteed.fill_with(|| 1 + dice.below(3) as u32);
    let all: u32 = guaranteed.iter().sum();
    let seats = 1 + dice.below(u64::from(all) + 4) as u32;
    let mut player = Player::new(seats, guaranteed);
    let late = dice.class();
    let fill = |player: &mut Player, dice: &mut Dice, class: Class| {
        for request in 0..tenants * 150 {
            let cost = 1 + dice.below(longest);
            player.ask((request % tenants) as usize, class, OPEN, cost, cost);
        }
    };
    let others = Class::ALL.into_iter().filter(|class| *class != late);
    others.for_each(|class| fill(&mut player, &mut dice, class));
    player.seat_all();
    for _ in 0..dice.below(300) {
        player.finish_one();
        player.seat_all();
    }
    fill(&mut player, &mut dice, late);
    player.seat_all();
    for _ in 0..dice.below(40) {
        player.finish_one();
        player.seat_all();
    }
    let class = dice.class();
    let cost = 1 + dice.below(longest);
    player.ask(99, class, OPEN, cost, cost);
    let came = player.now;
    let turns = (tenants + 2) * u64::from(all);
    let rate = u64::from(guaranteed[class.index()] * seats.min(all));
    let most = longest * (turns.div_ceil(rate) + 3);
    player.seat_all();
    while !player.waits.iter().any(|(tenant, _)| *tenant == 99) {
        assert!(player.now - came <= most, "waits for more than {most}");
        player.finish_one();
        player.seat_all();
    }
}

#[test]
fn backlogged_tenants_stay_within_the_bound() {
    for_each_seed(backlogged);
}

#[test]
fn a_newcomer_waits_for_a_round_at_most() {
    for_each_seed(newcomer);
}

#[test]
fn whoever_comes_and_goes_gets_no_more_than_whoever_stays() {
    let mut player = Player::new(1, [1, 0, 0, 0, 0]);
    for _ in 0..1_000 {
        player.ask(0, Class::Interactive, OPEN, 100, 100);
    }
    player.seat_all();
    let mut served = [0; 5];
    for round in 0..1_000 {
        let (tenant, _) = player.finish_one().expect("enough to do");
        served[tenant] += 1;
        player.seat_all();
        // The others come after a while, and again as soon as one of theirs ended.
        match (round, tenant) {
            (200, _) => {
                (1..5).for_each(|tenant| player.ask(tenant, Class::Interactive, OPEN, 100, 100))
            }
            (201.., 1..) => player.ask(tenant, Class::Interactive, OPEN, 100, 100),
            _ => {}
        }
    }
    assert!(served[0] >= 200 + 800 / 5 - 1, "{served:?}");
}

#[test]
fn equal_backlogs_are_served_equally_whatever_is_estimated() {
    let mut dice = Dice(7);
    let mut player = Player::new(8, [8, 0, 0, 0, 0]);
    for tenant in 0..10 {
        for _ in 0..400 {
            let cost = 100 + dice.below(3_900);
            player.ask(
                tenant,
                Class::Interactive,
                OPEN,
                2_000 / (1 + tenant as u64),
                cost,
            );
        }
    }
    player.seat_all();
    let mut served = [0.0_f64; 10];
    for _ in 0..2_000 {
        let (tenant, cost) = player.finish_one().expect("enough to do");
        served[tenant] += cost as f64;
        player.seat_all();
    }
    let squares: f64 = served.iter().map(|cost| cost * cost).sum();
    let jain = served.iter().sum::<f64>().powi(2) / (10.0 * squares);
    assert!(jain >= 0.999, "{jain}");
}

/// The 99th percentile of what 99 light tenants wait, in microseconds, beside one that asks so many times
/// as often.
fn light_wait_us(times: f64, noisy: Share) -> u64 {
    const MEAN_US: f64 = 2_000_000.0;
    let mut dice = Dice(1);
    let mut player = Player::new(8, [8, 0, 0, 0, 0]);
    let every_us = MEAN_US * 100.0 / (8.0 * 0.6);
    let mut arrivals: BTreeSet<(u64, usize)> = BTreeSet::new();
    arrivals.extend((0..100).map(|tenant| (dice.wait(every_us), tenant)));
    while let Some((at, tenant)) = arrivals.pop_first() {
        while player.ends.first().is_some_and(|(end, ..)| *end <= at) {
            player.finish_one();
            player.seat_all();
        }
        if at > 4_000_000_000 {
            break;
        }
        player.now = at;
        let (share, rate) = if tenant == 0 {
            (noisy, times)
        } else {
            (OPEN, 1.0)
        };
        let cost = 1 + dice.wait(MEAN_US);
        player.ask(tenant, Class::Interactive, share, MEAN_US as u64, cost);
        player.seat_all();
        arrivals.insert((at + dice.wait(every_us / rate), tenant));
    }
    let light = player.waits.iter().filter(|(tenant, _)| *tenant > 0);
    let mut waits: Vec<u64> = light.map(|(_, wait)| *wait).collect();
    waits.sort_unstable();
    waits[waits.len() * 99 / 100]
}

#[test]
fn light_tenants_hardly_notice_a_noisy_one() {
    let capped = Share {
        most_running: 2,
        ..OPEN
    };
    let (quiet, noisy) = (light_wait_us(1.0, OPEN), light_wait_us(100.0, OPEN));
    let with_cap = light_wait_us(100.0, capped);
    // Without a cap every seat may be taken by long calls when a light request comes, hence a mean more.
    assert!(noisy <= quiet * 2 + 2_000_000, "{quiet} {noisy}");
    assert!(with_cap <= quiet * 2, "{quiet} {with_cap}");
}

#[test]
fn the_expected_wait_is_about_the_real_one() {
    let mut player = Player::new(4, [4, 0, 0, 0, 0]);
    for request in 0..200 {
        player.ask(
            request % 5,
            Class::Interactive,
            OPEN,
            1_000,
            900 + request as u64,
        );
    }
    player.seat_all();
    for _ in 0..60 {
        player.finish_one();
        player.seat_all();
    }
    let came = player.now;
    let expected = player.seats.wait_us(Class::Interactive, name(0));
    player.ask(0, Class::Interactive, OPEN, 1_000, 1);
    let mut real = 0;
    while !player.ends.iter().any(|(.., cost)| *cost == 1) {
        player.finish_one();
        player.seat_all();
        real = player.now - came;
    }
    // Users of the tenant take turns, so that the newcomer passes some of the others.
    assert!(
        expected <= real * 2 && real <= expected * 2,
        "{expected} {real}"
    );
    assert_eq!(player.seats.wait_us(Class::Retrieval, name(9)), 0);
}
