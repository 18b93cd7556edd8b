//! The host: a socket as the layers below it see it.
//!
//! Owns [`Host`], the one interface through which lower layers call up into a socket; [`NewPipe`], what they
//! bring it; and [`Postponed`], one that may not bring a pipe yet.

use std::fmt;

use super::endpoint::EndpointCore;
use super::{Budget, FarEnd, PipeLease, SocketBell};
use crate::detach::DetachReason;
use crate::message::PipeId;
use crate::peer::{EndpointId, Peer};
use crate::protocol_id::ProtocolId;
use crate::ring::{Bounds, Producer, Ring, RingRef};
use crate::stats::Counters;
use crate::sync::Arc;

/// Whether a socket takes in new pipes, which depends on what departed peers have left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// As many as come.
    Free,
    /// One at a time: its peer may leave at once, and leave more behind than there is room for.
    Single,
    /// None until the program has received. Then it tells those that asked.
    Shut,
}

/// Somebody who has a new pipe for a socket, or the last messages of one, or more than its budget allows, and waits
/// until the program has received.
pub(crate) struct Postponed(Box<dyn FnOnce() + Send>);

impl Postponed {
    /// Makes one whose `ask_again` only posts, since it runs in the thread that has received.
    pub(crate) fn new(ask_again: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(ask_again))
    }

    /// Lets it ask again, on another thread. Never called under a socket's lock.
    pub(crate) fn ask_again(self) {
        (self.0)();
    }
}

impl fmt::Debug for Postponed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Postponed")
    }
}

/// A socket as the layers below it see it.
pub(crate) trait Host: Send + Sync + fmt::Debug {
    /// The number of the socket's protocol, and the number that a peer must announce.
    fn identity(&self) -> (ProtocolId, ProtocolId);

    /// Whether nothing is ever sent on its pipes.
    fn never_sends(&self) -> bool;

    /// Whether it has one pipe at a time. All its connections must then be on one loop, which sees their order.
    fn is_exclusive(&self) -> bool;

    /// The bounds of the send and receive queue of a pipe of this endpoint.
    fn bounds(&self, endpoint: &EndpointCore) -> (Bounds, Bounds);

    /// The bell to ring for this socket's pipes.
    fn bell(&self) -> &Arc<SocketBell>;

    /// The counters.
    fn counters(&self) -> &Arc<Counters>;

    /// How much its connections may hold together.
    fn budget(&self) -> &Arc<Budget>;

    /// The name for log records.
    fn name(&self) -> &str;

    /// Announces a peer that is connected and compatible, and about which the program is to decide: its first
    /// event. `attach` or `turn_away` must follow. Fails if the socket or the endpoint is closed.
    fn announce(&self, peer: &Peer, endpoint: &EndpointCore) -> Result<(), DetachReason>;

    /// Whether the program decides about peers, by an `admit` callback.
    fn asks(&self) -> bool;

    /// Runs the program's `admit` callback. Called with no lock held: it takes as long as it likes.
    fn admits(&self, peer: &Peer) -> bool;

    /// Reports that an announced peer is not let in.
    fn turn_away(&self, peer: &Peer, reason: DetachReason);

    /// Offers the pipe of a peer that was announced and admitted.
    fn attach(&self, pipe: NewPipe) -> Result<(), DetachReason>;

    /// Why any pipe of this endpoint that is offered now would be rejected; `None`: it would not.
    fn refusal(&self, endpoint: &EndpointCore) -> Option<DetachReason>;

    /// Whether so few decisions about peers are under way that `listener` may accept more. If not, tells it when
    /// there are fewer.
    fn ask_to_accept(&self, listener: Postponed) -> bool;

    /// Whether the socket takes in new pipes now. If not, tells `newcomer` when to ask again: when the program
    /// has received enough, or there is nothing left to wait for.
    fn intake(&self, newcomer: Postponed) -> Intake;

    /// Reports that a pipe is gone. The messages in its receive ring stay readable.
    fn detach(&self, pipe: PipeId, reason: DetachReason);

    /// Whether the protocol takes back messages that a lost pipe has not transmitted.
    fn wants_unsent(&self) -> bool;

    /// Takes back the messages of which a lost pipe has transmitted no byte, out of its send ring.
    fn take_back(&self, pipe: PipeId, send: &Ring);

    /// Releases the memory of a pipe's send ring if it is empty; says whether it has none now.
    fn release_memory(&self, pipe: PipeId) -> bool;

    /// Closes all pipes that an endpoint has made.
    fn drop_endpoint(&self, endpoint: EndpointId);

    /// Whether the socket is closed: it has no more timers.
    fn is_closed(&self) -> bool;

    /// Runs the protocol's timers.
    fn expire(&self);

    /// Posts a visit to the event loop, since the calling thread may be deep inside another socket.
    fn visit_later(&self);

    /// Enters the socket, so that its protocol handles what the bell has announced.
    fn visit(&self);

    /// Ends all calls of the socket, now and from now on: an event loop of its runtime is lost.
    fn lose(&self);

    /// Closes what the socket has, after [`lose`](Self::lose).
    fn end_lost(&self);
}

/// A pipe that is offered to a socket.
#[derive(Debug)]
pub(crate) struct NewPipe {
    pub(crate) lease: PipeLease,
    pub(crate) peer: Peer,
    /// The ring of what we send, which the far end consumes.
    pub(crate) send: Producer,
    /// The ring of what we receive, which the far end fills.
    pub(crate) recv: RingRef,
    pub(crate) far: FarEnd,
    pub(crate) endpoint: Arc<EndpointCore>,
}
