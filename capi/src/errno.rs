//! Errors as C has them: numbers in `errno`.

use std::ffi::{CStr, c_char, c_int};

use sinew::{AddressError, AttemptError, BindError, ConnectError, RecvError, SendError};

/// An error number. Zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) c_int);

/// The first of the numbers that nanomsg gives to errors which the system does not have.
const OWN: c_int = 156_384_712;

/// The library has been terminated.
pub(crate) const ETERM: Errno = Errno(OWN + 53);
/// The socket is in a state that does not allow the call.
pub(crate) const EFSM: Errno = Errno(OWN + 54);
/// The socket belongs to the process that this one was forked from. nanomsg has no such error.
pub(crate) const EFORKED: Errno = Errno(OWN + 64);

macro_rules! system {
    ($($name:ident)*) => {$(
        pub(crate) const $name: Errno = Errno(libc::$name);
    )*};
}

system! {
    EACCES EADDRINUSE EAFNOSUPPORT EAGAIN EBADF ECONNREFUSED ECONNRESET EFAULT EINTR EINVAL EIO EMFILE EMSGSIZE
    ENAMETOOLONG ENODEV ENOENT ENOMEM ENOPROTOOPT ENOTRECOVERABLE ENOTSUP EPROTO EPROTONOSUPPORT ETIMEDOUT
}

impl Errno {
    /// The number that the last call of the system has left.
    pub(crate) fn last() -> Self {
        Self(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO))
    }

    pub(crate) fn set(self) {
        // SAFETY: the pointer is to the calling thread's own variable.
        unsafe { *libc::__errno_location() = self.0 };
    }
}

impl From<&std::io::Error> for Errno {
    fn from(error: &std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<&SendError> for Errno {
    fn from(error: &SendError) -> Self {
        match error {
            SendError::Closed(_) => EBADF,
            SendError::TimedOut(..) => ETIMEDOUT,
            SendError::WouldBlock(_) => EAGAIN,
            SendError::Interrupted(_) => EINTR,
            SendError::State(_) => EFSM,
            SendError::Forked(_) => EFORKED,
            SendError::Header(_) => EINVAL,
            SendError::TooLarge { .. } => EMSGSIZE,
            _ => ENOTRECOVERABLE,
        }
    }
}

impl From<&RecvError> for Errno {
    fn from(error: &RecvError) -> Self {
        match error {
            RecvError::Closed => EBADF,
            RecvError::TimedOut(_) => ETIMEDOUT,
            RecvError::WouldBlock => EAGAIN,
            RecvError::Interrupted => EINTR,
            RecvError::State | RecvError::Canceled => EFSM,
            RecvError::Forked => EFORKED,
            RecvError::BadReply { .. } => EPROTO,
            RecvError::ConnectionReset | RecvError::GivenUp { .. } => ECONNRESET,
            _ => ENOTRECOVERABLE,
        }
    }
}

impl From<&AddressError> for Errno {
    fn from(error: &AddressError) -> Self {
        match error {
            AddressError::UnknownTransport { .. } => EPROTONOSUPPORT,
            AddressError::TooLong { .. } => ENAMETOOLONG,
            AddressError::Zone { .. } => ENODEV,
            _ => EINVAL,
        }
    }
}

impl From<&BindError> for Errno {
    fn from(error: &BindError) -> Self {
        match error {
            BindError::Address(error) => error.into(),
            BindError::AddressInUse { .. } => EADDRINUSE,
            BindError::PermissionDenied { .. } => EACCES,
            BindError::Option(_) => EINVAL,
            BindError::Closed => EBADF,
            BindError::Forked => EFORKED,
            BindError::Io { source, .. } => source.into(),
            _ => ENOTRECOVERABLE,
        }
    }
}

impl From<&ConnectError> for Errno {
    fn from(error: &ConnectError) -> Self {
        match error {
            ConnectError::Address(error) => error.into(),
            ConnectError::Option(_) => EINVAL,
            ConnectError::Closed => EBADF,
            ConnectError::Forked => EFORKED,
            ConnectError::Failed { source, .. } => match source {
                AttemptError::Refused => ECONNREFUSED,
                AttemptError::NoSuchFile => ENOENT,
                AttemptError::TimedOut(_) | AttemptError::HandshakeTimedOut(_) => ETIMEDOUT,
                AttemptError::Protocol(_) => EPROTO,
                AttemptError::Rejected | AttemptError::TurnedAway { .. } => EACCES,
                AttemptError::Closed => ECONNRESET,
                _ => EIO,
            },
            _ => ENOTRECOVERABLE,
        }
    }
}

/// The text of an error number. Static for ours; the system's is in a buffer of its own.
pub(crate) fn text(number: c_int) -> *const c_char {
    let own: Option<&CStr> = match Errno(number) {
        ETERM => Some(c"The library was terminated"),
        EFSM => Some(c"The socket is in a state that does not allow the call"),
        EFORKED => Some(c"The socket belongs to the process that this one was forked from"),
        _ => None,
    };
    match own {
        Some(text) => text.as_ptr(),
        // SAFETY: any number is allowed.
        None => unsafe { libc::strerror(number) },
    }
}
