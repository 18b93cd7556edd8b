//! Raw sockets: the protocols without their conversations, for devices.
//!
//! A raw socket talks to the same peers as its cooked twin and routes in the same way, but it keeps no state
//! of a request and has no timer. It passes the protocol header of a received message up to the program, and
//! needs one with each message to send. Semantics specification, sections 5.3, 9.3, 10.
//!
//! | raw | header received | header to send |
//! |---|---|---|
//! | PAIR v0, PUB, SUB, PUSH, PULL | empty | empty |
//! | PAIR v1 | the hop count | the same, below 255 |
//! | BUS | pipe | pipe to leave out, or empty |
//! | REQ, SURVEYOR | backtrace | backtrace |
//! | REP, RESPONDENT | pipe, backtrace | pipe, backtrace |

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use std::collections::HashSet;
use std::marker::PhantomData;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};

use super::backtrace;
use super::rep::ProtocolPair;
use super::route::{Balance, FairQueue, FanOut, find_message};
use super::surveyor::Surveyor;
use super::{
    Conversation, Held, Interest, Overflow, Port, Protocol, PushError, RecvRefusal, Rejected,
    Schedule, SendRefusal,
};
use crate::detach::DetachReason;
use crate::message::{Frame, Message, PipeId};
use crate::number_map::NumberSet;
use crate::options::RoleOption;
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;

/// A raw socket: a send takes the header, and a receive returns it with the message.
pub(crate) trait RawProtocol: Protocol<To = Bytes, From = (), Received = Message> {}

impl<P: Protocol<To = Bytes, From = (), Received = Message>> RawProtocol for P {}

/// A protocol that has a raw form with the same pipes and queues. Default: cooked and raw behave alike, and
/// messages have no header.
pub(crate) trait RawForm: Protocol<To = (), From = (), Received = Message> {
    /// Sends with a header given by the program.
    fn send_raw(
        &mut self,
        header: &Bytes,
        body: &mut Bytes,
        now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        if !header.is_empty() {
            return Err(SendRefusal::Header);
        }
        self.send(&(), body, now, io)
    }

    /// Receives a message with its header.
    fn recv_raw(&mut self, now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        self.recv(&(), now, io)
    }
}

/// The raw form of a protocol.
#[derive(Debug)]
pub(crate) struct Raw<P>(P);

impl<P: RawForm> Raw<P> {
    pub(crate) fn new(protocol: P) -> Self {
        Self(protocol)
    }

    /// The protocol itself, for its settings.
    pub(crate) fn protocol(&mut self) -> &mut P {
        &mut self.0
    }
}

impl<P: RawForm> Protocol for Raw<P> {
    const ID: ProtocolId = P::ID;
    const PEER: ProtocolId = P::PEER;
    const RAW: bool = true;
    const SENDS: bool = P::SENDS;
    const RECEIVES: bool = P::RECEIVES;
    const DROPS: bool = P::DROPS;
    const EXCLUSIVE: bool = P::EXCLUSIVE;
    const SCHEDULE: Schedule = Schedule { empties: false, ..P::SCHEDULE };
    const OPTIONS: &'static [RoleOption] = P::OPTIONS;
    const OVERFLOW: &'static [Overflow] = P::OVERFLOW;
    const HEADER: usize = P::HEADER;
    type To = Bytes;
    type From = ();
    type Received = Message;

    fn attach(&mut self, pipe: PipeId, now: Instant, io: &mut impl Port) -> Result<(), Rejected> {
        self.0.attach(pipe, now, io)
    }

    fn is_full(&self) -> bool {
        self.0.is_full()
    }

