//! HTTP: the only crate that knows requests, status codes and JSON bodies.
//!
//! [`app`] builds the router and, from the same handlers, the OpenAPI document. A handler extracts,
//! makes one call to a feature crate and shapes a body. Who is calling is an argument type
//! (`caller`): there is no way to hold a tenant, notebook or source that was not checked. Errors
//! become problem documents in one place (`problem`).

mod body;
mod caller;
mod docs;
mod events;
mod idempotent;
mod metrics;
mod middleware;
mod prefetch;
mod pressure;
mod problem;
mod rate;
mod routes;
mod serve;
mod state;

pub use metrics::{Metrics, SpanTotals};
pub use middleware::EXPORTED_ONLY;
pub use prefetch::Prefetch;
pub use pressure::Pressure;
pub use routes::{app, openapi, vitals};
pub use serve::serve;
pub use state::{Limits, Parts};
