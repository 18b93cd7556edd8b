//! The figures and switches of the data path, in one place.
//!
//! Where nothing else is said they were measured for a prototype of the data path, and not again. The
//! switches are for tests: built with `--cfg sinew_fast_paths="never"` only I/O threads turn event loops
//! and write, and with `"always"` callers write at once whatever they wrote before, so that either way
//! is tested under all conditions and not only in a rush.

use std::time::Duration;

/// Whether a short way is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// It is not.
    Never,
    /// Where it pays.
    Measured,
    /// Wherever it can be.
    Always,
}

const CHOICE: Choice = if cfg!(sinew_fast_paths = "never") {
    Choice::Never
} else if cfg!(sinew_fast_paths = "always") {
    Choice::Always
} else {
    Choice::Measured
};

/// How many I/O threads a runtime has if nothing is said. One: it is enough for many sockets, costs the
/// least, and with one a thread that waits can turn the loop itself. More is for tests, built with
/// `--cfg sinew_io_threads="4"`.
pub(crate) const IO_THREADS: usize = if cfg!(sinew_io_threads = "4") { 4 } else { 1 };

/// Whether the sole thread that waits turns the event loop itself.
pub(crate) const WAITER_LEADS: bool = !matches!(CHOICE, Choice::Never);

/// Whether callers write to the kernel themselves.
pub(crate) const CALLER_WRITES: Choice = CHOICE;

/// A thread writes directly if it has not had anything to write for half the time that its last direct
/// write took, and at least for this long. A fixed half microsecond was enough where a write takes two;
/// on a slower machine, where it takes seven, a tight loop then stayed with a system call for each
/// message. Much above it replies would begin to take the way through the I/O thread.
pub(crate) const APART: Duration = Duration::from_nanos(500);
/// ... and at most for this long, whatever held the last one up.
pub(crate) const FAR_APART: Duration = Duration::from_micros(3);

/// How long a socket with inproc endpoints only looks for news before it sleeps. Measured for the
/// prototype: from 2 to 10 microseconds made no difference, a round trip takes a quarter of one.
pub(crate) const INPROC_SPIN: Duration = Duration::from_micros(5);

/// How long the I/O thread holds back the rest of a stream, so that callers can write full batches.
pub(crate) const HOLD_BACK: Duration = Duration::from_micros(50);
/// The same, where to write the rest of all streams takes long.
pub(crate) const LONGEST_HOLD_BACK: Duration = Duration::from_millis(1);

/// It is a stream, and held back, if this many messages have come during one write, or ...
pub(crate) const STREAM_MESSAGES: u64 = 8;
/// ... this many bytes.
pub(crate) const STREAM_BYTES: u64 = 8 << 10;

/// How many bytes a caller adds to a pipe before it looks again whether a batch is full.
pub(crate) const LOOK: u64 = 8 << 10;
/// How many messages it adds.
pub(crate) const LOOK_MESSAGES: u64 = 64;
/// How many bytes a batch has that a caller writes itself.
pub(crate) const BATCH: u64 = 64 << 10;
/// The same for messages of at least [`LONG`] bytes on average.
pub(crate) const LONG_BATCH: u64 = 256 << 10;
/// See [`LONG_BATCH`].
pub(crate) const LONG: u64 = 512;

/// Has the calling thread's sleeps end on time, where the system rounds them up.
pub(crate) fn sharpen_timers() {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = nix::sys::prctl::set_timerslack(1000) {
        crate::contain::log!(Debug, "sleeps may be late: {error}");
    }
}
