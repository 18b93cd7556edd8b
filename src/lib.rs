//! sinew: brokerless messaging with the nanomsg scalability protocols.

#![deny(unsafe_code)]

mod error;
mod message;
mod protocol;
mod ring;
mod stats;
mod sync;
mod wire;

pub use message::{Message, PipeId};
pub use protocol::ProtocolId;
pub use stats::{DropReason, Stats};
