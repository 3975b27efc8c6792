//! Who owns which shard: a worker's lease, its share of the shards, and taking over from the dead.
//!
//! A worker renews its lease at every beat. Shards are shared out evenly among the workers that live; one
//! that has too many lets some go, one that has too few takes what is free or belongs to a worker whose
//! lease ran out. Taking raises the shard's epoch in the same transaction that counts the attempts which
//! the dead worker left unfinished, so nobody can act on the shard twice or forget one.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use quire_store::SystemTx;

use crate::rows::{self, Arrival, RowPlace};
use crate::{Error, ids};

/// A worker as others see it.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) seats: i32,
    pub(crate) dedicated: Option<Uuid>,
    pub(crate) lease: Duration,
}

/// A worker whose lease is good.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Alive {
    pub(crate) id: Uuid,
    pub(crate) dedicated: Option<Uuid>,
    pub(crate) is_draining: bool,
}

/// A shard and who has it.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Shard {
    pub(crate) shard: i16,
    pub(crate) reserved_for: Option<Uuid>,
    pub(crate) owner: Option<Uuid>,
    pub(crate) epoch: i64,
}

/// Extends the lease and leaves the report. Says whether the lease had run out before: then others may look
/// just as dead, after an outage of the database, and live.
pub(crate) async fn renew(
    tx: &mut SystemTx,
    me: &Identity,
    is_draining: bool,
    report: &serde_json::Value,
) -> Result<bool, Error> {
    let had_lapsed: Option<bool> = sqlx::query_scalar(
        "with before as (select lease_until < clock_timestamp() as had_lapsed from queue.workers where id = $1),
         renewed as (
             insert into queue.workers (id, name, seats, dedicated, is_draining, report, lease_until)
             values ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7))
             on conflict (id) do update set is_draining = excluded.is_draining, report = excluded.report,
                                            lease_until = excluded.lease_until
         )
         select had_lapsed from before",
    )
    .bind(me.id)
    .bind(&me.name)
    .bind(me.seats)
    .bind(me.dedicated)
    .bind(is_draining)
    .bind(report)
    .bind(me.lease.as_secs_f64())
    .fetch_optional(tx.connection())
    .await?;
    Ok(had_lapsed.unwrap_or(false))
}

/// The workers that live, in the order of their ids, and all shards.
pub(crate) async fn view(tx: &mut SystemTx) -> Result<(Vec<Alive>, Vec<Shard>), Error> {
    let workers = sqlx::query_as(
        "select id, dedicated, is_draining from queue.workers where lease_until > clock_timestamp() order by id",
    )
    .fetch_all(tx.connection())
    .await?;
    let shards =
        sqlx::query_as("select shard, reserved_for, owner, epoch from queue.shards order by shard")
            .fetch_all(tx.connection())
            .await?;
    Ok((workers, shards))
}

/// What goes on in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Work {
    None,
    Short,
    Long,
}

/// What a worker should do about its shards.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) take: Vec<i16>,
    pub(crate) release: Vec<i16>,
}

/// The even share. Pure: every worker comes to compatible conclusions from the same view. A reserved
/// shard goes to a worker dedicated to that tenant, and to the others only while there is none.
/// `is_modest` is a worker that takes only what nobody claims to own.
pub(crate) fn balance(
    me: &Identity,
    workers: &[Alive],
    shards: &[Shard],
    work: impl Fn(i16) -> Work,
    is_modest: bool,
) -> Balance {
    let alive: HashSet<Uuid> = workers.iter().map(|worker| worker.id).collect();
    let able: Vec<&Alive> = workers
        .iter()
        .filter(|worker| !worker.is_draining)
        .collect();
    let mut balance = Balance::default();
    // Shards fall into groups that the same workers share.
    let mut groups: HashMap<Option<Uuid>, Vec<&Shard>> = HashMap::new();
    for shard in shards {
        let served = shard
            .reserved_for
            .filter(|tenant| able.iter().any(|worker| worker.dedicated == Some(*tenant)));
        groups.entry(served).or_default().push(shard);
    }
    for (tenant, shards) in groups {
        let members: Vec<Uuid> = able
            .iter()
            .filter(|worker| worker.dedicated == tenant)
            .map(|worker| worker.id)
            .collect();
        let mut mine: Vec<i16> = shards
            .iter()
            .filter(|shard| shard.owner == Some(me.id))
            .map(|shard| shard.shard)
            .collect();
        let Some(rank) = members.iter().position(|member| *member == me.id) else {
            // Not for this worker any more.
            balance.release.extend(mine);
            continue;
        };
        let share = shards.len() / members.len() + usize::from(rank < shards.len() % members.len());
        let missing = share.saturating_sub(mine.len());
        let excess = mine.len().saturating_sub(share);
        // What goes on for long is waited for: meanwhile nobody would serve the shard.
        mine.retain(|shard| work(*shard) != Work::Long);
        mine.sort_by_key(|shard| work(*shard));
        balance.release.extend(mine.into_iter().take(excess));
        let free = shards.iter().filter(|shard| match shard.owner {
            None => true,
            Some(owner) => !is_modest && !alive.contains(&owner),
        });
        balance
            .take
            .extend(free.map(|shard| shard.shard).take(missing));
    }
    balance
}

