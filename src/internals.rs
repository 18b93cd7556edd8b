//! Internals: the parts that are measured one by one, each in a shell that benches can hold.
//!
//! Owns no behaviour: a shell makes a part and calls it. Not public API: only there with
//! `--cfg sinew_internals`, as `src/internals` sets it, and changed without notice.

use std::io::IoSlice;

use bytes::Bytes;

pub use crate::protocol::internals::{Routes, TopicSet};
use crate::ring::{self, Bounds, Encoder, Producer, Ring, safe};
use crate::sync::Arc;
use crate::wire::{Decoder, Framing, Piece};

/// Large enough for a batch, small enough to be met by a producer that is alone.
const BOUNDS: Bounds = Bounds { messages: 8192, bytes: 1 << 20 };
const SLICES: usize = 64;

/// A queue with two ends.
pub trait Queue: Sized {
    /// The end for taking out; the queue itself is the end for putting in.
    type Out: Send;

    /// An empty queue.
    fn open() -> (Self, Self::Out);
    /// Whether there was room.
    fn push(&mut self, body: &Bytes) -> bool;
    /// The next message.
    fn pop(out: &Self::Out) -> Option<Bytes>;
    /// Consumes one write of bytes; the number of messages that left.
    fn write(out: &Self::Out) -> u64;
}

/// The ring of the crate.
#[derive(Debug)]
pub struct Lockless(Producer);

/// The end of it for taking out.
#[derive(Debug)]
pub struct LocklessOut(Arc<Ring>);

/// The ring with locks that it is compared with.
#[derive(Clone, Debug)]
pub struct Locked(Arc<safe::Ring>);

/// What is done with both rings in the same way, though they have no type in common.
macro_rules! queue_calls {
    () => {
        fn push(&mut self, body: &Bytes) -> bool {
            self.0.push(&[], body).is_ok()
        }

        fn pop(out: &Self::Out) -> Option<Bytes> {
            Some(out.0.consumer().pop()?.0.into_body().into_bytes())
        }

        fn write(out: &Self::Out) -> u64 {
            let mut pen = out.0.consumer();
            let mut slices = [IoSlice::new(&[]); SLICES];
            let listed = pen.slices(&mut slices);
            let bytes = slices[..listed].iter().map(|slice| slice.len()).sum();
            pen.consume(bytes).messages
        }
    };
}

impl Queue for Lockless {
    type Out = LocklessOut;

    fn open() -> (Self, Self::Out) {
        let (producer, ring) = ring::new(Framing::Length, BOUNDS);
        (Self(producer), LocklessOut(ring))
    }

    queue_calls!();
}

impl Queue for Locked {
    type Out = Self;

    fn open() -> (Self, Self::Out) {
        let ring = Self(Arc::new(safe::Ring::new(Framing::Length, BOUNDS)));
        (ring.clone(), ring)
    }

    queue_calls!();
}

/// Messages framed once for many rings.
#[derive(Debug)]
pub struct Broadcast {
    encoder: Encoder,
    rings: Vec<(Lockless, LocklessOut)>,
}

impl Broadcast {
    /// To so many empty rings.
    pub fn to(rings: usize) -> Self {
        let rings = (0..rings).map(|_| Lockless::open()).collect();
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
            Lockless::write(out);
        }
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
