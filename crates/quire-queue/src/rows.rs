//! The SQL of a worker at work: what is new, handing out, recording outcomes, moving what is due.
//!
//! Every statement is one batch. Rows of `queue.ready` are found by their place (shard, token, id) and
//! never updated; `limit 1` inside a lateral join keeps the planner on that index whatever it believes
//! about the size of the table.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use quire_store::SystemTx;

use crate::{Error, Failure, ids};

/// The columns that a task keeps when its row moves to another table.
macro_rules! moved {
    () => {
        "tenant_id, id, shard, kind, priority, key, cost_ms, deadline, is_cancelled"
    };
}

/// Where a row of `queue.ready` is. A task that is tried again gets another place, so whoever knows an
/// old one can do nothing to the task any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RowPlace {
    pub(crate) shard: i16,
    pub(crate) token: i64,
    pub(crate) id: Uuid,
}

/// A ready task without its payload.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Arrival {
    pub(crate) shard: i16,
    pub(crate) run_token: i64,
    pub(crate) id: Uuid,
    pub(crate) tenant_id: Uuid,
    pub(crate) kind: String,
    pub(crate) priority: i16,
    pub(crate) attempt: i16,
    pub(crate) key: Option<String>,
    pub(crate) cost_ms: Option<i32>,
    pub(crate) is_keyed: bool,
    /// It does not run; its kind is told.
    pub(crate) is_cancelled: bool,
}

/// What was handed out and is not settled, for statements that ask for [`RUNNING`].
pub(crate) const OPEN: &str = "open as materialized (
    select t.token, t.tail from queue.receipts r, unnest(r.tokens, r.tails) as t (token, tail)
)";
/// Whether a row of `queue.ready` was handed out. A task that is tried again has another token, so a receipt of an
/// earlier attempt says nothing about it. The tail is computed only where a token was found.
pub(crate) const RUNNING: &str = "case when run_token in (select token from open)
    then (run_token, ('x' || substr(id::text, 10, 4) || substr(id::text, 15, 4))::bit(32)::integer) in (select token, tail from open)
    else false end";

/// The row of `queue.ready` of the task `$1`, added with the token `$2`: at its place in one of the shards, or among those
/// that have moved.
pub(crate) const ONE_READY: &str = "(
    select r.* from queue.shards s cross join lateral (
        select *, ctid as at_row from queue.ready where shard = s.shard and run_token = $2 and id = $1 limit 1
    ) r where not r.is_moved
    union all
    select *, ctid from queue.ready where is_moved and id = $1
)";

impl Arrival {
    pub(crate) fn place(&self) -> RowPlace {
        RowPlace {
            shard: self.shard,
            token: self.run_token,
            id: self.id,
        }
    }
}

/// What an owner has seen: a snapshot, in the terms of `pg_current_snapshot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Transactions from this one on had not begun.
    next: i64,
    /// Transactions that were going on.
    open: Vec<i64>,
    /// When the server started, in microseconds: one that lost its last moments counts transactions anew.
    server: i64,
}

impl Cursor {
    /// To which everything is new.
    pub(crate) const START: Self = Self {
        next: 0,
        open: Vec::new(),
        server: 0,
    };

    fn parse(snapshot: &str, server: i64) -> Result<Self, Error> {
        let broken = || Error::Database(sqlx::Error::Protocol(format!("snapshot {snapshot:?}")));
        let mut parts = snapshot.split(':').skip(1);
        let next = parts
            .next()
            .and_then(|part| part.parse().ok())
            .ok_or_else(broken)?;
        let open = parts.next().ok_or_else(broken)?;
        let open = open.split(',').filter(|part| !part.is_empty());
        let open = open
            .map(|part| part.parse().map_err(|_| broken()))
            .collect::<Result<_, _>>()?;
        Ok(Self { next, open, server })
    }

    /// Whether what this one has seen is still behind the present.
    fn holds_at(&self, present: &Self) -> bool {
        self.server == present.server && self.next <= present.next
    }

    /// Whatever is new to one of them is new to this one.
    pub(crate) fn earlier(&self, other: &Self) -> Self {
        let next = self.next.min(other.next);
        let open = self.open.iter().chain(&other.open).copied();
        let mut open: Vec<i64> = open.filter(|token| *token < next).collect();
        open.sort_unstable();
        open.dedup();
        match self.server == other.server {
            true => Self {
                next,
                open,
                ..*self
            },
            false => Self::START,
        }
    }
}

