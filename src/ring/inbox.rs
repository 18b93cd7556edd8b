//! The end of a ring at which a socket takes out messages.
//!
//! Owns the [`Run`]: small messages that were copied out of the ring together, and are cut from that copy one by
//! one, without another copy or allocation, and without taking the consumer's half again.
//!
//! A message in a run counts as queued until it is handed out, and its departure is counted then. That needs no
//! half, since nobody else counts departures meanwhile: the socket takes messages under its lock. A producer that
//! evicts the oldest messages cannot reach those in a run. So a ring that holds fewer than sixteen messages gives
//! out no runs, and one that holds more at most an eighth of them.

use std::fmt;
use std::ops::Deref;

use bytes::{Buf, Bytes};

use super::{Ring, RingRef, Taken};
use crate::message::Frame;
use crate::sync::Ordering;
use crate::verdict::{Picked, Verdict};
use crate::wire::frame::Framing;

/// The end of a ring from which a socket receives. Reads as the ring itself.
pub(crate) struct Inbox {
    ring: RingRef,
    run: Run,
}

/// Whole frames that were taken out of a ring, and not handed out yet. On the heap, since an idle connection has
/// none, and there may be many of those.
pub(super) struct Run(Option<Box<Frames>>);

struct Frames {
    framing: Framing,
    bytes: Bytes,
}

impl Deref for Inbox {
    type Target = Ring;

    fn deref(&self) -> &Ring {
        &self.ring
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inbox").field(&self.ring).finish()
    }
}

impl Inbox {
    /// Makes the inbox of a ring. There is one for each ring from which messages are popped.
    pub(crate) fn new(ring: RingRef) -> Self {
        Self { ring, run: Run(None) }
    }

    /// Takes the next message, without its prefix.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<(Frame, Taken)> {
        match self.run.next() {
            Some(payload) => Some(whole(self.hand_out(payload))),
            None => self.ring.consumer().pop(&mut self.run),
        }
    }

    /// Takes the next message if it lies in the run and `is_wanted`.
    #[inline(always)]
    pub(crate) fn pop_from_run(
        &mut self,
        is_wanted: impl FnOnce(&[u8]) -> bool,
    ) -> Option<(Bytes, Taken)> {
        let body = self.run.first()?;
        let payload = body.len();
        is_wanted(body).then(|| self.hand_out(payload))
    }

    /// As [`pop`](Self::pop), and says whether that was the last message. If so, and if it `arms`, puts the consumer
    /// to sleep. If it does not, there may be others by now.
    #[inline(always)]
    pub(crate) fn pop_to_end(&mut self, arms: bool) -> (Option<(Frame, Taken)>, bool) {
        if let Some(payload) = self.run.next() {
            return (Some(whole(self.hand_out(payload))), false);
        }
        let mut consumer = self.ring.consumer();
        let popped = consumer.pop(&mut self.run);
        let mut is_last = || if arms { consumer.arm() } else { consumer.has_used_up() };
        (popped, self.run.is_over() && is_last())
    }

    /// Skips messages until `judge` wants one taken or left, or until there are no more, and then puts the
    /// consumer to sleep; says whether it has.
    ///
    /// `judge` sees each message where it lies, in two parts of which the first is nearly always empty.
    /// Skipped messages are counted in `Taken` with the others.
    #[inline]
    pub(crate) fn pop_if(
        &mut self,
        mut judge: impl FnMut(&[u8], &[u8]) -> Verdict,
    ) -> (Picked, Taken, bool) {
        let mut skipped = Taken::default();
        while let Some(body) = self.run.first() {
            let payload = body.len();
            match judge(&[], body) {
                Verdict::Leave => return (Picked::Left, skipped, false),
                Verdict::Take => {
                    let (frame, taken) = whole(self.hand_out(payload));
                    return (Picked::Taken(frame), skipped.and(taken), false);
                }
                Verdict::Skip(_) => skipped = skipped.and(self.hand_out(payload).1),
            }
        }
        let mut consumer = self.ring.consumer();
        let (picked, taken) = consumer.pop_if(&mut judge, &mut self.run);
        let is_asleep = matches!(picked, Picked::Nothing) && consumer.arm();
        (picked, skipped.and(taken), is_asleep)
    }

    /// Puts the consumer to sleep if there is no message: the next push then returns [`Wake`](super::Wake).
    pub(crate) fn arm(&mut self) -> bool {
        self.run.is_over() && self.ring.consumer().arm()
    }

    /// Drops the run, whose messages nobody will receive any more; returns how many there were.
    pub(crate) fn drop_run(&mut self) -> u64 {
        let mut dropped = 0;
        while let Some(payload) = self.run.next() {
            let (_, Taken { messages, .. }) = self.hand_out(payload);
            dropped += messages;
        }
        dropped
    }

    /// The number of messages in the run.
    #[cfg(any(test, fuzzing))]
    pub(super) fn ahead(&self) -> usize {
        let mut run = Run(None);
        if let Some(frames) = &self.run.0 {
            run = Run::new(frames.framing, frames.bytes.clone());
        }
        std::iter::from_fn(|| run.next().map(|payload| run.cut(payload))).count()
    }

    /// Takes the next message off the run, which is `payload` bytes long, and counts its departure.
    #[inline(always)]
    fn hand_out(&mut self, payload: usize) -> (Bytes, Taken) {
        let body = self.run.cut(payload);
        let mut taken = Taken::default();
        taken.add(payload);
        let head = &self.ring.head;
        head.depart(taken.messages, taken.bytes);
        // By the rule at the head of `consumer.rs`.
        let ordered = match self.run.is_over() {
            true => head.has_orders(),
            false => head.orders.load(Ordering::Relaxed) != 0,
        };
        taken.room = ordered && self.ring.meet_orders();
        (body, taken)
    }
}

/// What is handed out of a run, as what is popped from the ring.
fn whole((body, taken): (Bytes, Taken)) -> (Frame, Taken) {
    (Frame::whole(body), taken)
}

impl Run {
    /// Makes a run of `bytes`, which has at least one frame.
    pub(super) fn new(framing: Framing, bytes: Bytes) -> Self {
        Self(Some(Box::new(Frames { framing, bytes })))
    }

    #[inline]
    fn is_over(&self) -> bool {
        self.0.is_none()
    }

    /// The next message, if there is one.
    #[inline(always)]
    fn first(&self) -> Option<&[u8]> {
        let Frames { framing, bytes } = self.0.as_deref()?;
        framing.split_first(bytes).map(|(payload, _)| payload)
    }

    /// Its length.
    #[inline]
    fn next(&self) -> Option<usize> {
        self.first().map(<[u8]>::len)
    }

    /// Takes off the next message, which is `payload` bytes long.
    #[inline(always)]
    pub(super) fn cut(&mut self, payload: usize) -> Bytes {
        let Some(Frames { framing, bytes }) = self.0.as_deref_mut() else { return Bytes::new() };
        let prefix = framing.prefix_len();
        // The last takes over the run's own reference.
        let mut body = bytes.split_to(prefix + payload);
        body.advance(prefix);
        if bytes.is_empty() {
            self.0 = None;
        }
        body
    }
}

impl Taken {
    #[inline]
    fn and(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
            room: self.room | other.room,
        }
    }
}
