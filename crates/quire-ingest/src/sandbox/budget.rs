//! How long a file may take, by what it looks like: recognising speech takes minutes, reading a letter does
//! not, and a letter that takes minutes is made to.

use std::time::Duration;

use quire_types::MediaType;

use crate::detect::glance;

/// The time that one file may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Processor time of the reader, and of each program it starts.
    pub(super) cpu_seconds: u64,
    /// Time by the clock on the wall.
    pub(super) wall_clock: Duration,
    /// Whether it is long enough that others should not wait behind it.
    pub(super) is_long: bool,
}

impl Budget {
    /// From the first bytes alone, as the parent trusts nothing behind them.
    pub(super) fn of(name: &str, bytes: &[u8]) -> Self {
        let (cpu_seconds, minutes) = match glance(name, bytes) {
            // Parts of five minutes, each recognised in less time than it lasts, and again as much on a
            // machine with other work.
            Some(MediaType::Audio | MediaType::Video) => (900, 210),
            // May hold any of the others.
            Some(MediaType::Email) => (900, 60),
            // Each scanned page is read by a process of its own.
            Some(MediaType::Pdf) => (60, 30),
            Some(MediaType::Image) => (120, 5),
            _ => (60, 2),
        };
        Self {
            cpu_seconds,
            wall_clock: Duration::from_secs(minutes * 60),
            is_long: minutes > 60,
        }
    }
}