const ARRIVAL: &str = "shard, run_token, id, tenant_id, kind, priority, attempt, key, cost_ms, is_cancelled, payload is null as is_keyed";

/// Every ready task of some shards.
pub(crate) async fn load(tx: &mut SystemTx, shards: &[i16]) -> Result<Vec<Arrival>, Error> {
    // Tokens of another cluster, from a restored dump, would be new for ever.
    sqlx::query(
        "update queue.ready set run_token = default, is_moved = true
         where shard = any($1) and run_token >> 16 > pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
    )
    .bind(shards)
    .execute(tx.connection())
    .await?;
    let statement = sqlx::AssertSqlSafe(format!(
        "select {ARRIVAL} from queue.ready where shard = any($1) order by id"
    ));
    Ok(sqlx::query_as(statement)
        .bind(shards)
        .fetch_all(tx.connection())
        .await?)
}

/// The present, to ask later what came since.
pub(crate) async fn now(tx: &mut SystemTx) -> Result<Cursor, Error> {
    let (snapshot, server): (String, i64) = sqlx::query_as(
        "select pg_current_snapshot()::text, (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint",
    )
    .fetch_one(tx.connection())
    .await?;
    Cursor::parse(&snapshot, server)
}

/// The ready tasks that became visible since the cursor, and the new cursor. Exact: a row is new if its
/// transaction had not begun or was still open then, however long it stayed open. All are new to a server that was
/// started since.
pub(crate) async fn arrivals(
    tx: &mut SystemTx,
    shards: &[i16],
    since: &Cursor,
) -> Result<(Vec<Arrival>, Cursor), Error> {
    // Asked before the rows: what commits in between is seen twice, which the owner notices.
    let cursor = now(tx).await?;
    let since = match since.holds_at(&cursor) {
        true => since,
        false => &Cursor::START,
    };
    // `offset 0` keeps the planner from turning the look-ups of each shard into one pass over everything.
    let statement = sqlx::AssertSqlSafe(format!(
        "select r.* from unnest($1::smallint[]) as s (own) cross join lateral (
             select {ARRIVAL} from queue.ready where shard = own and run_token >= $2 << 16 offset 0
         ) r
         union all
         select r.* from unnest($1::smallint[]) as s (own) cross join unnest($3::bigint[]) as o (open)
         cross join lateral (
             select {ARRIVAL} from queue.ready
             where shard = own and run_token >= open << 16 and run_token < (open + 1) << 16 offset 0
         ) r"
    ));
    let rows = sqlx::query_as(statement)
        .bind(shards)
        .bind(since.next)
        .bind(&since.open)
        .fetch_all(tx.connection())
        .await?;
    Ok((rows, cursor))
}

/// A task that is to be handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pick {
    pub(crate) place: RowPlace,
    pub(crate) tenant: Uuid,
    pub(crate) is_keyed: bool,
}

/// A task as it is handed out.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(crate) struct Handed {
    pub(crate) id: Uuid,
    pub(crate) run_token: i64,
    pub(crate) payload: String,
    pub(crate) error_kind: Option<String>,
    pub(crate) error: Option<String>,
    /// Its deadline has passed, by the clock that set it.
    pub(crate) is_late: bool,
}

/// What came of handing out.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    pub(crate) tasks: Vec<Handed>,
    /// Tasks whose producer is just changing them.
    pub(crate) later: Vec<Uuid>,
}

