//! Containment: runs code that is not ours where its panic must go no further.
//!
//! An event loop serves all sockets of its runtime, and a change of a socket must be completed. Neither may
//! end because a destructor, a waker or a logger panics. This file also owns the macro for logging, since a
//! logger is called from everywhere: [`log`] is that of the `log` crate, with panics contained.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Logs as [`log::log!`] does, with the bare name of the level, or with an expression for it:
/// `log!(Debug, "{name}: closed")`.
macro_rules! log {
    ($level:expr, $($words:tt)+) => {{
        #[allow(unused_imports)] // not by an expression
        use log::Level::*;
        let level: log::Level = $level;
        if level <= log::STATIC_MAX_LEVEL && level <= log::max_level() {
            $crate::contain::write(|| log::log!(level, $($words)+));
        }
    }};
}

pub(crate) use log;

/// The level of a record that is told louder when it is news.
pub(crate) fn level_of(is_news: bool) -> log::Level {
    if is_news { log::Level::Warn } else { log::Level::Debug }
}

/// Runs `call`. If it panics, logs that `what` did.
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

/// Drops a panic's payload. If its destructor panics in turn, the second payload is leaked.
pub(crate) fn forget(panic: Box<dyn Any + Send>) {
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(worse);
    }
}
