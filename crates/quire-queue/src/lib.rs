//! Durable tasks: enqueue in the caller's transaction, run under a lease.
