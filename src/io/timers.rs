//! Timers: what is due when.
//!
//! Owns an ordered map and nothing else; time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A hundred years: longer than any process, and within what every clock can tell.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The time that is `wait` after `now`. `wait` may have any length, whereas the sum of an instant and a long
/// duration panics.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(NEVER)
}

/// Things that are due at some time, each with a key by which it can be cancelled.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    due: BTreeMap<TimerKey, T>,
    next: u64,
}

/// The key of one timer. The number tells timers of the same instant apart, in the order of setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    at: Instant,
    number: u64,
}

impl TimerKey {
    /// When the timer is due.
    pub(crate) fn at(self) -> Instant {
        self.at
    }
}

impl<T> Timers<T> {
    pub(crate) fn new() -> Self {
        Self { due: BTreeMap::new(), next: 0 }
    }

    pub(crate) fn set(&mut self, at: Instant, what: T) -> TimerKey {
        self.next += 1;
        let key = TimerKey { at, number: self.next };
        self.due.insert(key, what);
        key
    }

    /// Cancels a timer; does nothing if it has fired.
    pub(crate) fn cancel(&mut self, key: TimerKey) {
        self.due.remove(&key);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// When the next timer is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|(key, _)| key.at)
    }

    /// Takes out the next timer that is due at `now`.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<T> {
        let first = self.due.first_entry()?;
        (first.key().at <= now).then(|| first.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timers_fire_in_order_once_and_not_after_they_were_called_off() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut timers = Timers::new();
        timers.set(at(20), 'c');
        timers.set(at(10), 'a');
        timers.set(at(10), 'b');
        let off = timers.set(at(5), 'x');
        timers.cancel(off);
        assert_eq!(timers.next_due(), Some(at(10)));
        assert_eq!(timers.pop(at(9)), None);
        assert_eq!(timers.pop(at(10)), Some('a'));
        assert_eq!(timers.pop(at(10)), Some('b'));
        assert_eq!(timers.pop(at(10)), None);
        assert_eq!(timers.pop(at(99)), Some('c'));
        assert_eq!(timers.next_due(), None);
    }
}
