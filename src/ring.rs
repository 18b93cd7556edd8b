//! Rings: the bounded queue of framed bytes between the two ends of a pipe.
//!
//! A ring carries bytes as they are on the wire, not messages: the [`Producer`] frames each message into a
//! block, and the [`Consumer`] reads published ranges of blocks, either byte by byte for the kernel
//! ([`Consumer::slices`], [`Consumer::consume`]) or frame by frame for a socket, which has an [`Inbox`] for that
//! ([`Inbox::pop`], or [`Inbox::pop_if`] to inspect a message before anything is copied). Large bodies are queued
//! by reference instead of copied, and so are messages that an [`Encoder`] has framed once for many rings.
//!
//! Owns the queued bytes, their number, and two sleep-and-wake hand-shakes: that of the consumer that has
//! found nothing ([`Consumer::arm`], answered by [`Wake`]) and that of the producer that has found no room,
//! or not yet silence ([`Producer::ask_room`], [`Ring::ask_drained`], answered by [`Taken::room`]). The ring does
//! not know whom it wakes: the thread that gets the answer rings the bell.
//!
//! There is one [`Producer`], whose methods take `&mut self`. The consumer's half is behind a flag and may be
//! held during a system call, since no producer ever waits for it.
//!
//! ```text
//!   nodes      [ Block: prefix body prefix body ... ] -> [ Bytes: a large body ] -> [ Block: ...
//!                             ^ position (consumer)             word (producer) ^
//! ```
//!
//! The bytes are in a list of segments, the nodes. A position is the number of bytes that ever passed; it
//! only grows. One word has the producer's position, and in its lowest bits whether the consumer sleeps and
//! whether the ring is closed. So one locked instruction publishes a push, and tells it whether to wake the
//! consumer and whether it came too late; neither a push nor a close needs a second check. Bytes below the
//! published position never change; those above it belong to the producer. Frames are published whole, and
//! each lies whole in one segment, or its prefix and header end a segment and its body is the next.
//!
//! This file has the parts with `unsafe` in them: [`Block`]s, the list of [`Node`]s from both ends
//! ([`Inlet`], [`Outlet`]), the flag on the half, and the count of references. On top of them, without:
//! `producer`, `consumer`, `inbox`, `encoder`.

#![allow(unsafe_code)]

use std::fmt;
use std::io::IoSlice;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;

use bytes::Bytes;

use crate::body::{self, Body};
use crate::sync::{
    Arc, AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Backoff, Counted, MutPtr, Ordering,
    UnsafeCell, fence,
};
use crate::wire::frame::{Framing, widen};

#[deny(unsafe_code)]
mod consumer;
#[deny(unsafe_code)]
mod encoder;
#[cfg(all(any(test, fuzzing), not(loom)))]
#[deny(unsafe_code)]
pub(crate) mod fuzz;
#[deny(unsafe_code)]
mod inbox;
#[deny(unsafe_code)]
mod ledger;
#[cfg(all(test, loom))]
#[deny(unsafe_code)]
mod loom;
#[cfg(all(test, not(loom)))]
#[deny(unsafe_code)]
mod model;
#[deny(unsafe_code)]
mod producer;
#[cfg(all(test, not(loom)))]
#[deny(unsafe_code)]
mod tests;

pub(crate) use consumer::Consumer;
use consumer::Half;
#[cfg(any(test, sinew_internals))]
pub(crate) use encoder::Encoder;
use encoder::Number;
pub(crate) use encoder::{Copies, Encoded, Encoders};
pub(crate) use inbox::Inbox;
pub(crate) use ledger::Ledger;
pub(crate) use producer::{counted, new, unused};

/// Queue bodies of this length or more by reference. A copy goes to memory that has left the processor's cache:
/// over tcp, PUSH and PULL at 8 KiB are 1.04 times as fast without it, and 1.38 times where cores do not halt.
/// From 4 KiB on it made no difference that could be measured, and the body may pin a larger block.
const BY_REFERENCE: usize = 8 * 1024;

/// The size of the first block of a ring, enough for a connection that carries a message now and then. In a
/// model a block holds two small messages, so that it is soon full.
const FIRST_BLOCK: usize = if cfg!(loom) { 18 } else { 256 };
/// Refill blocks of at least this size from their start. A smaller block would make a pipe that carries single
/// messages begin a segment for every few of them.
const LASTING_BLOCK: usize = if cfg!(loom) { FIRST_BLOCK } else { 2 * 1024 };
/// The growth of each block over the one before: 256 bytes, 2, 16, then 64 KiB.
const BLOCK_GROWTH: usize = 8;
/// The size of the blocks of a busy ring.
const LARGEST_BLOCK: usize = if cfg!(loom) { FIRST_BLOCK } else { 64 * 1024 };

/// Bodies below this length are copied out of their block when popped: cheaper than sharing it.
const COPY_OUT: usize = 4 * 1024;
/// Copy a body out if it is a smaller part of its block than one in this many, since a slice keeps the whole
/// block alive. The same holds for the copy that small bodies share: in a model two of them do.
const LEAST_PART: usize = if cfg!(loom) { 2 * 9 } else { 16 };
/// Copy out at most this many bytes of small messages at once.
const RUN: usize = COPY_OUT;

/// The messages that a block to read into has room for. A run of frames that is queued by reference keeps such a block
/// alive, or one of its own length if that is more.
const READ: usize = 256 * 1024;
/// The size of a block to read into: with the prefixes of those messages, if they have 8 KiB or more. A sender's batch
/// often is as much, and a frame for which the block has no room is cut.
pub(crate) const READ_BLOCK: usize = READ + 512;

/// Bits of [`Tail::word`] below the position.
const FLAGS: u32 = 2;
/// The consumer sleeps until the next push.
const ASLEEP: u64 = 1;
/// No more pushes.
const CLOSED: u64 = 2;

/// Bits of [`Head::orders`]: the producer waits until the ring is at most half full,
const ROOM: u8 = 1;
/// or until it is empty.
const SILENCE: u8 = 2;

/// Memory was given back for which others wait: the consumer orders this of itself.
const BUDGET: u8 = 4;

