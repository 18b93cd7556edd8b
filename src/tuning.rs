//! The figures and switches of the data path, in one place.
//!
//! Unless a comment says otherwise, the figures were measured for a prototype of the data path, and not again.
//! The switches are for tests. Built with `--cfg sinew_fast_paths="never"`, only I/O threads turn event loops
//! and write; with `"always"`, callers write at once whatever they wrote before. So both paths are tested
//! under all conditions.

use std::time::Duration;

/// Whether a fast path is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FastPath {
    /// It is not.
    Never,
    /// Where it pays.
    Measured,
    /// Wherever it can be.
    Always,
}

const FAST_PATHS: FastPath = if cfg!(sinew_fast_paths = "never") {
    FastPath::Never
} else if cfg!(sinew_fast_paths = "always") {
    FastPath::Always
} else {
    FastPath::Measured
};

/// How many I/O threads a runtime has by default. One is enough for many sockets and costs the least, and with
/// one a thread that waits can turn the loop itself. More are for tests, built with
/// `--cfg sinew_io_threads="4"`.
pub(crate) const IO_THREADS: usize = if cfg!(sinew_io_threads = "4") { 4 } else { 1 };

/// Whether a thread that waits, when no other does, turns the event loop itself.
pub(crate) const WAITER_LEADS: bool = !matches!(FAST_PATHS, FastPath::Never);

/// Whether callers write to the kernel themselves.
pub(crate) const CALLER_WRITES: FastPath = FAST_PATHS;

/// A thread writes directly if it has had nothing to write for half the time that its last direct write
/// took, and for at least this long. A fixed half microsecond sufficed where a write takes two; on a slower
/// machine, where it takes seven, a tight loop kept making a system call for each message. With a much larger
/// value, replies would go through the I/O thread.
pub(crate) const APART: Duration = Duration::from_nanos(500);
/// The upper bound of the time of [`APART`]: something may have held up the last write.
pub(crate) const FAR_APART: Duration = Duration::from_micros(3);

/// How long the I/O thread holds back messages of a pipe that is written in batches, so that callers can write
/// full batches themselves.
pub(crate) const HOLD_BACK: Duration = Duration::from_micros(50);
/// The upper bound of that time where writing what all such pipes hold takes long, or callers go on writing.
pub(crate) const LONGEST_HOLD_BACK: Duration = Duration::from_millis(1);

/// A pipe is written in batches if this many messages, or [`STREAM_BYTES`], have come during one write.
pub(crate) const STREAM_MESSAGES: u64 = 8;
/// See [`STREAM_MESSAGES`].
pub(crate) const STREAM_BYTES: u64 = 8 << 10;
/// Or if this many have left since its ring was last empty. To many pipes at once a stream is slow: during a write
/// come a few messages for each, and to write those one after the other would keep the I/O thread busy.
pub(crate) const STREAM_IN_ALL: u32 = 32;

/// How many bytes a caller adds to a pipe before it checks again whether a batch is full.
pub(crate) const CHECK: usize = 8 << 10;
/// For that a message counts as so many bytes more, so that there is a check for 64 messages at the latest.
pub(crate) const CHECK_MESSAGE: usize = CHECK / 64;
/// How many bytes make a batch that the caller writes itself.
pub(crate) const BATCH: u64 = 64 << 10;
/// The same for messages of [`LONG`] bytes or more on average.
pub(crate) const LONG_BATCH: u64 = 256 << 10;
/// The average length of messages from which [`LONG_BATCH`] applies.
pub(crate) const LONG: u64 = 512;

/// Makes sleeps of the calling thread end on time, where the system rounds them up.
pub(crate) fn sharpen_timers() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_timerslack(1000) {
        crate::contain::record!(Debug, { reason: error }, "sleeps may be late: {error}");
    }
}
