//! Routing parts: which pipe takes the next message, and which one gives it.
//!
//! Owns the order in which pipes are served, and knows nothing of what the messages mean. Pipes of one priority
//! wait in one [`PipeQueue`], and only the best queue that is not empty is served ([`Classes`]).

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Broadcast, Broadcasting, Interest, Overflow, Port, PushError, SendRefusal};
use crate::message::{Frame, PipeId};
use crate::number_map::NumberSet;
use crate::room::GiveBack;
use crate::stats::DropReason;
use crate::verdict::{Picked, Verdict};

/// The load balancer: the pipes that can take a message now, by priority, and within a priority the one that
/// has been ready longest first.
///
/// Under even load that is round-robin; a pipe that comes or goes does not change the order of the others. A
/// pipe of lower priority is served only while none of a better priority is ready.
#[derive(Debug, Default)]
pub(crate) struct Balance {
    ready: Classes,
}

impl Balance {
    /// Adds a pipe, which can take a message now.
    pub(super) fn add(&mut self, pipe: PipeId, priority: u8) {
        self.ready.join(pipe, priority);
    }

    /// Removes a pipe, which can take no more messages.
    pub(super) fn remove(&mut self, pipe: PipeId) {
        self.ready.leave(pipe);
    }

    /// Sends to the next pipe. One found full or gone is not ready until it is added again.
    #[inline(always)]
    pub(super) fn send(
        &mut self,
        header: &[u8],
        body: &Bytes,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        while let Some(pipe) = self.ready.best() {
            if io.push(pipe, header, body).is_ok() {
                self.ready.rotate();
                return Ok(());
            }
            self.ready.leave_best();
        }
        Err(SendRefusal::WouldBlock)
    }

    /// As `send`, but only to a pipe that has nothing else to transmit; says to which. One found with
    /// something is not ready until it is added again.
    #[inline(always)]
    pub(super) fn send_to_drained(
        &mut self,
        header: &[u8],
        body: &Bytes,
        io: &mut impl Port,
    ) -> Option<PipeId> {
        while let Some(pipe) = self.ready.best() {
            if io.ask_drained(pipe) && io.push(pipe, header, body).is_ok() {
                self.ready.rotate();
                return Some(pipe);
            }
            self.ready.leave_best();
        }
        None
    }

    /// Whether a pipe has room. One found full is not ready until it is added again.
    pub(super) fn find_room(&mut self, io: &mut impl Port) -> bool {
        while let Some(pipe) = self.ready.best() {
            if io.ask_room(pipe) {
                return true;
            }
            self.ready.leave_best();
        }
        false
    }

    /// Whether no pipe is ready.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }
}

/// The fair queue: the pipes that may have something to receive, by priority, and within a priority one message
/// from each in turn.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    readable: Classes,
}

impl FairQueue {
    /// Adds a pipe, which may have something.
    pub(super) fn add(&mut self, pipe: PipeId, priority: u8) {
        self.readable.join(pipe, priority);
    }

    /// Removes a pipe, from which nothing is wanted any more.
    pub(super) fn remove(&mut self, pipe: PipeId) {
        self.readable.leave(pipe);
    }

    /// Takes the next message if it is at hand (see [`Port::pop_at_hand`]) and `is_wanted`: the short way.
    #[inline(always)]
    pub(super) fn pop_at_hand(
        &mut self,
        is_wanted: impl FnOnce(&[u8]) -> bool,
        io: &mut impl Port,
    ) -> Option<(PipeId, Bytes)> {
        let pipe = self.readable.best()?;
        let body = io.pop_at_hand(pipe, is_wanted)?;
        self.readable.rotate();
        Some((pipe, body))
    }

    /// Takes the next message. A pipe found empty leaves the queue, until it is added again.
    #[inline]
    pub(super) fn pop(&mut self, io: &mut impl Port) -> Option<(PipeId, Frame)> {
        self.pop_by(|pipe| io.pop(pipe))
    }

