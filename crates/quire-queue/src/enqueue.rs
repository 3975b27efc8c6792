//! Adding tasks, in the transaction of whoever wants them done.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::AssertSqlSafe;
use uuid::Uuid;

use quire_store::TenantTx;
use quire_types::{TaskId, TenantId};

use crate::{Error, Priority, Task, ids};

/// How one task is to be worked on, where it differs from what its kind says.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Not before this much time has passed.
    pub delay: Duration,
    /// Instead of the priority of the kind.
    pub priority: Option<Priority>,
    /// Tasks of the tenant with the same key run one after another (or as many at once as the kind says).
    pub key: Option<String>,
    /// Of tasks of the tenant with the same key only one waits at a time.
    pub unique: Option<Unique>,
    /// Void after this much time: not started any more, and dead.
    pub deadline: Option<Duration>,
    /// What it is expected to take, when it is not like others of its kind.
    pub cost: Option<Duration>,
}

impl Wishes {
    /// Not before `delay` has passed, and not at all while another task of the tenant waits with this key: that one
    /// stays as it is.
    pub fn once(key: impl Into<String>, delay: Duration) -> Self {
        Self {
            delay,
            unique: Some(Unique {
                key: key.into(),
                existing: Existing::Keep,
            }),
            ..Self::default()
        }
    }
}

/// A key that one waiting task may hold. It is free again as soon as the task is handed to a worker, so
/// a change that comes while the task runs is not lost.
#[derive(Clone, Debug)]
pub struct Unique {
    /// The key, up to 200 characters.
    pub key: String,
    /// What happens to the one that waits.
    pub existing: Existing,
}

/// What happens to a waiting task when another one with its key is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays as it is.
    Keep,
    /// It gets the new payload and keeps its place.
    ReplacePayload,
}

/// Adds a task of the transaction's tenant. It exists when the transaction commits; ring the bell
/// afterwards, or it is found at the next poll.
pub async fn enqueue<T: Task>(tx: &mut TenantTx, task: &T) -> Result<TaskId, Error> {
    enqueue_with(tx, task, Wishes::default()).await
}

/// Adds a task with wishes. The id is that of the waiting task when a unique key is held already.
pub async fn enqueue_with<T: Task>(
    tx: &mut TenantTx,
    task: &T,
    wishes: Wishes,
) -> Result<TaskId, Error> {
    let ids = enqueue_all(tx, [(task, wishes)]).await?;
    // One in, one out.
    ids.into_iter()
        .next()
        .ok_or_else(|| Error::Invalid("nothing was added".to_owned()))
}

/// Adds many tasks in one statement. The ids are in the order of the tasks.
pub async fn enqueue_all<'a, T: Task>(
    tx: &mut TenantTx,
    tasks: impl IntoIterator<Item = (&'a T, Wishes)>,
) -> Result<Vec<TaskId>, Error> {
    let rows: Result<Vec<_>, Error> = tasks
        .into_iter()
        .map(|(task, wishes)| {
            let wishes = Wishes {
                key: wishes.key.or_else(|| task.key()),
                priority: wishes.priority.or(Some(T::PRIORITY)),
                ..wishes
            };
            Ok((serde_json::to_string(task)?, wishes))
        })
        .collect();
    enqueue_kind(tx, T::KIND, rows?).await
}

