//! The port through which a protocol acts on the pipes of its socket.
//!
//! Owns nothing. Puts messages into rings and takes them out, counts both, and notes in the [`Effects`] of the
//! entry who must be told.

use std::time::Instant;

use bytes::Bytes;

use super::broadcast::Broadcasting;
use super::deferred_log::Record;
use super::effects::Effects;
use super::pipes::{Pipe, Pipes};
use crate::message::{Frame, Message, PipeId};
use crate::options::Priorities;
use crate::protocol::{Broadcast, Interest, Port, PushError};
use crate::ring::{Encoders, Wake};
use crate::stats::{Counters, DropReason};
use crate::time;
use crate::verdict::{Picked, Verdict};

/// What a protocol sees of the socket's pipes.
pub(crate) struct SocketPort<'a> {
    pub(super) pipes: &'a mut Pipes,
    pub(super) counters: &'a Counters,
    pub(super) effects: &'a mut Effects,
    pub(super) encoders: &'a mut Encoders,
    /// Whether the ring of one pipe may be left unarmed.
    pub(super) leaves_unarmed: bool,
}

impl SocketPort<'_> {
    /// Counts a message of `length` bytes that was pushed into the pipe.
    #[inline(always)]
    fn count_pushed(
        pipe: &mut Pipe,
        length: usize,
        wake: Wake,
        counters: &Counters,
        effects: &mut Effects,
    ) {
        counters.copies_pushed.count(1);
        if pipe.is_direct() {
            counters.copies_handed_over.count(1);
        }
        pipe.count_sent(length, wake, effects);
    }

    /// The number of usable pipes.
    pub(crate) fn peer_count(&self) -> usize {
        self.pipes.usable().count()
    }

    /// Takes the next message out of a ring that was empty a moment ago, or arms the ring, so that the next
    /// push rings the bell.
    #[cold]
    fn pop_or_arm(&mut self, id: PipeId) -> Option<Frame> {
        let pipe = self.pipes.get_mut(id)?;
        let is_empty = pipe.recv.arm();
        if !is_empty {
            return self.pop(id);
        }
        if pipe.is_gone() {
            self.remove_if_read(id);
        }
        None
    }

    /// Forgets a pipe, if it has departed and been read to its end.
    #[cold]
    fn remove_if_read(&mut self, id: PipeId) {
        if self.pipes.get(id).is_some_and(Pipe::is_over) {
            self.pipes.remove(id);
            self.effects.readmit(self.pipes.take_admitted());
        }
    }

    /// Counts a message of `length` bytes that the socket has accepted from the program.
    #[inline]
    pub(super) fn accepted(&mut self, length: usize) {
        self.counters.messages_sent.count(1);
        self.counters.bytes_sent.count(length as u64);
    }

    /// Counts a message that goes to the program.
    #[inline]
    pub(crate) fn delivered(&mut self, message: &Message) {
        self.counters.messages_received.count(1);
        self.counters.bytes_received.count(message.len() as u64);
    }

    /// Counts messages that the ring has evicted. Over inproc they belonged to the peer already.
    pub(crate) fn count_evicted(&mut self, pipe: PipeId, evicted: u64) {
        self.count_dropped(Some(pipe), DropReason::SendQueueFull, evicted);
        if self.pipes.get(pipe).is_some_and(|pipe| !pipe.is_direct()) {
            self.counters.copies_evicted.add(evicted);
        }
    }

    pub(crate) fn count_dropped(
        &mut self,
        pipe: Option<PipeId>,
        reason: DropReason,
        messages: u64,
    ) {
        let is_first = self.counters.dropped(reason, messages);
        match pipe.and_then(|pipe| self.pipes.get_mut(pipe)) {
            Some(pipe) => pipe.count_dropped(reason, messages, self.effects),
            None if is_first => self.effects.record(|| Record::Dropped(None, reason)),
            None => {}
        }
    }
}

