//! The routing part of PAIR: at most one pipe, both ways.
//!
//! Nothing is queued here: without a peer, or with a full pipe, a send waits; received messages wait in their
//! pipe and push back on the peer.

use std::collections::VecDeque;

use bytes::Bytes;

use super::route::{self, Peek};
use super::{Interest, Port, Rejected, SendRefusal};
use crate::message::{Frame, PipeId};
use crate::stats::DropReason;

/// The one peer.
///
/// ```text
///            attach                      push full or gone
///  ALONE --------------> PAIRED, room ----------------------> PAIRED, full
///    ^                      |      ^                            |     |
///    |        detach        |      +--------- writable ---------+     |
///    +----------------------+-----------------------------------------+
/// ```
///
/// Beside it is the queue of departed pipes whose last messages have not all been received.
#[derive(Debug, Default)]
pub(super) struct Exclusive {
    peer: Option<Peer>,
    /// Pipes that are gone and may still hold messages, the oldest first.
    departed: VecDeque<PipeId>,
}

#[derive(Debug)]
struct Peer {
    pipe: PipeId,
    /// Whether the send queue has room, as far as is known.
    room: bool,
    /// Whether something may have arrived.
    readable: bool,
}

const SEND: Interest = Interest::SEND;
const RECV: Interest = Interest::RECV;

impl Exclusive {
    pub(super) fn attach(&mut self, pipe: PipeId, io: &mut impl Port) -> Result<(), Rejected> {
        if self.peer.is_some() {
            return Err(Rejected);
        }
        self.peer = Some(Peer { pipe, room: true, readable: false });
        io.wake(SEND);
        Ok(())
    }

    /// Whether there is a peer.
    pub(super) fn is_taken(&self) -> bool {
        self.peer.is_some()
    }

    pub(super) fn detach(&mut self, pipe: PipeId, io: &mut impl Port) {
        if self.peer_at(pipe).is_some() {
            self.peer = None;
            self.departed.push_back(pipe);
            io.wake(RECV);
        }
    }

    /// Forgets a departed pipe that has nothing left to read.
    pub(super) fn forget(&mut self, pipe: PipeId) {
        if self.departed.front() == Some(&pipe) {
            self.departed.pop_front();
        } else {
            self.departed.retain(|&other| other != pipe);
        }
    }

    pub(super) fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        if let Some(peer) = self.peer_at(pipe) {
            peer.readable = true;
            io.wake(RECV);
        }
    }

    pub(super) fn writable(&mut self, pipe: PipeId, io: &mut impl Port) {
        if let Some(peer) = self.peer_at(pipe) {
            peer.room = true;
            io.wake(SEND);
        }
    }

    pub(super) fn send(
        &mut self,
        header: &[u8],
        body: &Bytes,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        let peer = self.peer.as_mut().ok_or(SendRefusal::WouldBlock)?;
        // A push that succeeds cancels the order of an earlier one: calls that wait for `writable` must be
        // woken by this send.
        peer.room = io.push(peer.pipe, header, body).is_ok();
        if peer.room { Ok(()) } else { Err(SendRefusal::WouldBlock) }
    }

    /// Takes the next message, those of departed pipes first.
    pub(super) fn pop(&mut self, io: &mut impl Port) -> Option<(PipeId, Frame)> {
        self.pop_departed(io).or_else(|| self.pop_peer(io))
    }

    pub(super) fn can_send(&self) -> bool {
        self.peer.as_ref().is_some_and(|peer| peer.room)
    }

    pub(super) fn can_recv(&self) -> bool {
        !self.departed.is_empty() || self.peer.as_ref().is_some_and(|peer| peer.readable)
    }

    /// As `can_send`, but always right.
    pub(super) fn find_room(&mut self, io: &mut impl Port) -> bool {
        let Some(peer) = &mut self.peer else { return false };
        // `writable` or `detach` follows for a pipe found full or gone.
        peer.room = peer.room && io.ask_room(peer.pipe);
        peer.room
    }

    /// As `can_recv`, but always right, for messages that `judge` accepts.
    pub(super) fn find_message(
        &mut self,
        judge: impl Fn(Peek<'_>) -> Result<(), DropReason>,
        io: &mut impl Port,
    ) -> bool {
        while let Some(&pipe) = self.departed.front() {
            if route::find_message(pipe, &judge, io) {
                return true;
            }
            self.departed.pop_front();
        }
        let Some(peer) = self.peer.as_mut().filter(|peer| peer.readable) else { return false };
        peer.readable = route::find_message(peer.pipe, &judge, io);
        peer.readable
    }

    /// The peer, if `pipe` leads to it.
    fn peer_at(&mut self, pipe: PipeId) -> Option<&mut Peer> {
        self.peer.as_mut().filter(|peer| peer.pipe == pipe)
    }

    fn pop_departed(&mut self, io: &mut impl Port) -> Option<(PipeId, Frame)> {
        while let Some(&pipe) = self.departed.front() {
            if let Some(frame) = io.pop(pipe) {
                return Some((pipe, frame));
            }
            self.departed.pop_front();
        }
        None
    }

    fn pop_peer(&mut self, io: &mut impl Port) -> Option<(PipeId, Frame)> {
        let peer = self.peer.as_mut()?;
        let frame = io.pop(peer.pipe);
        peer.readable = frame.is_some();
        Some((peer.pipe, frame?))
    }
}