/// The end of a segment that may still grow.
const OPEN: u64 = u64::MAX;

/// How much a ring holds. It is full when either bound is reached, but never while it is empty: an empty ring
/// takes a message of any size. So it holds at most one message more than `bytes` allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Number of messages.
    pub(crate) messages: usize,
    /// Length of all SP messages together; prefixes do not count.
    pub(crate) bytes: usize,
}

/// What was pushed and not yet consumed. A message counts until its last byte is consumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queued {
    /// Number of messages.
    pub(crate) messages: u64,
    /// Length of these SP messages in bytes.
    pub(crate) bytes: u64,
}

/// Why a ring refused a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushRefusal {
    /// The ring is full. The order for room is placed: a [`Taken::room`] follows.
    Full,
    /// The ring is closed.
    Closed,
}

/// Whether the consumer had gone to sleep. If so, the caller must ring its bell, once.
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
    /// Whether a producer that had found no room, or not yet silence, now has it: its bell must be rung. The
    /// producer may have found it by itself at the same time; then the bell is rung in vain. Or others wait for
    /// memory that has left: see [`Ledger`].
    pub(crate) room: bool,
}

/// The queue itself; both ends hold it by reference. It has two pairs of cache lines, since processors fetch
/// lines in pairs: the first has what the producer stores, the second what the consumer stores.
#[repr(C, align(128))]
pub(crate) struct Ring {
    tail: Tail,
    feed: UnsafeCell<Feed>,
    head: Head,
}

#[cfg(all(not(any(loom, shuttle)), target_pointer_width = "64"))]
const _: () = assert!(size_of::<Ring>() == 4 * 64, "there are as many rings as idle connections");

/// What the producer stores, and others load when they have to. Has a cache line of its own.
#[repr(align(64))]
struct Tail {
    /// The published position, and the flags below it.
    word: AtomicU64,
    /// The messages ever pushed, including one being pushed, without those evicted. Stored before `word`.
    messages: AtomicU64,
    /// Their length in bytes. Stored before `word`.
    bytes: AtomicU64,
    /// The oldest node, for a consumer that has none. Stored before `word`.
    first: AtomicPtr<Node>,
    /// The bytes of memory that the ring holds, with what its producer has added. Counted only for the ledger.
    held: AtomicU64,
    ledger: Option<Arc<Ledger>>,
    /// Never changes. It is here because the consumer needs it only when it checks for orders. A ring that
    /// takes no message is the one that is unused.
    bounds: Bounds,
}

/// What only the producer touches, through its [`Inlet`].
#[repr(align(64))]
struct Feed {
    /// The last node, if there is one. The consumer does not free it, since nothing is behind it.
    node: *mut Node,
    /// Just behind the last byte of the last node, if more may be added there.
    reach: *const u8,
    /// The position behind the last byte written.
    position: u64,
    writer: Option<Writer>,
    /// Everything that had left when last read. It never shrinks, so by it the ring seems at least as full as
    /// it is.
    departed: Queued,
    /// The last message of an encoder that was pushed.
    heard: Number,
    /// The messages to come that have a place: never more than 65,535, so that all of this fits a line.
    places: u16,
    /// The order for room may stand.
    ordered: bool,
    framing: Framing,
}

/// What the consumer stores, and the producer loads when the ring seems full.
#[repr(align(64))]
struct Head {
    /// The messages that ever left. Only the holder of the half stores here, or the inbox that has a run.
    messages: AtomicU64,
    /// Their length in bytes. Stored before `messages` and loaded after.
    bytes: AtomicU64,
    /// What the producer waits for.
    orders: AtomicU8,
    /// Whether a thread holds the half.
    taken: AtomicBool,
    framing: Framing,
    /// How many references there are. Here, since the others have no room for it, and it seldom changes.
    references: AtomicU32,
    /// For blocks that the consumer no longer needs.
    shelf: Shelf,
    half: UnsafeCell<Half>,
}

// SAFETY: what is not atomic is the half, which only the holder of `taken` touches (`HeldHalf`), the feed,
// which only the one producer touches (`Producer::inlet`), and the nodes and blocks, of which the producer
// touches what is not published and the holder of the half what is.
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    fn with(framing: Framing, bounds: Bounds, ledger: Option<Arc<Ledger>>) -> Self {
        let tail = Tail {
            word: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            first: AtomicPtr::new(ptr::null_mut()),
            held: AtomicU64::new(0),
            ledger,
            bounds,
        };
        let feed = Feed {
            node: ptr::null_mut(),
            reach: ptr::null(),
            position: 0,
            writer: None,
            departed: Queued::default(),
            heard: Number::default(),
            places: 0,
            ordered: false,
            framing,
        };
        let head = Head {
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            orders: AtomicU8::new(0),
            taken: AtomicBool::new(false),
            framing,
            references: AtomicU32::new(0),
            shelf: Shelf::new(),
            half: UnsafeCell::new(Half::default()),
        };
        Self { tail, feed: UnsafeCell::new(feed), head }
    }

    /// Whether it is the ring that many pipes share, since they never send.
    #[inline]
    fn is_unused(&self) -> bool {
        self.tail.bounds.messages == 0
    }

    /// Whether all that was pushed is consumed; if not, [`Taken::room`] follows when it is.
    pub(crate) fn ask_drained(&self) -> bool {
        if self.queued().messages > 0 {
            self.head.order(SILENCE);
            if self.queued().messages > 0 {
                return false;
            }
        }
        self.head.withdraw(SILENCE);
        true
    }

    /// Closes the ring for pushes. What is queued can still be consumed. Wakes nobody: the caller rings the
    /// bells.
    pub(crate) fn close(&self) {
        self.tail.word.fetch_or(CLOSED, Ordering::AcqRel);
    }

    /// Whether the ring is closed. With nothing queued, that is the end of the stream.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.tail.word.load(Ordering::Acquire) & CLOSED != 0
    }

    /// What is in the ring. Exact while neither end is at work, and never negative.
    #[inline]
    pub(crate) fn queued(&self) -> Queued {
        let departed = self.departed();
        self.pushed().since(departed)
    }

    /// Whether the producer may wait for something to leave.
    pub(crate) fn is_awaited(&self) -> bool {
        self.head.orders.load(Ordering::Relaxed) != 0
    }

    /// The bounds of the ring.
    #[inline]
    pub(crate) fn bounds(&self) -> Bounds {
        self.tail.bounds
    }

    /// The bytes ever pushed.
    pub(crate) fn pushed_bytes(&self) -> u64 {
        self.pushed().bytes
    }

    /// Takes the consumer's half, unless another thread has it. Never waits.
    #[inline]
    pub(crate) fn try_consumer(&self) -> Option<Consumer<'_>> {
        HeldHalf::try_new(self).map(Consumer::new)
    }

    /// Takes the consumer's half, as soon as no other thread has it.
    pub(crate) fn consumer(&self) -> Consumer<'_> {
        let backoff = Backoff::new();
        loop {
            if let Some(consumer) = self.try_consumer() {
                return consumer;
            }
            backoff.snooze();
        }
    }

    #[inline]
    fn pushed(&self) -> Queued {
        let messages = self.tail.messages.load(Ordering::Acquire);
        let bytes = self.tail.bytes.load(Ordering::Acquire);
        Queued { messages, bytes }
    }

    /// Everything that ever left.
    #[inline]
    pub(crate) fn departed(&self) -> Queued {
        // Pairs with the stores in `depart`: the bytes seen are at least those of the messages seen.
        let messages = self.head.messages.load(Ordering::Acquire);
        let bytes = self.head.bytes.load(Ordering::Acquire);
        Queued { messages, bytes }
    }

    #[inline]
    fn position(&self) -> u64 {
        // Pairs with the release in `publish`.
        self.tail.word.load(Ordering::Acquire) >> FLAGS
    }
}

