//! What flows in and out by itself.
//!
//! [`records`]: another product tells what changed, in any order and as often as it likes; the newest state is kept
//! and a task makes a source of it, in the notebook of the job or client it is about. [`connections`]: accounts
//! elsewhere are read page by page, or send signed webhooks. [`outbound`]: endpoints of tenants are told what
//! happened here. [`egress`] is the only way to an address that a user gave. Knows no HTTP server and no SQL.

mod connect;
pub mod connections;
pub mod egress;
mod error;
mod link;
pub mod outbound;
pub mod records;
pub mod standard;

pub use connect::{Connect, ConnectConfig};
pub use error::Error;
pub use link::Linked;
