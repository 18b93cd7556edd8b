//! PUSH: sends each message to one of the peers, balanced over all.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::raw::RawForm;
use super::route::{self, Balance};
use super::{Clock, Held, Interest, Overflow, Port, Protocol, Rejected, Schedule, SendRefusal};
use crate::body::Body;
use crate::detach::DetachReason;
use crate::message::{Frame, Message, PipeId};
use crate::options::RoleOption;
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;

/// The state of a PUSH socket.
///
/// ```text
///             attach, writable                 push full
///   a pipe: ---------------------> READY -----------------> FULL
///                                  ^   |                      |
///                     message sent |   | to the end           | writable
///                                  +---+ <--------------------+ of its line
/// ```
///
/// A message goes to the next pipe of the best priority. If no pipe is ready, the send waits, or drops the
/// message, by the overflow option. A message that a lost pipe has not transmitted comes back, if the requeue
/// option is set, and goes to another pipe before any new one.
#[derive(Debug)]
pub(crate) struct Push {
    ready: Balance,
    peers: usize,
    overflow: Overflow,
    /// Messages that lost pipes have not transmitted; sent before anything else.
    returned: VecDeque<Body>,
}

const SEND: Interest = Interest::SEND;

impl Push {
    /// `overflow` is one of [`Protocol::OVERFLOW`].
    pub(crate) fn new(overflow: Overflow) -> Self {
        Self { ready: Balance::default(), peers: 0, overflow, returned: VecDeque::new() }
    }

    /// Takes effect for later sends.
    pub(crate) fn set_overflow(&mut self, overflow: Overflow) {
        self.overflow = overflow;
    }

    /// Sends the messages that were taken back, as far as there is room.
    fn send_returned(&mut self, io: &mut impl Port) {
        while let Some(body) = self.returned.front() {
            if self.ready.send(&[], body, io).is_err() {
                return;
            }
            self.returned.pop_front();
        }
    }

    /// The reason why no pipe takes a message now.
    #[cold]
    fn obstacle(&self) -> DropReason {
        if self.peers == 0 { DropReason::NoPeer } else { DropReason::SendQueueFull }
    }
}

impl Protocol for Push {
    const ID: ProtocolId = ProtocolId::PUSH;
    const PEER: ProtocolId = ProtocolId::PULL;
    const OPTIONS: &'static [RoleOption] =
        &[RoleOption::Overflow, RoleOption::Requeue, RoleOption::SendPriority];
    const OVERFLOW: &'static [Overflow] = &[Overflow::Wait, Overflow::DropNewest];
    /// Drops what a peer sends as it comes, whether or not the program makes a call.
    const SCHEDULE: Schedule = Schedule { clock: Clock::Never, filters: true, empties: false };
    const RECEIVES: bool = false;
    type To = ();
    type From = ();
    type Received = Message;

    fn attach(&mut self, pipe: PipeId, now: Instant, io: &mut impl Port) -> Result<(), Rejected> {
        self.peers += 1;
        self.writable(pipe, now, io);
        Ok(())
    }

    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.peers -= 1;
        self.ready.remove(pipe);
        self.readable(pipe, io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        route::discard(pipe, io);
    }

    fn writable(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        self.ready.add(pipe, io.priorities(pipe).send);
        self.send_returned(io);
        io.wake(SEND);
    }

    #[inline(always)]
    fn send(
        &mut self,
        (): &(),
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        let sent = if self.returned.is_empty() {
            self.ready.send(&[], body, io)
        } else {
            Err(SendRefusal::WouldBlock)
        };
        if sent.is_ok() || self.overflow == Overflow::Wait {
            return sent;
        }
        io.dropped(None, self.obstacle());
        Ok(())
    }

    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        self.overflow != Overflow::Wait || self.returned.is_empty() && !self.ready.is_empty()
    }

    fn find_room(&mut self, _pipe: Option<PipeId>, io: &mut impl Port) -> bool {
        self.overflow != Overflow::Wait || self.returned.is_empty() && self.ready.find_room(io)
    }

    fn take_back(&mut self, _pipe: PipeId, unsent: Frame, io: &mut impl Port) {
        self.returned.push_back(unsent.into_body());
        self.send_returned(io);
    }

    fn shut(&mut self, io: &mut impl Port) {
        self.returned.drain(..).for_each(|_| io.dropped(None, DropReason::Superseded));
    }

    /// Messages that were taken back go to the next ready pipe, even if no call waits.
    fn is_busy(&self) -> bool {
        !self.returned.is_empty()
    }

    fn held(&self) -> Held {
        Held { outbound: self.returned.len() as u64, inbound: 0 }
    }
}

impl RawForm for Push {}

#[cfg(test)]
mod tests {
    use super::super::testing::{ManualPort, body, pipe, start};
    use super::*;

    fn socket(pipes: u32) -> (Push, ManualPort) {
        let (mut push, mut io) = (Push::new(Overflow::Wait), ManualPort::default());
        for n in 1..=pipes {
            push.attach(pipe(n), start(), &mut io).unwrap();
        }
        (push, io)
    }

    fn send(push: &mut Push, io: &mut ManualPort) -> Result<(), SendRefusal> {
        push.send(&(), &mut body("x"), start(), io)
    }

    /// Sends that many and says where they went.
    fn spread(push: &mut Push, io: &mut ManualPort, messages: usize) -> Vec<u32> {
        (0..messages).for_each(|_| send(push, io).unwrap());
        io.take_sent().into_iter().map(|(pipe, _)| pipe.get()).collect()
    }

