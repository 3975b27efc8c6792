//! Sums of usage by day and by month, always computed anew from the events, so that a late or repeated event
//! can't make them wrong. Which days have to be summed is written with the events themselves. Beside it:
//! whether a tenant spends far more in this hour than it uses to.

use std::collections::BTreeMap;

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use quire_store::{Store, SystemTx};
use quire_types::{NanoUsd, TenantId};

use crate::Error;
use crate::budgets::Period;
use crate::notices::{self, Notice};
use crate::usage::Quantities;

/// Tenant days that are summed at once.
const BATCH: i64 = 500;
/// A tenant that costs less than this in an hour is no reason to look.
const QUIET_HOUR: NanoUsd = NanoUsd::from_nanos(100_000_000);
/// Percent of the expected hour at which somebody should look, from the worst down.
const SPIKES: [i64; 2] = [200, 150];
/// Days that the expected hour is taken from.
const USUAL_DAYS: u64 = 7;

/// A sum that is there is replaced by the new one.
macro_rules! replace {
    () => {
        "on conflict (tenant_id, period, starts_on) do update
         set questions = excluded.questions, searches = excluded.searches, sources = excluded.sources,
             input_tokens = excluded.input_tokens, cached_tokens = excluded.cached_tokens,
             output_tokens = excluded.output_tokens, reasoning_tokens = excluded.reasoning_tokens,
             pages = excluded.pages, images = excluded.images, audio_ms = excluded.audio_ms,
             characters = excluded.characters, stored_bytes = excluded.stored_bytes, cost = excluded.cost,
             models = excluded.models"
    };
}

/// What one model did.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ModelSum {
    /// Attempts.
    pub calls: i64,
    /// What they cost, in nano-dollars.
    pub cost: i64,
}

/// What a tenant used in a day or month.
#[derive(Clone, Debug, FromRow)]
pub struct Sum {
    /// The tenant.
    pub tenant_id: Uuid,
    /// `day` or `month`.
    pub period: String,
    /// The first day of it.
    pub starts_on: NaiveDate,
    /// Questions that were answered.
    pub questions: i64,
    /// Searches without an answer.
    pub searches: i64,
    /// Sources that were read.
    pub sources: i64,
    /// How much of each thing.
    #[sqlx(flatten)]
    pub quantities: Quantities,
    /// What it cost, in nano-dollars.
    pub cost: i64,
    /// The models that were used.
    pub models: Json<BTreeMap<String, ModelSum>>,
}

/// Sums what is not summed: of one tenant, or of all. Returns how many tenant days that were.
pub async fn sum(store: &Store, tenant: Option<TenantId>) -> Result<u64, Error> {
    let mut summed = 0;
    loop {
        let mut tx = store.system().await?;
        let is_any: bool = sqlx::query_scalar(
            "select exists (select from control.unsummed where $1::uuid is null or tenant_id = $1)",
        )
        .bind(tenant.map(TenantId::uuid))
        .fetch_one(tx.connection())
        .await?;
        if !is_any {
            return Ok(summed);
        }
        // Two at once could each miss a day of the other's in the month of the same tenant. Whoever asks for
        // one tenant does not wait for the sums of all: what is there is of a minute ago.
        if !crate::alone(&mut tx, "control.usage", tenant.is_none()).await? {
            return Ok(summed);
        }
        // Whoever writes an event of such a day waits here, and then marks the day anew.
        let days: Vec<(Uuid, NaiveDate)> = sqlx::query_as(
            "delete from control.unsummed u
             using (select tenant_id, day from control.unsummed
                    where $1::uuid is null or tenant_id = $1
                    order by tenant_id, day limit $2 for update) oldest
             where u.tenant_id = oldest.tenant_id and u.day = oldest.day
             returning u.tenant_id, u.day",
        )
        .bind(tenant.map(TenantId::uuid))
        .bind(BATCH)
        .fetch_all(tx.connection())
        .await?;
        if days.is_empty() {
            return Ok(summed);
        }
        sum_days(&mut tx, &days).await?;
        sum_months(&mut tx, &days).await?;
        look_for_spikes(&mut tx, &days).await?;
        tx.commit().await?;
        summed += days.len() as u64;
    }
}

