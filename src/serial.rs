//! The feature `serde`: the reports of sockets, as data for other programs.
//!
//! Owns how the types are written that do not derive `Serialize`: names instead of numbers. How single fields
//! are written is beside their types. There is no `Deserialize`: nobody reads reports back in.

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::error::AttemptError;
use crate::message::PipeId;
use crate::peer::{EndpointState, PeerIdentity};
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;
use crate::tls_error::TlsError;

/// Writes the stable name, as [`DropReason::name`] returns it.
impl Serialize for DropReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Writes the stable name, as [`EndpointState::name`] returns it.
impl Serialize for EndpointState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Writes the name, such as `req`, or the number in hexadecimal of a protocol that this crate does not have.
impl Serialize for ProtocolId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes the number.
impl Serialize for PipeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.get())
    }
}

/// Writes the sentence that `Display` writes.
impl Serialize for AttemptError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes the sentence that `Display` writes.
impl Serialize for TlsError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes the names, and not the certificates.
impl Serialize for PeerIdentity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut identity = serializer.serialize_struct("PeerIdentity", 2)?;
        identity.serialize_field("common_name", &self.common_name())?;
        identity.serialize_field("names", &self.names().collect::<Vec<_>>())?;
        identity.end()
    }
}
