//! What all sockets have in common, whatever their protocol.

mod admit;
mod asynchronous;
mod closing;
mod devices;
mod errors;
mod foreign_code;
#[cfg(target_os = "linux")]
mod interrupts;
mod iterators;
mod metrics;
mod options;
mod pipe_events;
mod readiness;
mod runtime;
mod spinning;
mod stats;
mod timeouts;
