//! The control plane against a real PostgreSQL.

mod admission;
mod money;
mod redis;
mod support;
mod tenants;
mod usage;