async fn sum_days(tx: &mut SystemTx, days: &[(Uuid, NaiveDate)]) -> Result<(), Error> {
    let (tenants, starts): (Vec<Uuid>, Vec<NaiveDate>) = days.iter().copied().unzip();
    sqlx::query(concat!(
        "with days as (
             select * from unnest($1::uuid[], $2::date[]) as d (tenant_id, day)
         ), models as (
             select tenant_id, day, jsonb_object_agg(model, jsonb_build_object('calls', calls, 'cost', cost)) as models
             from (select e.tenant_id, e.day, e.model, count(*) as calls, sum(e.cost)::bigint as cost
                   from control.usage_events e join days using (tenant_id, day)
                   where e.model is not null group by 1, 2, 3) m
             group by 1, 2
         ), sums as (
             select e.tenant_id, e.day,
                    count(*) filter (where kind = 'question') as questions,
                    count(*) filter (where kind = 'search') as searches,
                    count(*) filter (where kind = 'source') as sources,
                    sum(input_tokens)::bigint as input_tokens, sum(cached_tokens)::bigint as cached_tokens,
                    sum(output_tokens)::bigint as output_tokens, sum(reasoning_tokens)::bigint as reasoning_tokens,
                    sum((kind <> 'read')::int * pages)::bigint as pages,
                    sum((kind <> 'describe')::int * images)::bigint as images,
                    sum((kind <> 'transcribe')::int * audio_ms)::bigint as audio_ms,
                    sum(characters)::bigint as characters, sum(stored_bytes)::bigint as stored_bytes,
                    sum(cost)::bigint as cost
             from control.usage_events e join days using (tenant_id, day) group by 1, 2
         )
         insert into control.usage
         select tenant_id, 'day', day, questions, searches, sources, input_tokens, cached_tokens, output_tokens,
                reasoning_tokens, pages, images, audio_ms, characters, stored_bytes, cost, coalesce(models, '{}')
         from sums left join models using (tenant_id, day)
         order by tenant_id, day
",
        replace!()
    ))
    .bind(tenants)
    .bind(starts)
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn sum_months(tx: &mut SystemTx, days: &[(Uuid, NaiveDate)]) -> Result<(), Error> {
    let months: std::collections::BTreeSet<(Uuid, NaiveDate)> = days
        .iter()
        .map(|(tenant, day)| (*tenant, Period::Month.start(*day)))
        .collect();
    let (tenants, starts): (Vec<Uuid>, Vec<NaiveDate>) = months.into_iter().unzip();
    sqlx::query(concat!(
        "with months as (
             select * from unnest($1::uuid[], $2::date[]) as m (tenant_id, month)
         ), days as (
             select u.*, months.month from control.usage u
             join months on months.tenant_id = u.tenant_id and u.period = 'day'
                        and u.starts_on >= months.month and u.starts_on < months.month + interval '1 month'
         ), models as (
             select tenant_id, month, jsonb_object_agg(model, jsonb_build_object('calls', calls, 'cost', cost)) as models
             from (select tenant_id, month, key as model, sum((value ->> 'calls')::bigint)::bigint as calls,
                          sum((value ->> 'cost')::bigint)::bigint as cost
                   from days cross join jsonb_each(days.models) group by 1, 2, 3) m
             group by 1, 2
         ), sums as (
             select tenant_id, month, sum(questions)::bigint as questions, sum(searches)::bigint as searches,
                    sum(sources)::bigint as sources, sum(input_tokens)::bigint as input_tokens,
                    sum(cached_tokens)::bigint as cached_tokens, sum(output_tokens)::bigint as output_tokens,
                    sum(reasoning_tokens)::bigint as reasoning_tokens, sum(pages)::bigint as pages,
                    sum(images)::bigint as images, sum(audio_ms)::bigint as audio_ms,
                    sum(characters)::bigint as characters, sum(stored_bytes)::bigint as stored_bytes,
                    sum(cost)::bigint as cost
             from days group by 1, 2
         )
         insert into control.usage
         select tenant_id, 'month', month, questions, searches, sources, input_tokens, cached_tokens,
                output_tokens, reasoning_tokens, pages, images, audio_ms, characters, stored_bytes, cost,
                coalesce(models, '{}')
         from sums left join models using (tenant_id, month)
         order by tenant_id, month
",
        replace!()
    ))
    .bind(tenants)
    .bind(starts)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Compares the running hour of these tenants with the mean hour of their last days.
