//! PUB: sends to every peer, which filters by topic itself.
//!
//! Owns [`News`], the messages that a conflating PUB holds for each subscriber until its pipe is free, since a
//! ring cannot replace a message in its middle by a newer one.

use std::time::Instant;

use bytes::Bytes;

use super::latest::Latest;
use super::raw::RawForm;
use super::route::{self, FanOut};
use super::{Clock, Held, Overflow, Port, Protocol, PushError, Rejected, Schedule, SendRefusal};
use crate::body::Body;
use crate::detach::DetachReason;
use crate::message::{Message, PipeId};
use crate::number_map::NumberMap;
use crate::options::{Conflating, RoleOption};
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;

/// The state of a PUB socket. It remembers only its peers, unless it conflates, and waits for none, unless the
/// overflow is `Wait`.
#[derive(Debug)]
pub(crate) struct Pub {
    pipes: FanOut,
    news: Option<Box<News>>,
}

impl Pub {
    /// `overflow` is one of [`Protocol::OVERFLOW`]; not `Wait` where it conflates.
    pub(crate) fn new(overflow: Overflow, conflating: Option<Conflating>) -> Self {
        Self { pipes: FanOut::new(overflow), news: conflating.map(News::new) }
    }

    /// Starts or stops conflating, or changes how. Applies to the held messages too.
    pub(crate) fn set_conflating(&mut self, to: Option<Conflating>, io: &mut impl Port) {
        match (&mut self.news, to) {
            (Some(news), Some(to)) => news.set(to, self.pipes.overflow(), io),
            (news, to) => {
                if let Some(mut news) = news.take() {
                    news.let_go(io);
                }
                *news = to.map(News::new);
            }
        }
    }

    /// Takes effect for later sends.
    pub(crate) fn set_overflow(&mut self, overflow: Overflow, io: &mut impl Port) {
        self.pipes.set_overflow(overflow, io);
    }
}

impl Protocol for Pub {
    const ID: ProtocolId = ProtocolId::PUB;
    const PEER: ProtocolId = ProtocolId::SUB;
    const OPTIONS: &'static [RoleOption] = &[RoleOption::Overflow, RoleOption::Conflate];
    const OVERFLOW: &'static [Overflow] =
        &[Overflow::DropOldest, Overflow::DropNewest, Overflow::Disconnect, Overflow::Wait];
    /// Drops what a peer sends as it comes, whether or not the program makes a call.
    const SCHEDULE: Schedule = Schedule { clock: Clock::Never, filters: true, empties: false };
    const RECEIVES: bool = false;
    type To = ();
    type From = ();
    type Received = Message;

    fn attach(&mut self, pipe: PipeId, _now: Instant, _: &mut impl Port) -> Result<(), Rejected> {
        self.pipes.add(pipe);
        Ok(())
    }

    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.pipes.remove(pipe, io);
        if let Some(news) = &mut self.news {
            news.forget(pipe, io);
        }
        self.readable(pipe, io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        route::discard(pipe, io);
    }

    fn writable(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        self.pipes.restore(pipe, io);
        if let Some(news) = &mut self.news {
            // If it cannot go on now, `writable` follows.
            let _ = news.refill(pipe, io);
        }
    }

    fn send(
        &mut self,
        (): &(),
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        match &mut self.news {
            None => self.pipes.send(&[], body, io),
            Some(news) => {
                news.send(&self.pipes, body, io);
                Ok(())
            }
        }
    }

    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        self.pipes.has_room()
    }

    /// Puts the held messages into the pipes, so that closing them writes them.
    fn shut(&mut self, io: &mut impl Port) {
        if let Some(news) = &mut self.news {
            news.let_go(io);
        }
    }

    fn held(&self) -> Held {
        Held { outbound: self.news.as_ref().map_or(0, |news| news.held), inbound: 0 }
    }

    /// A pipe that is free takes the next held message, even if no call waits.
    fn is_busy(&self) -> bool {
        self.news.as_ref().is_some_and(|news| news.held > 0)
    }
}

/// The messages held for each subscriber whose pipe has not transmitted everything: the newest of each key.
#[derive(Debug)]
struct News {
    conflating: Conflating,
    /// No queue is empty.
    waiting: NumberMap<PipeId, Latest<Body>>,
    /// The number of messages in all queues.
    held: u64,
}

