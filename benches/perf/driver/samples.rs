//! What a side that measures times keeps until the clock has stopped.

use super::Run;
use super::library::Library;

/// Times in nanoseconds, in memory that is there before the clock starts.
pub(super) struct Samples {
    times: Vec<u32>,
    used: usize,
}

impl Samples {
    pub(super) fn new(count: u64) -> Self {
        // Not zeros: pages of those come into being only when they are written.
        let count = usize::try_from(count).expect("it fits into memory");
        Self { times: vec![u32::MAX; count], used: 0 }
    }

    pub(super) fn note(&mut self, time: u64) {
        if let Some(place) = self.times.get_mut(self.used) {
            *place = u32::try_from(time).unwrap_or(u32::MAX);
            self.used += 1;
        }
    }

    /// Gives what was measured to the report.
    pub(super) fn hand_in<L: Library>(self, run: Run<L>) {
        let mut all = run.samples.lock().expect("nobody panics with it");
        all.extend(&self.times[..self.used]);
    }
}
