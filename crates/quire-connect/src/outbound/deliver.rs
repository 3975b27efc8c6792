//! Sending what is due for one endpoint, and planning what is left.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::{TimeDelta, Utc};
use futures::future::join_all;
use rand::RngExt;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tracing::warn;

use quire_queue::{Attempt, DELIVER_EVENTS, Failure, Task, Wishes};
use quire_store::outbox::{self, Delivery, Endpoint, Outcome};
use quire_store::{Placement, TenantTx};
use quire_types::{EndpointId, EndpointState, ErrorKind, Kind, Secret, Timestamp};

use super::{disable, purpose};
use crate::egress::{retry_after, unreachable};
use crate::{Connect, Error, standard};

/// Waits before the attempts after the first (Standard Webhooks, operational recommendations).
const WAITS_S: [u64; 9] = [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];

/// Deliveries of one run of the task.
const PART: i64 = 200;

/// Requests to one endpoint at once.
const AT_ONCE: usize = 16;

/// How long an endpoint may take.
const TIMEOUT: Duration = Duration::from_secs(15);

/// An endpoint that has failed for so long is disabled.
const PATIENCE: TimeDelta = TimeDelta::days(5);

/// The longest wait that an endpoint may ask for.
const LONGEST_WISH: Duration = Duration::from_secs(86_400);

/// Sends what is due for one endpoint.
#[derive(Serialize, Deserialize)]
pub struct DeliverEvents {
    /// The endpoint.
    pub endpoint: EndpointId,
}

/// Makes sure that a task sends what is due now.
pub(super) async fn plan_now(tx: &mut TenantTx, endpoint: EndpointId) -> Result<(), Error> {
    plan(tx, endpoint, Duration::ZERO, "now").await
}

/// One task of each sort waits: what failed once does not wait behind what failed often.
async fn plan(
    tx: &mut TenantTx,
    endpoint: EndpointId,
    delay: Duration,
    sort: &str,
) -> Result<(), Error> {
    let wishes = Wishes::once(format!("deliver/{endpoint}/{sort}"), delay);
    quire_queue::enqueue_with(tx, &DeliverEvents { endpoint }, wishes).await?;
    Ok(())
}

/// What an endpoint did with a message.
enum Answer {
    Taken(u16),
    Refused(u16, Option<Duration>),
    Gone,
    Unreachable(String),
}