    /// As `pop`, by `pop`, which may also leave what a pipe has. Such a pipe leaves the queue too.
    #[inline(always)]
    pub(super) fn pop_by(
        &mut self,
        mut pop: impl FnMut(PipeId) -> Option<Frame>,
    ) -> Option<(PipeId, Frame)> {
        loop {
            let pipe = self.readable.best()?;
            if let Some(frame) = pop(pipe) {
                self.readable.rotate();
                return Some((pipe, frame));
            }
            self.readable.leave_best();
        }
    }

    /// As `pop`, for the next message that `judge` wants; drops those before it. Also `None` if `judge`
    /// leaves a message: its pipe then stays the next one.
    #[inline]
    pub(super) fn pop_if(
        &mut self,
        mut judge: impl FnMut(&[u8], &[u8]) -> Verdict,
        io: &mut impl Port,
    ) -> Option<(PipeId, Frame)> {
        loop {
            let pipe = self.readable.best()?;
            match io.pop_if(pipe, &mut judge) {
                Picked::Taken(frame) => {
                    self.readable.rotate();
                    return Some((pipe, frame));
                }
                Picked::Left => return None,
                Picked::Nothing => self.readable.leave_best(),
            }
        }
    }

    /// Moves the next pipe behind the others of its priority.
    pub(super) fn pass_turn(&mut self) {
        self.readable.rotate();
    }

    /// Whether there is a message that `judge` accepts; drops those before it.
    pub(super) fn find_message(
        &mut self,
        judge: impl Fn(Peek<'_>) -> Result<(), DropReason>,
        io: &mut impl Port,
    ) -> bool {
        self.find_by(|pipe| find_message(pipe, &judge, io))
    }

    /// Whether there is a pipe that has a message. Others leave the queue.
    pub(super) fn find_by(&mut self, mut has_message: impl FnMut(PipeId) -> bool) -> bool {
        while let Some(pipe) = self.readable.best() {
            if has_message(pipe) {
                return true;
            }
            self.readable.leave_best();
        }
        false
    }

    /// Whether no pipe may have anything.
    pub(super) fn is_empty(&self) -> bool {
        self.readable.is_empty()
    }
}

/// The fan-out: a copy to every pipe.
///
/// Waits for no pipe, unless the overflow is `Wait`: then it refuses a send while any pipe is full, before it
/// has pushed any copy, so that no pipe gets two.
#[derive(Debug)]
pub(crate) struct FanOut {
    pipes: Vec<PipeId>,
    overflow: Overflow,
    /// If sends wait, the pipes that have no room, each once. Otherwise empty between sends.
    full: Vec<PipeId>,
}

const SEND: Interest = Interest::SEND;

impl FanOut {
    /// Makes one without pipes; `overflow` says what becomes of a copy for which there is no room.
    pub(super) fn new(overflow: Overflow) -> Self {
        Self { pipes: Vec::new(), overflow, full: Vec::new() }
    }

    /// Takes effect for later sends, including those that wait now.
    pub(super) fn set_overflow(&mut self, overflow: Overflow, io: &mut impl Port) {
        self.overflow = overflow;
        if !self.full.is_empty() {
            io.wake(SEND);
        }
        self.full.clear();
        if overflow == Overflow::Wait {
            self.full.extend(self.pipes.iter().filter(|&&pipe| !io.ask_room(pipe)));
        }
    }

    /// Adds a pipe, which gets a copy of everything sent from now on. It is empty, so it has room.
    pub(super) fn add(&mut self, pipe: PipeId) {
        self.pipes.push(pipe);
    }

    /// Removes a pipe. Nobody waits for it any more.
    pub(super) fn remove(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.pipes.retain(|&other| other != pipe);
        self.pipes.give_back();
        self.release(pipe, io);
    }

