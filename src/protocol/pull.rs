//! PULL: receives from every peer in turn. A raw SUB, which does not filter, is the same state machine.

use std::marker::PhantomData;
use std::time::Instant;

use super::raw::RawForm;
use super::rep::ProtocolPair;
use super::route::{self, FairQueue};
use super::{Conversation, Interest, Port, Protocol, RecvRefusal, Rejected};
use crate::message::{Message, PipeId};
use crate::options::RoleOption;
use crate::protocol_id::ProtocolId;

/// A PULL socket.
pub(crate) type Pull = Receiver<FromPushes>;

/// The role of a PULL.
#[derive(Debug)]
pub(crate) enum FromPushes {}

impl ProtocolPair for FromPushes {
    const ID: ProtocolId = ProtocolId::PULL;
    const PEER: ProtocolId = ProtocolId::PUSH;
}

/// The state of a socket that only receives.
///
/// Messages wait in their pipes, and push back on the peer when there are too many. Messages that had arrived
/// when a pipe was lost can still be received.
#[derive(Debug)]
pub(crate) struct Receiver<R> {
    messages: FairQueue,
    role: PhantomData<R>,
}

const RECV: Interest = Interest::RECV;

impl<R: ProtocolPair> Receiver<R> {
    pub(crate) fn new() -> Self {
        Self { messages: FairQueue::default(), role: PhantomData }
    }

    #[inline(never)]
    fn take_from_queues(&mut self, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        match self.messages.pop(io) {
            Some((pipe, frame)) => Ok(Message::received(frame.into_body(), pipe)),
            None => Err(RecvRefusal::WouldBlock),
        }
    }
}

impl<R: ProtocolPair> Protocol for Receiver<R> {
    const ID: ProtocolId = R::ID;
    const PEER: ProtocolId = R::PEER;
    const OPTIONS: &'static [RoleOption] = &[RoleOption::RecvPriority];
    const SENDS: bool = false;
    type To = ();
    type From = ();
    type Received = Message;

    fn attach(&mut self, _pipe: PipeId, _: Instant, _io: &mut impl Port) -> Result<(), Rejected> {
        Ok(())
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.messages.add(pipe, io.priorities(pipe).recv);
        io.wake(RECV);
    }

    fn forget(&mut self, pipe: PipeId) {
        self.messages.remove(pipe);
    }

    #[inline(always)]
    fn recv(&mut self, (): &(), _now: Instant, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        match self.messages.pop_at_hand(|_| true, io) {
            Some((pipe, body)) => Ok(Message::received(body, pipe)),
            None => self.take_from_queues(io),
        }
    }

    fn can_recv(&self, _: Conversation) -> bool {
        !self.messages.is_empty()
    }

    fn find_message(&mut self, _: Conversation, io: &mut impl Port) -> bool {
        self.messages.find_message(route::accept_any, io)
    }
}

impl<R: ProtocolPair> RawForm for Receiver<R> {}

#[cfg(test)]
mod tests {
    use super::super::testing::{ManualPort, pipe, start};
    use super::*;
    use crate::detach::DetachReason;

    fn receive_all(pull: &mut Pull, io: &mut ManualPort) -> Vec<Message> {
        std::iter::from_fn(|| pull.recv(&(), start(), io).ok()).collect()
    }

    fn arrives(pull: &mut Pull, io: &mut ManualPort, n: u32, texts: &[&str]) {
        texts.iter().for_each(|text| io.arrives(pipe(n), text.as_bytes()));
        pull.readable(pipe(n), io);
    }

    /// C101, C103, C122.
    #[test]
    fn pipes_take_turns_and_each_keeps_its_order() {
        let (mut pull, mut io) = (Pull::new(), ManualPort::default());
        arrives(&mut pull, &mut io, 1, &["a", "b", "c"]);
        arrives(&mut pull, &mut io, 2, &["x", ""]);
        assert!(pull.ready(RECV) && io.take_woken(RECV));
        let got = receive_all(&mut pull, &mut io);
        assert_eq!(got, ["a", "x", "b", "", "c"]);
        assert_eq!(got[1].pipe(), Some(pipe(2)));
        assert!(!pull.ready(RECV));
    }

    /// C121.
    #[test]
    fn the_better_receive_priority_comes_first() {
        let (mut pull, mut io) = (Pull::new(), ManualPort::default());
        io.rank(pipe(1), 8, 2);
        io.rank(pipe(2), 8, 1);
        arrives(&mut pull, &mut io, 1, &["a"]);
        arrives(&mut pull, &mut io, 2, &["b"]);
        assert_eq!(receive_all(&mut pull, &mut io), ["b", "a"]);
    }

    /// C110.
    #[test]
    fn a_receive_with_nothing_there_would_block() {
        let (mut pull, mut io) = (Pull::new(), ManualPort::default());
        assert_eq!(pull.recv(&(), start(), &mut io), Err(RecvRefusal::WouldBlock));
    }

    /// C111, D35.
    #[test]
    fn what_has_arrived_outlives_its_pipe() {
        let (mut pull, mut io) = (Pull::new(), ManualPort::default());
        io.arrives(pipe(1), b"last words");
        pull.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        assert!(io.take_woken(RECV));
        assert_eq!(receive_all(&mut pull, &mut io), ["last words"]);
    }
}
