//! API keys: made, shown once, stored as a hash, revoked.
//!
//! `qk_<id>_<30 characters><6 characters of checksum>`. The prefix lets secret scanners recognise a
//! leaked key; the checksum refuses a mistyped one before the database is asked; the id finds the
//! row; the secret has 178 bits of entropy, so a plain SHA-256 is enough to store.

use std::fmt;

use rand::RngExt;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use quire_types::{Groups, KeyId, KeyRole, NotebookId, TenantId, Timestamp};

use crate::sources::groups as groups_of;
use crate::{Error, SystemTx};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const SECRET_CHARS: usize = 30;
const CHECKSUM_CHARS: usize = 6;

/// A whole key, as it is shown once. Prints as its id only.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText(String);

impl KeyText {
    fn generate(id: KeyId) -> Self {
        let mut rng = rand::rng();
        let secret: String = (0..SECRET_CHARS)
            .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
            .collect();
        let body = format!("qk_{}_{secret}", id.uuid().simple());
        let checksum = checksum(&body);
        Self(body + &checksum)
    }

    /// Reads a presented key; none when it can't be one, whatever the database holds.
    pub fn parse(text: &str) -> Option<(KeyId, Self)> {
        let (id, secret) = text.strip_prefix("qk_")?.split_once('_')?;
        let id = Uuid::try_parse(id).ok().filter(|_| id.len() == 32)?;
        let well_formed = secret.len() == SECRET_CHARS + CHECKSUM_CHARS
            && secret.bytes().all(|byte| ALPHABET.contains(&byte));
        let (body, sum) = text.split_at_checked(text.len().checked_sub(CHECKSUM_CHARS)?)?;
        (well_formed && checksum(body) == sum)
            .then(|| (KeyId::from_uuid(id), Self(text.to_owned())))
    }

