//! How long a file may take, by what it looks like: recognising speech takes minutes, reading a text does not, and a
//! text that takes minutes is made to. A letter may hold any of the others.

use std::time::Duration;

use quire_types::MediaType;

use crate::detect::glance;
use crate::extract::PictureKind;

/// The time that one file may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Budget {
    /// Processor time of the reader, and of each program it starts.
    pub(super) cpu_seconds: u64,
    /// Time by the clock on the wall.
    pub(super) wall_clock: Duration,
}

impl Budget {
    /// From the first bytes alone, as the parent trusts nothing behind them.
    pub(super) fn of(name: &str, bytes: &[u8]) -> Self {
        let (cpu_seconds, minutes) = match glance(name, bytes) {
            // Three hours in parts of five minutes, each recognised in the time that it lasts at most, and
            // half an hour for the rest. On a machine with more other work than that a long one is stopped.
            Some(MediaType::Audio | MediaType::Video) => (900, 210),
            // May hold any of the others; recordings of an hour at most are heard to their end.
            Some(MediaType::Email) => (900, 60),
            // Each scanned page is read by a process of its own.
            Some(MediaType::Pdf) => (60, 30),
            // As many pages as a PDF.
            Some(MediaType::Image) if PictureKind::of(bytes) == Some(PictureKind::Tiff) => {
                (120, 30)
            }
            Some(MediaType::Image) => (120, 5),
            _ => (60, 2),
        };
        Self {
            cpu_seconds,
            wall_clock: Duration::from_secs(minutes * 60),
        }
    }
}
