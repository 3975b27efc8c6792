//! Asking a model until its first word, and a second one meanwhile when the first is silent for unusually long. The
//! first to speak wins and the other is cancelled; each is an attempt of its own and is paid for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use quire_models::{Hop, Route as Hops};
use quire_tenancy::usage::Kind as Work;
use quire_tenancy::{Admitted, Attempt, Call};
use quire_types::ChatMessage;
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::Error;
use crate::answering::Asked;
use crate::reading::Reading;
use crate::router::Route;

/// An answer that has begun, or how asking for it failed.
type Begun = Result<Reading, quire_models::Error>;

impl Asked {
    /// Asks this hop, and perhaps another one beside it. `number` is that of the last attempt so far.
    pub(crate) async fn first_word(
        &self,
        admitted: &Admitted,
        hops: &mut Hops,
        hop: Hop,
        messages: &[ChatMessage],
        number: &mut i16,
    ) -> Result<(Hop, Begun), Error> {
        *number += 1;
        let (provider, model) = (hop.provider(), hop.model());
        let attempt = admitted
            .attempt(Work::Chat, *number, provider, model, hop.costs())
            .await?;
        // Only where somebody waits, and only for whoever is asked first.
        let slow = match self.decision.route {
            Route::Batch => None,
            _ if *number > 1 => None,
            _ => hops.hedge_after(&hop),
        };
        let Some(slow) = slow else {
            let begun = Reading::begin(&hop, messages, None, attempt).await;
            return Ok((hop, begun));
        };
        let (first_lost, second_lost) = (Arc::default(), Arc::default());
        let mut first = Box::pin(until_word(&hop, messages, attempt, &first_lost));
        if let Ok(begun) = timeout(slow, &mut first).await {
            drop(first);
            return Ok((hop, begun));
        }
        let Some((other, attempt)) = self.another(hops, number).await else {
            let begun = first.await;
            return Ok((hop, begun));
        };
        hops.note_hedge(&hop);
        debug!(
            model = hop.model(),
            pool = hop.pool(),
            other = other.model(),
            beside = other.pool(),
            "a model is silent for long; asking another one, too"
        );
        let mut second = Box::pin(until_word(&other, messages, attempt, &second_lost));
        let (is_first, begun) = tokio::select! {
            biased;
            begun = &mut first => (true, begun),
            begun = &mut second => (false, begun),
        };
        if has_spoken(&begun) {
            if !is_first {
                hops.note_hedge_won(&hop);
            }
            let loser = if is_first { &second_lost } else { &first_lost };
            loser.store(true, Ordering::Relaxed);
            drop((first, second));
            return Ok((if is_first { hop } else { other }, begun));
        }
        // Whoever failed leaves it to the other.
        if let Err(error) = &begun {
            warn!(%error, "one of two models that were asked failed; waiting for the other");
        }
        drop(begun);
        let begun = match is_first {
            true => (&mut second).await,
            false => (&mut first).await,
        };
        if is_first && has_spoken(&begun) {
            hops.note_hedge_won(&hop);
        }
        drop((first, second));
        Ok((if is_first { other } else { hop }, begun))
    }

    /// Another hop, if calls are hedged just now and the tenant can pay for both.
    async fn another(&self, hops: &mut Hops, number: &mut i16) -> Option<(Hop, Attempt)> {
        let hop = hops.hedge()?;
        let control = &self.asker.config.control;
        let call = Call {
            questions: 0,
            cost: hop.costs().0,
            ..self.asker.free_call(&self.asking, &self.question)
        };
        let account = &self.asking.caller.account;
        let paid = control.admit_task(account, call).await.ok()?;
        let (provider, model) = (hop.provider(), hop.model());
        let attempt = paid
            .attempt(Work::Chat, *number + 1, provider, model, hop.costs())
            .await
            .ok()?;
        *number += 1;
        Some((hop, attempt))
    }
}

fn has_spoken(begun: &Begun) -> bool {
    begun.as_ref().is_ok_and(Reading::has_begun)
}

/// Asks, and waits for the first word or the end.
async fn until_word(
    hop: &Hop,
    messages: &[ChatMessage],
    attempt: Attempt,
    has_lost: &Arc<AtomicBool>,
) -> Begun {
    let mut reading = Reading::begin(hop, messages, None, attempt).await?;
    reading.first_word(has_lost).await;
    Ok(reading)
}
