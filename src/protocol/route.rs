//! Routing parts: which pipe takes the next message, and which one gives it.
//!
//! Owns the orders in which pipes take their turns, and nothing about what the messages mean. All
//! parts are built on [`Line`], one class of equal pipes; priorities, when they come, are several
//! lines of which the best one that is not empty is used.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;

use super::{Port, PushError};
use crate::message::{Frame, PipeId};
use crate::stats::DropReason;

/// The load balancer: the pipes that can take a message now, the one that has been ready longest
/// first.
///
/// Under even load that is round-robin; a pipe that comes or goes moves nobody else.
#[derive(Debug, Default)]
pub(super) struct Balance {
    ready: Line,
}

impl Balance {
    /// The pipe can take a message from now on.
    pub(super) fn add(&mut self, pipe: PipeId) {
        self.ready.join(pipe);
    }

    /// The pipe can take no more messages.
    pub(super) fn remove(&mut self, pipe: PipeId) {
        self.ready.leave(pipe);
    }

    /// Takes the pipe whose turn it is; it is not ready again until it is added again.
    pub(super) fn take(&mut self) -> Option<PipeId> {
        let pipe = self.ready.front()?;
        self.ready.leave_front();
        Some(pipe)
    }
}

/// The fair queue: the pipes that may have something to receive, one message from each in turn.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    readable: Line,
}

impl FairQueue {
    /// The pipe may have something.
    pub(super) fn add(&mut self, pipe: PipeId) {
        self.readable.join(pipe);
    }

    /// Nothing is wanted from the pipe any more.
    pub(super) fn remove(&mut self, pipe: PipeId) {
        self.readable.leave(pipe);
    }

    /// Takes the next message. A pipe found empty leaves the queue, until it is added again.
    pub(super) fn pop(&mut self, io: &mut impl Port) -> Option<(PipeId, Frame)> {
        while let Some(pipe) = self.readable.front() {
            if let Some(frame) = io.pop(pipe) {
                self.readable.rotate();
                return Some((pipe, frame));
            }
            self.readable.leave_front();
        }
        None
    }

    /// Whether no pipe can have anything.
    pub(super) fn is_empty(&self) -> bool {
        self.readable.front().is_none()
    }
}

/// The fan-out: a copy to every pipe, never waiting for any.
#[derive(Debug, Default)]
pub(super) struct FanOut {
    pipes: Vec<PipeId>,
}

impl FanOut {
    /// The pipe gets a copy of everything sent from now on.
    pub(super) fn add(&mut self, pipe: PipeId) {
        self.pipes.push(pipe);
    }

    /// The pipe gets nothing more.
    pub(super) fn remove(&mut self, pipe: PipeId) {
        self.pipes.retain(|&other| other != pipe);
    }

    /// Sends to every pipe with room and counts each copy for which there was none.
    ///
    /// A pipe that is gone, though we have not heard of it yet, counts as no peer at all.
    pub(super) fn send(&self, header: &[u8], body: &Bytes, io: &mut impl Port) {
        let mut peers = 0;
        for &pipe in &self.pipes {
            match io.push(pipe, header, body) {
                Ok(()) => peers += 1,
                Err(PushError::Full) => {
                    peers += 1;
                    io.dropped(Some(pipe), DropReason::SendQueueFull);
                }
                Err(PushError::Gone) => {}
            }
        }
        if peers == 0 {
            io.dropped(None, DropReason::NoPeer);
        }
    }
}

/// Pipes standing in line, each at most once.
///
/// All operations take constant time except that of a pipe that leaves from the middle, which only
/// happens when it is detached.
#[derive(Debug, Default)]
struct Line {
    order: VecDeque<PipeId>,
    members: HashSet<PipeId>,
}

impl Line {
    fn front(&self) -> Option<PipeId> {
        self.order.front().copied()
    }

    /// Puts the pipe at the end; one that stands in line already keeps its place.
    fn join(&mut self, pipe: PipeId) {
        if self.members.insert(pipe) {
            self.order.push_back(pipe);
        }
    }

    fn leave(&mut self, pipe: PipeId) {
        if self.members.remove(&pipe) {
            self.order.retain(|&other| other != pipe);
        }
    }

    fn leave_front(&mut self) {
        if let Some(pipe) = self.order.pop_front() {
            self.members.remove(&pipe);
        }
    }

    /// Sends the pipe at the front to the end.
    fn rotate(&mut self) {
        if let Some(pipe) = self.order.pop_front() {
            self.order.push_back(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::manual::{ManualPort, pipe};
    use super::*;

    #[test]
    fn the_balancer_serves_pipes_in_the_order_they_became_ready() {
        let mut balance = Balance::default();
        for n in [3, 1, 2, 1] {
            balance.add(pipe(n));
        }
        assert_eq!(balance.take(), Some(pipe(3)));
        balance.add(pipe(3));
        let rest: Vec<_> = std::iter::from_fn(|| balance.take()).collect();
        assert_eq!(rest, [pipe(1), pipe(2), pipe(3)]);
    }

    #[test]
    fn a_pipe_that_comes_or_goes_does_not_restart_the_rotation() {
        let mut balance = Balance::default();
        for n in [1, 2, 3] {
            balance.add(pipe(n));
        }
        balance.take();
        balance.add(pipe(4));
        balance.remove(pipe(3));
        balance.add(pipe(1));
        let rest: Vec<_> = std::iter::from_fn(|| balance.take()).collect();
        assert_eq!(rest, [pipe(2), pipe(4), pipe(1)]);
    }

    #[test]
    fn a_busy_pipe_cannot_starve_a_quiet_one() {
        let mut io = ManualPort::default();
        let mut queue = FairQueue::default();
        for body in [b"a", b"b", b"c"] {
            io.arrives(pipe(1), body);
        }
        io.arrives(pipe(2), b"x");
        queue.add(pipe(1));
        queue.add(pipe(2));
        let got: Vec<_> = std::iter::from_fn(|| queue.pop(&mut io))
            .map(|(_, frame)| frame.into_bytes())
            .collect();
        assert_eq!(got, ["a", "x", "b", "c"]);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_broadcast_loses_only_the_copies_that_find_no_room() {
        let mut io = ManualPort::default();
        let mut fan = FanOut::default();
        for n in [1, 2, 3] {
            fan.add(pipe(n));
        }
        io.fill(pipe(2));
        io.break_off(pipe(3));
        fan.send(b"h", &Bytes::from_static(b"x"), &mut io);
        assert_eq!(io.take_sent(), [(pipe(1), b"hx".to_vec())]);
        assert_eq!(io.take_drops(), [(Some(pipe(2)), DropReason::SendQueueFull)]);
    }
}
