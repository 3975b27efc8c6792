//! Entries in a Redis or Valkey. Whatever goes wrong with it counts as not found.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{AsyncCommands, Client, RedisResult};
use tracing::warn;

use quire_types::TenantId;

use super::Key;
use crate::Error;

/// How long an answer of Redis is worth waiting for.
const PATIENCE: Duration = Duration::from_millis(100);
/// For how long it is left alone after it did not answer.
const REST: Duration = Duration::from_secs(2);
/// Larger entries are not worth the way.
const MOST_BYTES: usize = 1 << 20;

/// One Redis. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Redis {
    connection: ConnectionManager,
    /// Not asked until then.
    resting_until: Arc<Mutex<Option<Instant>>>,
}

impl Redis {
    /// The Redis at this address. Connects when first asked.
    pub(crate) fn new(url: &str) -> Result<Self, Error> {
        let wrong = |error| Error::Redis(format!("the address of Redis can't be used: {error}"));
        let client = Client::open(url).map_err(wrong)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(wrong)?;
        Ok(Self {
            connection,
            resting_until: Arc::default(),
        })
    }

    pub(super) async fn get(&self, kind: &str, tenant: TenantId, key: &Key) -> Option<Vec<u8>> {
        let mut connection = self.connection.clone();
        let name = name(kind, tenant, key);
        self.ask(async move { connection.get(name).await })
            .await
            .flatten()
    }

    /// Writes it sometime soon, or never.
    pub(super) fn put(
        &self,
        kind: &str,
        tenant: TenantId,
        key: Key,
        bytes: Vec<u8>,
        life: Duration,
    ) {
        if bytes.len() > MOST_BYTES {
            return;
        }
        let (redis, name) = (self.clone(), name(kind, tenant, &key));
        tokio::spawn(async move {
            let mut connection = redis.connection.clone();
            let setting = connection.set_ex::<_, _, ()>(name, bytes, life.as_secs().max(1));
            redis.ask(setting).await;
        });
    }

    /// Removes what it holds of a tenant, or of all, and returns how much that was. Walks over all its keys.
    ///
    /// # Errors
    /// Those of Redis: an operator who empties it wants to know.
    pub(crate) async fn purge(&self, tenant: Option<TenantId>) -> Result<u64, Error> {
        let failed = |error| Error::Redis(format!("redis: {error}"));
        let keys = self.keys(tenant).await.map_err(failed)?;
        let mut connection = self.connection.clone();
        for part in keys.chunks(500) {
            connection.unlink::<_, ()>(part).await.map_err(failed)?;
        }
        Ok(keys.len() as u64)
    }

    /// How much it holds of a tenant, or of all.
    ///
    /// # Errors
    /// Those of Redis.
    pub(crate) async fn count(&self, tenant: Option<TenantId>) -> Result<u64, Error> {
        let keys = self.keys(tenant).await;
        let failed = |error| Error::Redis(format!("redis: {error}"));
        Ok(keys.map_err(failed)?.len() as u64)
    }

    async fn keys(&self, tenant: Option<TenantId>) -> RedisResult<Vec<String>> {
        let tenant = tenant.map_or("*".to_owned(), |tenant| tenant.to_string());
        let mut connection = self.connection.clone();
        let mut keys = connection
            .scan_match::<_, String>(format!("quire:*:{tenant}:*"))
            .await?;
        let mut found = Vec::new();
        while let Some(key) = keys.next_item().await {
            found.push(key?);
        }
        Ok(found)
    }

    /// What Redis says, if it says something in time and was not silent just now.
    async fn ask<T>(&self, asking: impl Future<Output = RedisResult<T>>) -> Option<T> {
        let resting = |until: &Mutex<Option<Instant>>| *lock(until);
        if resting(&self.resting_until).is_some_and(|until| until > Instant::now()) {
            return None;
        }
        let problem = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", PATIENCE.as_millis()),
        };
        warn!(
            problem,
            "redis does not answer; nothing is cached in it meanwhile"
        );
        *lock(&self.resting_until) = Some(Instant::now() + REST);
        None
    }
}

fn name(kind: &str, tenant: TenantId, key: &Key) -> String {
    format!("quire:{kind}:{tenant}:{key}")
}

fn lock(until: &Mutex<Option<Instant>>) -> std::sync::MutexGuard<'_, Option<Instant>> {
    until.lock().unwrap_or_else(PoisonError::into_inner)
}
