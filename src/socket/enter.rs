//! The way into a socket, and out of it.
//!
//! Owns what every call does under the lock before and after its own act, and the close of a socket, which is a
//! call like the others.

use std::time::Instant;

use super::deferred_log::Record;
use super::effects::Closing;
use super::entry::Entry;
use super::forked::InChild;
use super::wait::{Outcome, Refusal};
use super::watch::raise_all;
use super::{Core, SocketPort, State};
use crate::body::StateGuard;
use crate::detach::DetachReason;
use crate::error::Closed;
use crate::pipe::FarEnd;
use crate::protocol::{Clock, Protocol};
use crate::stats::DropReason;
use crate::time;

/// Why nothing has come of the short way in and out.
pub(super) enum Alone<E> {
    /// It was not open, or the attempt must be made again on the long way.
    Barred,
    /// The attempt would have to wait.
    InVain,
    /// Waiting is no use.
    Refused(E),
}

impl<P: Protocol> Core<P> {
    /// Enters the protocol: takes the lock, handles what the bell has announced, runs timers that are due, and
    /// calls `act`. On the way out gives the lock back, wakes waiters and rings bells.
    pub(crate) fn enter<R: InChild>(&self, act: impl FnOnce(&mut Entry<'_, P>) -> R) -> R {
        self.enter_here(act)
    }

    /// As [`enter`](Self::enter), inlined into the calls that every message takes.
    #[inline(always)]
    pub(super) fn enter_here<R: InChild>(&self, act: impl FnOnce(&mut Entry<'_, P>) -> R) -> R {
        if self.is_forked() {
            return R::in_child();
        }
        let now = match P::SCHEDULE.clock {
            Clock::Always => time::now(),
            Clock::WhenDue | Clock::Never => self.birth,
        };
        let _duty = self.bell.duties.begin();
        let mut state = self.state.lock();
        let here = Entry { core: self, state: &mut state, now, leaves_unarmed: false };
        if here.is_behind() {
            here.catch_up();
        }
        let mut entry = Entry { core: self, state: &mut state, now, leaves_unarmed: false };
        if P::SCHEDULE.clock != Clock::Never {
            entry.expire();
        }
        let result = act(&mut entry);
        if !state.watches.is_empty() {
            Entry { core: self, state: &mut state, now, leaves_unarmed: false }.check_watches();
        }
        let busy = state.protocol.is_busy() || !state.watches.is_empty();
        if self.bell.set_busy(busy && !state.closed) {
            state.effects.visit();
        }
        if P::SCHEDULE.clock != Clock::Never
            && let Some(at) = state.timer_to_set()
        {
            state.effects.set_timer(at);
        }
        if !self.bell.signal.is_awaited() {
            state.effects.wake_nobody();
        }
        if !state.effects.is_nothing() {
            self.leave(state, now);
        }
        result
    }

    /// The short way in and out, for an attempt that concerns only the caller: the bell has announced nothing that
    /// may concern others, no timer may be due, and nobody waits or watches. If it `leaves_unarmed`, a pipe need not
    /// ring the bell until somebody takes the long way.
    #[inline(always)]
    pub(super) fn enter_alone<T: Outcome, E: Refusal>(
        &self,
        leaves_unarmed: bool,
        attempt: &mut impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<T, E>,
    ) -> Result<T, Alone<E>> {
        if P::SCHEDULE.clock == Clock::Always || self.is_forked() {
            return Err(Alone::Barred);
        }
        // Without the lock, which the long way takes. What is announced later is for a later entry.
        if !P::SCHEDULE.empties && self.bell.is_pending() {
            return Err(Alone::Barred);
        }
        let _duty = self.bell.duties.begin();
        let mut state = self.state.lock();
        let is_due = P::SCHEDULE.clock != Clock::Never && state.may_be_due();
        let is_awaited = self.bell.signal.is_awaited();
        let is_watched = !state.watches.is_empty();
        if state.closed || is_due || is_awaited || is_watched {
            return Err(Alone::Barred);
        }
        let now = self.birth;
        let leaves_unarmed = P::SCHEDULE.empties && leaves_unarmed;
        if P::SCHEDULE.empties {
            let here = Entry { core: self, state: &mut state, now, leaves_unarmed };
            if here.is_behind() {
                here.catch_up();
            }
        }
        let mut entry = Entry { core: self, state: &mut state, now, leaves_unarmed };
        let (protocol, mut port, now) = entry.parts();
        let outcome = attempt(protocol, &mut port, now);
        if let Ok(value) = &outcome {
            value.count(&mut port);
        }
        let is_unarmed = P::SCHEDULE.empties && state.pipes.unarmed.is_some();
        if is_unarmed && state.protocol.is_busy() {
            // A busy protocol relies on the bell though nobody waits.
            Entry { core: self, state: &mut state, now, leaves_unarmed: false }.catch_up();
        }
        if self.bell.set_busy(state.protocol.is_busy()) {
            state.effects.visit();
        }
        if P::SCHEDULE.clock != Clock::Never
            && let Some(at) = state.timer_to_set()
        {
            state.effects.set_timer(at);
        }
        state.effects.wake_nobody();
        if !state.effects.is_nothing() {
            self.leave(state, now);
        } else {
            state.release();
        }
        outcome.map_err(|refusal| match refusal.is_for_now() {
            // Who waits relies on the bell, and the long way arms the pipe.
            true if is_unarmed => Alone::Barred,
            true => Alone::InVain,
            false => Alone::Refused(refusal),
        })
    }

    /// Gives the lock back, and performs the effects that were noted under it.
    #[cold]
    #[inline(never)]
    fn leave(&self, mut state: StateGuard<'_, State<P>>, now: Instant) {
        Entry { core: self, state: &mut state, now, leaves_unarmed: false }.disconnect_slow();
        if !state.is_unsubscribed_told
            && state.effects.tell_of_unwanted()
            && state.protocol.hint().is_some()
        {
            state.is_unsubscribed_told = true;
            state.effects.rare().records.push(Record::Unsubscribed);
        }
        let effects = std::mem::take(&mut state.effects);
        // Bodies last, so that nobody waits for their destructors.
        let _bodies = state.unlock();
        effects.perform(self);
    }

    /// Closes the socket: ends its calls, endpoints and pipes. First writes what the kernel takes within a
    /// moment.
    pub(crate) fn close(&self) -> Result<(), Closed> {
        self.enter(|entry| entry.close())?;
        crate::contain::record!(Debug, { socket: self.name }, "{}: closed", self.name);
        Ok(())
    }

    /// Ends the events of a closed socket, unless the last event of a pipe is still to come.
    pub(super) fn close_events(&self) {
        if self.deciding.is_over() {
            self.hub.close().wake();
        }
    }
}

impl<P: Protocol> Entry<'_, P> {
    /// Marks the socket closed, and takes its pipes from the protocol. The effects tell everybody else.
    fn close(&mut self) -> Result<(), Closed> {
        if std::mem::replace(&mut self.state.closed, true) {
            return Err(Closed);
        }
        self.end();
        Ok(())
    }

    /// Closes what is left of a socket whose event loop was lost.
    pub(super) fn end_lost(&mut self) {
        if self.state.is_lost {
            self.end();
        }
    }

    /// Takes the pipes from the protocol of a socket that is closed.
    fn end(&mut self) {
        let (protocol, mut port, _) = self.parts();
        protocol.shut(&mut port);
        self.state.encoders.release_memory();
        let fars = self.drop_pipes();
        let state = &mut *self.state;
        let closing = Closing {
            flags: raise_all(&mut state.watches),
            fars,
            endpoints: std::mem::take(&mut state.endpoints),
            has_timer: state.armed.take().is_some(),
        };
        state.effects.rare().closing = Some(closing);
        self.open_intake();
    }

    /// Takes all pipes, and counts the messages that nobody will receive any more.
    fn drop_pipes(&mut self) -> Vec<FarEnd> {
        let (core, mut fars) = (self.core, Vec::new());
        let State { pipes, effects, leaving, .. } = &mut *self.state;
        for mut pipe in pipes.drain() {
            pipe.shut();
            let unread = pipe.discard_received();
            core.counters.copies_taken.count(unread);
            core.counters.dropped(DropReason::ClosedUnread, unread);
            if unread > 0 {
                effects.record(|| Record::Dropped(Some(pipe.peer()), DropReason::ClosedUnread));
            }
            let Some(far) = &pipe.far else { continue };
            core.on_pipe_gone(&pipe, DetachReason::SocketClosed, effects);
            if !far.is_direct() {
                leaving.push(pipe.send.ring().clone());
            }
            fars.extend(pipe.far);
        }
        fars
    }
}

impl<P: Protocol> State<P> {
    /// Whether the event loop will run our timers at `deadline`, which was not yet due when the clock was last
    /// read.
    #[inline]
    pub(super) fn is_loop_in_charge_of(&self, deadline: Instant) -> bool {
        deadline > self.seen && self.armed.is_some()
    }