/// A reference to a ring, which lives as long as there is one. An `Arc` would have its counts in front of the
/// ring, and with the ring's alignment take a cache line for them.
#[derive(Debug)]
pub(crate) struct RingRef(NonNull<Ring>);

// SAFETY: it gives shared access to the ring, which is `Send` and `Sync`, and drops it in whichever thread
// has the last reference.
unsafe impl Send for RingRef {}
// SAFETY: as above.
unsafe impl Sync for RingRef {}

impl RingRef {
    /// Abort beyond this many references: something leaks them, and the count would wrap around.
    const MOST: u32 = u32::MAX / 2;

    fn new(ring: Ring) -> Self {
        ring.head.references.store(1, Ordering::Relaxed);
        // SAFETY: a box is never null.
        Self(unsafe { NonNull::new_unchecked(Box::into_raw(Box::new(ring))) })
    }

    /// Whether nobody else has the ring any more.
    pub(crate) fn is_last(&self) -> bool {
        // Relaxed: others come only from one that there is. Who drops theirs and must be seen tells afterwards.
        self.head.references.load(Ordering::Relaxed) == 1
    }
}

impl Deref for RingRef {
    type Target = Ring;

    #[inline]
    fn deref(&self) -> &Ring {
        // SAFETY: it is freed with the last reference, and this is one.
        unsafe { self.0.as_ref() }
    }
}

impl Clone for RingRef {
    fn clone(&self) -> Self {
        // Relaxed: who clones has a reference already, so the ring stays.
        let before = self.head.references.fetch_add(1, Ordering::Relaxed);
        if before > Self::MOST {
            std::process::abort();
        }
        Self(self.0)
    }
}

