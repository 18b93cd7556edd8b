//! Effects: what an entry into a socket has noted, to be done after the lock is given back.
//!
//! Owns the list, and the order in which it is performed: waiters, bells, writes, closes, and the log at the
//! end.

use std::time::Instant;

use super::Core;
use super::deferred_log::{Record, Records};
use super::events::Told;
use super::watch::Flag;
use crate::io::Command;
use crate::message::PipeId;
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{Edge, FarEnd, FarLink, Host, Postponed};
use crate::protocol::{Interest, Protocol};
use crate::stats::DropReason;
use crate::sync::Arc;
use crate::tuning::{self, FastPath};

/// What to do once the lock is given back.
#[derive(Default)]
pub(crate) struct Effects {
    pub(super) bells: Few<(FarEnd, Edge)>,
    /// Connections that have enough for a write.
    pub(super) batches: Few<Arc<dyn FarLink>>,
    pub(super) wakes: Few<Interest>,
    pub(super) timer: Option<Instant>,
    pub(super) peers_changed: bool,
    pub(super) queues_changed: bool,
    /// Enter the socket again.
    pub(super) visit: bool,
    rare: Option<Box<Rare>>,
}

/// Effects that most entries do not have.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) closed: Vec<(FarEnd, Arc<EndpointCore>)>,
    /// Pipes that end with their endpoint.
    pub(super) ended: Vec<FarEnd>,
    /// Far ends that know that they are lost. Dropping them closes descriptors, so it waits for the lock.
    pub(super) lost: Vec<(FarEnd, Arc<EndpointCore>)>,
    /// Flags to show to the pollers and event loops that watch the socket.
    pub(super) flags: Vec<Arc<Flag>>,
    /// Flags of watches that have ended. Dropping them closes descriptors, so it waits for the lock.
    pub(super) unwatched: Vec<Arc<Flag>>,
    /// Pipes that the protocol wants closed. Empty again before the lock is given back.
    pub(super) unwanted: Vec<PipeId>,
    /// Those who may bring new pipes again.
    admitted: Vec<Postponed>,
    /// Subscribers to wake, because they have an event.
    told: Vec<Told>,
    /// The socket has been closed.
    pub(super) closing: Option<Closing>,
    /// For the log.
    pub(super) records: Records,
}

/// What to do after a socket was closed under the lock.
pub(super) struct Closing {
    /// The flags of all watches: a closed socket is ready for everything.
    pub(super) flags: Vec<Arc<Flag>>,
    /// The far ends of all pipes.
    pub(super) fars: Vec<FarEnd>,
    pub(super) endpoints: Vec<Arc<EndpointCore>>,
    /// Whether the event loop has a timer of the socket.
    pub(super) has_timer: bool,
}

impl Effects {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Takes out a pipe that the protocol wants closed.
    pub(super) fn next_unwanted(&mut self) -> Option<PipeId> {
        self.rare.as_mut()?.unwanted.pop()
    }

    /// As `record`, for a message that was dropped.
    pub(super) fn record_drop(&mut self, reason: DropReason, record: impl FnOnce() -> Record) {
        if Records::are_wanted_of(reason) {
            self.rare().records.push(record());
        }
    }

