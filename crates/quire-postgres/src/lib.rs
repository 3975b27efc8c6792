//! A private PostgreSQL server as a child process of quire; knows processes, users and files, no SQL.
//!
//! [`Server::open`] lays out a directory, takes the gate lock, makes the cluster if there is none, adopts
//! a running server or starts one, and takes a shared lock that says "I use it". [`Server::close`] gives
//! the lock back, and whoever finds nobody else holding it stops the server: the last one out turns off
//! the light. Locks belong to the kernel, so a process that is killed lets go of them too, and the next
//! one finds either a healthy server to adopt or a broken one to fence. [`Server::supervise`] brings
//! the server back when somebody kills it.
//!
//! The server listens on no network address, only on a unix socket inside a directory of mode 0700.
//! Connections need no password for that reason: only the user who runs the server, and root, can
//! reach the socket, and both could read the files anyway.

mod account;
mod binaries;
mod cluster;
mod error;
mod layout;
mod lock;
mod options;
mod pidfile;
mod postmaster;
mod process;
mod server;
mod socket;
mod supervise;

pub use binaries::{Binaries, Version};
pub use error::Error;
pub use options::Options;
pub use server::{ADMIN_USER, PORT, Server};
