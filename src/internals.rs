//! Internals: wrappers that let benches measure single parts.
//!
//! Owns no behaviour: a wrapper makes a part and calls it. This is not public API: it exists only with
//! `--cfg sinew_internals`, as `src/internals` sets it, and changes without notice.

use std::io::IoSlice;

use bytes::Bytes;

use crate::protocol::Topics;
use crate::ring::{self, Bounds, Encoder, Inbox, Producer};
use crate::wire::{Decoder, Framing, Piece};

/// Large enough for a batch, small enough for a producer alone to reach.
const BOUNDS: Bounds = Bounds { messages: 8192, bytes: 1 << 20 };
const SLICES: usize = 64;

/// The producer's end of a ring.
#[derive(Debug)]
pub struct Ring(Producer);

/// The consumer's end of a ring.
#[derive(Debug)]
pub struct RingOut(Inbox);

impl Ring {
    /// Both ends of an empty ring.
    pub fn open() -> (Self, RingOut) {
        let (producer, ring) = ring::new(Framing::Length, BOUNDS);
        (Self(producer), RingOut(Inbox::new(ring)))
    }

    /// Push a message. Returns whether there was room.
    pub fn push(&mut self, body: &Bytes) -> bool {
        self.0.push(&[], body).is_ok()
    }
}

impl RingOut {
    /// Pop the next message.
    pub fn pop(&mut self) -> Option<Bytes> {
        Some(self.0.pop()?.0.into_body().into_bytes())
    }

    /// Consume the bytes of one write. Returns how many messages left.
    pub fn write(&self) -> u64 {
        let mut consumer = self.0.consumer();
        let mut slices = [IoSlice::new(&[]); SLICES];
        let listed = consumer.slices(&mut slices);
        let bytes = slices[..listed].iter().map(|slice| slice.len()).sum();
        consumer.consume(bytes).messages
    }
}

/// Many rings, for messages that go to all of them.
#[derive(Debug)]
pub struct Broadcast {
    encoder: Encoder,
    rings: Vec<(Ring, RingOut)>,
}

impl Broadcast {
    /// Make this many empty rings.
    pub fn to(rings: usize) -> Self {
        let rings = (0..rings).map(|_| Ring::open()).collect();
        Self { encoder: Encoder::new(), rings }
    }

    /// Frame the message once and push it into every ring, then take everything out.
    pub fn encoded(&mut self, body: &Bytes) {
        let encoded = self.encoder.encode(Framing::Length, &[], body);
        for (ring, _) in &mut self.rings {
            let _full = ring.0.admit().and_then(|()| ring.0.add_encoded(&encoded));
        }
        self.empty();
    }

    /// Do the same, but frame the message for each ring.
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

/// A subscriber's topics.
#[derive(Debug)]
pub struct TopicSet(Topics);

impl TopicSet {
    /// No topics.
    #[expect(clippy::new_without_default, reason = "a shell for benches")]
    pub fn new() -> Self {
        Self(Topics::new())
    }

    /// Add a topic.
    pub fn insert(&mut self, topic: &[u8]) -> bool {
        self.0.insert(topic)
    }

    /// Whether one of the topics matches the message.
    pub fn matches(&self, body: &[u8]) -> bool {
        self.0.matches(body)
    }
}

/// Cut a stream into frames. Returns how many messages there were.
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

/// Make a stream of frames of `len` bytes each, `size` bytes long or a little longer.
pub fn stream(len: usize, size: usize) -> Vec<u8> {
    let frame = [&Framing::Length.prefix(len)[..], &vec![7; len]].concat();
    frame.repeat(size.div_ceil(frame.len()))
}