    /// The pipe may have room again.
    pub(super) fn restore(&mut self, pipe: PipeId, io: &mut impl Port) {
        if self.full.contains(&pipe) && io.ask_room(pipe) {
            self.release(pipe, io);
        }
    }

    /// Every pipe.
    pub(super) fn all(&self) -> &[PipeId] {
        &self.pipes
    }

    /// What becomes of a copy for which there is no room.
    pub(super) fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Whether a send would not wait.
    pub(super) fn has_room(&self) -> bool {
        self.full.is_empty()
    }

    /// Sends to every pipe. If it does not wait, counts each copy for which there was no room.
    ///
    /// A pipe that is gone and not yet detached counts as no peer at all.
    pub(super) fn send(
        &mut self,
        header: &[u8],
        body: &Bytes,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        self.send_except(None, header, body, io)
    }

    /// Sends to every pipe but `origin`.
    pub(super) fn send_except(
        &mut self,
        origin: Option<PipeId>,
        header: &[u8],
        body: &Bytes,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        if !self.has_room() {
            return Err(SendRefusal::WouldBlock);
        }
        let message = Broadcast { header, body, overflow: self.overflow };
        if self.push_to_all(message, origin, io) == 0 {
            io.dropped(None, DropReason::NoPeer);
        }
        if self.overflow != Overflow::Wait && !self.full.is_empty() {
            self.blame_full(io);
        }
        Ok(())
    }

    /// Pushes a copy into every pipe but `origin`, and returns how many of them exist. Remembers those that
    /// refused it and, if sends wait, those that have no room left.
    fn push_to_all(
        &mut self,
        message: Broadcast<'_>,
        origin: Option<PipeId>,
        io: &mut impl Port,
    ) -> usize {
        let mut there = 0;
        let mut broadcasting = io.broadcast(message, self.pipes.len());
        for &pipe in self.pipes.iter().filter(|&&pipe| Some(pipe) != origin) {
            match broadcasting.push(pipe) {
                Ok(true) => {}
                Ok(false) | Err(PushError::Full) => self.full.push(pipe),
                Err(PushError::Gone) => continue,
            }
            there += 1;
        }
        there
    }

    /// Counts the copies for which there was no room.
    #[cold]
    fn blame_full(&mut self, io: &mut impl Port) {
        for pipe in self.full.drain(..) {
            io.dropped(Some(pipe), DropReason::SendQueueFull);
            if self.overflow == Overflow::Disconnect {
                io.disconnect(pipe);
            }
        }
    }

    /// Takes a pipe out of `full`, and wakes the sends that wait if it was the last.
    fn release(&mut self, pipe: PipeId, io: &mut impl Port) {
        if let Some(at) = self.full.iter().position(|&other| other == pipe) {
            self.full.swap_remove(at);
            if self.full.is_empty() {
                io.wake(SEND);
            }
        }
    }
}

/// A message that is still in its pipe, split into two parts anywhere.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peek<'a> {
    head: &'a [u8],
    body: &'a [u8],
}

impl<'a> Peek<'a> {
    fn new(head: &'a [u8], body: &'a [u8]) -> Self {
        Self { head, body }
    }

    /// The 32-bit word that begins at byte `at`; `None` if the message ends before the word does.
    pub(super) fn word(&self, at: usize) -> Option<u32> {
        let mut bytes = self.head.iter().chain(self.body).skip(at);
        let mut word = [0; 4];
        for byte in &mut word {
            *byte = *bytes.next()?;
        }
        Some(u32::from_be_bytes(word))
    }
}

