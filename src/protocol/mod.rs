//! The scalability protocols, as pure state machines.
//!
//! Owns what the protocols decide: which pipe takes a message, which conversation an answer belongs
//! to, what is dropped. A protocol never blocks, never locks, never asks the time and never sees a
//! socket or a thread: it is entered by a verb of [`Protocol`] and acts on its pipes through a
//! [`Port`]. The same code runs under the socket's lock in a program and under virtual time in
//! `sim.rs`.
//!
//! A new protocol is one file here, its entries below, and a typed socket in `api/`;
//! CONTRIBUTING.md lists all that goes with it.

use std::time::Instant;

use bytes::Bytes;

use crate::detach::DetachReason;
use crate::message::{Frame, PipeId};
use crate::options::{Kind, Overflow, Own, Priorities};
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;
use crate::verdict::{Picked, Verdict};

mod backtrace;
mod bus;
mod conversation;
mod exclusive;
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
#[cfg(test)]
mod sim;
mod subscribe;
mod surveyor;
#[cfg(test)]
mod testing;
mod timers;
mod topics;

pub(crate) use crate::interest::{Conversation, Interest};
pub(crate) use bus::Bus;
pub(crate) use conversation::Awaited;
pub(crate) use pair::Pair;
pub(crate) use pair1::{Pair1, Polyamorous};
pub(crate) use publish::Pub;
pub(crate) use pull::Pull;
pub(crate) use push::Push;
pub(crate) use raw::{Raw, RawForm, RawProtocol, RawReq, RawResponder, RawSurveyor};
pub(crate) use rep::{Rep, Respondent, Responder, Role, Route, ToRequests, ToSurveys};
pub(crate) use req::Req;
pub(crate) use subscribe::{RawSub, Sub};
pub(crate) use surveyor::Surveyor;
#[cfg(all(sinew_internals, not(loom)))]
pub(crate) use topics::Topics;

/// What a protocol can do with its pipes: everything it has of the world outside.
///
/// All calls return at once. A `push` that succeeds calls off the order of one that did not: the
/// protocol must then tell whoever waits for room that there may be some. `push` and `has_room`
/// that find a pipe full, `drained` that finds it not yet empty and `pop` that finds nothing leave an order behind: the
/// protocol is entered again by `writable` or `readable` when that has changed.
pub(crate) trait Port {
    /// What [`broadcast`](Self::broadcast) goes on with.
    type Broadcasting<'p>: Broadcasting
    where
        Self: 'p;

    /// Puts one SP message, `header` then `body`, into the pipe's send queue.
    fn push(&mut self, pipe: PipeId, header: &[u8], body: &Bytes) -> Result<(), PushError>;

    /// As `push`, but a full send queue makes room by dropping its oldest messages; yields how many
    /// those were. They are counted as [`DropReason::SendQueueFull`] already. `Full` only while
    /// somebody writes and so much has come meanwhile that the queue holds twice what it may; no order
    /// is left behind.
    fn push_evicting(
        &mut self,
        pipe: PipeId,
        header: &[u8],
        body: &Bytes,
    ) -> Result<u64, PushError>;

    /// Begins to put one message into many pipes, at most so many.
    fn broadcast<'p>(&'p mut self, message: Broadcast<'p>, pipes: usize) -> Self::Broadcasting<'p>;

    /// Whether a `push` would not be refused as `Full`; then no later one is before the next success.
    ///
    /// When not, `writable` follows as soon as there is room. A pipe that is gone counts as one with
    /// room.
    fn has_room(&mut self, pipe: PipeId) -> bool;

    /// Whether everything pushed into the pipe has been handed to its transport.
    ///
    /// When not, `writable` follows as soon as it has. A pipe that is gone counts as drained.
    fn drained(&mut self, pipe: PipeId) -> bool;

    /// Takes the next SP message out of the pipe's receive queue.
    ///
    /// Also serves a pipe that is already detached, until it is empty.
    fn pop(&mut self, pipe: PipeId) -> Option<Frame>;

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
    /// `judge` is shown each where it lies, cut in two at an arbitrary place: nothing is copied of a
    /// message before it is taken. What has to be said of `pop` holds here as well: only
    /// [`Picked::Nothing`] leaves an order behind.
    fn pop_if(&mut self, pipe: PipeId, judge: impl FnMut(&[u8], &[u8]) -> Verdict) -> Picked;

    /// The pipe's place among the others. Does not change while the pipe lives.
    fn priorities(&self, pipe: PipeId) -> Priorities;

    /// Closes the pipe. `detach` follows when the protocol has been left.
    fn disconnect(&mut self, pipe: PipeId);

    /// Says that whoever waits for `interest` should look again.
    fn wake(&mut self, interest: Interest);

