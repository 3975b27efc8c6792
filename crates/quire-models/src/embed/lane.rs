//! A bounded pool for work that would block the async threads. Refuses to know what the work is.

use std::sync::Arc;

use tokio::sync::{Semaphore, oneshot};

use crate::Error;

/// How threads share the cores with everybody else's.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// Somebody waits for it.
    Prompt,
    /// Whoever needs a core for an instant gets it first: answers to requests, and the database on the same machine.
    Yielding,
}

impl Pace {
    /// For the thread that calls it. Other systems than Linux know this for whole processes only.
    fn set(self) {
        #[cfg(target_os = "linux")]
        if matches!(self, Self::Yielding) {
            // Where it may not be slowed it is as fast as the others.
            let _ = rustix::process::nice(5);
        }
    }
}

/// Some threads and as many permits. Callers wait for a permit in order of arrival; dropping a caller
/// takes its work out of the queue.
pub(super) struct Lane {
    pool: rayon::ThreadPool,
    permits: Arc<Semaphore>,
    width: usize,
}

impl Lane {
    /// A lane of `width` threads. The tensor operations split their loops over the pool they run in, so
    /// lanes don't wait for each other, and one piece of work alone in its lane uses all threads.
    pub(super) fn start(name: &'static str, width: usize, pace: Pace) -> Result<Self, Error> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(width)
            .start_handler(move |_| pace.set())
            .thread_name(move |index| format!("{name}-{index}"))
            // The default would end the process. The caller of the work sees its channel closed instead.
            .panic_handler(|_| {})
            .build()
            .map_err(|error| Error::Threads(Box::new(error)))?;
        Ok(Self {
            pool,
            permits: Arc::new(Semaphore::new(width)),
            width,
        })
    }

    /// How many pieces of work run at the same time.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Runs `work` on a thread of the lane.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self
            .permits
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| Error::Abandoned)?;
        let (sender, receiver) = oneshot::channel();
        self.pool.spawn(move || {
            let _permit = permit;
            if !sender.is_closed() {
                // The caller may go away meanwhile; then nobody wants the result.
                let _ = sender.send(work());
            }
        });
        receiver.await.map_err(|_| Error::Abandoned)
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test fails by panicking"
    )]

    use super::*;

    #[tokio::test]
    async fn a_panic_costs_its_caller_the_result_and_nobody_else() {
        let lane = Lane::start("test", 1, Pace::Yielding).unwrap();
        for _ in 0..3 {
            let outcome = lane.run(|| panic!("broken work")).await;
            assert!(matches!(outcome, Err::<(), _>(Error::Abandoned)));
        }
        assert_eq!(lane.run(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn work_of_a_caller_that_left_does_not_start() {
        let lane = Lane::start("test", 1, Pace::Yielding).unwrap();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let (left, started) = std::sync::mpsc::channel::<()>();
        let first = lane.run(move || wait.recv());
        let second = lane.run(move || left.send(()));
        futures::pin_mut!(first);
        assert!(futures::poll!(first.as_mut()).is_pending());
        {
            futures::pin_mut!(second);
            assert!(futures::poll!(second.as_mut()).is_pending());
        }
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        lane.run(|| ()).await.unwrap();
        assert!(started.try_recv().is_err());
    }
}
