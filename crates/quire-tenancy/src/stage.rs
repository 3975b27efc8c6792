//! A stage of quire's own work, such as searching or reading files, with as many at once as the machine bears.
//!
//! How many that are is learned from how long they take (`adaptive`). A few more may wait; whoever comes then
//! is told to come back, so that a burst costs time and not the process.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::adaptive::Limiter;
use crate::control::lock;
use crate::error::{Reason, Refusal};

/// For each that runs, so many may wait.
const WAITING_PER_RUNNING: u32 = 16;

/// A stage. Cheap to clone; clones are the same stage.
#[derive(Clone)]
pub struct Stage(Arc<Inner>);

struct Inner {
    name: &'static str,
    patience: Duration,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    limiter: Limiter,
    running: u32,
    waiters: VecDeque<oneshot::Sender<()>>,
}

impl Stage {
    /// A stage that begins with `initial` at once and learns between `min` and `max`.
    pub fn new(
        name: &'static str,
        (min, initial, max): (u32, u32, u32),
        patience: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            name,
            patience,
            start: Instant::now(),
            state: Mutex::new(State {
                limiter: Limiter::new(min, max, initial),
                running: 0,
                waiters: VecDeque::new(),
            }),
        }))
    }

    /// Waits for a place.
    pub async fn enter(&self) -> Result<Permit, Refusal> {
        let woken = {
            let mut state = lock(&self.0.state);
            let limit = state.limiter.limit();
            if state.running < limit && state.waiters.is_empty() {
                state.running += 1;
                None
            } else if state.waiters.len() >= (limit * WAITING_PER_RUNNING) as usize {
                let now = self.now_us();
                state.limiter.dropped(now);
                return Err(self.refusal());
            } else {
                let (wake, woken) = oneshot::channel();
                state.waiters.push_back(wake);
                Some(woken)
            }
        };
        // Whoever is woken has its place already; if nobody takes it, this gives it back.
        let mut claim = Claim {
            stage: self,
            woken,
            is_taken: false,
        };
        if let Some(woken) = &mut claim.woken
            && !matches!(
                tokio::time::timeout(self.0.patience, woken).await,
                Ok(Ok(()))
            )
        {
            return Err(self.refusal());
        }
        claim.is_taken = true;
        Ok(Permit {
            stage: self.clone(),
            began: Instant::now(),
        })
    }

    /// The name, for metrics.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// How many may be in it now, are in it, and wait.
    pub fn counts(&self) -> (u32, u32, u32) {
        let state = lock(&self.0.state);
        let waiting = u32::try_from(state.waiters.len()).unwrap_or(u32::MAX);
        (state.limiter.limit(), state.running, waiting)
    }

    fn refusal(&self) -> Refusal {
        Refusal::new(
            Reason::Seats,
            format!("too much to {} at once; try again later", self.0.name),
        )
        .after(Duration::from_secs(2))
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.0.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    fn leave(&self) {
        let mut state = lock(&self.0.state);
        state.running = state.running.saturating_sub(1);
        while state.running < state.limiter.limit() {
            let Some(next) = state.waiters.pop_front() else {
                return;
            };
            if next.send(()).is_ok() {
                state.running += 1;
            }
        }
    }
}

/// A place that was asked for and not taken yet.
struct Claim<'a> {
    stage: &'a Stage,
    woken: Option<oneshot::Receiver<()>>,
    is_taken: bool,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if self.is_taken {
            return;
        }
        // Under the lock nobody is woken, so the channel tells for certain whether a place was given.
        let has_place = {
            let _state = lock(&self.stage.0.state);
            match &mut self.woken {
                None => true,
                Some(woken) => {
                    let has_place = woken.try_recv().is_ok();
                    woken.close();
                    has_place
                }
            }
        };
        if has_place {
            self.stage.leave();
        }
    }
}

/// A place in a stage, until it is dropped.
pub struct Permit {
    stage: Stage,
    began: Instant,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let took = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let now = self.stage.now_us();
        {
            let mut state = lock(&self.stage.0.state);
            let running = state.running;
            state.limiter.sample(now, took, running);
        }
        self.stage.leave();
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    /// Somebody inside, counted until gone.
    struct Guest(Arc<std::sync::atomic::AtomicU32>);

    impl Guest {
        fn new(inside: Arc<std::sync::atomic::AtomicU32>) -> Self {
            let before = inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            assert!(before < 4, "{before} were inside already");
            Self(inside)
        }
    }

    impl Drop for Guest {
        fn drop(&mut self) {
            self.0.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn places_come_back_from_whoever_goes_away() {
        let stage = Stage::new("test", (1, 2, 4), Duration::from_millis(50));
        let inside = Arc::new(std::sync::atomic::AtomicU32::new(0));
        let tasks: Vec<_> = (0..300_u64)
            .map(|number| {
                let (stage, inside) = (stage.clone(), inside.clone());
                let task = tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(number / 10)).await;
                    if let Ok(_permit) = stage.enter().await {
                        let _guest = Guest::new(inside);
                        tokio::time::sleep(Duration::from_millis(number % 4)).await;
                    }
                });
                if number.is_multiple_of(7) {
                    let handle = task.abort_handle();
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(number / 9)).await;
                        handle.abort();
                    });
                }
                task
            })
            .collect();
        for task in tasks {
            drop(task.await);
        }
        let (_, running, waiting) = stage.counts();
        assert_eq!((running, waiting), (0, 0));
        drop(stage.enter().await.unwrap());
    }

    #[tokio::test]
    async fn whoever_comes_to_a_full_stage_is_told_to_come_back() {
        let stage = Stage::new("test", (1, 1, 1), Duration::from_millis(10));
        let place = stage.enter().await.unwrap();
        let waiting: Vec<_> = (0..WAITING_PER_RUNNING)
            .map(|_| {
                let stage = stage.clone();
                tokio::spawn(async move { stage.enter().await.err().map(|refusal| refusal.reason) })
            })
            .collect();
        for task in waiting {
            assert_eq!(task.await.unwrap(), Some(Reason::Seats));
        }
        drop(place);
        assert!(stage.enter().await.is_ok());
    }
}
