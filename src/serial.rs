//! The feature `serde`: what sockets tell of themselves, as data for other programs.
//!
//! Owns how the types are written that derive nothing: names instead of numbers. How single fields are
//! written stands beside their types. Only writing is there: these are reports, and none is read back.

use serde::{Serialize, Serializer};

use crate::error::AttemptError;
use crate::message::PipeId;
use crate::peer::EndpointState;
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;

/// The stable name, as in [`DropReason::name`].
impl Serialize for DropReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The stable name, as in [`EndpointState::name`].
impl Serialize for EndpointState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// The name, such as `req`, or the number in hexadecimal of a protocol that is not known here.
impl Serialize for ProtocolId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The number.
impl Serialize for PipeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.get())
    }
}

/// The sentence that `Display` has.
impl Serialize for AttemptError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
