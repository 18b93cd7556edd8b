//! PAIR v1: PAIR with a hop count, and a mode in which one socket talks to many.
//!
//! ```text
//! 00 00 00 hops  body
//! ```
//!
//! The sender counts a hop when it transmits, so a message that came directly says 1, or 0 if mangos sent it.
//! The receiver drops messages with more hops than its TTL. Wire specification, sections 8.3 and 10.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use std::time::Instant;

use bytes::Bytes;

use super::pair::{Couple, Version};
use super::route::{FairQueue, Peek};
use super::{
    Conversation, Interest, Overflow, Port, Protocol, PushError, RecvRefusal, Rejected, SendRefusal,
};
use crate::body::Body;
use crate::detach::DetachReason;
use crate::message::{Frame, Message, PipeId};
use crate::number_map::NumberSet;
use crate::options::RoleOption;
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;

const SEND: Interest = Interest::SEND;
const RECV: Interest = Interest::RECV;

/// Checks the hop count of a message that begins with the word `hops`.
fn check_hops(hops: Option<u32>, ttl: u8) -> Result<(), DropReason> {
    let hops = hops.ok_or(DropReason::Malformed)?;
    let hops = u8::try_from(hops).map_err(|_| DropReason::Malformed)?;
    if hops > ttl { Err(DropReason::TtlExceeded) } else { Ok(()) }
}

/// A PAIR v1 socket. The header is the hop count as received; a raw send adds one.
pub(crate) type Pair1 = Couple<V1>;

/// Version 1, with a hop count.
#[derive(Debug)]
pub(crate) enum V1 {}

impl Version for V1 {
    const ID: ProtocolId = ProtocolId::PAIR1;
    const OPTIONS: &'static [RoleOption] = &[RoleOption::Ttl];
    const FIRST_HOP: &'static [u8] = &[0, 0, 0, 1];

    fn check(message: Peek<'_>, ttl: u8) -> Result<(), DropReason> {
        check_hops(message.word(0), ttl)
    }

    fn split(mut frame: Frame, ttl: u8) -> Result<(Bytes, Body), DropReason> {
        check_hops(frame.word(0), ttl)?;
        let header = frame.take(Self::FIRST_HOP.len()).ok_or(DropReason::Malformed)?;
        Ok((header, frame.into_body()))
    }

    fn next_hop(header: &[u8]) -> Result<impl AsRef<[u8]>, SendRefusal> {
        match *header {
            [0, 0, 0, hops] => {
                let hops = hops.checked_add(1).ok_or(SendRefusal::Header)?;
                Ok([0, 0, 0, hops])
            }
            _ => Err(SendRefusal::Header),
        }
    }
}

/// The state of a PAIR v1 socket in polyamorous mode: any number of ordinary PAIR v1 peers.
///
/// ```text
///            attach
///   WAITING --------> OPEN: a send goes to the pipe it names, or else to the oldest one;
///                           where that is full it is dropped, or waits, as the socket was told;
///                           where that is gone it is dropped
/// ```
///
/// A send that waits for one pipe does not hold up sends to another. Semantics specification, section 4.3.
#[derive(Debug)]
pub(crate) struct Polyamorous {
    /// The oldest first.
    pipes: Vec<PipeId>,
    messages: FairQueue,
    /// Whether there has been a peer.
    open: bool,
    ttl: u8,
    overflow: Overflow,
    /// If sends wait, the pipes that refused the last message. Otherwise empty.
    full: NumberSet<PipeId>,
}

impl Polyamorous {
    /// Makes one. `ttl` is at least 1; `overflow` is one of [`Protocol::OVERFLOW`].
    pub(crate) fn new(ttl: u8, overflow: Overflow) -> Self {
        Self {
            pipes: Vec::new(),
            messages: FairQueue::default(),
            open: false,
            ttl,
            overflow,
            full: NumberSet::default(),
        }
    }

    /// Takes effect for messages received later.
    pub(crate) fn set_ttl(&mut self, ttl: u8) {
        self.ttl = ttl;
    }

    /// Takes effect for later sends, including those that wait now.
    pub(crate) fn set_overflow(&mut self, overflow: Overflow, io: &mut impl Port) {
        self.overflow = overflow;
        let full: Vec<PipeId> = self.full.drain().collect();
        full.into_iter().for_each(|pipe| io.wake(room_in(pipe)));
        io.wake(SEND);
    }