    /// When a call that waits must enter again in any case: if the event loop will not do so.
    pub(super) fn own_deadline(&self) -> Option<Instant> {
        let is_left_to_loop =
            |at: Instant| P::SCHEDULE.clock == Clock::WhenDue && self.is_loop_in_charge_of(at);
        self.protocol.deadline().filter(|&at| !is_left_to_loop(at))
    }

    /// Whether an entry would have to read the clock.
    #[inline]
    fn may_be_due(&self) -> bool {
        self.protocol.deadline().is_some_and(|deadline| !self.is_loop_in_charge_of(deadline))
    }

    /// The time at which the event loop must run our timers, if that is earlier than it knows.
    fn timer_to_set(&mut self) -> Option<Instant> {
        let deadline = self.protocol.deadline().filter(|_| !self.closed)?;
        if self.armed.is_some_and(|armed| armed <= deadline) {
            return None;
        }
        self.armed = Some(deadline);
        self.armed
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::Handle;
    use super::super::establish::Dial;
    use super::super::wait::Patience;
    use super::*;
    use crate::options::{EndpointOptions, Options, Resends};
    use crate::pipe::Host;
    use crate::protocol::{Conversation, Interest, Req, Responder, Route, ToRequests};
    use crate::runtime::Runtime;
    use crate::sync::Arc;

    type Replier = Responder<ToRequests>;

    fn ask(req: &Core<Req>, conversation: Conversation) {
        let mut body = Bytes::from_static(b"m");
        let mut outgoing = req.outgoing(&conversation, &mut body).unwrap();
        req.wait(conversation.interest(), Patience::None, |protocol, io, now| {
            outgoing.send(&conversation, protocol, io, now)
        })
        .unwrap();
    }

    /// The request that `rep` receives next.
    fn take(rep: &Core<Replier>) -> Route {
        let (route, _) = rep
            .wait(Interest::RECV, Patience::None, |protocol, io, now| protocol.recv(&(), now, io))
            .unwrap();
        route
    }

    fn answer(rep: &Core<Replier>, route: &Route) {
        rep.wait(Interest::SEND, Patience::None, |protocol, io, now| {
            protocol.send(route, &mut Bytes::from_static(b"r"), now, io)
        })
        .unwrap();
    }

    /// Receives the reply of a conversation, after `first` was done under the socket's lock.
    fn receive(req: &Core<Req>, conversation: Conversation, first: impl Fn()) {
        req.wait(conversation.interest(), Patience::None, |protocol, io, now| {
            first();
            let awaited = protocol.awaited(conversation)?;
            protocol.recv(&awaited, now, io)
        })
        .unwrap();
    }

    fn open(req: &Core<Req>, interval: Option<Duration>) -> Conversation {
        let resends = Resends { interval, limit: u32::MAX };
        req.enter(|entry| Some(entry.parts().0.open(resends))).unwrap()
    }

    /// A REQ and a REP in a runtime whose loop nobody turns.
    fn pair(name: &str) -> (Handle<Req>, Handle<Replier>) {
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let req = Handle::new(Req::new(9), Options::new(), Some(runtime.clone())).unwrap();
        let rep = Handle::new(Replier::new(8), Options::new(), Some(runtime)).unwrap();
        let url = format!("inproc://{name}");
        rep.bind(&url, &EndpointOptions::new()).unwrap();
        req.connect(&url, &EndpointOptions::new(), Dial::Now).unwrap();
        (req, rep)
    }

    /// Commands would pile up. Each has a weak reference to the socket.
    #[test]
    fn the_calls_of_a_busy_socket_post_nothing_for_the_ring_that_is_unarmed() {
        let (req, rep) = pair("busy-req");
        let (asking, waiting) = (open(&req, None), open(&req, None));

        // Its reply is there before anybody waits for it.
        ask(&req, asking);
        answer(&rep, &take(&rep));
        receive(&req, asking, || ());
        assert!(req.state.lock().pipes.unarmed.is_some());

        // The server has one request to take, so the next waits in line.
        ask(&req, asking);
        ask(&req, waiting);
        let posted = Arc::weak_count(&req.0);
        (0..100).for_each(|_| ask(&req, waiting));
        assert_eq!(Arc::weak_count(&req.0), posted);
    }

    #[test]
    fn a_reply_in_the_ring_that_is_unarmed_ends_its_request_before_the_bell_makes_room_for_a_copy()
    {
        let (req, rep) = pair("reply-before-room");
        let [first, again, last] =
            [None, Some(Duration::ZERO), None].map(|interval| open(&req, interval));
        let [route, other] = [first, again].map(|conversation| {
            ask(&req, conversation);
            take(&rep)
        });

        // Its interval is over, and the pipe still has another request to transmit: so it is in line.
        ask(&req, last);
        Host::expire(&*req);
        assert!(req.state.lock().protocol.is_busy());

        // An entry leaves the ring unarmed, and before it ends the reply comes, and then the pipe has room.
        answer(&rep, &route);
        receive(&req, first, || {
            let peer = || {
                answer(&rep, &other);
                take(&rep);
            };
            // Another thread, since a thread has the lock of one socket at a time.
            std::thread::scope(|scope| scope.spawn(peer).join()).unwrap();
        });
        assert_eq!(req.stats().resends, 0);
        receive(&req, again, || ());
    }
}
