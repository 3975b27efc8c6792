//! What an event does to what is kept of its record.

use std::collections::{BTreeMap, HashMap, HashSet};

use sqlx::types::Json;
use uuid::Uuid;

use quire_types::SourceId;

use super::{EntityKey, Event, Heard, RecordKey, number};
use crate::corpus::{self, Change};
use crate::{Error, TenantTx};

/// Takes events in. Says what became of each, in their order.
pub async fn hear(tx: &mut TenantTx, events: &[Event]) -> Result<Vec<Heard>, Error> {
    // One statement meets a row once, so of several events of a record the last in order goes; rows are in
    // the order of their keys, so that two callers can't wait for each other.
    let mut last: BTreeMap<&RecordKey, &Event> = BTreeMap::new();
    for event in events {
        let kept = last.entry(&event.key).or_insert(event);
        if event.order() > kept.order() {
            *kept = event;
        }
    }
    name_entities(tx, last.values().copied()).await?;
    let applied = upsert(tx, &last).await?;
    if last.values().any(|event| event.groups.is_some()) {
        regroup(tx, &applied).await?;
    }
    let unchanged: Vec<&RecordKey> = last
        .keys()
        .filter(|key| !applied.contains(**key))
        .copied()
        .collect();
    let kept = orders(tx, &unchanged).await?;
    // The first of equal events counts as the one that was heard.
    let mut is_told: HashMap<&RecordKey, bool> = HashMap::new();
    Ok(events
        .iter()
        .map(|event| {
            let winner = last.get(&event.key).map(|winner| winner.order());
            let is_winner = winner == Some(event.order());
            match kept.get(&event.key) {
                None if is_winner => match is_told.insert(&event.key, true) {
                    None => Heard::Applied,
                    Some(_) => Heard::Duplicate,
                },
                None => Heard::Stale,
                Some((version, is_deleted, hash)) => {
                    if event.order() == (*version, *is_deleted, hash) {
                        Heard::Duplicate
                    } else {
                        Heard::Stale
                    }
                }
            }
        })
        .collect())
}

