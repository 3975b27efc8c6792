//! Rates in Redis or Valkey, by its clock, in one round trip.
//!
//! Only rates: what they lose is a burst. Money is never kept here.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Script};
use tracing::warn;

use quire_types::TenantId;

use super::{Answer, Order, column};
use crate::Error;
use crate::control::lock;

/// How long Redis may take for an answer: waiting longer costs more than asking PostgreSQL.
const PATIENCE: Duration = Duration::from_millis(250);
/// For how long it is left alone after it did not answer.
const REST: Duration = Duration::from_secs(2);

/// The same arithmetic as in `postgres`. Versioned by its text: Redis finds scripts by their hash. Whole
/// microseconds since 1970 fit a double until the year 2255.
const TAKE: &str = r"
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local arrival, room, passes = {}, {}, true
for i = 1, #KEYS do
    local b = (i - 1) * 5
    local step, tolerance, back, need = tonumber(ARGV[b + 1]), tonumber(ARGV[b + 2]), tonumber(ARGV[b + 3]), tonumber(ARGV[b + 4])
    arrival[i] = math.max((tonumber(redis.call('GET', KEYS[i])) or 0) - back * step, now)
    room[i] = math.max(0, math.floor((tolerance + now - arrival[i]) / step))
    passes = passes and room[i] >= need
end
local answer = {}
for i = 1, #KEYS do
    local b = (i - 1) * 5
    local step, tolerance, need, want = tonumber(ARGV[b + 1]), tonumber(ARGV[b + 2]), tonumber(ARGV[b + 4]), tonumber(ARGV[b + 5])
    local given = math.min(want, room[i])
    local wait = 0
    if room[i] < need then wait = arrival[i] + need * step - tolerance - now end
    if passes then
        local new = arrival[i] + given * step
        redis.call('SET', KEYS[i], string.format('%.0f', new), 'PX', math.ceil((new - now) / 1000) + 1000)
    end
    table.insert(answer, given)
    table.insert(answer, room[i] - given)
    table.insert(answer, wait)
end
return answer
";

/// Rates at one Redis.
pub(crate) struct Counters {
    connection: ConnectionManager,
    script: Arc<Script>,
    /// Not asked until then.
    resting_until: Mutex<Option<Instant>>,
}

impl Counters {
    /// Rates at this address. Connects when first asked.
    pub(crate) fn new(url: &str) -> Result<Self, Error> {
        let wrong = |error: redis::RedisError| {
            Error::Invalid(format!("the address of Redis can't be used: {error}"))
        };
        let client = Client::open(url).map_err(wrong)?;
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(1)
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(wrong)?;
        Ok(Self {
            connection,
            script: Arc::new(Script::new(TAKE)),
            resting_until: Mutex::default(),
        })
    }

    /// Takes units of all rates, or of none; no answer when Redis has none.
    pub(super) async fn take(&self, tenant: TenantId, orders: &[Order]) -> Option<Vec<Answer>> {
        let is_resting = lock(&self.resting_until).is_some_and(|until| until > Instant::now());
        if is_resting {
            return None;
        }
        let asking = tokio::time::timeout(PATIENCE, self.ask(tenant, orders));
        let problem = match asking.await {
            Ok(Ok(answers)) => return Some(answers),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} ms", PATIENCE.as_millis()),
        };
        warn!(
            problem,
            "redis does not answer; rates are counted in PostgreSQL meanwhile"
        );
        *lock(&self.resting_until) = Some(Instant::now() + REST);
        None
    }

    async fn ask(&self, tenant: TenantId, orders: &[Order]) -> redis::RedisResult<Vec<Answer>> {
        let mut call = self.script.prepare_invoke();
        for order in orders {
            call.key(key(tenant, &order.name));
        }
        let columns = [
            column(orders, |order| order.step_us),
            column(orders, |order| order.tolerance_us),
            column(orders, |order| order.back),
            column(orders, |order| order.need),
            column(orders, |order| order.want),
        ];
        for place in 0..orders.len() {
            for column in &columns {
                call.arg(column[place]);
            }
        }
        let numbers: Vec<i64> = call.invoke_async(&mut self.connection.clone()).await?;
        let answers = orders.iter().zip(numbers.chunks_exact(3));
        Ok(answers
            .map(|(order, numbers)| Answer {
                name: order.name.clone(),
                given: numbers[0],
                room: numbers[1],
                wait_us: numbers[2],
            })
            .collect())
    }
}

/// The braces keep all rates of a tenant on one node of a cluster.
fn key(tenant: TenantId, name: &str) -> String {
    format!("quire:{{{tenant}}}:rate:{name}")
}
