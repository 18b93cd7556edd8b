//! Looking again for a few microseconds before going to sleep.
//!
//! To be woken takes several microseconds; an answer from another core of this process takes a quarter
//! of one. So it can pay to look again and again for a moment, and is poison where the one that is to
//! answer waits for our core. Hence the rule: a look that was in vain doubles the number of waits that
//! go to sleep at once, one that was not halves it.

use std::thread;
use std::time::{Duration, Instant};

use crate::sync::{AtomicU64, Ordering};
use crate::sys::PerProcess;

/// How many waits go to sleep at once, at most, after looking in vain again and again.
const LONGEST_PAUSE: u64 = 512;
/// How often is looked between two looks at the clock.
const LOOKS: usize = 16;

/// When a socket's calls look again before they sleep. Several threads may use it at once; what they
/// learn then is a little wrong, and does no harm.
#[derive(Debug, Default)]
pub(super) struct Spin {
    /// How long the program wants it, in nanoseconds.
    wanted: AtomicU64,
    /// Waits that are to go to sleep at once.
    pause: AtomicU64,
    /// How many such waits the last time in vain has led to.
    last_pause: AtomicU64,
}

impl Spin {
    pub(super) fn new(wanted: Duration) -> Self {
        let spin = Self::default();
        spin.set(wanted);
        spin
    }

    pub(super) fn set(&self, wanted: Duration) {
        let wanted = u64::try_from(wanted.as_nanos()).unwrap_or(u64::MAX);
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// How long the next wait may spin, `least` or longer; `None`: not at all.
    pub(super) fn permit(&self, least: Duration) -> Option<Duration> {
        let time = Duration::from_nanos(self.wanted.load(Ordering::Relaxed)).max(least);
        let pause = self.pause.load(Ordering::Relaxed);
        if pause > 0 {
            self.pause.store(pause - 1, Ordering::Relaxed);
            return None;
        }
        (!time.is_zero() && has_cores()).then_some(time)
    }

    /// Calls `look` until it says yes, for at most `time`, and learns from it.
    pub(super) fn look(&self, time: Duration, mut look: impl FnMut() -> bool) {
        let begin = Instant::now();
        let found = loop {
            let found = (0..LOOKS).any(|_| {
                std::hint::spin_loop();
                look()
            });
            if found || begin.elapsed() >= time {
                break found;
            }
        };
        self.learn(found);
    }

    fn learn(&self, found: bool) {
        let last = self.last_pause.load(Ordering::Relaxed);
        let next = match found {
            true => last / 2,
            false => (last * 2).clamp(1, LONGEST_PAUSE),
        };
        self.last_pause.store(next, Ordering::Relaxed);
        self.pause.store(if found { 0 } else { next }, Ordering::Relaxed);
    }
}

/// Whether somebody else can run while we look.
fn has_cores() -> bool {
    static CORES: PerProcess<usize> =
        PerProcess::new(|| thread::available_parallelism().map_or(1, usize::from));
    *CORES.get() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: Duration = Duration::from_micros(1);

    /// How many waits in a row go to sleep at once.
    fn pauses(spin: &Spin) -> usize {
        (0..).take_while(|_| spin.permit(LEAST).is_none()).count()
    }

    #[test]
    fn looking_in_vain_makes_looks_rare_and_finding_makes_them_frequent() {
        if !has_cores() {
            return eprintln!("SKIPPED: one processor");
        }
        let spin = Spin::new(Duration::ZERO);
        assert_eq!(pauses(&spin), 0);
        for expected in [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 512] {
            spin.look(Duration::ZERO, || false);
            assert_eq!(pauses(&spin), expected);
        }
        for _ in 0..10 {
            spin.look(Duration::from_secs(60), || true);
            assert_eq!(pauses(&spin), 0, "as long as it pays");
        }
        spin.look(Duration::ZERO, || false);
        assert_eq!(pauses(&spin), 1);
    }

    #[test]
    fn without_a_time_nobody_looks() {
        let spin = Spin::new(Duration::ZERO);
        assert_eq!(spin.permit(Duration::ZERO), None);
        spin.set(LEAST);
        assert_eq!(spin.permit(Duration::ZERO).is_some(), has_cores());
    }
}
