//! Accounts elsewhere in the directory: which connections were let into one. A provider that sends messages for
//! all tenants to one address names nothing but the account.

use uuid::Uuid;

use quire_types::{ConnectionId, TenantId};

use crate::{Error, SystemTx};

/// Notes which account a connection was let into.
pub async fn note(
    tx: &mut SystemTx,
    tenant: TenantId,
    connection: ConnectionId,
    kind: &str,
    account: &str,
) -> Result<(), Error> {
    sqlx::query(
        "insert into directory.accounts (tenant_id, connection_id, kind, account) values ($1, $2, $3, $4)
         on conflict (tenant_id, connection_id) do update set kind = excluded.kind, account = excluded.account",
    )
    .bind(tenant.uuid())
    .bind(connection.uuid())
    .bind(kind)
    .bind(account)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Forgets the account of a connection.
pub async fn forget(
    tx: &mut SystemTx,
    tenant: TenantId,
    connection: ConnectionId,
) -> Result<(), Error> {
    sqlx::query("delete from directory.accounts where tenant_id = $1 and connection_id = $2")
        .bind(tenant.uuid())
        .bind(connection.uuid())
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// The connections that were let into an account.
pub async fn connections(
    tx: &mut SystemTx,
    kind: &str,
    account: &str,
) -> Result<Vec<(TenantId, ConnectionId)>, Error> {
    let rows: Vec<(Uuid, Uuid)> = sqlx::query_as(
        "select tenant_id, connection_id from directory.accounts where kind = $1 and account = $2
         order by tenant_id, connection_id",
    )
    .bind(kind)
    .bind(account)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows
        .into_iter()
        .map(|(tenant, connection)| (tenant.into(), connection.into()))
        .collect())
}