impl Drop for RingRef {
    fn drop(&mut self) {
        // Release: what was done through this reference comes before the end of the ring.
        let references = &self.head.references;
        if references.fetch_sub(1, Ordering::Release) == 1 {
            // Acquire: and all that was done through the others. A load, since ThreadSanitizer knows no fences.
            references.load(Ordering::Acquire);
            // SAFETY: it was made of a box, and this was the last reference to it.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

/// The end of a ring that pushes. There is one for each ring that is used.
///
/// Reads as the ring itself.
pub(crate) struct Producer {
    ring: RingRef,
}

impl Producer {
    /// Makes an empty ring and its producer, of which there is no other.
    fn new(framing: Framing, bounds: Bounds, ledger: Option<Arc<Ledger>>) -> Self {
        // By this a ring that is used is known; and one that is empty takes a message in any case.
        let bounds = Bounds { messages: bounds.messages.max(1), ..bounds };
        Self { ring: RingRef::new(Ring::with(framing, bounds, ledger)) }
    }

    /// Makes a ring that takes no message, of which there may be many producers.
    fn unused() -> RingRef {
        let ring = Ring::with(Framing::Length, Bounds { messages: 0, bytes: 0 }, None);
        ring.close();
        RingRef::new(ring)
    }

    /// What writes into the ring; `None` if it is unused.
    #[inline]
    fn inlet(&mut self) -> Option<Inlet<'_>> {
        let ring = &*self.ring;
        if ring.is_unused() {
            return None;
        }
        // SAFETY: only here is the feed touched. The producer of a ring that is used is the only one, since
        // `new` has made both, and it is borrowed for as long as the reference lives.
        let feed = unsafe { ring.feed.get_mut().with(|feed| &mut *feed) };
        Some(Inlet { ring, feed })
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("queued", &self.queued()).finish_non_exhaustive()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // So that a body whose destructor panics does not keep the others from being dropped.
        let _bodies = body::put_off();
        let half = self.head.half.get_mut();
        // SAFETY: nobody else has the ring any more, so all nodes are ours. They form a list that
        // begins at the consumer's, or at the first if it has none.
        unsafe {
            let outlet = &half.with(|half| &mut *half).outlet;
            let first = if outlet.node.is_null() {
                self.tail.first.load(Ordering::Relaxed)
            } else {
                outlet.node
            };
            drop_nodes(first);
        }
        self.give_back_all_but(0);
    }
}

impl Tail {
    /// Counts messages as never pushed. For the producer, which has evicted them.
    fn forget(&self, evicted: Taken) {
        let (messages, bytes) = (&self.messages, &self.bytes);
        messages.store(messages.load(Ordering::Relaxed) - evicted.messages, Ordering::Relaxed);
        bytes.store(bytes.load(Ordering::Relaxed) - evicted.bytes, Ordering::Relaxed);
    }
}

impl Head {
    /// Orders the consumer to tell when `order` is met. A check after this shows everything that the consumer
    /// has counted before it sees the order.
    fn order(&self, order: u8) {
        self.orders.fetch_or(order, Ordering::AcqRel);
        fence(Ordering::SeqCst); // pairs with the one in `has_orders`
    }

    #[inline]
    fn withdraw(&self, order: u8) {
        if self.orders.load(Ordering::Relaxed) & order != 0 {
            self.orders.fetch_and(!order, Ordering::AcqRel);
        }
    }

    /// Whether the producer may wait for what the consumer has counted so far.
    #[inline]
    fn has_orders(&self) -> bool {
        fence(Ordering::SeqCst); // pairs with the one in `order`
        self.orders.load(Ordering::Relaxed) != 0
    }

    /// Counts what has left. Only for who may store here.
    #[inline]
    fn depart(&self, messages: u64, bytes: u64) {
        let bytes = self.bytes.load(Ordering::Relaxed) + bytes;
        let messages = self.messages.load(Ordering::Relaxed) + messages;
        self.bytes.store(bytes, Ordering::Release);
        self.messages.store(messages, Ordering::Release);
    }
}

impl Bounds {
    #[inline]
    fn reached_by(self, queued: Queued) -> bool {
        queued.messages > 0
            && (queued.messages >= widen(self.messages) || queued.bytes >= widen(self.bytes))
    }

    fn doubled(self) -> Self {
        let Self { messages, bytes } = self;
        Self { messages: messages.saturating_mul(2), bytes: bytes.saturating_mul(2) }
    }

    /// Whether the queued messages use up seven eighths of either bound.
    pub(crate) fn nearly_reached_by(self, queued: Queued) -> bool {
        let most = |bound: usize| widen(bound - bound / 8);
        queued.messages >= most(self.messages) || queued.bytes >= most(self.bytes)
    }

    #[inline]
    pub(crate) fn at_most_half(self, queued: Queued) -> bool {
        queued.messages <= widen(self.messages / 2) && queued.bytes <= widen(self.bytes / 2)
    }
}

impl Queued {
    #[inline]
    fn since(self, departed: Self) -> Self {
        // What is being pushed or refused this moment may be half counted.
        Self {
            messages: self.messages.saturating_sub(departed.messages),
            bytes: self.bytes.saturating_sub(departed.bytes),
        }
    }
}

/// Memory for bytes. One [`Writer`] fills it; what it has filled is read through nodes and
/// [`Span`]s, which count the block.
struct Block {
    bytes: NonNull<u8>,
    size: usize,
    /// Whether some of the bytes were lent out of the ring, and may be read at any later time.
    lent: AtomicBool,
    /// One for each byte: loom cannot watch the bytes themselves.
    #[cfg(loom)]
    marks: Vec<::loom::cell::UnsafeCell<()>>,
}

// SAFETY: the bytes are memory like any other; who may touch which is the affair of `Writer`, nodes
// and `Span`s.
unsafe impl Send for Block {}
// SAFETY: as above.
unsafe impl Sync for Block {}

impl Block {
    fn new(size: usize) -> Counted<Self> {
        let bytes = Box::into_raw(Box::<[u8]>::new_uninit_slice(size)).cast();
        // SAFETY: a box is never null.
        let bytes = unsafe { NonNull::new_unchecked(bytes) };
        Counted::new(Self {
            bytes,
            size,
            lent: AtomicBool::new(false),
            #[cfg(loom)]
            marks: (0..size).map(|_| ::loom::cell::UnsafeCell::new(())).collect(),
        })
    }

    /// Tells loom that `len` bytes at `at` are written or read now.
    #[cfg(loom)]
    fn watch(&self, at: *const u8, len: usize, write: bool) {
        let at = (at as usize).wrapping_sub(self.bytes.as_ptr() as usize);
        if at > self.size {
            return; // in a copy, which only the consumer has
        }
        for mark in &self.marks[at..at + len] {
            if write {
                mark.with_mut(|_| ());
            } else {
                mark.with(|_| ());
            }
        }
    }

    #[cfg(not(loom))]
    fn watch(&self, _: *const u8, _: usize, _write: bool) {}
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = self.bytes.as_ptr().cast::<MaybeUninit<u8>>();
        // SAFETY: it was made of a box of this size, and this is the last who knows of it.
        drop(unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(bytes, self.size)) });
    }
}

/// Fills a block: the first `len` bytes are filled, and only the others are written.
struct Writer {
    block: Counted<Block>,
    len: usize,
}

impl Writer {
    /// Makes the writer of a block to which nobody else refers.
    fn new(mut block: Counted<Block>) -> Self {
        let fresh = Counted::get_mut(&mut block).expect("a block has one writer");
        fresh.lent = AtomicBool::new(false);
        Self { block, len: 0 }
    }

    /// How many bytes are free.
    #[inline]
    fn room(&self) -> usize {
        self.block.size - self.len
    }

    /// Where the next byte goes.
    #[inline]
    fn end(&self) -> *const u8 {
        // SAFETY: `len` is at most `size`, so this is within the block or right behind it.
        unsafe { self.block.bytes.as_ptr().add(self.len) }
    }

    /// Appends `parts`, which must fit.
    #[inline]
    fn write<const N: usize>(&mut self, parts: [&[u8]; N]) -> Filled<'_> {
        let len = total(&parts);
        assert!(len <= self.room(), "who writes has asked for room");
        let start = self.end();
        self.block.watch(start, len, true);
        let mut at = self.len;
        for part in parts {
            // SAFETY: all parts fit, one after the other. There is no other writer of the block, and
            // nobody reads behind `len`: readers are given what is before it.
            unsafe {
                let end = self.block.bytes.as_ptr().add(at);
                match part.len() {
                    0 => {}
                    // A prefix: known lengths are copied in place.
                    8 => ptr::copy_nonoverlapping(part.as_ptr(), end, 8),
                    9 => ptr::copy_nonoverlapping(part.as_ptr(), end, 9),
                    len => ptr::copy_nonoverlapping(part.as_ptr(), end, len),
                }
            }
            at += part.len();
        }
        self.len = at;
        Filled { block: &self.block, start, len }
    }

    /// Starts again from the beginning.
    ///
    /// # Safety
    ///
    /// All that was ever written is read by now, and not `lent`, and the caller knows so by an
    /// acquire.
    unsafe fn rewind(&mut self) {
        self.len = 0;
    }
}