    /// Whether a message was dropped that no subscription wanted, for the first time from some peer.
    pub(super) fn tell_of_unwanted(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.records.tell_of_unwanted())
    }

    /// Notes a record for the log, if a logger may want it. Costs next to nothing otherwise.
    pub(super) fn record(&mut self, record: impl FnOnce() -> Record) {
        if Records::are_wanted() {
            self.rare().records.push(record());
        }
    }

    /// Notes those to tell that the socket takes in new pipes again.
    pub(super) fn tell(&mut self, admitted: Vec<Postponed>) {
        if !admitted.is_empty() {
            self.rare().admitted.extend(admitted);
        }
    }

    /// Notes subscribers to wake, because they have an event.
    pub(super) fn wake(&mut self, told: Told) {
        if !told.is_empty() {
            self.rare().told.push(told);
        }
    }

    /// Forgets the wakes. For a caller that knows, under the socket's lock, that nobody waits.
    #[inline]
    pub(super) fn wake_nobody(&mut self) {
        if !self.wakes.is_empty() {
            self.wakes = Few::default();
        }
        (self.peers_changed, self.queues_changed) = (false, false);
    }

    /// Whether there is nothing to do.
    #[inline]
    pub(super) fn is_nothing(&self) -> bool {
        // Without a branch for each, since every message checks this.
        let noted = !self.bells.is_empty() | !self.batches.is_empty() | !self.wakes.is_empty();
        let changed = self.peers_changed | self.queues_changed | self.visit;
        !noted & !changed & self.timer.is_none() & self.rare.is_none()
    }

    pub(super) fn perform<P: Protocol>(mut self, core: &Core<P>) {
        let signal = &core.bell.signal;
        let mut rare = self.rare.take();
        // First those who wait for this socket: its watchers, then its waiting calls.
        for flag in rare.iter_mut().flat_map(|rare| rare.flags.drain(..)) {
            flag.claim(core.leadership(), core.spin.is_on());
            flag.show();
        }
        self.wakes.for_each(|interest| signal.wake(interest));
        if let Some(closing) = rare.as_ref().and_then(|rare| rare.closing.as_ref()) {
            closing.flags.iter().for_each(|flag| flag.show());
            signal.wake_all();
        }
        if self.peers_changed {
            signal.wake_every(Interest::Peers);
        }
        if self.queues_changed {
            signal.wake_every(Interest::Drained);
        }
        // Then the far ends. This may write to the kernel.
        self.bells.for_each(|(far, edge)| far.ring(edge));
        if tuning::CALLER_WRITES != FastPath::Never {
            self.batches.for_each(|link| link.write_batch());
        }
        // Then the event loop.
        if let Some(at) = self.timer {
            core.set_timer(at);
        }
        if self.visit {
            core.visit_later();
        }
        if let Some(rare) = rare {
            rare.perform(core);
        }
    }
}

impl Rare {
    #[cold]
    fn perform<P: Protocol>(self, core: &Core<P>) {
        self.told.into_iter().for_each(Told::wake);
        if !self.closed.is_empty() || !self.ended.is_empty() {
            let linger = core.options.lock().linger;
            for (far, endpoint) in self.closed {
                far.close(linger);
                endpoint.pipe_lost();
            }
            FarEnd::close_all(self.ended, linger);
        }
        self.lost.iter().for_each(|(_, endpoint)| endpoint.pipe_lost());
        if let Some(closing) = self.closing {
            closing.perform(core);
        }
        self.admitted.into_iter().for_each(Postponed::ask_again);
        // Last, since a logger may be slow.
        self.records.write(&core.name);
    }
}

impl Closing {
    fn perform<P: Protocol>(self, core: &Core<P>) {
        if self.has_timer {
            core.post(Command::Expire(core.host(), None));
        }
        // No new connections, then the last writes on those that exist.
        for endpoint in self.endpoints {
            endpoint.stop();
        }
        let linger = core.options.lock().linger;
        FarEnd::close_all(self.fars, linger);
        core.close_events();
    }
}

/// Usually one thing or none, which then takes no memory of its own.
///
/// `SmallVec<[T; 1]>` does the same, for 32 to 33 instructions more a message of PUSH/PULL and PUB/SUB over inproc,
/// which take 1,431 and 1,832, and 158 more a round trip of REQ/REP, which takes 5,102: its drop and its
/// iterator ask more often whether it has spilled.
pub(super) struct Few<T> {
    first: Option<T>,
    others: Vec<T>,
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self { first: None, others: Vec::new() }
    }
}

impl<T> Few<T> {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    #[inline]
    pub(super) fn push(&mut self, one: T) {
        match &self.first {
            None => self.first = Some(one),
            Some(_) => self.others.push(one),
        }
    }

    /// Sees to it that `others` more than the first need memory once only.
    pub(super) fn reserve(&mut self, others: usize) {
        self.others.reserve(others);
    }

    /// Each in its turn.
    #[inline]
    fn for_each(self, mut act: impl FnMut(T)) {
        let Some(first) = self.first else { return };
        act(first);
        if !self.others.is_empty() {
            self.others.into_iter().for_each(act);
        }
    }
}