impl Port for SocketPort<'_> {
    type Broadcasting<'p>
        = Broadcasting<'p>
    where
        Self: 'p;

    #[inline(always)]
    fn push(&mut self, pipe: PipeId, header: &[u8], body: &Bytes) -> Result<(), PushError> {
        let pipe = self.pipes.usable_mut(pipe).ok_or(PushError::Gone)?;
        match pipe.send.push(header, body) {
            Ok(wake) => {
                let length = header.len() + body.len();
                Self::count_pushed(pipe, length, wake, self.counters, self.effects);
                Ok(())
            }
            Err(refusal) => Err(pipe.refuse(refusal, self.effects)),
        }
    }

    fn push_evicting(&mut self, id: PipeId, header: &[u8], body: &Bytes) -> Result<u64, PushError> {
        let pipe = self.pipes.usable_mut(id).ok_or(PushError::Gone)?;
        let (pushed, evicted) = pipe.send.push_evicting(header, body);
        let pushed = match pushed {
            Ok(wake) => {
                let length = header.len() + body.len();
                Self::count_pushed(pipe, length, wake, self.counters, self.effects);
                Ok(evicted)
            }
            Err(refusal) => Err(pipe.refuse(refusal, self.effects)),
        };
        if evicted > 0 {
            self.count_evicted(id, evicted);
        }
        pushed
    }

    #[inline]
    fn broadcast<'p>(&'p mut self, message: Broadcast<'p>, pipes: usize) -> Broadcasting<'p> {
        Broadcasting::new(self, message, pipes)
    }

    fn ask_room(&mut self, pipe: PipeId) -> bool {
        self.pipes.get_mut(pipe).is_none_or(|pipe| pipe.ask_room(self.effects))
    }

    #[inline]
    fn ask_drained(&mut self, pipe: PipeId) -> bool {
        self.pipes.usable_mut(pipe).is_none_or(|pipe| pipe.send.ask_drained())
    }

    #[inline]
    fn pop(&mut self, id: PipeId) -> Option<Frame> {
        let pipe = self.pipes.get_mut(id)?;
        let Some((frame, taken)) = pipe.recv.pop() else {
            return self.pop_or_arm(id);
        };
        pipe.count_taken(taken, self.counters, self.effects);
        if taken.room {
            self.remove_if_read(id);
        }
        Some(frame)
    }

    #[inline(always)]
    fn pop_at_hand(&mut self, id: PipeId, is_wanted: impl FnOnce(&[u8]) -> bool) -> Option<Bytes> {
        let pipe = self.pipes.get_mut(id)?;
        let (body, taken) = pipe.recv.pop_from_run(is_wanted)?;
        pipe.count_taken(taken, self.counters, self.effects);
        if taken.room {
            self.remove_if_read(id);
        }
        Some(body)
    }

    #[inline(always)]
    fn pop_with_place(&mut self, id: PipeId) -> Option<Frame> {
        let pipe = self.pipes.get_mut(id)?;
        if !pipe.send.ask_place() {
            // Nobody must wait for messages that are held back for a batch.
            pipe.write_soon(self.effects);
            return None;
        }
        let Some((frame, taken)) = pipe.recv.pop() else {
            let frame = self.pop_or_arm(id)?;
            self.pipes.get_mut(id)?.send.keep_place();
            return Some(frame);
        };
        pipe.send.keep_place();
        pipe.count_taken(taken, self.counters, self.effects);
        Some(frame)
    }

    fn ask_place(&mut self, pipe: PipeId) -> bool {
        let Some(pipe) = self.pipes.get_mut(pipe) else { return true };
        let has_place = pipe.send.ask_place();
        if !has_place {
            pipe.write_soon(self.effects);
        }
        has_place
    }

    #[inline]
    fn push_in_place(&mut self, id: PipeId, header: &[u8], body: &Bytes) -> Result<(), PushError> {
        let pipe = self.pipes.usable_mut(id).ok_or(PushError::Gone)?;
        match pipe.send.push_in_place(header, body) {
            Ok(wake) => {
                let length = header.len() + body.len();
                Self::count_pushed(pipe, length, wake, self.counters, self.effects);
                Ok(())
            }
            Err(refusal) => Err(pipe.refuse(refusal, self.effects)),
        }
    }

    fn keep_place(&mut self, pipe: PipeId) {
        if let Some(pipe) = self.pipes.get_mut(pipe) {
            pipe.send.keep_place();
        }
    }

    fn give_place_back(&mut self, pipe: PipeId) -> bool {
        self.pipes.get_mut(pipe).is_some_and(|pipe| pipe.send.give_place_back())
    }

    /// Pops everything, and arms the ring as it pops the last message, without another look at it. Nobody needs
    /// to hear a bell while nobody waits: then one ring is left unarmed, and the next entry looks there.
    #[inline]
    fn pop_all(&mut self, id: PipeId, mut take: impl FnMut(&mut Self, Frame)) {
        if self.leaves_unarmed && self.pipes.unarmed.is_none() {
            self.pipes.unarmed = Some(id);
        }
        let is_unarmed = self.leaves_unarmed && self.pipes.unarmed == Some(id);
        while let Some(pipe) = self.pipes.get_mut(id) {
            let (popped, is_empty) = pipe.recv.pop_to_end(!is_unarmed || pipe.is_gone());
            let is_over = is_empty && pipe.is_gone();
            if let Some((frame, taken)) = popped {
                pipe.count_taken(taken, self.counters, self.effects);
                take(self, frame);
            }
            if is_over {
                self.remove_if_read(id);
            }
            if is_empty {
                return;
            }
        }
    }

    #[inline]
    fn pop_if(&mut self, id: PipeId, mut judge: impl FnMut(&[u8], &[u8]) -> Verdict) -> Picked {
        loop {
            let Some(pipe) = self.pipes.get_mut(id) else { return Picked::Nothing };
            // Skips for one reason at a time, so that they are counted together.
            let (mut skipped_for, mut another) = (None, false);
            let judge = |head: &[u8], body: &[u8]| {
                let verdict = judge(head, body);
                if let Verdict::Skip(reason) = verdict {
                    another = *skipped_for.get_or_insert(reason) != reason;
                }
                if another { Verdict::Leave } else { verdict }
            };
            let (picked, taken, is_empty) = pipe.recv.pop_if(judge);
            let (wanted, room) = (u64::from(matches!(picked, Picked::Taken(_))), taken.room);
            if let Some(reason) = skipped_for {
                self.counters.dropped(reason, taken.messages - wanted);
                pipe.count_dropped(reason, taken.messages - wanted, self.effects);
            }
            pipe.count_taken(taken, self.counters, self.effects);
            if room || is_empty && pipe.is_gone() {
                self.remove_if_read(id);
            }
            if is_empty || !matches!(picked, Picked::Nothing) && !another {
                return picked;
            }
        }
    }

    fn priorities(&self, pipe: PipeId) -> Priorities {
        self.pipes.get(pipe).map_or_else(Priorities::default, |pipe| pipe.priorities)
    }

    fn disconnect(&mut self, pipe: PipeId) {
        self.effects.rare().unwanted.push(pipe);
    }

    fn wake(&mut self, interest: Interest) {
        self.effects.wake_waiter(interest);
    }

    fn dropped(&mut self, pipe: Option<PipeId>, reason: DropReason) {
        self.count_dropped(pipe, reason, 1);
    }

    fn resent(&mut self) {
        self.counters.resends.bump();
    }

    fn copied(&mut self, copies: u64) {
        self.counters.copies_made.add(copies);
    }

    fn now(&self) -> Instant {
        time::now()
    }
}
