//! Ends a reading child whose parent is gone, with all that it started: whoever dies by `kill -9` has no time for it.
//!
//! The kernel's signal at the death of a parent is none for that: it is tied to the thread that started the child, and
//! programs that the child starts don't inherit it.

use std::thread;
use std::time::Duration;

use rustix::process::{Signal, getpgrp, getpid, getppid, kill_current_process_group, kill_process};

const EVERY: Duration = Duration::from_secs(1);

/// From now on this process ends with its parent.
pub(super) fn end_with_parent() {
    let parent = getppid();
    // Without the thread it lives as long as its limits allow.
    drop(thread::Builder::new().spawn(move || {
        while getppid() == parent {
            thread::sleep(EVERY);
        }
        // Started by hand it may share its group with whoever did that.
        let _ = match getpgrp() == getpid() {
            true => kill_current_process_group(Signal::KILL),
            false => kill_process(getpid(), Signal::KILL),
        };
    }));
}
