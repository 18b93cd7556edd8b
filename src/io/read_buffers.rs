//! Read buffers: the memory that reads go into.
//!
//! All connections of a driver share these: one block at hand, and the blocks that the driver has lent by
//! reference, which come back when nobody refers to them any more. A connection keeps nothing here: it copies
//! what it needs later, or refers to it. In the same way the memory of large bodies comes back when the program has
//! dropped the message: new memory would have to be zeroed, and often to be asked of the system.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::ring::READ_BLOCK;

/// Remember at most this many lent blocks for reuse. The driver keeps their memory; more were not measurably
/// faster.
const LENT: usize = 3;

/// Remember bodies of together at most this many bytes: a queue's bound is as much, and one more is being read.
const BODIES: usize = 4 * 1024 * 1024;
/// Remember bodies of at least this length: zeroing a shorter one is not worth the look for another.
const LARGE_BODY: usize = 128 * 1024;

/// The block at hand, the blocks that are lent, and the bodies.
#[derive(Debug, Default)]
pub(super) struct ReadBuffers {
    /// The bytes read last, and behind them what was there before, `READ_BLOCK` in all; empty before the
    /// first read.
    at_hand: Bytes,
    /// Oldest first: they come back roughly in this order.
    lent: VecDeque<Bytes>,
    pub(super) bodies: Bodies,
}

/// Large bodies that were passed on, for their memory.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// Oldest first.
    all: VecDeque<Bytes>,
    /// Their length.
    bytes: usize,
}

impl ReadBuffers {
    /// Lets `read` fill a block to which nobody refers, from its start.
    pub(super) fn fill<T>(&mut self, read: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut block = self.free();
        let outcome = read(&mut block);
        self.at_hand = block.freeze();
        outcome
    }

    /// The whole block that was filled last. If a clone or a slice of it is kept, the next read goes into
    /// another block.
    pub(super) fn at_hand(&self) -> &Bytes {
        &self.at_hand
    }

    /// As [`at_hand`](Self::at_hand), and the bodies, to note those that are made of it.
    pub(super) fn parts(&mut self) -> (&Bytes, &mut Bodies) {
        (&self.at_hand, &mut self.bodies)
    }

    /// Releases all but the block at hand.
    pub(super) fn release_memory(&mut self) {
        self.lent = VecDeque::new();
        self.bodies = Bodies::default();
    }

    fn free(&mut self) -> BytesMut {
        let block = std::mem::take(&mut self.at_hand);
        if block.is_empty() {
            return BytesMut::zeroed(READ_BLOCK);
        }
        block.try_into_mut().unwrap_or_else(|lent| self.exchange(lent))
    }

    /// Adds a block to those that are lent, and returns one that has come back, or a new one.
    fn exchange(&mut self, lent: Bytes) -> BytesMut {
        let back = self.lent.iter().position(Bytes::is_unique);
        let back = back.and_then(|at| self.lent.remove(at));
        if back.is_none() && self.lent.len() == LENT {
            self.lent.pop_front();
        }
        self.lent.push_back(lent);
        back.and_then(|block| block.try_into_mut().ok())
            .unwrap_or_else(|| BytesMut::zeroed(READ_BLOCK))
    }
}

impl Bodies {
    /// Notes a body, which is about to be passed on, if its memory is worth it.
    pub(super) fn note(&mut self, body: &Bytes) {
        if !(LARGE_BODY..=BODIES).contains(&body.len()) {
            return;
        }
        self.all.push_back(body.clone());
        self.bytes += body.len();
        while self.bytes > BODIES
            && let Some(oldest) = self.all.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }

