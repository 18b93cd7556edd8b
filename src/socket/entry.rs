//! One entry into a socket: what happens under its lock.
//!
//! Owns what happens to pipes and timers under the lock, except when the socket closes (`enter.rs`): an entry tells
//! the protocol, which acts. Whatever concerns others is only noted, in [`Effects`].

use std::time::Instant;

use super::broadcast::MANY;
use super::deferred_log::Record;
use super::pipes::Pipe;
use super::port::SocketPort;
use super::{Core, PipeEventKind, State};
use crate::detach::DetachReason;
use crate::message::PipeId;
use crate::peer::{EndpointId, Peer};
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{Edge, Host, Intake, NewPipe, Postponed};
use crate::protocol::{Clock, Protocol};
use crate::ring::{Consumer, Ring};
use crate::room::GiveBack;
use crate::stats::DropReason;
use crate::sync::Arc;
use crate::time;

/// One entry into the protocol, under the socket's lock.
pub(crate) struct Entry<'a, P: Protocol> {
    pub(super) core: &'a Core<P>,
    pub(super) state: &'a mut State<P>,
    pub(crate) now: Instant,
    /// Whether it may leave the ring of a pipe unarmed.
    pub(super) leaves_unarmed: bool,
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
            leaves_unarmed: self.leaves_unarmed,
        };
        (&mut self.state.protocol, port, self.now)
    }

    /// Whether there may be anything to [`catch_up`](Self::catch_up) with.
    #[inline]
    pub(super) fn is_behind(&self) -> bool {
        let is_unarmed = P::SCHEDULE.empties && self.state.pipes.unarmed.is_some();
        self.core.bell.is_pending() || is_unarmed
    }

    /// Tells the protocol what has happened to its pipes since the last entry.
    #[inline]
    pub(super) fn catch_up(mut self) {
        // First, as if it had rung: a reply must end its request before the bell makes room for another copy.
        if let Some(id) = self.state.pipes.unarmed {
            self.look_into(id);
        }
        if self.core.bell.is_pending() {
            self.handle_edges();
        }
    }

    /// Tells the protocol what is in the ring that was left unarmed, and arms it unless it may leave it so again.
    #[inline]
    fn look_into(&mut self, id: PipeId) {
        if !self.leaves_unarmed {
            self.state.pipes.unarmed = None;
        } else if !self.state.pipes.get_mut(id).is_some_and(|pipe| pipe.may_have_received()) {
            return;
        }
        let (protocol, mut port, _) = self.parts();
        protocol.readable(id, &mut port);
    }

    /// Tells the protocol what the bell has announced.
    #[inline(never)]
    fn handle_edges(&mut self) {
        let mut edges = std::mem::take(&mut self.state.edges);
        self.core.bell.take(&mut edges);
        for (pipe, edge) in edges.drain(..) {
            if edge == Edge::Writable {
                self.state.effects.queues_change();
            }
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
        if P::SCHEDULE.clock == Clock::WhenDue {
            // The event loop enters when a timer is due, so a message need not read the clock.
            if self.state.is_loop_in_charge_of(deadline) {
                return;
            }
            self.now = time::now();
            self.state.seen = self.now;
        }
        if deadline <= self.now {
            let (protocol, mut port, now) = self.parts();
            protocol.expire(now, &mut port);
        }
    }

    /// Announces a peer about which the program is deciding. Runs under the lock that each close takes, so
    /// that no peer is announced after a close has returned.
    pub(super) fn announce(
        &mut self,
        peer: &Peer,
        endpoint: &EndpointCore,
    ) -> Result<(), DetachReason> {
        if self.state.closed {
            return Err(DetachReason::SocketClosed);
        }
        if endpoint.is_closed() {
            return Err(DetachReason::EndpointClosed);
        }
        self.core.deciding.begin();
        self.state.effects.wake_subscribers(self.core.emit(PipeEventKind::Attaching, peer));
        Ok(())
    }

    /// Whether the socket takes in a new pipe now. If not, tells `newcomer` when to ask again.
    pub(super) fn intake(&mut self, newcomer: Postponed) -> Intake {
        if self.state.closed {
            return Intake::Free;
        }
        let bound = self.core.options.lock().recv_queue_bytes;
        self.state.pipes.intake(bound, newcomer)
    }

    /// Offers a new pipe to the protocol.
    pub(super) fn plug(&mut self, new: NewPipe) -> Result<(), DetachReason> {
        if self.state.closed {
            return Err(DetachReason::SocketClosed);
        }
        if new.endpoint.is_closed() {
            return Err(DetachReason::EndpointClosed);
        }
        if self.state.pipes.are_too_many(&new.endpoint, self.core.limits.max_peers()) {
            return Err(DetachReason::TooManyPeers);
        }
        let id = new.lease.id();
        self.state.pipes.insert(id, Pipe::new(new));
        let (protocol, mut port, now) = self.parts();
        if protocol.attach(id, now, &mut port).is_err() {
            self.state.pipes.remove(id);
            return Err(DetachReason::Rejected);
        }
        // The far end may have sent, and rung in vain, before the pipe was in the table.
        protocol.readable(id, &mut port);
        self.state.effects.peers_change();
        let State { pipes, effects, .. } = &mut *self.state;
        if let Some(pipe) = pipes.get(id) {
            self.core.on_pipe_there(pipe, effects);
        }
        Ok(())
    }

    /// Takes a pipe from the protocol. `false`: there is no such pipe.
    pub(super) fn unplug(&mut self, id: PipeId, reason: DetachReason) -> bool {
        let Some(pipe) = self.state.pipes.get_mut(id) else { return false };
        let Some(far) = pipe.far.take() else { return false };
        // Nothing more goes in at either end; events and counters learn of it.
        pipe.shut();
        self.core.on_pipe_gone(pipe, reason.clone(), &mut self.state.effects);
        // The connection empties the send ring; until then the socket accounts for its messages.
        if !far.is_direct() {
            // Cleans up only when the list is about to grow: a thousand pipes may leave at once.
            if self.state.leaving.len() == self.state.leaving.capacity() {
                self.state.leaving.retain(|ring| ring.queued().messages > 0);
            }
            self.state.leaving.push(pipe.send.ring().clone());
        }
        // The far end learns of it after the lock, unless it knows.
        let rare = self.state.effects.rare();
        match reason {
            // Written in the caller, as by a closing socket: the program may end right after.
            DetachReason::EndpointClosed => rare.ended.push(far),
            _ if reason.is_closed_by_us() => rare.closed.push((far, Arc::clone(&pipe.endpoint))),
            _ => rare.lost.push((far, Arc::clone(&pipe.endpoint))),
        }
        self.state.effects.peers_change();
        self.state.effects.queues_change();
        // Then the protocol, which may take out what was received, or leave it to be read.
        let (protocol, mut port, now) = self.parts();
        protocol.detach(id, &reason, now, &mut port);
        if !self.state.pipes.depart(id) {
            self.state.protocol.forget(id);
        }
        if self.state.pipes.is_empty() {
            self.state.edges.give_back();
            self.core.bell.give_back();
        }
        self.release_encoders();
        if P::DROPS {
            self.drop_surplus();
        }
        true
    }

    /// Gives the protocol the messages back that a lost pipe has not sent.
    pub(super) fn take_back(&mut self, pipe: PipeId, mut consumer: Consumer<'_>) {
        // Under the lock, so that each reader finds the messages either in the ring or in the protocol.
        let unsent = consumer.reclaim();
        drop(consumer);
        let messages = unsent.len() as u64;
        if self.state.closed {
            self.core.counters.dropped(DropReason::ClosedUnsent, messages);
            return;
        }
        self.core.counters.copies_reclaimed.add(messages);
        self.state.effects.queues_change();
        let (protocol, mut port, _) = self.parts();
        for frame in unsent {
            protocol.take_back(pipe, frame, &mut port);
        }
    }

    /// Forgets an endpoint, and closes all pipes that it has made.
    pub(super) fn drop_endpoint(&mut self, endpoint: EndpointId) {
        self.open_intake();
        self.state.endpoints.retain(|other| other.id != endpoint);
        let pipes = self.state.pipes.usable().filter(|pipe| pipe.endpoint.id == endpoint);
        let pipes: Vec<PipeId> = pipes.map(Pipe::id).collect();
        for pipe in pipes {
            self.unplug(pipe, DetachReason::EndpointClosed);
        }
    }

    /// Releases the memory for messages to many peers, if there are no longer many.
    fn release_encoders(&mut self) {
        let State { encoders, pipes, .. } = &mut *self.state;
        if encoders.has_memory() && pipes.usable().nth(MANY - 1).is_none() {
            encoders.release_memory();
        }
    }

    /// Drops what departed peers have left behind beyond the bound of one peer. For patterns that drop what
    /// they have no room for.
    fn drop_surplus(&mut self) {
        let limit = self.core.options.lock().recv_queue_bytes;
        while let Some((id, mut pipe)) = self.state.pipes.take_surplus(limit) {
            let unread = pipe.discard_received();
            self.core.counters.copies_taken.count(unread);
            self.core.counters.dropped(DropReason::PeerLeft, unread);
            let record = || Record::Dropped(Some(pipe.peer()), DropReason::PeerLeft);
            self.state.effects.record(record);
            self.state.protocol.forget(id);
        }
    }

    /// Tells all who wait for the intake to ask again: the bound may have changed, or an endpoint is gone.
    pub(super) fn open_intake(&mut self) {
        let waiting = self.state.pipes.take_waiting();
        self.state.effects.readmit(waiting);
    }

    /// Closes the pipes that the protocol wants closed.
    pub(super) fn disconnect_slow(&mut self) {
        while let Some(pipe) = self.state.effects.next_unwanted() {
            self.unplug(pipe, DetachReason::TooSlow);
        }
    }

    /// The number of usable pipes.
    pub(crate) fn peer_count(&self) -> usize {
        self.state.pipes.usable().count()
    }

    /// The number of accepted messages that have not left the socket; requests to be told of changes.
    pub(crate) fn unsent(&self) -> u64 {
        let left_in = |ring: &Ring| if ring.ask_drained() { 0 } else { ring.queued().messages };
        let queued: u64 = self.state.pipes.usable().map(|pipe| left_in(&pipe.send)).sum();
        let returning = if self.core.wants_unsent() {
            self.state.leaving.iter().map(|ring| left_in(ring)).sum()
        } else {
            0
        };
        queued + returning + self.state.protocol.held().outbound
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
    use crate::protocol::{Bus, Interest, Pair, Pull, Push};

    fn socket<P: Protocol>(protocol: P) -> Handle<P> {
        Handle::new(protocol, Options::new(), None).expect("the options are good")
    }

    /// Connects and disconnects silent peers, and checks that the protocol remembers none.
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

    /// A program that only sends never checks for them.
    #[test]
    fn who_has_left_nothing_behind_is_forgotten() {
        assert_forgets("forgotten-push", Pull::new(), || Push::new(Overflow::Wait));
        let pair = || Pair::with_ttl(1);
        assert_forgets("forgotten-pair", pair(), pair);
        let bus = || Bus::new(Overflow::DropNewest);
        assert_forgets("forgotten-bus", bus(), bus);
    }
}
