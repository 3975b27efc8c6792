//! Upkeep on real stores: damage is found and mended, a sweep takes only what nothing needs, segments are made
//! anew and put back while others read and write, notebooks are archived and come back, and an erased tenant
//! leaves nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;
mod check;
mod embed;
mod erase;
mod lab;
mod rebuild;
mod sweep;
