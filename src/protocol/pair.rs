//! PAIR: one peer, both ways.
//!
//! The whole protocol is that there is at most one pipe: [`Exclusive`]. Version 0 has no header; version 1 has
//! a hop count, see `pair1.rs`.

use std::marker::PhantomData;
use std::time::Instant;

use bytes::Bytes;

use super::exclusive::Exclusive;
use super::raw::RawForm;
use super::route::Peek;
use super::{Conversation, Port, Protocol, RecvRefusal, Rejected, SendRefusal};
use crate::body::Body;
use crate::detach::DetachReason;
use crate::message::{Frame, Message, PipeId};
use crate::options::RoleOption;
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;

/// A PAIR socket.
pub(crate) type Pair = Couple<V0>;

/// The header that a version of PAIR has.
pub(crate) trait Version: Send + 'static {
    const ID: ProtocolId;
    const OPTIONS: &'static [RoleOption];
    /// The header of a message on its first hop.
    const FIRST_HOP: &'static [u8];

    /// Checks the header of a message that has arrived.
    fn check(message: Peek<'_>, ttl: u8) -> Result<(), DropReason>;

    /// Splits what has arrived into the header and the body.
    fn split(frame: Frame, ttl: u8) -> Result<(Bytes, Body), DropReason>;

    /// The header with which a raw socket forwards a message, from the one with which it came.
    fn next_hop(header: &[u8]) -> Result<impl AsRef<[u8]>, SendRefusal>;
}

/// Version 0, without a header.
#[derive(Debug)]
pub(crate) enum V0 {}

impl Version for V0 {
    const ID: ProtocolId = ProtocolId::PAIR;
    const OPTIONS: &'static [RoleOption] = &[];
    const FIRST_HOP: &'static [u8] = &[];

    fn check(_: Peek<'_>, _ttl: u8) -> Result<(), DropReason> {
        Ok(())
    }

    fn split(frame: Frame, _ttl: u8) -> Result<(Bytes, Body), DropReason> {
        Ok((Bytes::new(), frame.into_body()))
    }

    fn next_hop(header: &[u8]) -> Result<impl AsRef<[u8]>, SendRefusal> {
        if header.is_empty() { Ok([0; 0]) } else { Err(SendRefusal::Header) }
    }
}

/// The state of a PAIR socket of either version.
#[derive(Debug)]
pub(crate) struct Couple<V> {
    peer: Exclusive,
    ttl: u8,
    version: PhantomData<V>,
}

impl<V: Version> Couple<V> {
    /// Makes one with this `ttl`, at least 1: there is no message without a hop. Version 0 has no use for it.
    pub(crate) fn with_ttl(ttl: u8) -> Self {
        Self { peer: Exclusive::default(), ttl, version: PhantomData }
    }

    /// Takes effect for messages received later.
    pub(crate) fn set_ttl(&mut self, ttl: u8) {
        self.ttl = ttl;
    }

    /// Takes the next good message, with its header.
    #[inline]
    fn receive(&mut self, io: &mut impl Port) -> Result<(Bytes, Message), RecvRefusal> {
        while let Some((pipe, frame)) = self.peer.pop(io) {
            match V::split(frame, self.ttl) {
                Ok((header, body)) => return Ok((header, Message::received(body, pipe))),
                Err(reason) => io.dropped(Some(pipe), reason),
            }
        }
        Err(RecvRefusal::WouldBlock)
    }
}

impl<V: Version> Protocol for Couple<V> {
    const ID: ProtocolId = V::ID;
    const PEER: ProtocolId = V::ID;
    const OPTIONS: &'static [RoleOption] = V::OPTIONS;
    const HEADER: usize = V::FIRST_HOP.len();
    const EXCLUSIVE: bool = true;
    type To = ();
    type From = ();
    type Received = Message;

    fn attach(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) -> Result<(), Rejected> {
        self.peer.attach(pipe, io)
    }

    fn is_full(&self) -> bool {
        self.peer.is_taken()
    }

    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.peer.detach(pipe, io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.peer.readable(pipe, io);
    }

    fn forget(&mut self, pipe: PipeId) {
        self.peer.forget(pipe);
    }

    fn writable(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        self.peer.writable(pipe, io);
    }

    fn send(
        &mut self,
        (): &(),
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        self.peer.send(V::FIRST_HOP, body, io)
    }

    fn recv(&mut self, (): &(), _now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        self.receive(io).map(|(_, message)| message)
    }

    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        self.peer.can_send()
    }

    fn can_recv(&self, _: Conversation) -> bool {
        self.peer.can_recv()
    }

    fn find_room(&mut self, _pipe: Option<PipeId>, io: &mut impl Port) -> bool {
        self.peer.find_room(io)
    }

    fn find_message(&mut self, _: Conversation, io: &mut impl Port) -> bool {
        let ttl = self.ttl;
        self.peer.find_message(|message| V::check(message, ttl), io)
    }
}

