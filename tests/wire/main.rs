//! Endpoints, connections, and the bytes on them.

mod backtrace;
mod bad_input;
mod endpoints;
mod foreign_transports;
mod framing;
mod given;
mod header;
mod limits;
mod reconnect;
#[cfg(target_os = "linux")]
mod reports;
mod small_queues;
mod transports;
mod unfinished;
#[cfg(feature = "ws")]
mod websocket;