async fn name_entities<'a>(
    tx: &mut TenantTx,
    events: impl Iterator<Item = &'a Event>,
) -> Result<(), Error> {
    let mut named: BTreeMap<&EntityKey, (i64, Option<&str>)> = BTreeMap::new();
    for event in events {
        let Some(entity) = &event.entity else {
            continue;
        };
        let name = event.entity_name.as_deref();
        let new = (
            if name.is_some() {
                event.version
            } else {
                i64::MIN
            },
            name,
        );
        let kept = named.entry(entity).or_insert(new);
        *kept = (*kept).max(new);
    }
    sqlx::query(
        "insert into shard.entities as e (tenant_id, type, external_id, name_version, name)
         select $1, n.* from unnest($2::text[], $3::text[], $4::bigint[], $5::text[])
             as n (type, external_id, name_version, name)
         where not exists (
             select from shard.entities k
             where k.tenant_id = $1 and k.type = n.type and k.external_id = n.external_id
               and (k.name_version, coalesce(k.name, '')) >= (n.name_version, coalesce(n.name, '')))
         on conflict (tenant_id, type, external_id) do update
         set name = excluded.name, name_version = excluded.name_version
         where (excluded.name_version, excluded.name) > (e.name_version, coalesce(e.name, ''))",
    )
    .bind(tx.tenant_id())
    .bind(
        named
            .keys()
            .map(|key| key.kind.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(named.keys().map(|key| key.id.as_str()).collect::<Vec<_>>())
    .bind(
        named
            .values()
            .map(|(version, _)| *version)
            .collect::<Vec<_>>(),
    )
    .bind(named.values().map(|(_, name)| *name).collect::<Vec<_>>())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Writes what is newer than what is kept. Content that did not change needs no task.
async fn upsert(
    tx: &mut TenantTx,
    last: &BTreeMap<&RecordKey, &Event>,
) -> Result<HashSet<RecordKey>, Error> {
    let events: Vec<&Event> = last.values().copied().collect();
    let text = |of: fn(&Event) -> Option<&str>| -> Vec<Option<String>> {
        events
            .iter()
            .map(|event| of(event).map(str::to_owned))
            .collect()
    };
    let rows: Vec<(String, String)> = sqlx::query_as(
        "insert into shard.records as r
             (tenant_id, type, external_id, id, entity_type, entity_id, version, is_deleted, content_hash, fields,
              origin, lane, groups, state)
         select $1, n.type, n.external_id, n.id, n.entity_type, n.entity_id, n.version, n.is_deleted, n.hash,
                n.fields, n.origin, n.lane, string_to_array(n.groups, ','),
                case when n.is_deleted then 'deleted' else 'queued' end
         from unnest($2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::bigint[], $8::bool[],
                     $9::bytea[], $10::jsonb[], $11::text[], $12::smallint[], $13::text[])
              as n (type, external_id, id, entity_type, entity_id, version, is_deleted, hash, fields, origin, lane, groups)
         on conflict (tenant_id, type, external_id) do update
         set entity_type = excluded.entity_type, entity_id = excluded.entity_id,
             version = excluded.version, is_deleted = excluded.is_deleted,
             content_hash = excluded.content_hash, fields = excluded.fields, origin = excluded.origin,
             groups = excluded.groups,
             lane = case when r.state = 'queued' then least(r.lane, excluded.lane) else excluded.lane end,
             state = case
                 when excluded.is_deleted and r.source_id is null then 'deleted'
                 when excluded.content_hash = r.content_hash and r.state in ('searchable', 'deleted')
                     then r.state
                 else 'queued' end,
             reason = null, changed_at = now()
         where (excluded.version, excluded.is_deleted, excluded.content_hash)
             > (r.version, r.is_deleted, r.content_hash)
         returning r.type, r.external_id",
    )
    .bind(tx.tenant_id())
    .bind(events.iter().map(|event| event.key.kind.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.key.id.as_str()).collect::<Vec<_>>())
    .bind(events.iter().map(|_| Uuid::now_v7()).collect::<Vec<_>>())
    .bind(text(|event| event.entity.as_ref().map(|entity| entity.kind.as_str())))
    .bind(text(|event| event.entity.as_ref().map(|entity| entity.id.as_str())))
    .bind(events.iter().map(|event| event.version).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.is_deleted).collect::<Vec<_>>())
    .bind(events.iter().map(|event| event.content_hash.as_slice()).collect::<Vec<_>>())
    .bind(events.iter().map(|event| Json(&event.fields)).collect::<Vec<_>>())
    .bind(text(|event| event.origin.as_deref()))
    .bind(events.iter().map(|event| number(event.lane)).collect::<Vec<_>>())
    .bind(events.iter().map(|event| Some(event.groups.as_ref()?.names().join(","))).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(kind, id)| RecordKey { kind, id })
        .collect())
}

/// Whoever is not to see records any longer does not from now on. Who sees more does when a task has made the new text:
/// the old one was not meant for them.
async fn regroup(tx: &mut TenantTx, applied: &HashSet<RecordKey>) -> Result<(), Error> {
    let rows: Vec<(Uuid, Option<i32>)> = sqlx::query_as(
        "update shard.sources s
         set groups = case when s.groups is null then r.groups
                           else array(select name from unnest(s.groups) as name where name = any(r.groups)) end,
             updated_at = now()
         from unnest($2::text[], $3::text[]) as k (type, external_id)
         join shard.records r on r.tenant_id = $1 and r.type = k.type and r.external_id = k.external_id
         where s.tenant_id = $1 and s.id = r.source_id and not r.is_deleted
           and r.groups is not null and (s.groups is null or not s.groups <@ r.groups)
         returning s.id, s.live_version",
    )
    .bind(tx.tenant_id())
    .bind(applied.iter().map(|key| key.kind.as_str()).collect::<Vec<_>>())
    .bind(applied.iter().map(|key| key.id.as_str()).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    let live = rows.into_iter();
    let live: Vec<(SourceId, i32)> = live
        .filter_map(|(id, version)| Some((id.into(), version?)))
        .collect();
    corpus::record(tx, Change::Regrouped, &live).await
}

type Order = (i64, bool, Vec<u8>);

async fn orders(
    tx: &mut TenantTx,
    keys: &[&RecordKey],
) -> Result<HashMap<RecordKey, Order>, Error> {
    if keys.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<(String, String, i64, bool, Vec<u8>)> = sqlx::query_as(
        "select r.type, r.external_id, r.version, r.is_deleted, r.content_hash
         from shard.records r join unnest($2::text[], $3::text[]) as k (type, external_id) using (type, external_id)
         where r.tenant_id = $1",
    )
    .bind(tx.tenant_id())
    .bind(keys.iter().map(|key| key.kind.as_str()).collect::<Vec<_>>())
    .bind(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>())
    .fetch_all(tx.connection())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(kind, id, version, is_deleted, hash)| {
            (RecordKey { kind, id }, (version, is_deleted, hash))
        })
        .collect())
}