    fn detach(&mut self, pipe: PipeId, reason: &DetachReason, now: Instant, io: &mut impl Port) {
        self.0.detach(pipe, reason, now, io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.0.readable(pipe, io);
    }

    fn forget(&mut self, pipe: PipeId) {
        self.0.forget(pipe);
    }

    fn writable(&mut self, pipe: PipeId, now: Instant, io: &mut impl Port) {
        self.0.writable(pipe, now, io);
    }

    fn send(
        &mut self,
        header: &Bytes,
        body: &mut Bytes,
        now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        self.0.send_raw(header, body, now, io)
    }

    fn recv(&mut self, (): &(), now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        self.0.recv_raw(now, io)
    }

    fn can_send(&self, pipe: Option<PipeId>) -> bool {
        self.0.can_send(pipe)
    }

    fn can_recv(&self, conversation: Conversation) -> bool {
        self.0.can_recv(conversation)
    }

    fn find_room(&mut self, pipe: Option<PipeId>, io: &mut impl Port) -> bool {
        self.0.find_room(pipe, io)
    }

    fn find_message(&mut self, conversation: Conversation, io: &mut impl Port) -> bool {
        self.0.find_message(conversation, io)
    }

    fn shut(&mut self, io: &mut impl Port) {
        self.0.shut(io);
    }

    fn take_back(&mut self, pipe: PipeId, unsent: Frame, io: &mut impl Port) {
        self.0.take_back(pipe, unsent, io);
    }

    fn held(&self) -> Held {
        self.0.held()
    }

    fn is_busy(&self) -> bool {
        self.0.is_busy()
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }

    fn expire(&mut self, now: Instant, io: &mut impl Port) {
        self.0.expire(now, io);
    }
}

/// A raw REQ socket.
pub(crate) type RawReq = RawRequester<Balance>;

/// A raw SURVEYOR socket.
pub(crate) type RawSurveyor = RawRequester<FanOut>;

/// How a socket that asks distributes its questions. Default: a send never waits for room.
pub(crate) trait Outlet: Send + 'static {
    const ID: ProtocolId;
    const PEER: ProtocolId;
    const OPTIONS: &'static [RoleOption];
    const OVERFLOW: &'static [Overflow] = &[];

    /// Adds a pipe.
    fn add(&mut self, pipe: PipeId, io: &impl Port);

    /// The pipe has room again.
    fn restore(&mut self, _pipe: PipeId, _io: &impl Port) {}

    fn remove(&mut self, pipe: PipeId, io: &mut impl Port);

    fn send(&mut self, header: &[u8], body: &Bytes, io: &mut impl Port) -> Result<(), SendRefusal>;

    /// Whether a send would not wait, as far as is known.
    fn has_room(&self) -> bool {
        true
    }

    /// Whether a send would not wait.
    fn find_room(&mut self, _io: &mut impl Port) -> bool {
        true
    }
}

/// To one peer, balanced over all; waits until one has room.
impl Outlet for Balance {
    const ID: ProtocolId = ProtocolId::REQ;
    const PEER: ProtocolId = ProtocolId::REP;
    const OPTIONS: &'static [RoleOption] = &[RoleOption::SendPriority, RoleOption::RecvPriority];

    fn add(&mut self, pipe: PipeId, io: &impl Port) {
        self.add(pipe, io.priorities(pipe).send);
    }

    fn restore(&mut self, pipe: PipeId, io: &impl Port) {
        self.add(pipe, io.priorities(pipe).send);
    }

    fn remove(&mut self, pipe: PipeId, _io: &mut impl Port) {
        self.remove(pipe);
    }

    fn send(&mut self, header: &[u8], body: &Bytes, io: &mut impl Port) -> Result<(), SendRefusal> {
        self.send(header, body, io)
    }

    fn has_room(&self) -> bool {
        !self.is_empty()
    }

    fn find_room(&mut self, io: &mut impl Port) -> bool {
        self.find_room(io)
    }
}

/// To all peers; never waits.
impl Outlet for FanOut {
    const ID: ProtocolId = ProtocolId::SURVEYOR;
    const PEER: ProtocolId = ProtocolId::RESPONDENT;
    const OPTIONS: &'static [RoleOption] = &[RoleOption::Overflow, RoleOption::RecvPriority];
    const OVERFLOW: &'static [Overflow] = Surveyor::OVERFLOW;

