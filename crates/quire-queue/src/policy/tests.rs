//! The order by itself: what tasks cost is made up, and time is a number.

use std::collections::HashMap;

use super::*;

const NO_AGING: u64 = u64::MAX;

fn policy(seats: u32, reserve: u32, aging_ms: u64) -> Policy {
    let mut policy = Policy::new(Seats {
        all: seats,
        reserve,
        aging_ms,
    });
    for kind in ["work", "other"] {
        policy.set_kind(
            kind,
            KindRule {
                most_running: u32::MAX,
                most_per_key: 1,
                is_paused: false,
            },
        );
    }
    policy
}

fn add(policy: &mut Policy, tenant: u32, priority: Priority, key: Option<&str>) -> Ticket {
    let item = Item {
        tenant: Uuid::from_u128(u128::from(tenant)),
        kind: "work",
        key,
        priority,
        cost_us: None,
    };
    policy.add(&item, 0)
}

fn tenant_of(policy: &Policy, ticket: Ticket) -> u128 {
    let entry = policy.entries[ticket.index()].as_ref();
    entry.map_or(0, |entry| {
        policy.tenants[entry.tenant as usize].id.as_u128()
    })
}

fn class_of(policy: &Policy, ticket: Ticket) -> usize {
    policy.entries[ticket.index()]
        .as_ref()
        .map_or(9, |entry| usize::from(entry.class))
}

/// Works off tasks on so many seats, each taking what `cost` says, in microseconds. Returns what each
/// tenant got until the first of them had nothing more.
fn serve(policy: &mut Policy, tasks: u32, cost: impl Fn(u128) -> u64) -> HashMap<u128, u64> {
    let mut got: HashMap<u128, u64> = HashMap::new();
    let mut running: BTreeSet<(u64, Ticket)> = BTreeSet::new();
    let mut now = 0;
    for _ in 0..tasks {
        while let Some(ticket) = policy.next(now / 1_000) {
            running.insert((now + cost(tenant_of(policy, ticket)), ticket));
        }
        let Some((ends, ticket)) = running.pop_first() else {
            break;
        };
        now = ends;
        let tenant = tenant_of(policy, ticket);
        let took = cost(tenant);
        *got.entry(tenant).or_default() += took;
        policy.learn(ticket, took);
        policy.finish(ticket, took);
    }
    got
}

fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

#[test]
fn a_newcomer_is_next_however_many_wait() {
    let mut policy = policy(4, 0, NO_AGING);
    for _ in 0..50_000 {
        add(&mut policy, 1, Priority::Normal, None);
    }
    for tenant in 2..2_000 {
        add(&mut policy, tenant, Priority::Normal, None);
    }
    serve(&mut policy, 1_000, |_| 1_000);
    let newcomer = add(&mut policy, 9_999, Priority::Normal, None);
    let mut waited = 0;
    while let Some(ticket) = policy.next(0) {
        if ticket == newcomer {
            break;
        }
        policy.finish(ticket, 1_000);
        waited += 1;
    }
    assert!(waited <= 4, "{waited} tasks went first");
}

#[test]
fn tenants_get_equal_time_whatever_their_tasks_cost_and_share_by_weight() {
    let mut policy = policy(8, 0, NO_AGING);
    for tenant in 1..=20 {
        for _ in 0..20_000 {
            add(&mut policy, tenant, Priority::Normal, None);
        }
    }
    // One costs a hundred times as much as another, and nobody said so before.
    let got = serve(&mut policy, 60_000, |tenant| {
        if tenant.is_multiple_of(2) {
            1_000
        } else {
            100_000
        }
    });
    let shares: Vec<f64> = got.values().map(|share| *share as f64).collect();
    assert!(jain(&shares) > 0.99, "{got:?}");

    let mut policy = self::policy(8, 0, NO_AGING);
    for tenant in 1..=4_u32 {
        let rule = TenantRule {
            weight: tenant,
            ..TenantRule::default()
        };
        for _ in 0..20_000 {
            add(&mut policy, tenant, Priority::Normal, None);
        }
        policy.set_tenant(Uuid::from_u128(u128::from(tenant)), rule);
    }
    let got = serve(&mut policy, 20_000, |_| 1_000);
    for tenant in 1..=4_u32 {
        let share = got[&u128::from(tenant)] as f64 / 20_000_000.0;
        let fair = f64::from(tenant) / 10.0;
        assert!(
            (share - fair).abs() < 0.01,
            "tenant {tenant}: {share} instead of {fair}"
        );
    }
}

