//! One entry into a socket: what happens under its lock, and what is done about it afterwards.
//!
//! Owns the order of things. Under the lock the protocol is told what has happened to its pipes, and
//! acts; bells, wake-ups, closes and drops of descriptors are only noted, and performed when the lock
//! has been given back.

use std::time::Instant;

use super::broadcast::MANY;
use super::pipes::Pipe;
use super::port::SocketPort;
use super::record::{Record, Records};
use super::watch::Flag;
use super::{Core, State};
use crate::detach::DetachReason;
use crate::io::Link;
use crate::message::PipeId;
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{Edge, Far, Host, NewPipe, Waiting};
use crate::protocol::{Clock, Interest, Protocol};
use crate::ring::Ring;
use crate::stats::DropReason;
use crate::sync::Arc;
use crate::tuning::{self, Choice};

/// One entry into the protocol, under the socket's lock.
pub(crate) struct Entry<'a, P: Protocol> {
    pub(super) core: &'a Core<P>,
    pub(super) state: &'a mut State<P>,
    pub(crate) now: Instant,
}

impl<P: Protocol> Entry<'_, P> {
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.state.closed
    }

    /// The protocol, and the port it acts through.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&mut P, SocketPort<'_>, Instant) {
        let port = SocketPort {
            pipes: &mut self.state.pipes,
            counters: &self.core.counters,
            effects: &mut self.state.effects,
            encoders: &mut self.state.encoders,
        };
        (&mut self.state.protocol, port, self.now)
    }

    /// Tells the protocol what has happened to its pipes since somebody was last in here.
    pub(super) fn hand_over(&mut self) {
        let mut edges = std::mem::take(&mut self.state.edges);
        self.core.bell.take(&mut edges);
        for (pipe, edge) in edges.drain(..) {
            self.state.effects.queues_changed |= edge == Edge::Writable;
            if self.state.pipes.get(pipe).is_none() {
                continue;
            }
            let (protocol, mut port, now) = self.parts();
            match edge {
                Edge::Readable => protocol.readable(pipe, &mut port),
                Edge::Writable => protocol.writable(pipe, now, &mut port),
            }
        }
        self.state.edges = edges;
    }

    /// Runs the protocol's timers that are due.
    pub(super) fn expire(&mut self) {
        let Some(deadline) = self.state.protocol.deadline() else { return };
        if P::CLOCK == Clock::WhenDue {
            // Else the reactor enters when it is time: it does not have to be asked with each message.
            if deadline > self.state.seen && self.state.armed.is_some() {
                return;
            }
            self.now = Instant::now();
            self.state.seen = self.now;
        }
        if deadline <= self.now {
            let (protocol, mut port, now) = self.parts();
            protocol.expire(now, &mut port);
        }
    }

    /// Offers a new pipe to the protocol.
    pub(super) fn plug(&mut self, new: NewPipe) -> Result<(), DetachReason> {
        if self.state.closed {
            return Err(DetachReason::SocketClosed);
        }
        if new.endpoint.is_closed() {
            return Err(DetachReason::EndpointClosed);
        }
        let id = new.lease.id();
        self.state.pipes.insert(id, Pipe::new(new));
        let (protocol, mut port, now) = self.parts();
        if protocol.attach(id, now, &mut port).is_err() {
            self.state.pipes.remove(id);
            return Err(DetachReason::Rejected);
        }
        // The far end may have sent before we knew the pipe, and rung in vain.
        protocol.readable(id, &mut port);
        self.state.effects.peers_changed = true;
        let State { pipes, effects, .. } = &mut *self.state;
        if let Some(pipe) = pipes.get(id) {
            self.core.pipe_is_there(pipe, effects);
        }
        Ok(())
    }

    /// Takes a pipe away from the protocol. `false`: there is no such pipe.
    pub(super) fn unplug(&mut self, id: PipeId, reason: DetachReason) -> bool {
        let Some(pipe) = self.state.pipes.get_mut(id) else { return false };
        let Some(far) = pipe.far.take() else { return false };
        pipe.shut();
        self.core.pipe_is_gone(pipe, reason.clone(), &mut self.state.effects);
        if let Far::Link(_) = far {
            // Only when it is about to grow: a thousand pipes may leave at once.
            if self.state.leaving.len() == self.state.leaving.capacity() {
                self.state.leaving.retain(|ring| ring.queued().messages > 0);
            }
            self.state.leaving.push(Arc::clone(pipe.send.ring()));
        }
        let rare = self.state.effects.rare();
        match reason {
            // As with the socket: the program may end right after.
            DetachReason::EndpointClosed => rare.ended.push(far),
            _ if reason.is_closed_by_us() => rare.closed.push((far, Arc::clone(&pipe.endpoint))),
            _ => rare.lost.push((far, Arc::clone(&pipe.endpoint))),
        }
        self.state.effects.peers_changed = true;
        self.state.effects.queues_changed = true;
        let (protocol, mut port, now) = self.parts();
        protocol.detach(id, &reason, now, &mut port);
        if !self.state.pipes.depart(id) {
            self.state.protocol.forget(id);
        }
        self.rest_encoders();
        if P::DROPS {
            self.drop_surplus();
        }
        true
    }

    /// Gives up the memory for messages to many, if there are not many peers any more.
    fn rest_encoders(&mut self) {
        let State { encoders, pipes, .. } = &mut *self.state;
        if encoders.has_memory() && pipes.usable().nth(MANY - 1).is_none() {
            encoders.rest();
        }
    }

    /// Drops what peers that have left have left behind, beyond what one peer may. For a pattern whose
    /// rule is to drop what there is no room for.
    fn drop_surplus(&mut self) {
        let limit = self.core.options.lock().recv_queue_bytes;
        while let Some((id, pipe)) = self.state.pipes.take_surplus(limit) {
            let unread = crate::pipe::discard(&pipe.recv);
            self.core.counters.copies_taken.count(unread);
            self.core.counters.dropped(DropReason::PeerLeft, unread);
            let record = || Record::Dropped(Some(pipe.peer()), DropReason::PeerLeft);
            self.state.effects.record(record);
            self.state.protocol.forget(id);
        }
    }

    /// Has all who wait for the intake ask again: the bound may be another, or an endpoint gone.
    pub(super) fn open_intake(&mut self) {
        let waiting = self.state.pipes.take_waiting();
        self.state.effects.tell(waiting);
    }

    /// Closes the pipes that the protocol wants no more.
    pub(super) fn disconnect_slow(&mut self) {
        let next = |effects: &mut Effects| effects.rare.as_mut()?.unwanted.pop();
        while let Some(pipe) = next(&mut self.state.effects) {
            self.unplug(pipe, DetachReason::TooSlow);
        }
    }

    /// How many pipes can be used.
    pub(crate) fn peer_count(&self) -> usize {
        self.state.pipes.usable().count()
    }

    /// How many messages have been accepted and not yet handed over; asks to be told of changes.
    pub(crate) fn unsent(&self) -> u64 {
        let left_in = |ring: &Ring| if ring.drained() { 0 } else { ring.queued().messages };
        let queued: u64 = self.state.pipes.usable().map(|pipe| left_in(&pipe.send)).sum();
        let returning = match self.core.wants_unsent() {
            true => self.state.leaving.iter().map(|ring| left_in(ring)).sum(),
            false => 0,
        };
        queued + returning + self.state.protocol.held().outbound
    }
}

