//! What stands on the command line, as bytes: where the system has bytes there, unchanged. On Windows, whose command
//! lines are UTF-16, as UTF-8.

use std::ffi::{OsStr, OsString};

/// The bytes of an argument.
pub(crate) fn bytes_of(text: &OsStr) -> &[u8] {
    text.as_encoded_bytes()
}

/// The bytes of an argument, which is not needed any more.
pub(crate) fn into_bytes(text: OsString) -> Vec<u8> {
    text.into_encoded_bytes()
}

/// The argument that has these bytes, which were parts of others.
#[cfg(unix)]
pub(crate) fn from_bytes(bytes: Vec<u8>) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes)
}

/// What is no UTF-16 in an argument is replaced.
#[cfg(not(unix))]
pub(crate) fn from_bytes(bytes: Vec<u8>) -> OsString {
    String::from_utf8_lossy(&bytes).into_owned().into()
}
