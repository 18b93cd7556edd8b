//! PAIR: one peer, both ways, no header.
//!
//! The whole protocol is that there is at most one pipe. Nothing is queued here: without a peer, or
//! with a full pipe, a send waits; what is received waits in its pipe and pushes back on the peer.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::{Held, Interest, Port, Protocol, ProtocolId, RecvRefusal, Rejected, SendRefusal};
use crate::message::{Frame, Message, PipeId};

/// The state of a PAIR socket.
///
/// ```text
///            attach                      push full or gone
///  ALONE --------------> PAIRED, room ----------------------> PAIRED, full
///    ^                      |      ^                            |     |
///    |        detach        |      +--------- writable ---------+     |
///    +----------------------+-----------------------------------------+
/// ```
///
/// Beside it stands the line of pipes whose last messages have not all been received.
#[derive(Debug, Default)]
pub(crate) struct Pair {
    peer: Option<Peer>,
    /// Pipes that are gone and may still hold messages, the oldest first.
    departed: VecDeque<PipeId>,
}

#[derive(Debug)]
struct Peer {
    pipe: PipeId,
    /// The send queue has room, as far as we know.
    room: bool,
    /// Something may have arrived.
    readable: bool,
}

const SEND: Interest = Interest::Send(0);
const RECV: Interest = Interest::Recv(0);

impl Pair {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// The peer, if `pipe` leads to it.
    fn peer_at(&mut self, pipe: PipeId) -> Option<&mut Peer> {
        self.peer.as_mut().filter(|peer| peer.pipe == pipe)
    }

    /// The oldest message of a pipe that is gone.
    fn pop_departed(&mut self, io: &mut impl Port) -> Option<Message> {
        while let Some(&pipe) = self.departed.front() {
            if let Some(frame) = io.pop(pipe) {
                return Some(message(frame, pipe));
            }
            self.departed.pop_front();
        }
        None
    }

    fn pop_peer(&mut self, io: &mut impl Port) -> Option<Message> {
        let peer = self.peer.as_mut()?;
        let frame = io.pop(peer.pipe);
        peer.readable = frame.is_some();
        Some(message(frame?, peer.pipe))
    }
}

impl Protocol for Pair {
    const ID: ProtocolId = ProtocolId::PAIR;
    const PEER: ProtocolId = ProtocolId::PAIR;
    type To = ();
    type From = ();
    type Received = Message;

    fn attach(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) -> Result<(), Rejected> {
        if self.peer.is_some() {
            return Err(Rejected);
        }
        self.peer = Some(Peer { pipe, room: true, readable: false });
        io.wake(SEND);
        Ok(())
    }

    fn detach(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        if self.peer_at(pipe).is_some() {
            self.peer = None;
            self.departed.push_back(pipe);
            io.wake(RECV);
        }
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        if let Some(peer) = self.peer_at(pipe) {
            peer.readable = true;
            io.wake(RECV);
        }
    }

    fn writable(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        if let Some(peer) = self.peer_at(pipe) {
            peer.room = true;
            io.wake(SEND);
        }
    }

    fn send(
        &mut self,
        (): &(),
        body: &Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        let peer = self.peer.as_mut().ok_or(SendRefusal::WouldBlock)?;
        io.push(peer.pipe, &[], body).map_err(|_| {
            peer.room = false;
            SendRefusal::WouldBlock
        })
    }

    fn recv(&mut self, (): &(), _now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        self.pop_departed(io).or_else(|| self.pop_peer(io)).ok_or(RecvRefusal::WouldBlock)
    }

    fn ready(&self, interest: Interest) -> bool {
        let peer = self.peer.as_ref();
        match interest {
            Interest::Send(_) => peer.is_some_and(|peer| peer.room),
            Interest::Recv(_) => {
                !self.departed.is_empty() || peer.is_some_and(|peer| peer.readable)
            }
            Interest::Peers | Interest::Drained => false,
        }
    }

    fn held(&self) -> Held {
        Held::default()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn expire(&mut self, _now: Instant, _io: &mut impl Port) {}
}

fn message(frame: Frame, pipe: PipeId) -> Message {
    Message::received(frame.into_bytes(), pipe)
}

#[cfg(test)]
mod tests {
    use super::super::PushError;
    use super::super::manual::{ManualPort, body, pipe, start};
    use super::*;

    fn paired() -> (Pair, ManualPort) {
        let (mut pair, mut io) = (Pair::new(), ManualPort::default());
        pair.attach(pipe(1), start(), &mut io).unwrap();
        (pair, io)
    }

    fn recv(pair: &mut Pair, io: &mut ManualPort) -> Result<Message, RecvRefusal> {
        pair.recv(&(), start(), io)
    }

    // C037, C038, C042, C044.
    #[test]
    fn a_send_waits_for_a_peer() {
        let (mut pair, mut io) = (Pair::new(), ManualPort::default());
        let refused = pair.send(&(), &body("a"), start(), &mut io);
        assert_eq!(refused, Err(SendRefusal::WouldBlock));
        assert!(!pair.ready(SEND));

        pair.attach(pipe(1), start(), &mut io).unwrap();
        assert!(io.take_woken(SEND) && pair.ready(SEND));
        pair.send(&(), &body("a"), start(), &mut io).unwrap();
        assert_eq!(io.take_sent(), [(pipe(1), b"a".to_vec())]);
    }

    // C041.
    #[test]
    fn a_send_waits_for_room() {
        let (mut pair, mut io) = paired();
        io.take_woken(SEND);
        io.fill(pipe(1));
        let refused = pair.send(&(), &body("a"), start(), &mut io);
        assert_eq!(refused, Err(SendRefusal::WouldBlock));
        assert!(!pair.ready(SEND));

        io.drain(pipe(1));
        pair.writable(pipe(1), start(), &mut io);
        assert!(io.take_woken(SEND) && pair.ready(SEND));
        pair.send(&(), &body("a"), start(), &mut io).unwrap();
    }

    // C039, C040.
    #[test]
    fn a_second_peer_is_rejected_until_the_first_has_gone() {
        let (mut pair, mut io) = paired();
        assert_eq!(pair.attach(pipe(2), start(), &mut io), Err(Rejected));
        io.arrives(pipe(1), b"a");
        pair.readable(pipe(1), &mut io);
        assert_eq!(recv(&mut pair, &mut io).unwrap().pipe(), Some(pipe(1)));

        pair.detach(pipe(1), start(), &mut io);
        assert_eq!(pair.attach(pipe(3), start(), &mut io), Ok(()));
        pair.send(&(), &body("b"), start(), &mut io).unwrap();
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
            pair.detach(pipe(n), start(), &mut io);
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
        let refused = pair.send(&(), &body("a"), start(), &mut io);
        assert_eq!(refused, Err(SendRefusal::WouldBlock));
        assert!(!pair.ready(SEND));
    }
}
