//! BUS: sends to every peer and receives from every peer; one hop, no forwarding.

use std::time::Instant;

use bytes::Bytes;

use super::raw::RawForm;
use super::route::{self, FairQueue, FanOut};
use super::{Conversation, Interest, Overflow, Port, Protocol, RecvRefusal, Rejected, SendRefusal};
use crate::detach::DetachReason;
use crate::message::{Message, PipeId};
use crate::options::RoleOption;
use crate::protocol_id::ProtocolId;

/// The state of a BUS socket.
///
/// Received messages wait in their pipes. A slow reader pushes back on its peers as far as their send queues; a
/// message for which there is no room there is dropped, and nobody waits.
#[derive(Debug)]
pub(crate) struct Bus {
    pipes: FanOut,
    messages: FairQueue,
}

const RECV: Interest = Interest::RECV;

impl Bus {
    /// `overflow` is one of [`Protocol::OVERFLOW`].
    pub(crate) fn new(overflow: Overflow) -> Self {
        Self { pipes: FanOut::new(overflow), messages: FairQueue::default() }
    }

    /// Takes effect for later sends.
    pub(crate) fn set_overflow(&mut self, overflow: Overflow, io: &mut impl Port) {
        self.pipes.set_overflow(overflow, io);
    }
}

impl Protocol for Bus {
    const ID: ProtocolId = ProtocolId::BUS;
    const PEER: ProtocolId = ProtocolId::BUS;
    const DROPS: bool = true;
    const OPTIONS: &'static [RoleOption] = &[RoleOption::Overflow, RoleOption::RecvPriority];
    const OVERFLOW: &'static [Overflow] =
        &[Overflow::DropNewest, Overflow::DropOldest, Overflow::Disconnect];
    type To = ();
    type From = ();
    type Received = Message;

    fn attach(&mut self, pipe: PipeId, _now: Instant, _: &mut impl Port) -> Result<(), Rejected> {
        self.pipes.add(pipe);
        Ok(())
    }

    /// Messages that have arrived can still be received.
    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.pipes.remove(pipe, io);
        self.readable(pipe, io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.messages.add(pipe, io.priorities(pipe).recv);
        io.wake(RECV);
    }

    fn forget(&mut self, pipe: PipeId) {
        self.messages.remove(pipe);
    }

    fn send(
        &mut self,
        (): &(),
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        self.pipes.send(&[], body, io)
    }

    fn recv(&mut self, (): &(), _now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        match self.messages.pop(io) {
            Some((pipe, frame)) => Ok(Message::received(frame.into_body(), pipe)),
            None => Err(RecvRefusal::WouldBlock),
        }
    }

    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        true
    }

    fn can_recv(&self, _: Conversation) -> bool {
        !self.messages.is_empty()
    }

    fn find_message(&mut self, _: Conversation, io: &mut impl Port) -> bool {
        self.messages.find_message(route::accept_any, io)
    }
}

/// The header of a received message names the pipe that it came from, and that of a sent one the pipe to leave
/// out. It never reaches the wire. Wire specification, section 8.4.
impl RawForm for Bus {
    fn send_raw(
        &mut self,
        header: &Bytes,
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        let origin = match header[..] {
            [] => None,
            [a, b, c, d] => PipeId::new(u32::from_be_bytes([a, b, c, d])),
            _ => return Err(SendRefusal::Header),
        };
        self.pipes.send_except(origin, &[], body, io)
    }

