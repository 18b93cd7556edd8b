//! Messages that are framed once and queued in many rings.
//!
//! Owns the blocks that a broadcaster fills and its subscribers' rings refer to. Each ring bounds the bytes
//! that it queues, not the blocks that they pin. But it refers only to messages that follow one another in
//! the encoder's order, and copies single ones. So it never pins more than one block for every two messages,
//! and a ring that takes all messages pins little more than it queues.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{BY_REFERENCE, Block, Filled, Writer, next_size};
use crate::sync::{Counted, Ordering, statics};
use crate::wire::frame::Framing;

/// Remember at most this many full blocks for reuse: as many as queues of two megabytes hold.
const REMEMBERED: usize = 32;
/// Check this many of them for a free one: the oldest are free, unless a consumer is slow.
const LOOKED_AT: usize = 4;
/// Keep at most this many free blocks.
const SPARE: usize = 2;

/// An encoder for each framing, made when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Encoders([Option<Box<Encoder>>; Framing::COUNT]);

impl Encoders {
    /// The message `header` then `body`, for rings of any framing.
    pub(crate) fn copies<'e>(&'e mut self, header: &'e [u8], body: &'e Bytes) -> Copies<'e> {
        let unused = |encoder| Source { encoder: Some(encoder), encoded: None };
        let sources = self.0.each_mut().map(unused);
        Copies { parts: Parts { header, body }, sources }
    }

    /// Releases all memory to which no ring refers any more.
    pub(crate) fn release_memory(&mut self) {
        *self = Self::default();
    }

    /// Whether any message was framed since the last [`release_memory`](Self::release_memory).
    pub(crate) fn has_memory(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }
}

/// A message for many rings: framed once for each framing that occurs among them.
pub(crate) struct Copies<'e> {
    parts: Parts<'e>,
    sources: [Source<'e>; Framing::COUNT],
}

/// Where the message comes from for rings of one framing.
struct Source<'e> {
    /// Until it is encoded.
    encoder: Option<&'e mut Option<Box<Encoder>>>,
    encoded: Option<Encoded<'e>>,
}

impl<'e> Copies<'e> {
    /// The message in that framing.
    pub(crate) fn encoded(&mut self, framing: Framing) -> &Encoded<'e> {
        let Parts { header, body } = self.parts;
        let Source { encoder, encoded } = &mut self.sources[framing.index()];
        encoded.get_or_insert_with(|| {
            let encoder = encoder.take().expect("it is there until the message is encoded");
            encoder.get_or_insert_default().encode(framing, header, body)
        })
    }
}

/// Frames messages for many rings at once.
pub(crate) struct Encoder {
    /// Of the last message.
    number: Number,
    writer: Option<Writer>,
    /// Blocks that are full and that rings may still refer to, the oldest first.
    full: VecDeque<Counted<Block>>,
}

/// A message as it goes on the wire, for [`add_encoded`](super::Producer::add_encoded).
pub(crate) struct Encoded<'e> {
    pub(super) framing: Framing,
    /// Length of the SP message.
    pub(super) payload: usize,
    /// Its bytes, except for a large body.
    filled: Filled<'e>,
    pub(super) parts: Parts<'e>,
    /// Which message of which encoder it is.
    pub(super) number: Number,
}

/// What a message was made of.
#[derive(Clone, Copy)]
pub(super) struct Parts<'e> {
    pub(super) header: &'e [u8],
    pub(super) body: &'e Bytes,
}

/// The number of a message in the order of its encoder. Those of two encoders are far apart, and meet by chance
/// only: then a ring refers to a message that it might have copied.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Number(u32);

impl Number {
    /// That of the first message of the encoder which is the `nth` of this process.
    fn first(nth: u32) -> Self {
        // The golden ratio in 32 bits.
        Self(nth.wrapping_mul(0x9E37_79B9))
    }

    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl Encoded<'_> {
    /// Address of the block it is in.
    #[cfg(test)]
    pub(super) fn block(&self) -> usize {
        self.filled.block.bytes.as_ptr().addr()
    }

    /// Whether the body is queued by a reference of its own.
    fn is_large(&self) -> bool {
        self.parts.body.len() >= BY_REFERENCE
    }
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoder({} full blocks)", self.full.len())
    }
}

impl Encoder {
    /// Makes an encoder, which allocates when there is something to frame.
    pub(crate) fn new() -> Self {
        static ENCODERS: statics::AtomicU32 = statics::AtomicU32::new(1);
        let number = Number::first(ENCODERS.fetch_add(1, Ordering::Relaxed));
        Self { number, writer: None, full: VecDeque::new() }
    }

    /// Frames the message `header` then `body` for rings of `framing`. Rings of another framing accept it
    /// too, by a copy.
    pub(crate) fn encode<'e>(
        &'e mut self,
        framing: Framing,
        header: &'e [u8],
        body: &'e Bytes,
    ) -> Encoded<'e> {
        let payload = header.len() + body.len();
        let inline: &[u8] = if body.len() < BY_REFERENCE { body } else { &[] };
        let prefix = framing.prefix(payload);
        let len = prefix.len() + header.len() + inline.len();
        self.number = self.number.next();
        let number = self.number;
        let writer = self.writer_of(len);
        let filled = writer.write([&prefix, header, inline]);
        Encoded { framing, payload, filled, parts: Parts { header, body }, number }
    }

    /// Returns the writer, with room for `len` bytes.
    fn writer_of(&mut self, len: usize) -> &mut Writer {
        let writer = match self.writer.take() {
            Some(writer) if writer.room() >= len => writer,
            Some(full) => self.change_block(full, len),
            None => Writer::new(Block::new(next_size(0).max(len))),
        };
        self.writer.insert(writer)
    }

    /// Goes on in another block, or in the full one itself if no ring refers to it any more.
    fn change_block(&mut self, full: Writer, len: usize) -> Writer {
        let mut block = full.block;
        if block.size >= len && Counted::get_mut(&mut block).is_some() {
            return Writer::new(block);
        }
        let size = next_size(block.size).max(len);
        self.full.push_back(block);
        if self.full.len() > REMEMBERED {
            self.full.pop_front();
        }
        Writer::new(self.recycled(size).unwrap_or_else(|| Block::new(size)))
    }

    /// Takes one of the full blocks, if it has `size` bytes and no ring refers to it any more.
    fn recycled(&mut self, size: usize) -> Option<Counted<Block>> {
        let free = |block: &mut Counted<Block>| Counted::get_mut(block).is_some();
        let at = self.full.iter_mut().take(LOOKED_AT).position(free)?;
        let block = self.full.remove(at)?;
        while self.full.len() > SPARE && self.full.front_mut().is_some_and(free) {
            self.full.pop_front();
        }
        (block.size >= size).then_some(block)
    }
}

impl super::Inlet<'_> {
    /// Appends a message that is already framed: by reference if the last message here was the one before it,
    /// otherwise by a copy.
    pub(super) fn write_encoded(&mut self, encoded: &Encoded<'_>, follows: bool) {
        if follows || self.goes_on(&encoded.filled) {
            self.refer(&encoded.filled);
        } else {
            let prefix = encoded.framing.prefix(encoded.payload);
            let Parts { header, body } = encoded.parts;
            let inline: &[u8] = if encoded.is_large() { &[] } else { body };
            self.write([&prefix, header, inline]);
        }
        if encoded.is_large() {
            let body = encoded.parts.body;
            self.share(body.clone().into(), body.len());
        }
    }
}
