//! The host: a socket as the layers below it see it.
//!
//! Owns [`Host`], the one door by which lower layers call up into a socket; [`NewPipe`], what they bring it;
//! and [`Postponed`], who would bring a pipe and may not yet.

use std::fmt;

use super::endpoint::EndpointCore;
use super::{FarEnd, PipeLease, SocketBell};
use crate::detach::DetachReason;
use crate::message::PipeId;
use crate::peer::{EndpointId, Peer};
use crate::protocol_id::ProtocolId;
use crate::ring::{Bounds, Producer, Ring};
use crate::stats::Counters;
use crate::sync::Arc;

/// Whether a socket takes in new pipes, by what peers that have left have left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// As many as come.
    Free,
    /// One at a time: its peer may leave at once, and leave more behind than there is room for.
    Single,
    /// None until the program has received. Who asked is told then.
    Shut,
}

/// Who would bring a socket a new pipe, or the last of one, and waits for the program to receive.
pub(crate) struct Postponed(Box<dyn FnOnce() + Send>);

impl Postponed {
    /// `ask_again` only posts: it runs in the thread that has received.
    pub(crate) fn new(ask_again: impl FnOnce() + Send + 'static) -> Self {
        Self(Box::new(ask_again))
    }

    /// Has it ask again, and not by the calling thread. Never called under a socket's lock.
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
    /// Our protocol's number, and the number a peer must announce.
    fn identity(&self) -> (ProtocolId, ProtocolId);

    /// Whether nothing is ever sent on its pipes.
    fn never_sends(&self) -> bool;

    /// Whether it has one pipe at a time: its connections are then seen in their order only on one loop.
    fn is_exclusive(&self) -> bool;

    /// The bounds of a pipe's send and receive queue.
    fn bounds(&self) -> (Bounds, Bounds);

    /// The bell to ring for this socket's pipes.
    fn bell(&self) -> &Arc<SocketBell>;

    /// The counters.
    fn counters(&self) -> &Arc<Counters>;

    /// For log records.
    fn name(&self) -> &str;

    /// Says that a peer is there, complete and compatible, and is being decided about: its first event.
    /// Followed by `attach` or by `turn_away`, and the last of them. Not if the socket or the endpoint is
    /// closed.
    fn announce(&self, peer: &Peer, endpoint: &EndpointCore) -> Result<(), DetachReason>;

    /// Whether the program is to be asked about peers.
    fn asks(&self) -> bool;

    /// Runs the program's `admit` callback. Called with no lock held: it takes as long as it likes.
    fn admits(&self, peer: &Peer) -> bool;

    /// Says that a peer which was announced is not let in.
    fn turn_away(&self, peer: &Peer, reason: DetachReason);

    /// Offers the pipe of a peer that was announced and admitted.
    fn attach(&self, pipe: NewPipe) -> Result<(), DetachReason>;

    /// Whether the protocol would reject any pipe that is offered now.
    fn is_full(&self) -> bool;

    /// Whether so many peers are being decided about that `listener` is to accept no more. Then it is told
    /// when they have become fewer.
    fn is_crowded(&self, listener: Postponed) -> bool;

    /// Whether the socket takes in new pipes now. If it is shut, `newcomer` is told when to ask again:
    /// when enough has been received, or there is no more to wait for.
    fn intake(&self, newcomer: Postponed) -> Intake;

    /// Says that a pipe is gone. What its receive ring holds stays readable.
    fn detach(&self, pipe: PipeId, reason: DetachReason);

    /// Whether messages that a lost pipe has not transmitted are to be given back.
    fn wants_unsent(&self) -> bool;

    /// Takes back the messages that a lost pipe has not transmitted, not even in part, out of its
    /// send ring.
    fn take_back(&self, pipe: PipeId, send: &Ring);

    /// Releases the memory of a pipe's send ring if it is empty; says whether it has none now.
    fn release_memory(&self, pipe: PipeId) -> bool;

    /// Closes all pipes that an endpoint has made.
    fn drop_endpoint(&self, endpoint: EndpointId);

    /// Whether the socket is closed: it has no more timers.
    fn is_closed(&self) -> bool;

    /// Runs the protocol's timers.
    fn expire(&self);

    /// Has the event loop visit the socket soon: the calling thread may be deep inside another socket.
    fn visit_later(&self);

    /// Enters the socket, so that its protocol handles what the bell has announced.
    fn visit(&self);
}

/// A pipe that is offered to a socket.
#[derive(Debug)]
pub(crate) struct NewPipe {
    pub(crate) lease: PipeLease,
    pub(crate) peer: Peer,
    /// What we send; the far end consumes it.
    pub(crate) send: Producer,
    /// What we receive; the far end produces it.
    pub(crate) recv: Arc<Ring>,
    pub(crate) far: FarEnd,
    pub(crate) endpoint: Arc<EndpointCore>,
}
