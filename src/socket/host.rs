//! A socket as the layers below it see it.
//!
//! Owns the calls by which the event loop and other sockets of the process report pipes that come and go, and
//! enter the socket. Each enters or only reads, but for the one that tells of a lost event loop.

use super::{Core, PipeEventKind};
use crate::contain::contain;
use crate::detach::DetachReason;
use crate::io::Command;
use crate::message::PipeId;
use crate::options::Admit;
use crate::peer::{EndpointId, Peer};
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{Budget, Host, Intake, NewPipe, Postponed, SocketBell};
use crate::protocol::Protocol;
use crate::protocol_id::ProtocolId;
use crate::ring::{Bounds, Ring};
use crate::stats::Counters;
use crate::sync::Arc;

impl<P: Protocol> Host for Core<P> {
    fn identity(&self) -> (ProtocolId, ProtocolId) {
        (P::ID, P::PEER)
    }

    fn never_sends(&self) -> bool {
        !P::SENDS
    }

    fn is_exclusive(&self) -> bool {
        P::EXCLUSIVE
    }

    fn bounds(&self, endpoint: &EndpointCore) -> (Bounds, Bounds) {
        let options = self.options.lock();
        let (settings, own) = (options.settings(), &endpoint.settings);
        let bounds =
            |messages, bytes, own: Option<usize>| Bounds { messages, bytes: own.unwrap_or(bytes) };
        (
            bounds(settings.send_queue, settings.send_queue_bytes, own.send_queue_bytes),
            bounds(settings.recv_queue, settings.recv_queue_bytes, own.recv_queue_bytes),
        )
    }

    fn bell(&self) -> &Arc<SocketBell> {
        &self.bell
    }

    fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn announce(&self, peer: &Peer, endpoint: &EndpointCore) -> Result<(), DetachReason> {
        self.enter(|entry| entry.announce(peer, endpoint))
    }

    fn refusal(&self, endpoint: &EndpointCore) -> Option<DetachReason> {
        let most = self.limits.max_peers();
        self.read(|state| {
            if state.protocol.is_full() {
                Some(DetachReason::Rejected)
            } else {
                state.pipes.are_too_many(endpoint, most).then_some(DetachReason::TooManyPeers)
            }
        })
        .flatten()
    }

    fn asks(&self) -> bool {
        self.options.lock().admit.is_some()
    }

    fn admits(&self, peer: &Peer) -> bool {
        let Some(Admit(admit)) = self.options.lock().admit.clone() else { return true };
        // Dropped inside the closure: if the options have changed meanwhile, this may be the last reference to
        // the callback.
        let mut admitted = false;
        let ask = || admitted = { admit }(peer);
        contain(&format!("{}: the admit callback for {peer}", self.name), ask);
        admitted
    }

    fn turn_away(&self, peer: &Peer, reason: DetachReason) {
        self.counters.rejected_pipes.bump();
        let is_news =
            reason == DetachReason::TooManyPeers && self.counters.peers_over_limit.get() == 0;
        if reason == DetachReason::TooManyPeers {
            self.counters.peers_over_limit.bump();
        }
        crate::contain::record!(
            crate::contain::level_of(is_news),
            { socket: self.name, peer: peer, reason: reason },
            "{}: {peer} turned away: {reason}",
            self.name
        );
        self.emit(PipeEventKind::Detached(reason), peer).wake();
        self.deciding.end().into_iter().for_each(Postponed::ask_again);
        if self.is_closed() {
            self.close_events();
        }
    }

    fn attach(&self, new: NewPipe) -> Result<(), DetachReason> {
        let peer = new.peer.clone();
        let verdict = self.enter(|entry| entry.plug(new).map(|()| self.deciding.end()));
        match verdict {
            Ok(listeners) => {
                listeners.into_iter().for_each(Postponed::ask_again);
                Ok(())
            }
            Err(reason) => {
                self.turn_away(&peer, reason.clone());
                Err(reason)
            }
        }
    }

    fn ask_to_accept(&self, listener: Postponed) -> bool {
        let may_accept = self.deciding.ask_to_accept(listener);
        if !may_accept {
            self.counters.intake_pauses.bump();
            crate::contain::record!(
                Debug,
                { socket: self.name },
                "{}: no new peer is accepted until those that came are decided about",
                self.name
            );
        }
        may_accept
    }

    fn intake(&self, newcomer: Postponed) -> Intake {
        // Where many peers leave at once, each may have more in the kernel than there is room for.
        let free = if self.budget.is_half_used() { Intake::Single } else { Intake::Free };
        if P::DROPS {
            return free;
        }
        let intake = match self.enter(|entry| entry.intake(newcomer)) {
            Intake::Free => free,
            intake => intake,
        };
        if intake == Intake::Shut {
            self.counters.intake_pauses.bump();
            crate::contain::record!(
                Debug,
                { socket: self.name },
                "{}: no new peer until what others left is received",
                self.name
            );
        }
        intake
    }

    fn detach(&self, pipe: PipeId, reason: DetachReason) {
        self.enter(|entry| entry.unplug(pipe, reason));
    }

    fn wants_unsent(&self) -> bool {
        self.options.lock().settings().requeue
    }

    fn take_back(&self, pipe: PipeId, send: &Ring) {
        // Takes the consumer's half before the state: no thread that has the state waits for the half.
        let consumer = send.consumer();
        self.enter(move |entry| entry.take_back(pipe, consumer));
    }

    fn release_memory(&self, pipe: PipeId) -> bool {
        self.enter(|entry| {
            entry.state.pipes.get_mut(pipe).is_none_or(|pipe| pipe.send.release_memory())
        })
    }

    fn drop_endpoint(&self, endpoint: EndpointId) {
        self.enter(|entry| entry.drop_endpoint(endpoint));
    }

    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }

    fn expire(&self) {
        self.enter(|entry| {
            // The loop has forgotten the timer, so the entry must read the clock.
            entry.state.armed = None;
            entry.expire();
        });
    }

    fn visit_later(&self) {
        self.post(Command::Visit(self.host()));
    }

    fn visit(&self) {
        self.enter(|_| ());
    }

    fn lose(&self) {
        // Not by an entry: the loop may have been lost in the middle of one.
        let mut state = self.state.lock();
        state.is_lost = !std::mem::replace(&mut state.closed, true);
        drop(state);
        self.wake_all();
    }

    fn end_lost(&self) {
        self.enter(|entry| entry.end_lost());
    }
}
