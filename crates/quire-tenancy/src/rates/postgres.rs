//! Rates in PostgreSQL, by its clock.

use sqlx::PgConnection;

use quire_store::Store;
use quire_types::TenantId;

use super::{Answer, Order, column};
use crate::Error;

/// Takes units of all rates, or of none.
pub(super) async fn take(
    store: &Store,
    tenant: TenantId,
    orders: &[Order],
) -> Result<Vec<Answer>, Error> {
    let answers = ask(&mut *store.statement().await?, tenant, orders).await?;
    if answers.len() == orders.len() {
        return Ok(answers);
    }
    create(&mut *store.statement().await?, tenant, orders).await?;
    ask(&mut *store.statement().await?, tenant, orders).await
}

async fn ask(
    connection: &mut PgConnection,
    tenant: TenantId,
    orders: &[Order],
) -> Result<Vec<Answer>, Error> {
    let names: Vec<&str> = orders.iter().map(|order| order.name.as_str()).collect();
    // Rows are locked in the order of their names, so that two requests can't wait for each other. Rates
    // may be lost with the machine, so nobody waits for the disk.
    let answers = sqlx::query_as(
        "with clock as materialized (
             select (extract(epoch from clock_timestamp()) * 1000000)::bigint as now,
                    set_config('synchronous_commit', 'off', true)
         ), wanted as (
             select * from unnest($2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[])
                 as w (name, step, tolerance, back, need, want)
         ), locked as (
             select r.name, greatest(r.arrival - w.back * w.step, clock.now) as arrival,
                    w.step, w.tolerance, w.need, w.want, clock.now
             from control.rates r join wanted w on w.name = r.name cross join clock
             where r.tenant_id = $1
             order by r.name
             for update of r
         ), room as (
             select *, greatest((tolerance + now - arrival) / step, 0) as room from locked
         ), verdict as (
             select count(*) = cardinality($2) and bool_and(room >= need) as passes from room
         ), taken as (
             update control.rates r set arrival = room.arrival + least(room.want, room.room) * room.step
             from room
             where r.tenant_id = $1 and r.name = room.name and (select passes from verdict)
         )
         select name, least(want, room) as given, room - least(want, room) as room,
                case when room >= need then 0 else arrival + need * step - tolerance - now end as wait_us
         from room",
    )
    .bind(tenant.uuid())
    .bind(names)
    .bind(column(orders, |order| order.step_us))
    .bind(column(orders, |order| order.tolerance_us))
    .bind(column(orders, |order| order.back))
    .bind(column(orders, |order| order.need))
    .bind(column(orders, |order| order.want))
    .fetch_all(connection)
    .await?;
    Ok(answers)
}

async fn create(
    connection: &mut PgConnection,
    tenant: TenantId,
    orders: &[Order],
) -> Result<(), Error> {
    let mut names: Vec<&str> = orders.iter().map(|order| order.name.as_str()).collect();
    names.sort_unstable();
    sqlx::query(
        "insert into control.rates (tenant_id, name, arrival) select $1, unnest($2::text[]), 0
         on conflict do nothing",
    )
    .bind(tenant.uuid())
    .bind(names)
    .execute(connection)
    .await?;
    Ok(())
}