    /// Counts one message that is dropped, and why.
    ///
    /// `pipe` is the pipe it came from or was meant for, where there is one.
    fn dropped(&mut self, pipe: Option<PipeId>, reason: DropReason);

    /// Counts one request that is sent again.
    fn resent(&mut self);

    /// Counts the copies of one received message that go to more than one context, beyond the first.
    fn copied(&mut self, copies: u64);

    /// What time it is, for a protocol that is not told with each entry. To ask takes as long as to
    /// send.
    fn now(&self) -> Instant;
}

/// One message for many pipes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Broadcast<'a> {
    pub(crate) header: &'a [u8],
    pub(crate) body: &'a Bytes,
    /// What becomes of a copy that finds no room.
    pub(crate) overflow: Overflow,
}

/// One message on its way into many pipes.
pub(crate) trait Broadcasting {
    /// Pushes a copy into the pipe; says whether there is room for another, if sends wait for that.
    ///
    /// A full pipe makes room as in [`Port::push_evicting`], if the rule is to drop the oldest. Under the
    /// other rules it takes nothing. `writable` follows for a pipe that took nothing and, where sends
    /// wait, for one without room for another.
    fn push(&mut self, pipe: PipeId) -> Result<bool, PushError>;
}

/// Why [`Port::push`] took nothing.
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
    /// Nobody can take the message now; look again after a wake for the interest.
    WouldBlock,
    /// The conversation is not in a state in which it can send.
    State,
    /// The conversation is closed.
    Closed,
    /// The header is not one that this kind of raw socket can send.
    Header,
}

/// Why a receive cannot be done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RecvRefusal {
    /// Nothing is there; look again after a wake for the interest.
    WouldBlock,
    /// The conversation is not in a state in which it can receive.
    State,
    /// The conversation is closed.
    Closed,
    /// The survey has reached its deadline.
    Expired,
    /// A newer request or survey took the place of the one that was waited for.
    Canceled,
    /// The pipe that carried a request which must not be repeated is gone.
    ConnectionReset,
    /// A pipe that carried the request was closed for what its peer had sent.
    BadReply(DetachReason),
    /// The request was sent as often as it may be, and the last pipe that carried it is gone.
    GivenUp { sent: u32, reason: DetachReason },
}

/// When a protocol has to be told the time. To ask the clock takes as long as to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Not at all: there is no `deadline`. Every `now` is one and the same moment.
    Never,
    /// In `expire`. Every other `now` is one and the same moment, long ago.
    WhenDue,
    /// In every entry.
    Always,
}

/// When a socket has to enter its protocol, beside the calls of the program.
///
/// A protocol is entered at its [`deadline`](Protocol::deadline), by whoever brings news of a pipe if it
/// `filters` or [is busy](Protocol::is_busy), and else by the next call, which first hands over all
/// `readable` and `writable` that have gathered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// When it matters what time it is.
    pub(crate) clock: Clock,
    /// Whether the protocol looks at what has arrived before anyone is woken for it, and wakes only whom
    /// it concerns: whoever brings the news then enters the protocol. Its peers must be entered by nobody
    /// who brings them news of room, which is so for all that do not filter.
    pub(crate) filters: bool,
}

/// The protocol cannot use another pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejected;

