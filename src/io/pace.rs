//! Pace: whether a thread that sends writes to the kernel itself.
//!
//! Owns how often each thread rings, which decides that.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::sync::thread_local;
use crate::time;
use crate::tuning::{self, FastPath};

thread_local! {
    /// The pace of the calling thread.
    static PACE: Cell<Pace> = const { Cell::new(Pace::new()) };
}

/// How often a thread rings links.
#[derive(Clone, Copy)]
struct Pace {
    /// The earliest time for its next direct write.
    not_before: Option<Instant>,
    /// How long the last measured direct write took.
    write: Duration,
    /// How many direct writes go unmeasured before the next measurement, since reading the clock twice for
    /// each write takes a noticeable part of its time.
    unmeasured: u8,
    /// The simulation that all this is about: the next one of the same thread must not depend on it.
    #[cfg(feature = "testing")]
    scene: Option<Instant>,
}

impl Pace {
    const fn new() -> Self {
        Self {
            not_before: None,
            write: Duration::ZERO,
            unmeasured: 0,
            #[cfg(feature = "testing")]
            scene: None,
        }
    }

    /// That of the calling thread.
    fn own() -> Self {
        let pace = PACE.with(Cell::get);
        #[cfg(feature = "testing")]
        if pace.scene != time::scene() {
            return Self { scene: time::scene(), ..Self::new() };
        }
        pace
    }

    /// Lets the thread write directly again only after a pause that begins at `time`.
    fn pause_from(&mut self, time: Instant) {
        let pause = (self.write / 2).clamp(tuning::APART, tuning::FAR_APART);
        self.not_before = Some(time + pause);
    }
}

/// Notes that the calling thread has waited for something to do: what it sends next is no tight loop.
pub(crate) fn note_wait() {
    PACE.with(|pace| pace.set(Pace { not_before: None, ..Pace::own() }));
}

/// Calls `write`, to write to the kernel, if the calling thread should do that itself; returns `false` if not.
///
/// A thread that sends now and then writes directly, so that no other need be woken. A thread that sends in a
/// tight loop would make a system call for each message; there the leader writes, and messages gather
/// while it does, which the caller writes when they make a batch. A tight loop shows in the time since the thread was here last, whether it wrote then or
/// not: that is a fraction of the time of a write, however fast the machine. The pace belongs to the thread,
/// not to the pipe or the socket: a broadcast is a tight loop over pipes, and a program may loop over
/// sockets.
pub(super) fn write_directly(write: impl FnOnce()) -> bool {
    const UNMEASURED: u8 = 7;
    let begin = time::now();
    let mut pace = Pace::own();
    let allowed = match tuning::CALLER_WRITES {
        FastPath::Never => false,
        FastPath::Always => true,
        FastPath::Measured => pace.not_before.is_none_or(|time| begin >= time),
    };
    if !allowed {
        pace.pause_from(begin);
    } else if pace.unmeasured == 0 {
        write();
        let end = time::now();
        // What took longer was held up: the kernel may have run the peer in the middle of the call.
        pace.write = (end - begin).min(2 * tuning::FAR_APART);
        pace.unmeasured = UNMEASURED;
        pace.pause_from(end);
    } else {
        write();
        pace.unmeasured -= 1;
        pace.pause_from(begin + pace.write);
    }
    PACE.with(|own| own.set(pace));
    allowed
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// A write may be held up: the kernel runs the peer, whose answer is there before the call is over.
    #[test]
    fn a_thread_that_has_waited_writes_at_once_whatever_its_last_write_took() {
        let hold_up = || thread::sleep(Duration::from_millis(1));
        for _ in 0..10 {
            note_wait();
            assert_eq!(write_directly(hold_up), tuning::CALLER_WRITES != FastPath::Never);
        }
    }
}