    fn add(&mut self, pipe: PipeId, _io: &impl Port) {
        self.add(pipe);
    }

    fn remove(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.remove(pipe, io);
    }

    fn send(&mut self, header: &[u8], body: &Bytes, io: &mut impl Port) -> Result<(), SendRefusal> {
        self.send(header, body, io)
    }
}

/// The state of a raw socket that asks: only which pipes have room and which have answers.
#[derive(Debug)]
pub(crate) struct RawRequester<O> {
    pipes: O,
    answers: FairQueue,
}

const SEND: Interest = Interest::SEND;
const RECV: Interest = Interest::RECV;

impl RawReq {
    pub(crate) fn new() -> Self {
        Self { pipes: Balance::default(), answers: FairQueue::default() }
    }
}

impl RawSurveyor {
    /// Makes one; `overflow` is one of [`Protocol::OVERFLOW`].
    pub(crate) fn new(overflow: Overflow) -> Self {
        Self { pipes: FanOut::new(overflow), answers: FairQueue::default() }
    }

    /// Takes effect for later sends.
    pub(crate) fn set_overflow(&mut self, overflow: Overflow, io: &mut impl Port) {
        self.pipes.set_overflow(overflow, io);
    }
}

impl<O: Outlet> Protocol for RawRequester<O> {
    const ID: ProtocolId = O::ID;
    const PEER: ProtocolId = O::PEER;
    const RAW: bool = true;
    const OPTIONS: &'static [RoleOption] = O::OPTIONS;
    const OVERFLOW: &'static [Overflow] = O::OVERFLOW;
    type To = Bytes;
    type From = ();
    type Received = Message;

    fn header_len(header: &Bytes) -> usize {
        header.len()
    }

    fn attach(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) -> Result<(), Rejected> {
        self.pipes.add(pipe, io);
        io.wake(SEND);
        Ok(())
    }

    /// Answers that have arrived can still be received.
    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.pipes.remove(pipe, io);
        self.readable(pipe, io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.answers.add(pipe, io.priorities(pipe).recv);
        io.wake(RECV);
    }

    fn forget(&mut self, pipe: PipeId) {
        self.answers.remove(pipe);
    }

    fn writable(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        self.pipes.restore(pipe, io);
        io.wake(SEND);
    }

    fn send(
        &mut self,
        header: &Bytes,
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        if !backtrace::is_whole_words(header) {
            return Err(SendRefusal::Header);
        }
        self.pipes.send(header, body, io)
    }

    fn recv(&mut self, (): &(), _now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        while let Some((pipe, frame)) = self.answers.pop(io) {
            match backtrace::split_all(frame) {
                Ok((header, body)) => {
                    return Ok(Message::received(body, pipe).with_header(header));
                }
                Err(reason) => io.dropped(Some(pipe), reason),
            }
        }
        Err(RecvRefusal::WouldBlock)
    }

    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        self.pipes.has_room()
    }

    fn can_recv(&self, _: Conversation) -> bool {
        !self.answers.is_empty()
    }

    fn find_room(&mut self, _pipe: Option<PipeId>, io: &mut impl Port) -> bool {
        self.pipes.find_room(io)
    }

    fn find_message(&mut self, _: Conversation, io: &mut impl Port) -> bool {
        self.answers.find_message(backtrace::check_all, io)
    }
}

/// The state of a raw REP or RESPONDENT.
///
/// ```text
///  request in its pipe --recv--> with the program, its pipe in the header --send--> answer in the pipe
///        |       |                                                           |
///        |       +-- bad header: Malformed, TtlExceeded                      +-- pipe full: SendQueueFull
///        +---------- pipe gone:  AskerGone                                   +-- no such pipe: PeerGone
/// ```
///
/// A send never waits: a device must not hold up everybody for one slow client. Nor are requests taken from a
/// pipe that has no room for an answer now. No place is kept for the answer: a device is not told if none comes.
#[derive(Debug)]
pub(crate) struct RawResponder<R> {
    /// The number of words that the backtrace of a request may have.
    ttl: u8,
    pipes: HashSet<PipeId>,
    requests: FairQueue,
    /// Pipes whose requests wait for room for an answer.
    full: NumberSet<PipeId>,
    role: PhantomData<R>,
}

