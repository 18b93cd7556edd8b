//! Effects: what an entry into a socket has noted, to be done after the lock is given back.
//!
//! Owns the list, and the order in which it is performed: waiters, bells, writes, closes, and the log at the
//! end.

use std::time::Instant;

use super::Core;
use super::deferred_log::{Record, Records};
use super::events::SubscribersToWake;
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
    /// Whether anything is noted, so that a message has to check only this.
    noted: bool,
    bells: Few<(FarEnd, Edge)>,
    /// Connections that have enough for a write.
    batches: Few<Arc<dyn FarLink>>,
    wakes: Few<Interest>,
    timer: Option<Instant>,
    peers_changed: bool,
    queues_changed: bool,
    /// Enter the socket again.
    visit: bool,
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
    subscribers: Vec<SubscribersToWake>,
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
        self.noted = true;
        self.rare.get_or_insert_default()
    }

    /// Notes a bell for the far end of a pipe.
    pub(super) fn ring(&mut self, far: FarEnd, edge: Edge) {
        self.noted = true;
        self.bells.push((far, edge));
    }

    /// Sees to it that `others` more bells than one need memory once only.
    pub(super) fn reserve_bells(&mut self, others: usize) {
        self.bells.reserve(others);
    }

    /// Notes a write to a connection that has enough for one.
    pub(super) fn write(&mut self, link: Arc<dyn FarLink>) {
        self.noted = true;
        self.batches.push(link);
    }

    /// Notes a call to wake.
    pub(super) fn wake_waiter(&mut self, interest: Interest) {
        self.noted = true;
        self.wakes.push(interest);
    }

    /// The number of calls to wake.
    pub(super) fn wakes(&self) -> usize {
        self.wakes.len()
    }

    /// Notes the time at which the event loop has to run a timer.
    pub(super) fn set_timer(&mut self, at: Instant) {
        self.noted = true;
        self.timer = Some(at);
    }

    /// Notes that peers have come or gone.
    pub(super) fn peers_change(&mut self) {
        self.noted = true;
        self.peers_changed = true;
    }

    /// Notes that messages may have left send queues.
    pub(super) fn queues_change(&mut self) {
        self.noted = true;
        self.queues_changed = true;
    }

    /// Notes that the socket must be entered again.
    pub(super) fn visit(&mut self) {
        self.noted = true;
        self.visit = true;
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
    pub(super) fn readmit(&mut self, admitted: Vec<Postponed>) {
        if !admitted.is_empty() {
            self.rare().admitted.extend(admitted);
        }
    }

    /// Notes subscribers to wake, because they have an event.
    pub(super) fn wake_subscribers(&mut self, subscribers: SubscribersToWake) {
        if !subscribers.is_empty() {
            self.rare().subscribers.push(subscribers);
        }
    }

    /// Forgets the wakes. For a caller that knows, under the socket's lock, that nobody waits.
    #[inline]
    pub(super) fn wake_nobody(&mut self) {
        if !self.noted {
            return;
        }
        if !self.wakes.is_empty() {
            self.wakes = Few::default();
        }
        (self.peers_changed, self.queues_changed) = (false, false);
        let others = !self.bells.is_empty() | !self.batches.is_empty() | self.visit;
        self.noted = others | self.timer.is_some() | self.rare.is_some();
    }

    /// Whether there is nothing to do.
    #[inline]
    pub(super) fn is_nothing(&self) -> bool {
        !self.noted
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
        core.budget.tell();
        if let Some(rare) = rare {
            rare.perform(core);
        }
    }
}

impl Rare {
    #[cold]
    fn perform<P: Protocol>(self, core: &Core<P>) {
        self.subscribers.into_iter().for_each(SubscribersToWake::wake);
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
struct Few<T> {
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
    fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    #[inline]
    fn push(&mut self, one: T) {
        match &self.first {
            None => self.first = Some(one),
            Some(_) => self.others.push(one),
        }
    }

    /// Sees to it that `others` more than the first need memory once only.
    fn reserve(&mut self, others: usize) {
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
