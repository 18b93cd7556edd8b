//! Ledgers: what the receive rings of a socket hold together.
//!
//! A ring with a ledger counts the memory that it takes: blocks, bodies, and what its producer adds for a message
//! that is not whole yet. It counts when a segment begins and when one ends, not for each message, so a stream of
//! small messages counts once in 64 KiB. Not counted is what lasts no longer than the ring is busy: the spare blocks
//! on the shelf, and nodes.
//!
//! Owns the sum, over all rings of a socket, of what each holds beyond [`GUARANTEE`]; the limit of that sum; and how much
//! more a ring may hold by it. Who is told when there is more room is in `pipe/budget.rs`.

use super::{BUDGET, Ring};
use crate::sync::{AtomicBool, AtomicU64, Ordering, fence};
use crate::wire::frame::widen;

/// Each ring may hold this many bytes, whatever the others hold. With the ring itself, and a read that it takes to
/// notice that it holds more, a connection takes 64 KiB beside the budget.
pub(crate) const GUARANTEE: u64 = if cfg!(loom) { 0 } else { 32 * 1024 };

/// What the receive rings of a socket hold together.
#[derive(Debug)]
pub(crate) struct Ledger {
    limit: AtomicU64,
    /// The sum of what each ring holds beyond [`GUARANTEE`].
    held: AtomicU64,
    /// Whether somebody waits until less is held.
    awaited: AtomicBool,
}

impl Ledger {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit: AtomicU64::new(limit),
            held: AtomicU64::new(0),
            awaited: AtomicBool::new(false),
        }
    }

    pub(crate) fn set_limit(&self, limit: u64) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// The sum of what each ring holds beyond [`GUARANTEE`].
    pub(crate) fn held(&self) -> u64 {
        let held = self.held.load(Ordering::Acquire);
        // A consumer may give back what its producer is about to add.
        if held > u64::MAX / 2 { 0 } else { held }
    }

    /// What is left of the limit.
    pub(crate) fn left(&self) -> u64 {
        self.limit().saturating_sub(self.held())
    }

    /// Notes that somebody waits. A look after this shows everything that was given back before it is seen.
    pub(crate) fn wait(&self) {
        self.awaited.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the one in `give_back`
    }

    /// Notes that nobody waits.
    pub(crate) fn wait_no_more(&self) {
        self.awaited.store(false, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }

    /// Says whether somebody waits for it.
    fn give_back(&self, bytes: u64) -> bool {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
        fence(Ordering::SeqCst); // pairs with the one in `wait`
        self.is_awaited()
    }
}

fn beyond_guarantee(bytes: u64) -> u64 {
    bytes.saturating_sub(GUARANTEE)
}

impl Ring {
    /// The bytes of memory that the ring holds, if it has a ledger.
    pub(crate) fn held(&self) -> u64 {
        self.tail.held.load(Ordering::Relaxed)
    }

    /// How many bytes more it may hold: up to [`GUARANTEE`], or until it holds as much as is left of the limit. Each byte
    /// that it takes also lowers what is left, so that is half of the difference.
    #[inline]
    pub(crate) fn headroom(&self) -> u64 {
        self.headroom_beside(0)
    }

    /// As [`headroom`](Self::headroom), if others are to have `promised` bytes of what is left.
    #[inline]
    pub(crate) fn headroom_beside(&self, promised: u64) -> u64 {
        let Some(ledger) = &self.tail.ledger else { return u64::MAX };
        let held = self.held();
        let left = ledger.left().saturating_sub(promised);
        GUARANTEE.saturating_sub(held).max(left.saturating_sub(held) / 2)
    }

    /// How many bytes more it may hold without asking: if others wait, only up to [`GUARANTEE`].
    pub(crate) fn unclaimed(&self) -> u64 {
        if self.is_short() { self.guaranteed() } else { self.headroom() }
    }

    /// How many bytes more it may hold whatever the others do.
    pub(crate) fn guaranteed(&self) -> u64 {
        GUARANTEE.saturating_sub(self.held())
    }

    /// Counts memory that is taken, here or by the producer.
    #[inline]
    pub(crate) fn charge(&self, bytes: usize) {
        if let Some(ledger) = &self.tail.ledger {
            let bytes = widen(bytes);
            let before = self.tail.held.fetch_add(bytes, Ordering::Relaxed);
            let more = beyond_guarantee(before + bytes) - beyond_guarantee(before);
            if more > 0 {
                ledger.held.fetch_add(more, Ordering::AcqRel);
            }
        }
    }

    /// Counts memory as given back. Says whether somebody waits for it.
    #[must_use = "those who wait must be told"]
    pub(crate) fn give_back(&self, bytes: usize) -> bool {
        let Some(ledger) = &self.tail.ledger else { return false };
        let bytes = widen(bytes);
        let before = self.tail.held.fetch_sub(bytes, Ordering::Relaxed);
        let less = beyond_guarantee(before) - beyond_guarantee(before - bytes);
        less > 0 && ledger.give_back(less)
    }

    /// As [`give_back`](Self::give_back), for the consumer: the next [`Taken::room`](super::Taken::room) says so.
    pub(super) fn give_back_consumed(&self, bytes: usize) {
        if self.give_back(bytes) {
            self.head.orders.fetch_or(BUDGET, Ordering::Relaxed);
        }
    }

    /// Counts all that it holds as given back, but `partial` bytes. Whoever has them given back tells those who
    /// wait.
    pub(super) fn give_back_all_but(&self, partial: usize) {
        let all = usize::try_from(self.held()).unwrap_or(usize::MAX);
        let _ = self.give_back(all.saturating_sub(partial));
    }

    /// Whether memory is short, so that nothing is kept for later.
    pub(super) fn is_short(&self) -> bool {
        self.tail.ledger.as_ref().is_some_and(|ledger| ledger.is_awaited())
    }
}
