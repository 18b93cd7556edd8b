//! PUB: to every peer. What they want of it they choose themselves.

use std::convert::Infallible;
use std::time::Instant;

use bytes::Bytes;

use super::raw::{self, Headed};
use super::route::{self, FanOut};
use super::{Interest, Overflow, Port, Protocol, ProtocolId, RecvRefusal, Rejected, SendRefusal};
use crate::message::{Message, PipeId};
use crate::options::Own;

/// The state of a PUB socket. It has nothing but its peers to remember, and waits for none unless the
/// program wants that.
#[derive(Debug)]
pub(crate) struct Pub {
    pipes: FanOut,
}

impl Pub {
    /// `overflow` is one of [`Protocol::OVERFLOW`].
    pub(crate) fn new(overflow: Overflow) -> Self {
        Self { pipes: FanOut::new(overflow) }
    }

    /// Holds for what is sent from now on.
    pub(crate) fn set_overflow(&mut self, overflow: Overflow, io: &mut impl Port) {
        self.pipes.set_overflow(overflow, io);
    }
}

impl Protocol for Pub {
    const ID: ProtocolId = ProtocolId::PUB;
    const PEER: ProtocolId = ProtocolId::SUB;
    const OPTIONS: &'static [Own] = &[Own::Overflow];
    const OVERFLOW: &'static [Overflow] =
        &[Overflow::DropOldest, Overflow::DropNewest, Overflow::Disconnect, Overflow::Wait];
    /// What a peer sends is thrown away as it comes, whether or not anybody calls.
    const FILTERS: bool = true;
    type To = ();
    type From = Infallible;
    type Received = Infallible;

    fn attach(&mut self, pipe: PipeId, _now: Instant, _: &mut impl Port) -> Result<(), Rejected> {
        self.pipes.add(pipe);
        Ok(())
    }

    fn detach(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        self.pipes.remove(pipe, io);
        self.readable(pipe, io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        route::discard(pipe, io);
    }

    fn writable(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        self.pipes.restore(pipe, io);
    }

    fn send(
        &mut self,
        (): &(),
        body: &Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        self.pipes.send(&[], body, io)
    }

    fn recv(
        &mut self,
        from: &Infallible,
        _now: Instant,
        _io: &mut impl Port,
    ) -> Result<Infallible, RecvRefusal> {
        match *from {}
    }

    fn ready(&self, interest: Interest) -> bool {
        matches!(interest, Interest::Send(_)) && self.pipes.has_room()
    }
}

/// Cooked and raw behave alike.
impl Headed for Pub {
    const RECEIVES: bool = false;

    fn send_raw(
        &mut self,
        header: &Bytes,
        body: &Bytes,
        now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        raw::no_header(header)?;
        self.send(&(), body, now, io)
    }

    fn recv_raw(&mut self, _now: Instant, _io: &mut impl Port) -> Result<Message, RecvRefusal> {
        Err(RecvRefusal::State)
    }
}

#[cfg(test)]
mod tests {
    use super::super::manual::{ManualPort, body, pipe, start};
    use super::*;
    use crate::stats::DropReason;

    fn socket(pipes: u32) -> (Pub, ManualPort) {
        let overflow = Pub::OVERFLOW[0];
        let (mut publisher, mut io) = (Pub::new(overflow), ManualPort::default());
        for n in 1..=pipes {
            publisher.attach(pipe(n), start(), &mut io).unwrap();
        }
        (publisher, io)
    }

    fn publish(publisher: &mut Pub, io: &mut ManualPort, text: &'static str) {
        publisher.send(&(), &body(text), start(), io).unwrap();
    }

    /// C138, C161.
    #[test]
    fn a_message_goes_to_every_subscriber_whatever_it_wants() {
        let (mut publisher, mut io) = socket(2);
        publish(&mut publisher, &mut io, "x");
        assert_eq!(io.take_sent(), [1, 2].map(|n| (pipe(n), b"x".to_vec())));
    }

    /// C153.
    #[test]
    fn a_send_without_subscribers_succeeds_and_is_counted() {
        let (mut publisher, mut io) = socket(0);
        publish(&mut publisher, &mut io, "x");
        assert_eq!(io.take_drops(), [(None, DropReason::NoPeer)]);
    }

