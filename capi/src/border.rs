//! The border between C and Rust: no panic passes it, and an error becomes a number.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::errno::{ENOTRECOVERABLE, Errno};

/// What a call returns to C when it has failed.
pub(crate) trait Failed {
    const FAILED: Self;
}

impl Failed for i32 {
    const FAILED: Self = -1;
}

impl Failed for u64 {
    const FAILED: Self = Self::MAX;
}

impl<T> Failed for *mut T {
    const FAILED: Self = std::ptr::null_mut();
}

impl<T> Failed for *const T {
    const FAILED: Self = std::ptr::null();
}

/// Runs a call. An error, or a panic, which only a fault of ours can bring about, is left in `errno`.
#[inline]
pub(crate) fn border<T: Failed>(call: impl FnOnce() -> Result<T, Errno>) -> T {
    let outcome = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(outcome) => outcome,
        Err(panic) => {
            // Its destructor may panic as well.
            std::mem::forget(panic);
            Err(ENOTRECOVERABLE)
        }
    };
    outcome.unwrap_or_else(|error| {
        error.set();
        T::FAILED
    })
}
