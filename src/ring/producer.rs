//! The producer of a ring: the one that pushes.
//!
//! Owns the count of what was ever pushed, and what it knows of what has left: it reads the consumer's cache
//! line only when the ring seems full otherwise.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use super::encoder::Number;
use super::{
    BY_REFERENCE, Bounds, Encoded, Inlet, Mark, PushRefusal, Queued, READ_BLOCK, ROOM, Ring, Wake,
};
use crate::sync::Arc;
use crate::sys::PerProcess;
use crate::wire::frame::{Framing, widen};

/// Makes an empty ring for frames of `framing`, and its one producer. It allocates no memory for bytes yet.
pub(crate) fn new(framing: Framing, bounds: Bounds) -> (Producer, Arc<Ring>) {
    let ring = Arc::new(Ring::with(framing, bounds));
    (Producer::of(&ring), ring)
}

/// The ring of pipes that never send. It is closed and stays empty, so all such pipes share it.
pub(crate) fn unused() -> (Producer, Arc<Ring>) {
    static RING: PerProcess<Arc<Ring>> = PerProcess::new(|| {
        let ring = Ring::with(Framing::Length, Bounds { messages: 0, bytes: 0 });
        ring.close();
        Arc::new(ring)
    });
    (Producer::of(RING.get()), Arc::clone(RING.get()))
}

/// The end of a ring that pushes. There is one for each ring.
///
/// Reads as the ring itself.
pub(crate) struct Producer {
    inlet: Inlet,
    /// Everything that had left when last read. It never shrinks, so by it the ring seems at least as full as
    /// it is.
    departed: Queued,
    /// The messages to come that have a place.
    places: u32,
    framing: Framing,
    /// The order for room may stand.
    ordered: bool,
    /// The last message of an encoder that was pushed.
    heard: Number,
}

impl Deref for Producer {
    type Target = Ring;

    fn deref(&self) -> &Ring {
        &self.inlet.ring
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Producer").field(&self.inlet.ring).finish()
    }
}

