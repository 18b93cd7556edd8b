//! Deciding: the count of peers about which the program is deciding, and the listeners that wait for it to
//! fall.
//!
//! A decision takes from the first event of a peer, `Attaching`, to its second: as long as the program's
//! `admit` callback. Meanwhile the peer costs a connection, so listeners accept no more once there are
//! [`MOST`].

use crate::pipe::Postponed;
use crate::sync::{AtomicUsize, Mutex, Ordering, Rank};

/// Accept no more while this many decisions are under way. Enough for a fleet that reconnects at once; further
/// peers wait in the kernel.
const MOST: usize = 1024;
/// Accept again when this many are left: not so few that the callbacks run out of work.
const FEW: usize = MOST / 2;

#[derive(Debug)]
pub(super) struct Deciding {
    count: AtomicUsize,
    listeners: Mutex<Vec<Postponed>>,
}

impl Deciding {
    /// Makes an empty one.
    pub(super) fn new() -> Self {
        Self { count: AtomicUsize::new(0), listeners: Mutex::new(Rank::Deciding, Vec::new()) }
    }

    /// Counts a peer that is announced.
    pub(super) fn begin(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a peer that is let in or turned away. Returns the listeners to tell to accept again, if there are
    /// few enough now.
    pub(super) fn end(&self) -> Vec<Postponed> {
        match self.count.fetch_sub(1, Ordering::AcqRel) - 1 {
            FEW => std::mem::take(&mut *self.listeners.lock()),
            _ => Vec::new(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether `listener` may accept another. If not, tells it later.
    pub(super) fn ask_to_accept(&self, listener: Postponed) -> bool {
        if self.count.load(Ordering::Acquire) < MOST {
            return true;
        }
        let mut listeners = self.listeners.lock();
        // Checks again under the lock: `end` takes it after the count has fallen, and finds this listener.
        let may_accept = self.count.load(Ordering::Acquire) <= FEW;
        if !may_accept {
            listeners.push(listener);
        }
        may_accept
    }
}