/// Looks for a message in the pipe that `judge` accepts; drops and counts those before it. If there is none,
/// `readable` follows as soon as there may be one.
pub(super) fn find_message(
    pipe: PipeId,
    judge: impl Fn(Peek<'_>) -> Result<(), DropReason>,
    io: &mut impl Port,
) -> bool {
    let judge = |head: &[u8], body: &[u8]| match judge(Peek::new(head, body)) {
        Ok(()) => Verdict::Leave,
        Err(reason) => Verdict::Skip(reason),
    };
    matches!(io.pop_if(pipe, judge), Picked::Left)
}

/// Accepts any message.
pub(super) fn accept_any(_: Peek<'_>) -> Result<(), DropReason> {
    Ok(())
}

/// Drops and counts what was sent by a peer that should only receive.
pub(super) fn discard(pipe: PipeId, io: &mut impl Port) {
    io.pop_all(pipe, |io, _| io.dropped(Some(pipe), DropReason::Unexpected));
}

/// Queues of pipes, the best priority first.
#[derive(Debug, Default)]
struct Classes {
    /// At most one for each priority. One that runs empty stays, since it will be needed again.
    queues: Vec<(u8, PipeQueue)>,
    /// The front of the best queue that is not empty.
    best: Option<Best>,
}

/// The pipe to serve now.
#[derive(Clone, Copy, Debug)]
struct Best {
    pipe: PipeId,
    queue: usize,
    /// Whether it is the only one in its queue.
    is_alone: bool,
}

impl Classes {
    fn join(&mut self, pipe: PipeId, priority: u8) {
        let at = self.queues.partition_point(|&(other, _)| other < priority);
        if self.queues.get(at).is_none_or(|&(other, _)| other != priority) {
            self.queues.insert(at, (priority, PipeQueue::default()));
        }
        self.queues[at].1.join(pipe);
        self.find_best();
    }

    fn leave(&mut self, pipe: PipeId) {
        self.queues.iter_mut().for_each(|(_, queue)| queue.leave(pipe));
        self.find_best();
    }

    /// The pipe to serve now.
    #[inline]
    fn best(&self) -> Option<PipeId> {
        self.best.map(|best| best.pipe)
    }

    /// Sends the pipe to serve now to the end of its queue.
    #[inline(always)]
    fn rotate(&mut self) {
        if let Some(best) = &mut self.best
            && !best.is_alone
        {
            best.pipe = self.queues[best.queue].1.rotate().unwrap_or(best.pipe);
        }
    }

    /// Takes the pipe to serve now out of its queue.
    fn leave_best(&mut self) {
        if let Some(best) = self.best {
            self.queues[best.queue].1.leave_front();
        }
        self.find_best();
    }

    fn find_best(&mut self) {
        self.best = self.queues.iter().enumerate().find_map(|(at, (_, queue))| {
            let is_alone = queue.order.len() == 1;
            queue.front().map(|pipe| Best { pipe, queue: at, is_alone })
        });
    }

    fn is_empty(&self) -> bool {
        self.best.is_none()
    }
}

/// Pipes in the order in which they are served, each at most once.
///
/// All operations take constant time, except removing a pipe from the middle, which happens only when it is
/// detached.
#[derive(Debug, Default)]
struct PipeQueue {
    order: VecDeque<PipeId>,
    members: NumberSet<PipeId>,
}

impl PipeQueue {
    fn front(&self) -> Option<PipeId> {
        self.order.front().copied()
    }

    /// Adds the pipe at the end; one that is already in it keeps its position.
    fn join(&mut self, pipe: PipeId) {
        if self.members.insert(pipe) {
            self.order.push_back(pipe);
        }
    }

    fn leave(&mut self, pipe: PipeId) {
        if self.members.remove(&pipe) {
            self.order.retain(|&other| other != pipe);
        }
        self.members.give_back();
        self.order.give_back();
    }

    fn leave_front(&mut self) {
        if let Some(pipe) = self.order.pop_front() {
            self.members.remove(&pipe);
        }
    }

    /// Sends the pipe at the front to the end; returns the one behind it.
    #[inline(never)]
    fn rotate(&mut self) -> Option<PipeId> {
        self.order.rotate_left(1.min(self.order.len()));
        self.front()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Priorities;
    use super::super::testing::{ManualPort, body, pipe};
    use super::*;

    #[test]
    fn a_word_may_be_cut_anywhere() {
        let bytes = [0, 0x80, 1, 2, 3, 4];
        for cut in 0..=bytes.len() {
            let (head, body) = bytes.split_at(cut);
            assert_eq!(Peek::new(head, body).word(1), Some(0x8001_0203));
            assert_eq!(Peek::new(head, body).word(3), None);
        }
    }

    #[test]
    fn what_cannot_be_received_is_dropped_and_the_rest_stays() {
        let mut io = ManualPort::default();
        for bytes in [b"bad", b"bad", b"one"] {
            io.arrives(pipe(1), bytes);
        }
        let judge = |message: Peek<'_>| match message.word(0) {
            Some(_) => Ok(()),
            None if message.body.starts_with(b"bad") => Err(DropReason::Malformed),
            None => Ok(()),
        };
        assert!(find_message(pipe(1), judge, &mut io));
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::Malformed); 2]);
        assert!(find_message(pipe(1), judge, &mut io));
        assert_eq!(&io.pop(pipe(1)).unwrap().into_body()[..], b"one");
        assert!(!find_message(pipe(1), judge, &mut io));
    }

    /// The pipe whose turn it is gets a message.
    fn turn(balance: &mut Balance, io: &mut ManualPort) -> Option<PipeId> {
        balance.send_to_drained(&[], &body("x"), io)
    }

    #[test]
    fn the_balancer_serves_pipes_in_the_order_they_became_ready() {
        let (mut balance, mut io) = (Balance::default(), ManualPort::default());
        for n in [3, 1, 2, 1] {
            balance.add(pipe(n), 8);
        }
        let turns = [(); 4].map(|()| turn(&mut balance, &mut io));
        assert_eq!(turns, [3, 1, 2, 3].map(|n| Some(pipe(n))));
    }

    #[test]
    fn a_pipe_with_something_to_transmit_is_passed_over_until_it_is_added_again() {
        let (mut balance, mut io) = (Balance::default(), ManualPort::default());
        for n in [1, 2] {
            io.stall(pipe(n));
            balance.add(pipe(n), 8);
        }
        let turns = [(); 3].map(|()| turn(&mut balance, &mut io));
        assert_eq!(turns, [Some(pipe(1)), Some(pipe(2)), None]);
        io.drain(pipe(1));
        assert_eq!(turn(&mut balance, &mut io), None, "nobody has said so");
        balance.add(pipe(1), 8);
        assert_eq!(turn(&mut balance, &mut io), Some(pipe(1)));
    }

    #[test]
    fn a_pipe_that_comes_or_goes_does_not_restart_the_rotation() {
        let (mut balance, mut io) = (Balance::default(), ManualPort::default());
        for n in [1, 2, 3] {
            balance.add(pipe(n), 8);
        }
        let mut turns = Vec::new();
        turns.extend(turn(&mut balance, &mut io));
        balance.add(pipe(4), 8);
        balance.remove(pipe(3));
        turns.extend((0..4).filter_map(|_| turn(&mut balance, &mut io)));
        assert_eq!(turns, [1, 2, 1, 4, 2].map(pipe));
    }

    #[test]
    fn a_busy_pipe_cannot_starve_a_quiet_one() {
        let mut io = ManualPort::default();
        let mut queue = FairQueue::default();
        for body in [b"a", b"b", b"c"] {
            io.arrives(pipe(1), body);
        }
        io.arrives(pipe(2), b"x");
        queue.add(pipe(1), 8);
        queue.add(pipe(2), 8);
        let got: Vec<_> = std::iter::from_fn(|| queue.pop(&mut io))
            .map(|(_, frame)| frame.into_body().into_bytes())
            .collect();
        assert_eq!(got, ["a", "x", "b", "c"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_broadcast_loses_only_the_copies_that_find_no_room() {
        let mut io = ManualPort::default();
        let mut fan = FanOut::new(Overflow::DropNewest);
        for n in [1, 2, 3] {
            fan.add(pipe(n));
        }
        io.fill(pipe(2));
        io.break_off(pipe(3));
        fan.send(b"h", &Bytes::from_static(b"x"), &mut io).unwrap();
        assert_eq!(io.take_sent(), [(pipe(1), b"hx".to_vec())]);
        assert_eq!(io.take_drops(), [(Some(pipe(2)), DropReason::SendQueueFull)]);
    }

    fn broadcast(overflow: Overflow) -> ManualPort {
        let mut io = ManualPort::default();
        let mut fan = FanOut::new(overflow);
        for n in [1, 2] {
            fan.add(pipe(n));
        }
        fan.send(b"", &Bytes::from_static(b"old"), &mut io).unwrap();
        io.fill(pipe(2));
        fan.send(b"", &Bytes::from_static(b"new"), &mut io).unwrap();
        io
    }

    // C154.
    #[test]
    fn a_broadcast_may_drop_the_oldest_copy_of_a_slow_peer() {
        let mut io = broadcast(Overflow::DropOldest);
        let expected = [(1, b"old"), (1, b"new"), (2, b"new")];
        assert_eq!(io.take_sent(), expected.map(|(n, text)| (pipe(n), text.to_vec())));
        assert_eq!(io.take_drops(), [(Some(pipe(2)), DropReason::SendQueueFull)]);
    }

    #[test]
    fn a_broadcast_may_disconnect_a_slow_peer() {
        let mut io = broadcast(Overflow::Disconnect);
        assert_eq!(io.take_drops(), [(Some(pipe(2)), DropReason::SendQueueFull)]);
        assert_eq!(io.take_disconnected(), [pipe(2)]);
    }

    // C118 to C120.
    #[test]
    fn the_balancer_serves_the_best_priority_that_is_ready() {
        let (mut balance, mut io) = (Balance::default(), ManualPort::default());
        for (n, priority) in [(3, 16), (1, 2), (2, 2)] {
            io.stall(pipe(n));
            balance.add(pipe(n), priority);
        }
        assert_eq!(turn(&mut balance, &mut io), Some(pipe(1)));
        io.drain(pipe(1));
        balance.add(pipe(1), 2);
        let turns = [(); 3].map(|()| turn(&mut balance, &mut io));
        assert_eq!(turns, [2, 1, 3].map(|n| Some(pipe(n))), "3 while nobody better is there");
        balance.add(pipe(4), 1);
        io.drain(pipe(3));
        balance.add(pipe(3), 16);
        io.stall(pipe(4));
        let turns = [(); 3].map(|()| turn(&mut balance, &mut io));
        assert_eq!(turns, [Some(pipe(4)), Some(pipe(3)), None]);
        assert!(balance.is_empty());
    }

    // C121, C122.
    #[test]
    fn the_fair_queue_serves_the_best_priority_that_has_something() {
        let mut io = ManualPort::default();
        let mut queue = FairQueue::default();
        for (n, priority) in [(1, 2), (2, 1), (3, 1)] {
            io.arrives(pipe(n), b"a");
            io.arrives(pipe(n), b"b");
            queue.add(pipe(n), priority);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(&mut io)).map(|(n, _)| n).collect();
        assert_eq!(order, [2, 3, 2, 3, 1, 1].map(pipe));
    }

    // C123.
    #[test]
    fn priorities_go_from_1_to_16() {
        assert_eq!(Priorities::default(), Priorities { send: 8, recv: 8 });
        let allowed: Vec<u8> = (0..=255).filter(|n| Priorities::RANGE.contains(n)).collect();
        assert_eq!((allowed[0], allowed[allowed.len() - 1]), (1, 16));
    }
}