    /// Takes the memory of a body to which nobody refers any more, for another of `len` bytes: it must be as long, and
    /// hardly longer, since that one will pin it.
    pub(super) fn take(&mut self, len: usize) -> Option<BytesMut> {
        let fits = |body: &Bytes| (len..=len + len / 8).contains(&body.len()) && body.is_unique();
        let at = self.all.iter().position(fits)?;
        let body = self.all.remove(at)?;
        self.bytes -= body.len();
        body.try_into_mut().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills a block with `byte`; yields where it is.
    fn fill(buffers: &mut ReadBuffers, byte: u8) -> *const u8 {
        buffers.fill(|block| {
            assert_eq!(block.len(), READ_BLOCK);
            block.fill(byte);
            block.as_ptr()
        })
    }

    #[test]
    fn a_block_that_nobody_refers_to_is_read_into_again() {
        let mut buffers = ReadBuffers::default();
        let first = fill(&mut buffers, 1);
        assert_eq!(fill(&mut buffers, 2), first);
        drop(buffers.at_hand().slice(5..9));
        assert_eq!(fill(&mut buffers, 3), first);
        assert_eq!(buffers.at_hand()[..], [3; READ_BLOCK]);
        assert!(buffers.lent.is_empty());
    }

    #[test]
    fn what_is_referred_to_stays_as_it_is_and_its_block_comes_back() {
        let mut buffers = ReadBuffers::default();
        let first = fill(&mut buffers, 1);
        let kept = buffers.at_hand().slice(READ_BLOCK - 7..);
        let second = fill(&mut buffers, 2);
        assert_ne!(second, first);
        let also_kept = buffers.at_hand().clone();
        drop(kept.clone());
        fill(&mut buffers, 3);
        assert_eq!((&kept[..], also_kept[0]), (&[1; 7][..], 2));

        drop(kept);
        let third_kept = buffers.at_hand().clone();
        assert_eq!(fill(&mut buffers, 4), first);
        assert_eq!((also_kept[0], third_kept[0]), (2, 3));
    }

    #[test]
    fn blocks_that_do_not_come_back_are_forgotten() {
        let mut buffers = ReadBuffers::default();
        let mut kept = Vec::new();
        for byte in 0..10 {
            fill(&mut buffers, byte);
            kept.push(buffers.at_hand().clone());
            assert!(buffers.lent.len() <= LENT);
        }
        assert!(kept.iter().zip(0..).all(|(block, byte)| block[..] == [byte; READ_BLOCK]));
        let back = kept.pop().unwrap().as_ptr();
        assert_eq!(fill(&mut buffers, 10), back);
    }

    #[test]
    fn a_read_that_panics_costs_a_block_only() {
        let mut buffers = ReadBuffers::default();
        let read = std::panic::AssertUnwindSafe(|| buffers.fill(|_| panic!("a foreign stream")));
        let _: Result<(), _> = std::panic::catch_unwind(read);
        fill(&mut buffers, 1);
        assert_eq!(buffers.at_hand().len(), READ_BLOCK);
    }

    fn body(len: usize) -> Bytes {
        vec![7; len].into()
    }

    #[test]
    fn the_memory_of_a_large_body_comes_back_when_its_message_is_dropped() {
        let (mut bodies, first) = (Bodies::default(), body(LARGE_BODY));
        let place = first.as_ptr();
        bodies.note(&first);
        assert!(bodies.take(LARGE_BODY).is_none(), "it is in use");
        drop(first);
        for other in [LARGE_BODY + 1, LARGE_BODY / 2] {
            assert!(bodies.take(other).is_none(), "it is too short or too long");
        }
        assert_eq!(bodies.take(LARGE_BODY - 1).map(|used| used.as_ptr()), Some(place));
        assert!(bodies.take(LARGE_BODY).is_none(), "it was taken");
        assert_eq!(bodies.bytes, 0);
    }

    #[test]
    fn no_more_bodies_are_remembered_than_their_bound_allows() {
        let mut bodies = Bodies::default();
        for len in [LARGE_BODY - 1, BODIES + 1, BODIES, LARGE_BODY, BODIES / 2, BODIES / 2] {
            bodies.note(&body(len));
            assert!(bodies.bytes <= BODIES);
            assert_eq!(bodies.all.iter().map(Bytes::len).sum::<usize>(), bodies.bytes);
        }
        assert!(bodies.all.iter().map(Bytes::len).eq([BODIES / 2, BODIES / 2]));
    }
}