/// How long `parts` are together. They are in memory, and few: the sum is a usize.
#[inline]
fn total<const N: usize>(parts: &[&[u8]; N]) -> usize {
    parts.iter().map(|part| part.len()).sum()
}

/// Bytes that a [`Writer`] has just filled. Only a writer makes one.
struct Filled<'w> {
    block: &'w Counted<Block>,
    start: *const u8,
    len: usize,
}

impl Filled<'_> {
    /// Whether they continue the bytes that end at `reach`, which are in a block that is alive, or null.
    #[inline]
    fn goes_on_from(&self, reach: *const u8) -> bool {
        // The end of another block may be where this one begins, but is not within this one.
        self.start == reach && !ptr::eq(self.start, self.block.bytes.as_ptr())
    }
}

/// Some filled bytes of a block, which may be kept for any time.
struct Span {
    _block: Counted<Block>,
    at: *const u8,
    len: usize,
}

// SAFETY: it only ever reads, bytes that nobody writes while it counts the block.
unsafe impl Send for Span {}
// SAFETY: as above.
unsafe impl Sync for Span {}

impl AsRef<[u8]> for Span {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `Outlet::share` has made it of filled bytes; the block is `lent`, so its ring does
        // not rewind it, and counted, so nobody else takes it for unused.
        unsafe { slice::from_raw_parts(self.at, self.len) }
    }
}

/// Blocks that the consumer no longer needs, for the producer to refill, so that a stream allocates no block
/// anew. Two: one is being filled and one read while they are exchanged.
struct Shelf([AtomicPtr<Block>; 2]);

impl Shelf {
    fn new() -> Self {
        Self([AtomicPtr::new(ptr::null_mut()), AtomicPtr::new(ptr::null_mut())])
    }

    /// Keeps `block` if there is room and nobody else refers to it. For the holder of the half.
    fn put(&self, mut block: Counted<Block>) {
        if block.size > LARGEST_BLOCK || Counted::get_mut(&mut block).is_none() {
            return;
        }
        let block = Counted::into_raw(block).cast_mut();
        for place in &self.0 {
            if place.load(Ordering::Relaxed).is_null() {
                // Nobody else puts, so the place is still free.
                return Self::free(place.swap(block, Ordering::AcqRel));
            }
        }
        Self::free(block);
    }

    fn take(&self) -> Option<Counted<Block>> {
        let occupied = |place: &&AtomicPtr<Block>| !place.load(Ordering::Relaxed).is_null();
        let block = self.0.iter().find(occupied)?.swap(ptr::null_mut(), Ordering::AcqRel);
        // SAFETY: what is not null was made by `into_raw` in `put`, and the swap has taken it out.
        (!block.is_null()).then(|| unsafe { Counted::from_raw(block) })
    }

    fn clear(&self) {
        for place in &self.0 {
            Self::free(place.swap(ptr::null_mut(), Ordering::AcqRel));
        }
    }

    fn free(block: *mut Block) {
        if !block.is_null() {
            // SAFETY: it was made by `into_raw` in `put`, and only one has got it out of its place.
            drop(unsafe { Counted::from_raw(block) });
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A segment: a contiguous range of bytes. The next node continues where it ends.
///
/// The producer makes and links a node, and writes `end` and `next` until it has published something behind
/// it. The consumer reads a node once something in it or behind it is published, and frees it when something
/// behind it is.
struct Node {
    memory: Memory,
    /// Where its bytes begin.
    start: *const u8,
    /// The position at which it ends; [`OPEN`] while it may grow.
    end: AtomicU64,
    next: AtomicPtr<Self>,
}

enum Memory {
    /// With the size of the block that the writer has left for it, if it has.
    Block(Counted<Block>, usize),
    /// With the size of the memory that they keep alive.
    Bytes(Body, usize),
}

impl Memory {
    /// The bytes of memory that it keeps alive.
    fn pins(&self) -> usize {
        match self {
            Self::Block(block, _) => block.size,
            Self::Bytes(_, size) => *size,
        }
    }
}

/// Frees `node` and all behind it.
///
/// # Safety
///
/// They are a list that ends with null, and nobody else knows them or ever will.
unsafe fn drop_nodes(mut node: *mut Node) {
    while !node.is_null() {
        // SAFETY: by the promise of the caller; each was made of a box in `Inlet::open`.
        let dropped = unsafe { Box::from_raw(node) };
        node = dropped.next.load(Ordering::Relaxed);
    }
}

/// The producer's end of the list: writes bytes behind those that are published.
struct Inlet<'r> {
    ring: &'r Ring,
    feed: &'r mut Feed,
}

/// Where an [`Inlet`] was before it wrote what is not yet published.
#[derive(Clone, Copy)]
struct Mark {
    node: *mut Node,
    position: u64,
}

impl Inlet<'_> {
    /// The same inlet, for a call that takes it by value: so both references stay in registers.
    #[inline]
    fn reborrow(&mut self) -> Inlet<'_> {
        Inlet { ring: self.ring, feed: self.feed }
    }

    #[inline]
    fn mark(&self) -> Mark {
        Mark { node: self.feed.node, position: self.feed.position }
    }

    /// Appends `parts`, all in one segment. Inlined into each push.
    #[inline(always)]
    fn write<const N: usize>(&mut self, parts: [&[u8]; N]) {
        let len = total(&parts);
        let mut left = 0;
        if self.feed.writer.as_ref().is_none_or(|writer| writer.room() < len) {
            left = self.reborrow().change_block(len);
        }
        let Some(writer) = &mut self.feed.writer else { return };
        let filled = writer.write(parts);
        let (start, len) = (filled.start, filled.len);
        if !filled.goes_on_from(self.feed.reach) {
            self.reborrow().open_own(left, start);
        }
        self.extend(start, len);
    }