impl<R: ProtocolPair> RawResponder<R> {
    /// Makes one with this `ttl`, at least 1: there is no request without a hop.
    pub(crate) fn new(ttl: u8) -> Self {
        Self {
            ttl,
            pipes: HashSet::new(),
            requests: FairQueue::default(),
            full: NumberSet::default(),
            role: PhantomData,
        }
    }

    /// Takes effect for messages received later.
    pub(crate) fn set_ttl(&mut self, ttl: u8) {
        self.ttl = ttl;
    }

    /// Puts an answer into the pipe that the first word of its header names, without that word.
    fn route(&mut self, header: &[u8], body: &Bytes, io: &mut impl Port) -> Result<(), Lost> {
        let (&word, rest) = header.split_first_chunk().ok_or((None, DropReason::BadHeader))?;
        let pipe = PipeId::new(u32::from_be_bytes(word));
        let pipe =
            pipe.filter(|pipe| self.pipes.contains(pipe)).ok_or((None, DropReason::PeerGone))?;
        io.push(pipe, rest, body).map_err(|error| match error {
            PushError::Full => (Some(pipe), DropReason::SendQueueFull),
            PushError::Gone => (Some(pipe), DropReason::PeerGone),
        })?;
        // The push cancels the order of an earlier check for room.
        self.restore(pipe, io);
        Ok(())
    }

    /// Takes requests from the pipe again, if they were left for want of room.
    fn restore(&mut self, pipe: PipeId, io: &mut impl Port) {
        if !self.full.is_empty() && self.full.remove(&pipe) {
            self.readable(pipe, io);
        }
    }
}

/// The pipe that a dropped message was for, and why it was dropped.
type Lost = (Option<PipeId>, DropReason);

impl<R: ProtocolPair> Protocol for RawResponder<R> {
    const ID: ProtocolId = R::ID;
    const PEER: ProtocolId = R::PEER;
    const RAW: bool = true;
    const OPTIONS: &'static [RoleOption] = &[RoleOption::Ttl, RoleOption::RecvPriority];
    /// Semantics specification, section 5.3.
    const SEND_QUEUE: usize = 64;
    type To = Bytes;
    type From = ();
    type Received = Message;

    /// The first word names the pipe, and does not go out.
    fn header_len(header: &Bytes) -> usize {
        header.len().saturating_sub(size_of::<u32>())
    }

    fn attach(&mut self, pipe: PipeId, _now: Instant, _: &mut impl Port) -> Result<(), Rejected> {
        self.pipes.insert(pipe);
        Ok(())
    }

    /// Drops the pipe's requests: their answers would have nowhere to go.
    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.pipes.remove(&pipe);
        self.requests.remove(pipe);
        self.full.remove(&pipe);
        io.pop_all(pipe, |io, _| io.dropped(Some(pipe), DropReason::AskerGone));
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.requests.add(pipe, io.priorities(pipe).recv);
        io.wake(RECV);
    }

    fn writable(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        self.restore(pipe, io);
    }

    fn send(
        &mut self,
        header: &Bytes,
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        if let Err((pipe, reason)) = self.route(header, body, io) {
            io.dropped(pipe, reason);
        }
        Ok(())
    }

    fn recv(&mut self, (): &(), _now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        let Self { ttl, requests, full, .. } = self;
        while let Some((pipe, frame)) =
            requests.pop_by(|pipe| if answerable(pipe, full, io) { io.pop(pipe) } else { None })
        {
            match backtrace::split(frame, *ttl) {
                Ok((words, body)) => {
                    let header = prefixed(pipe, &words);
                    return Ok(Message::received(body, pipe).with_header(header));
                }
                Err(reason) => io.dropped(Some(pipe), reason),
            }
        }
        Err(RecvRefusal::WouldBlock)
    }

    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        true
    }

    fn can_recv(&self, _: Conversation) -> bool {
        !self.requests.is_empty()
    }

    fn find_message(&mut self, _: Conversation, io: &mut impl Port) -> bool {
        let ttl = self.ttl;
        let Self { requests, full, .. } = self;
        requests.find_by(|pipe| {
            answerable(pipe, full, io) && find_message(pipe, |it| backtrace::check(it, ttl), io)
        })
    }
}

