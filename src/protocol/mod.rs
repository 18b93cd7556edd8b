//! The scalability protocols, as pure state machines.
//!
//! Owns what the protocols decide: which pipe takes a message, to which conversation an answer belongs, what is
//! dropped. A protocol never blocks, never locks, reads the clock only by its [`Port`] and never sees a socket or a thread:
//! it is entered by a verb of [`Protocol`] and acts on its pipes through a [`Port`]. The same code runs under the
//! socket's lock in a program and under virtual time in `sim.rs`.
//!
//! A new protocol is one file here, its entries below, and a role in `api/`;
//! CONTRIBUTING.md lists all that goes with it.

use std::time::Instant;

use bytes::Bytes;

use crate::detach::DetachReason;
use crate::message::{Frame, PipeId};
use crate::options::{Overflow, Priorities, QUEUE_MESSAGES, RoleOption, SocketKind};
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;
use crate::verdict::{Picked, Verdict};

mod backtrace;
mod bus;
mod conversation;
mod exclusive;
#[cfg(all(any(test, fuzzing), not(loom)))]
pub(crate) mod fuzzing;
mod latest;
mod pair;
mod pair1;
mod publish;
mod pull;
mod push;
mod raw;
mod rep;
mod req;
mod route;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), allow(dead_code))]
mod sim;
mod subscribe;
mod surveyor;
#[cfg(any(test, fuzzing))]
#[cfg_attr(not(test), allow(dead_code))]
mod testing;
mod timers;
mod topics;

pub(crate) use crate::interest::{Conversation, Interest};
pub(crate) use bus::Bus;
pub(crate) use conversation::Awaited;
pub(crate) use pair::{Couple, Pair, Version};
pub(crate) use pair1::{Pair1, Polyamorous};
pub(crate) use publish::Pub;
pub(crate) use pull::{Pull, Receiver};
pub(crate) use push::Push;
pub(crate) use raw::{Raw, RawForm, RawProtocol, RawReq, RawResponder, RawSurveyor};
pub(crate) use rep::{ProtocolPair, Responder, Route, ToRequests, ToSurveys};
pub(crate) use req::Req;
pub(crate) use subscribe::{RawSub, Sub};
pub(crate) use surveyor::Surveyor;
#[cfg(all(sinew_internals, not(loom)))]
pub(crate) use topics::Topics;

/// What a protocol can do with its pipes: its only access to the world outside.
///
/// All calls return at once. Some leave an order behind: `push` and `ask_room` if they find the pipe full,
/// `ask_drained` if it is not yet empty, and `pop` if it finds nothing. The protocol is then entered by
/// `writable` or `readable` when that has changed. A `push` that succeeds cancels the order of an earlier
/// one: the protocol must then wake those that wait for room, since there may be some.
pub(crate) trait Port {
    /// The broadcast that [`broadcast`](Self::broadcast) begins.
    type Broadcasting<'p>: Broadcasting
    where
        Self: 'p;

    /// Puts one SP message, `header` then `body`, into the pipe's send queue.
    fn push(&mut self, pipe: PipeId, header: &[u8], body: &Bytes) -> Result<(), PushError>;

    /// As `push`, but a full send queue makes room by dropping its oldest messages; returns how many. They are
    /// already counted as [`DropReason::SendQueueFull`]. Fails with `Full` only while another thread writes and
    /// the queue has grown to twice its bounds; leaves no order behind.
    fn push_evicting(
        &mut self,
        pipe: PipeId,
        header: &[u8],
        body: &Bytes,
    ) -> Result<u64, PushError>;

    /// Begins to put one message into many pipes, at most `pipes`.
    fn broadcast<'p>(&'p mut self, message: Broadcast<'p>, pipes: usize) -> Self::Broadcasting<'p>;

    /// Whether a `push` would not be refused as `Full`. It stays so until the next `push` succeeds.
    ///
    /// If not, `writable` follows as soon as there is room. A pipe that is gone counts as one with room.
    fn ask_room(&mut self, pipe: PipeId) -> bool;

    /// Whether everything pushed into the pipe has been handed to its transport.
    ///
    /// If not, `writable` follows as soon as it has. A pipe that is gone counts as drained.
    fn ask_drained(&mut self, pipe: PipeId) -> bool;

    /// Takes the next SP message out of the pipe's receive queue.
    ///
    /// Also serves a pipe that is already detached, until it is empty.
    fn pop(&mut self, pipe: PipeId) -> Option<Frame>;

