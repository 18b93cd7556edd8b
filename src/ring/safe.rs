//! The safe ring: the same queue with two locks, for comparison.
//!
//! Owns nothing that the crate uses. It is what a ring was before it had one producer and no lock: tests
//! do the same to both and to the model, and benches say what the difference is worth. Left out is what
//! these do not measure: making room by dropping, choosing what is popped, runs of frames, and waiting
//! until all is gone.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use crossbeam_utils::CachePadded;

use super::{
    BLOCK_GROWTH, BY_REFERENCE, Bounds, COPY_OUT, FIRST_BLOCK, LARGEST_BLOCK, LEAST_PART,
    PushRefusal, Queued, Taken, Wake,
};
use crate::message::Frame;
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, fence};
use crate::wire::frame::{Framing, widen};

/// Why the consumer finds the rest of a frame of which it has seen the prefix.
const TAKEN_OVER_WHOLE: &str = "frames are published and taken over whole";

/// Places for segments that a ring keeps when it has run empty.
const SPARE_SEGMENTS: usize = 4;

/// The queue itself; both ends hold it by reference.
#[derive(Debug)]
pub(crate) struct Ring {
    framing: Framing,
    bounds: Bounds,
    shared: Mutex<Shared>,
    half: Mutex<Half>,
    departed: CachePadded<Departed>,
}

/// What both sides touch, for moments only.
#[derive(Debug, Default)]
struct Shared {
    /// Published and not yet taken over, oldest first; `tail` comes behind.
    sealed: VecDeque<Segment>,
    /// The bytes published last, and the room behind them.
    tail: BytesMut,
    /// Size of the whole block that `tail` is a part of.
    block: usize,
    /// All that was ever pushed.
    pushed: Queued,
    /// All that has ever left, when last looked at. It never shrinks, so by it the ring is at least
    /// as full as it is.
    departed: Queued,
    /// The consumer sleeps until the next push.
    asleep: bool,
    /// The producer waits until the ring is at most half full.
    wants_room: bool,
    closed: bool,
}

/// What the holder of the consumer's half tells the producer without the shared lock, on a cache line
/// of its own.
///
/// The two meet without a lock: the producer sets `ordered`, then looks at what has departed; the
/// consumer counts a departure, then looks at `ordered`. A `SeqCst` fence between the two steps of
/// each makes sure that at least one of them sees the other.
#[derive(Debug, Default)]
struct Departed {
    /// Messages that have ever left. Only the holder of the half stores here.
    messages: AtomicU64,
    /// Their length in bytes. Stored before `messages` and loaded after.
    bytes: AtomicU64,
    /// The producer may wait for room. Stored under the shared lock only, where it says whether.
    ordered: AtomicBool,
}

/// What only the consumer touches: the bytes it has taken over.
#[derive(Debug, Default)]
struct Half {
    /// Oldest first; starts within a frame if `begun`, else with a prefix. Never an empty segment.
    segments: VecDeque<Segment>,
    /// The first frame, if some of its bytes are consumed.
    begun: Option<Begun>,
}

/// A contiguous range of published bytes. A frame lies whole within one segment, or its prefix and
/// header end a segment and its body is the next.
#[derive(Debug)]
struct Segment {
    bytes: Bytes,
    /// How much memory `bytes` keeps alive.
    block: usize,
}

/// A frame that is consumed in part.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Bytes on the wire yet to be consumed.
    left: usize,
    /// Length of its SP message.
    payload: usize,
}

impl Ring {
    /// An empty ring for frames of `framing`. It takes memory for bytes only when there are some.
    pub(crate) fn new(framing: Framing, bounds: Bounds) -> Self {
        Self {
            framing,
            bounds,
            shared: Mutex::default(),
            half: Mutex::default(),
            departed: CachePadded::default(),
        }
    }

    /// Appends the message `header` then `body`. Finding room withdraws the order for it.
    pub(crate) fn push(&self, header: &[u8], body: &Bytes) -> Result<Wake, PushRefusal> {
        let mut shared = self.shared.lock();
        if shared.closed {
            return Err(PushRefusal::Closed);
        }
        if !self.finds_room(&mut shared) {
            return Err(PushRefusal::Full);
        }
        Ok(shared.push(self.framing, header, body))
    }

    /// Ends the taking of pushes. What is inside can still be consumed. Wakes nobody: whoever closes
    /// rings the bells that need it.
    #[cfg(test)]
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
    }

    /// Whether the ring is closed. With nothing queued, that is the end of the stream.
    #[cfg(test)]
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// What is in the ring.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> Queued {
        self.look(&mut self.shared.lock())
    }

    /// The consumer's half, as soon as nobody else has it.
    pub(crate) fn consumer(&self) -> Consumer<'_> {
        let half = self.half.lock();
        Consumer { ring: self, half }
    }

    /// Whether the ring is not full; places the order for room if it is, and withdraws it if not.
    fn finds_room(&self, shared: &mut Shared) -> bool {
        shared.wants_room = self.is_full(shared);
        if shared.wants_room {
            self.departed.announce_order();
            shared.wants_room = self.is_full(shared);
        }
        !shared.wants_room
    }

    /// Looks at the consumer's cache line only when the ring seems full without.
    fn is_full(&self, shared: &mut Shared) -> bool {
        self.bounds.reached_by(shared.queued()) && self.bounds.reached_by(self.look(shared))
    }

    fn look(&self, shared: &mut Shared) -> Queued {
        shared.departed = self.departed.total();
        shared.queued()
    }
}