    /// The text itself, for the one time it is shown.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.0.as_bytes()).to_vec()
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

/// Six base-62 digits of the CRC-32 of `body`.
fn checksum(body: &str) -> String {
    let mut rest = crc32fast::hash(body.as_bytes()) as usize;
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = ALPHABET[rest % ALPHABET.len()];
        rest /= ALPHABET.len();
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// A tenant's key, without its secret.
#[derive(Clone, Debug)]
pub struct ApiKey {
    /// Its id, which is also part of its text.
    pub id: KeyId,
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// What it may do.
    pub role: KeyRole,
    /// The only notebook it reaches, if it is bound to one.
    pub notebook: Option<NotebookId>,
    /// The groups whose sources it sees beside those for everybody, if it is for some people.
    pub groups: Option<Groups>,
    /// What people call it.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stopped working.
    pub revoked_at: Option<Timestamp>,
}

impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for ApiKey {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row;
        let role: String = row.try_get("role")?;
        Ok(Self {
            id: row.try_get::<Uuid, _>("id")?.into(),
            tenant: row.try_get::<Uuid, _>("tenant_id")?.into(),
            role: role
                .parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            notebook: row
                .try_get::<Option<Uuid>, _>("notebook_id")?
                .map(Into::into),
            groups: groups_of(row)?,
            name: row.try_get("name")?,
            created_at: row.try_get("created_at")?,
            revoked_at: row.try_get("revoked_at")?,
        })
    }
}

/// Who presented a key.
#[derive(Clone, Debug)]
pub enum KeyOwner {
    /// The operator of the installation.
    Admin(KeyId),
    /// A tenant.
    Tenant(ApiKey),
}

/// Makes an operator's key.
pub async fn create_admin(tx: &mut SystemTx, name: &str) -> Result<(KeyId, KeyText), Error> {
    let id = KeyId::generate();
    let text = KeyText::generate(id);
    sqlx::query("insert into directory.admin_keys (id, name, secret_hash) values ($1, $2, $3)")
        .bind(id.uuid())
        .bind(name)
        .bind(text.hash())
        .execute(tx.connection())
        .await?;
    Ok((id, text))
}

/// Makes a tenant's key.
pub async fn create(
    tx: &mut SystemTx,
    tenant: TenantId,
    role: KeyRole,
    notebook: Option<NotebookId>,
    groups: Option<&Groups>,
    name: &str,
) -> Result<(ApiKey, KeyText), Error> {
    let id = KeyId::generate();
    let text = KeyText::generate(id);
    let key = sqlx::query_as(
        "insert into directory.api_keys (tenant_id, id, role, notebook_id, name, secret_hash, groups)
         values ($1, $2, $3, $4, $5, $6, $7)
         returning *",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .bind(role.as_str())
    .bind(notebook.map(NotebookId::uuid))
    .bind(name)
    .bind(text.hash())
    .bind(groups.map(Groups::names))
    .fetch_one(tx.connection())
    .await
    .map_err(|error| match Error::constraint(&error) {
        Some("api_keys_notebook") => Error::Invalid("a notebook key needs a notebook".to_owned()),
        Some("api_keys_groups") => {
            Error::Invalid("a key for some groups is read-only: give it that role".to_owned())
        }
        Some("api_keys_name_check") => Error::Invalid("a name has 1 to 200 characters".to_owned()),
        Some("api_keys_tenant_id_fkey") => Error::NotFound { what: "tenant" },
        _ => error.into(),
    })?;
    Ok((key, text))
}

/// A tenant's keys, revoked ones included, oldest first. A tenant has few, so they are not paged.
pub async fn list(tx: &mut SystemTx, tenant: TenantId) -> Result<Vec<ApiKey>, Error> {
    let keys = sqlx::query_as("select * from directory.api_keys where tenant_id = $1 order by id")
        .bind(tenant.uuid())
        .fetch_all(tx.connection())
        .await?;
    Ok(keys)
}

/// Stops a key from working; once revoked it stays so.
pub async fn revoke(tx: &mut SystemTx, tenant: TenantId, id: KeyId) -> Result<ApiKey, Error> {
    sqlx::query_as(
        "update directory.api_keys set revoked_at = coalesce(revoked_at, now())
         where tenant_id = $1 and id = $2
         returning *",
    )
    .bind(tenant.uuid())
    .bind(id.uuid())
    .fetch_optional(tx.connection())
    .await?
    .ok_or(Error::NotFound { what: "key" })
}

/// Finds out whose key this is. Unknown, mistyped and revoked keys are all the same: none. Reads only, so a
/// connection without a transaction will do.
pub async fn owner(
    connection: &mut PgConnection,
    presented: &str,
) -> Result<Option<KeyOwner>, Error> {
    let Some((id, text)) = KeyText::parse(presented) else {
        return Ok(None);
    };
    let hash = text.hash();
    // Comparing SHA-256 values leaks nothing useful through time: an attacker can't choose the hash.
    let key: Option<ApiKey> = sqlx::query_as(
        "select * from directory.api_keys where id = $1 and secret_hash = $2 and revoked_at is null",
    )
    .bind(id.uuid())
    .bind(&hash)
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(key) = key {
        return Ok(Some(KeyOwner::Tenant(key)));
    }
    let admin: bool = sqlx::query_scalar(
        "select exists (select from directory.admin_keys
                        where id = $1 and secret_hash = $2 and revoked_at is null)",
    )
    .bind(id.uuid())
    .bind(&hash)
    .fetch_one(connection)
    .await?;
    Ok(admin.then_some(KeyOwner::Admin(id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_a_typo_does_not() {
        let id = KeyId::generate();
        let key = KeyText::generate(id);
        assert_eq!(KeyText::parse(key.expose()), Some((id, key.clone())));

        let text = key.expose();
        for position in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[position] = if bytes[position] == b'a' { b'b' } else { b'a' };
            let typo = String::from_utf8_lossy(&bytes);
            assert_eq!(KeyText::parse(&typo), None, "{typo} was accepted");
            assert_eq!(
                KeyText::parse(&text[..position]),
                None,
                "a cut key was accepted"
            );
        }
    }

    #[test]
    fn a_key_does_not_print_itself() {
        assert_eq!(
            format!("{:?}", KeyText::generate(KeyId::generate())),
            "[key]"
        );
    }
}