impl<V: Version> RawForm for Couple<V> {
    fn send_raw(
        &mut self,
        header: &Bytes,
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        self.peer.send(V::next_hop(header)?.as_ref(), body, io)
    }

    fn recv_raw(&mut self, _now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        let (header, message) = self.receive(io)?;
        Ok(message.with_header(header))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Interest;
    use super::super::PushError;
    use super::super::testing::{ManualPort, body, pipe, start};
    use super::*;

    const SEND: Interest = Interest::SEND;
    const RECV: Interest = Interest::RECV;

    fn paired() -> (Pair, ManualPort) {
        let (mut pair, mut io) = (Pair::with_ttl(1), ManualPort::default());
        pair.attach(pipe(1), start(), &mut io).unwrap();
        (pair, io)
    }

    fn recv(pair: &mut Pair, io: &mut ManualPort) -> Result<Message, RecvRefusal> {
        pair.recv(&(), start(), io)
    }

    // C037, C038, C042, C044.
    #[test]
    fn a_send_waits_for_a_peer() {
        let (mut pair, mut io) = (Pair::with_ttl(1), ManualPort::default());
        let refused = pair.send(&(), &mut body("a"), start(), &mut io);
        assert_eq!(refused, Err(SendRefusal::WouldBlock));
        assert!(!pair.ready(SEND));

        pair.attach(pipe(1), start(), &mut io).unwrap();
        assert!(io.take_woken(SEND) && pair.ready(SEND));
        pair.send(&(), &mut body("a"), start(), &mut io).unwrap();
        assert_eq!(io.take_sent(), [(pipe(1), b"a".to_vec())]);
    }

    // C041.
    #[test]
    fn a_send_waits_for_room() {
        let (mut pair, mut io) = paired();
        io.take_woken(SEND);
        io.fill(pipe(1));
        let refused = pair.send(&(), &mut body("a"), start(), &mut io);
        assert_eq!(refused, Err(SendRefusal::WouldBlock));
        assert!(!pair.ready(SEND));

        io.drain(pipe(1));
        pair.writable(pipe(1), start(), &mut io);
        assert!(io.take_woken(SEND) && pair.ready(SEND));
        pair.send(&(), &mut body("a"), start(), &mut io).unwrap();
    }

    /// The push that succeeds has called off the order for `writable`: of two senders the one that
    /// waits would otherwise never be told.
    #[test]
    fn a_send_that_finds_room_speaks_for_those_that_wait_for_it() {
        let (mut pair, mut io) = paired();
        io.fill(pipe(1));
        pair.send(&(), &mut body("a"), start(), &mut io).unwrap_err();
        io.drain(pipe(1));
        pair.send(&(), &mut body("b"), start(), &mut io).unwrap();
        assert!(pair.ready(SEND));
    }

    // C039, C040.
    #[test]
    fn a_second_peer_is_rejected_until_the_first_has_gone() {
        let (mut pair, mut io) = paired();
        assert_eq!(pair.attach(pipe(2), start(), &mut io), Err(Rejected));
        io.arrives(pipe(1), b"a");
        pair.readable(pipe(1), &mut io);
        assert_eq!(recv(&mut pair, &mut io).unwrap().pipe(), Some(pipe(1)));

        pair.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        assert_eq!(pair.attach(pipe(3), start(), &mut io), Ok(()));
        pair.send(&(), &mut body("b"), start(), &mut io).unwrap();
        assert_eq!(io.take_sent(), [(pipe(3), b"b".to_vec())]);
    }

    // D35.
    #[test]
    fn what_a_lost_peer_has_sent_is_received_before_what_a_new_one_sends() {
        let (mut pair, mut io) = paired();
        for n in [1, 2, 3] {
            io.arrives(pipe(n), &[n as u8, 1]);
            io.arrives(pipe(n), &[n as u8, 2]);
        }
        for n in [1, 2] {
            pair.readable(pipe(n), &mut io);
            pair.detach(pipe(n), &DetachReason::PeerClosed, start(), &mut io);
            pair.attach(pipe(n + 1), start(), &mut io).unwrap();
        }
        pair.readable(pipe(3), &mut io);
        for expected in [[1, 1], [1, 2], [2, 1], [2, 2], [3, 1], [3, 2]] {
            assert!(pair.ready(RECV));
            assert_eq!(recv(&mut pair, &mut io).unwrap(), expected);
        }
        assert_eq!(recv(&mut pair, &mut io), Err(RecvRefusal::WouldBlock));
        assert!(!pair.ready(RECV));
    }

    #[test]
    fn a_send_to_a_pipe_that_is_gone_waits_for_the_next_one() {
        let (mut pair, mut io) = paired();
        io.break_off(pipe(1));
        assert_eq!(io.push(pipe(1), &[], &body("")), Err(PushError::Gone));
        let refused = pair.send(&(), &mut body("a"), start(), &mut io);
        assert_eq!(refused, Err(SendRefusal::WouldBlock));
        assert!(!pair.ready(SEND));
    }
}