/// A worker's place among those that live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rank {
    place: u32,
    pub(crate) of: u32,
}

impl Rank {
    pub(crate) const ALONE: Self = Self { place: 0, of: 1 };

    /// Those that are leaving count: they still run tasks.
    pub(crate) fn of(me: Uuid, workers: &[Alive]) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let place = number(workers.iter().filter(|worker| worker.id < me).count());
        Self {
            place,
            of: number(workers.len()).max(place + 1),
        }
    }

    /// Its part of a limit that holds for all workers together: an even share, and one more for the first
    /// while any is left. Never none, since nobody else runs the tasks of its shards: where there are fewer
    /// places than workers, as many run as there are workers.
    pub(crate) fn part(self, limit: u32) -> u32 {
        let part = limit / self.of + u32::from(self.place < limit % self.of);
        part.max(1)
    }
}

/// Takes shards that nobody alive has. Returns each with its new epoch and the dead worker it had.
pub(crate) async fn take(
    tx: &mut SystemTx,
    me: Uuid,
    shards: &[i16],
) -> Result<Vec<(i16, i64, Option<Uuid>)>, Error> {
    let taken = sqlx::query_as(
        "with free as materialized (
             select s.shard, s.owner from queue.shards s
             where s.shard = any($2)
               and not exists (select from queue.workers w
                               where w.id = s.owner and w.lease_until > clock_timestamp())
             order by s.shard for update of s skip locked
         )
         update queue.shards s set owner = $1, epoch = s.epoch + 1
         from free where s.shard = free.shard
         returning s.shard, s.epoch, free.owner",
    )
    .bind(me)
    .bind(shards)
    .fetch_all(tx.connection())
    .await?;
    Ok(taken)
}

