//! Why sockets cannot make a device, and why a device has ended.

use std::fmt;
use std::io;

/// The sockets cannot make a device; they are inside, untouched.
pub struct DeviceError<S> {
    pub(super) fault: DeviceFault,
    pub(super) sockets: S,
}

impl<S> DeviceError<S> {
    /// What is wrong with them.
    pub fn fault(&self) -> DeviceFault {
        self.fault
    }

    /// The sockets, as they were given.
    pub fn into_sockets(self) -> S {
        self.sockets
    }
}

/// Writes what is wrong, as `Display` does.
impl<S> fmt::Debug for DeviceError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<S> fmt::Display for DeviceError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl<S> std::error::Error for DeviceError<S> {}

/// Why sockets cannot make a device.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceFault {
    /// The first or only socket has another holder: a clone, or the future of an `_async` call.
    #[error("the socket in front is held by somebody else too")]
    FrontShared,
    /// The second socket has another holder.
    #[error("the socket at the back is held by somebody else too")]
    BackShared,
    /// The first or only socket is closed.
    #[error("the socket in front is closed")]
    FrontClosed,
    /// The second socket is closed.
    #[error("the socket at the back is closed")]
    BackClosed,
    /// Both are handles of one socket. [`Device::reflector`](super::Device::reflector) takes a single one.
    #[error("both are the same socket; Device::reflector takes one")]
    SameSocket,
}

/// Why a device ended that was not stopped. Its sockets are closed.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum DeviceFailure {
    /// The first or only socket was closed.
    #[error("the socket in front was closed")]
    FrontClosed,
    /// The second socket was closed.
    #[error("the socket at the back was closed")]
    BackClosed,
    /// The device, or a socket of it, was made before a `fork`, in an ancestor of this process.
    #[error("the device belongs to the process that this one was forked from")]
    Forked,
    /// An event loop of the runtime of a socket has panicked, which is a fault of sinew's.
    #[error("the event loop of a socket of the device has panicked")]
    RuntimeLost,
    /// No thread could be started.
    #[error("no thread for the device: {0}")]
    Thread(#[source] io::Error),
}

/// Writes its sentence, as `Display` does.
impl fmt::Debug for DeviceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes its sentence, as `Display` does.
impl fmt::Debug for DeviceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
