//! Rings: the bounded queue of framed bytes between the two ends of a pipe.
//!
//! What crosses a ring is bytes as they stand on the wire, not messages: the producer frames each
//! message into a block, and the consumer takes whole ranges of blocks over, either byte by byte for
//! the kernel ([`Consumer::slices`], [`Consumer::consume`]) or frame by frame for a socket
//! ([`Consumer::pop`], or [`Consumer::pop_if`] to look before anything is copied). Large bodies are
//! not copied but queued by reference.
//!
//! Owns the bytes in between, their number, and two sleep-and-wake handshakes: the consumer that has
//! found nothing ([`Consumer::arm`], answered by [`Wake`]) and the producer that has found no room
//! or not yet silence ([`Ring::has_room`], [`Ring::drained`], answered by [`Taken::room`]). Does not
//! know whom it wakes: whoever gets the answer rings the bell.
//!
//! One producer at a time and one consumer at a time. The first is the caller's promise (the socket
//! lock, or the one connection that reads); the second is a lock inside, the consumer's half, which
//! may be kept during a system call, since no producer ever waits for it. The lock they share is
//! held for a few moves and one small copy. Order: the half, then the shared lock. The consumer does
//! not need the shared lock for each message: it counts what has left beside it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use crossbeam_utils::CachePadded;

use crate::message::{Frame, Picked, Verdict};
use crate::sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, fence};
use crate::wire::frame::{Framing, widen};

/// From this length on a body is queued by reference. Measured for the prototype: copying is ahead
/// up to 4 KiB and level at 16 KiB, where a reference still pins what may be a larger block.
const BY_REFERENCE: usize = 16 * 1024;

/// Size of the first block of a ring that was empty; few pipes ever fill it.
const FIRST_BLOCK: usize = 2 * 1024;
/// How much larger each block is than the one before: 2, 16, then 64 KiB.
const BLOCK_GROWTH: usize = 8;
/// Size of the blocks of a busy ring.
const LARGEST_BLOCK: usize = 64 * 1024;

/// Bodies below this length are copied out of their block when popped: cheaper than sharing it.
const COPY_OUT: usize = 4 * 1024;
/// A slice keeps its whole block alive, so a body that is a smaller part of it is copied out.
const LEAST_PART: usize = 16;

/// Why the consumer finds the rest of a frame of which it has seen the prefix.
const TAKEN_OVER_WHOLE: &str = "frames are published and taken over whole";

/// Places for segments that a ring keeps when it has run empty.
const SPARE_SEGMENTS: usize = 4;

/// How much a ring holds. It is full when either bound is reached, but never while it is empty: a
/// message of any size gets in then. So it holds at most one message more than `bytes` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Number of messages.
    pub(crate) messages: usize,
    /// Length of all SP messages together; prefixes do not count.
    pub(crate) bytes: usize,
}

/// What has been pushed and not been consumed. A message counts until its last byte is consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queued {
    /// Number of messages.
    pub(crate) messages: u64,
    /// Length of these SP messages in bytes.
    pub(crate) bytes: u64,
}

/// Why a ring took nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushRefusal {
    /// The ring is full. The order for room is placed: a [`Taken::room`] follows.
    Full,
    /// The ring is closed.
    Closed,
}

/// Whether the consumer had gone to sleep: if so, its bell has to be rung, once, by whoever is told.
#[must_use = "a consumer that sleeps is only woken by its bell"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wake(pub(crate) bool);

/// What has left the ring.
#[must_use = "a producer that waits for room is only woken by its bell"]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Messages whose last byte was consumed.
    pub(crate) messages: u64,
    /// Length of these SP messages in bytes.
    pub(crate) bytes: u64,
    /// A producer that found no room, or not yet silence, now has it: its bell has to be rung.
    pub(crate) room: bool,
}

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
    /// The producer waits until the ring is empty.
    wants_silence: bool,
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
    /// The producer may wait for something. Stored under the shared lock only, where it says what.
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

    /// Appends the message `header` then `body`, and makes room by dropping the oldest; yields how
    /// many those were, which may be some though the ring was closed meanwhile.
    ///
    /// The message that is partly consumed is kept. When the consumer is at work, room is near:
    /// then nothing is dropped and the ring exceeds its bounds by this one message.
    pub(crate) fn push_evicting(
        &self,
        header: &[u8],
        body: &Bytes,
    ) -> (Result<Wake, PushRefusal>, u64) {
        let full = {
            let mut shared = self.shared.lock();
            !shared.closed && self.is_full(&mut shared)
        };
        let evicted = if full { self.evict() } else { 0 };
        let mut shared = self.shared.lock();
        match shared.closed {
            true => (Err(PushRefusal::Closed), evicted),
            false => (Ok(shared.push(self.framing, header, body)), evicted),
        }
    }

    /// Appends `count` whole frames as they stand on the wire.
    ///
    /// They are taken in any case, even by a full or closed ring: they have left the kernel, so
    /// there is no way back. The reader asks [`has_room`](Self::has_room) before it reads; what a
    /// closed ring is left with shows in [`queued`](Self::queued).
    pub(crate) fn append(&self, frames: &[u8], count: usize) -> Wake {
        let prefixes = count * self.framing.prefix_len();
        debug_assert!(prefixes <= frames.len(), "each frame has a prefix");
        let mut shared = self.shared.lock();
        shared.write(&[frames]);
        shared.publish(count, frames.len().saturating_sub(prefixes))
    }

    /// Appends one whole SP message, of which no part need be copied. Taken in any case, as
    /// [`append`](Self::append) does.
    pub(crate) fn append_body(&self, payload: Bytes) -> Wake {
        self.shared.lock().push(self.framing, &[], &payload)
    }

    /// Whether the ring is not full; if it is, [`Taken::room`] follows when it is at most half full.
    pub(crate) fn has_room(&self) -> bool {
        self.finds_room(&mut self.shared.lock())
    }

    /// Whether all that was pushed is consumed; if not, [`Taken::room`] follows when it is.
    pub(crate) fn drained(&self) -> bool {
        let mut shared = self.shared.lock();
        self.departed.announce_order();
        shared.wants_silence = self.look(&mut shared).messages > 0;
        !shared.wants_silence
    }

    /// Ends the taking of pushes. What is inside can still be consumed. Wakes nobody: whoever closes
    /// rings the bells that need it.
    pub(crate) fn close(&self) {
        self.shared.lock().closed = true;
    }

    /// Whether the ring is closed. With nothing queued, that is the end of the stream.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    /// What is in the ring.
    pub(crate) fn queued(&self) -> Queued {
        self.look(&mut self.shared.lock())
    }

    /// How many messages have ever left.
    pub(crate) fn departed(&self) -> u64 {
        self.departed.messages.load(Ordering::Relaxed)
    }

    /// Whether the producer may wait for something to leave.
    pub(crate) fn is_awaited(&self) -> bool {
        self.departed.ordered.load(Ordering::Relaxed)
    }

    /// How much it holds before it is full.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The consumer's half, unless somebody else has it. Never waits.
    pub(crate) fn try_consumer(&self) -> Option<Consumer<'_>> {
        let half = self.half.try_lock()?;
        Some(Consumer { ring: self, half })
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

    fn evict(&self) -> u64 {
        self.try_consumer().map_or(0, |mut consumer| consumer.evict())
    }
}