impl Shared {
    fn push(&mut self, framing: Framing, header: &[u8], body: &Bytes) -> Wake {
        let len = header.len() + body.len();
        let prefix = framing.prefix(len);
        if body.len() < BY_REFERENCE {
            self.write(&[&prefix, header, body]);
        } else {
            self.write(&[&prefix, header]);
            self.seal();
            self.sealed.push_back(Segment { bytes: body.clone(), block: body.len() });
        }
        self.publish(1, len)
    }

    /// Appends `parts`, all in one segment.
    fn write(&mut self, parts: &[&[u8]]) {
        let len = parts.iter().map(|part| part.len()).sum();
        if self.tail.capacity() - self.tail.len() < len {
            self.seal();
            self.block = self.next_block().max(len);
            self.tail = BytesMut::with_capacity(self.block);
        }
        for part in parts {
            self.tail.extend_from_slice(part);
        }
    }

    fn next_block(&self) -> usize {
        let larger = self.block.saturating_mul(BLOCK_GROWTH);
        larger.clamp(FIRST_BLOCK, LARGEST_BLOCK)
    }

    /// Ends the last segment. What is free in its block stays.
    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let bytes = self.tail.split().freeze();
            self.sealed.push_back(Segment { bytes, block: self.block });
        }
    }

    fn publish(&mut self, messages: usize, bytes: usize) -> Wake {
        self.pushed.messages += widen(messages);
        self.pushed.bytes += widen(bytes);
        Wake(std::mem::take(&mut self.asleep))
    }

    #[cfg(test)]
    fn is_taken_over(&self) -> bool {
        self.sealed.is_empty() && self.tail.is_empty()
    }

    /// What is in the ring by the last look.
    fn queued(&self) -> Queued {
        Queued {
            messages: self.pushed.messages - self.departed.messages,
            bytes: self.pushed.bytes - self.departed.bytes,
        }
    }

    /// Whether the order of the producer is met by what is `queued`. It is told once.
    fn meet_order(&mut self, bounds: Bounds, queued: Queued) -> bool {
        let room = self.wants_room && bounds.at_most_half(queued);
        self.wants_room &= !room;
        room
    }

    /// Gives up the memory of a ring that has run empty; the caller frees the block, unlocked.
    fn rest(&mut self) -> BytesMut {
        self.block = 0;
        self.sealed.shrink_to(SPARE_SEGMENTS);
        std::mem::take(&mut self.tail)
    }
}

impl Departed {
    fn total(&self) -> Queued {
        // Pairs with the stores in `add`: the bytes seen are at least those of the messages seen.
        let messages = self.messages.load(Ordering::Acquire);
        let bytes = self.bytes.load(Ordering::Acquire);
        Queued { messages, bytes }
    }

    /// Counts what has left. The caller holds the half, so nobody else stores.
    fn add(&self, taken: Taken) {
        let bytes = self.bytes.load(Ordering::Relaxed) + taken.bytes;
        let messages = self.messages.load(Ordering::Relaxed) + taken.messages;
        self.bytes.store(bytes, Ordering::Release);
        self.messages.store(messages, Ordering::Release);
    }

    /// Whether the producer may wait for what has just been counted.
    fn has_order(&self) -> bool {
        fence(Ordering::SeqCst); // pairs with the one in `announce_order`
        self.ordered.load(Ordering::Relaxed)
    }

    /// Makes the consumer look for an order under the lock, which the caller holds. What it has
    /// counted before it sees this, a look from now on shows.
    fn announce_order(&self) {
        self.ordered.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the one in `has_order`
    }
}

/// The consumer's half, held.
///
/// A ring is read by bytes or by frames. Who must change from bytes to frames does so between two
/// frames: there is nothing to pop while one is partly consumed.
#[derive(Debug)]
pub(crate) struct Consumer<'r> {
    ring: &'r Ring,
    half: MutexGuard<'r, Half>,
}

