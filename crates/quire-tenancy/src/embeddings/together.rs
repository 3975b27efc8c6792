//! Vectors for several callers of one tenant in one request, each of whom pays for its own texts.
//!
//! A line is one tenant and one model, so texts of two tenants never meet. Each piece is an attempt of its own caller,
//! written down before it is sent, and is charged its part of what the provider says. A request that the provider
//! refuses for what is in it is repeated piece by piece, so that only the caller fails whose texts those were.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use quire_models::registry::Tokens;
use quire_models::{Hop, Work};
use quire_types::{ErrorKind, Kind as _, NanoUsd, TenantId};

use super::gather::{Gathering, Leave, Limits, Ms};
use super::{EmbedError, most_tokens};
use crate::Error;
use crate::control::{Admitted, Attempt};
use crate::known::Account;
use crate::models::{Providers, Wanted};
use crate::usage::{Kind, Quantities};

/// What a caller hears of its piece.
pub(super) type Answer = Result<Vec<Vec<f32>>, Arc<EmbedError>>;

/// All lines of this process. A line is there while something waits or runs in it.
#[derive(Clone)]
pub(super) struct Together {
    lines: Arc<Mutex<HashMap<Key, Arc<Line>>>>,
    began: Instant,
}

/// Whose texts may share a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) tenant: TenantId,
    pub(super) model: String,
    pub(super) dimensions: u32,
}

struct Line {
    key: Key,
    all: Together,
    providers: Providers,
    gathering: Mutex<Gathering<Piece>>,
    runtime: Handle,
}

/// Texts of one caller.
struct Piece {
    texts: Vec<String>,
    payer: Arc<Payer>,
    tell: oneshot::Sender<Answer>,
}

/// A caller that was let in, with the number of its last attempt.
pub(super) struct Payer {
    admitted: Admitted,
    attempts: AtomicI16,
}

impl Payer {
    pub(super) fn new(admitted: Admitted) -> Self {
        Self {
            admitted,
            attempts: AtomicI16::new(0),
        }
    }

    fn account(&self) -> &Account {
        self.admitted.account()
    }

    /// Writes an attempt down for so many tokens at the most.
    async fn attempt(&self, hop: &Hop, tokens: u64) -> Result<Attempt, Error> {
        let number = self.attempts.fetch_add(1, Ordering::Relaxed) + 1;
        let most = hop.price().cost(Tokens {
            input: tokens,
            ..Tokens::default()
        });
        let (provider, model) = (hop.provider(), hop.model());
        self.admitted
            .attempt(Kind::Embed, number, provider, model, (most, most))
            .await
    }
}

impl Together {
    pub(super) fn new() -> Self {
        Self {
            lines: Arc::default(),
            began: Instant::now(),
        }
    }

    /// Takes texts in; what comes of them is heard later. Whoever stops listening before they left pays nothing.
    pub(super) fn add(
        &self,
        key: Key,
        limits: Limits,
        providers: &Providers,
        payer: &Arc<Payer>,
        texts: Vec<String>,
    ) -> oneshot::Receiver<Answer> {
        let (tell, answer) = oneshot::channel();
        let (count, bytes) = (texts.len(), texts.iter().map(String::len).sum());
        let piece = Piece {
            texts,
            payer: payer.clone(),
            tell,
        };
        let line = {
            let mut lines = lock(&self.lines);
            let line = lines.entry(key.clone()).or_insert_with(|| {
                Arc::new(Line {
                    key,
                    all: self.clone(),
                    providers: providers.clone(),
                    gathering: Mutex::new(Gathering::new(limits)),
                    runtime: Handle::current(),
                })
            });
            lock(&line.gathering).add(self.now(), count, bytes, piece);
            line.clone()
        };
        line.turn();
        answer
    }

    fn now(&self) -> Ms {
        Ms::try_from(self.began.elapsed().as_millis()).unwrap_or(Ms::MAX)
    }
}

impl Line {
    /// Lets leave what may.
    fn turn(self: &Arc<Self>) {
        loop {
            let now = self.all.now();
            let leave = lock(&self.gathering).leave(now);
            match leave {
                Leave::Now(pieces) => {
                    let running = Running(self.clone());
                    self.runtime.spawn(async move {
                        running.0.send(pieces).await;
                    });
                }
                Leave::At(then) => {
                    let line = self.clone();
                    self.runtime.spawn(async move {
                        tokio::time::sleep(Duration::from_millis(then.saturating_sub(now))).await;
                        line.turn();
                    });
                    return;
                }
                Leave::Later => return,
            }
        }
    }