async fn look_for_spikes(tx: &mut SystemTx, days: &[(Uuid, NaiveDate)]) -> Result<(), Error> {
    let now = chrono::Utc::now();
    let today = now.date_naive();
    let tenants: Vec<Uuid> = days
        .iter()
        .filter(|(_, day)| *day == today)
        .map(|(tenant, _)| *tenant)
        .collect();
    let hour = notices::hour(now);
    let Some(oldest) = today.checked_sub_days(Days::new(USUAL_DAYS)) else {
        return Ok(());
    };
    let costs: Vec<(Uuid, i64, i64)> = sqlx::query_as(
        "select t.tenant_id,
                coalesce((select sum(cost) from control.usage_events e
                          where e.tenant_id = t.tenant_id and e.day = $2 and e.at >= $3), 0)::bigint,
                coalesce((select sum(cost) / (count(*) * 24) from control.usage u
                          where u.tenant_id = t.tenant_id and u.period = 'day'
                            and u.starts_on >= $4 and u.starts_on < $2), 0)::bigint
         from unnest($1::uuid[]) as t (tenant_id)",
    )
    .bind(tenants)
    .bind(today)
    .bind(hour)
    .bind(oldest)
    .fetch_all(tx.connection())
    .await?;
    for (tenant, cost, usual) in costs {
        if let Some(level) = spike(cost, usual) {
            let notice = Notice {
                tenant: tenant.into(),
                kind: notices::COST_SPIKE,
                hour,
                level,
                detail: json!({ "cost_nanousd": cost, "usual_nanousd": usual }),
            };
            notices::note(tx, &notice).await?;
        }
    }
    Ok(())
}

/// By how much an hour stands out, in percent: one of [`SPIKES`]. A tenant without a past is measured by what
/// counts as a quiet hour.
fn spike(cost: i64, usual: i64) -> Option<i32> {
    let usual = usual.max(QUIET_HOUR.nanos() / 2);
    SPIKES
        .into_iter()
        .find(|percent| {
            cost > QUIET_HOUR.nanos()
                && i128::from(cost) * 100 >= i128::from(usual) * i128::from(*percent)
        })
        .and_then(|percent| i32::try_from(percent).ok())
}

/// What a tenant used, newest first.
pub async fn of_tenant(
    tx: &mut SystemTx,
    tenant: TenantId,
    period: Period,
    (from, until): (NaiveDate, NaiveDate),
) -> Result<Vec<Sum>, Error> {
    Ok(sqlx::query_as(
        "select * from control.usage
         where tenant_id = $1 and period = $2 and starts_on >= $3 and starts_on < $4
         order by starts_on desc",
    )
    .bind(tenant.uuid())
    .bind(period.as_str())
    .bind(from)
    .bind(until)
    .fetch_all(tx.connection())
    .await?)
}

/// The tenants that cost most in a period.
pub async fn top(
    tx: &mut SystemTx,
    period: Period,
    day: NaiveDate,
    limit: i64,
) -> Result<Vec<Sum>, Error> {
    Ok(sqlx::query_as(
        "select * from control.usage where period = $1 and starts_on = $2
         order by cost desc, questions desc limit $3",
    )
    .bind(period.as_str())
    .bind(period.start(day))
    .bind(limit)
    .fetch_all(tx.connection())
    .await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_stands_out_against_the_usual_one() {
        let dollars = |dollars: f64| (dollars * 1e9) as i64;
        assert_eq!(spike(dollars(1.0), dollars(1.0)), None);
        assert_eq!(spike(dollars(1.49), dollars(1.0)), None);
        assert_eq!(spike(dollars(1.5), dollars(1.0)), Some(150));
        assert_eq!(spike(dollars(2.0), dollars(1.0)), Some(200));
        assert_eq!(spike(dollars(0.09), 0), None, "too little to look at");
        assert_eq!(spike(dollars(5.0), 0), Some(200), "without a past");
    }
}