    /// C154, C155.
    #[test]
    fn a_slow_subscriber_loses_its_oldest_message_and_a_fast_one_nothing() {
        let (mut publisher, mut io) = socket(2);
        publish(&mut publisher, &mut io, "1");
        io.fill(pipe(2));
        publish(&mut publisher, &mut io, "2");
        let expected = [(1, b"1"), (1, b"2"), (2, b"2")];
        assert_eq!(io.take_sent(), expected.map(|(n, text)| (pipe(n), text.to_vec())));
        assert_eq!(io.take_drops(), [(Some(pipe(2)), DropReason::SendQueueFull)]);
    }

    /// C158, row 19 of the table of bad input.
    #[test]
    fn data_from_a_subscriber_is_counted_and_publishing_goes_on() {
        let (mut publisher, mut io) = socket(1);
        io.arrives(pipe(1), b"what?");
        publisher.readable(pipe(1), &mut io);
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::Unexpected)]);
        publish(&mut publisher, &mut io, "x");
        assert_eq!(io.take_sent(), [(pipe(1), b"x".to_vec())]);
        publisher.detach(pipe(1), start(), &mut io);
        publish(&mut publisher, &mut io, "y");
        assert_eq!(io.take_sent(), []);
    }

    #[test]
    fn a_slow_subscriber_may_lose_the_newest_message_or_its_pipe() {
        for overflow in [Overflow::DropNewest, Overflow::Disconnect] {
            let (mut publisher, mut io) = socket(1);
            publisher.set_overflow(overflow, &mut io);
            io.fill(pipe(1));
            publish(&mut publisher, &mut io, "x");
            assert_eq!(io.take_sent(), []);
            assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::SendQueueFull)]);
            let disconnected = io.take_disconnected().len();
            assert_eq!(disconnected, usize::from(overflow == Overflow::Disconnect));
        }
    }

    /// A publisher that waits, of whose two subscribers the second is full.
    fn held_up() -> (Pub, ManualPort) {
        let (mut publisher, mut io) = socket(2);
        io.fill(pipe(2));
        publisher.set_overflow(Overflow::Wait, &mut io);
        let refused = publisher.send(&(), &body("2"), start(), &mut io);
        assert_eq!(refused, Err(SendRefusal::WouldBlock));
        assert_eq!((io.take_sent(), io.take_drops()), (Vec::new(), Vec::new()));
        assert!(!publisher.ready(Interest::Send(0)));
        (publisher, io)
    }

    #[test]
    fn a_send_that_waits_goes_to_all_once_there_is_room_for_all() {
        let (mut publisher, mut io) = held_up();
        publisher.writable(pipe(2), start(), &mut io);
        assert!(!io.take_woken(Interest::Send(0)), "it was told for nothing");
        io.drain(pipe(2));
        publisher.writable(pipe(2), start(), &mut io);
        assert!(io.take_woken(Interest::Send(0)));
        publish(&mut publisher, &mut io, "2");
        assert_eq!(io.take_sent(), [1, 2].map(|n| (pipe(n), b"2".to_vec())));
    }

    #[test]
    fn a_send_does_not_wait_for_who_has_left() {
        let (mut publisher, mut io) = held_up();
        publisher.detach(pipe(2), start(), &mut io);
        assert!(io.take_woken(Interest::Send(0)));
        publish(&mut publisher, &mut io, "2");
        assert_eq!(io.take_sent(), [(pipe(1), b"2".to_vec())]);
        publisher.detach(pipe(1), start(), &mut io);
        publish(&mut publisher, &mut io, "3");
        assert_eq!(io.take_drops(), [(None, DropReason::NoPeer)]);
    }

    #[test]
    fn a_send_that_waits_goes_on_when_the_rule_changes() {
        let (mut publisher, mut io) = held_up();
        publisher.set_overflow(Overflow::DropNewest, &mut io);
        assert!(io.take_woken(Interest::Send(0)));
        publish(&mut publisher, &mut io, "2");
        assert_eq!(io.take_sent(), [(pipe(1), b"2".to_vec())]);
        assert_eq!(io.take_drops(), [(Some(pipe(2)), DropReason::SendQueueFull)]);
    }
}