/// Notes that these tasks are being worked on, before anything of them runs, and reads their payloads.
/// A task whose row is gone was cancelled; a shard that is somebody else's by now gives nothing.
///
/// The note does not wait for the disk. A worker that dies leaves it behind all the same; only a server that
/// loses its last moments may lose it, and then an attempt that changed nothing durable is not counted. A key
/// that becomes free waits: forgotten, it would swallow the change that came while its task ran.
pub(crate) async fn hand_out(
    tx: &mut SystemTx,
    worker: Uuid,
    receipt: Uuid,
    epochs: &[(i16, i64)],
    tasks: &[Pick],
) -> Result<HandedOut, Error> {
    let mut handed: Vec<Handed> = sqlx::query_as(
        "with own as materialized (
             select s.shard from queue.shards s
             join unnest($2::smallint[], $3::bigint[]) as o (shard, epoch) on s.shard = o.shard and s.epoch = o.epoch
             where s.owner = $1 for share of s
         ), found as materialized (
             select r.*, k.tail from unnest($4::smallint[], $5::bigint[], $6::uuid[], $9::integer[])
                 as k (shard, token, id, tail)
             cross join lateral (
                 select * from queue.ready r
                 where r.shard = k.shard and r.run_token = k.token and r.id = k.id limit 1
             ) r
             where k.shard in (select shard from own)
         ), noted as (
             insert into queue.receipts (id, worker, tokens, tails)
             select $7, $1, array_agg(run_token), array_agg(tail) from found having count(*) > 0
         )
         select id, run_token, error_kind, error, coalesce(payload, 'null')::text as payload,
                coalesce(deadline < now(), false) as is_late,
                case when $8 then set_config('synchronous_commit', 'off', true) end
         from found",
    )
    .bind(worker)
    .bind(epochs.iter().map(|(shard, _)| *shard).collect::<Vec<_>>())
    .bind(epochs.iter().map(|(_, epoch)| *epoch).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.place.shard).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.place.token).collect::<Vec<_>>())
    .bind(tasks.iter().map(|task| task.place.id).collect::<Vec<_>>())
    .bind(receipt)
    .bind(!tasks.iter().any(|task| task.is_keyed))
    .bind(tasks.iter().map(|task| ids::tail(task.place.id)).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    let found: HashSet<Uuid> = handed.iter().map(|task| task.id).collect();
    let keyed = tasks
        .iter()
        .filter(|task| task.is_keyed && found.contains(&task.place.id));
    let (tenants, keyed): (Vec<Uuid>, Vec<Uuid>) =
        keyed.map(|task| (task.tenant, task.place.id)).unzip();
    if keyed.is_empty() {
        return Ok(HandedOut {
            tasks: handed,
            later: Vec::new(),
        });
    }
    // From here on the key is free: who comes later adds a new task. One that is just being changed is
    // left for the next time, since its producer may take long.
    let payloads: Vec<(Uuid, String)> = sqlx::query_as(
        "with due as materialized (
             select q.tenant_id, q.id from queue.keyed q
             join unnest($1::uuid[], $2::uuid[]) as k (tenant_id, id) on q.tenant_id = k.tenant_id and q.id = k.id
             for update of q skip locked
         )
         update queue.keyed q set is_waiting = false from due
         where q.tenant_id = due.tenant_id and q.id = due.id returning q.id, q.payload::text",
    )
    .bind(tenants)
    .bind(&keyed)
    .fetch_all(tx.connection())
    .await?;
    let payloads: HashMap<Uuid, String> = payloads.into_iter().collect();
    let later: Vec<Uuid> = keyed
        .into_iter()
        .filter(|id| !payloads.contains_key(id))
        .collect();
    handed.retain(|task| !later.contains(&task.id));
    for task in &mut handed {
        if let Some(payload) = payloads.get(&task.id) {
            task.payload.clone_from(payload);
        }
    }
    Ok(HandedOut {
        tasks: handed,
        later,
    })
}

/// What became of a task.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Done,
    /// Another attempt, after a wait.
    Again {
        failure: Failure,
        attempt: i16,
        after: Duration,
    },
    Dead {
        failure: Failure,
        attempt: i16,
    },
    /// It was cancelled, and its kind was told so or can't be.
    Cancelled,
}

/// A task and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Settlement {
    pub(crate) place: RowPlace,
    pub(crate) tenant: Uuid,
    pub(crate) is_keyed: bool,
    pub(crate) outcome: Outcome,
}