/// What is to be done once the lock is given back.
#[derive(Default)]
pub(crate) struct Effects {
    pub(super) bells: Few<(Far, Edge)>,
    /// Connections that have enough for a write.
    pub(super) batches: Few<Arc<Link>>,
    pub(super) wakes: Few<Interest>,
    pub(super) timer: Option<Instant>,
    pub(super) peers_changed: bool,
    pub(super) queues_changed: bool,
    /// Somebody is to enter again.
    pub(super) visit: bool,
    rare: Option<Box<Rare>>,
}

/// What most entries have nothing of.
#[derive(Default)]
pub(super) struct Rare {
    pub(super) closed: Vec<(Far, Arc<EndpointCore>)>,
    /// Pipes that end with their endpoint.
    pub(super) ended: Vec<Far>,
    /// The far ends know; they are dropped once the lock is given back, which closes descriptors.
    pub(super) lost: Vec<(Far, Arc<EndpointCore>)>,
    /// What event loops outside are to be told.
    pub(super) flags: Vec<Arc<Flag>>,
    /// Flags of watches that have ended. They are dropped once the lock is given back.
    pub(super) unwatched: Vec<Arc<Flag>>,
    /// Pipes that the protocol wants closed. Empty again before the lock is given back.
    pub(super) unwanted: Vec<PipeId>,
    /// Who may bring new pipes again.
    admitted: Vec<Waiting>,
    /// For the log.
    pub(super) records: Records,
}

impl Effects {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// As `record`, of a message that was dropped.
    pub(super) fn record_drop(&mut self, reason: DropReason, record: impl FnOnce() -> Record) {
        if Records::are_wanted_of(reason) {
            self.rare().records.push(record());
        }
    }