/// Whether the pipe has room for an answer. If not, notes it among those that are `full`.
fn answerable(pipe: PipeId, full: &mut NumberSet<PipeId>, io: &mut impl Port) -> bool {
    let has_room = io.ask_room(pipe);
    if !has_room {
        full.insert(pipe);
    }
    has_room
}

/// A backtrace with one more hop in front.
fn prefixed(pipe: PipeId, backtrace: &[u8]) -> Bytes {
    let mut header = BytesMut::with_capacity(size_of::<u32>().saturating_add(backtrace.len()));
    header.put_u32(pipe.get());
    header.put_slice(backtrace);
    header.freeze()
}

#[cfg(test)]
mod tests {
    use super::super::pair::Pair;
    use super::super::pair1::Pair1;
    use super::super::publish::Pub;
    use super::super::pull::Pull;
    use super::super::push::Push;
    use super::super::rep::{ToRequests, ToSurveys};
    use super::super::subscribe::RawSub;
    use super::super::testing::{ManualPort, body, pipe, start};
    use super::*;

    const TRACE: &[u8] = b"\0\0\0\x07\x80\0\0\x01";

    fn receive<P: RawProtocol>(raw: &mut P, io: &mut ManualPort, bytes: &[u8]) -> Option<Message> {
        io.arrives(pipe(1), bytes);
        raw.readable(pipe(1), io);
        raw.recv(&(), start(), io).ok()
    }

    fn send<P: RawProtocol>(
        raw: &mut P,
        io: &mut ManualPort,
        header: &[u8],
    ) -> Result<(), SendRefusal> {
        raw.send(&Bytes::copy_from_slice(header), &mut body("r"), start(), io)
    }

    fn attach<P: RawProtocol>(mut raw: P, pipes: u32) -> (P, ManualPort) {
        let mut io = ManualPort::default();
        for n in 1..=pipes {
            raw.attach(pipe(n), start(), &mut io).unwrap();
        }
        (raw, io)
    }

    /// B18, B1, B12; C190.
    #[test]
    fn a_request_is_received_with_its_pipe_before_its_backtrace() {
        fn check<R: ProtocolPair>() {
            let (mut rep, mut io) = attach(RawResponder::<R>::new(8), 1);
            let message = receive(&mut rep, &mut io, b"\0\0\0\x07\x80\0\0\x01a").unwrap();
            assert_eq!(message.header()[..], *b"\0\0\0\x01\0\0\0\x07\x80\0\0\x01");
            assert_eq!((&message[..], message.pipe()), (&b"a"[..], Some(pipe(1))));

            let eight = [&[0; 28][..], b"\x80\0\0\x01a"].concat();
            assert_eq!(receive(&mut rep, &mut io, &eight).unwrap().header().len(), 4 + 32);
            assert_eq!(receive(&mut rep, &mut io, &[&[0; 4][..], &eight].concat()), None);
            assert_eq!(receive(&mut rep, &mut io, b"\0\0\0\x01\x80"), None);
            let expected = [DropReason::TtlExceeded, DropReason::Malformed];
            assert_eq!(io.take_drops(), expected.map(|reason| (Some(pipe(1)), reason)));
        }
        check::<ToRequests>();
        check::<ToSurveys>();
    }

