//! Received messages.

use std::ffi::c_void;

use sinew::{Message, PipeId};

use super::failure::run;

/// A message that was received. Its bytes do not change.
pub struct sinew_message {
    message: Message,
}

pub(super) fn wrap(message: Message) -> sinew_message {
    sinew_message { message }
}

/// The bytes of a message, which live as long as it.
///
/// # Safety
///
/// The message is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_message_data(message: *const sinew_message) -> *const c_void {
    // SAFETY: by the caller.
    unsafe { message.as_ref() }.map_or(std::ptr::null(), |it| it.message.as_ptr().cast())
}

/// How many bytes a message has.
///
/// # Safety
///
/// The message is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_message_size(message: *const sinew_message) -> usize {
    // SAFETY: by the caller.
    unsafe { message.as_ref() }.map_or(0, |it| it.message.len())
}

/// The number of the pipe on which a message came, as in `sinew_peers`.
///
/// # Safety
///
/// The message is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_message_pipe(message: *const sinew_message) -> u32 {
    // SAFETY: by the caller.
    unsafe { message.as_ref() }.and_then(|it| it.message.pipe()).map_or(0, PipeId::get)
}

/// Frees a message.
///
/// # Safety
///
/// The message is null, or not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_message_free(message: *mut sinew_message) {
    run((), || {
        if !message.is_null() {
            // SAFETY: by the caller.
            drop(unsafe { Box::from_raw(message) });
        }
    });
}