#[test]
fn priorities_share_by_weight_and_none_starves() {
    let mut policy = policy(4, 0, NO_AGING);
    for priority in Priority::ALL {
        for _ in 0..10_000 {
            add(&mut policy, 1, priority, None);
        }
    }
    let mut got = [0; Priority::COUNT];
    for _ in 0..9_300 {
        let Some(ticket) = policy.next(0) else { break };
        got[class_of(&policy, ticket)] += 1;
        policy.finish(ticket, 1_000);
    }
    for (weight, got) in CLASS_WEIGHTS.iter().zip(got) {
        let fair = i32::from(*weight) * 100;
        assert!(
            (got - fair).abs() <= fair / 20 + 2,
            "{got} instead of {fair}"
        );
    }
}

#[test]
fn what_has_waited_long_counts_as_more_urgent() {
    let maintenance_share = |aging_ms| {
        let mut policy = policy(1, 0, aging_ms);
        for _ in 0..2_000 {
            add(&mut policy, 1, Priority::High, None);
            add(&mut policy, 1, Priority::Maintenance, None);
        }
        let mut got = 0;
        for _ in 0..1_000 {
            // Everything has waited for an hour.
            let Some(ticket) = policy.next(3_600_000) else {
                break;
            };
            got += usize::from(class_of(&policy, ticket) == Priority::Maintenance as usize);
            policy.finish(ticket, 1_000);
        }
        got
    };
    assert!(maintenance_share(NO_AGING) < 80);
    assert!(
        maintenance_share(60_000) > 400,
        "an hour makes up for three priorities"
    );
}

#[test]
fn a_seat_is_kept_for_critical_tasks() {
    let mut policy = policy(10, 1, NO_AGING);
    for _ in 0..50 {
        add(&mut policy, 1, Priority::High, None);
    }
    let taken = std::iter::from_fn(|| policy.next(0)).count();
    assert_eq!(taken, 9);
    let critical = add(&mut policy, 2, Priority::Critical, None);
    assert_eq!(policy.next(0), Some(critical));
    assert_eq!(policy.next(0), None);
}

#[test]
fn what_may_not_run_leaves_the_order_and_comes_back() {
    let mut policy = policy(100, 0, NO_AGING);
    for _ in 0..10 {
        add(&mut policy, 1, Priority::Normal, Some("narrow"));
    }
    let first = policy.next(0);
    assert_eq!(policy.next(0), None, "one at a time");
    assert!(
        policy.classes[Priority::Normal as usize]
            .order
            .iter()
            .all(BTreeSet::is_empty)
    );
    let free = add(&mut policy, 1, Priority::Normal, Some("other"));
    assert_eq!(
        policy.next(0),
        Some(free),
        "another key of the same tenant passes"
    );
    if let Some(first) = first {
        policy.finish(first, 1_000);
    }
    let second = policy.next(0);
    assert!(second.is_some() && policy.next(0).is_none());

    // A paused tenant, and one with a limit.
    let (paused, limited) = (Uuid::from_u128(2), Uuid::from_u128(3));
    policy.set_tenant(
        paused,
        TenantRule {
            is_paused: true,
            ..TenantRule::default()
        },
    );
    policy.set_tenant(
        limited,
        TenantRule {
            most_running: 2,
            ..TenantRule::default()
        },
    );
    for tenant in [2, 3] {
        for _ in 0..5 {
            add(&mut policy, tenant, Priority::Low, None);
        }
    }
    let taken: Vec<Ticket> = std::iter::from_fn(|| policy.next(0)).collect();
    assert_eq!(taken.len(), 2);
    assert!(taken.iter().all(|ticket| tenant_of(&policy, *ticket) == 3));
    policy.set_tenant(paused, TenantRule::default());
    assert_eq!(std::iter::from_fn(|| policy.next(0)).count(), 5);

    // A kind at its limit does not hold back another kind of the same tenant.
    policy.set_kind(
        "other",
        KindRule {
            most_running: 1,
            most_per_key: 1,
            is_paused: false,
        },
    );
    for _ in 0..3 {
        let item = Item {
            tenant: Uuid::from_u128(4),
            kind: "other",
            key: None,
            priority: Priority::Normal,
            cost_us: None,
        };
        policy.add(&item, 0);
    }
    assert!(policy.next(0).is_some());
    let passes = add(&mut policy, 4, Priority::Normal, None);
    assert_eq!(policy.next(0), Some(passes));
    assert_eq!(policy.next(0), None);
}

#[test]
fn tenants_without_work_are_forgotten() {
    let mut policy = policy(10, 0, NO_AGING);
    for tenant in 0..1_000 {
        add(&mut policy, tenant, Priority::Normal, Some("key"));
    }
    serve(&mut policy, 1_000, |_| 1_000);
    policy.sweep();
    assert!(
        policy.tenants_by_id.len() <= 1,
        "{} are known",
        policy.tenants_by_id.len()
    );
    assert!(policy.keys_by_name.is_empty());
    assert!(policy.entries.iter().all(Option::is_none));
    // Their places are used again.
    for tenant in 2_000..3_000 {
        add(&mut policy, tenant, Priority::Normal, None);
    }
    assert!(policy.tenants.len() <= 1_001);
}
