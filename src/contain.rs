//! Containment: runs code that is not ours, and lets its panic go no further.
//!
//! An event loop serves all sockets of its runtime, and a change of a socket must be completed. Neither may
//! end because a destructor, a waker or a logger panics. This file also owns [`log`], through which
//! all records go.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The level of a record that is logged louder when it is news.
pub(crate) fn level_of(is_news: bool) -> log::Level {
    if is_news { log::Level::Warn } else { log::Level::Debug }
}

/// Run `call`. If it panics, log that `what` did.
pub(crate) fn contain(what: &str, call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        forget(panic);
        log(|| log::error!("{what} panicked"));
    }
}

/// Runs `record`, which logs: `log(|| log::debug!("{name}: closed"))`. If the logger panics, the record is lost.
pub(crate) fn log(record: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(record)) {
        forget(panic);
    }
}

/// Drop a panic's payload. If its destructor panics in turn, leak the second payload.
pub(crate) fn forget(panic: Box<dyn Any + Send>) {
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(worse);
    }
}