/// One scalability protocol: its state, and the verbs by which it is entered.
///
/// The caller holds the socket's lock, has already handed over every pending `readable` and
/// `writable`, and calls `expire` first when `deadline` has passed. After each entry the caller
/// wakes who was named by [`Port::wake`], and after a successful `send` or `recv` the next waiter of
/// the same interest.
pub(crate) trait Protocol: Send + 'static {
    /// Our own number on the wire.
    const ID: ProtocolId;
    /// The number a peer must announce.
    const PEER: ProtocolId;
    /// Whether the program sees the protocol's header, and the protocol keeps no conversations.
    const RAW: bool = false;
    /// The options that not every socket has.
    const OPTIONS: &'static [Own] = &[];
    /// What may become of a message for which there is no room, the default first; empty where the
    /// pattern has a rule of its own.
    const OVERFLOW: &'static [Overflow] = &[];
    /// How many messages may wait in the send queue of a pipe, unless the program says otherwise.
    const SEND_QUEUE: usize = 128;
    /// All of the above that the options of a socket depend on.
    const KIND: Kind = Kind {
        id: Self::ID,
        own: Self::OPTIONS,
        overflow: Self::OVERFLOW,
        send_queue: Self::SEND_QUEUE,
    };
    /// How many bytes of header a message has on the wire, where that is the same for all.
    const HEADER: usize = 0;
    /// What a send is addressed to: `()`, a conversation, or the route of an answer.
    type To;
    /// What a receive asks for: `()`, or a request or survey of a conversation.
    type From;
    /// What a receive yields.
    type Received;

    /// How many bytes of header a message to `to` has on the wire.
    #[inline]
    fn header_len(_to: &Self::To) -> usize {
        Self::HEADER
    }

    /// When the socket has to enter the protocol, and what it tells it then.
    const SCHEDULE: Schedule = Schedule { clock: Clock::Never, filters: false };

    /// Whether it ever sends. If not, nothing goes out on its pipes, and a raw send is refused.
    const SENDS: bool = true;

    /// Whether it ever receives. If not, it drops what arrives, and a raw receive is refused.
    const RECEIVES: bool = true;

    /// Whether the pattern's rule is to drop a message for which the receiver has no room. Otherwise the
    /// sender waits.
    const DROPS: bool = false;

    /// Whether there is one pipe at a time, so that it matters which of two connections was first.
    const EXCLUSIVE: bool = false;

    /// A new pipe. Nothing has been received on it yet; it is empty and drained.
    fn attach(&mut self, pipe: PipeId, now: Instant, io: &mut impl Port) -> Result<(), Rejected>;

    /// Whether `attach` would reject any pipe now.
    fn is_full(&self) -> bool {
        false
    }

    /// The pipe is gone for sending, for `reason`. What it had received can still be taken by [`Port::pop`]:
    /// a protocol that does not want it pops and counts it here. A pipe that `attach` rejected is
    /// never mentioned again.
    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.readable(pipe, io);
    }

    /// A pipe that was detached has nothing to pop, or no longer: what it held has been dropped.
    fn forget(&mut self, _pipe: PipeId) {}

    /// Something may be there to pop. May be called when there is nothing.
    fn readable(&mut self, pipe: PipeId, io: &mut impl Port);

    /// A pipe that was full has room, or one that was not drained is. May be called for nothing.
    fn writable(&mut self, _pipe: PipeId, _now: Instant, _io: &mut impl Port) {}

    /// Sends `body`, or says why not, in which case nothing has changed. Who keeps it takes it, and leaves an
    /// empty one; after a success nobody needs it.
    fn send(
        &mut self,
        to: &Self::To,
        body: &mut Bytes,
        now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal>;

    /// Receives, or says why not.
    fn recv(
        &mut self,
        from: &Self::From,
        now: Instant,
        io: &mut impl Port,
    ) -> Result<Self::Received, RecvRefusal>;

    /// Whether a send that waits for room in `pipe` would find some, as far as is known. Never wrong by
    /// saying no; to say yes too often is only wasteful. `false` for a protocol that does not send.
    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        false
    }

    /// Whether a receive in `conversation` would find something, as far as is known; as `can_send`.
    fn can_recv(&self, _conversation: Conversation) -> bool {
        false
    }

    /// As `can_send`, and never wrong. Forgets pipes that it finds full: what changes later is told by
    /// `writable`, as if a send had found that.
    fn find_room(&mut self, pipe: Option<PipeId>, _io: &mut impl Port) -> bool {
        self.can_send(pipe)
    }

    /// As `can_recv`, and never wrong: whether a receive would succeed, or fail for something that it is to
    /// hear of. Drops what could not be received, and forgets pipes that it finds empty: what changes later
    /// is told by `readable`, as if a receive had found that.
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

    /// As `ready`, and never wrong.
    fn poll_ready(&mut self, interest: Interest, io: &mut impl Port) -> bool {
        match interest {
            Interest::Send(pipe) => self.find_room(pipe, io),
            Interest::Recv(conversation) => self.find_message(conversation, io),
            Interest::Peers | Interest::Drained => false,
        }
    }

    /// A message that `send` had put into a pipe, which was lost before it was transmitted. Comes
    /// after `detach`, and only where the program has asked for it by an option of the protocol.
    fn take_back(&mut self, pipe: PipeId, _unsent: Frame, io: &mut impl Port) {
        io.dropped(Some(pipe), DropReason::Superseded);
    }

    /// The socket is closed: drops, and counts, what the protocol holds and nobody can get any more.
    /// What a conversation holds may stay until that is closed.
    fn shut(&mut self, _io: &mut impl Port) {}

    /// How many messages the protocol itself holds: requests not yet on any pipe and answers not yet
    /// received. For the conservation law.
    fn held(&self) -> Held {
        Held::default()
    }

    /// What may be the reason if nothing is received, other than the peers. For people.
    fn hint(&self) -> Option<&'static str> {
        None
    }

    /// Whether a pipe that becomes ready gives the protocol something to do though no call waits for
    /// it.
    fn is_busy(&self) -> bool {
        false
    }

    /// When `expire` wants to be called next. A protocol without timers leaves both as they are.
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