    /// C089, C188: the answer goes to the pipe of its header, in any order.
    #[test]
    fn an_answer_goes_to_the_pipe_that_its_header_names() {
        let (mut rep, mut io) = attach(RawResponder::<ToRequests>::new(8), 2);
        for n in [2, 1] {
            send(&mut rep, &mut io, &[&[0, 0, 0, n], TRACE].concat()).unwrap();
        }
        let answer = [TRACE, b"r"].concat();
        assert_eq!(io.take_sent(), [2, 1].map(|n| (pipe(n), answer.clone())));
    }

    /// C189, D36.
    #[test]
    fn an_answer_that_cannot_go_succeeds_and_is_counted() {
        let (mut rep, mut io) = attach(RawResponder::<ToSurveys>::new(8), 3);
        io.fill(pipe(1));
        io.break_off(pipe(2));
        rep.detach(pipe(3), &DetachReason::PeerClosed, start(), &mut io);
        for first in
            [&b"\0\0\0"[..], b"", b"\0\0\0\x03", b"\x80\0\0\x01", b"\0\0\0\x02", b"\0\0\0\x01"]
        {
            assert_eq!(send(&mut rep, &mut io, first), Ok(()));
        }
        assert_eq!(
            io.take_drops(),
            [
                (None, DropReason::BadHeader),
                (None, DropReason::BadHeader),
                (None, DropReason::PeerGone),
                (None, DropReason::PeerGone),
                (Some(pipe(2)), DropReason::PeerGone),
                (Some(pipe(1)), DropReason::SendQueueFull),
            ]
        );
        assert_eq!(io.take_sent(), []);
    }

