//! What measurements of search share: one thread on one core, percentiles, memory, a skewed choice.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::thread::CpuSet;

use crate::failure::Failure;

/// Waits by their share, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Percentiles {
    pub(super) p50: f64,
    pub(super) p95: f64,
    pub(super) p99: f64,
}

impl Percentiles {
    /// Of waits in milliseconds; NaN without any. The smallest wait that this share does not exceed.
    pub(super) fn of(mut waits: Vec<f64>) -> Self {
        waits.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (waits.len() as f64 * share).ceil() as usize;
            waits.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
        };
        Self {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
        }
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The core to measure on if none is named: the last one this process may use, since the first one of a machine
/// has most of its interrupts.
pub(super) fn last_core() -> Result<usize, Failure> {
    let allowed = rustix::thread::sched_getaffinity(None);
    let allowed = allowed.map_err(Failure::doing("asking for the cores"))?;
    let last = (0..CpuSet::MAX_CPU).rfind(|core| allowed.is_set(*core));
    Ok(last.unwrap_or(0))
}

/// Does `work` on a thread of its own that stays on one core. Threads that it starts stay there as well.
pub(super) fn pinned<T: Send>(
    core: usize,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let pin_and_work = || {
        let mut only = CpuSet::new();
        only.set(core);
        rustix::thread::sched_setaffinity(None, &only)
            .map_err(Failure::doing(format!("staying on core {core}")))?;
        work()
    };
    let joined = std::thread::scope(|scope| scope.spawn(pin_and_work).join());
    joined.map_err(|_| Failure::failed("the measuring thread panicked"))?
}

/// What a process holds in memory, in MiB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Memory {
    /// Pages in memory.
    pub(super) rss: f64,
}

impl Memory {
    /// Of this process.
    pub(super) fn own() -> Result<Self, Failure> {
        let path = "/proc/self/status";
        let text = std::fs::read_to_string(path).map_err(Failure::doing(path))?;
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
            let kib = kib.ok_or_else(|| Failure::failed(format!("{path} has no {name}")));
            kib.map(|kib| kib / 1_024.0)
        };
        Ok(Self {
            rss: field("VmRSS:")?,
        })
    }
}

/// Chooses among n things, the k-th with a chance in proportion to k^-s (Zipf's law).
pub(super) struct Zipf {
    /// Sums of the weights, so that one number finds its thing by bisection.
    sums: Vec<f64>,
}

impl Zipf {
    pub(super) fn new(things: usize, exponent: f64) -> Self {
        let weights = (1..=things).map(|k| (k as f64).powf(-exponent));
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Self {
            sums: sums.collect(),
        }
    }

    pub(super) fn choose(&self, rng: &mut StdRng) -> usize {
        let all = self.sums.last().copied().unwrap_or(0.0);
        let point = rng.random::<f64>() * all;
        let at = self.sums.partition_point(|sum| *sum <= point);
        at.min(self.sums.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn percentiles_are_waits_that_were_measured() {
        let found = Percentiles::of((1..=100).rev().map(f64::from).collect());
        assert_eq!((found.p50, found.p95, found.p99), (50.0, 95.0, 99.0));
        assert!(Percentiles::of(Vec::new()).p50.is_nan());
    }

    #[test]
    fn the_first_of_two_is_chosen_twice_as_often() {
        let zipf = Zipf::new(2, 1.0);
        let mut rng = StdRng::seed_from_u64(3);
        let first = (0..30_000).filter(|_| zipf.choose(&mut rng) == 0).count();
        assert!((19_500..20_500).contains(&first), "{first}");
    }
}
