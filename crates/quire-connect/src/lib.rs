//! What flows in and out by itself.
//!
//! [`records`]: another product tells what changed, in any order and as often as it likes; the newest state is
//! kept and a task makes a source of it, in the notebook of the job or client it is about. Knows no HTTP
//! server and no SQL.

mod connect;
mod error;
pub mod records;

pub use connect::{Connect, ConnectConfig};
pub use error::Error;
