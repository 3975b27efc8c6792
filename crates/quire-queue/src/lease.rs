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

use crate::Error;
use crate::rows::{self, Arrival, RowPlace};

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

/// Extends the lease and leaves the report.
pub(crate) async fn renew(
    tx: &mut SystemTx,
    me: &Identity,
    is_draining: bool,
    report: &serde_json::Value,
) -> Result<(), Error> {
    sqlx::query(
        "insert into queue.workers (id, name, seats, dedicated, is_draining, report, lease_until)
         values ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7))
         on conflict (id) do update set is_draining = excluded.is_draining, report = excluded.report,
                                        lease_until = excluded.lease_until",
    )
    .bind(me.id)
    .bind(&me.name)
    .bind(me.seats)
    .bind(me.dedicated)
    .bind(is_draining)
    .bind(report)
    .bind(me.lease.as_secs_f64())
    .execute(tx.connection())
    .await?;
    Ok(())
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

/// What a worker should do about its shards.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) take: Vec<i16>,
    pub(crate) release: Vec<i16>,
}

/// The even share. Pure: every worker comes to compatible conclusions from the same view. A reserved
/// shard goes to a worker dedicated to that tenant, and to the others only while there is none.
pub(crate) fn balance(me: &Identity, workers: &[Alive], shards: &[Shard]) -> Balance {
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
        let members = able
            .iter()
            .filter(|worker| worker.dedicated == tenant)
            .count();
        let is_member = able
            .iter()
            .any(|worker| worker.id == me.id && worker.dedicated == tenant);
        let mine = shards.iter().filter(|shard| shard.owner == Some(me.id));
        if !is_member {
            // Not for this worker any more.
            balance.release.extend(mine.map(|shard| shard.shard));
            continue;
        }
        let share = shards.len().div_ceil(members.max(1));
        let mine: Vec<i16> = mine.map(|shard| shard.shard).collect();
        balance.release.extend(mine.iter().skip(share));
        let free = shards
            .iter()
            .filter(|shard| shard.owner.is_none_or(|owner| !alive.contains(&owner)));
        balance.take.extend(
            free.map(|shard| shard.shard)
                .take(share.saturating_sub(mine.len())),
        );
    }
    balance
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
    let begun: Vec<(Uuid, i16, Uuid)> = sqlx::query_as(
        "select t.id, t.attempt, r.worker from queue.receipts r, unnest(r.tasks, r.attempts) as t (id, attempt)
         where r.worker = any($1)",
    )
    .bind(dead.into_iter().collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    let begun: HashSet<(Uuid, i16, Uuid)> = begun.into_iter().collect();
    let owners: HashMap<i16, Uuid> = taken
        .iter()
        .filter_map(|(shard, _, owner)| Some((*shard, (*owner)?)))
        .collect();
    let interrupted: Vec<RowPlace> = rows
        .iter()
        .filter(|row| {
            let owner = owners.get(&row.shard);
            owner.is_some_and(|owner| begun.contains(&(row.id, row.attempt + 1, *owner)))
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
         delete from queue.receipts where worker in (select id from dead)",
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
            let balance = balance(&me(worker), workers, shards);
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
        assert_eq!(counts(&workers, &shards), [22, 22, 20]);

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