/// Adds tasks of a kind whose work is another crate's; the payloads are JSON.
pub(crate) async fn enqueue_kind(
    tx: &mut TenantTx,
    kind: &str,
    tasks: impl IntoIterator<Item = (String, Wishes)>,
) -> Result<Vec<TaskId>, Error> {
    let mut tasks = tasks.into_iter().peekable();
    if tasks.peek().is_none() {
        return Ok(Vec::new());
    }
    let transaction: i64 = sqlx::query_scalar("select pg_current_xact_id()::text::bigint")
        .fetch_one(tx.connection())
        .await?;
    let mut now = Rows::default();
    let mut later = Rows::default();
    let mut keyed = Keyed::default();
    let mut added = Vec::new();
    let mut held: HashMap<String, usize> = HashMap::new();
    for (payload, wishes) in tasks {
        let key = wishes.key;
        check_key("concurrency key", key.as_deref())?;
        let id = ids::next(transaction);
        let delay = wishes.delay.min(LONGEST).as_secs_f64();
        let is_unique = wishes.unique.is_some();
        if let Some(unique) = wishes.unique {
            check_key("unique key", Some(&unique.key))?;
            let replace = unique.existing == Existing::ReplacePayload;
            // One statement can't touch a key twice, so twins in one call meet here.
            if let Some(&twin) = held.get(&unique.key) {
                if replace {
                    keyed.payloads[twin] = payload;
                    keyed.replace[twin] = true;
                }
                added.push(TaskId::from(keyed.ids[twin]));
                continue;
            }
            held.insert(unique.key.clone(), keyed.ids.len());
            keyed.ids.push(id);
            keyed.keys.push(unique.key);
            keyed.payloads.push(payload.clone());
            keyed.replace.push(replace);
            keyed.delays.push(delay);
        }
        let rows = if wishes.delay.is_zero() {
            &mut now
        } else {
            &mut later
        };
        rows.ids.push(id);
        rows.payloads.push((!is_unique).then_some(payload));
        rows.priorities
            .push(wishes.priority.unwrap_or(Priority::Normal) as i16);
        rows.keys.push(key);
        rows.costs.push(wishes.cost.map(millis));
        rows.deadlines.push(
            wishes
                .deadline
                .map(|deadline| deadline.min(LONGEST).as_secs_f64()),
        );
        rows.delays.push(delay);
        added.push(TaskId::from(id));
    }
    if !keyed.ids.is_empty() {
        let taken = keyed.insert(tx).await?;
        now.drop_taken(&taken);
        later.drop_taken(&taken);
        for id in &mut added {
            if let Some(existing) = taken.get(&id.uuid()) {
                *id = TaskId::from(*existing);
            }
        }
    }
    now.insert(tx, kind, READY).await?;
    later.insert(tx, kind, DEFERRED).await?;
    Ok(added)
}

fn check_key(what: &str, key: Option<&str>) -> Result<(), Error> {
    match key {
        Some(key) if key.is_empty() || key.chars().count() > 200 || key.contains('\0') => {
            Err(Error::Invalid(format!("a {what} has 1 to 200 characters")))
        }
        _ => Ok(()),
    }
}

pub(crate) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// The shard that a tenant's tasks belong to, unless it has one of its own. `migrations/0002_owners.sql`
/// computes the same.
pub(crate) fn shard_of(tenant: TenantId) -> i16 {
    let last = tenant.uuid().as_bytes()[15];
    i16::from(last % SHARDS)
}

/// No delay and no deadline is longer: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Shards that tenants share; more than the 50 workers that quire is made for.
pub(crate) const SHARDS: u8 = 64;

const READY: &str = "insert into queue.ready
        (tenant_id, id, run_token, is_moved, shard, kind, payload, priority, key, cost_ms, deadline)
    select $1, t.id, t.token, false,
           coalesce((select shard from queue.tenants where tenant_id = $1), $2), $3,
           t.payload::json, t.priority, t.key, t.cost_ms, now() + make_interval(secs => t.deadline)
    from unnest($4::uuid[], $5::text[], $6::smallint[], $7::text[], $8::integer[], $9::float8[], $10::float8[],
                $11::bigint[])
         as t (id, payload, priority, key, cost_ms, deadline, delay, token)";

const DEFERRED: &str = "insert into queue.deferred
        (tenant_id, id, shard, kind, payload, priority, key, cost_ms, deadline, run_at)
    select $1, t.id, coalesce((select shard from queue.tenants where tenant_id = $1), $2), $3,
           t.payload::json, t.priority, t.key, t.cost_ms, now() + make_interval(secs => t.deadline),
           now() + make_interval(secs => t.delay)
    from unnest($4::uuid[], $5::text[], $6::smallint[], $7::text[], $8::integer[], $9::float8[], $10::float8[],
                $11::bigint[])
         as t (id, payload, priority, key, cost_ms, deadline, delay, token)";

/// Columns of new rows.
#[derive(Default)]
struct Rows {
    ids: Vec<Uuid>,
    payloads: Vec<Option<String>>,
    priorities: Vec<i16>,
    keys: Vec<Option<String>>,
    costs: Vec<Option<i32>>,
    deadlines: Vec<Option<f64>>,
    delays: Vec<f64>,
}