    /// What a send to this pipe waits for, or a send that names none.
    pub(crate) fn interest(to: Option<PipeId>) -> Interest {
        Interest::Send(to)
    }

    /// The pipe to which a send to this one goes, or a send that names none, if there is one.
    fn target(&self, pipe: Option<PipeId>) -> Option<PipeId> {
        match pipe {
            None => self.pipes.first().copied(),
            Some(pipe) => self.pipes.contains(&pipe).then_some(pipe),
        }
    }

    /// Wakes the sends that wait for this pipe, by name or as the oldest.
    fn release(&mut self, pipe: PipeId, io: &mut impl Port) {
        if self.full.remove(&pipe) {
            io.wake(room_in(pipe));
            io.wake(SEND);
        }
    }

    /// Sends, or returns the pipe that the message was for and why it was dropped.
    fn transmit(
        &self,
        pipe: Option<PipeId>,
        body: &Bytes,
        io: &mut impl Port,
    ) -> Result<PipeId, (Option<PipeId>, DropReason)> {
        let Some(target) = self.target(pipe) else {
            let reason = pipe.map_or(DropReason::NoPeer, |_| DropReason::PeerGone);
            return Err((pipe, reason));
        };
        io.push(target, V1::FIRST_HOP, body).map_err(|error| match error {
            PushError::Full => (Some(target), DropReason::SendQueueFull),
            PushError::Gone => (Some(target), DropReason::PeerGone),
        })?;
        Ok(target)
    }
}

fn room_in(pipe: PipeId) -> Interest {
    Interest::Send(Some(pipe))
}

impl Protocol for Polyamorous {
    const ID: ProtocolId = ProtocolId::PAIR1;
    const PEER: ProtocolId = ProtocolId::PAIR1;
    const OPTIONS: &'static [RoleOption] =
        &[RoleOption::Ttl, RoleOption::Overflow, RoleOption::RecvPriority];
    const OVERFLOW: &'static [Overflow] = &[Overflow::DropNewest, Overflow::Wait];
    const HEADER: usize = size_of::<u32>();
    /// The peer to send to; `None` leaves the choice to the socket.
    type To = Option<PipeId>;
    type From = ();
    type Received = Message;

    fn attach(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) -> Result<(), Rejected> {
        self.pipes.push(pipe);
        self.open = true;
        io.wake(SEND);
        Ok(())
    }

    /// Messages that have arrived can still be received.
    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.pipes.retain(|&other| other != pipe);
        self.release(pipe, io);
        self.readable(pipe, io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.messages.add(pipe, io.priorities(pipe).recv);
        io.wake(RECV);
    }

    fn forget(&mut self, pipe: PipeId) {
        self.messages.remove(pipe);
    }

    fn writable(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        self.release(pipe, io);
    }

    fn send(
        &mut self,
        &pipe: &Option<PipeId>,
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        if pipe.is_none() && !self.open {
            return Err(SendRefusal::WouldBlock);
        }
        match self.transmit(pipe, body, io) {
            // The push cancels the order of an earlier one: calls that wait for `writable` must be woken.
            Ok(pipe) => self.release(pipe, io),
            Err((_, DropReason::NoPeer)) if self.overflow == Overflow::Wait => {
                return Err(SendRefusal::WouldBlock);
            }
            Err((Some(pipe), DropReason::SendQueueFull)) if self.overflow == Overflow::Wait => {
                self.full.insert(pipe);
                return Err(SendRefusal::WouldBlock);
            }
            Err((pipe, reason)) => io.dropped(pipe, reason),
        }
        Ok(())
    }

    fn recv(&mut self, (): &(), _now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        while let Some((pipe, frame)) = self.messages.pop(io) {
            match V1::split(frame, self.ttl) {
                Ok((_, body)) => return Ok(Message::received(body, pipe)),
                Err(reason) => io.dropped(Some(pipe), reason),
            }
        }
        Err(RecvRefusal::WouldBlock)
    }

    /// Whether there is a pipe that is not known to be full, or a send would not wait for one.
    fn can_send(&self, pipe: Option<PipeId>) -> bool {
        match self.target(pipe) {
            Some(target) => !self.full.contains(&target),
            // No send waits for a named peer that is gone.
            None => pipe.is_some() || self.open && self.overflow != Overflow::Wait,
        }
    }

    fn can_recv(&self, _: Conversation) -> bool {
        !self.messages.is_empty()
    }