    /// Begins a segment in the block being filled, for which one of `left` bytes was left.
    #[cold]
    #[inline(never)]
    fn open_own(mut self, left: usize, start: *const u8) {
        if let Some(writer) = &self.feed.writer {
            let block = Counted::clone(&writer.block);
            self.open(Memory::Block(block, left), start);
        }
    }

    /// Whether `filled` begins where the last segment ends.
    #[inline]
    fn goes_on(&self, filled: &Filled<'_>) -> bool {
        filled.goes_on_from(self.feed.reach)
    }

    /// Appends bytes that are already filled, in our own block or in another's.
    fn refer(&mut self, filled: &Filled<'_>) {
        let &Filled { block, start, len } = filled;
        if !self.goes_on(filled) {
            self.open(Memory::Block(Counted::clone(block), 0), start);
        }
        self.extend(start, len);
    }

    /// Adds the `len` bytes at `start` to the last segment.
    #[inline]
    fn extend(&mut self, start: *const u8, len: usize) {
        // One behind the last byte at most. Only compared, never read.
        self.feed.reach = start.wrapping_add(len);
        self.feed.position += widen(len);
    }

    /// Appends `bytes`, without a copy; they keep `size` bytes of memory alive.
    fn share(&mut self, bytes: Body, size: usize) {
        let (start, len) = (bytes.as_ptr(), widen(bytes.len()));
        self.ring.charge(size);
        self.open(Memory::Bytes(bytes, size), start);
        self.feed.position += len;
        self.seal();
    }

    /// Publishes what is written; `pushed` is the new count. Returns whether the consumer slept. A closed
    /// ring takes only what is `forced` on it: `None` if it takes nothing.
    #[inline]
    fn publish(&mut self, pushed: Queued, forced: bool) -> Option<bool> {
        let tail = &self.ring.tail;
        tail.messages.store(pushed.messages, Ordering::Relaxed);
        tail.bytes.store(pushed.bytes, Ordering::Relaxed);
        let mut word = tail.word.load(Ordering::Relaxed);
        loop {
            if word & CLOSED != 0 && !forced {
                return None;
            }
            let next = self.feed.position << FLAGS | word & CLOSED;
            // Release: what is written, the nodes and the counts. Acquire, though of no data: what
            // the consumer did before it went to sleep has happened when it is woken.
            match tail.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(word & ASLEEP != 0),
                Err(now) => word = now,
            }
        }
    }

    /// Takes back what was written since `mark` and not published; `pushed` is the count before that.
    #[cold]
    #[inline(never)]
    fn cut(mut self, mark: Mark, pushed: Queued) {
        self.feed.position = mark.position;
        self.ring.tail.messages.store(pushed.messages, Ordering::Relaxed);
        self.ring.tail.bytes.store(pushed.bytes, Ordering::Relaxed);
        let first = &self.ring.tail.first;
        // SAFETY: the last node is there while we are (see `node`). The nodes behind the mark are
        // not published, so nobody has followed the pointer to them.
        unsafe {
            if mark.node.is_null() {
                drop_nodes(first.swap(ptr::null_mut(), Ordering::Relaxed));
            } else {
                drop_nodes((*mark.node).next.swap(ptr::null_mut(), Ordering::Relaxed));
                (*mark.node).end.store(OPEN, Ordering::Relaxed);
            }
        }
        self.feed.node = mark.node;
        self.seal();
    }

    /// Ends the last segment at the current position.
    fn seal(&mut self) {
        self.feed.reach = ptr::null();
        if self.feed.node.is_null() {
            return;
        }
        // SAFETY: the last node is there while we are (see `node`). The reference is to no more than its end,
        // since the consumer may let go of its bytes meanwhile.
        let end = unsafe { &(*self.feed.node).end };
        if end.load(Ordering::Relaxed) == OPEN {
            // Relaxed: the release in `publish` comes before anything is seen behind the end.
            end.store(self.feed.position, Ordering::Relaxed);
        }
    }

    /// Begins a segment.
    fn open(&mut self, memory: Memory, start: *const u8) {
        self.seal();
        let end = AtomicU64::new(OPEN);
        let next = AtomicPtr::new(ptr::null_mut());
        let node = Box::into_raw(Box::new(Node { memory, start, end, next }));
        let next = if self.feed.node.is_null() {
            &self.ring.tail.first
        } else {
            // SAFETY: the last node is there while we are (see `node`), and as in `seal`.
            unsafe { &(*self.feed.node).next }
        };
        next.store(node, Ordering::Relaxed);
        self.feed.node = node;
    }

    /// Makes room for `len` bytes in one piece. Returns the size of the block that it leaves for that, which the
    /// consumer gives back when it comes to the next one.
    #[cold]
    #[inline(never)]
    fn change_block(mut self, len: usize) -> usize {
        if self.rewind(len) {
            return 0;
        }
        let left = self.feed.writer.as_ref().map_or(0, |writer| writer.block.size);
        let mut size = match next_size(left) {
            enough if enough >= len => enough,
            small => next_size(small).max(len),
        };
        if widen(size) > self.ring.headroom() {
            size = len.max(FIRST_BLOCK);
        }
        // Given up before anything behind it is published: then the consumer has it alone.
        self.feed.writer = None;
        let spare = self.ring.head.shelf.take().filter(|block| block.size >= size);
        let block = spare.unwrap_or_else(|| Block::new(size));
        self.ring.charge(block.size);
        self.feed.writer = Some(Writer::new(block));
        left
    }

    /// Refills the full block from its start, if it is large enough and all of it was consumed: so a pipe
    /// that carries single messages stays within the few cache lines of its first block.
    fn rewind(&mut self, len: usize) -> bool {
        let Some(writer) = &mut self.feed.writer else { return false };
        let tail = &self.ring.tail;
        let all = tail.messages.load(Ordering::Relaxed);
        // Acquire, of what the consumer has read, and of what it has lent.
        let idle = self.ring.head.messages.load(Ordering::Acquire) == all
            && tail.word.load(Ordering::Relaxed) >> FLAGS == self.feed.position
            && !writer.block.lent.load(Ordering::Relaxed);
        if !idle || writer.block.size < len.max(LASTING_BLOCK) {
            return false;
        }
        // SAFETY: all messages that were published have departed, and nothing is written that is not
        // published. What is consumed is read no more, unless the block is lent.
        unsafe { writer.rewind() };
        self.seal();
        true
    }

    /// Releases the blocks that are kept for later.
    fn release_spares(&mut self) {
        self.ring.head.shelf.clear();
    }

    /// Releases all memory, if the ring is empty and the consumer's half is free. `partial` bytes are the
    /// producer's own, and stay counted.
    fn release_memory(&mut self, partial: usize) -> bool {
        let ring = self.ring;
        let Some(mut held) = HeldHalf::try_new(ring) else { return false };
        if !held.half().has_consumed(self.feed.position) {
            return false;
        }
        let outlet = &mut held.half().outlet;
        let first = if outlet.node.is_null() {
            ring.tail.first.load(Ordering::Relaxed)
        } else {
            outlet.node
        };
        (outlet.node, outlet.at) = (ptr::null_mut(), ptr::null());
        ring.tail.first.store(ptr::null_mut(), Ordering::Relaxed);
        self.feed.node = ptr::null_mut();
        self.seal();
        self.feed.writer = None;
        // SAFETY: both ends are here, and neither knows a node any more.
        unsafe { drop_nodes(first) };
        ring.head.shelf.clear();
        ring.give_back_all_but(partial);
        true
    }
}

