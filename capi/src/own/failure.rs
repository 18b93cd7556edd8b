//! Errors: a number that a call returns, and a sentence.

use std::cell::RefCell;
use std::ffi::{CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::errno::{self, ENOTRECOVERABLE, Errno};

/// Why a call has failed.
#[derive(Debug)]
pub(super) struct Failure {
    number: Errno,
    text: String,
}

impl Failure {
    pub(super) fn new(number: Errno, text: impl Into<String>) -> Self {
        Self { number, text: text.into() }
    }

    /// What a call was given makes no sense.
    pub(super) fn invalid(text: &str) -> Self {
        Self::new(errno::EINVAL, text)
    }

    /// The socket has no such call.
    pub(super) fn not_supported() -> Self {
        Self::new(errno::ENOTSUP, "a socket of this kind has no such call")
    }
}

impl<E: std::error::Error> From<E> for Failure
where
    for<'a> Errno: From<&'a E>,
{
    fn from(error: E) -> Self {
        Self { number: Errno::from(&error), text: error.to_string() }
    }
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Runs a call. Returns 0, or the number of its error.
pub(super) fn call(act: impl FnOnce() -> Result<(), Failure>) -> c_int {
    let failure = match catch_unwind(AssertUnwindSafe(act)) {
        Ok(Ok(())) => return 0,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            // Its destructor may panic as well.
            std::mem::forget(panic);
            Failure::new(ENOTRECOVERABLE, "a fault in the library")
        }
    };
    let Failure { number, text } = failure;
    let text = CString::new(text.replace('\0', " ")).unwrap_or_default();
    // A thread that is ending has no place for it.
    let _ = LAST.try_with(|last| last.replace(text));
    number.0
}

/// Runs what cannot fail but by a fault of ours.
pub(super) fn run<T>(otherwise: T, act: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        std::mem::forget(panic);
        otherwise
    })
}

/// The sentence of the last call of this thread that has failed. It is valid until the next one fails.
#[unsafe(no_mangle)]
pub extern "C" fn sinew_error() -> *const c_char {
    let last = LAST.try_with(|last| last.borrow().as_ptr());
    last.unwrap_or(c"".as_ptr())
}

/// The text of an error number, for those that `strerror` does not know too.
#[unsafe(no_mangle)]
pub extern "C" fn sinew_strerror(number: c_int) -> *const c_char {
    errno::text(number)
}
