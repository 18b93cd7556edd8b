//! Quota: how much one turn does.
//!
//! A turn serves many connections, and one may have more to read and to write than all others together. This file
//! owns what a turn may still do. When the quota is spent, what is left waits for the next turn, which asks the
//! poll first: so a connection that has little waits for a bounded number of bytes of others, however many
//! they are and however much they have. What a turn does is counted in bytes, since these take the time: a
//! system call counts as those that it could copy. Where bytes take longer than they should, the clock decides.

use std::time::{Duration, Instant};

use crate::time;

/// Read and write this much in one part of a turn: what the poll reports and others have posted is one part,
/// what earlier turns have left over another. Each connection may end one with as much again. With half of it, which
/// is what one read brings, a stream of 64 KiB took twice as many polls and a tenth more processor time.
pub(super) const BYTES: usize = 512 * 1024;
/// Count each read and each write as this many bytes more.
const CALL: usize = 2 * 1024;
/// Count a connection that is accepted as this many bytes: it takes a dozen system calls.
pub(super) const ACCEPT: usize = 32 * 1024;
/// Count a connection that is closed as this many bytes.
pub(super) const CLOSE: usize = 8 * 1024;
/// A connection that has had at most this much to read or to write at once is served even if the quota is spent,
/// until it is spent twice: it did not spend it.
pub(super) const LITTLE: usize = 16 * 1024;
/// End a part of a turn that takes this long. The bytes of [`BYTES`] take a tenth to a fifth of that.
const LONGEST: Duration = Duration::from_micros(500);

/// What one part of a turn may still do.
#[derive(Debug)]
pub(super) struct Quota {
    /// The bytes that are left. Below zero: it is spent, and more.
    left: isize,
    /// When the first bytes of this part were counted that were more than a little.
    begin: Option<Instant>,
}

impl Quota {
    pub(super) fn new() -> Self {
        Self { left: signed(BYTES), begin: None }
    }

    /// Begins another part.
    #[inline]
    pub(super) fn renew(&mut self) {
        *self = Self::new();
    }

    /// Counts a read or a write of `bytes`.
    #[inline]
    pub(super) fn count(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(signed(bytes + CALL));
        if bytes > LITTLE {
            self.look_at_the_clock();
        }
    }

    /// Whether what is left to do must wait, for a connection that has had only a `little` to do lately, or more.
    #[inline]
    pub(super) fn is_spent(&self, little: bool) -> bool {
        self.left <= if little { -signed(BYTES) } else { 0 }
    }

    fn look_at_the_clock(&mut self) {
        let now = time::now();
        let begin = *self.begin.get_or_insert(now);
        if now.saturating_duration_since(begin) >= LONGEST {
            self.left = self.left.min(0);
        }
    }
}

/// Converts a number of bytes that somebody has in memory.
fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many connections with so much to do are served in one part.
    fn served(bytes: usize) -> usize {
        let mut quota = Quota::new();
        let mut served = 0;
        while !quota.is_spent(bytes <= LITTLE) {
            // Without the clock, so that a busy machine changes nothing.
            quota.left -= signed(bytes + CALL);
            served += 1;
        }
        served
    }

    #[test]
    fn one_that_has_much_or_many_that_have_little_are_served() {
        assert_eq!(served(BYTES), 1);
        assert_eq!(served(BYTES / 4), 4);
        assert_eq!(served(0), 2 * BYTES / CALL);
    }

    #[test]
    fn who_has_little_does_not_wait_for_who_has_much() {
        let mut quota = Quota::new();
        quota.count(BYTES);
        assert_eq!([true, false].map(|little| quota.is_spent(little)), [false, true]);
        quota.renew();
        assert!(!quota.is_spent(false));
    }

    #[test]
    fn a_part_that_takes_long_ends() {
        let mut quota = Quota::new();
        quota.begin = Instant::now().checked_sub(LONGEST);
        quota.count(LITTLE + 1);
        assert_eq!([true, false].map(|little| quota.is_spent(little)), [false, true]);
    }
}