impl Bounds {
    fn reached_by(self, queued: Queued) -> bool {
        queued.messages > 0
            && (queued.messages >= widen(self.messages) || queued.bytes >= widen(self.bytes))
    }

    pub(crate) fn at_most_half(self, queued: Queued) -> bool {
        queued.messages <= widen(self.messages / 2) && queued.bytes <= widen(self.bytes / 2)
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

    /// Whether an order of the producer is met by what is `queued`. It is told once.
    fn meet_orders(&mut self, bounds: Bounds, queued: Queued) -> bool {
        let room = self.wants_room && bounds.at_most_half(queued);
        let silence = self.wants_silence && queued.messages == 0;
        self.wants_room &= !room;
        self.wants_silence &= !silence;
        room || silence
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

    /// Skips messages until `judge` wants one taken or left, or until there are no more.
    ///
    /// `judge` is shown each message where it lies, in two parts of which the first is nearly always
    /// empty. What is skipped costs no copy and is told with the rest: `Taken` has all that has left.
    pub(crate) fn pop_if(
        &mut self,
        mut judge: impl FnMut(&[u8], &[u8]) -> Verdict,
    ) -> (Picked, Taken) {
        let framing = self.ring.framing;
        let mut taken = Taken::default();
        let picked = loop {
            let Some(payload) = self.next_payload() else {
                break Picked::Nothing;
            };
            let (head, body) = self.half.message(framing, payload);
            match judge(head, body) {
                Verdict::Leave => break Picked::Left,
                Verdict::Skip => self.half.advance(framing.prefix_len() + payload),
                Verdict::Take => {
                    taken.add(payload);
                    break Picked::Taken(self.half.take(framing, payload));
                }
            }
            taken.add(payload);
        };
        (picked, self.account(taken))
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

    /// Skips whole frames, oldest first, until the ring is no longer full; yields how many.
    ///
    /// The orders of the producer stay: it is the one that calls, and a push follows.
    fn evict(&mut self) -> u64 {
        self.take_over();
        let (framing, bounds) = (self.ring.framing, self.ring.bounds);
        let mut queued = self.ring.queued();
        let mut evicted = Taken::default();
        self.half.behind_begun(|half| {
            while bounds.reached_by(queued)
                && let Some(frame) = half.first(framing)
            {
                half.advance(frame.left);
                evicted.add(frame.payload);
                queued.messages -= 1;
                queued.bytes -= widen(frame.payload);
            }
        });
        self.ring.departed.add(evicted);
        evicted.messages
    }

    /// Takes out every whole message, and leaves what [`consume`](Self::consume) has begun. For a
    /// closed ring, whose messages are to go another way.
    pub(crate) fn reclaim(&mut self) -> Vec<Frame> {
        self.take_over();
        let framing = self.ring.framing;
        let (mut frames, mut taken) = (Vec::new(), Taken::default());
        self.half.behind_begun(|half| {
            while let Some(Begun { payload, .. }) = half.first(framing) {
                half.advance(framing.prefix_len());
                frames.push(half.cut(payload));
                taken.add(payload);
            }
        });
        let Taken { room: _told_by_the_caller, .. } = self.account(taken);
        frames
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

    /// Meets the orders of the producer that can be met, and gives up the memory of an empty ring.
    fn settle(&mut self) -> bool {
        let mut shared = self.ring.shared.lock();
        let queued = self.ring.look(&mut shared);
        let told = shared.meet_orders(self.ring.bounds, queued);
        let standing = shared.wants_room || shared.wants_silence;
        self.ring.departed.ordered.store(standing, Ordering::Relaxed);
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

    /// The first message, which is `payload` bytes long, where it lies.
    fn message(&self, framing: Framing, payload: usize) -> (&[u8], &[u8]) {
        let front = &self.segments.front().expect(TAKEN_OVER_WHOLE).bytes[framing.prefix_len()..];
        match front.get(..payload) {
            Some(whole) => (&[], whole),
            None => {
                let body = &self.segments.get(1).expect(TAKEN_OVER_WHOLE).bytes;
                (front, &body[..payload - front.len()])
            }
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

    /// Runs `skip` as if the frame that is begun were not there.
    fn behind_begun(&mut self, skip: impl FnOnce(&mut Self)) {
        let begun = self.begun.take();
        let kept = self.split(begun.map_or(0, |frame| frame.left));
        skip(self);
        for segment in kept.into_iter().rev() {
            self.segments.push_front(segment);
        }
        self.begun = begun;
    }

    /// The first `n` bytes, apart from the rest.
    fn split(&mut self, n: usize) -> Vec<Segment> {
        let mut pieces = Vec::new();
        let mut rest = n;
        while rest > 0 {
            let front = self.segments.front_mut().expect(TAKEN_OVER_WHOLE);
            let piece = front.split_up_to(rest);
            if front.bytes.is_empty() {
                self.segments.pop_front();
            }
            rest -= piece.bytes.len();
            pieces.push(piece);
        }
        pieces
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

    fn split_up_to(&mut self, n: usize) -> Self {
        let n = n.min(self.bytes.len());
        Self { bytes: self.bytes.split_to(n), block: self.block }
    }
}

impl Taken {
    fn add(&mut self, payload: usize) {
        self.messages += 1;
        self.bytes += widen(payload);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Condvar;
    use std::time::Duration;
    use std::{sync, thread};

    use Framing::{Length, TypeAndLength};
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::wire::frame::{Decoder, Piece};

    const NO_BOUNDS: Bounds = bounds(usize::MAX, usize::MAX);

    const fn bounds(messages: usize, bytes: usize) -> Bounds {
        Bounds { messages, bytes }
    }

    fn ring(bounds: Bounds) -> Ring {
        Ring::new(Length, bounds)
    }

    fn body(len: usize) -> Bytes {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    fn queued(messages: u64, bytes: u64) -> Queued {
        Queued { messages, bytes }
    }

    fn push(ring: &Ring, text: &'static str) -> Result<Wake, PushRefusal> {
        ring.push(&[], &Bytes::from_static(text.as_bytes()))
    }

    fn pop(ring: &Ring) -> Option<Bytes> {
        let (frame, _) = ring.consumer().pop()?;
        Some(frame.into_bytes())
    }

    /// The first `n` bytes, consumed as a connection would.
    fn read(ring: &Ring, n: usize) -> (Vec<u8>, Taken) {
        let mut consumer = ring.consumer();
        let mut bytes = listed(&mut consumer);
        bytes.truncate(n);
        let taken = consumer.consume(bytes.len());
        (bytes, taken)
    }

    fn listed(consumer: &mut Consumer<'_>) -> Vec<u8> {
        let mut out = [IoSlice::new(&[]); 64];
        let slices = consumer.slices(&mut out);
        out[..slices].iter().flat_map(|slice| slice.to_vec()).collect()
    }

    fn wire(framing: Framing, header: &[u8], body: &[u8]) -> Vec<u8> {
        [&framing.prefix(header.len() + body.len()), header, body].concat()
    }

    #[test]
    fn bytes_come_out_as_they_go_on_the_wire() {
        for framing in [Length, TypeAndLength] {
            let ring = Ring::new(framing, NO_BOUNDS);
            let mut expected = Vec::new();
            for len in [0, 1, 3000, BY_REFERENCE - 1, BY_REFERENCE, 100_000, 5] {
                let _ = ring.push(b"head", &body(len)).unwrap();
                expected.extend(wire(framing, b"head", &body(len)));
            }
            let run = [wire(framing, b"", b"a"), wire(framing, b"", b"bc")].concat();
            let _ = ring.append(&run, 2);
            expected.extend(run);
            let _ = ring.append_body(body(20_000));
            expected.extend(wire(framing, b"", &body(20_000)));

            assert_eq!(ring.queued().messages, 10);
            let (bytes, taken) = read(&ring, usize::MAX);
            assert!(bytes == expected);
            assert_eq!(taken.messages, 10);
            assert_eq!(ring.queued(), Queued::default());
        }
    }

    #[test]
    fn a_message_counts_until_its_last_byte_is_consumed() {
        let ring = ring(NO_BOUNDS);
        let _ = ring.push(b"ab", &body(3)).unwrap();
        let _ = push(&ring, "x").unwrap();
        assert_eq!(ring.queued(), queued(2, 6));
        assert_eq!(read(&ring, 12).1, Taken::default());
        assert_eq!(ring.queued(), queued(2, 6));
        assert_eq!(read(&ring, 2).1, Taken { messages: 1, bytes: 5, room: false });
        assert_eq!(ring.queued(), queued(1, 1));
    }

    #[test]
    fn either_bound_makes_it_full() {
        let few = ring(bounds(2, usize::MAX));
        let short = ring(bounds(usize::MAX, 4));
        for ring in [&few, &short] {
            let _ = push(ring, "abc").unwrap();
            assert!(ring.has_room());
            let _ = push(ring, "abc").unwrap();
            assert_eq!(push(ring, "abc"), Err(PushRefusal::Full));
            assert!(!ring.has_room());
        }
    }

    #[test]
    fn an_empty_ring_takes_a_message_of_any_size() {
        for bounds in [bounds(0, 0), bounds(1, 1), bounds(9, 0), bounds(0, 9)] {
            let ring = ring(bounds);
            assert!(ring.has_room());
            let _ = ring.push(&[], &body(100_000)).unwrap();
            assert_eq!(push(&ring, ""), Err(PushRefusal::Full));
            assert_eq!(pop(&ring).unwrap(), body(100_000));
            let _ = push(&ring, "").unwrap();
            assert_eq!(push(&ring, ""), Err(PushRefusal::Full));
        }
    }

    #[test]
    fn a_refused_producer_is_told_once_when_the_ring_is_half_full() {
        let ring = ring(bounds(4, usize::MAX));
        for _ in 0..4 {
            let _ = push(&ring, "abc").unwrap();
        }
        assert_eq!(push(&ring, "abc"), Err(PushRefusal::Full));
        let room = |ring: &Ring| ring.consumer().pop().unwrap().1.room;
        assert!(!room(&ring), "three quarters full");
        assert!(room(&ring), "half full");
        assert!(!room(&ring), "told already");
        assert!(!room(&ring), "nobody waits");
    }

    #[test]
    fn half_full_means_bytes_as_well() {
        let ring = ring(bounds(4, 100));
        let _ = ring.push(&[], &body(90)).unwrap();
        let _ = ring.push(&[], &body(90)).unwrap();
        assert!(!ring.has_room());
        assert!(!read(&ring, 98).1.room, "90 of 100 bytes left");
        assert!(!read(&ring, 97).1.room, "one byte of the frame left");
        assert!(read(&ring, 1).1.room);
    }

    #[test]
    fn a_producer_that_wants_silence_is_told_when_the_ring_is_empty() {
        let ring = ring(NO_BOUNDS);
        assert!(ring.drained());
        let _ = push(&ring, "a").unwrap();
        let _ = push(&ring, "b").unwrap();
        assert!(!ring.drained());
        assert!(!read(&ring, 17).1.room);
        assert!(read(&ring, 1).1.room);
        assert!(ring.drained());
    }

    #[test]
    fn a_sleeping_consumer_is_woken_by_the_first_push_only() {
        let ring = ring(NO_BOUNDS);
        assert_eq!(push(&ring, "a"), Ok(Wake(false)), "nobody sleeps yet");
        assert!(!ring.consumer().arm(), "there is something");
        assert_eq!(push(&ring, "b"), Ok(Wake(false)));
        let _ = read(&ring, 17);
        assert!(!ring.consumer().arm(), "one byte is left");
        let _ = read(&ring, 1);
        assert!(ring.consumer().arm());
        assert_eq!(ring.append(&wire(Length, b"", b"c"), 1), Wake(true));
        assert_eq!(ring.append_body(body(1)), Wake(false));
    }

    #[test]
    fn a_closed_ring_refuses_pushes_and_gives_out_what_it_has() {
        let ring = ring(bounds(1, 1));
        let _ = push(&ring, "a").unwrap();
        ring.close();
        assert!(ring.is_closed());
        assert_eq!(push(&ring, "b"), Err(PushRefusal::Closed));
        assert_eq!(ring.push_evicting(&[], &body(1)), (Err(PushRefusal::Closed), 0));
        let _ = ring.append_body(body(7));
        assert_eq!(ring.queued(), queued(2, 8), "what a reader has read is not lost unseen");
        assert_eq!(pop(&ring).unwrap(), "a");
        assert_eq!(pop(&ring).unwrap(), body(7));
        assert_eq!(pop(&ring), None);
    }

    #[test]
    fn a_producer_never_waits_for_the_consumer() {
        let ring = ring(bounds(1, 1));
        let mut consumer = ring.consumer();
        assert!(ring.try_consumer().is_none());
        let _ = push(&ring, "a").unwrap();
        assert_eq!(listed(&mut consumer).len(), 9);
        assert_eq!(push(&ring, "b"), Err(PushRefusal::Full));
        let overshot = ring.push_evicting(&[], &Bytes::from_static(b"b"));
        assert_eq!(overshot, (Ok(Wake(false)), 0));
        assert_eq!(ring.queued(), queued(2, 2));
        assert_eq!(consumer.consume(9).messages, 1);
    }

    #[test]
    fn what_is_reclaimed_is_whole_and_what_was_begun_stays() {
        let ring = ring(NO_BOUNDS);
        let large = body(100_000);
        let _ = push(&ring, "begun").unwrap();
        let _ = push(&ring, "whole").unwrap();
        let _ = ring.push(b"head", &large).unwrap();
        assert_eq!(read(&ring, 10).1.messages, 0);
        ring.close();
        let frames = ring.consumer().reclaim();
        let frames: Vec<Bytes> = frames.into_iter().map(Frame::into_bytes).collect();
        assert_eq!(frames, [&b"whole"[..], &[b"head", &large[..]].concat()]);
        assert_eq!(ring.queued(), queued(1, 5));
        assert_eq!(read(&ring, 100).0, b"gun");
        assert_eq!(ring.queued(), queued(0, 0));
        assert!(ring.consumer().reclaim().is_empty());
    }

    #[test]
    fn eviction_drops_the_oldest_until_the_new_one_fits() {
        let ring = ring(bounds(usize::MAX, 10));
        for text in ["aaaa", "bbbb", "cccc"] {
            let _ = push(&ring, text).unwrap();
        }
        let (_, evicted) = ring.push_evicting(b"d", &body(0));
        assert_eq!(evicted, 1);
        assert_eq!(ring.queued(), queued(3, 9));
        assert_eq!(ring.push_evicting(b"e", &body(0)).1, 0, "there is room");
        for text in ["bbbb", "cccc", "d", "e"] {
            assert_eq!(pop(&ring).unwrap(), text);
        }
    }

    #[test]
    fn eviction_never_cuts_the_message_that_is_begun() {
        for begun in 1..4 + 8 + BY_REFERENCE {
            if begun > 20 && begun % 1000 != 0 {
                continue;
            }
            let ring = ring(bounds(2, usize::MAX));
            let _ = ring.push(b"head", &body(BY_REFERENCE)).unwrap();
            let _ = push(&ring, "old").unwrap();
            let (mut bytes, _) = read(&ring, begun);
            assert_eq!(ring.push_evicting(b"new", &body(0)).1, 1);
            assert_eq!(ring.consumer().pop().map(|(_, taken)| taken), None);
            bytes.extend(read(&ring, usize::MAX).0);
            let first = wire(Length, b"head", &body(BY_REFERENCE));
            assert!(bytes == [first, wire(Length, b"new", b"")].concat());
        }
    }

    #[test]
    fn eviction_overshoots_by_one_when_only_the_begun_message_is_left() {
        let ring = ring(bounds(1, usize::MAX));
        let _ = push(&ring, "a").unwrap();
        let _ = read(&ring, 1);
        assert_eq!(ring.push_evicting(b"b", &body(0)).1, 0);
        assert_eq!(ring.push_evicting(b"c", &body(0)).1, 1);
        assert_eq!(ring.queued(), queued(2, 2));
    }

    #[test]
    fn eviction_leaves_the_orders_of_the_producer() {
        let ring = ring(bounds(1, usize::MAX));
        let _ = push(&ring, "a").unwrap();
        assert!(!ring.drained());
        assert_eq!(ring.push_evicting(b"b", &body(0)).1, 1);
        assert!(read(&ring, 9).1.room);
    }

    #[test]
    fn a_body_by_reference_comes_back_as_it_was_with_its_header_apart() {
        let ring = ring(NO_BOUNDS);
        let large = body(BY_REFERENCE);
        let _ = ring.push(b"head", &large).unwrap();
        let _ = ring.append_body(large.clone());
        let (mut frame, _) = ring.consumer().pop().unwrap();
        assert_eq!(frame.take(4).unwrap(), "head");
        assert_eq!(frame.into_bytes().as_ptr(), large.as_ptr());
        assert_eq!(pop(&ring).unwrap().as_ptr(), large.as_ptr());
    }

    #[test]
    fn a_popped_body_pins_a_block_only_if_it_is_a_fair_part_of_it() {
        let pins = |len: usize, beside: usize| {
            let ring = ring(NO_BOUNDS);
            let run = [wire(Length, b"", &body(len)), wire(Length, b"", &body(beside))].concat();
            let _ = ring.append(&run, 2);
            let mut consumer = ring.consumer();
            let mut out = [IoSlice::new(&[])];
            assert_eq!(consumer.slices(&mut out), 1);
            let here = out[0][8..].as_ptr();
            consumer.pop().unwrap().0.into_bytes().as_ptr() == here
        };
        assert!(!pins(COPY_OUT - 1, 0));
        assert!(pins(COPY_OUT, 0));
        assert!(pins(COPY_OUT, 60_000));
        assert!(!pins(COPY_OUT, 70_000));
        assert!(pins(20_000, 299_000));
    }

    #[test]
    fn blocks_start_small_grow_and_are_given_up_when_the_ring_is_empty() {
        let ring = ring(NO_BOUNDS);
        let mut blocks = Vec::new();
        for _ in 0..200 {
            let _ = ring.push(&[], &body(1000)).unwrap();
            blocks.push(ring.shared.lock().block);
        }
        blocks.dedup();
        assert_eq!(blocks, [2048, 16_384, 65_536]);
        let _ = read(&ring, usize::MAX);
        assert_eq!(ring.shared.lock().tail.capacity(), 0);
        assert!(ring.half.lock().segments.capacity() <= SPARE_SEGMENTS);
        let _ = push(&ring, "a").unwrap();
        assert_eq!(ring.shared.lock().block, FIRST_BLOCK);
    }

    #[test]
    fn what_is_looked_at_is_neither_copied_nor_moved() {
        let ring = ring(NO_BOUNDS);
        let large = body(BY_REFERENCE);
        let _ = push(&ring, "small").unwrap();
        let _ = ring.push(b"", &large).unwrap();
        let _ = ring.push(b"head", &large).unwrap();
        let mut seen = Vec::new();
        let (picked, taken) = ring.consumer().pop_if(|head, body| {
            seen.push((head.len(), body.as_ptr() == large.as_ptr()));
            if head.is_empty() { Verdict::Skip } else { Verdict::Leave }
        });
        assert!(matches!(picked, Picked::Left));
        assert_eq!(seen, [(0, false), (0, true), (4, true)]);
        assert_eq!(taken, Taken { messages: 2, bytes: 5 + large.len() as u64, room: false });
        let (frame, _) = ring.consumer().pop().unwrap();
        assert_eq!(frame.len(), 4 + large.len(), "what was left is there");
    }

    #[test]
    fn slices_fill_as_many_places_as_there_are() {
        let ring = ring(NO_BOUNDS);
        let _ = ring.push(&[], &body(BY_REFERENCE)).unwrap();
        let _ = ring.push(&[], &body(BY_REFERENCE)).unwrap();
        let mut consumer = ring.consumer();
        assert_eq!(consumer.slices(&mut []), 0);
        assert_eq!(consumer.slices(&mut [IoSlice::new(&[]); 3]), 3);
        assert_eq!(consumer.slices(&mut [IoSlice::new(&[]); 9]), 4);
    }

    /// What a ring promises, said as simply as possible: a list of messages and a few flags.
    struct Model {
        framing: Framing,
        bounds: Bounds,
        messages: VecDeque<ModelMessage>,
        asleep: bool,
        wants_room: bool,
        wants_silence: bool,
        closed: bool,
    }

    struct ModelMessage {
        payload: Vec<u8>,
        /// Its bytes on the wire yet to be consumed.
        left: Vec<u8>,
        begun: bool,
    }

    impl Model {
        fn new(framing: Framing, bounds: Bounds) -> Self {
            Self {
                framing,
                bounds,
                messages: VecDeque::new(),
                asleep: false,
                wants_room: false,
                wants_silence: false,
                closed: false,
            }
        }

        fn bytes(&self) -> usize {
            self.messages.iter().map(|message| message.payload.len()).sum()
        }

        fn queued(&self) -> Queued {
            queued(self.messages.len() as u64, self.bytes() as u64)
        }

        fn full(&self) -> bool {
            let Bounds { messages, bytes } = self.bounds;
            !self.messages.is_empty() && (self.messages.len() >= messages || self.bytes() >= bytes)
        }

        fn add(&mut self, payload: &[u8]) -> Wake {
            self.messages.push_back(ModelMessage {
                payload: payload.to_vec(),
                left: wire(self.framing, &[], payload),
                begun: false,
            });
            Wake(std::mem::take(&mut self.asleep))
        }

        fn push(&mut self, payload: &[u8]) -> Result<Wake, PushRefusal> {
            if self.closed {
                return Err(PushRefusal::Closed);
            }
            if !self.has_room() {
                return Err(PushRefusal::Full);
            }
            Ok(self.add(payload))
        }

        fn push_evicting(&mut self, payload: &[u8]) -> (Result<Wake, PushRefusal>, u64) {
            if self.closed {
                return (Err(PushRefusal::Closed), 0);
            }
            let kept = usize::from(self.messages.front().is_some_and(|message| message.begun));
            let mut evicted = 0;
            while self.full() && self.messages.len() > kept {
                self.messages.remove(kept);
                evicted += 1;
            }
            (Ok(self.add(payload)), evicted)
        }

        fn has_room(&mut self) -> bool {
            self.wants_room = self.full();
            !self.wants_room
        }

        fn drained(&mut self) -> bool {
            self.wants_silence = !self.messages.is_empty();
            !self.wants_silence
        }

        fn arm(&mut self) -> bool {
            self.asleep = self.messages.is_empty();
            self.asleep
        }

        fn pop(&mut self) -> Option<(Vec<u8>, Taken)> {
            if self.messages.front()?.begun {
                return None;
            }
            let payload = self.messages.pop_front()?.payload;
            let taken = self.taken(1, payload.len());
            Some((payload, taken))
        }

        fn pop_if(&mut self) -> (Option<Vec<u8>>, Taken) {
            let (mut messages, mut bytes) = (0, 0);
            while let Some(first) = self.messages.front().filter(|first| !first.begun) {
                let verdict = verdict(&first.payload);
                if verdict == Verdict::Leave {
                    break;
                }
                messages += 1;
                bytes += first.payload.len();
                let message = self.messages.pop_front().unwrap();
                if verdict == Verdict::Take {
                    return (Some(message.payload), self.taken(messages, bytes));
                }
            }
            (None, self.taken(messages, bytes))
        }

        fn wire(&self) -> Vec<u8> {
            self.messages.iter().flat_map(|message| message.left.clone()).collect()
        }

        fn consume(&mut self, mut n: usize) -> Taken {
            let (mut messages, mut bytes) = (0, 0);
            while n > 0 {
                let message = &mut self.messages[0];
                let step = n.min(message.left.len());
                message.left.drain(..step);
                message.begun = true;
                n -= step;
                if message.left.is_empty() {
                    messages += 1;
                    bytes += message.payload.len();
                    self.messages.pop_front();
                }
            }
            self.taken(messages, bytes)
        }

        fn taken(&mut self, messages: u64, bytes: usize) -> Taken {
            let half = self.messages.len() <= self.bounds.messages / 2
                && self.bytes() <= self.bounds.bytes / 2;
            let room = messages > 0 && self.wants_room && half;
            let silence = messages > 0 && self.wants_silence && self.messages.is_empty();
            self.wants_room &= !room;
            self.wants_silence &= !silence;
            Taken { messages, bytes: bytes as u64, room: room || silence }
        }
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Push { header: usize, body: usize },
        PushEvicting { header: usize, body: usize },
        Append(Vec<usize>),
        AppendBody(usize),
        Consume(Index),
        Pop,
        PopIf,
        Arm,
        HasRoom,
        Drained,
        Close,
    }

    fn lengths() -> impl Strategy<Value = usize> {
        prop_oneof![
            8 => 0..20_usize,
            2 => 1000..5000_usize,
            1 => BY_REFERENCE - 2..BY_REFERENCE + 2,
            1 => 60_000..70_000_usize,
        ]
    }

    fn operations() -> impl Strategy<Value = Operation> {
        use Operation::*;
        prop_oneof![
            40 => (0..12_usize, lengths()).prop_map(|(header, body)| Push { header, body }),
            10 => (0..12_usize, lengths()).prop_map(|(header, body)| PushEvicting { header, body }),
            10 => prop::collection::vec(lengths(), 1..6).prop_map(Append),
            5 => lengths().prop_map(AppendBody),
            25 => any::<Index>().prop_map(Consume),
            20 => Just(Pop),
            15 => Just(PopIf),
            10 => Just(Arm),
            5 => Just(HasRoom),
            5 => Just(Drained),
            1 => Just(Close),
        ]
    }

    /// Something that differs from message to message, and is not the same at its two ends.
    fn verdict(message: &[u8]) -> Verdict {
        let last = message.last().copied().unwrap_or_default();
        match (message.len() + usize::from(last)) % 8 {
            0..3 => Verdict::Take,
            3..7 => Verdict::Skip,
            _ => Verdict::Leave,
        }
    }

    /// Does the same to the ring and to the model; they must answer alike.
    fn compare(ring: &Ring, model: &mut Model, seed: usize, operation: Operation) {
        let bytes = |len: usize| -> Vec<u8> { (0..len).map(|i| (seed + i) as u8).collect() };
        let split = |header, body| {
            let whole = bytes(header + body);
            (whole[..header].to_vec(), Bytes::copy_from_slice(&whole[header..]), whole)
        };
        match operation {
            Operation::Push { header, body } => {
                let (header, body, whole) = split(header, body);
                assert_eq!(ring.push(&header, &body), model.push(&whole));
            }
            Operation::PushEvicting { header, body } => {
                let (header, body, whole) = split(header, body);
                assert_eq!(ring.push_evicting(&header, &body), model.push_evicting(&whole));
            }
            Operation::Append(lens) => {
                let frame = |len: &usize| wire(model.framing, &[], &bytes(*len));
                let run: Vec<u8> = lens.iter().flat_map(frame).collect();
                let mut woken = lens.iter().map(|len| model.add(&bytes(*len)).0);
                let wake = woken.next().unwrap();
                assert!(woken.all(|wake| !wake));
                assert_eq!(ring.append(&run, lens.len()), Wake(wake));
            }
            Operation::AppendBody(len) => {
                assert_eq!(ring.append_body(bytes(len).into()), model.add(&bytes(len)));
            }
            Operation::Consume(n) => {
                let mut consumer = ring.consumer();
                let (listed, expected) = (listed(&mut consumer), model.wire());
                assert!(expected.starts_with(&listed), "the wire is as it should be");
                assert_eq!(listed.is_empty(), expected.is_empty());
                let n = n.index(listed.len() + 1);
                assert_eq!(consumer.consume(n), model.consume(n));
            }
            Operation::Pop => {
                let popped = ring.consumer().pop();
                let popped = popped.map(|(frame, taken)| (frame.into_bytes().to_vec(), taken));
                assert!(popped == model.pop());
            }
            Operation::PopIf => {
                let judge = |head: &[u8], body: &[u8]| verdict(&[head, body].concat());
                let (picked, taken) = ring.consumer().pop_if(judge);
                let picked = match picked {
                    Picked::Taken(frame) => Some(frame.into_bytes().to_vec()),
                    Picked::Left | Picked::Nothing => None,
                };
                assert!((picked, taken) == model.pop_if());
            }
            Operation::Arm => assert_eq!(ring.consumer().arm(), model.arm()),
            Operation::HasRoom => assert_eq!(ring.has_room(), model.has_room()),
            Operation::Drained => assert_eq!(ring.drained(), model.drained()),
            Operation::Close => {
                ring.close();
                model.closed = true;
            }
        }
        assert_eq!(ring.queued(), model.queued());
        assert_eq!(ring.is_closed(), model.closed);
    }

    proptest! {
        #[test]
        fn a_ring_behaves_like_a_list_of_messages(
            framing in prop_oneof![Just(Length), Just(TypeAndLength)],
            bounds in prop_oneof![
                (0..6_usize, 0..40_usize).prop_map(|(messages, bytes)| bounds(messages, bytes)),
                (1..30_usize, 1..200_000_usize).prop_map(|(messages, bytes)| bounds(messages, bytes)),
            ],
            operations in prop::collection::vec(operations(), 0..60),
        ) {
            let ring = Ring::new(framing, bounds);
            let mut model = Model::new(framing, bounds);
            for (seed, operation) in operations.into_iter().enumerate() {
                compare(&ring, &mut model, seed, operation);
            }
        }

        #[test]
        fn whatever_a_stream_decodes_to_passes_through(
            payloads in prop::collection::vec(lengths().prop_map(body), 0..10),
            read in 1..50_000_usize,
        ) {
            let stream: Vec<u8> = payloads.iter().flat_map(|p| wire(Length, &[], p)).collect();
            let ring = ring(NO_BOUNDS);
            receive(&ring, &mut Decoder::new(Length, None), &stream, read);
            for payload in payloads {
                prop_assert!(pop(&ring).unwrap() == payload);
            }
            prop_assert_eq!(pop(&ring), None);
        }
    }

    /// What a connection does with what it reads.
    fn receive(ring: &Ring, decoder: &mut Decoder, stream: &[u8], read: usize) {
        for mut input in stream.chunks(read) {
            while let Some(piece) = decoder.next(&mut input) {
                let _ = match piece.unwrap() {
                    Piece::Frames { bytes, count, .. } => ring.append(bytes, count),
                    Piece::Body(payload) => ring.append_body(payload),
                };
            }
        }
    }

    /// Rung by one thread, awaited by another; fails when nobody rings.
    #[derive(Default)]
    struct Bell(sync::Mutex<bool>, Condvar);

    impl Bell {
        fn ring_if(&self, needed: bool) {
            if needed {
                *self.0.lock().unwrap() = true;
                self.1.notify_one();
            }
        }

        fn wait(&self) {
            let rung = self.0.lock().unwrap();
            let patience = Duration::from_secs(20);
            let (mut rung, late) =
                self.1.wait_timeout_while(rung, patience, |rung| !*rung).unwrap();
            assert!(!late.timed_out(), "a wake-up was lost");
            *rung = false;
        }
    }

    const STRESS: u64 = 100_000;

    /// The `n`th message of a stress: its number, and a length that varies.
    fn numbered(n: u64) -> Bytes {
        let len = match n % 64 {
            0 => BY_REFERENCE + 5,
            1..4 => 3000,
            short => short as usize,
        };
        let mut bytes = BytesMut::zeroed(8 + len);
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        bytes.freeze()
    }

    fn number(payload: &[u8]) -> u64 {
        let n = u64::from_be_bytes(*payload.first_chunk().unwrap());
        assert_eq!(payload.len(), numbered(n).len());
        n
    }

    struct Stress {
        ring: Ring,
        consumer: Bell,
        producer: Bell,
    }

    impl Stress {
        fn new(bounds: Bounds) -> Self {
            Self { ring: ring(bounds), consumer: Bell::default(), producer: Bell::default() }
        }

        /// Pushes every message, waits for room when there is none, and for silence at the end.
        fn produce(&self) {
            for n in 0..STRESS {
                let body = numbered(n);
                let wake = loop {
                    match self.ring.push(&[], &body) {
                        Ok(wake) => break wake,
                        Err(refusal) => assert_eq!(refusal, PushRefusal::Full),
                    }
                    self.producer.wait();
                };
                self.consumer.ring_if(wake.0);
            }
            while !self.ring.drained() {
                self.producer.wait();
            }
        }

        /// Sleeps until there is something.
        fn nothing_left(&self) {
            if self.ring.consumer().arm() {
                self.consumer.wait();
            }
        }
    }

    #[test]
    fn stress_frames_arrive_in_order_and_no_wake_up_is_lost() {
        for bounds in [bounds(1, 1), bounds(3, 100), bounds(128, 1 << 20)] {
            let stress = Stress::new(bounds);
            thread::scope(|scope| {
                scope.spawn(|| stress.produce());
                for n in 0..STRESS {
                    let (frame, taken) = loop {
                        let popped = stress.ring.consumer().pop();
                        match popped {
                            Some(popped) => break popped,
                            None => stress.nothing_left(),
                        }
                    };
                    assert_eq!(number(&frame.into_bytes()), n);
                    stress.producer.ring_if(taken.room);
                }
            });
            assert_eq!(stress.ring.queued(), Queued::default());
        }
    }

    #[test]
    fn stress_bytes_arrive_in_order_however_they_are_consumed() {
        for bounds in [bounds(2, usize::MAX), bounds(128, 1 << 20)] {
            let stress = Stress::new(bounds);
            thread::scope(|scope| {
                scope.spawn(|| stress.produce());
                let inbound = ring(NO_BOUNDS);
                let mut decoder = Decoder::new(Length, None);
                let (mut next, mut step) = (0, 1);
                while next < STRESS {
                    let (bytes, taken) = read(&stress.ring, step);
                    step = step * 31 % 70_001;
                    stress.producer.ring_if(taken.room);
                    if bytes.is_empty() {
                        stress.nothing_left();
                    }
                    receive(&inbound, &mut decoder, &bytes, usize::MAX);
                    while let Some(payload) = pop(&inbound) {
                        assert_eq!(number(&payload), next);
                        next += 1;
                    }
                }
            });
        }
    }

    #[test]
    fn stress_evicted_and_received_are_all_there_ever_was() {
        let stress = Stress::new(bounds(16, 1 << 20));
        let (mut received, mut last) = (0, None);
        let evicted = thread::scope(|scope| {
            let producer = scope.spawn(|| {
                let mut evicted = 0;
                for n in 0..STRESS {
                    let (wake, dropped) = stress.ring.push_evicting(&[], &numbered(n));
                    let wake = wake.unwrap();
                    stress.consumer.ring_if(wake.0);
                    evicted += dropped;
                }
                evicted
            });
            while last != Some(STRESS - 1) {
                let popped = stress.ring.consumer().pop();
                let Some((frame, _)) = popped else {
                    stress.nothing_left();
                    continue;
                };
                let n = number(&frame.into_bytes());
                assert!(last < Some(n));
                last = Some(n);
                received += 1;
            }
            producer.join().unwrap()
        });
        assert_eq!(received + evicted, STRESS);
        assert_eq!(stress.ring.queued(), Queued::default());
    }
}

/// Every interleaving of the handshakes.
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib ring::loom`
#[cfg(all(test, loom))]
mod loom {
    use ::loom::{model, thread};

    use super::*;
    use crate::sync::Arc;

    fn ring(messages: usize) -> Arc<Ring> {
        let bytes = usize::MAX;
        Arc::new(Ring::new(Framing::Length, Bounds { messages, bytes }))
    }

    const MESSAGE: Bytes = Bytes::from_static(b"m");

    #[test]
    fn a_consumer_that_sleeps_is_woken() {
        model(|| {
            let ring = ring(1);
            let producer = {
                let ring = ring.clone();
                thread::spawn(move || ring.push(&[], &MESSAGE).unwrap())
            };
            let popped = ring.consumer().pop().is_some();
            let asleep = !popped && ring.consumer().arm();
            let Wake(woken) = producer.join().unwrap();
            assert_eq!(woken, asleep);
            assert_eq!(ring.consumer().pop().is_some(), !popped);
        });
    }

    #[test]
    fn a_producer_that_waits_for_room_or_silence_is_told() {
        for look in [Ring::has_room, Ring::drained] {
            model(move || {
                let ring = ring(1);
                let _ = ring.push(&[], &MESSAGE).unwrap();
                let producer = {
                    let ring = ring.clone();
                    thread::spawn(move || look(&ring))
                };
                let (_, taken) = ring.consumer().pop().unwrap();
                let waits = !producer.join().unwrap();
                assert_eq!(taken.room, waits);
                assert!(look(&ring));
            });
        }
    }

    #[test]
    fn a_producer_is_told_of_room_while_the_consumer_has_more() {
        model(|| {
            let ring = ring(2);
            let _ = ring.push(&[], &MESSAGE).unwrap();
            let _ = ring.push(&[], &MESSAGE).unwrap();
            let producer = {
                let ring = ring.clone();
                thread::spawn(move || ring.has_room())
            };
            let (_, taken) = ring.consumer().pop().unwrap();
            let waits = !producer.join().unwrap();
            assert_eq!(taken.room, waits);
        });
    }

    #[test]
    fn a_message_is_either_received_or_evicted_or_queued() {
        model(|| {
            let ring = ring(1);
            let _ = ring.push(&[], &MESSAGE).unwrap();
            let producer = {
                let ring = ring.clone();
                thread::spawn(move || ring.push_evicting(&[], &MESSAGE))
            };
            let popped = u64::from(ring.consumer().pop().is_some());
            let (pushed, evicted) = producer.join().unwrap();
            assert!(pushed.is_ok());
            assert_eq!(popped + evicted + ring.queued().messages, 2);
            let mut left = 0;
            while ring.consumer().pop().is_some() {
                left += 1;
            }
            assert_eq!(popped + evicted + left, 2);
        });
    }
}