/// Records outcomes and forgets receipts whose tasks have all ended. Returns the tasks that were still
/// this worker's; the rest had been handed to somebody else or were cancelled, and nothing is recorded
/// for them.
pub(crate) async fn settle(
    tx: &mut SystemTx,
    settlements: &[Settlement],
    receipts: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    let mut done = Places::default();
    let (mut again, mut dead) = (Failed::default(), Failed::default());
    for settlement in settlements {
        match &settlement.outcome {
            Outcome::Done | Outcome::Cancelled => done.push(settlement.place),
            Outcome::Again {
                failure,
                attempt,
                after,
            } => {
                again.push(settlement.place, failure, *attempt, *after);
            }
            Outcome::Dead { failure, attempt } => {
                dead.push(settlement.place, failure, *attempt, Duration::ZERO);
            }
        }
    }
    let mut settled = Vec::with_capacity(settlements.len());
    if !done.ids.is_empty() {
        let deleted: Vec<Uuid> = sqlx::query_scalar(
            "delete from queue.ready r using unnest($1::smallint[], $2::bigint[], $3::uuid[]) as k (shard, token, id)
             where r.shard = k.shard and r.run_token = k.token and r.id = k.id returning r.id",
        )
        .bind(&done.shards)
        .bind(&done.tokens)
        .bind(&done.ids)
        .fetch_all(tx.connection())
        .await?;
        settled.extend(deleted);
    }
    if !again.places.ids.is_empty() {
        let statement = concat!(
            "with k as (",
            "    select * from unnest($1::smallint[], $2::bigint[], $3::uuid[], $4::smallint[], $5::text[], $6::text[], $7::float8[])",
            "        as k (k_shard, k_token, k_id, k_attempt, k_kind, k_error, k_after)",
            "), gone as (",
            "    delete from queue.ready r using k",
            "    where r.shard = k_shard and r.run_token = k_token and r.id = k_id returning r.*, k.*",
            ") insert into queue.deferred (",
            moved!(),
            ", payload, attempt, error_kind, error, run_at)",
            "  select ",
            moved!(),
            ", payload, k_attempt, k_kind, k_error, now() + make_interval(secs => k_after)",
            "  from gone returning id"
        );
        settled.extend(again.run(tx, statement).await?);
    }
    if !dead.places.ids.is_empty() {
        let statement = concat!(
            "with k as (",
            "    select * from unnest($1::smallint[], $2::bigint[], $3::uuid[], $4::smallint[], $5::text[], $6::text[], $7::float8[])",
            "        as k (k_shard, k_token, k_id, k_attempt, k_kind, k_error, k_after)",
            "), gone as (",
            "    delete from queue.ready r using k",
            "    where r.shard = k_shard and r.run_token = k_token and r.id = k_id returning r.*, k.*",
            "), keyed as (",
            "    delete from queue.keyed q using gone g where q.tenant_id = g.tenant_id and q.id = g.id",
            "    returning q.id, q.payload",
            ") insert into queue.dead (tenant_id, id, shard, kind, priority, key, attempt, payload, error_kind, error, signature)",
            "  select g.tenant_id, g.id, g.shard, g.kind, g.priority, g.key, g.k_attempt, coalesce(g.payload, q.payload), g.k_kind,",
            "         g.k_error, left(regexp_replace(g.k_error, '([[:alpha:]]+_)?[0-9a-f-]*[0-9][0-9a-f.-]*|''[^'']*''|\"[^\"]*\"', '…', 'g'), 300)",
            "  from gone g left join keyed q on q.id = g.id returning id"
        );
        settled.extend(dead.run(tx, statement).await?);
    }
    let (tenants, ids): (Vec<Uuid>, Vec<Uuid>) = settlements
        .iter()
        .filter(|task| task.is_keyed && matches!(task.outcome, Outcome::Done))
        .filter(|task| settled.contains(&task.place.id))
        .map(|task| (task.tenant, task.place.id))
        .unzip();
    if !ids.is_empty() {
        sqlx::query(
            "delete from queue.keyed q using unnest($1::uuid[], $2::uuid[]) as k (tenant_id, id)
             where q.tenant_id = k.tenant_id and q.id = k.id",
        )
        .bind(tenants)
        .bind(ids)
        .execute(tx.connection())
        .await?;
    }
    if !receipts.is_empty() {
        sqlx::query("delete from queue.receipts where id = any($1)")
            .bind(receipts)
            .execute(tx.connection())
            .await?;
    }
    Ok(settled)
}

#[derive(Default)]
struct Places {
    shards: Vec<i16>,
    tokens: Vec<i64>,
    ids: Vec<Uuid>,
}

impl Places {
    fn push(&mut self, place: RowPlace) {
        self.shards.push(place.shard);
        self.tokens.push(place.token);
        self.ids.push(place.id);
    }
}

#[derive(Default)]
struct Failed {
    places: Places,
    attempts: Vec<i16>,
    kinds: Vec<&'static str>,
    errors: Vec<String>,
    after: Vec<f64>,
}

impl Failed {
    fn push(&mut self, place: RowPlace, failure: &Failure, attempt: i16, after: Duration) {
        self.places.push(place);
        self.attempts.push(attempt);
        self.kinds.push(failure.kind.as_str());
        // PostgreSQL's text holds no NUL.
        self.errors.push(failure.message.replace('\0', ""));
        self.after.push(after.as_secs_f64());
    }

