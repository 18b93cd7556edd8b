//! The producer of a ring: the one that pushes.
//!
//! Owns the count of what was ever pushed, and what it knows of what has left: it reads the consumer's cache
//! line only when the ring seems full otherwise.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use super::{
    BY_REFERENCE, Bounds, Encoded, Inlet, Ledger, Mark, Producer, PushRefusal, Queued, READ, ROOM,
    Ring, RingRef, Wake,
};
use crate::sync::Arc;
use crate::sys::PerProcess;
use crate::wire::frame::{Framing, widen};

/// Makes an empty ring for frames of `framing`, and its one producer. It allocates no memory for bytes yet.
pub(crate) fn new(framing: Framing, bounds: Bounds) -> (Producer, RingRef) {
    make(framing, bounds, None)
}

/// As [`new`], and has a ledger count what the ring holds.
pub(crate) fn counted(
    framing: Framing,
    bounds: Bounds,
    ledger: &Arc<Ledger>,
) -> (Producer, RingRef) {
    make(framing, bounds, Some(Arc::clone(ledger)))
}

fn make(framing: Framing, bounds: Bounds, ledger: Option<Arc<Ledger>>) -> (Producer, RingRef) {
    let producer = Producer::new(framing, bounds, ledger);
    let ring = producer.ring.clone();
    (producer, ring)
}

/// The ring of pipes that never send. It is closed and stays empty, so all such pipes share it.
pub(crate) fn unused() -> (Producer, RingRef) {
    static RING: PerProcess<RingRef> = PerProcess::new(Producer::unused);
    (Producer { ring: RING.get().clone() }, RING.get().clone())
}

impl Deref for Producer {
    type Target = Ring;

    fn deref(&self) -> &Ring {
        &self.ring
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Producer").field(&*self.ring).finish()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(inlet) = self.inlet() {
            inlet.feed.writer = None;
        }
    }
}

impl Producer {
    /// How its messages are framed.
    pub(crate) fn framing(&mut self) -> Framing {
        self.inlet().map_or(Framing::Length, |inlet| inlet.feed.framing)
    }

    /// The ring.
    pub(crate) fn ring(&self) -> &RingRef {
        &self.ring
    }

    /// Appends the message `header` then `body`. Finding room withdraws the order for it.
    #[inline(always)]
    pub(crate) fn push(&mut self, header: &[u8], body: &Bytes) -> Result<Wake, PushRefusal> {
        let mut inlet = self.inlet().ok_or(PushRefusal::Closed)?;
        inlet.admit()?;
        inlet.add(header, body)
    }

    /// Appends the message `header` then `body`, and makes room by dropping the oldest, as
    /// [`make_room`](Self::make_room) does; returns how many, perhaps some even if the ring was closed meanwhile.
    pub(crate) fn push_evicting(
        &mut self,
        header: &[u8],
        body: &Bytes,
    ) -> (Result<Wake, PushRefusal>, u64) {
        match self.make_room() {
            Ok(evicted) => (self.add(header, body), evicted),
            Err(refusal) => (Err(refusal), 0),
        }
    }

    /// Whether a message may be added. As [`ask_room`](Self::ask_room), and refuses if it has not, or if the ring
    /// is full and closed.
    #[inline]
    pub(crate) fn admit(&mut self) -> Result<(), PushRefusal> {
        self.inlet().map_or(Ok(()), |mut inlet| inlet.admit())
    }

    /// Drops the oldest messages if the ring is full, so that a message may be added; says how many.
    ///
    /// Keeps a message that is partly consumed. While the consumer is at work nothing can be dropped, but
    /// there will soon be room: so the ring may exceed its bounds, up to twice, since that work takes long if
    /// its thread is not scheduled.
    #[inline]
    pub(crate) fn make_room(&mut self) -> Result<u64, PushRefusal> {
        let inlet = self.inlet().ok_or(PushRefusal::Closed)?;
        if inlet.seems_full(0) { inlet.evict_if_full() } else { Ok(0) }
    }

    /// Appends the message `header` then `body` to a ring that has room, unless it is closed.
    #[inline(always)]
    pub(crate) fn add(&mut self, header: &[u8], body: &Bytes) -> Result<Wake, PushRefusal> {
        self.inlet().ok_or(PushRefusal::Closed)?.add(header, body)
    }

    /// As [`add`](Self::add), for a message that was framed for many rings: without a copy if possible.
    #[inline]
    pub(crate) fn add_encoded(&mut self, encoded: &Encoded<'_>) -> Result<Wake, PushRefusal> {
        let mut inlet = self.inlet().ok_or(PushRefusal::Closed)?;
        let mark = inlet.mark();
        inlet.copy_encoded(encoded);
        inlet.publish_message(mark, encoded.payload)
    }

