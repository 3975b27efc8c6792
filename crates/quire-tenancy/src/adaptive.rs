//! How many requests may run at once, learned from how long they take. Pure: time comes in as
//! microseconds. It knows neither who asks nor what for, and it learns only while it sees everything that
//! loads the server behind it. What it is fed must not depend on how long an answer is: the time to the
//! first token of a model, the whole time of an index or a database.
//!
//! Below the knee more requests at once take as long as few; beyond it they only wait for each other. The
//! limit follows the gradient between the latency without a queue and the latency now:
//! `limit · gradient + √limit`, a fifth of the way each time. Against the usual flaw of this rule, that the
//! reference drifts up under lasting load and the limit runs away with it, the reference is never learned
//! from a crowd: it is measured when at most half of the limit runs, and when that has not happened for a
//! while, the limit is halved for a moment to find out.
//!
//! Sources: Netflix concurrency-limits (`Gradient2Limit`: clamp, headroom, smoothing, no growth while less
//! than half is used) and the gradient controller of Envoy's adaptive concurrency filter (headroom √limit,
//! measured reference; it pins the limit to 3 for that, which refuses requests, hence half here).

/// How much slower than without a queue counts as noise.
const TOLERANCE: f64 = 1.2;
/// The steepest fall that a window may ask for: outliers must not shut the door.
const LEAST_GRADIENT: f64 = 0.5;
/// The part of the way to the new limit that one window goes.
const SMOOTHING: f64 = 0.2;
/// What a dropped request leaves of the limit.
const BACKOFF: f64 = 0.9;
/// The least samples in a window: a mean of fewer says little.
const WINDOW: u32 = 16;
/// Windows without a measurement of the reference after which one is made.
const PROBE_AFTER: u32 = 50;
/// Drops this close to each other are one burst at least.
const LEAST_DEAF_US: u64 = 100_000;

/// Learns how many requests may run at once.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    min: f64,
    max: f64,
    limit: f64,
    /// How long a request takes without a queue; 0 as long as nothing is known.
    base_us: f64,
    window: Window,
    is_probing: bool,
    windows_since_base: u32,
    /// When more than half of the limit last ran.
    crowd_us: u64,
    /// Drops until then belong to a burst that was already answered.
    deaf_until_us: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    samples: u32,
    sum_us: f64,
    /// Samples that ran among few all the time, and those that ended among many.
    quiet: u32,
    crowded: u32,
}

impl Limiter {
    /// Starts at `initial` and stays between `min`, at least 1, and `max`.
    pub(crate) fn new(min: u32, max: u32, initial: u32) -> Self {
        let min = min.max(1);
        let max = max.max(min);
        Self {
            min: f64::from(min),
            max: f64::from(max),
            limit: f64::from(initial.clamp(min, max)),
            base_us: 0.0,
            window: Window::default(),
            is_probing: false,
            windows_since_base: 0,
            crowd_us: 0,
            deaf_until_us: 0,
        }
    }

    /// Requests that may run at once.
    pub(crate) fn limit(&self) -> u32 {
        match self.is_probing {
            true => self.half(),
            false => self.limit as u32,
        }
    }

    /// A request ended well after `took_us`; `running` did when it ended, with it.
    pub(crate) fn sample(&mut self, now_us: u64, took_us: u64, running: u32) {
        let is_crowd = match self.is_probing {
            true => running > self.half(),
            false => f64::from(running) * 2.0 > self.limit,
        };
        if is_crowd {
            self.crowd_us = now_us;
        }
        // What began in a crowd waited in it, however few are left when it ends.
        let is_quiet = now_us.saturating_sub(took_us) >= self.crowd_us && !is_crowd;
        if self.is_probing && !is_quiet {
            return;
        }
        let window = &mut self.window;
        window.samples += 1;
        window.sum_us += took_us.max(1) as f64;
        window.quiet += u32::from(is_quiet);
        window.crowded += u32::from(is_crowd);
        if window.samples < WINDOW.max(self.limit() / 2) {
            return;
        }
        let window = std::mem::take(&mut self.window);
        let mean_us = window.sum_us / f64::from(window.samples);
        if window.quiet == window.samples || self.base_us == 0.0 {
            // The very first may come from a crowd: the probes bring it down step by step.
            self.rebase(mean_us);
        } else if window.crowded > 0 {
            self.follow(mean_us);
        }
    }

    /// A request was turned away for overload or ran out of time. A burst of them counts once.
    pub(crate) fn dropped(&mut self, now_us: u64) {
        if now_us < self.deaf_until_us {
            return;
        }
        let deaf_us = (self.base_us as u64).max(LEAST_DEAF_US);
        self.deaf_until_us = now_us.saturating_add(deaf_us);
        self.set(self.limit * BACKOFF);
    }

    fn half(&self) -> u32 {
        (self.limit / 2.0).max(self.min) as u32
    }

    fn set(&mut self, limit: f64) {
        self.limit = limit.clamp(self.min, self.max);
    }

    /// Takes the latency without a queue from a quiet window.
    fn rebase(&mut self, mean_us: f64) {
        self.base_us = match self.base_us {
            0.0 => mean_us,
            base_us => (base_us + mean_us) / 2.0,
        };
        self.is_probing = false;
        self.windows_since_base = 0;
    }

