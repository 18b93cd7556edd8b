//! A port that a test works by hand, for the unit tests of single protocols.
//!
//! It does nothing by itself: a test puts frames into pipes, fills and empties them, and checks what the
//! protocol has done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::{Broadcast, Broadcasting, Interest, Overflow, Port, Priorities, PushError};
use crate::message::{Frame, PipeId};
use crate::stats::DropReason;
use crate::verdict::{Picked, Verdict};

pub(super) fn pipe(n: u32) -> PipeId {
    PipeId::new(n).expect("a test uses small numbers")
}

pub(super) fn body(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// Any instant will do: time is virtual.
pub(super) fn start() -> Instant {
    Instant::now()
}

/// A port whose pipes exist until they are broken off, have room until they are filled, and count as drained
/// until they are made busy.
#[derive(Debug, Default)]
pub(super) struct ManualPort {
    arrived: BTreeMap<PipeId, VecDeque<Frame>>,
    sent: Vec<(PipeId, Vec<u8>)>,
    full: BTreeSet<PipeId>,
    /// The places that are kept.
    places: BTreeMap<PipeId, usize>,
    gone: BTreeSet<PipeId>,
    /// Pipes that transmit nothing: what is pushed stays in them.
    stalled: BTreeSet<PipeId>,
    undrained: BTreeSet<PipeId>,
    woken: BTreeSet<Interest>,
    drops: Vec<(Option<PipeId>, DropReason)>,
    priorities: BTreeMap<PipeId, Priorities>,
    disconnected: Vec<PipeId>,
    /// How many messages were taken out of pipes, other than by dropping them there.
    pub(super) popped: u64,
    /// Copies that went to more contexts than one.
    pub(super) copied: u64,
    pub(super) resent: u64,
    /// The time, or `None` for the clock's.
    pub(super) now: Option<Instant>,
}

impl ManualPort {
    pub(super) fn arrives(&mut self, pipe: PipeId, bytes: &[u8]) {
        let frame = Frame::new(Bytes::new(), Bytes::copy_from_slice(bytes));
        self.arrived.entry(pipe).or_default().push_back(frame);
    }

    /// Let the pipe take nothing from now on.
    pub(super) fn fill(&mut self, pipe: PipeId) {
        self.full.insert(pipe);
    }

    /// Let the pipe keep what it takes from now on.
    pub(super) fn stall(&mut self, pipe: PipeId) {
        self.stalled.insert(pipe);
    }

    /// Transmit everything that the pipe has, so that it has room again.
    pub(super) fn drain(&mut self, pipe: PipeId) {
        self.full.remove(&pipe);
        self.undrained.remove(&pipe);
    }

    /// How many places are kept in the pipe.
    pub(super) fn places(&self, pipe: PipeId) -> usize {
        self.places.get(&pipe).copied().unwrap_or(0)
    }

    pub(super) fn break_off(&mut self, pipe: PipeId) {
        self.gone.insert(pipe);
    }

    /// Set the pipe's priorities. Without this call it has the default ones.
    pub(super) fn rank(&mut self, pipe: PipeId, send: u8, recv: u8) {
        self.priorities.insert(pipe, Priorities { send, recv });
    }

    /// The pipes that the protocol has closed.
    pub(super) fn take_disconnected(&mut self) -> Vec<PipeId> {
        std::mem::take(&mut self.disconnected)
    }

    pub(super) fn take_sent(&mut self) -> Vec<(PipeId, Vec<u8>)> {
        std::mem::take(&mut self.sent)
    }

    pub(super) fn take_drops(&mut self) -> Vec<(Option<PipeId>, DropReason)> {
        std::mem::take(&mut self.drops)
    }

    /// Whether `interest` was woken since this was last asked about anything.
    pub(super) fn take_woken(&mut self, interest: Interest) -> bool {
        std::mem::take(&mut self.woken).contains(&interest)
    }
}

impl Port for ManualPort {
    type Broadcasting<'p>
        = OneByOne<'p, Self>
    where
        Self: 'p;

    fn push(&mut self, pipe: PipeId, header: &[u8], body: &Bytes) -> Result<(), PushError> {
        if self.gone.contains(&pipe) {
            return Err(PushError::Gone);
        }
        if self.full.contains(&pipe) {
            return Err(PushError::Full);
        }
        if self.stalled.contains(&pipe) {
            self.undrained.insert(pipe);
        }
        self.sent.push((pipe, [header, body].concat()));
        Ok(())
    }

    /// Push. A full pipe drops its oldest message, unless a test has taken it.
    fn push_evicting(
        &mut self,
        pipe: PipeId,
        header: &[u8],
        body: &Bytes,
    ) -> Result<u64, PushError> {
        let full = self.full.remove(&pipe);
        let pushed = self.push(pipe, header, body);
        if full {
            self.full.insert(pipe);
        }
        pushed?;
        if !full {
            return Ok(0);
        }
        if let Some(oldest) = self.sent.iter().position(|(other, _)| *other == pipe) {
            self.sent.remove(oldest);
        }
        self.dropped(Some(pipe), DropReason::SendQueueFull);
        Ok(1)
    }

    fn broadcast<'p>(
        &'p mut self,
        message: Broadcast<'p>,
        _pipes: usize,
    ) -> Self::Broadcasting<'p> {
        OneByOne::new(self, message)
    }

    fn ask_room(&mut self, pipe: PipeId) -> bool {
        !self.full.contains(&pipe) || self.gone.contains(&pipe)
    }

    fn ask_drained(&mut self, pipe: PipeId) -> bool {
        !self.undrained.contains(&pipe) || self.gone.contains(&pipe)
    }

    fn pop(&mut self, pipe: PipeId) -> Option<Frame> {
        let frame = self.arrived.get_mut(&pipe)?.pop_front();
        self.popped += u64::from(frame.is_some());
        frame
    }

    fn keep_place(&mut self, pipe: PipeId) {
        *self.places.entry(pipe).or_default() += 1;
    }

    fn ask_place(&mut self, pipe: PipeId) -> bool {
        self.ask_room(pipe)
    }

    /// Push, even into a pipe that was filled meanwhile.
    fn push_in_place(
        &mut self,
        pipe: PipeId,
        header: &[u8],
        body: &Bytes,
    ) -> Result<(), PushError> {
        self.give_place_back(pipe);
        let full = self.full.remove(&pipe);
        let pushed = self.push(pipe, header, body);
        if full {
            self.full.insert(pipe);
        }
        pushed
    }

    fn give_place_back(&mut self, pipe: PipeId) -> bool {
        let places = self.places.get_mut(&pipe).filter(|places| **places > 0);
        *places.expect("a place was kept") -= 1;
        true
    }

    fn pop_if(&mut self, pipe: PipeId, mut judge: impl FnMut(&[u8], &[u8]) -> Verdict) -> Picked {
        while let Some(frame) = self.arrived.get_mut(&pipe).and_then(VecDeque::pop_front) {
            match judge(&[], &frame.clone().into_body()) {
                Verdict::Take => {
                    self.popped += 1;
                    return Picked::Taken(frame);
                }
                Verdict::Skip(reason) => self.dropped(Some(pipe), reason),
                Verdict::Leave => {
                    self.arrived.entry(pipe).or_default().push_front(frame);
                    return Picked::Left;
                }
            }
        }
        Picked::Nothing
    }

    fn priorities(&self, pipe: PipeId) -> Priorities {
        self.priorities.get(&pipe).copied().unwrap_or_default()
    }

    fn disconnect(&mut self, pipe: PipeId) {
        self.disconnected.push(pipe);
    }

    fn wake(&mut self, interest: Interest) {
        self.woken.insert(interest);
    }

    fn dropped(&mut self, pipe: Option<PipeId>, reason: DropReason) {
        self.drops.push((pipe, reason));
    }

    fn resent(&mut self) {
        self.resent += 1;
    }

    fn copied(&mut self, copies: u64) {
        self.copied += copies;
    }

    fn now(&self) -> Instant {
        self.now.unwrap_or_else(Instant::now)
    }
}

/// A broadcast made of one push after the other, for ports that are not sockets.
pub(super) struct OneByOne<'p, P>(&'p mut P, Broadcast<'p>);

impl<'p, P: Port> OneByOne<'p, P> {
    pub(super) fn new(port: &'p mut P, message: Broadcast<'p>) -> Self {
        Self(port, message)
    }
}

impl<P: Port> Broadcasting for OneByOne<'_, P> {
    fn push(&mut self, pipe: PipeId) -> Result<bool, PushError> {
        let Self(port, Broadcast { header, body, overflow }) = self;
        match overflow {
            Overflow::DropOldest => port.push_evicting(pipe, header, body).map(|_| true),
            Overflow::Wait => port.push(pipe, header, body).map(|()| port.ask_room(pipe)),
            _ => port.push(pipe, header, body).map(|()| true),
        }
    }
}