    /// Appends `count` whole frames as they are on the wire.
    ///
    /// Even a full or closed ring takes them: they have left the kernel, so there is no way back. The reader
    /// checks [`ask_room`](Self::ask_room) before it reads; [`queued`](Ring::queued) counts what is left in a
    /// closed ring.
    pub(crate) fn append(&mut self, frames: &[u8], count: usize) -> Wake {
        self.force(|inlet| {
            inlet.write([frames]);
            (count, inlet.payload_of(frames.len(), count))
        })
    }

    /// As [`append`](Self::append), without a copy. For the frames of a large read: they keep their block, of
    /// [`READ_BLOCK`](super::READ_BLOCK) bytes, alive until the last of them is consumed. The caller must make
    /// sure that they are a good part of it.
    pub(crate) fn append_shared(&mut self, frames: Bytes, count: usize) -> Wake {
        self.force(|inlet| {
            let len = frames.len();
            // Prefixes aside, as in the length of a message.
            inlet.share(frames.into(), READ.max(len));
            (count, inlet.payload_of(len, count))
        })
    }

    /// Appends one whole SP message, without a copy, even to a full or closed ring as
    /// [`append`](Self::append) does.
    pub(crate) fn append_body(&mut self, payload: Bytes) -> Wake {
        self.force(|inlet| {
            inlet.write_message(&[], &payload);
            (1, payload.len())
        })
    }

    /// Whether there is a place for one more message beside those that are kept. If not,
    /// [`Taken::room`](super::Taken::room) follows when the ring is at most half full, and something has left;
    /// a ring that is empty but for places is not told of: the caller gives places back.
    #[inline]
    pub(crate) fn ask_place(&mut self) -> bool {
        self.inlet().is_none_or(|mut inlet| {
            // More cannot be counted.
            let is_countable = inlet.feed.places < u16::MAX;
            inlet.ask_room(if is_countable { inlet.feed.places.into() } else { u64::MAX })
        })
    }

    /// Keeps the place that [`ask_place`](Self::ask_place) has found.
    #[inline]
    pub(crate) fn keep_place(&mut self) {
        if let Some(Inlet { feed, .. }) = self.inlet() {
            feed.places = feed.places.saturating_add(1);
        }
    }

    /// Gives a place back. Says whether somebody may have looked for one in vain.
    pub(crate) fn give_place_back(&mut self) -> bool {
        self.inlet().is_some_and(|Inlet { feed, .. }| {
            feed.places = feed.places.saturating_sub(1);
            feed.ordered
        })
    }

    /// Appends the message `header` then `body` in the place kept for it, whatever the bounds are: the ring may
    /// exceed its bytes by the messages that have places. Leaves the order for room as it is.
    #[inline]
    pub(crate) fn push_in_place(
        &mut self,
        header: &[u8],
        body: &Bytes,
    ) -> Result<Wake, PushRefusal> {
        let mut inlet = self.inlet().ok_or(PushRefusal::Closed)?;
        inlet.feed.places = inlet.feed.places.saturating_sub(1);
        inlet.add(header, body)
    }

    /// Whether the ring is not full. If it is, [`Taken::room`](super::Taken::room) follows when it is at most
    /// half full.
    #[inline]
    pub(crate) fn ask_room(&mut self) -> bool {
        self.inlet().is_none_or(|mut inlet| inlet.ask_room(0))
    }

    /// Releases the blocks of the ring if it is empty and its consumer's half is free; says whether it
    /// did. For a pipe that has been idle for a while: until then an empty ring keeps a block and the
    /// spare ones, so that single messages need not allocate one each.
    pub(crate) fn release_memory(&mut self) -> bool {
        self.release_memory_beside(0)
    }

    /// As [`release_memory`](Self::release_memory), for a ring that is charged with `partial` bytes that are not its
    /// own. Afterwards those who wait for memory must be told.
    pub(crate) fn release_memory_beside(&mut self, partial: usize) -> bool {
        self.inlet().is_none_or(|mut inlet| inlet.release_memory(partial))
    }

    /// Releases the blocks that the ring keeps for later.
    pub(crate) fn release_spares(&mut self) {
        if let Some(mut inlet) = self.inlet() {
            inlet.release_spares();
        }
    }

    /// The size and address of the block being filled; 0 without one.
    #[cfg(test)]
    pub(super) fn block(&mut self) -> (usize, usize) {
        let writer = self.inlet().and_then(|inlet| inlet.feed.writer.as_ref());
        writer.map_or((0, 0), |writer| (writer.block.size, writer.block.bytes.as_ptr().addr()))
    }

