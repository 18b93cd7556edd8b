//! Deciding: how many peers are being decided about, and who waits for them to become fewer.
//!
//! A peer is decided about from its first event, `Attaching`, to its second. That takes as long as the
//! program's `admit` callback takes, and meanwhile the peer costs a connection: once there are
//! [`MOST`], listeners accept no more. Owns that count, and the listeners.

use crate::pipe::Postponed;
use crate::sync::{AtomicUsize, Mutex, Ordering, Rank};

/// How many peers may be decided about when another is accepted. Enough for a fleet that comes back at
/// once; those beyond it wait in the kernel.
const MOST: usize = 1024;
/// How many there are when listeners accept again: not so few that the callbacks run out of work.
const FEW: usize = MOST / 2;

#[derive(Debug)]
pub(super) struct Deciding {
    count: AtomicUsize,
    listeners: Mutex<Vec<Postponed>>,
}

impl Deciding {
    /// Nobody is decided about.
    pub(super) fn new() -> Self {
        Self { count: AtomicUsize::new(0), listeners: Mutex::new(Rank::Deciding, Vec::new()) }
    }

    /// A peer is announced.
    pub(super) fn begin(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// It is let in, or turned away. The listeners that are to be told to accept again, if there are few
    /// enough now.
    pub(super) fn end(&self) -> Vec<Postponed> {
        match self.count.fetch_sub(1, Ordering::AcqRel) - 1 {
            FEW => std::mem::take(&mut *self.listeners.lock()),
            _ => Vec::new(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether there are too many for `listener` to accept another. If so, it is told later.
    pub(super) fn is_crowded(&self, listener: Postponed) -> bool {
        if self.count.load(Ordering::Acquire) < MOST {
            return false;
        }
        let mut listeners = self.listeners.lock();
        // Again, under the lock: who makes them few takes it afterwards, and finds us.
        let is_crowded = self.count.load(Ordering::Acquire) > FEW;
        if is_crowded {
            listeners.push(listener);
        }
        is_crowded
    }
}
