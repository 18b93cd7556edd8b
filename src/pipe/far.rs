//! Far ends: who is at the other end of a pipe's rings.
//!
//! Owns [`FarEnd`] and its two kinds, a stream connection and a socket of this process. Both are told that
//! something happened to a ring, and that this side is done.

use std::fmt;
use std::time::{Duration, Instant};

use super::closing::{self, FinalWrite};
use super::{Edge, Host, SocketBell};
use crate::detach::DetachReason;
use crate::message::PipeId;
use crate::sync::{Arc, Weak};

/// The other side of a pipe's rings.
#[derive(Clone, Debug)]
pub(crate) enum FarEnd {
    /// A stream connection.
    Link(Arc<dyn FarLink>),
    /// Another socket of this process.
    Socket(Arc<FarSocket>),
}

/// The other socket of an inproc pipe.
#[derive(Debug)]
pub(crate) struct FarSocket {
    pub(crate) host: Weak<dyn Host>,
    pub(crate) bell: Arc<SocketBell>,
    /// The other socket's id for this pipe.
    pub(crate) pipe: PipeId,
}

/// A stream connection, driven by an event loop and by threads that send.
///
/// Each call writes to the kernel or posts to the loop, and none is made under a socket's lock. Messages do not
/// pass through here: they go through the ring.
pub(crate) trait FarLink: fmt::Debug + Send + Sync {
    /// Announces `edge`. If messages are to be written, and it is better for the calling thread to write them,
    /// it does so in here.
    fn ring(&self, edge: Edge);

    /// Writes once, unless the kernel is known to be full or another thread writes. For a caller that has seen that a
    /// batch is queued, or that closes many pipes. The duty to write the remainder stays where it is.
    fn write_batch(&self);

    /// Writes what can be written without waiting, and leaves the remainder to the event loop.
    fn close(&self, linger: Duration);

    /// Writes what the kernel takes until `until`; if that is all, tells the peer that nothing follows. For the
    /// thread that closes the pipe.
    fn write_before_close(&self, until: Instant) -> FinalWrite;

    /// Posts to the event loop to write what is queued and close the connection, after at most `linger`.
    fn post_close(&self, linger: Duration);
}

impl FarEnd {
    /// Whether a sent message belongs to the far end at once, which then accounts for it: over inproc our send
    /// ring is its receive ring.
    #[inline]
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self, Self::Socket(_))
    }

    /// The connection, if it is one.
    pub(crate) fn link(&self) -> Option<&Arc<dyn FarLink>> {
        match self {
            Self::Link(link) => Some(link),
            Self::Socket(_) => None,
        }
    }

    /// Announces `edge` to the far end. Never called under a socket's lock: a link may write to the kernel in
    /// here.
    pub(crate) fn ring(&self, edge: Edge) {
        match self {
            Self::Link(link) => link.ring(edge),
            Self::Socket(far) => far.bell.ring(far.pipe, edge),
        }
    }

    /// Gives the kernel what it takes of the queued messages, since the process may end right after, and tells
    /// the far ends that this side is done. Never called under a socket's lock.
    pub(crate) fn close_all(fars: impl IntoIterator<Item = Self>, linger: Duration) {
        let mut links = Vec::new();
        for far in fars {
            match far {
                Self::Link(link) => links.push(link),
                Self::Socket(_) => far.close(linger),
            }
        }
        closing::close_all(links, linger);
    }

    /// Tells the far end that this side is done with the pipe. Never called under a socket's lock.
    pub(crate) fn close(&self, linger: Duration) {
        match self {
            Self::Link(link) => link.close(linger),
            Self::Socket(far) => {
                if let Some(host) = far.host.upgrade() {
                    host.detach(far.pipe, DetachReason::PeerClosed);
                }
            }
        }
    }
}