    /// As `pop`, but takes the next message only if it `is_wanted`, and is at hand without a look into the
    /// queue. `None` says nothing about the queue, and leaves no order behind.
    fn pop_at_hand(
        &mut self,
        _pipe: PipeId,
        _is_wanted: impl FnOnce(&[u8]) -> bool,
    ) -> Option<Bytes> {
        None
    }

    /// As `pop`, but only while the pipe's send queue has a place for the answer, which is kept until
    /// `push_in_place` or `give_place_back`. Without one, `writable` follows when there may be one again.
    fn pop_with_place(&mut self, pipe: PipeId) -> Option<Frame> {
        if !self.ask_place(pipe) {
            return None;
        }
        let frame = self.pop(pipe)?;
        self.keep_place(pipe);
        Some(frame)
    }

    /// Whether `pop_with_place` would find a place; if not, leaves the order that it leaves.
    fn ask_place(&mut self, pipe: PipeId) -> bool;

    /// Keeps a place again that was given back in this entry.
    fn keep_place(&mut self, pipe: PipeId);

    /// As `push`, into the place that was kept for this message. There is room, whatever its length.
    fn push_in_place(&mut self, pipe: PipeId, header: &[u8], body: &Bytes)
    -> Result<(), PushError>;

    /// Gives up a place that was kept. Says whether the protocol may have passed the pipe over because there was none.
    fn give_place_back(&mut self, pipe: PipeId) -> bool;

    /// Takes all messages out of the pipe's receive queue, and leaves an order behind. Hands each to `take`.
    fn pop_all(&mut self, pipe: PipeId, mut take: impl FnMut(&mut Self, Frame))
    where
        Self: Sized,
    {
        while let Some(frame) = self.pop(pipe) {
            take(self, frame);
        }
    }

    /// Takes the first message that `judge` wants, and drops those before it.
    ///
    /// `judge` sees each message where it lies, split into two parts anywhere, so that nothing is copied before
    /// it is taken. As with `pop`, only [`Picked::Nothing`] leaves an order behind.
    fn pop_if(&mut self, pipe: PipeId, judge: impl FnMut(&[u8], &[u8]) -> Verdict) -> Picked;

    /// The pipe's priorities. They do not change while the pipe lives.
    fn priorities(&self, pipe: PipeId) -> Priorities;

    /// Closes the pipe. `detach` follows after this entry.
    fn disconnect(&mut self, pipe: PipeId);

    /// Wakes a call that waits for `interest`, to attempt again.
    fn wake(&mut self, interest: Interest);

    /// Counts one dropped message under its reason. `pipe` is the pipe that it came from or was meant for, if
    /// there is one.
    fn dropped(&mut self, pipe: Option<PipeId>, reason: DropReason);

    /// Counts one request that is sent again.
    fn resent(&mut self);

    /// Counts the copies of one received message that go to more than one context, beyond the first.
    fn copied(&mut self, copies: u64);

    /// Reads the clock, for a protocol that does not get the time with each entry. Takes as long as a send.
    fn now(&self) -> Instant;
}

/// One message for many pipes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broadcast<'a> {
    pub(crate) header: &'a [u8],
    pub(crate) body: &'a Bytes,
    /// What becomes of a copy for which there is no room.
    pub(crate) overflow: Overflow,
}

/// One message on its way into many pipes.
pub(crate) trait Broadcasting {
    /// Pushes a copy into the pipe. If sends wait for room, says whether there is room for another.
    ///
    /// A full pipe makes room as in [`Port::push_evicting`] if the overflow is `DropOldest`, and refuses the
    /// copy otherwise. `writable` follows for a pipe that refused it and, if sends wait, for one without room
    /// for another.
    fn push(&mut self, pipe: PipeId) -> Result<bool, PushError>;
}

/// Why [`Port::push`] refused a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushError {
    /// The send queue is full now; `writable` follows when there is room.
    Full,
    /// The pipe is gone.
    Gone,
}

/// Why a send cannot be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendRefusal {
    /// Nobody can take the message now; attempt again after a wake for the interest.
    WouldBlock,
    /// The conversation is not in a state in which it can send.
    State,
    /// The conversation is closed.
    Closed,
    /// This raw socket cannot send such a header.
    Header,
}