    fn follow(&mut self, mean_us: f64) {
        let gradient = (TOLERANCE * self.base_us / mean_us).clamp(LEAST_GRADIENT, 1.0);
        let target = self.limit * gradient + self.limit.sqrt();
        self.set(self.limit + (target - self.limit) * SMOOTHING);
        self.windows_since_base += 1;
        self.is_probing = self.windows_since_base >= PROBE_AFTER;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A server with so many workers and a line before them, and callers that respect the limit.
    struct Server {
        now: u64,
        workers: Vec<u64>,
        service_us: u64,
        ends: BTreeSet<(u64, u64, u64)>,
        begun: u64,
        noise: u64,
    }

    impl Server {
        fn new(workers: usize, service_us: u64) -> Self {
            Self {
                now: 0,
                workers: vec![0; workers],
                service_us,
                ends: BTreeSet::new(),
                begun: 0,
                noise: 1,
            }
        }

        fn begin(&mut self) {
            self.noise = self
                .noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Half to one and a half of the mean.
            let service_us = self.service_us * (500 + (self.noise >> 33) % 1_000) / 1_000;
            if let Some(free) = self.workers.iter_mut().min() {
                *free = self.now.max(*free) + service_us;
                self.ends.insert((*free, self.begun, self.now));
                self.begun += 1;
            }
        }

        /// Keeps as many running as the limit and the demand allow, and ends some. The limits it saw.
        fn run(&mut self, limiter: &mut Limiter, demand: u32, requests: u32) -> Vec<u32> {
            let mut limits = Vec::new();
            for _ in 0..requests {
                while (self.ends.len() as u32) < limiter.limit().min(demand) {
                    self.begin();
                }
                let running = self.ends.len() as u32;
                if let Some((end, _, since)) = self.ends.pop_first() {
                    self.now = end;
                    limiter.sample(end, end - since, running);
                }
                limits.push(limiter.limit());
            }
            limits
        }
    }

    fn mean(limits: &[u32]) -> f64 {
        limits.iter().map(|limit| f64::from(*limit)).sum::<f64>() / limits.len() as f64
    }

    #[test]
    fn it_settles_near_the_knee_and_stays_there_under_any_load() {
        for (workers, initial) in [(4, 20), (20, 4), (20, 200), (60, 20)] {
            let mut limiter = Limiter::new(1, 400, initial);
            let mut server = Server::new(workers, 50_000);
            server.run(&mut limiter, workers as u32 * 10, 100_000);
            let limits = server.run(&mut limiter, workers as u32 * 10, 400_000);
            let (settled, most) = (mean(&limits), limits.iter().max());
            let knee = workers as f64;
            assert!(
                (knee * 0.9..knee * 2.2).contains(&settled),
                "{workers}: {settled}"
            );
            assert!(
                most.is_some_and(|most| f64::from(*most) < knee * 3.0),
                "{most:?}"
            );
        }
    }

    /// A server that takes as long whatever runs: the limiter sees `running` at every end.
    fn steady(
        limiter: &mut Limiter,
        now: &mut u64,
        took_us: u64,
        running: Option<u32>,
        times: u32,
    ) {
        for _ in 0..times {
            let running = running.unwrap_or(limiter.limit());
            *now += took_us / u64::from(running);
            limiter.sample(*now, took_us, running);
        }
    }

    #[test]
    fn a_constant_latency_never_lowers_it() {
        let (mut limiter, mut now) = (Limiter::new(1, 100, 10), 0);
        for _ in 0..10_000 {
            steady(&mut limiter, &mut now, 80_000, None, 1);
            assert!(limiter.is_probing || limiter.limit() >= 10);
        }
        assert!(limiter.limit() >= 50);
    }

    #[test]
    fn it_grows_only_while_it_is_used() {
        let (mut limiter, mut now) = (Limiter::new(1, 100, 10), 0);
        steady(&mut limiter, &mut now, 80_000, Some(3), 10_000);
        assert_eq!(limiter.limit(), 10);
    }

    #[test]
    fn it_shrinks_when_the_latency_doubles_and_recovers() {
        let (mut limiter, mut now) = (Limiter::new(1, 40, 20), 0);
        steady(&mut limiter, &mut now, 50_000, None, 1_000);
        assert_eq!(limiter.limit(), 40);
        steady(&mut limiter, &mut now, 100_000, None, 300);
        assert!(limiter.limit() < 20, "{}", limiter.limit());
        steady(&mut limiter, &mut now, 50_000, None, 1_500);
        assert!(limiter.limit() >= 20, "{}", limiter.limit());
    }

    #[test]
    fn a_slower_server_is_taken_as_it_is_in_the_end() {
        let mut limiter = Limiter::new(1, 100, 10);
        let mut server = Server::new(20, 50_000);
        server.run(&mut limiter, 1_000, 20_000);
        server.service_us = 150_000;
        server.run(&mut limiter, 1_000, 20_000);
        let settled = mean(&server.run(&mut limiter, 1_000, 20_000));
        assert!((18.0..44.0).contains(&settled), "{settled}");
    }

    #[test]
    fn a_burst_of_drops_counts_once_and_never_ends_below_the_minimum() {
        let mut limiter = Limiter::new(2, 100, 50);
        (0..30).for_each(|drop| limiter.dropped(1_000_000 + drop));
        assert_eq!(limiter.limit(), 45);
        (0..100).for_each(|drop| limiter.dropped(2_000_000 + drop * 100_000));
        assert_eq!(limiter.limit(), 2);
        steady(&mut limiter, &mut 20_000_000, 50_000, None, 2_000);
        assert!(limiter.limit() > 20, "{}", limiter.limit());
    }

    #[test]
    fn it_leaves_a_minimum_of_one() {
        let (mut limiter, mut now) = (Limiter::new(0, 10, 0), 0);
        assert_eq!(limiter.limit(), 1);
        steady(&mut limiter, &mut now, 50_000, None, 1_000);
        assert!(limiter.limit() > 4);
    }
}
