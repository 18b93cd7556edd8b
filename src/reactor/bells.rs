//! Bells: when sockets are told that something has arrived for them.
//!
//! Owns the bells that are still to be rung. Where a poll reports many connections, all are read first
//! and each socket is told once: a thread that is woken for the first message would meet this one at the
//! socket's locks for each of the others, and be woken by each of them again.

use crate::message::PipeId;
use crate::pipe::{Edge, SocketBell};
use crate::sync::Arc;

/// From so many events of one poll on, who is told of the first waits for the others.
const MANY: usize = 8;

/// Tells sockets that something has arrived.
#[derive(Debug, Default)]
pub(super) struct Bells {
    /// They are told together, at the [`end`](Self::end).
    together: bool,
    untold: Vec<Arc<SocketBell>>,
}

impl Bells {
    /// So many connections are about to be read.
    pub(super) fn begin(&mut self, events: usize) {
        self.together = events >= MANY;
    }

    /// Something has arrived on `pipe`, where nothing was.
    pub(super) fn ring(&mut self, bell: &Arc<SocketBell>, pipe: PipeId) {
        bell.announce(pipe, Edge::Readable);
        if !self.together {
            bell.tell(Edge::Readable);
        } else if self.untold.last().is_none_or(|last| !Arc::ptr_eq(last, bell)) {
            self.untold.push(Arc::clone(bell));
        }
    }

    /// All are read: tells who was not told.
    pub(super) fn end(&mut self) {
        self.together = false;
        self.untold.drain(..).for_each(|bell| bell.tell(Edge::Readable));
    }
}