    /// C102, C104.
    #[test]
    fn idle_peers_get_equal_shares() {
        let (mut push, mut io) = socket(5);
        let went = spread(&mut push, &mut io, 100);
        for n in 1..=5 {
            assert_eq!(went.iter().filter(|&&other| other == n).count(), 20);
        }
    }

    proptest::proptest! {
        /// However many pipes come and go: those that stay get the same number of messages.
        #[test]
        fn equal_peers_get_equal_shares(peers in 1..20u32, rounds in 1..20usize, leaves in 0..20u32) {
            let (mut push, mut io) = socket(peers);
            let share = |went: &[u32], n| went.iter().filter(|&&other| other == n).count();
            let went = spread(&mut push, &mut io, rounds * peers as usize);
            proptest::prop_assert!((1..=peers).all(|n| share(&went, n) == rounds));
            let gone = 1 + leaves % peers;
            push.detach(pipe(gone), &DetachReason::PeerClosed, start(), &mut io);
            let staying = peers as usize - 1;
            let went = spread(&mut push, &mut io, rounds * staying);
            let stayed = (1..=peers).filter(|&n| n != gone);
            proptest::prop_assert!(stayed.into_iter().all(|n| share(&went, n) == rounds));
        }
    }

    /// C105 to C107, C116.
    #[test]
    fn a_send_waits_for_a_peer() {
        let (mut push, mut io) = socket(0);
        assert_eq!(send(&mut push, &mut io), Err(SendRefusal::WouldBlock));
        assert!(!push.ready(SEND));
        push.attach(pipe(1), start(), &mut io).unwrap();
        assert!(io.take_woken(SEND) && push.ready(SEND));
        assert_eq!(spread(&mut push, &mut io, 1), [1]);

        push.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        assert_eq!(send(&mut push, &mut io), Err(SendRefusal::WouldBlock));
        assert_eq!(io.take_drops(), []);
    }

    /// C115.
    #[test]
    fn a_slow_peer_is_passed_over_until_it_has_room() {
        let (mut push, mut io) = socket(2);
        io.fill(pipe(1));
        assert_eq!(spread(&mut push, &mut io, 3), [2, 2, 2]);
        io.fill(pipe(2));
        assert_eq!(send(&mut push, &mut io), Err(SendRefusal::WouldBlock));
        assert!(!push.ready(SEND));

        io.take_woken(SEND);
        io.drain(pipe(1));
        push.writable(pipe(1), start(), &mut io);
        assert!(io.take_woken(SEND) && push.ready(SEND));
        assert_eq!(spread(&mut push, &mut io, 1), [1]);
    }

    /// C118 to C120.
    #[test]
    fn all_goes_to_the_best_priority_that_has_room() {
        let (mut push, mut io) = socket(0);
        for (n, priority) in [(1, 2), (2, 1), (3, 1)] {
            io.rank(pipe(n), priority, 8);
            push.attach(pipe(n), start(), &mut io).unwrap();
        }
        assert_eq!(spread(&mut push, &mut io, 4), [2, 3, 2, 3]);
        io.fill(pipe(2));
        push.detach(pipe(3), &DetachReason::PeerClosed, start(), &mut io);
        assert_eq!(spread(&mut push, &mut io, 2), [1, 1], "failover");
        io.drain(pipe(2));
        push.writable(pipe(2), start(), &mut io);
        assert_eq!(spread(&mut push, &mut io, 2), [2, 2], "and back");
    }

    /// C112, row 19 of the table of bad input.
    #[test]
    fn data_from_a_peer_is_counted_and_the_pipe_goes_on() {
        let (mut push, mut io) = socket(1);
        io.arrives(pipe(1), b"what?");
        push.readable(pipe(1), &mut io);
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::Unexpected)]);
        assert_eq!(spread(&mut push, &mut io, 1), [1]);
        io.arrives(pipe(1), b"and on leaving");
        push.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::Unexpected)]);
    }

    #[test]
    fn what_a_lost_pipe_gives_back_goes_first() {
        let (mut push, mut io) = socket(1);
        push.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        for text in ["one", "two"] {
            push.take_back(pipe(1), Frame::new(Bytes::new(), body(text)), &mut io);
        }
        assert_eq!(push.held().outbound, 2);
        assert!(push.is_busy(), "a pipe that is ready has work, though nobody sends");
        assert_eq!(send(&mut push, &mut io), Err(SendRefusal::WouldBlock));
        push.attach(pipe(2), start(), &mut io).unwrap();
        assert!(io.take_woken(SEND) && push.ready(SEND) && push.held() == Held::default());
        assert!(!push.is_busy());
        send(&mut push, &mut io).unwrap();
        let sent = ["one", "two", "x"].map(|text| (pipe(2), text.as_bytes().to_vec()));
        assert_eq!(io.take_sent(), sent);
    }

    #[test]
    fn a_push_that_does_not_wait_drops_what_nobody_takes() {
        let (mut push, mut io) = socket(1);
        push.set_overflow(Overflow::DropNewest);
        io.fill(pipe(1));
        assert_eq!(send(&mut push, &mut io), Ok(()));
        push.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut io);
        assert_eq!(send(&mut push, &mut io), Ok(()));
        let expected = [DropReason::SendQueueFull, DropReason::NoPeer].map(|why| (None, why));
        assert_eq!(io.take_drops(), expected);
        assert!(push.ready(SEND));
    }

    #[test]
    fn a_pipe_that_is_gone_costs_no_message() {
        let (mut push, mut io) = socket(2);
        io.break_off(pipe(1));
        assert_eq!(spread(&mut push, &mut io, 2), [2, 2]);
    }
}