impl Producer {
    /// How its messages are framed.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    fn of(ring: &Arc<Ring>) -> Self {
        Self {
            inlet: Inlet::new(Arc::clone(ring)),
            departed: Queued::default(),
            places: 0,
            framing: ring.head.framing,
            ordered: false,
            heard: Number::default(),
        }
    }

    /// The ring.
    pub(crate) fn ring(&self) -> &Arc<Ring> {
        &self.inlet.ring
    }

    /// Appends the message `header` then `body`. Finding room withdraws the order for it.
    #[inline]
    pub(crate) fn push(&mut self, header: &[u8], body: &Bytes) -> Result<Wake, PushRefusal> {
        self.admit()?;
        self.add(header, body)
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

    /// Whether a message may be added. As [`has_room`](Self::has_room), and refuses if it has not, or if the ring
    /// is full and closed.
    #[inline]
    pub(crate) fn admit(&mut self) -> Result<(), PushRefusal> {
        match self.has_room() {
            true => Ok(()),
            false if self.is_closed() => Err(PushRefusal::Closed),
            false => Err(PushRefusal::Full),
        }
    }

    /// Drops the oldest messages if the ring is full, so that a message may be added; says how many.
    ///
    /// Keeps a message that is partly consumed. While the consumer is at work nothing can be dropped, but
    /// there will soon be room: so the ring may exceed its bounds, up to twice, since that work takes long if
    /// its thread is not scheduled.
    #[inline]
    pub(crate) fn make_room(&mut self) -> Result<u64, PushRefusal> {
        if self.is_full() { self.evict() } else { Ok(0) }
    }

    /// Appends the message `header` then `body` to a ring that has room, unless it is closed.
    #[inline]
    pub(crate) fn add(&mut self, header: &[u8], body: &Bytes) -> Result<Wake, PushRefusal> {
        let mark = self.inlet.mark();
        self.write(header, body);
        self.publish(mark, header.len() + body.len())
    }

    /// As [`add`](Self::add), for a message that was framed for many rings: without a copy if possible.
    #[inline]
    pub(crate) fn add_encoded(&mut self, encoded: &Encoded<'_>) -> Result<Wake, PushRefusal> {
        let mark = self.inlet.mark();
        self.write_encoded(encoded);
        self.publish(mark, encoded.payload)
    }

    /// Appends `count` whole frames as they are on the wire.
    ///
    /// Even a full or closed ring takes them: they have left the kernel, so there is no way back. The reader
    /// checks [`has_room`](Self::has_room) before it reads; [`queued`](Ring::queued) counts what is left in a
    /// closed ring.
    pub(crate) fn append(&mut self, frames: &[u8], count: usize) -> Wake {
        self.inlet.write([frames]);
        self.force(count, self.payload_of(frames.len(), count))
    }

    /// As [`append`](Self::append), without a copy. For the frames of a large read: they keep their block of
    /// up to [`READ_BLOCK`] bytes alive until the last of them is consumed. The caller must make sure that
    /// they are a good part of it.
    pub(crate) fn append_shared(&mut self, frames: Bytes, count: usize) -> Wake {
        let payload = self.payload_of(frames.len(), count);
        let size = READ_BLOCK.max(frames.len());
        self.inlet.share(frames.into(), size);
        self.force(count, payload)
    }

    /// Appends one whole SP message, without a copy, even to a full or closed ring as
    /// [`append`](Self::append) does.
    pub(crate) fn append_body(&mut self, payload: Bytes) -> Wake {
        self.write(&[], &payload);
        self.force(1, payload.len())
    }

    /// Whether there is a place for one more message beside those that are kept. If not,
    /// [`Taken::room`](super::Taken::room) follows when the ring is at most half full, and something has left;
    /// a ring that is empty but for places is not told of: the caller gives places back.
    #[inline]
    pub(crate) fn has_place(&mut self) -> bool {
        if self.lacks_place() {
            self.inlet.ring.head.order(ROOM);
            self.ordered = true;
            if self.lacks_place() {
                return false;
            }
        }
        if std::mem::take(&mut self.ordered) {
            self.inlet.ring.head.withdraw(ROOM);
        }
        true
    }

    /// Keeps the place that [`has_place`](Self::has_place) has found.
    #[inline]
    pub(crate) fn keep_place(&mut self) {
        self.places += 1;
    }

    /// Gives a place back. Says whether somebody may have looked for one in vain.
    pub(crate) fn give_place_back(&mut self) -> bool {
        self.places = self.places.saturating_sub(1);
        self.ordered
    }

    /// Appends the message `header` then `body` in the place kept for it, whatever the bounds are: the ring may
    /// exceed its bytes by the messages that have places. Leaves the order for room as it is.
    #[inline]
    pub(crate) fn push_in_place(
        &mut self,
        header: &[u8],
        body: &Bytes,
    ) -> Result<Wake, PushRefusal> {
        self.places = self.places.saturating_sub(1);
        if self.is_closed() {
            return Err(PushRefusal::Closed);
        }
        self.add(header, body)
    }

    /// Whether what is queued and what has a place reach the bounds, by the departures that are known; reads
    /// them anew if so.
    #[inline]
    fn lacks_place(&mut self) -> bool {
        let (bounds, pushed) = (self.bounds(), self.pushed());
        let places = u64::from(self.places);
        let is_reached = |departed| {
            let queued: Queued = pushed.since(departed);
            bounds.reached_by(Queued { messages: queued.messages + places, ..queued })
        };
        if !is_reached(self.departed) {
            return false;
        }
        self.departed = self.inlet.ring.departed();
        is_reached(self.departed)
    }

    /// Whether the ring is not full. If it is, [`Taken::room`](super::Taken::room) follows when it is at most
    /// half full.
    #[inline]
    pub(crate) fn has_room(&mut self) -> bool {
        if self.is_full() {
            self.inlet.ring.head.order(ROOM);
            self.ordered = true;
            if self.is_full() {
                return false;
            }
        }
        if std::mem::take(&mut self.ordered) {
            self.inlet.ring.head.withdraw(ROOM);
        }
        true
    }

    /// Releases the blocks of the ring if it is empty and its consumer's half is free; says whether it
    /// did. For a pipe that has been idle for a while: until then an empty ring keeps a block and the
    /// spare ones, so that single messages need not allocate one each.
    pub(crate) fn release_memory(&mut self) -> bool {
        self.inlet.release_memory()
    }

    /// The size and address of the block being filled; 0 without one.
    #[cfg(test)]
    pub(super) fn block(&self) -> (usize, usize) {
        let writer = self.inlet.writer.as_ref();
        writer.map_or((0, 0), |writer| (writer.block.size, writer.block.bytes.as_ptr().addr()))
    }

    #[cold]
    fn evict(&mut self) -> Result<u64, PushRefusal> {
        if self.is_closed() {
            return Err(PushRefusal::Closed);
        }
        let (bounds, pushed) = (self.bounds(), self.pushed());
        match self.inlet.ring.try_consumer() {
            Some(mut consumer) => Ok(consumer.evict(bounds, pushed)),
            None if bounds.doubled().reached_by(self.queued()) => Err(PushRefusal::Full),
            None => Ok(0),
        }
    }

    #[inline]
    fn is_full(&mut self) -> bool {
        let (bounds, pushed) = (self.bounds(), self.pushed());
        if !bounds.reached_by(pushed.since(self.departed)) {
            return false;
        }
        self.departed = self.inlet.ring.departed();
        bounds.reached_by(pushed.since(self.departed))
    }

    /// Publishes the message of `len` bytes that was written since `mark`, unless the ring is closed.
    #[inline]
    fn publish(&mut self, mark: Mark, len: usize) -> Result<Wake, PushRefusal> {
        let before = self.pushed();
        match self.inlet.publish(before.plus(1, len), false) {
            Some(slept) => Ok(Wake(slept)),
            None => {
                self.inlet.cut(mark, before);
                Err(PushRefusal::Closed)
            }
        }
    }

    #[inline]
    fn write(&mut self, header: &[u8], body: &Bytes) {
        let prefix = self.framing.prefix(header.len() + body.len());
        if body.len() < BY_REFERENCE {
            self.inlet.write([&prefix, header, body]);
        } else {
            self.inlet.write([&prefix, header]);
            self.inlet.share(body.clone().into(), body.len());
        }
    }

    fn write_encoded(&mut self, encoded: &Encoded<'_>) {
        if encoded.framing != self.framing {
            return self.write(encoded.parts.header, encoded.parts.body);
        }
        let follows = self.heard.next() == encoded.number;
        self.inlet.write_encoded(encoded, follows);
        self.heard = encoded.number;
    }

    /// Publishes what is written, whether the ring is closed or not.
    fn force(&mut self, messages: usize, bytes: usize) -> Wake {
        let pushed = self.pushed().plus(messages, bytes);
        Wake(self.inlet.publish(pushed, true) == Some(true))
    }

    /// Length of the SP messages in `count` frames of `len` bytes.
    fn payload_of(&self, len: usize, count: usize) -> usize {
        let prefixes = count * self.framing.prefix_len();
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