    async fn run(self, tx: &mut SystemTx, statement: &'static str) -> Result<Vec<Uuid>, Error> {
        let settled = sqlx::query_scalar(statement)
            .bind(self.places.shards)
            .bind(self.places.tokens)
            .bind(self.places.ids)
            .bind(self.attempts)
            .bind(self.kinds)
            .bind(self.errors)
            .bind(self.after)
            .fetch_all(tx.connection())
            .await?;
        Ok(settled)
    }
}

/// The tasks of these places that are still there: a running one without its row was cancelled.
pub(crate) async fn at(tx: &mut SystemTx, places: &[RowPlace]) -> Result<Vec<Arrival>, Error> {
    let mut columns = Places::default();
    places.iter().for_each(|place| columns.push(*place));
    let statement = sqlx::AssertSqlSafe(format!(
        "select r.* from unnest($1::smallint[], $2::bigint[], $3::uuid[]) as k (own, token, task)
         cross join lateral (
             select {ARRIVAL} from queue.ready where shard = own and run_token = token and id = task limit 1
         ) r"
    ));
    let rows = sqlx::query_as(statement)
        .bind(columns.shards)
        .bind(columns.tokens)
        .bind(columns.ids)
        .fetch_all(tx.connection())
        .await?;
    Ok(rows)
}

/// Makes deferred tasks ready whose time has come, at most `limit`. `since` is where the last look ended:
/// entries of the index before it belong to rows that are gone, and may be many while somebody holds an
/// old snapshot.
pub(crate) async fn promote(
    tx: &mut SystemTx,
    since: Option<DateTime<Utc>>,
    limit: i64,
) -> Result<(u64, Option<DateTime<Utc>>), Error> {
    let statement = concat!(
        "with due as (",
        "    select tenant_id, id from queue.deferred where run_at <= now() and ($2::timestamptz is null or run_at >= $2)",
        "    order by run_at limit $1 for update skip locked",
        "), gone as (",
        "    delete from queue.deferred d using due where d.tenant_id = due.tenant_id and d.id = due.id returning d.*",
        "), moved as (",
        "    insert into queue.ready (",
        moved!(),
        ", payload, attempt, error_kind, error, run_token)",
        "    select ",
        moved!(),
        ", payload, attempt, error_kind, error,",
        "           (select pg_current_xact_id()::text::bigint << 16) | (row_number() over () & 65535) from gone",
        ") select count(*), max(run_at) from gone"
    );
    let (count, last): (i64, Option<DateTime<Utc>>) = sqlx::query_as(statement)
        .bind(limit)
        .bind(since)
        .fetch_one(tx.connection())
        .await?;
    Ok((u64::try_from(count).unwrap_or(0), last))
}

/// Gives interrupted tasks a new place and counts the attempt that nobody ended: what their last worker
/// may still say about the old place is void.
pub(crate) async fn recount(tx: &mut SystemTx, places: &[RowPlace]) -> Result<(), Error> {
    let mut columns = Places::default();
    places.iter().for_each(|place| columns.push(*place));
    let statement = concat!(
        "with gone as (",
        "    delete from queue.ready r using unnest($1::smallint[], $2::bigint[], $3::uuid[]) as k (shard, token, id)",
        "    where r.shard = k.shard and r.run_token = k.token and r.id = k.id returning r.*",
        ") insert into queue.ready (",
        moved!(),
        ", payload, attempt, error_kind, error)",
        "  select ",
        moved!(),
        ", payload, attempt + 1, error_kind, error from gone"
    );
    sqlx::query(statement)
        .bind(columns.shards)
        .bind(columns.tokens)
        .bind(columns.ids)
        .execute(tx.connection())
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_read() {
        let cursor = |text: &str| Cursor::parse(text, 1).map(|cursor| (cursor.next, cursor.open));
        assert_eq!(cursor("790:790:").ok(), Some((790, vec![])));
        assert_eq!(cursor("790:795:790,793").ok(), Some((795, vec![790, 793])));
        assert!(cursor("790").is_err());
        assert!(cursor("790:x:").is_err());
    }

    #[test]
    fn after_a_restart_everything_is_new() {
        let [before, later, behind] = ["790:795:790", "790:796:", "790:791:"]
            .map(|text| Cursor::parse(text, 1).unwrap_or(Cursor::START));
        assert!(before.holds_at(&later));
        assert!(!before.holds_at(&behind), "it counts anew");
        let restarted = Cursor { server: 2, ..later };
        assert!(!before.holds_at(&restarted));
        assert_eq!(before.earlier(&restarted), Cursor::START);
        assert!(!Cursor::START.holds_at(&before));
    }
}