impl Consumer<'_> {
    /// Lists the first published bytes exactly as they go on the wire, in as many slices as `out`
    /// has places; yields the number of slices.
    pub(crate) fn slices<'a>(&'a mut self, out: &mut [IoSlice<'a>]) -> usize {
        self.take_over();
        let mut listed = 0;
        for (place, segment) in out.iter_mut().zip(&self.half.segments) {
            *place = IoSlice::new(&segment.bytes);
            listed += 1;
        }
        listed
    }

    /// Takes off the first `n` bytes of what [`slices`](Self::slices) has listed.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub(crate) fn consume(&mut self, n: usize) -> Taken {
        let framing = self.ring.framing;
        let mut taken = Taken::default();
        let mut rest = n;
        while rest > 0 {
            let frame = self.half.first(framing).expect("consumed bytes were listed before");
            let step = rest.min(frame.left);
            self.half.advance(step);
            rest -= step;
            self.half.begun = (step < frame.left)
                .then_some(Begun { left: frame.left - step, payload: frame.payload });
            if step == frame.left {
                taken.add(frame.payload);
            }
        }
        self.account(taken)
    }

    /// The next message, without its prefix; `None` when there is none, or when it was begun by
    /// [`consume`](Self::consume).
    pub(crate) fn pop(&mut self) -> Option<(Frame, Taken)> {
        let payload = self.next_payload()?;
        let frame = self.half.take(self.ring.framing, payload);
        let mut taken = Taken::default();
        taken.add(payload);
        Some((frame, self.account(taken)))
    }

    /// Length of the next message, if there is one and it was not begun.
    fn next_payload(&mut self) -> Option<usize> {
        if self.half.segments.is_empty() {
            self.take_over();
        }
        if self.half.begun.is_some() {
            return None;
        }
        Some(self.half.first(self.ring.framing)?.payload)
    }

    /// Goes to sleep if the ring is empty: the next push then says [`Wake`]. `false` when there is
    /// something, and the caller goes on.
    #[cfg(test)]
    pub(crate) fn arm(&mut self) -> bool {
        let mut shared = self.ring.shared.lock();
        shared.asleep = self.half.segments.is_empty() && shared.is_taken_over();
        shared.asleep
    }

    /// Moves what is published to the consumer's half.
    fn take_over(&mut self) {
        let mut shared = self.ring.shared.lock();
        shared.seal();
        self.half.take_over(&mut shared.sealed);
    }

    /// Counts what was consumed. Looks under the shared lock only when the producer waits, and when
    /// what was taken over has been used up.
    fn account(&mut self, mut taken: Taken) -> Taken {
        if taken.messages > 0 {
            self.ring.departed.add(taken);
            if self.ring.departed.has_order() || self.half.segments.is_empty() {
                taken.room = self.settle();
            }
        }
        taken
    }

    /// Meets the order of the producer if it can be met, and gives up the memory of an empty ring.
    fn settle(&mut self) -> bool {
        let mut shared = self.ring.shared.lock();
        let queued = self.ring.look(&mut shared);
        let told = shared.meet_order(self.ring.bounds, queued);
        self.ring.departed.ordered.store(shared.wants_room, Ordering::Relaxed);
        if queued.messages == 0 {
            let block = shared.rest();
            drop(shared);
            drop(block);
            self.half.segments.shrink_to(SPARE_SEGMENTS);
        }
        told
    }
}

impl Half {
    fn take_over(&mut self, sealed: &mut VecDeque<Segment>) {
        if self.segments.is_empty() {
            std::mem::swap(&mut self.segments, sealed);
        } else {
            self.segments.append(sealed);
        }
    }

    /// The first frame: what was begun, or what the prefix at the front says.
    fn first(&self, framing: Framing) -> Option<Begun> {
        self.begun.or_else(|| {
            let payload = framing.payload_len(&self.segments.front()?.bytes)?;
            let left = framing.prefix_len() + payload;
            Some(Begun { left, payload })
        })
    }

    /// Drops the first `n` bytes.
    fn advance(&mut self, n: usize) {
        let mut rest = n;
        while rest > 0 {
            let front = self.segments.front_mut().expect(TAKEN_OVER_WHOLE);
            let step = rest.min(front.bytes.len());
            front.bytes.advance(step);
            if front.bytes.is_empty() {
                self.segments.pop_front();
            }
            rest -= step;
        }
    }

    /// Takes off the first message, which is `payload` bytes long.
    fn take(&mut self, framing: Framing, payload: usize) -> Frame {
        self.advance(framing.prefix_len());
        self.cut(payload)
    }

    /// The first `payload` bytes, which are those behind a prefix, as a message.
    fn cut(&mut self, payload: usize) -> Frame {
        let Some(front) = self.segments.front() else {
            return Frame::default(); // an empty message was the last
        };
        if payload <= front.bytes.len() {
            let body = front.body(payload);
            self.advance(payload);
            return Frame::new(Bytes::new(), body);
        }
        let header = Bytes::copy_from_slice(&front.bytes);
        self.segments.pop_front();
        let body = self.segments.pop_front().expect(TAKEN_OVER_WHOLE);
        Frame::new(header, body.bytes)
    }
}

impl Segment {
    /// The first `len` bytes as a body: a copy where a reference would pin too much for too little.
    fn body(&self, len: usize) -> Bytes {
        if len < COPY_OUT || len < self.block / LEAST_PART {
            Bytes::copy_from_slice(&self.bytes[..len])
        } else {
            self.bytes.slice(..len)
        }
    }
}
