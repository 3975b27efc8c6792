//! End-to-end tests: the real binary, its HTTP API and its command line, on a real PostgreSQL with the
//! real model.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod ask;
mod bad_input;
mod cache;
mod chat;
mod cli;
mod connectors;
mod crash;
mod database;
mod depth;
mod embedding;
mod endpoints;
mod groups;
mod http;
mod index;
mod inflow;
mod isolation;
mod kills;
mod media;
mod models;
mod openai;
mod openapi;
mod progress;
mod questions;
mod records;
mod routes;
mod season;
mod spans;
mod spending;
mod support;
mod tasks;
mod tenancy;
mod tidy;
mod workers;