    /// Publishes what `write` writes, whether the ring is closed or not; it says how many messages that are,
    /// and their length.
    fn force(&mut self, write: impl FnOnce(&mut Inlet<'_>) -> (usize, usize)) -> Wake {
        let mut inlet = self.inlet().expect("a ring that receives is used");
        let (messages, bytes) = write(&mut inlet);
        let pushed = inlet.ring.pushed().plus(messages, bytes);
        Wake(inlet.publish(pushed, true) == Some(true))
    }
}

impl Inlet<'_> {
    #[inline]
    fn admit(&mut self) -> Result<(), PushRefusal> {
        match self.ask_room(0) {
            true => Ok(()),
            false if self.ring.is_closed() => Err(PushRefusal::Closed),
            false => Err(PushRefusal::Full),
        }
    }

    #[inline(always)]
    fn add(&mut self, header: &[u8], body: &Bytes) -> Result<Wake, PushRefusal> {
        let mark = self.mark();
        self.write_message(header, body);
        self.publish_message(mark, header.len() + body.len())
    }

    /// Whether the ring has room beside `places` more messages. If not, orders to be told.
    #[inline]
    fn ask_room(&mut self, places: u64) -> bool {
        !self.seems_full(places) && !self.feed.ordered || self.reborrow().ask_room_anew(places)
    }

    /// Goes on when by what is known there is no room, or when there was none before. Out of line, as all that a push
    /// rarely does, so that the rest finds room in the registers.
    #[cold]
    #[inline(never)]
    fn ask_room_anew(mut self, places: u64) -> bool {
        if self.check_full(places) {
            self.ring.head.order(ROOM);
            self.feed.ordered = true;
            if self.check_full(places) {
                return false;
            }
        }
        if std::mem::take(&mut self.feed.ordered) {
            self.ring.head.withdraw(ROOM);
        }
        true
    }

    /// Whether what is queued and `places` more messages reach the bounds, by the departures that are known.
    #[inline]
    fn seems_full(&self, places: u64) -> bool {
        let queued = self.ring.pushed().since(self.feed.departed);
        let messages = queued.messages.saturating_add(places);
        self.ring.bounds().reached_by(Queued { messages, ..queued })
    }

    /// As [`seems_full`](Self::seems_full), and reads the departures anew if so.
    fn check_full(&mut self, places: u64) -> bool {
        self.seems_full(places) && {
            self.feed.departed = self.ring.departed();
            self.seems_full(places)
        }
    }

    #[cold]
    #[inline(never)]
    fn evict_if_full(mut self) -> Result<u64, PushRefusal> {
        let ring = self.ring;
        if !self.check_full(0) {
            return Ok(0);
        }
        if ring.is_closed() {
            return Err(PushRefusal::Closed);
        }
        let (bounds, pushed) = (ring.bounds(), ring.pushed());
        match ring.try_consumer() {
            Some(mut consumer) => Ok(consumer.evict(bounds, pushed)),
            None if bounds.doubled().reached_by(ring.queued()) => Err(PushRefusal::Full),
            None => Ok(0),
        }
    }

    /// Publishes the message of `len` bytes that was written since `mark`, unless the ring is closed.
    #[inline]
    fn publish_message(&mut self, mark: Mark, len: usize) -> Result<Wake, PushRefusal> {
        let before = self.ring.pushed();
        match self.publish(before.plus(1, len), false) {
            Some(slept) => Ok(Wake(slept)),
            None => {
                self.reborrow().cut(mark, before);
                Err(PushRefusal::Closed)
            }
        }
    }

    #[inline(always)]
    fn write_message(&mut self, header: &[u8], body: &Bytes) {
        let prefix = self.feed.framing.prefix(header.len() + body.len());
        if body.len() < BY_REFERENCE {
            self.write([&prefix, header, body]);
        } else {
            self.reborrow().refer_to(&prefix, header, body);
        }
    }

    #[inline(never)]
    fn refer_to(mut self, prefix: &[u8], header: &[u8], body: &Bytes) {
        self.write([prefix, header]);
        self.share(body.clone().into(), body.len());
    }

    /// Appends a message that is already framed, if it is framed as those here are.
    fn copy_encoded(&mut self, encoded: &Encoded<'_>) {
        if encoded.framing != self.feed.framing {
            return self.write_message(encoded.parts.header, encoded.parts.body);
        }
        let follows = self.feed.heard.next() == encoded.number;
        self.write_encoded(encoded, follows);
        self.feed.heard = encoded.number;
    }

    /// Length of the SP messages in `count` frames of `len` bytes.
    fn payload_of(&self, len: usize, count: usize) -> usize {
        let prefixes = count * self.feed.framing.prefix_len();
        debug_assert!(prefixes <= len, "each frame has a prefix");
        len.saturating_sub(prefixes)
    }
}

impl Queued {
    #[inline]
    fn plus(self, messages: usize, bytes: usize) -> Self {
        Self { messages: self.messages + widen(messages), bytes: self.bytes + widen(bytes) }
    }
}
