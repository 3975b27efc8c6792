//! When pieces of text that came one by one leave together. Pure: the time is a number.
//!
//! A piece waits a moment for others of its line, or until a request of the line is over where enough of them run.
//! Pieces leave in the order in which they came. Knows neither tenants nor models.

use std::collections::VecDeque;

/// Milliseconds since this process began.
pub(super) type Ms = u64;

/// How long a piece waits for others, while a request may leave: much less than a provider takes.
pub(super) const LINGER_MS: Ms = 20;
/// Requests of one line that run at once, so that a tenant with many sources leaves room in the pools to others.
const MOST_RUNNING: usize = 2;

/// What one request holds at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) texts: usize,
    pub(super) bytes: usize,
}

/// Pieces that wait, and how many requests run.
#[derive(Debug)]
pub(super) struct Gathering<T> {
    limits: Limits,
    waiting: VecDeque<Waiting<T>>,
    running: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    since: Ms,
    texts: usize,
    bytes: usize,
    piece: T,
}

/// What is to happen now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Leave<T> {
    /// These leave together.
    Now(Vec<T>),
    /// Nothing before this moment, unless something comes or is over.
    At(Ms),
    /// Nothing until something comes or is over.
    Later,
}

impl<T> Gathering<T> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            waiting: VecDeque::new(),
            running: 0,
        }
    }

    /// A piece of so many texts and bytes comes. One that is larger than a request is a request by itself.
    pub(super) fn add(&mut self, now: Ms, texts: usize, bytes: usize, piece: T) {
        self.waiting.push_back(Waiting {
            since: now,
            texts,
            bytes,
            piece,
        });
    }

    /// What leaves now; it runs until [`Self::over`].
    pub(super) fn leave(&mut self, now: Ms) -> Leave<T> {
        let Some(first) = self.waiting.front() else {
            return Leave::Later;
        };
        if self.running >= MOST_RUNNING {
            return Leave::Later;
        }
        let until = first.since.saturating_add(LINGER_MS);
        let count = self.fitting();
        // What does not fit any more is no reason to wait, and neither is one that fills it.
        if count == self.waiting.len() && now < until && !self.is_full() {
            return Leave::At(until);
        }
        self.running += 1;
        Leave::Now(self.waiting.drain(..count).map(|one| one.piece).collect())
    }

    /// A request is over.
    pub(super) fn over(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Whether nothing waits and nothing runs.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }

    /// How many of the first pieces one request holds; one at least.
    fn fitting(&self) -> usize {
        let (mut texts, mut bytes) = (0, 0);
        let fitting = self.waiting.iter().take_while(|one| {
            texts += one.texts;
            bytes += one.bytes;
            texts <= self.limits.texts && bytes <= self.limits.bytes
        });
        fitting.count().max(1)
    }

    fn is_full(&self) -> bool {
        let texts: usize = self.waiting.iter().map(|one| one.texts).sum();
        let bytes: usize = self.waiting.iter().map(|one| one.bytes).sum();
        texts >= self.limits.texts || bytes >= self.limits.bytes
    }
}

#[cfg(test)]
mod tests {
    //! The policy by itself, over many histories.

    use super::*;

    const LIMITS: Limits = Limits {
        texts: 10,
        bytes: 1_000,
    };

    #[test]
    fn who_comes_within_a_moment_leaves_together_and_nobody_waits_longer() {
        let mut line = Gathering::new(LIMITS);
        assert_eq!(line.leave(0), Leave::Later);
        line.add(5, 1, 10, 'a');
        assert_eq!(line.leave(5), Leave::At(5 + LINGER_MS));
        line.add(10, 1, 10, 'b');
        assert_eq!(line.leave(10), Leave::At(5 + LINGER_MS));
        assert_eq!(line.leave(5 + LINGER_MS), Leave::Now(vec!['a', 'b']));
        assert!(!line.is_idle());
        line.over();
        assert!(line.is_idle());
    }

    #[test]
    fn what_is_full_leaves_at_once_and_the_rest_waits_for_more() {
        let mut line = Gathering::new(LIMITS);
        for piece in ['a', 'b', 'c'] {
            line.add(0, 4, 10, piece);
        }
        assert_eq!(line.leave(0), Leave::Now(vec!['a', 'b']));
        assert_eq!(line.leave(0), Leave::At(LINGER_MS));
        line.add(1, 1, 2_000, 'd');
        assert_eq!(line.leave(1), Leave::Now(vec!['c']));
        // Two run; the one that is larger than any request waits for one of them, and goes alone.
        line.add(2, 1, 10, 'e');
        assert_eq!(line.leave(1_000), Leave::Later);
        line.over();
        assert_eq!(line.leave(1_000), Leave::Now(vec!['d']));
        line.over();
        assert_eq!(line.leave(1_000), Leave::Now(vec!['e']));
    }

    #[test]
    fn everything_leaves_once_in_order_within_the_limits_however_it_comes() {
        let mut seed: u64 = 7;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % below
        };
        for _ in 0..2_000 {
            let mut line = Gathering::new(LIMITS);
            let (mut now, mut came, mut left, mut running) = (0, 0_u64, 0_u64, 0_usize);
            let mut requests = 0;
            while left < 60 {
                now += random(8);
                if came < 60 && random(3) > 0 {
                    let texts = 1 + random(3) as usize;
                    line.add(now, texts, texts * 50, (came, texts));
                    came += 1;
                }
                if running > 0 && random(4) == 0 {
                    line.over();
                    running -= 1;
                }
                while let Leave::Now(pieces) = line.leave(now) {
                    running += 1;
                    requests += 1;
                    assert!(running <= MOST_RUNNING);
                    let texts: usize = pieces.iter().map(|(_, texts)| texts).sum();
                    assert!(texts <= LIMITS.texts && !pieces.is_empty());
                    for (number, _) in pieces {
                        assert_eq!(number, left);
                        left += 1;
                    }
                }
                if running < MOST_RUNNING {
                    let oldest = line.waiting.front().map(|one| one.since);
                    assert!(oldest.is_none_or(|since| now < since + LINGER_MS));
                }
            }
            assert!(requests < 60, "nothing was gathered");
        }
    }
}
