//! How many second tries all calls together may make, so that a provider that is down is not asked twice by
//! everybody. Pure. Source: gRPC proposal A6, client retries (throttling of retries).

const MOST: f64 = 10.0;
const A_SUCCESS: f64 = 0.1;

/// A purse of second tries: a failure takes one out, ten successes put one back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retries(f64);

impl Retries {
    pub(super) const fn new() -> Self {
        Self(MOST)
    }

    /// Whether somebody who failed may try again.
    pub(super) fn allows(&self) -> bool {
        self.0 > MOST / 2.0
    }

    pub(super) fn note(&mut self, is_good: bool) {
        self.0 = match is_good {
            true => (self.0 + A_SUCCESS).min(MOST),
            false => (self.0 - 1.0).max(0.0),
        };
    }
}