    fn find_room(&mut self, pipe: Option<PipeId>, io: &mut impl Port) -> bool {
        if self.overflow == Overflow::Wait
            && let Some(target) = self.target(pipe)
            && !io.ask_room(target)
        {
            self.full.insert(target);
        }
        self.can_send(pipe)
    }

    fn find_message(&mut self, _: Conversation, io: &mut impl Port) -> bool {
        let ttl = self.ttl;
        self.messages.find_message(|message| V1::check(message, ttl), io)
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::Raw;
    use super::super::testing::{ManualPort, body, pipe, start};
    use super::*;

    fn paired(ttl: u8) -> (Pair1, ManualPort) {
        let (mut pair, mut io) = (Pair1::with_ttl(ttl), ManualPort::default());
        pair.attach(pipe(1), start(), &mut io).unwrap();
        (pair, io)
    }

    /// What a receive returns when `bytes` arrive.
    fn receive<P: Protocol<From = (), Received = Message>>(
        pair: &mut P,
        io: &mut ManualPort,
        bytes: &[u8],
    ) -> Option<Message> {
        io.arrives(pipe(1), bytes);
        pair.readable(pipe(1), io);
        pair.recv(&(), start(), io).ok()
    }

    /// P1 to P3, P5; C047.
    #[test]
    fn the_body_is_what_follows_the_hop_count() {
        let (mut pair, mut io) = paired(8);
        for (bytes, text) in [
            (&b"\0\0\0\x01a"[..], "a"),
            (b"\0\0\0\0a", "a"),
            (b"\0\0\0\x08a", "a"),
            (b"\0\0\0\x01", ""),
        ] {
            let message = receive(&mut pair, &mut io, bytes).unwrap();
            assert_eq!(message, text);
            assert_eq!((message.pipe(), message.header()), (Some(pipe(1)), &Bytes::new()));
        }
    }

    /// P6 to P8, P10; C049.
    #[test]
    fn a_malformed_header_is_counted_and_the_pipe_goes_on() {
        let (mut pair, mut io) = paired(8);
        for bytes in [&b"\0\0\x01"[..], b"\0\0\x01\0a", b"\x80\0\0\x01a", b""] {
            assert_eq!(receive(&mut pair, &mut io, bytes), None);
            assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::Malformed)]);
        }
        io.arrives(pipe(1), b"junk");
        assert_eq!(receive(&mut pair, &mut io, b"\0\0\0\x01a").unwrap(), "a");
    }

    /// P4, P9; C048.
    #[test]
    fn a_message_that_has_come_too_far_is_counted() {
        let (mut pair, mut io) = paired(8);
        assert_eq!(receive(&mut pair, &mut io, b"\0\0\0\x09a"), None);
        pair.set_ttl(4);
        assert_eq!(receive(&mut pair, &mut io, b"\0\0\0\x05a"), None);
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::TtlExceeded); 2]);
        assert_eq!(receive(&mut pair, &mut io, b"\0\0\0\x02a").unwrap(), "a");
        pair.set_ttl(255);
        assert_eq!(receive(&mut pair, &mut io, b"\0\0\0\xFFa").unwrap(), "a");
    }

    /// C046, D6.
    #[test]
    fn what_is_sent_has_made_one_hop() {
        let (mut pair, mut io) = paired(8);
        pair.send(&(), &mut body("a"), start(), &mut io).unwrap();
        assert_eq!(io.take_sent(), [(pipe(1), b"\0\0\0\x01a".to_vec())]);
    }

    /// C052, C053; the rest of it in pair.rs.
    #[test]
    fn a_pair_has_one_peer_and_waits_for_it() {
        let (mut pair, mut io) = (Pair1::with_ttl(8), ManualPort::default());
        let refused = pair.send(&(), &mut body("a"), start(), &mut io);
        assert_eq!(refused, Err(SendRefusal::WouldBlock));
        pair.attach(pipe(1), start(), &mut io).unwrap();
        assert_eq!(pair.attach(pipe(2), start(), &mut io), Err(Rejected));
        io.fill(pipe(1));
        let refused = pair.send(&(), &mut body("a"), start(), &mut io);
        assert_eq!(refused, Err(SendRefusal::WouldBlock));
        assert!(!pair.ready(SEND));
        io.drain(pipe(1));
        pair.writable(pipe(1), start(), &mut io);
        assert!(pair.ready(SEND) && io.take_woken(SEND));
    }

    /// P11, C050, C220.
    #[test]
    fn a_raw_pair_sees_the_hops_and_counts_one_when_it_sends() {
        let (pair, mut io) = paired(8);
        let mut raw = Raw::new(pair);
        let message = receive(&mut raw, &mut io, b"\0\0\0\x03a").unwrap();
        assert_eq!((message.header(), &message[..]), (&body("\0\0\0\x03"), &b"a"[..]));
        raw.send(message.header(), &mut message.body().clone(), start(), &mut io).unwrap();
        assert_eq!(io.take_sent(), [(pipe(1), b"\0\0\0\x04a".to_vec())]);
    }

    /// P9, C051.
    #[test]
    fn a_raw_pair_refuses_a_header_that_does_not_belong_on_the_wire() {
        let (pair, mut io) = paired(255);
        let mut raw = Raw::new(pair);
        let far = receive(&mut raw, &mut io, b"\0\0\0\xFFa").unwrap();
        let bad: [&[u8]; 5] = [b"", b"\0\0\x01", b"\0\0\x01\0", b"\0\0\0\0\0", far.header()];
        for header in bad {
            let header = Bytes::copy_from_slice(header);
            let sent = raw.send(&header, &mut body("a"), start(), &mut io);
            assert_eq!(sent, Err(SendRefusal::Header), "{header:?}");
        }
        assert_eq!(io.take_sent(), []);
    }

    fn polyamorous() -> (Polyamorous, ManualPort) {
        polyamorous_that(Overflow::DropNewest)
    }

    fn polyamorous_that(overflow: Overflow) -> (Polyamorous, ManualPort) {
        let (mut poly, mut io) = (Polyamorous::new(8, overflow), ManualPort::default());
        let early = poly.send(&None, &mut body("a"), start(), &mut io);
        assert_eq!(early, Err(SendRefusal::WouldBlock));
        assert!(!poly.ready(SEND));
        for n in [1, 2] {
            poly.attach(pipe(n), start(), &mut io).unwrap();
        }
        assert!(poly.ready(SEND) && io.take_woken(SEND));
        (poly, io)
    }

    /// C055.
    #[test]
    fn a_message_goes_to_the_peer_it_names() {
        let (mut poly, mut io) = polyamorous();
        io.arrives(pipe(2), b"\0\0\0\x01q");
        poly.readable(pipe(2), &mut io);
        let question = poly.recv(&(), start(), &mut io).unwrap();
        poly.send(&question.pipe(), &mut body("a"), start(), &mut io).unwrap();
        assert_eq!(io.take_sent(), [(pipe(2), b"\0\0\0\x01a".to_vec())]);

        poly.send(&Some(pipe(7)), &mut body("a"), start(), &mut io).unwrap();
        assert_eq!(io.take_sent(), []);
        assert_eq!(io.take_drops(), [(Some(pipe(7)), DropReason::PeerGone)]);
    }

    /// C056.
    #[test]
    fn a_message_that_names_nobody_goes_to_one_peer_and_never_waits() {
        let (mut poly, mut io) = polyamorous();
        poly.send(&None, &mut body("a"), start(), &mut io).unwrap();
        assert_eq!(io.take_sent(), [(pipe(1), b"\0\0\0\x01a".to_vec())]);
        io.fill(pipe(1));
        (0..200).for_each(|_| poly.send(&None, &mut body("a"), start(), &mut io).unwrap());
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::SendQueueFull); 200]);
    }

    /// Semantics 4.3.
    #[test]
    fn a_socket_that_has_lost_all_its_peers_drops_what_it_sends() {
        let (mut poly, mut io) = polyamorous();
        io.arrives(pipe(1), b"\0\0\0\x01last words");
        for n in [1, 2] {
            poly.detach(pipe(n), &DetachReason::PeerClosed, start(), &mut io);
        }
        poly.send(&None, &mut body("a"), start(), &mut io).unwrap();
        assert_eq!(io.take_drops(), [(None, DropReason::NoPeer)]);
        assert_eq!(poly.recv(&(), start(), &mut io).unwrap(), "last words");
    }

    /// P4, P6 for this mode.
    #[test]
    fn every_peer_is_held_to_the_rules() {
        let (mut poly, mut io) = polyamorous();
        poly.set_ttl(1);
        io.arrives(pipe(1), b"\0\0\0\x02a");
        assert_eq!(receive(&mut poly, &mut io, b"\0"), None);
        let expected = [DropReason::TtlExceeded, DropReason::Malformed];
        assert_eq!(io.take_drops(), expected.map(|reason| (Some(pipe(1)), reason)));
    }

    /// One whose overflow is `Wait` and whose first pipe is full, as a send that named it and one that named
    /// none have found.
    fn waiting() -> (Polyamorous, ManualPort) {
        let (mut poly, mut io) = polyamorous_that(Overflow::Wait);
        io.fill(pipe(1));
        for to in [Some(pipe(1)), None] {
            assert_eq!(send(&mut poly, to, &mut io), Err(SendRefusal::WouldBlock));
            assert!(!poly.ready(Polyamorous::interest(to)));
            assert!(!poly.poll_ready(Polyamorous::interest(to), &mut io));
        }
        assert_eq!(io.take_drops(), []);
        (poly, io)
    }

    fn send(
        poly: &mut Polyamorous,
        to: Option<PipeId>,
        io: &mut ManualPort,
    ) -> Result<(), SendRefusal> {
        poly.send(&to, &mut body("a"), start(), io)
    }

    /// Where the messages went.
    fn went(io: &mut ManualPort) -> Vec<PipeId> {
        io.take_sent().into_iter().map(|(pipe, _)| pipe).collect()
    }

    /// C393.
    #[test]
    fn who_waits_for_one_peer_holds_up_no_other() {
        let (mut poly, mut io) = waiting();
        assert!(poly.ready(Polyamorous::interest(Some(pipe(2)))));
        send(&mut poly, Some(pipe(2)), &mut io).unwrap();
        assert_eq!(went(&mut io), [pipe(2)]);
        for interest in [room_in(pipe(1)), SEND] {
            let (mut poly, mut io) = waiting();
            io.drain(pipe(1));
            poly.writable(pipe(1), start(), &mut io);
            assert!(io.take_woken(interest) && poly.ready(interest));
            send(&mut poly, Some(pipe(1)), &mut io).unwrap();
            assert_eq!(went(&mut io), [pipe(1)]);
        }
    }

    /// C393: the push that succeeds calls off the order of those that did not.
    #[test]
    fn who_finds_room_first_tells_the_others_that_wait() {
        for (to, others) in [(Some(pipe(1)), SEND), (None, room_in(pipe(1)))] {
            let (mut poly, mut io) = waiting();
            io.drain(pipe(1));
            send(&mut poly, to, &mut io).unwrap();
            assert!(io.take_woken(others) && poly.ready(others));
        }
    }

    /// C394.
    #[test]
    fn a_message_for_a_peer_that_goes_meanwhile_is_dropped_and_counted() {
        let (mut poly, mut io) = waiting();
        poly.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        assert!(poly.ready(room_in(pipe(1))) && io.take_woken(room_in(pipe(1))));
        send(&mut poly, Some(pipe(1)), &mut io).unwrap();
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::PeerGone)]);
    }

    /// C394.
    #[test]
    fn a_message_that_names_nobody_waits_for_the_next_peer() {
        let (mut poly, mut io) = waiting();
        poly.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        assert!(poly.ready(SEND) && io.take_woken(SEND));
        send(&mut poly, None, &mut io).unwrap();
        assert_eq!(went(&mut io), [pipe(2)]);
        poly.detach(pipe(2), &DetachReason::PeerClosed, start(), &mut io);
        assert_eq!(send(&mut poly, None, &mut io), Err(SendRefusal::WouldBlock));
        assert!(!poly.ready(SEND) && !poly.poll_ready(SEND, &mut io));
        poly.attach(pipe(3), start(), &mut io).unwrap();
        assert!(poly.ready(SEND) && io.take_woken(SEND));
        send(&mut poly, None, &mut io).unwrap();
        assert_eq!((went(&mut io), io.take_drops()), (vec![pipe(3)], vec![]));
    }

    #[test]
    fn to_wait_no_longer_ends_the_wait_of_all() {
        for interest in [room_in(pipe(1)), SEND] {
            let (mut poly, mut io) = waiting();
            poly.set_overflow(Overflow::DropNewest, &mut io);
            assert!(io.take_woken(interest) && poly.ready(interest));
            send(&mut poly, Some(pipe(1)), &mut io).unwrap();
            assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::SendQueueFull)]);
        }
    }
}