/// Why a receive cannot be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecvRefusal {
    /// Nothing is there; attempt again after a wake for the interest.
    WouldBlock,
    /// The conversation is not in a state in which it can receive.
    State,
    /// The conversation is closed.
    Closed,
    /// The survey has reached its deadline.
    Expired,
    /// A newer request or survey replaced the one that was waited for.
    Canceled,
    /// The pipe that carried a request which must not be repeated is gone.
    ConnectionReset,
    /// A pipe that carried the request was closed because of what its peer had sent.
    BadReply(DetachReason),
    /// The request was sent as often as it may be, and the last pipe that carried it is gone.
    GivenUp { sent: u32, reason: DetachReason },
}

/// When a protocol needs the time. Reading the clock takes as long as a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Never: it has no `deadline`. Every `now` is the same moment.
    Never,
    /// In `expire`. Every other `now` is the same moment, long ago.
    WhenDue,
    /// In every entry.
    Always,
}

/// When a socket enters its protocol, beside the calls of the program.
///
/// A protocol is entered at its [`deadline`](Protocol::deadline). If it `filters` or [is
/// busy](Protocol::is_busy), the thread that rings the bell enters it. Otherwise the next call does, which
/// first handles the edges that have gathered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// When the protocol needs the time.
    pub(crate) clock: Clock,
    /// Whether the protocol inspects what has arrived before a call is woken for it, and wakes only the calls
    /// that it concerns: the thread that rings then enters the protocol. The protocol of its peers must not
    /// filter, so that ringing them for room enters nobody.
    pub(crate) filters: bool,
    /// Whether the protocol takes everything out of a pipe when it hears that there is something, and does not
    /// filter. Then no pipe need ring while no call waits: each entry looks by itself.
    pub(crate) empties: bool,
}

/// The protocol cannot use another pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejected;

