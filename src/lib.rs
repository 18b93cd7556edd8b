//! sinew: brokerless messaging with the nanomsg scalability protocols.

#![deny(unsafe_code)]

mod error;
mod message;
mod protocol;
mod stats;
mod sync;

pub use message::{Message, PipeId};
pub use protocol::ProtocolId;
pub use stats::{DropReason, Stats};