impl DeliverEvents {
    async fn deliver(
        &self,
        connect: &Connect,
        placement: Placement,
        attempt: &Attempt,
    ) -> Result<(), Error> {
        let store = &connect.config.store;
        let mut tx = store.tenant(placement).await?;
        let endpoint = match outbox::endpoint(&mut tx, self.endpoint).await {
            Ok(endpoint) if endpoint.state == EndpointState::Active => endpoint,
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let due = outbox::due(&mut tx, self.endpoint, PART).await?;
        tx.commit().await?;
        let secrets = secrets(connect, placement, &endpoint)?;

        let (mut outcomes, mut works, mut gone) = (Vec::new(), None, false);
        for wave in due.chunks(AT_ONCE) {
            let sent = wave
                .iter()
                .map(|delivery| send(connect, &endpoint, &secrets, delivery));
            let answers = join_all(sent).await;
            let taken = answers
                .iter()
                .filter(|answer| answer.state == "delivered")
                .count();
            works = Some(taken > 0 || works == Some(true));
            gone |= answers.iter().any(|answer| answer.status == Some(410));
            outcomes.extend(answers);
            // The rest would only wait for the same failure.
            if gone || taken == 0 {
                break;
            }
        }

        let mut tx = store.tenant(placement).await?;
        // What was not tried waits as long as what failed beside it, without an attempt counted.
        let failed = works == Some(false);
        if let Some(next_at) = outcomes
            .iter()
            .map(|outcome| outcome.next_at)
            .min()
            .filter(|_| failed)
        {
            let rest = due.iter().skip(outcomes.len()).map(|delivery| Outcome {
                event: delivery.event,
                was_due: delivery.next_at,
                state: "waiting",
                is_attempt: false,
                next_at,
                status: None,
                error: None,
                took_ms: None,
            });
            let rest: Vec<Outcome> = rest.collect();
            outcomes.extend(rest);
        }
        outbox::note(&mut tx, self.endpoint, &outcomes).await?;
        if let Some(works) = works {
            outbox::note_health(&mut tx, self.endpoint, works).await?;
        }
        let is_given_up = failed
            && endpoint
                .failing_since
                .is_some_and(|since| Utc::now() - since > PATIENCE);
        if gone {
            disable(
                &mut tx,
                self.endpoint,
                "it answered 410: it does not want messages any more",
            )
            .await?;
        } else if is_given_up {
            warn!(tenant = %placement.tenant, endpoint = %self.endpoint, "disabled an endpoint that failed for days");
            disable(
                &mut tx,
                self.endpoint,
                "every attempt of the last five days failed",
            )
            .await?;
        } else {
            self.plan_rest(&mut tx).await?;
        }
        outbox::forget_old(&mut tx).await?;
        attempt.complete(&mut tx).await?;
        tx.commit().await?;
        connect.config.bell.notify_one();
        Ok(())
    }

    async fn plan_rest(&self, tx: &mut TenantTx) -> Result<(), Error> {
        let Some((next_at, attempts)) = outbox::next_due(tx, self.endpoint).await? else {
            return Ok(());
        };
        match (next_at - Utc::now()).to_std() {
            Ok(delay) => plan(tx, self.endpoint, delay, &attempts.to_string()).await,
            Err(_) => plan_now(tx, self.endpoint).await,
        }
    }
}

fn secrets(
    connect: &Connect,
    placement: Placement,
    endpoint: &Endpoint,
) -> Result<Vec<Secret>, Error> {
    let purpose = purpose(placement.tenant, endpoint.id);
    let sealed = std::iter::once(&endpoint.secret).chain(&endpoint.old_secret);
    sealed
        .map(|sealed| Ok(connect.config.keyring.unseal(&purpose, sealed)?))
        .collect()
}

async fn send(
    connect: &Connect,
    endpoint: &Endpoint,
    secrets: &[Secret],
    delivery: &Delivery,
) -> Outcome {
    let began = Instant::now();
    let answer = ask(connect, endpoint, secrets, delivery).await;
    let took_ms = i32::try_from(began.elapsed().as_millis()).unwrap_or(i32::MAX);
    outcome(delivery, &answer, took_ms)
}

async fn ask(
    connect: &Connect,
    endpoint: &Endpoint,
    secrets: &[Secret],
    delivery: &Delivery,
) -> Answer {
    let body = json!({ "type": delivery.kind, "timestamp": delivery.at, "data": delivery.data })
        .to_string();
    let (id, now) = (delivery.event.to_string(), Utc::now().timestamp());
    let request = || {
        let signature = standard::sign(secrets, &id, now, body.as_bytes())?;
        Ok::<_, Error>(
            connect
                .config
                .egress
                .request(Method::POST, &endpoint.url)?
                .header("content-type", "application/json")
                .header("webhook-id", &id)
                .header("webhook-timestamp", now)
                .header("webhook-signature", signature)
                .timeout(TIMEOUT)
                .body(body.clone()),
        )
    };
    let request = match request() {
        Ok(request) => request,
        Err(error) => return Answer::Unreachable(error.to_string()),
    };
    match request.send().await {
        Ok(response) => match response.status().as_u16() {
            status @ 200..=299 => Answer::Taken(status),
            410 => Answer::Gone,
            status => Answer::Refused(status, retry_after(&response)),
        },
        Err(error) => Answer::Unreachable(unreachable(error).to_string()),
    }
}

fn outcome(delivery: &Delivery, answer: &Answer, took_ms: i32) -> Outcome {
    let (status, error, wish) = match answer {
        Answer::Taken(status) => (Some(*status), None, None),
        Answer::Refused(status @ 300..=399, wish) => (
            Some(*status),
            Some("it leads elsewhere, which is not followed: change the URL".to_owned()),
            *wish,
        ),
        Answer::Refused(status, wish) => {
            (Some(*status), Some(format!("it answered {status}")), *wish)
        }
        Answer::Gone => (Some(410), Some("it is gone".to_owned()), None),
        Answer::Unreachable(why) => (None, Some(why.clone()), None),
    };
    let wait = usize::try_from(delivery.attempts)
        .ok()
        .and_then(|attempts| WAITS_S.get(attempts));
    let state = match (answer, wait) {
        (Answer::Taken(_), _) => "delivered",
        (Answer::Gone, _) | (_, None) => "failed",
        _ => "waiting",
    };
    Outcome {
        event: delivery.event,
        was_due: delivery.next_at,
        state,
        is_attempt: true,
        next_at: next_at(wait.copied().unwrap_or(0), wish),
        status: status.map(i32::from),
        error,
        took_ms: Some(took_ms),
    }
}

/// Up to a tenth later, so that what failed together does not come back together.
fn next_at(wait_s: u64, wish: Option<Duration>) -> Timestamp {
    let wait = Duration::from_secs(wait_s).mul_f64(1.0 + rand::rng().random_range(0.0..0.1));
    let wait = wait.max(wish.unwrap_or_default().min(LONGEST_WISH));
    Utc::now() + TimeDelta::from_std(wait).unwrap_or_default()
}

#[async_trait]
impl Task for DeliverEvents {
    const KIND: &'static str = DELIVER_EVENTS;
    const TIMEOUT: Duration = Duration::from_mins(10);
    const MAX_ATTEMPTS: i16 = 50;
    type Context = Connect;

    fn key(&self) -> Option<String> {
        Some(self.endpoint.to_string())
    }

    async fn run(&self, connect: &Connect, attempt: &Attempt) -> Result<(), Failure> {
        match connect
            .placement(attempt)
            .await
            .map_err(|error| Failure::of(&error))?
        {
            Some(placement) => self
                .deliver(connect, placement, attempt)
                .await
                .map_err(|error| Failure::of(&error)),
            None => Ok(()),
        }
    }

    async fn gave_up(&self, _: &Connect, _: &Attempt, _: &Failure) -> Result<(), Failure> {
        // What was due stays so, and the next event or a change of the endpoint plans another task.
        Ok(())
    }
}
