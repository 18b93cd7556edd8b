//! Internals: the parts that are measured one by one, each in a shell that benches can hold.
//!
//! Owns no behaviour: a shell makes a part and calls it. Not public API: only there with
//! `--cfg sinew_internals`, as `src/internals` sets it, and changed without notice.

use std::io::IoSlice;

use bytes::Bytes;

use crate::protocol::Topics;
use crate::ring::{self, Bounds, Encoder, Producer};
use crate::sync::Arc;
use crate::wire::{Decoder, Framing, Piece};

/// Large enough for a batch, small enough to be met by a producer that is alone.
const BOUNDS: Bounds = Bounds { messages: 8192, bytes: 1 << 20 };
const SLICES: usize = 64;

/// A ring, from the end that messages are put in at.
#[derive(Debug)]
pub struct Ring(Producer);

/// The end that messages are taken out at.
#[derive(Debug)]
pub struct RingOut(Arc<ring::Ring>);

impl Ring {
    /// Both ends of an empty ring.
    pub fn open() -> (Self, RingOut) {
        let (producer, ring) = ring::new(Framing::Length, BOUNDS);
        (Self(producer), RingOut(ring))
    }

    /// Puts a message in; whether there was room.
    pub fn push(&mut self, body: &Bytes) -> bool {
        self.0.push(&[], body).is_ok()
    }
}

impl RingOut {
    /// The next message.
    pub fn pop(&self) -> Option<Bytes> {
        Some(self.0.consumer().pop()?.0.into_body().into_bytes())
    }

    /// Consumes one write of bytes; the number of messages that left.
    pub fn write(&self) -> u64 {
        let mut consumer = self.0.consumer();
        let mut slices = [IoSlice::new(&[]); SLICES];
        let listed = consumer.slices(&mut slices);
        let bytes = slices[..listed].iter().map(|slice| slice.len()).sum();
        consumer.consume(bytes).messages
    }
}

/// Messages framed once for many rings.
#[derive(Debug)]
pub struct Broadcast {
    encoder: Encoder,
    rings: Vec<(Ring, RingOut)>,
}

impl Broadcast {
    /// To so many empty rings.
    pub fn to(rings: usize) -> Self {
        let rings = (0..rings).map(|_| Ring::open()).collect();
        Self { encoder: Encoder::new(), rings }
    }

    /// Frames the message once and pushes it into every ring, then takes everything out.
    pub fn encoded(&mut self, body: &Bytes) {
        let encoded = self.encoder.encode(Framing::Length, &[], body);
        for (ring, _) in &mut self.rings {
            let _full = ring.0.push_encoded(&encoded);
        }
        self.empty();
    }

    /// The same, framed for each ring.
    pub fn copied(&mut self, body: &Bytes) {
        for (ring, _) in &mut self.rings {
            ring.push(body);
        }
        self.empty();
    }

    fn empty(&self) {
        for (_, out) in &self.rings {
            out.write();
        }
    }
}

/// What a subscriber wants.
#[derive(Debug)]
pub struct TopicSet(Topics);

impl TopicSet {
    /// Nothing.
    #[expect(clippy::new_without_default, reason = "a shell for benches")]
    pub fn new() -> Self {
        Self(Topics::new())
    }

    /// From now on also messages that begin like that.
    pub fn insert(&mut self, topic: &[u8]) -> bool {
        self.0.insert(topic)
    }

    /// Whether the message is wanted.
    pub fn matches(&self, body: &[u8]) -> bool {
        self.0.matches(body)
    }
}

/// Cuts a stream into frames; says how many messages there were.
pub fn decode(stream: &[u8], read: usize) -> usize {
    let mut decoder = Decoder::new(Framing::Length, None);
    let mut messages = 0;
    for mut input in stream.chunks(read) {
        while let Some(Ok(piece)) = decoder.next(&mut input) {
            messages += match piece {
                Piece::Frames { count, .. } => count,
                Piece::Body(_) => 1,
            };
        }
    }
    messages
}

/// A stream of frames of `len` bytes, `size` bytes long or a little longer.
pub fn stream(len: usize, size: usize) -> Vec<u8> {
    let frame = [&Framing::Length.prefix(len)[..], &vec![7; len]].concat();
    frame.repeat(size.div_ceil(frame.len()))
}
