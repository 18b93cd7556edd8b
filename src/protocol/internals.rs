//! Internals: topics and routes for the benches; see `src/internals.rs`.
//!
//! Owns a port that is always ready, so that only the choice of a pipe is measured.

use std::time::Instant;

use bytes::Bytes;

use super::route::{Balance, FairQueue, FanOut};
use super::topics::Topics;
use super::{Interest, Port, Priorities, PushError};
use crate::message::{Frame, Picked, PipeId, Verdict};
use crate::options::Overflow;
use crate::stats::DropReason;

/// What a subscriber wants.
#[derive(Debug)]
pub struct TopicSet(Topics);

impl TopicSet {
    /// Nothing.
    #[expect(clippy::new_without_default, reason = "a shell for benches")]
    pub fn new() -> Self {
        Self(Topics::new())
    }

    /// From now on also messages that begin like that.
    pub fn insert(&mut self, topic: &[u8]) -> bool {
        self.0.insert(topic)
    }

    /// Whether the message is wanted.
    pub fn matches(&self, body: &[u8]) -> bool {
        self.0.matches(body)
    }
}

/// The routes over so many pipes, all of which are ready.
#[derive(Debug)]
pub struct Routes {
    balance: Balance,
    fair: FairQueue,
    fan: FanOut,
    port: ReadyPort,
    body: Bytes,
}

impl Routes {
    /// Over pipes of one priority.
    pub fn over(pipes: u32) -> Self {
        let (mut balance, mut fair) = (Balance::default(), FairQueue::default());
        let mut fan = FanOut::new(Overflow::DropNewest);
        for pipe in (1..=pipes).filter_map(PipeId::new) {
            let Priorities { send, recv } = Priorities::default();
            balance.add(pipe, send);
            fair.add(pipe, recv);
            fan.add(pipe);
        }
        Self { balance, fair, fan, port: ReadyPort(0), body: Bytes::from_static(b"body") }
    }

    /// One message to the pipe whose turn it is.
    pub fn balance(&mut self) -> bool {
        self.balance.send(&[], &self.body, &mut self.port).is_ok()
    }

    /// One message from the pipe whose turn it is.
    pub fn fair(&mut self) -> bool {
        self.fair.pop(&mut self.port).is_some()
    }

    /// One message to every pipe; how many pushes there were until now.
    pub fn fan_out(&mut self) -> u64 {
        self.fan.send(&[], &self.body, &mut self.port).expect("every pipe has room");
        self.port.0
    }
}

/// Every pipe has room and a message. Counts the pushes.
#[derive(Debug)]
struct ReadyPort(u64);

impl Port for ReadyPort {
    fn push(&mut self, _: PipeId, _: &[u8], _: &Bytes) -> Result<(), PushError> {
        self.0 += 1;
        Ok(())
    }

    fn push_evicting(&mut self, _: PipeId, _: &[u8], _: &Bytes) -> Result<u64, PushError> {
        self.0 += 1;
        Ok(0)
    }

    fn has_room(&mut self, _: PipeId) -> bool {
        true
    }

    fn drained(&mut self, _: PipeId) -> bool {
        true
    }

    fn pop(&mut self, _: PipeId) -> Option<Frame> {
        Some(Frame::default())
    }

    fn pop_if(
        &mut self,
        _: PipeId,
        _: DropReason,
        _: impl FnMut(&[u8], &[u8]) -> Verdict,
    ) -> Picked {
        Picked::Taken(Frame::default())
    }

    fn priorities(&self, _: PipeId) -> Priorities {
        Priorities::default()
    }

    fn disconnect(&mut self, _: PipeId) {}

    fn wake(&mut self, _: Interest) {}

    fn dropped(&mut self, _: Option<PipeId>, _: DropReason) {}

    fn resent(&mut self) {}

    fn copied(&mut self, _: u64) {}

    fn now(&self) -> Instant {
        Instant::now()
    }
}
