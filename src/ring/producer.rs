//! The producer of a ring: the one that pushes.
//!
//! Owns what was ever pushed, and what it knows of what has left: it looks at the consumer's cache
//! line only when the ring seems full without.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use super::encoder::Number;
use super::{
    BY_REFERENCE, Bounds, Encoded, Inlet, PushRefusal, Queued, READ_BLOCK, ROOM, Ring, Wake,
};
use crate::sync::Arc;
use crate::sys::PerProcess;
use crate::wire::frame::{Framing, widen};

/// An empty ring for frames of `framing`, and its one producer. It takes memory for bytes only when
/// there are some.
pub(crate) fn new(framing: Framing, bounds: Bounds) -> (Producer, Arc<Ring>) {
    let ring = Arc::new(Ring::with(framing, bounds));
    (Producer::of(&ring), ring)
}

/// The ring for pipes on which nothing is ever sent. It is closed and stays empty, so all can have the
/// same one.
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
    /// All that has ever left, when last looked at. It never shrinks, so by it the ring is at least
    /// as full as it is.
    departed: Queued,
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
        self.add(header.len() + body.len(), |this| this.write(header, body))
    }

    /// Appends the message `header` then `body`, and makes room by dropping the oldest; yields how
    /// many those were, which may be some though the ring was closed meanwhile.
    ///
    /// The message that is partly consumed is kept. While the consumer is at work nothing can be
    /// dropped, and room is near: then the ring exceeds its bounds. It is full only when it holds
    /// twice what it may, since that work takes long if its thread is not run.
    pub(crate) fn push_evicting(
        &mut self,
        header: &[u8],
        body: &Bytes,
    ) -> (Result<Wake, PushRefusal>, u64) {
        let len = header.len() + body.len();
        match self.make_room() {
            Ok(evicted) => (self.add(len, |this| this.write(header, body)), evicted),
            Err(refusal) => (Err(refusal), 0),
        }
    }

    /// Appends a message that was framed for many rings, of which none need be copied.
    pub(crate) fn push_encoded(&mut self, encoded: &Encoded<'_>) -> Result<Wake, PushRefusal> {
        self.admit()?;
        self.add(encoded.payload, |this| this.write_encoded(encoded))
    }

    /// What [`push_encoded`](Self::push_encoded) does, in the way of
    /// [`push_evicting`](Self::push_evicting).
    pub(crate) fn push_encoded_evicting(
        &mut self,
        encoded: &Encoded<'_>,
    ) -> (Result<Wake, PushRefusal>, u64) {
        match self.make_room() {
            Ok(evicted) => (self.add(encoded.payload, |this| this.write_encoded(encoded)), evicted),
            Err(refusal) => (Err(refusal), 0),
        }
    }

    /// Appends `count` whole frames as they stand on the wire.
    ///
    /// They are taken in any case, even by a full or closed ring: they have left the kernel, so
    /// there is no way back. The reader asks [`has_room`](Self::has_room) before it reads; what a
    /// closed ring is left with shows in [`queued`](Ring::queued).
    pub(crate) fn append(&mut self, frames: &[u8], count: usize) -> Wake {
        self.inlet.write([frames]);
        self.force(count, self.payload_of(frames.len(), count))
    }

    /// What [`append`](Self::append) does, without a copy. For the frames of a large read: they keep
    /// the block alive that they lie in, of up to [`READ_BLOCK`] bytes, until the last of them is
    /// consumed; the caller sees to it that they are a good part of it.
    pub(crate) fn append_shared(&mut self, frames: Bytes, count: usize) -> Wake {
        let payload = self.payload_of(frames.len(), count);
        let size = READ_BLOCK.max(frames.len());
        self.inlet.share(frames.into(), size);
        self.force(count, payload)
    }

    /// Appends one whole SP message, of which no part need be copied. Taken in any case, as
    /// [`append`](Self::append) does.
    pub(crate) fn append_body(&mut self, payload: Bytes) -> Wake {
        self.write(&[], &payload);
        self.force(1, payload.len())
    }

    /// Whether the ring is not full; if it is, [`Taken::room`](super::Taken::room) follows when it is
    /// at most half full.
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

    /// Size and address of the block that is being filled; 0 without.
    #[cfg(test)]
    pub(super) fn block(&self) -> (usize, usize) {
        let writer = self.inlet.writer.as_ref();
        writer.map_or((0, 0), |writer| (writer.block.size, writer.block.bytes.as_ptr().addr()))
    }

    #[inline]
    fn admit(&mut self) -> Result<(), PushRefusal> {
        if self.is_closed() {
            return Err(PushRefusal::Closed);
        }
        if self.has_room() { Ok(()) } else { Err(PushRefusal::Full) }
    }

    /// Drops the oldest messages if the ring is full; says how many.
    #[inline]
    fn make_room(&mut self) -> Result<u64, PushRefusal> {
        if self.is_closed() || !self.is_full() {
            return Ok(0);
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

    /// Publishes the message of `len` bytes that `write` writes, unless the ring is closed by then.
    #[inline]
    fn add(&mut self, len: usize, write: impl FnOnce(&mut Self)) -> Result<Wake, PushRefusal> {
        if self.is_closed() {
            return Err(PushRefusal::Closed);
        }
        let mark = self.inlet.mark();
        write(self);
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