    fn recv_raw(&mut self, now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        let message = self.recv(&(), now, io)?;
        let origin = message.pipe().map(|pipe| Bytes::copy_from_slice(&pipe.get().to_be_bytes()));
        Ok(message.with_header(origin.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::Raw;
    use super::super::testing::{ManualPort, body, pipe, start};
    use super::*;
    use crate::stats::DropReason;

    fn socket(pipes: u32) -> (Bus, ManualPort) {
        let (mut bus, mut io) = (Bus::new(Overflow::DropNewest), ManualPort::default());
        for n in 1..=pipes {
            bus.attach(pipe(n), start(), &mut io).unwrap();
        }
        (bus, io)
    }

    fn recipients(io: &mut ManualPort) -> Vec<u32> {
        io.take_sent().into_iter().map(|(pipe, _)| pipe.get()).collect()
    }

    /// C126 to C128.
    #[test]
    fn a_message_goes_to_every_peer_and_is_not_heard_here() {
        let (mut bus, mut io) = socket(3);
        bus.send(&(), &mut body("x"), start(), &mut io).unwrap();
        assert_eq!(io.take_sent(), [1, 2, 3].map(|n| (pipe(n), b"x".to_vec())));
        assert_eq!(bus.recv(&(), start(), &mut io), Err(RecvRefusal::WouldBlock));
        io.arrives(pipe(2), b"y");
        bus.readable(pipe(2), &mut io);
        assert!(io.take_woken(RECV));
        assert_eq!(bus.recv(&(), start(), &mut io).unwrap(), "y");
        assert!(recipients(&mut io).is_empty(), "nothing is forwarded");
    }

    /// C129.
    #[test]
    fn a_send_without_peers_succeeds_and_is_counted() {
        let (mut bus, mut io) = socket(0);
        assert_eq!(bus.send(&(), &mut body("x"), start(), &mut io), Ok(()));
        assert_eq!(io.take_drops(), [(None, DropReason::NoPeer)]);
    }

    /// C130.
    #[test]
    fn a_peer_that_never_reads_holds_up_nobody() {
        let (mut bus, mut io) = socket(2);
        io.fill(pipe(1));
        assert!(bus.ready(Interest::SEND));
        assert_eq!(bus.send(&(), &mut body("x"), start(), &mut io), Ok(()));
        assert_eq!(recipients(&mut io), [2]);
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::SendQueueFull)]);
    }

    #[test]
    fn what_has_arrived_outlives_its_pipe() {
        let (mut bus, mut io) = socket(1);
        io.arrives(pipe(1), b"last words");
        bus.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        assert_eq!(bus.recv(&(), start(), &mut io).unwrap(), "last words");
    }

    /// C133, C134.
    #[test]
    fn a_raw_bus_sends_a_message_to_all_but_its_origin() {
        let (bus, mut io) = socket(3);
        let mut raw = Raw::new(bus);
        io.arrives(pipe(2), b"x");
        raw.readable(pipe(2), &mut io);
        let message = raw.recv(&(), start(), &mut io).unwrap();
        assert_eq!(message.header(), &b"\0\0\0\x02"[..]);
        raw.send(message.header(), &mut message.body().clone(), start(), &mut io).unwrap();
        assert_eq!(io.take_sent(), [1, 3].map(|n| (pipe(n), b"x".to_vec())));
    }

    /// Wire specification, section 8.4.
    #[test]
    fn a_raw_bus_takes_a_header_of_no_or_four_bytes() {
        let (bus, mut io) = socket(1);
        let mut raw = Raw::new(bus);
        for (header, expected) in [
            (&b""[..], Ok(())),
            (b"\0\0\0\x09", Ok(())),
            (b"\xFF\xFF\xFF\xFF", Ok(())),
            (b"\0\0\x01", Err(SendRefusal::Header)),
            (b"\0\0\0\0\x01", Err(SendRefusal::Header)),
        ] {
            let sent = raw.send(&Bytes::from_static(header), &mut body("x"), start(), &mut io);
            assert_eq!(sent, expected, "{header:?}");
        }
        assert_eq!(recipients(&mut io), [1, 1, 1]);
    }

    #[test]
    fn a_slow_peer_may_lose_the_oldest_message() {
        let (mut bus, mut io) = socket(1);
        bus.set_overflow(Overflow::DropOldest, &mut io);
        for text in ["1", "2"] {
            bus.send(&(), &mut body(text), start(), &mut io).unwrap();
            io.fill(pipe(1));
        }
        assert_eq!(io.take_sent(), [(pipe(1), b"2".to_vec())]);
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::SendQueueFull)]);
    }
}