    /// Asks one pool after the other until one answers, and tells every caller.
    async fn send(&self, mut pieces: Vec<Piece>) {
        pieces.retain(|piece| !piece.tell.is_closed());
        let Some(first) = pieces.first() else {
            return;
        };
        let wanted = Wanted {
            chain: self.key.model.clone(),
            input_tokens: pieces.iter().map(Piece::tokens).sum(),
            work: Work::Embed {
                dimensions: self.key.dimensions,
                are_questions: false,
            },
            ..Wanted::default()
        };
        let mut hops = match self.providers.route(first.payer.account(), wanted).await {
            Ok(hops) => hops,
            Err(error) => return fail(pieces, error.into()),
        };
        let mut failed: Option<quire_models::Error> = None;
        loop {
            let hop = match hops.next(failed.as_ref()) {
                Ok(hop) => hop,
                Err(none) => match failed {
                    // Less of it may fit into what is left of a small pool.
                    None if pieces.len() > 1 => {
                        let rest = pieces.split_off(pieces.len() / 2);
                        Box::pin(self.send(pieces)).await;
                        return Box::pin(self.send(rest)).await;
                    }
                    // How the last one failed says more than that there is no other.
                    Some(error) => return fail(pieces, error.into()),
                    None => return fail(pieces, Error::from(none).into()),
                },
            };
            let attempts = attempts(&mut pieces, &hop).await;
            if pieces.is_empty() {
                return;
            }
            let texts: Vec<String> = pieces
                .iter()
                .flat_map(|piece| piece.texts.iter().cloned())
                .collect();
            match hop.embed(&texts).await {
                Ok((embedded, cost)) => {
                    if let Some(cost) = cost {
                        let tokens = embedded.input_tokens.unwrap_or_default();
                        charge(&pieces, attempts, tokens, cost);
                    }
                    return deliver(pieces, embedded.vectors);
                }
                Err(error) => {
                    attempts
                        .into_iter()
                        .for_each(|attempt| attempt.failed(&error));
                    if error.kind() == ErrorKind::Invalid && pieces.len() > 1 {
                        for piece in pieces {
                            Box::pin(self.send(vec![piece])).await;
                        }
                        return;
                    }
                    failed = Some(error);
                }
            }
        }
    }
}

/// A request of a line, until it is over.
struct Running(Arc<Line>);

impl Drop for Running {
    fn drop(&mut self) {
        let line = &self.0;
        {
            let mut lines = lock(&line.all.lines);
            let mut gathering = lock(&line.gathering);
            gathering.over();
            if gathering.is_idle() {
                lines.remove(&line.key);
            }
        }
        line.turn();
    }
}

impl Piece {
    fn tokens(&self) -> u64 {
        most_tokens(&self.texts)
    }

    fn bytes(&self) -> u64 {
        self.texts.iter().map(|text| text.len() as u64).sum()
    }
}

/// An attempt for each piece; who can't pay for it is told so, and left out.
async fn attempts(pieces: &mut Vec<Piece>, hop: &Hop) -> Vec<Attempt> {
    let written = pieces
        .iter()
        .map(|piece| piece.payer.attempt(hop, piece.tokens()));
    let written = join_all(written).await;
    let mut attempts = Vec::with_capacity(pieces.len());
    let mut paying = Vec::with_capacity(pieces.len());
    for (piece, attempt) in std::mem::take(pieces).into_iter().zip(written) {
        match attempt {
            Ok(attempt) => {
                attempts.push(attempt);
                paying.push(piece);
            }
            Err(error) => fail(vec![piece], error.into()),
        }
    }
    *pieces = paying;
    attempts
}

/// Charges each its part of what all took together, by the length of its texts.
fn charge(pieces: &[Piece], attempts: Vec<Attempt>, tokens: u64, cost: NanoUsd) {
    let bytes: Vec<u64> = pieces.iter().map(Piece::bytes).collect();
    let tokens = parts(tokens, &bytes);
    let costs = parts(cost.nanos().unsigned_abs(), &bytes);
    for (((piece, attempt), tokens), cost) in pieces.iter().zip(attempts).zip(tokens).zip(costs) {
        let chars: usize = piece.texts.iter().map(|text| text.chars().count()).sum();
        let quantities = Quantities {
            input_tokens: i64::try_from(tokens).unwrap_or(i64::MAX),
            characters: i64::try_from(chars).unwrap_or(i64::MAX),
            ..Quantities::default()
        };
        let cost = NanoUsd::from_nanos(i64::try_from(cost).unwrap_or(i64::MAX));
        attempt.close(quantities, cost);
    }
}

/// Parts of a whole in the proportion of weights, whose sum is a `u64` as that of lengths in memory is; together exactly
/// the whole.
fn parts(whole: u64, weights: &[u64]) -> Vec<u64> {
    let all: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let (mut before, mut given) = (0_u128, 0_u64);
    let part = |weight: &u64| {
        before += u128::from(*weight);
        let until = u128::from(whole) * before / all.max(1);
        let until = u64::try_from(until).unwrap_or(whole);
        let part = until - given;
        given = until;
        part
    };
    weights.iter().map(part).collect()
}

fn deliver(pieces: Vec<Piece>, vectors: Vec<Vec<f32>>) {
    let mut vectors = vectors.into_iter();
    for piece in pieces {
        let own = vectors.by_ref().take(piece.texts.len()).collect();
        // Whoever went away meanwhile has paid for it.
        let _ = piece.tell.send(Ok(own));
    }
}

fn fail(pieces: Vec<Piece>, error: EmbedError) {
    let error = Arc::new(error);
    for piece in pieces {
        let _ = piece.tell.send(Err(error.clone()));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section here leaves its value whole, even if it panics.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    //! Shares of what is paid together.

    use super::*;

    #[test]
    fn parts_are_in_proportion_and_make_the_whole() {
        assert_eq!(parts(100, &[1, 1, 2]), [25, 25, 50]);
        assert_eq!(parts(10, &[1, 1, 1]), [3, 3, 4]);
        assert_eq!(parts(7, &[5]), [7]);
        assert_eq!(parts(0, &[3, 4]), [0, 0]);
        assert_eq!(
            parts(u64::MAX, &[u64::MAX / 2, u64::MAX / 2 + 1]),
            [u64::MAX / 2, u64::MAX / 2 + 1]
        );
    }
}
