//! Endpoints, connections, and the bytes on them.

#[path = "../kit/mod.rs"]
mod kit;

mod backtrace;
mod bad_input;
mod endpoints;
mod foreign_transports;
mod framing;
mod header;
mod reconnect;
mod small_queues;
mod transports;
