//! Loss: what becomes of a runtime when one of its event loops panics.
//!
//! A loop ends before its runtime only by a panic that no [`contain`](crate::contain) has caught: a fault of ours.
//! Then nothing that it owns can be trusted. Its thread gives all of it up, and every socket of the runtime is
//! told, so that no call waits for a loop that turns no more. Owns the list of those sockets.

use slab::Slab;

use crate::contain::contain;
use crate::pipe::Host;
use crate::room::GiveBack;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Rank, Weak};

/// What the event loops of a runtime and its sockets share.
#[derive(Debug)]
pub(crate) struct Loss {
    is_lost: AtomicBool,
    sockets: Mutex<Slab<Weak<dyn Host>>>,
}

impl Loss {
    pub(crate) fn new() -> Self {
        Self { is_lost: AtomicBool::new(false), sockets: Mutex::new(Rank::Sockets, Slab::new()) }
    }

    /// Whether a loop has been lost.
    #[inline]
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }

    /// Adds a socket. Returns its place. Afterwards the socket checks whether a loop has been lost.
    pub(crate) fn join(&self, socket: Weak<dyn Host>) -> usize {
        self.sockets.lock().insert(socket)
    }

    /// Removes the socket at `place`.
    pub(crate) fn leave(&self, place: usize) {
        let mut sockets = self.sockets.lock();
        let socket = sockets.try_remove(place);
        sockets.give_back();
        drop(sockets);
        drop(socket);
    }

    /// Has later calls fail: a loop has been lost.
    pub(crate) fn begin(&self) {
        self.is_lost.store(true, Ordering::Relaxed);
    }

    /// Tells all sockets that a loop has been lost: first each of them that it is over, so that no call waits
    /// longer than that takes, and then ends them one after the other. After [`begin`](Self::begin).
    pub(crate) fn spread(&self) {
        // Behind the lock each socket either is in the list or sees what was stored before.
        let sockets: Vec<Arc<dyn Host>> =
            self.sockets.lock().iter().filter_map(|(_, socket)| socket.upgrade()).collect();
        for socket in &sockets {
            contain("a socket whose event loop is lost", || socket.lose());
        }
        for socket in sockets {
            contain("the end of a socket whose event loop is lost", || socket.end_lost());
        }
    }
}