    /// Whether a message was dropped that no subscription wanted, for the first time from some peer.
    pub(super) fn tell_of_unwanted(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.records.tell_of_unwanted())
    }

    /// Notes a record for the log, if anybody may want it. Costs next to nothing otherwise.
    pub(super) fn record(&mut self, record: impl FnOnce() -> Record) {
        if Records::are_wanted() {
            self.rare().records.push(record());
        }
    }

    /// Has those told who wait until the socket takes in new pipes.
    pub(super) fn tell(&mut self, admitted: Vec<Waiting>) {
        if !admitted.is_empty() {
            self.rare().admitted.extend(admitted);
        }
    }

    /// What is to be written to the log.
    pub(super) fn take_records(&mut self) -> Records {
        self.rare.as_mut().map_or_else(Records::default, |rare| std::mem::take(&mut rare.records))
    }

    /// Forgets who is to be woken. For who knows, under the socket's lock, that nobody waits.
    #[inline]
    pub(super) fn wake_nobody(&mut self) {
        if !self.wakes.is_empty() {
            self.wakes = Few::default();
        }
        (self.peers_changed, self.queues_changed) = (false, false);
    }

    /// Whether there is nothing to be done.
    #[inline]
    pub(super) fn is_nothing(&self) -> bool {
        // Without a branch for each: this is asked with every message.
        let noted = !self.bells.is_empty() | !self.batches.is_empty() | !self.wakes.is_empty();
        let changed = self.peers_changed | self.queues_changed | self.visit;
        !noted & !changed & self.timer.is_none() & self.rare.is_none()
    }

    pub(super) fn perform<P: Protocol>(mut self, core: &Core<P>) {
        let signal = &core.bell.signal;
        let mut rare = self.rare.take();
        for flag in rare.iter_mut().flat_map(|rare| rare.flags.drain(..)) {
            flag.claim(core.leader());
            flag.show();
        }
        self.wakes.for_each(|interest| signal.wake(interest));
        if self.peers_changed {
            signal.wake_every(Interest::Peers);
        }
        if self.queues_changed {
            signal.wake_every(Interest::Drained);
        }
        self.bells.for_each(|(far, edge)| far.ring(edge));
        if tuning::CALLER_WRITES != Choice::Never {
            self.batches.for_each(|link| link.write_batch());
        }
        if let Some(at) = self.timer {
            core.set_timer(at);
        }
        if self.visit {
            core.attend();
        }
        if let Some(rare) = rare {
            rare.perform(core);
        }
    }
}

impl Rare {
    #[cold]
    fn perform<P: Protocol>(self, core: &Core<P>) {
        if !self.closed.is_empty() || !self.ended.is_empty() {
            let linger = core.options.lock().linger;
            for (far, endpoint) in self.closed {
                far.close(linger);
                endpoint.pipe_lost();
            }
            Far::close_all(self.ended, linger);
        }
        self.lost.iter().for_each(|(_, endpoint)| endpoint.pipe_lost());
        self.admitted.into_iter().for_each(Waiting::tell);
        // The last: whoever writes the log may be slow.
        self.records.write(&core.name);
    }
}

/// Usually one thing or none, which then takes no memory of its own.
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
        for other in self.others {
            act(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Handle;
    use super::super::establish::Dial;
    use super::*;
    use crate::options::Overflow;
    use crate::options::{EndpointOptions, Options};
    use crate::protocol::{Bus, Pair, Pull, Push};

    fn socket<P: Protocol>(protocol: P) -> Handle<P> {
        Handle::new(protocol, Options::new(), None).expect("the options are good")
    }

    /// Has peers come, say nothing and leave, and looks whether the protocol remembers one.
    fn assert_forgets<P: Protocol, Q: Protocol>(name: &str, here: P, peer: impl Fn() -> Q) {
        let (here, url) = (socket(here), format!("inproc://{name}"));
        here.bind(&url, &EndpointOptions::new()).unwrap();
        for _ in 0..3 {
            let peer = socket(peer());
            peer.connect(&url, &EndpointOptions::new(), Dial::Now).unwrap();
            here.wait_for_peers(1, Duration::ZERO).unwrap();
        }
        assert!(!here.enter(|entry| entry.parts().0.ready(Interest::RECV)), "{name}");
    }

    /// A program that only sends never looks there.
    #[test]
    fn who_has_left_nothing_behind_is_forgotten() {
        assert_forgets("forgotten-push", Pull::new(), || Push::new(Overflow::Wait));
        assert_forgets("forgotten-pair", Pair::new(), Pair::new);
        let bus = || Bus::new(Overflow::DropNewest);
        assert_forgets("forgotten-bus", bus(), bus);
    }
}
