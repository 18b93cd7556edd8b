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
    /// The other socket's name for this pipe.
    pub(crate) pipe: PipeId,
}

/// A stream connection, driven by an event loop and by whoever sends.
///
/// Each call writes to the kernel or tells the loop something, and none is made under a socket's lock. A
/// message passes by: it goes through the ring.
pub(crate) trait FarLink: fmt::Debug + Send + Sync {
    /// Announces `edge`. What is to be read is written to the kernel in here if the calling thread had
    /// better.
    fn ring(&self, edge: Edge);

    /// Writes what is queued, once: the caller has seen that it is enough for a write. Whoever has the
    /// duty to write keeps it.
    fn write_batch(&self);

    /// Writes what can be written without waiting, and leaves the remainder to the event loop.
    fn close(&self, linger: Duration);

    /// Writes what the kernel takes, but not beyond `until`; if that is all, the peer is told that nothing
    /// follows. For the thread that closes the pipe.
    fn write_before_close(&self, until: Instant) -> FinalWrite;

    /// Has the event loop write what is queued and close the connection, after at most `linger`.
    fn post_close(&self, linger: Duration);
}

impl FarEnd {
    /// Whether what is sent is the far end's at once, and no more ours to account for: inside the process
    /// our send ring is its receive ring.
    #[inline]
    pub(crate) fn is_direct(&self) -> bool {
        matches!(self, Self::Socket(_))
    }

    /// The connection, where it is one.
    pub(crate) fn link(&self) -> Option<&Arc<dyn FarLink>> {
        match self {
            Self::Link(link) => Some(link),
            Self::Socket(_) => None,
        }
    }

    /// Announces `edge` to the far end. Never called under a socket's lock: a link writes to the
    /// kernel in here if it had better.
    pub(crate) fn ring(&self, edge: Edge) {
        match self {
            Self::Link(link) => link.ring(edge),
            Self::Socket(far) => far.bell.ring(far.pipe, edge),
        }
    }

    /// Tells the far ends that this side is done with their pipes, and gives the kernel first what it
    /// takes for them: the process may end right after. Never called under a socket's lock.
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
