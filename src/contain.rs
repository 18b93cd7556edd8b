//! Containment: runs code that is not ours, and lets its panic go no further.
//!
//! An event loop serves all sockets of its runtime, and a change of a socket must be completed. Neither may
//! end because a destructor, a waker or a logger panics. This file also owns [`record!`], through which
//! all records go.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sync::Ordering;
use crate::sync::statics::AtomicU64;

/// How many panics have been contained.
static CONTAINED: AtomicU64 = AtomicU64::new(0);

/// Returns how many panics of the program's own code sinew has contained in this process.
///
/// Such code is the destructor of a message's body (`Bytes::from_owner`), a task's waker, the logger, the
/// [`admit`](crate::Options::admit) callback, and a [transport](crate::transport). Where a socket runs it on the
/// way, a panic ends what it was about, such as one connection, and nothing else. All but those of the logger
/// are logged at level `error`. The counter is one of the process, since a destructor does not know which socket
/// runs it. It begins at 0 and only grows. The call never blocks.
///
/// ```
/// assert_eq!(sinew::contained_panics(), 0);
/// ```
pub fn contained_panics() -> u64 {
    CONTAINED.load(Ordering::Relaxed)
}

/// The level of a record that is logged louder when it is news.
pub(crate) fn level_of(is_news: bool) -> log::Level {
    if is_news { log::Level::Warn } else { log::Level::Debug }
}

/// Run `call`. If it panics, log that `what` did.
pub(crate) fn contain(what: &str, call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        forget(panic);
        crate::contain::record!(Error, {}, "{what} panicked");
    }
}

/// Logs a record with fields: `record!(Debug, { socket: name, reason: reason }, "{name}: gone: {reason}")`. Its level is
/// named, or a value of `log::Level`. Where the feature `tracing` is on, and somebody subscribes, it is an event with the
/// fields, and no record of `log`.
macro_rules! record {
    (@event $level:ident, { $($field:ident: $value:expr),* $(,)? }, $($text:tt)+) => {
        tracing::event!(
            target: "sinew",
            tracing::Level::$level,
            $($field = %$value,)*
            $($text)+
        )
    };
    ($level:ident, $fields:tt, $($text:tt)+) => {
        $crate::contain::record!(log::Level::$level, $fields, $($text)+)
    };
    ($level:expr, $fields:tt, $($text:tt)+) => {
        $crate::contain::log(|| {
            let level: log::Level = $level;
            // An event has its level where it is written.
            #[cfg(feature = "tracing")]
            if $crate::contain::is_traced() {
                return match level {
                    log::Level::Error => $crate::contain::record!(@event ERROR, $fields, $($text)+),
                    log::Level::Warn => $crate::contain::record!(@event WARN, $fields, $($text)+),
                    log::Level::Info => $crate::contain::record!(@event INFO, $fields, $($text)+),
                    log::Level::Debug => $crate::contain::record!(@event DEBUG, $fields, $($text)+),
                    log::Level::Trace => $crate::contain::record!(@event TRACE, $fields, $($text)+),
                };
            }
            log::log!(level, $($text)+)
        })
    };
}
pub(crate) use record;

/// Whether records are events of `tracing`: somebody subscribes to those.
pub(crate) fn is_traced() -> bool {
    #[cfg(feature = "tracing")]
    if tracing::dispatcher::has_been_set() {
        return true;
    }
    false
}

/// Runs `record`, which logs, for [`record!`]. If the logger panics, the record is lost.
pub(crate) fn log(record: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(record)) {
        forget(panic);
    }
}

/// Counts a panic that goes no further, and drops its payload. If its destructor panics in turn, leak the second
/// payload.
pub(crate) fn forget(panic: Box<dyn Any + Send>) {
    CONTAINED.fetch_add(1, Ordering::Relaxed);
    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(worse);
    }
}
