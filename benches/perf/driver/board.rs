//! What the two ends tell each other: that they are ready, when they began, what it has cost.
//!
//! A board holds a number for each key, and a number only ever grows, so it does not matter in which
//! order news arrives. Between processes each change is a line on the other's standard input or
//! output; nothing is said while the clock runs.

use std::io::{BufRead, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::measure;

/// What is on the board. Times are nanoseconds, processor time is microseconds, sizes are KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    /// The address can be connected to.
    Bound,
    /// How many receivers have heard a first message, or how many clients are warm.
    Ready,
    /// How many have received everything, or that the other process may end.
    Done,
    /// How far a measurement has come.
    Go,
    /// When the first message was sent.
    Start,
    /// When the last one was.
    SendEnd,
    /// When the last one was received.
    ReceiveEnd,
    /// How many were.
    Received,
    /// How many answers have not come.
    Lost,
    CpuStartA,
    CpuEndA,
    CpuStartB,
    CpuEndB,
    /// The largest size of a process.
    PeakA,
    PeakB,
    /// Its size before and after what is measured.
    SizeStartA,
    SizeEndA,
    SizeStartB,
    SizeEndB,
    /// What the subscribing took.
    SubscribeCpu,
}

const KEYS: usize = Key::SubscribeCpu as usize + 1;

/// The numbers, and the way to the other process if there is one.
pub(crate) struct Board {
    values: [AtomicU64; KEYS],
    other: Option<Mutex<Box<dyn Write + Send>>>,
}

impl Board {
    /// For both ends in one process. Lives as long as the process.
    pub(crate) fn alone() -> &'static Self {
        Box::leak(Box::new(Self { values: Default::default(), other: None }))
    }

    /// For one end of two, with what the other one reads. Lives as long as the process.
    pub(crate) fn linked(other: impl Write + Send + 'static) -> &'static Self {
        let other: Box<dyn Write + Send> = Box::new(other);
        Box::leak(Box::new(Self { values: Default::default(), other: Some(Mutex::new(other)) }))
    }

    pub(crate) fn value(&self, key: Key) -> u64 {
        self.values[key as usize].load(Ordering::SeqCst)
    }

    /// Raises a number to `value`.
    pub(crate) fn raise(&self, key: Key, value: u64) {
        self.values[key as usize].fetch_max(value, Ordering::SeqCst);
        self.tell(key, value);
    }

    /// Adds to a number that only this process changes.
    pub(crate) fn add(&self, key: Key, more: u64) {
        let before = self.values[key as usize].fetch_add(more, Ordering::SeqCst);
        self.tell(key, before + more);
    }

    /// Notes the processor time that this process has used so far.
    pub(crate) fn note_cpu(&self, key: Key) {
        self.raise(key, measure::cpu());
    }

    /// Hears what the other end tells until it is gone.
    pub(crate) fn listen(&self, told: impl BufRead) {
        for line in told.lines().map_while(Result::ok) {
            let mut words = line.split(' ').map(|word| word.parse::<u64>().ok());
            let key =
                words.next().flatten().and_then(|key| self.values.get(usize::try_from(key).ok()?));
            if let (Some(known), Some(Some(value))) = (key, words.next()) {
                known.fetch_max(value, Ordering::SeqCst);
            }
        }
    }

    fn tell(&self, key: Key, value: u64) {
        let Some(other) = &self.other else { return };
        let mut other = other.lock().expect("nobody panics with it");
        // One that has gone needs no news; that it has gone is found by who listens to it.
        let _ = writeln!(other, "{} {value}", key as usize).and_then(|()| other.flush());
    }
}
