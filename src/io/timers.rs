//! Timers: what is due when.
//!
//! Owns an ordered map and nothing else; time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A hundred years: longer than any process, and within what every clock can tell.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The time that is `wait` after `now`. Waits may be of any length, the sum of an instant and a
/// duration may not: it would panic.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now + wait.min(NEVER)
}

/// Things that are due at some time, each with a key by which it can be called off.
#[derive(Debug)]
pub(crate) struct Timers<T> {
    due: BTreeMap<TimerKey, T>,
    next: u64,
}

/// Names one timer. The number keeps apart what is due at the same instant, in order of setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    at: Instant,
    number: u64,
}

impl TimerKey {
    /// When it is due.
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

    /// Calls a timer off; without effect when it has fired.
    pub(crate) fn cancel(&mut self, key: TimerKey) {
        self.due.remove(&key);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// When the next one is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.first_key_value().map(|(key, _)| key.at)
    }

    /// The next thing that is due at `now`, off the list.
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