impl News {
    fn new(conflating: Conflating) -> Box<Self> {
        Box::new(Self { conflating, waiting: NumberMap::default(), held: 0 })
    }

    /// Sends to every pipe that is free, and holds a copy for each that is not.
    #[cold]
    #[inline(never)]
    fn send(&mut self, pipes: &FanOut, body: &Bytes, io: &mut impl Port) {
        let mut there = 0;
        for &pipe in pipes.all() {
            let sent = self.refill(pipe, io).and_then(|()| io.push(pipe, &[], body));
            if sent == Err(PushError::Full) {
                self.hold(pipe, body, pipes.overflow(), io);
            }
            there += usize::from(sent != Err(PushError::Gone));
        }
        if there == 0 {
            io.dropped(None, DropReason::NoPeer);
        }
    }

    /// Moves held messages into the pipe, one at a time, since a message in the pipe cannot be replaced.
    /// Succeeds if nothing is left and the pipe is free; otherwise `writable` follows.
    fn refill(&mut self, pipe: PipeId, io: &mut impl Port) -> Result<(), PushError> {
        loop {
            if !io.ask_drained(pipe) {
                return Err(PushError::Full);
            }
            let Some(queue) = self.waiting.get_mut(&pipe) else { return Ok(()) };
            if let Some(next) = queue.front() {
                io.push(pipe, &[], next)?;
                queue.pop_front();
                self.held -= 1;
            }
            if queue.is_empty() {
                self.waiting.remove(&pipe);
            }
        }
    }

    /// Holds a copy, which replaces the one with its key or is the last.
    fn hold(&mut self, pipe: PipeId, body: &Bytes, overflow: Overflow, io: &mut impl Port) {
        let by = self.conflating.by;
        let queue = self.waiting.entry(pipe).or_insert_with(|| Latest::new(Some(by)));
        match queue.push(body.clone().into()) {
            Some(_) => io.dropped(Some(pipe), DropReason::ConflatedUnsent),
            None => self.held += 1,
        }
        self.shorten(pipe, overflow, io);
    }

    /// Drops the messages over the bounds, by the overflow option. One message always fits.
    fn shorten(&mut self, pipe: PipeId, overflow: Overflow, io: &mut impl Port) {
        let Conflating { messages, bytes, .. } = self.conflating;
        let Some(queue) = self.waiting.get_mut(&pipe) else { return };
        while queue.len() > 1 && (queue.len() > messages || queue.bytes() > bytes) {
            match overflow {
                Overflow::DropOldest => queue.pop_front(),
                _ => queue.pop_back(),
            };
            self.held -= 1;
            io.dropped(Some(pipe), DropReason::SendQueueFull);
            if overflow == Overflow::Disconnect {
                io.disconnect(pipe);
            }
        }
    }

    /// Changes keys and bounds, also for the held messages.
    fn set(&mut self, to: Conflating, overflow: Overflow, io: &mut impl Port) {
        self.conflating = to;
        let pipes: Vec<PipeId> = self.waiting.keys().copied().collect();
        for pipe in pipes {
            if let Some(queue) = self.waiting.get_mut(&pipe) {
                queue.set_key(Some(to.by), |_| {
                    self.held -= 1;
                    io.dropped(Some(pipe), DropReason::ConflatedUnsent);
                });
            }
            self.shorten(pipe, overflow, io);
        }
    }

    /// Puts all held messages into the pipes, and drops the oldest of those for which a pipe has no room.
    fn let_go(&mut self, io: &mut impl Port) {
        self.held = 0;
        for (pipe, mut queue) in std::mem::take(&mut self.waiting) {
            for body in queue.drain() {
                match io.push_evicting(pipe, &[], &body) {
                    Ok(_) => {}
                    Err(PushError::Full) => io.dropped(Some(pipe), DropReason::SendQueueFull),
                    Err(PushError::Gone) => io.dropped(Some(pipe), DropReason::PeerGone),
                }
            }
        }
    }

    /// Drops the messages held for a pipe that is gone.
    fn forget(&mut self, pipe: PipeId, io: &mut impl Port) {
        let Some(queue) = self.waiting.remove(&pipe) else { return };
        self.held -= queue.len() as u64;
        queue.iter().for_each(|_| io.dropped(Some(pipe), DropReason::PeerGone));
    }
}

impl RawForm for Pub {}