/// The ready tasks of shards that were just taken. Attempts that a dead worker had begun are counted.
pub(crate) async fn load(
    tx: &mut SystemTx,
    taken: &[(i16, i64, Option<Uuid>)],
) -> Result<Vec<Arrival>, Error> {
    let shards: Vec<i16> = taken.iter().map(|(shard, ..)| *shard).collect();
    let rows = rows::load(tx, &shards).await?;
    let dead: HashSet<Uuid> = taken.iter().filter_map(|(.., owner)| *owner).collect();
    if dead.is_empty() {
        return Ok(rows);
    }
    let begun: Vec<(i64, i32, Uuid)> = sqlx::query_as(
        "select t.token, t.tail, r.worker from queue.receipts r, unnest(r.tokens, r.tails) as t (token, tail)
         where r.worker = any($1)",
    )
    .bind(dead.into_iter().collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    let begun: HashSet<(i64, i32, Uuid)> = begun.into_iter().collect();
    let owners: HashMap<i16, Uuid> = taken
        .iter()
        .filter_map(|(shard, _, owner)| Some((*shard, (*owner)?)))
        .collect();
    let interrupted: Vec<RowPlace> = rows
        .iter()
        .filter(|row| {
            let owner = owners.get(&row.shard);
            owner.is_some_and(|owner| begun.contains(&(row.run_token, ids::tail(row.id), *owner)))
        })
        .map(Arrival::place)
        .collect();
    if interrupted.is_empty() {
        return Ok(rows);
    }
    rows::recount(tx, &interrupted).await?;
    rows::load(tx, &shards).await
}

/// Lets shards go that this worker has nothing running in.
pub(crate) async fn release(tx: &mut SystemTx, me: Uuid, shards: &[i16]) -> Result<(), Error> {
    sqlx::query("update queue.shards set owner = null where shard = any($2) and owner = $1")
        .bind(me)
        .bind(shards)
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Forgets a worker that ended in order: nothing of it is unfinished.
pub(crate) async fn leave(tx: &mut SystemTx, me: Uuid) -> Result<(), Error> {
    for statement in [
        "update queue.shards set owner = null where owner = $1",
        "delete from queue.receipts where worker = $1",
        "delete from queue.workers where id = $1",
    ] {
        sqlx::query(statement)
            .bind(me)
            .execute(tx.connection())
            .await?;
    }
    Ok(())
}

/// Forgets the dead once others have all their shards, and with them what they had begun.
pub(crate) async fn bury(tx: &mut SystemTx) -> Result<(), Error> {
    sqlx::query(
        "with dead as (
             delete from queue.workers w
             where lease_until < clock_timestamp() - interval '1 minute'
               and not exists (select from queue.shards s where s.owner = w.id)
             returning id
         )
         delete from queue.receipts r
         where worker in (select id from dead) or not exists (select from queue.workers w where w.id = r.worker)",
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(number: u128, dedicated: Option<u128>) -> Alive {
        Alive {
            id: Uuid::from_u128(number),
            dedicated: dedicated.map(Uuid::from_u128),
            is_draining: false,
        }
    }

    fn me(alive: &Alive) -> Identity {
        Identity {
            id: alive.id,
            name: String::new(),
            seats: 1,
            dedicated: alive.dedicated,
            lease: Duration::ZERO,
        }
    }

    fn shards(count: i16) -> Vec<Shard> {
        (0..count)
            .map(|shard| Shard {
                shard,
                reserved_for: None,
                owner: None,
                epoch: 0,
            })
            .collect()
    }

    /// Lets every worker act on the view once, in turn.
    fn round(workers: &[Alive], shards: &mut [Shard]) {
        for worker in workers {
            let balance = balance(&me(worker), workers, shards, |_| Work::None, false);
            for shard in shards.iter_mut() {
                if balance.take.contains(&shard.shard) {
                    shard.owner = Some(worker.id);
                } else if balance.release.contains(&shard.shard) {
                    shard.owner = None;
                }
            }
        }
    }

    fn counts(workers: &[Alive], shards: &[Shard]) -> Vec<usize> {
        let of = |id| {
            shards
                .iter()
                .filter(|shard| shard.owner == Some(id))
                .count()
        };
        workers.iter().map(|worker| of(worker.id)).collect()
    }

    #[test]
    fn shards_are_shared_out_evenly_as_workers_come_and_go() {
        let mut workers = vec![worker(1, None)];
        let mut shards = shards(64);
        round(&workers, &mut shards);
        assert_eq!(counts(&workers, &shards), [64]);

        workers.push(worker(2, None));
        workers.push(worker(3, None));
        round(&workers, &mut shards);
        round(&workers, &mut shards);
        assert_eq!(counts(&workers, &shards), [22, 21, 21]);

        // The first one dies.
        workers.remove(0);
        round(&workers, &mut shards);
        assert_eq!(counts(&workers, &shards), [32, 32]);
        workers[0].is_draining = true;
        round(&workers, &mut shards);
        round(&workers, &mut shards);
        assert_eq!(counts(&workers, &shards), [0, 64]);
    }

    #[test]
    fn every_worker_up_to_the_number_of_shards_gets_some() {
        for number in [17, 33, 50, 64] {
            let workers: Vec<Alive> = (1..=number).map(|id| worker(id, None)).collect();
            let mut shards = shards(64);
            round(&workers, &mut shards);
            let counts = counts(&workers, &shards);
            let (least, most) = (counts.iter().min(), counts.iter().max());
            assert!(
                most.zip(least)
                    .is_some_and(|(most, least)| most - least <= 1),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn the_parts_of_a_limit_are_the_limit_or_one_for_each_worker() {
        for number in 1..=20 {
            let workers: Vec<Alive> = (1..=number).map(|id| worker(id, None)).collect();
            for limit in 1..=50 {
                let parts = workers
                    .iter()
                    .map(|me| Rank::of(me.id, &workers).part(limit));
                let sum: u32 = parts.sum();
                assert_eq!(u128::from(sum), u128::from(limit).max(number));
            }
        }
        let newcomer = Rank::of(Uuid::from_u128(9), &[worker(1, None)]);
        assert_eq!(
            (newcomer.part(3), Rank::ALONE.part(u32::MAX)),
            (1, u32::MAX)
        );
    }

    #[test]
    fn shards_without_work_go_first_and_those_with_long_work_stay() {
        let workers = [worker(1, None), worker(2, None)];
        let mut shards = shards(4);
        for shard in &mut shards {
            shard.owner = Some(workers[0].id);
        }
        let work = |shard| [Work::Short, Work::Long, Work::None, Work::Long][shard as usize];
        let first = balance(&me(&workers[0]), &workers, &shards, work, false);
        assert_eq!(first.release, [2, 0]);
        let busy = balance(&me(&workers[0]), &workers, &shards, |_| Work::Long, false);
        assert!(busy.release.is_empty());
    }

    #[test]
    fn who_was_away_takes_nothing_from_those_who_look_dead() {
        let workers = [worker(1, None)];
        let mut shards = shards(2);
        shards[0].owner = Some(Uuid::from_u128(99));
        let modest = balance(&me(&workers[0]), &workers, &shards, |_| Work::None, true);
        assert_eq!(modest.take, [1]);
        let bold = balance(&me(&workers[0]), &workers, &shards, |_| Work::None, false);
        assert_eq!(bold.take, [0, 1]);
    }

    #[test]
    fn a_reserved_shard_goes_to_the_dedicated_worker_while_there_is_one() {
        let mut workers = vec![worker(1, None), worker(2, Some(77))];
        let mut shards = shards(4);
        shards[3].reserved_for = Some(Uuid::from_u128(77));
        round(&workers, &mut shards);
        assert_eq!(counts(&workers, &shards), [3, 1]);
        let gone = workers.remove(1);
        round(&workers, &mut shards);
        assert_eq!(counts(&workers, &shards), [4]);
        workers.push(gone);
        round(&workers, &mut shards);
        round(&workers, &mut shards);
        assert_eq!(counts(&workers, &shards), [3, 1]);
    }
}