    #[test]
    fn what_nobody_has_received_goes_with_its_asker() {
        let (mut rep, mut io) = attach(RawResponder::<ToRequests>::new(8), 1);
        io.arrives(pipe(1), b"\x80\0\0\x01a");
        rep.readable(pipe(1), &mut io);
        rep.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        assert_eq!(rep.recv(&(), start(), &mut io), Err(RecvRefusal::WouldBlock));
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::AskerGone)]);
    }

    /// B28, B29; row 16 of the table of bad input.
    #[test]
    fn an_answer_is_received_with_its_whole_backtrace() {
        fn check<O: Outlet>(raw: RawRequester<O>) {
            let (mut raw, mut io) = attach(raw, 1);
            let message = receive(&mut raw, &mut io, b"\0\0\0\x07\x80\0\0\x01a").unwrap();
            assert_eq!((&message.header()[..], &message[..]), (TRACE, &b"a"[..]));
            let long = [&[0; 400][..], b"\x80\0\0\x01a"].concat();
            assert_eq!(receive(&mut raw, &mut io, &long).unwrap(), "a");
            assert_eq!(receive(&mut raw, &mut io, b"\0\0\0\x07ab"), None);
            assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::Malformed)]);
        }
        check(RawReq::new());
        check(RawSurveyor::new(Overflow::DropNewest));
    }

    /// Semantics 5.3, C125.
    #[test]
    fn a_raw_req_balances_and_waits_for_room() {
        let (mut req, mut io) = attach(RawReq::new(), 2);
        (0..3).for_each(|_| send(&mut req, &mut io, TRACE).unwrap());
        let request = [TRACE, b"r"].concat();
        assert_eq!(io.take_sent(), [1, 2, 1].map(|n| (pipe(n), request.clone())));
        io.fill(pipe(1));
        io.fill(pipe(2));
        assert_eq!(send(&mut req, &mut io, TRACE), Err(SendRefusal::WouldBlock));
        assert!(!req.ready(SEND));
        io.take_woken(SEND);
        io.drain(pipe(2));
        req.writable(pipe(2), start(), &mut io);
        assert!(io.take_woken(SEND) && req.ready(SEND));
        send(&mut req, &mut io, TRACE).unwrap();
    }

    /// C188, C187.
    #[test]
    fn a_raw_surveyor_asks_everybody_once() {
        let (mut surveyor, mut io) = attach(RawSurveyor::new(Overflow::DropNewest), 2);
        io.fill(pipe(2));
        send(&mut surveyor, &mut io, TRACE).unwrap();
        io.drain(pipe(2));
        surveyor.writable(pipe(2), start(), &mut io);
        send(&mut surveyor, &mut io, TRACE).unwrap();
        let survey = [TRACE, b"r"].concat();
        assert_eq!(io.take_sent(), [1, 1, 2].map(|n| (pipe(n), survey.clone())));
    }

    /// Semantics 10.
    #[test]
    fn a_header_to_ask_with_is_whole_words() {
        let (mut req, mut io) = attach(RawReq::new(), 1);
        for header in [&b""[..], b"\x80", b"\x80\0\0\x01\0"] {
            assert_eq!(send(&mut req, &mut io, header), Err(SendRefusal::Header));
        }
        assert_eq!(io.take_sent(), []);
    }

    /// C117, C160; semantics 10.
    #[test]
    fn where_the_wire_has_no_header_none_is_taken() {
        fn check<P: RawForm>(protocol: P) {
            let (mut raw, mut io) = attach(Raw::new(protocol), 1);
            assert_eq!(send(&mut raw, &mut io, b"\0\0\0\x01"), Err(SendRefusal::Header));
            assert_eq!(io.take_sent(), []);
            send(&mut raw, &mut io, b"").unwrap();
            assert_eq!(io.take_sent(), [(pipe(1), b"r".to_vec())]);
        }
        check(Pair::with_ttl(1));
        check(Push::new(Overflow::Wait));
        check(Pub::new(Overflow::DropOldest, None));
    }

    #[test]
    fn a_raw_surveyor_may_drop_the_oldest() {
        let (mut surveyor, mut io) = attach(RawSurveyor::new(Overflow::DropNewest), 1);
        surveyor.set_overflow(Overflow::DropOldest, &mut io);
        io.fill(pipe(1));
        send(&mut surveyor, &mut io, TRACE).unwrap();
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::SendQueueFull)]);
    }

    /// C109, C152 for raw sockets; the cooked ones have no such calls.
    #[test]
    fn some_sockets_only_send_and_some_only_receive() {
        fn check<P: RawProtocol>(mut raw: P, directions: (bool, bool)) {
            assert_eq!((P::SENDS, P::RECEIVES), directions);
            let mut io = ManualPort::default();
            if !P::SENDS {
                assert_eq!(send(&mut raw, &mut io, b""), Err(SendRefusal::State));
            }
            if !P::RECEIVES {
                assert_eq!(raw.recv(&(), start(), &mut io), Err(RecvRefusal::State));
            }
        }
        check(Raw::new(Push::new(Overflow::Wait)), (true, false));
        check(Raw::new(Pub::new(Overflow::DropOldest, None)), (true, false));
        check(Raw::new(Pull::new()), (false, true));
        check(Raw::new(RawSub::new()), (false, true));
        check(Raw::new(Pair::with_ttl(1)), (true, true));
        check(RawReq::new(), (true, true));
    }

    #[test]
    fn the_settings_of_a_raw_socket_are_those_of_its_protocol() {
        let (mut raw, mut io) = attach(Raw::new(Pair1::with_ttl(1)), 1);
        assert_eq!(receive(&mut raw, &mut io, b"\0\0\0\x02a"), None);
        raw.protocol().set_ttl(2);
        assert_eq!(receive(&mut raw, &mut io, b"\0\0\0\x02a").unwrap(), "a");
        let (mut rep, mut io) = attach(RawResponder::<ToRequests>::new(8), 1);
        rep.set_ttl(1);
        assert_eq!(receive(&mut rep, &mut io, &[TRACE, b"a"].concat()), None);
    }
}
