//! Far ends: who is at the other end of a pipe's rings.
//!
//! Owns [`Far`], the two kinds of far end, and what is said to one: that something happened to a ring, and
//! that this side is done. How often a thread that sends writes to the kernel itself is decided here too.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::{Edge, Host, SocketBell};
use crate::detach::DetachReason;
use crate::io::{self, Link};
use crate::message::PipeId;
use crate::sync::{Arc, Weak};
use crate::tuning::{self, Choice};

/// Who holds the far ends of a pipe's rings.
#[derive(Clone, Debug)]
pub(crate) enum Far {
    /// A stream connection, driven by the reactor and by whoever sends.
    Link(Arc<Link>),
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

impl Far {
    /// Announces `edge` to the far end. Never called under a socket's lock: a link writes to the
    /// kernel in here if it had better.
    pub(crate) fn ring(&self, edge: Edge) {
        match (self, edge) {
            (Self::Link(link), Edge::Readable) => {
                if !write_directly(|| link.flush_or_post()) {
                    link.post_flush();
                }
            }
            (Self::Link(link), Edge::Writable) => link.resume_reading(),
            (Self::Socket(far), edge) => far.bell.ring(far.pipe, edge),
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
        io::close_all(links, linger);
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

thread_local! {
    /// How the calling thread has rung links so far.
    static PACE: Cell<Pace> = const { Cell::new(Pace::new()) };
}

/// How fast a thread rings.
#[derive(Clone, Copy)]
struct Pace {
    /// It had better write again then, and not before.
    not_before: Option<Instant>,
    /// How long the direct write took that was measured last.
    write: Duration,
    /// How many direct writes are not measured until the next one is. To ask the clock twice for each
    /// is a part of what it takes that can be felt.
    unmeasured: u8,
}

impl Pace {
    const fn new() -> Self {
        Self { not_before: None, write: Duration::ZERO, unmeasured: 0 }
    }

    /// Has the thread be silent for a while, from `time` on, before it writes again.
    fn pause_from(&mut self, time: Instant) {
        let pause = (self.write / 2).clamp(tuning::APART, tuning::FAR_APART);
        self.not_before = Some(time + pause);
    }
}

/// Does `write`, to the kernel, if the calling thread had better do so now; `false` if not.
///
/// Who sends now and then writes directly: nobody has to be woken. Who sends in a tight loop would
/// pay a system call for each message; there the I/O thread writes, and while it writes messages
/// gather. The loop is told by the time since the thread was here last, whether it wrote then or not: in
/// a loop that is a part of what a write takes, however fast the machine. It is the thread that counts,
/// not the pipe or the socket: a broadcast is a tight loop over pipes, and a program may loop over
/// sockets.
fn write_directly(write: impl FnOnce()) -> bool {
    const UNMEASURED: u8 = 7;
    let begin = Instant::now();
    let mut pace = PACE.get();
    let allowed = match tuning::CALLER_WRITES {
        Choice::Never => false,
        Choice::Always => true,
        Choice::Measured => pace.not_before.is_none_or(|time| begin >= time),
    };
    if !allowed {
        pace.pause_from(begin);
    } else if pace.unmeasured == 0 {
        write();
        let end = Instant::now();
        pace.write = end - begin;
        pace.unmeasured = UNMEASURED;
        pace.pause_from(end);
    } else {
        write();
        pace.unmeasured -= 1;
        pace.pause_from(begin + pace.write);
    }
    PACE.set(pace);
    allowed
}
