//! Containment: code that is not ours, run where a panic of it must go no further.
//!
//! An event loop serves all sockets of its runtime, and a change of a socket is to be finished: neither may
//! end because a destructor, a waker or a logger panics. Owns the words of the log, too, since a logger is
//! called from everywhere: [`log`] is that of the `log` crate, with a panic contained.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// As [`log::log!`], with the bare name of the level: `log!(Debug, "{name}: closed")`.
macro_rules! log {
    ($level:ident, $($words:tt)+) => {
        if log::Level::$level <= log::STATIC_MAX_LEVEL && log::Level::$level <= log::max_level() {
            $crate::contain::write(|| log::log!(log::Level::$level, $($words)+));
        }
    };
}

/// As `log!`, at level warn if it is news, at level debug otherwise.
macro_rules! log_news {
    ($is_news:expr, $($words:tt)+) => {
        match $is_news {
            true => $crate::contain::log!(Warn, $($words)+),
            false => $crate::contain::log!(Debug, $($words)+),
        }
    };
}

pub(crate) use {log, log_news};

/// Runs `call`. Says in the log that it panicked, if it did.
pub(crate) fn contain(what: &str, call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        forget(panic);
        log!(Error, "{what} panicked");
    }
}

/// Calls the logger. If it panics, the record is lost.
pub(crate) fn write(log: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(log)) {
        forget(panic);
    }
}

/// What was thrown may throw in turn when it is dropped; then the second is let go for good.
pub(crate) fn forget(panic: Box<dyn Any + Send>) {
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(worse);
    }
}
