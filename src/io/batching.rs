//! Batching: partial batches of callers that send without a pause, held back until they are worth a write.
//!
//! Such a caller writes full batches itself. A partial batch is not written at once, but held back for a
//! moment, so that the caller can add to it. Owns the list of connections with a partial batch, and the time
//! of the next sweep, in which the driver writes every batch that its caller has not written since the last one.
//! Writes nothing itself; time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use mio::Token;

use crate::tuning::{HOLD_BACK, LONGEST_HOLD_BACK};

/// The connections whose partial batch is held back.
#[derive(Debug)]
pub(super) struct Batching {
    /// The number of messages that had left the send ring of each when it was held back. A map, because a
    /// sweep holds most of them back again, and must not search the whole list for each.
    held: BTreeMap<Token, u64>,
    /// When the next sweep is due, if anything is held back.
    sweep_at: Instant,
    /// How long to hold back.
    pause: Duration,
}

impl Batching {
    pub(super) fn new(now: Instant) -> Self {
        Self { held: BTreeMap::new(), sweep_at: now, pause: HOLD_BACK }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Adds a connection, from whose send ring `departed` messages have left.
    pub(super) fn hold_back(&mut self, token: Token, departed: u64, now: Instant) {
        if self.held.is_empty() {
            self.sweep_at = now + self.pause;
        }
        self.held.entry(token).or_insert(departed);
    }

    /// The time until the next sweep; `None`: nothing is held back.
    pub(super) fn until_sweep(&self, now: Instant) -> Option<Duration> {
        (!self.held.is_empty()).then(|| self.sweep_at.saturating_duration_since(now))
    }

    /// Begins a sweep, if it is time for one, and returns its connections, with how many messages had left
    /// each. What is held back during the sweep waits for the next one.
    pub(super) fn begin_sweep(&mut self, now: Instant) -> Option<BTreeMap<Token, u64>> {
        if self.until_sweep(now) != Some(Duration::ZERO) {
            return None;
        }
        Some(std::mem::take(&mut self.held))
    }

    /// Ends the sweep that began at `begin`. `in_vain`: callers write all of it by themselves. The next pause is
    /// then twice as long, so that what callers leave over when they stop is not held back for much longer
    /// than they have written. Else it is twice as long as the sweep took, so that a sweep over many leaves
    /// their senders the time to fill batches.
    pub(super) fn end_sweep(&mut self, begin: Instant, now: Instant, in_vain: bool) {
        let pause = if in_vain { self.pause } else { now - begin };
        self.pause = (2 * pause).clamp(HOLD_BACK, LONGEST_HOLD_BACK);
        self.sweep_at = now + self.pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Token = Token(7);
    const B: Token = Token(3);

    #[test]
    fn a_connection_is_swept_after_once_and_by_its_first_count() {
        let begin = Instant::now();
        let mut batching = Batching::new(begin);
        for (token, departed) in [(A, 10), (B, 20), (A, 11)] {
            batching.hold_back(token, departed, begin);
        }
        let swept = batching.begin_sweep(begin + HOLD_BACK).expect("it is time");
        assert_eq!(swept.into_iter().collect::<Vec<_>>(), [(B, 20), (A, 10)]);
        assert!(batching.is_empty());
    }

    #[test]
    fn nothing_is_swept_before_its_time_and_an_empty_list_never() {
        let begin = Instant::now();
        let mut batching = Batching::new(begin);
        assert_eq!(batching.begin_sweep(begin), None);
        assert_eq!(batching.until_sweep(begin), None);
        batching.hold_back(A, 0, begin);
        assert_eq!(batching.until_sweep(begin), Some(HOLD_BACK));
        assert_eq!(batching.begin_sweep(begin + HOLD_BACK / 2), None);
        assert_eq!(batching.until_sweep(begin + 2 * HOLD_BACK), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_held_back_during_a_sweep_waits_twice_as_long_as_it_took() {
        let begin = Instant::now();
        let mut batching = Batching::new(begin);
        batching.hold_back(A, 0, begin);
        let begin = begin + HOLD_BACK;
        batching.begin_sweep(begin).expect("it is time");
        batching.hold_back(A, 1, begin);
        let end = begin + 3 * HOLD_BACK;
        batching.end_sweep(begin, end, false);
        assert_eq!(batching.until_sweep(end), Some(6 * HOLD_BACK));
    }

    #[test]
    fn a_sweep_that_took_long_does_not_hold_the_next_one_back_for_long() {
        let begin = Instant::now();
        let mut batching = Batching::new(begin);
        let end = begin + Duration::from_secs(1);
        batching.end_sweep(begin, end, false);
        batching.hold_back(A, 0, end);
        assert_eq!(batching.until_sweep(end), Some(LONGEST_HOLD_BACK));
    }

    /// Callers that write by themselves need no thread that looks after them each moment; nor may it come late
    /// when they stop.
    #[test]
    fn the_pause_grows_while_callers_write_and_is_short_again_when_they_stop() {
        let mut now = Instant::now();
        let mut batching = Batching::new(now);
        let mut paused = Vec::new();
        for in_vain in [true, true, true, true, true, true, false, true] {
            batching.hold_back(A, 0, now);
            let pause = batching.until_sweep(now).expect("something is held back");
            paused.push(pause.as_micros() / HOLD_BACK.as_micros());
            now += pause;
            batching.begin_sweep(now).expect("it is time");
            batching.end_sweep(now, now, in_vain);
        }
        let longest = LONGEST_HOLD_BACK.as_micros() / HOLD_BACK.as_micros();
        assert_eq!(paused, [1, 2, 4, 8, 16, longest, longest, 1]);
    }
}
