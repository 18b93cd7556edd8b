//! Loops: the event loops of one runtime, as each of them sees the others.
//!
//! The first is the home loop: it has the listeners, the dialers and their resolver, and the timers of
//! sockets. A connection may be on any loop, from its first byte to its last. The home loop chooses the loop,
//! and gives the connection away as soon as it has a stream, or destinations for one; the other loop reports
//! to the dialer by commands. Owns the table of mailboxes and the choice. Knows nothing of what a connection
//! is.
//!
//! ```text
//!   home                                              another loop
//!   accepts ------------------------- Adopt ------->  shakes hands, reads, writes
//!   knows where to connect to ------- Race -------->  connects to the first that answers, and so on
//!   the dialer resets its back-off <-- Connected ---  has become a pipe of the socket
//!   the dialer tries again <--------- Ended --------  is over, or was closed by the socket
//!   forgets an endpoint ------------- Forget ------>  ends what is on the way
//! ```
//!
//! Everything that goes one way goes through one mailbox: the command to forget an endpoint never overtakes a
//! connection of it, nor a dialer's second connection the end of its first.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Mailbox;
use crate::sync::{Arc, Ordering};

/// The number of the home loop.
pub(super) const HOME: usize = 0;

/// The loops of one runtime, and which of them this is.
#[derive(Debug)]
pub(super) struct Loops {
    all: Arc<Vec<Arc<Mailbox>>>,
    this: usize,
}

impl Loops {
    pub(super) fn new(all: Arc<Vec<Arc<Mailbox>>>, this: usize) -> Self {
        Self { all, this }
    }

    /// Chooses the loop for one more connection, and counts it there; `last` is where the one before it went.
    ///
    /// Chooses the loop with the fewest connections, not round robin: connections end at different times,
    /// and round robin would leave the loops as uneven as that made them. Among equals it is the one after
    /// `last`: otherwise, if peers came to two listeners alternately, each would have all its pipes on one
    /// loop.
    pub(super) fn choose(&self, last: usize) -> usize {
        let count = self.all.len();
        let fewest = (1..=count)
            .map(|step| (last + step) % count)
            .min_by_key(|&number| self.all[number].connections.load(Ordering::Relaxed));
        let chosen = fewest.unwrap_or(HOME);
        self.all[chosen].connections.fetch_add(1, Ordering::Relaxed);
        chosen
    }

    /// Chooses the loop for one more connection of a socket whose connections are all on one loop, where the
    /// end of one is seen before the beginning of the next, and counts it there. `socket` tells sockets apart.
    pub(super) fn choose_for(&self, socket: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        socket.hash(&mut hasher);
        // Both casts are lossless: a length fits, and the remainder is less than that.
        let chosen = (hasher.finish() % self.all.len() as u64) as usize;
        self.all[chosen].connections.fetch_add(1, Ordering::Relaxed);
        chosen
    }

    /// Counts a connection that begins on this loop, without having been given to it.
    pub(super) fn connection_begins(&self) {
        self.all[self.this].connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts that a connection of this loop is over.
    pub(super) fn on_connection_over(&self) {
        self.all[self.this].connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// The mailbox of loop `number`, unless it is this one.
    pub(super) fn other(&self, number: usize) -> Option<&Arc<Mailbox>> {
        (number != self.this).then(|| &self.all[number])
    }

    /// The mailboxes of all loops.
    pub(super) fn all(&self) -> &[Arc<Mailbox>] {
        &self.all
    }

    /// The mailboxes of all other loops, for the home loop; none for another loop.
    pub(super) fn outposts(&self) -> &[Arc<Mailbox>] {
        match self.this {
            HOME => &self.all[1..],
            _ => &[],
        }
    }
}
