//! Asking: runs the program's `admit` callback where it holds up nothing but the peer that it decides about.
//!
//! The connection is parked meanwhile, and its loop goes on; the decision comes back to the loop as a
//! command. Owns the number of callbacks at once.

use mio::Token;

use super::pool::Pool;
use super::{Command, LoopContext, Retry};
use crate::peer::Peer;
use crate::pipe::Host;
use crate::sync::Arc;

/// Run at most this many callbacks of one loop at once; further peers wait. A callback mostly waits, for a
/// lookup or a database, and then costs next to nothing.
const THREADS: usize = 64;

/// The threads on which one loop asks.
pub(super) fn askers() -> Arc<Pool> {
    Pool::new("sinew-admit", THREADS)
}

impl LoopContext {
    /// Asks the program whether it lets `peer` in. The answer comes as a command, or as the result if the
    /// callback runs in this thread.
    pub(super) fn ask(&self, host: &Arc<dyn Host>, peer: Peer, token: Token) -> Option<bool> {
        let Some(askers) = &self.askers else { return Some(host.admits(&peer)) };
        let (host, mailbox) = (Arc::downgrade(host), Arc::clone(&self.mailbox));
        // In this thread if no other can be started: better slow than never.
        askers.run(move |_| {
            let admitted = host.upgrade().is_some_and(|host| host.admits(&peer));
            mailbox.post(Command::Decided(token, admitted));
        });
        None
    }

    /// Lets a dialer outside of the event loops try again.
    pub(super) fn retry(&self, who: Arc<dyn Retry>) {
        match &self.askers {
            Some(askers) if who.asks() => askers.run(move |_| who.retry()),
            _ => who.retry(),
        }
    }
}