#[cfg(test)]
mod tests {
    use super::super::Interest;
    use super::super::testing::{ManualPort, body, pipe, start};
    use super::*;
    use crate::options::Conflate;

    fn socket(pipes: u32) -> (Pub, ManualPort) {
        let overflow = Pub::OVERFLOW[0];
        let (mut publisher, mut io) = (Pub::new(overflow, None), ManualPort::default());
        for n in 1..=pipes {
            publisher.attach(pipe(n), start(), &mut io).unwrap();
        }
        (publisher, io)
    }

    fn publish(publisher: &mut Pub, io: &mut ManualPort, text: &str) {
        publisher.send(&(), &mut Bytes::copy_from_slice(text.as_bytes()), start(), io).unwrap();
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
        publisher.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
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
        let refused = publisher.send(&(), &mut body("2"), start(), &mut io);
        assert_eq!(refused, Err(SendRefusal::WouldBlock));
        assert_eq!((io.take_sent(), io.take_drops()), (Vec::new(), Vec::new()));
        assert!(!publisher.ready(Interest::SEND));
        (publisher, io)
    }

    #[test]
    fn a_send_that_waits_goes_to_all_once_there_is_room_for_all() {
        let (mut publisher, mut io) = held_up();
        publisher.writable(pipe(2), start(), &mut io);
        assert!(!io.take_woken(Interest::SEND), "it was told for nothing");
        io.drain(pipe(2));
        publisher.writable(pipe(2), start(), &mut io);
        assert!(io.take_woken(Interest::SEND));
        publish(&mut publisher, &mut io, "2");
        assert_eq!(io.take_sent(), [1, 2].map(|n| (pipe(n), b"2".to_vec())));
    }

    #[test]
    fn a_send_does_not_wait_for_who_has_left() {
        let (mut publisher, mut io) = held_up();
        publisher.detach(pipe(2), &DetachReason::PeerClosed, start(), &mut io);
        assert!(io.take_woken(Interest::SEND));
        publish(&mut publisher, &mut io, "2");
        assert_eq!(io.take_sent(), [(pipe(1), b"2".to_vec())]);
        publisher.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        publish(&mut publisher, &mut io, "3");
        assert_eq!(io.take_drops(), [(None, DropReason::NoPeer)]);
    }

    #[test]
    fn a_send_that_waits_goes_on_when_the_rule_changes() {
        let (mut publisher, mut io) = held_up();
        publisher.set_overflow(Overflow::DropNewest, &mut io);
        assert!(io.take_woken(Interest::SEND));
        publish(&mut publisher, &mut io, "2");
        assert_eq!(io.take_sent(), [(pipe(1), b"2".to_vec())]);
        assert_eq!(io.take_drops(), [(Some(pipe(2)), DropReason::SendQueueFull)]);
    }

    /// A publisher that holds up to two messages, each of which begins with its key, and its
    /// subscriber, which transmits nothing and has got one.
    fn conflating(overflow: Overflow) -> (Pub, ManualPort) {
        let (mut publisher, mut io) = socket(1);
        publisher.set_overflow(overflow, &mut io);
        publisher.set_conflating(keys(1, 2), &mut io);
        io.stall(pipe(1));
        publish(&mut publisher, &mut io, "a0");
        assert_eq!(io.take_sent().len(), 1);
        (publisher, io)
    }

    fn keys(length: usize, messages: usize) -> Option<Conflating> {
        Some(Conflating { by: Conflate::Prefix(length), messages, bytes: 100 })
    }

    fn bodies(io: &mut ManualPort) -> Vec<Vec<u8>> {
        io.take_sent().into_iter().map(|(_, body)| body).collect()
    }

