//! Asking: runs the program's `admit` callback where it holds up nobody but the peer it is about.
//!
//! The connection that is decided about is parked meanwhile, and its loop goes on; what was decided comes
//! back to the loop as a command. Owns how many callbacks run at once.

use mio::Token;

use super::pool::Pool;
use super::{Command, Context, Retry};
use crate::peer::Peer;
use crate::pipe::Host;
use crate::sync::Arc;

/// How many callbacks of one loop run at the same time. They mostly wait for something, a look-up or a
/// database, and then cost next to nothing; further peers wait for one of these.
const THREADS: usize = 64;

/// The threads on which one loop asks.
pub(super) fn askers() -> Arc<Pool> {
    Pool::new("sinew-admit", THREADS)
}

impl Context {
    /// Asks the program whether it lets `peer` in. What it says comes as a command, unless there is
    /// nobody to ask elsewhere: then it is the result.
    pub(super) fn ask(&self, host: &Arc<dyn Host>, peer: Peer, token: Token) -> Option<bool> {
        let Some(askers) = &self.askers else { return Some(host.admits(&peer)) };
        let (host, mailbox) = (Arc::downgrade(host), Arc::clone(&self.mailbox));
        // Here if there is no thread for it: better late than never.
        askers.run(move |_| {
            let admitted = host.upgrade().is_some_and(|host| host.admits(&peer));
            mailbox.post(Command::Decided(token, admitted));
        });
        None
    }

    /// Lets someone outside of the event loops try again.
    pub(super) fn retry(&self, who: Arc<dyn Retry>) {
        match &self.askers {
            Some(askers) if who.asks() => askers.run(move |_| who.retry()),
            _ => who.retry(),
        }
    }
}