/// One scalability protocol: its state, and the verbs by which it is entered.
///
/// The caller holds the socket's lock, has delivered every pending `readable` and `writable`, and calls
/// `expire` first if `deadline` has passed. After each entry the caller wakes the waiters that [`Port::wake`]
/// has named, and after a successful `send` or `recv` the next waiter of the same interest.
pub(crate) trait Protocol: Send + 'static {
    /// Its own number on the wire.
    const ID: ProtocolId;
    /// The number that a peer must announce.
    const PEER: ProtocolId;
    /// Whether the program sees the protocol's header, and the protocol keeps no conversations.
    const RAW: bool = false;
    /// The options that not every socket has.
    const OPTIONS: &'static [RoleOption] = &[];
    /// The choices of [`Overflow`], the default first; empty if the pattern has a rule of its own.
    const OVERFLOW: &'static [Overflow] = &[];
    /// How many messages may wait in the send queue of a pipe, unless the program says otherwise.
    const SEND_QUEUE: usize = QUEUE_MESSAGES;
    /// The constants that the options of a socket depend on.
    const KIND: SocketKind = SocketKind {
        id: Self::ID,
        own: Self::OPTIONS,
        overflow: Self::OVERFLOW,
        send_queue: Self::SEND_QUEUE,
    };
    /// The bytes of header of a message on the wire, if all messages have the same.
    const HEADER: usize = 0;
    /// What a send is addressed to: `()`, a conversation, or the route of an answer.
    type To;
    /// What a receive asks for: `()`, or a request or survey of a conversation.
    type From;
    /// What a receive yields.
    type Received;

    /// The bytes of header of a message to `to` on the wire.
    #[inline]
    fn header_len(_to: &Self::To) -> usize {
        Self::HEADER
    }

    /// When the socket enters the protocol, beside the calls of the program.
    const SCHEDULE: Schedule = Schedule { clock: Clock::Never, filters: false, empties: false };

    /// Whether it ever sends. If not, its pipes send nothing, and a raw send is refused.
    const SENDS: bool = true;

    /// Whether it ever receives. If not, it drops what arrives, and a raw receive is refused.
    const RECEIVES: bool = true;

    /// Whether the pattern's rule is to drop a message for which the receiver has no room. Otherwise the
    /// sender waits.
    const DROPS: bool = false;

    /// Whether it has one pipe at a time, so that the order of two connections matters.
    const EXCLUSIVE: bool = false;

    /// A pipe is new. Nothing has been received on it yet; it is empty and drained.
    fn attach(&mut self, pipe: PipeId, now: Instant, io: &mut impl Port) -> Result<(), Rejected>;

    /// Whether `attach` would reject any pipe now.
    fn is_full(&self) -> bool {
        false
    }

    /// A pipe is gone for sending, for `reason`. [`Port::pop`] can still take what it had received; a protocol
    /// that does not want that pops and counts it here. A pipe that `attach` rejected is never mentioned again.
    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.readable(pipe, io);
    }

    /// A pipe that was detached has nothing left to pop.
    fn forget(&mut self, _pipe: PipeId) {}

    /// A pipe may have something to pop. May be called when it has nothing.
    fn readable(&mut self, pipe: PipeId, io: &mut impl Port);

    /// A pipe that was full has room, or one that was not drained is. May be called when neither is so.
    fn writable(&mut self, _pipe: PipeId, _now: Instant, _io: &mut impl Port) {}

    /// Sends `body`, or says why not, in which case nothing has changed. A protocol that keeps the body takes
    /// it, and leaves an empty one; after a success nobody needs it. Default: refuses, for a protocol that
    /// never sends.
    fn send(
        &mut self,
        _to: &Self::To,
        _body: &mut Bytes,
        _now: Instant,
        _io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        Err(SendRefusal::State)
    }

    /// Receives, or says why not. Default: refuses, for a protocol that never receives.
    fn recv(
        &mut self,
        _from: &Self::From,
        _now: Instant,
        _io: &mut impl Port,
    ) -> Result<Self::Received, RecvRefusal> {
        Err(RecvRefusal::State)
    }

    /// Whether a send that waits for room in `pipe` would find some, as far as is known. `false` must be right;
    /// a wrong `true` is only wasteful. Default: `false`.
    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        false
    }

    /// Whether a receive in `conversation` would find something, as far as is known; may err as `can_send`.
    fn can_recv(&self, _conversation: Conversation) -> bool {
        false
    }

    /// As `can_send`, but always right. Forgets pipes that it finds full: `writable` reports later changes,
    /// as if a send had found that.
    fn find_room(&mut self, pipe: Option<PipeId>, _io: &mut impl Port) -> bool {
        self.can_send(pipe)
    }

    /// As `can_recv`, but always right: whether a receive would succeed, or fail with anything but
    /// `WouldBlock` and `State`. Drops messages that could not be received, and forgets pipes that it finds
    /// empty: `readable` reports later changes, as if a receive had found that.
    fn find_message(&mut self, conversation: Conversation, _io: &mut impl Port) -> bool {
        self.can_recv(conversation)
    }

    /// Whether a call that waits for `interest` would find something, as far as is known.
    #[inline]
    fn ready(&self, interest: Interest) -> bool {
        match interest {
            Interest::Send(pipe) => self.can_send(pipe),
            Interest::Recv(conversation) => self.can_recv(conversation),
            Interest::Peers | Interest::Drained => false,
        }
    }

    /// As `ready`, but always right.
    fn poll_ready(&mut self, interest: Interest, io: &mut impl Port) -> bool {
        match interest {
            Interest::Send(pipe) => self.find_room(pipe, io),
            Interest::Recv(conversation) => self.find_message(conversation, io),
            Interest::Peers | Interest::Drained => false,
        }
    }

    /// Takes back a message that `send` had put into a pipe, which was lost before it was transmitted. Comes
    /// after `detach`, and only if an option of the protocol asks for it.
    fn take_back(&mut self, pipe: PipeId, _unsent: Frame, io: &mut impl Port) {
        io.dropped(Some(pipe), DropReason::Superseded);
    }

    /// The socket is closed: sends the messages that the protocol holds, or drops and counts them. Those of a
    /// conversation may stay until that is closed.
    fn shut(&mut self, _io: &mut impl Port) {}

    /// The number of messages that the protocol itself holds: requests not yet on any pipe, answers not yet
    /// received, and what a conflating PUB keeps back. For the conservation law.
    fn held(&self) -> Held {
        Held::default()
    }

    /// A likely reason, other than the peers, why nothing is received. For people.
    fn hint(&self) -> Option<&'static str> {
        None
    }

    /// Whether the protocol has work to do when a pipe becomes ready, even if no call waits for it.
    fn is_busy(&self) -> bool {
        false
    }

    /// When `expire` must be called next. A protocol without timers leaves both at their defaults.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Does everything that is due at `now`.
    fn expire(&mut self, _now: Instant, _io: &mut impl Port) {}
}

/// Messages inside a protocol, neither in a pipe nor with the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Accepted by a send and not yet put into any pipe.
    pub(crate) outbound: u64,
    /// Taken out of a pipe and not yet received by the program.
    pub(crate) inbound: u64,
}