impl Rows {
    async fn insert(
        self,
        tx: &mut TenantTx,
        kind: &str,
        statement: &'static str,
    ) -> Result<(), Error> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let tokens: Vec<i64> = self.ids.iter().map(|id| ids::token(*id)).collect();
        sqlx::query(statement)
            .bind(tx.tenant_id())
            .bind(shard_of(tx.placement().tenant))
            .bind(kind)
            .bind(self.ids)
            .bind(self.payloads)
            .bind(self.priorities)
            .bind(self.keys)
            .bind(self.costs)
            .bind(self.deadlines)
            .bind(self.delays)
            .bind(tokens)
            .execute(tx.connection())
            .await?;
        Ok(())
    }

    /// Leaves out tasks whose unique key another one holds.
    fn drop_taken(&mut self, taken: &HashMap<Uuid, Uuid>) {
        let stays: Vec<bool> = self.ids.iter().map(|id| !taken.contains_key(id)).collect();
        keep(&mut self.ids, &stays);
        keep(&mut self.payloads, &stays);
        keep(&mut self.priorities, &stays);
        keep(&mut self.keys, &stays);
        keep(&mut self.costs, &stays);
        keep(&mut self.deadlines, &stays);
        keep(&mut self.delays, &stays);
    }
}

fn keep<T>(column: &mut Vec<T>, stays: &[bool]) {
    let mut stays = stays.iter();
    column.retain(|_| stays.next().copied().unwrap_or(true));
}

/// Columns of new unique keys.
#[derive(Default)]
struct Keyed {
    ids: Vec<Uuid>,
    keys: Vec<String>,
    payloads: Vec<String>,
    replace: Vec<bool>,
    delays: Vec<f64>,
}

impl Keyed {
    /// Claims the keys. Returns, for each new task whose key is held, the task that holds it.
    async fn insert(self, tx: &mut TenantTx) -> Result<HashMap<Uuid, Uuid>, Error> {
        let mut order: Vec<usize> = (0..self.ids.len()).collect();
        // In the order of the keys, so that two producers wait for each other instead of dying together.
        order.sort_by(|a, b| self.keys[*a].cmp(&self.keys[*b]));
        let mut holder = HashMap::new();
        if !self.replace.contains(&true) {
            // Whoever had to wait for another's new key finds it by the second statement and shares it.
            holder.extend(self.claim(tx, &order, "nothing").await?);
            order.retain(|row| !holder.contains_key(&self.keys[*row]));
        }
        if !order.is_empty() {
            let claimed = self.claim(
                tx,
                &order,
                "update set payload = case when excluded.unique_key in (select unique_key from new where replaces)
                                           then excluded.payload else keyed.payload end",
            );
            holder.extend(claimed.await?);
        }
        Ok(self
            .ids
            .iter()
            .zip(&self.keys)
            .filter_map(|(id, key)| {
                let holder = *holder.get(key)?;
                (holder != *id).then_some((*id, holder))
            })
            .collect())
    }

    /// The task that holds each key now, of those that are known.
    ///
    /// Producers that leave the waiting task as it is share its key while it isn't due, so none of them waits for another's
    /// commit. Once it is due they take turns with the worker, which passes over a key that is held.
    async fn claim(
        &self,
        tx: &mut TenantTx,
        order: &[usize],
        on_conflict: &'static str,
    ) -> Result<HashMap<String, Uuid>, Error> {
        let held: Vec<(String, Uuid)> = sqlx::query_as(AssertSqlSafe(format!(
            "with new as materialized (
                 select * from unnest($2::uuid[], $3::text[], $4::text[], $5::bool[], $6::float8[])
                     as n (id, unique_key, payload, replaces, delay)
             ), shared as materialized (
                 select k.unique_key, k.id from queue.keyed k
                 join new n on n.unique_key = k.unique_key and not n.replaces
                 where k.tenant_id = $1 and k.is_waiting and k.due_at > clock_timestamp()
                 for key share of k
             ), claimed as (
                 insert into queue.keyed (tenant_id, id, unique_key, payload, due_at)
                 select $1, n.id, n.unique_key, n.payload::json, now() + make_interval(secs => n.delay)
                 from new n where n.unique_key not in (select unique_key from shared)
                 on conflict (tenant_id, unique_key) where is_waiting do {on_conflict}
                 returning unique_key, id
             )
             select * from shared union all select * from claimed"
        )))
        .bind(tx.tenant_id())
        .bind(order.iter().map(|row| self.ids[*row]).collect::<Vec<_>>())
        .bind(
            order
                .iter()
                .map(|row| self.keys[*row].clone())
                .collect::<Vec<_>>(),
        )
        .bind(
            order
                .iter()
                .map(|row| self.payloads[*row].clone())
                .collect::<Vec<_>>(),
        )
        .bind(
            order
                .iter()
                .map(|row| self.replace[*row])
                .collect::<Vec<_>>(),
        )
        .bind(
            order
                .iter()
                .map(|row| self.delays[*row])
                .collect::<Vec<_>>(),
        )
        .fetch_all(tx.connection())
        .await?;
        Ok(held.into_iter().collect())
    }
}
