//! Log records of what happens under a socket's lock.
//!
//! Owns the list of records that an entry has noted, and their words. A logger is foreign code: it may be slow,
//! and it may use the very socket. So a record is only noted under the lock, and written after the lock is
//! given back.

use log::LevelFilter;

use crate::contain::{is_traced, record};
use crate::detach::DetachReason;
use crate::peer::Peer;
use crate::stats::DropReason;

/// A record of a socket, at level debug unless stated otherwise.
#[derive(Debug)]
pub(super) enum Record {
    /// The socket uses a new pipe.
    There(Peer),
    /// A pipe is gone.
    Gone(Peer, DetachReason),
    /// A message was dropped: the first one of the peer for this reason, or without a peer the first one of the
    /// socket.
    Dropped(Option<Peer>, DropReason),
    /// A message was dropped because the SUB has no subscriptions. At level warn, once for the socket.
    Unsubscribed,
}

/// The records to be written.
#[derive(Debug, Default)]
pub(super) struct Records(Vec<Record>);

impl Records {
    /// Whether a logger may want any. If not, none need be made.
    pub(super) fn are_wanted() -> bool {
        is_traced()
            || LevelFilter::Debug <= log::STATIC_MAX_LEVEL && LevelFilter::Debug <= log::max_level()
    }

    /// Whether a logger may want a record of a message that was dropped for `reason`, at debug, or at warn for
    /// messages that match no subscription.
    pub(super) fn are_wanted_of(reason: DropReason) -> bool {
        let level = match reason {
            DropReason::NotSubscribed => LevelFilter::Warn,
            _ => LevelFilter::Debug,
        };
        is_traced() || level <= log::STATIC_MAX_LEVEL && level <= log::max_level()
    }

    /// Whether a message was dropped because it matched no subscription.
    pub(super) fn tell_of_unwanted(&self) -> bool {
        let unwanted =
            |record: &Record| matches!(record, Record::Dropped(_, DropReason::NotSubscribed));
        self.0.iter().any(unwanted)
    }

    pub(super) fn push(&mut self, record: Record) {
        self.0.push(record);
    }

    /// Writes the records of the socket with this name.
    pub(super) fn write(self, name: &str) {
        for record in self.0 {
            record.write(name);
        }
    }
}

impl Record {
    fn write(&self, name: &str) {
        match self {
            Self::There(peer) => record!(
                Debug,
                { socket: name, peer: peer, pipe: peer.pipe },
                "{name}: {peer} is there, pipe {}", peer.pipe
            ),
            Self::Gone(peer, reason) => record!(
                Debug,
                { socket: name, peer: peer, pipe: peer.pipe, reason: reason },
                "{name}: {peer} is gone, pipe {}: {reason}", peer.pipe
            ),
            Self::Dropped(Some(peer), reason) => record!(
                Debug,
                { socket: name, peer: peer, pipe: peer.pipe, reason: reason },
                "{name}: {peer}, pipe {}: the first message is dropped: {reason}", peer.pipe
            ),
            Self::Dropped(None, reason) => record!(
                Debug,
                { socket: name, reason: reason },
                "{name}: the first message is dropped: {reason}"
            ),
            Self::Unsubscribed => record!(
                Warn,
                { socket: name, reason: DropReason::NotSubscribed },
                "{name}: the first message is dropped: nothing is subscribed to"
            ),
        }
    }
}
