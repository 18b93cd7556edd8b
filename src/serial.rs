//! The feature `serde`: what sockets tell of themselves, as data for other programs.
//!
//! Owns how the types are written that derive nothing or too much: names instead of numbers, drops as a
//! map, moments as seconds from now. Only writing is there: these are reports, and none is read back.

use std::time::Instant;

use serde::{Serialize, Serializer};

use crate::error::AttemptError;
use crate::message::PipeId;
use crate::protocol::ProtocolId;
use crate::socket::EndpointState;
use crate::stats::{DropReason, PipeDrops};

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

/// For how many seconds it has been so.
pub(crate) fn age<S: Serializer>(since: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(since.elapsed().as_secs_f64())
}

/// In how many seconds it will be so; zero if it should have been.
pub(crate) fn until<S: Serializer>(at: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64()).serialize(serializer)
}

/// What was dropped, by reason, the zeros included.
pub(crate) fn drops<S: Serializer>(drops: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(DropReason::ALL.iter().zip(drops))
}

/// What was dropped of one peer, by reason, without the zeros.
pub(crate) fn pipe_drops<S: Serializer>(
    drops: &PipeDrops,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let counts = DropReason::ALL.iter().map(|&reason| (reason, drops.drops(reason)));
    serializer.collect_map(counts.filter(|&(_, count)| count > 0))
}

/// What a device has in hand, both directions together.
pub(crate) fn held<S: Serializer>(held: &[i64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(crate::socket::device::in_hand(held))
}
