//! Test doubles and fixtures: a PostgreSQL cluster for tests and wire-level provider doubles.

pub mod openai;
