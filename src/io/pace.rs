//! Pace: whether a thread that sends writes to the kernel itself.
//!
//! Owns how fast each thread rings, which is what decides it.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::tuning::{self, Choice};

thread_local! {
    /// How the calling thread has rung links so far.
    static PACE: Cell<Pace> = const { Cell::new(Pace::new()) };
}

/// How fast a thread rings.
#[derive(Clone, Copy)]
struct Pace {
    /// It had better write again then, and not before.
    not_before: Option<Instant>,
    /// How long the direct write took that was measured last.
    write: Duration,
    /// How many direct writes are not measured until the next one is. To ask the clock twice for each
    /// is a part of what it takes that can be felt.
    unmeasured: u8,
}

impl Pace {
    const fn new() -> Self {
        Self { not_before: None, write: Duration::ZERO, unmeasured: 0 }
    }

    /// Has the thread be silent for a while, from `time` on, before it writes again.
    fn pause_from(&mut self, time: Instant) {
        let pause = (self.write / 2).clamp(tuning::APART, tuning::FAR_APART);
        self.not_before = Some(time + pause);
    }
}

/// Does `write`, to the kernel, if the calling thread had better do so now; `false` if not.
///
/// Who sends now and then writes directly: nobody has to be woken. Who sends in a tight loop would
/// pay a system call for each message; there the I/O thread writes, and while it writes messages
/// gather. The loop is told by the time since the thread was here last, whether it wrote then or not: in
/// a loop that is a part of what a write takes, however fast the machine. It is the thread that counts,
/// not the pipe or the socket: a broadcast is a tight loop over pipes, and a program may loop over
/// sockets.
pub(super) fn write_directly(write: impl FnOnce()) -> bool {
    const UNMEASURED: u8 = 7;
    let begin = Instant::now();
    let mut pace = PACE.get();
    let allowed = match tuning::CALLER_WRITES {
        Choice::Never => false,
        Choice::Always => true,
        Choice::Measured => pace.not_before.is_none_or(|time| begin >= time),
    };
    if !allowed {
        pace.pause_from(begin);
    } else if pace.unmeasured == 0 {
        write();
        let end = Instant::now();
        pace.write = end - begin;
        pace.unmeasured = UNMEASURED;
        pace.pause_from(end);
    } else {
        write();
        pace.unmeasured -= 1;
        pace.pause_from(begin + pace.write);
    }
    PACE.set(pace);
    allowed
}