/// The size of the block after one of `size`, or of the first if `size` is 0.
fn next_size(size: usize) -> usize {
    size.saturating_mul(BLOCK_GROWTH).clamp(FIRST_BLOCK, LARGEST_BLOCK)
}

/// The consumer's end of the list. Kept in the half, and used through [`HeldHalf`], which has the ring.
struct Outlet {
    /// The node that contains `position` or ends there. Null before the first.
    node: *mut Node,
    /// Where the byte at `position` is, if it is before `limit`.
    at: *const u8,
    /// Of the next byte to be consumed.
    position: u64,
    /// Up to here the bytes are contiguous, and published.
    limit: u64,
    /// The published position when last read.
    known: u64,
}

impl Default for Outlet {
    fn default() -> Self {
        let (node, at) = (ptr::null_mut(), ptr::null());
        Self { node, at, position: 0, limit: 0, known: 0 }
    }
}

impl Outlet {
    #[inline]
    fn contiguous(&self) -> usize {
        // Contiguous bytes are in memory, so their number is a usize.
        (self.limit - self.position) as usize
    }

    /// Moves on by `n` bytes, which are contiguous.
    #[inline]
    fn step(&mut self, n: usize) {
        self.at = self.at.wrapping_add(n);
        self.position += widen(n);
    }
}

/// The consumer's half, held by a thread. Dropping this gives it back.
struct HeldHalf<'r> {
    ring: &'r Ring,
    half: ManuallyDrop<MutPtr<Half>>,
}

impl<'r> HeldHalf<'r> {
    #[inline]
    fn try_new(ring: &'r Ring) -> Option<Self> {
        // Acquire: what the last holder has left behind.
        let taken = &ring.head.taken;
        taken.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(Self { ring, half: ManuallyDrop::new(ring.head.half.get_mut()) })
    }

    #[inline]
    fn half(&mut self) -> &mut Half {
        // SAFETY: `taken` is set by us and by nobody else until we are dropped, so this is the only
        // reference; and it ends before the next is made, since it borrows us mutably.
        unsafe { self.half.with(|half| &mut *half) }
    }

    #[inline]
    fn peek(&self) -> &Half {
        // SAFETY: as in `half`.
        unsafe { self.half.with(|half| &*half) }
    }

    /// The published position.
    #[inline]
    fn position(&self) -> u64 {
        self.ring.position()
    }

    /// Moves on until there are bytes before the limit; `false` if everything published is consumed.
    #[inline]
    fn refill(&mut self) -> bool {
        let outlet = &self.peek().outlet;
        outlet.position < outlet.limit || self.refill_empty()
    }

    /// What [`refill`](Self::refill) does when the limit is reached.
    #[inline(never)]
    fn refill_empty(&mut self) -> bool {
        let ring = self.ring;
        let outlet = &mut self.half().outlet;
        if outlet.position == outlet.known {
            outlet.known = ring.position();
        }
        if outlet.position == outlet.known {
            return false;
        }
        if outlet.node.is_null() {
            outlet.node = ring.tail.first.load(Ordering::Relaxed);
            // SAFETY: there is something published and the consumer has no node yet, so the first was
            // linked before it was published, and is freed by us only.
            outlet.at = unsafe { (*outlet.node).start };
        }
        loop {
            // SAFETY: the node is ours: linked before what is published behind it, and freed below.
            let end = unsafe { (*outlet.node).end.load(Ordering::Relaxed) };
            if end > outlet.position {
                outlet.limit = end.min(outlet.known);
                return true;
            }
            // SAFETY: something is published behind the end of this node, so the next one was linked
            // before, and the producer is done with this one.
            let (used_up, next) = unsafe {
                let node = Box::from_raw(outlet.node);
                outlet.node = node.next.load(Ordering::Relaxed);
                outlet.at = (*outlet.node).start;
                (node, &(*outlet.node).memory)
            };
            let mut given_back = if let Memory::Block(_, left) = next { *left } else { 0 };
            match used_up.memory {
                Memory::Block(block, _) if !ring.is_short() => ring.head.shelf.put(block),
                Memory::Block(..) => {}
                Memory::Bytes(_, size) => given_back += size,
            }
            if given_back > 0 {
                ring.give_back_consumed(given_back);
            }
        }
    }