    /// Transmits everything, one after the other.
    fn transmit(publisher: &mut Pub, io: &mut ManualPort) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while publisher.is_busy() {
            io.drain(pipe(1));
            publisher.writable(pipe(1), start(), io);
            sent.extend(bodies(io));
        }
        sent
    }

    fn drops(io: &mut ManualPort) -> Vec<DropReason> {
        io.take_drops().into_iter().map(|(_, reason)| reason).collect()
    }

    /// C391.
    #[test]
    fn a_subscriber_gets_of_each_key_the_newest() {
        let (mut publisher, mut io) = conflating(Overflow::DropOldest);
        for text in ["a1", "b1", "a2", "a3", "b2"] {
            publish(&mut publisher, &mut io, text);
        }
        assert_eq!(bodies(&mut io), [b""; 0], "one is on its way");
        assert_eq!(publisher.held(), Held { outbound: 2, inbound: 0 });
        assert_eq!(drops(&mut io), [DropReason::ConflatedUnsent; 3]);
        io.drain(pipe(1));
        publisher.writable(pipe(1), start(), &mut io);
        assert_eq!(bodies(&mut io), [b"a3"], "one at a time");
        publish(&mut publisher, &mut io, "a4");
        assert_eq!(transmit(&mut publisher, &mut io), [b"b2", b"a4"]);
        assert_eq!((drops(&mut io), publisher.held()), (vec![], Held::default()));
    }

    /// C391: each has its own.
    #[test]
    fn a_free_subscriber_gets_every_message() {
        let (mut publisher, mut io) = conflating(Overflow::DropOldest);
        publisher.attach(pipe(2), start(), &mut io).unwrap();
        for text in ["a1", "a2"] {
            publish(&mut publisher, &mut io, text);
            assert_eq!(io.take_sent(), [(pipe(2), text.as_bytes().to_vec())]);
        }
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::ConflatedUnsent)]);
    }

    /// C392.
    #[test]
    fn more_keys_than_may_be_held_follow_the_rule_of_a_full_queue() {
        for (overflow, kept) in [
            (Overflow::DropOldest, [b"b1", b"c1"]),
            (Overflow::DropNewest, [b"a1", b"b1"]),
            (Overflow::Disconnect, [b"a1", b"b1"]),
        ] {
            let (mut publisher, mut io) = conflating(overflow);
            for text in ["a1", "b1", "c1"] {
                publish(&mut publisher, &mut io, text);
            }
            assert_eq!(drops(&mut io), [DropReason::SendQueueFull]);
            let cut = io.take_disconnected().len();
            assert_eq!(cut, usize::from(overflow == Overflow::Disconnect));
            assert_eq!(transmit(&mut publisher, &mut io), kept);
        }
    }

    #[test]
    fn what_is_held_is_bounded_in_bytes_but_for_one_message() {
        let (mut publisher, mut io) = conflating(Overflow::DropOldest);
        let long = "b".repeat(101);
        for text in ["a1", &long] {
            publish(&mut publisher, &mut io, text);
        }
        assert_eq!(drops(&mut io), [DropReason::SendQueueFull]);
        assert_eq!(transmit(&mut publisher, &mut io), [long.as_bytes()]);
    }

    #[test]
    fn what_is_held_for_a_subscriber_goes_with_it() {
        let (mut publisher, mut io) = conflating(Overflow::DropOldest);
        publish(&mut publisher, &mut io, "a1");
        io.break_off(pipe(1));
        publish(&mut publisher, &mut io, "a2");
        publisher.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        assert_eq!(drops(&mut io), [DropReason::NoPeer, DropReason::PeerGone]);
        assert_eq!(publisher.held(), Held::default());
    }

    #[test]
    fn who_stops_conflating_or_closes_lets_go_what_is_held() {
        for closes in [false, true] {
            let (mut publisher, mut io) = conflating(Overflow::DropOldest);
            for text in ["a1", "b1"] {
                publish(&mut publisher, &mut io, text);
            }
            if closes {
                publisher.shut(&mut io)
            } else {
                publisher.set_conflating(None, &mut io)
            }
            assert_eq!(
                (bodies(&mut io), drops(&mut io)),
                (vec![b"a1".to_vec(), b"b1".to_vec()], vec![])
            );
            assert_eq!(publisher.held(), Held::default());
        }
    }

    #[test]
    fn other_keys_and_bounds_take_effect_on_what_is_held() {
        let (mut publisher, mut io) = conflating(Overflow::DropOldest);
        for text in ["a1", "b1"] {
            publish(&mut publisher, &mut io, text);
        }
        publisher.set_conflating(keys(1, 1), &mut io);
        assert_eq!(drops(&mut io), [DropReason::SendQueueFull]);
        publisher.set_conflating(keys(2, 9), &mut io);
        publish(&mut publisher, &mut io, "b2");
        publisher.set_conflating(keys(0, 9), &mut io);
        assert_eq!(drops(&mut io), [DropReason::ConflatedUnsent]);
        assert_eq!(transmit(&mut publisher, &mut io), [b"b2"]);
    }
}