    /// The contiguous bytes at the front of the list: between frames, at least one frame up to its header.
    /// Empty if [`refill`](Self::refill) has found nothing.
    #[inline]
    fn front(&self) -> &[u8] {
        let outlet = &self.peek().outlet;
        match outlet.contiguous() {
            0 => &[],
            // SAFETY: what is below the limit is published and not consumed; the node keeps it alive.
            len => unsafe { self.bytes(outlet.node, outlet.at, len) },
        }
    }

    /// The bytes in the segment behind the [`front`](Self::front), which must be published.
    fn second(&self) -> &[u8] {
        let outlet = &self.peek().outlet;
        // SAFETY: something is published behind the limit, and that is not in the same node: there is
        // a next one, it is linked, and it begins there.
        unsafe {
            let node = (*outlet.node).next.load(Ordering::Relaxed);
            let end = (*node).end.load(Ordering::Relaxed).min(outlet.known);
            self.bytes(node, (*node).start, (end - outlet.limit) as usize)
        }
    }

    /// Reads the published position, and moves on until there are bytes before the limit.
    fn refresh(&mut self) -> bool {
        self.half().outlet.known = self.position();
        self.refill()
    }

    /// Lists what was published at the last refresh and is not consumed, in at most as many slices as `out`
    /// has.
    fn list<'a>(&'a self, out: &mut [IoSlice<'a>]) -> usize {
        let outlet = &self.peek().outlet;
        let known = outlet.known;
        let (mut node, mut at, mut position) = (outlet.node, outlet.at, outlet.position);
        let mut listed = 0;
        while listed < out.len() && position < known {
            // SAFETY: `position` is published and at or behind the beginning of this node, so it is
            // linked; if it ends here, the next one is. What is published and not consumed does not
            // change while we are borrowed, since nobody can consume it.
            unsafe {
                let end = (*node).end.load(Ordering::Relaxed).min(known);
                if end > position {
                    let bytes = self.bytes(node, at, (end - position) as usize);
                    out[listed] = IoSlice::new(bytes);
                    listed += 1;
                }
                position = end;
                if position < known {
                    node = (*node).next.load(Ordering::Relaxed);
                    at = (*node).start;
                }
            }
        }
        listed
    }

    /// # Safety
    ///
    /// The bytes are in the node, and published, and will not be consumed before we are used again.
    unsafe fn bytes(&self, node: *const Node, at: *const u8, len: usize) -> &[u8] {
        // SAFETY: by the promise of the caller; what is published is not written any more.
        unsafe {
            if let Memory::Block(block, _) = &(*node).memory {
                block.watch(at, len, false);
            }
            slice::from_raw_parts(at, len)
        }
    }

    /// Takes off the first `n` bytes, which must be published.
    fn advance(&mut self, n: usize) {
        let mut rest = n;
        while rest > 0 {
            assert!(self.refill(), "{TAKEN_OVER_WHOLE}");
            let outlet = &mut self.half().outlet;
            let step = rest.min(outlet.contiguous());
            outlet.step(step);
            rest -= step;
        }
    }

    /// Takes off `skip` bytes and `len` more, all in the front; returns what `copy` makes of the latter.
    #[inline(always)]
    fn copy_out(&mut self, skip: usize, len: usize, copy: impl FnOnce(&[u8]) -> Bytes) -> Bytes {
        let body = copy(&self.front()[skip..skip + len]);
        self.half().outlet.step(skip + len);
        body
    }

    /// The first `len` bytes of the front as a body: a copy if a reference would pin too much memory.
    fn body(&self, len: usize) -> Body {
        if len < COPY_OUT {
            return body::copied(&self.front()[..len]).into();
        }
        // SAFETY: the front is not empty, so the node is there and ours.
        let pins = unsafe { (*self.peek().outlet.node).memory.pins() };
        if len < pins / LEAST_PART {
            body::copied(&self.front()[..len]).into()
        } else {
            self.share(len)
        }
    }

    /// The first `len` bytes of the front, without a copy.
    fn share(&self, len: usize) -> Body {
        let bytes = &self.front()[..len];
        if bytes.is_empty() {
            return Body::default();
        }
        // SAFETY: the front is not empty, so the node is there and ours.
        match unsafe { &(*self.peek().outlet.node).memory } {
            Memory::Bytes(all, _) => all.slice_ref(bytes).into(),
            Memory::Block(block, _) => {
                // The producer acquires this with the departure of the message.
                block.lent.store(true, Ordering::Relaxed);
                let block = Counted::clone(block);
                Bytes::from_owner(Span { _block: block, at: bytes.as_ptr(), len }).into()
            }
        }
    }

    /// Lets go of the bytes that were consumed last, if they lie in a segment of their own. Until the next push they
    /// would stay for nothing.
    #[inline]
    fn let_go(&mut self) {
        let ring = self.ring;
        let outlet = &mut self.half().outlet;
        if outlet.node.is_null() {
            return;
        }
        // SAFETY: the node is ours. The producer, whose last one it may be, touches no more of it than its end and
        // its link, and has no reference to the whole. Nothing of the bytes is read any more: all that was
        // published is consumed.
        if let Memory::Bytes(bytes, size) = unsafe { &mut (*outlet.node).memory }
            && *size > 0
        {
            drop(std::mem::take(bytes));
            ring.give_back_consumed(std::mem::take(size));
        }
    }

    /// Marks the consumer as asleep, if everything published is consumed.
    fn sleep(&mut self) -> bool {
        let position = self.half().outlet.position;
        let word = &self.ring.tail.word;
        let mut seen = word.load(Ordering::Acquire);
        while seen >> FLAGS == position {
            // On the same word that a push changes: the push either comes before the sleep, or wakes.
            match word.compare_exchange(seen, seen | ASLEEP, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }
}

impl Drop for HeldHalf<'_> {
    fn drop(&mut self) {
        // SAFETY: dropped here and nowhere else, and not used again.
        unsafe { ManuallyDrop::drop(&mut self.half) };
        self.ring.head.taken.store(false, Ordering::Release);
    }
}

/// Why the consumer finds the rest of a frame of which it has seen the prefix.
const TAKEN_OVER_WHOLE: &str = "frames are published and consumed whole";
