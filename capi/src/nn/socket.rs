//! Sockets and their endpoints.

use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

use sinew::EndpointOptions;

use super::address::{self, Use};
use super::options;
use crate::border::border;
use crate::engine::{self, Kind};
use crate::errno::{self, EAFNOSUPPORT, EBADF, EFORKED, EINVAL, ETERM, Errno};
use crate::process;
use crate::table::{self, Entry, InUse};

/// Ordinary sockets.
pub(super) const AF_SP: c_int = 1;
/// Raw ones.
pub(super) const AF_SP_RAW: c_int = 2;

/// Whether `nn_term` was called.
static TERMINATED: AtomicBool = AtomicBool::new(false);

/// Makes a socket, and returns its number.
#[unsafe(no_mangle)]
pub extern "C" fn nn_socket(domain: c_int, protocol: c_int) -> c_int {
    border(|| {
        if TERMINATED.load(Ordering::Acquire) {
            return Err(ETERM);
        }
        if domain != AF_SP && domain != AF_SP_RAW {
            return Err(EAFNOSUPPORT);
        }
        let kind = Kind::of(protocol).filter(|&kind| kind != Kind::Pair1).ok_or(EINVAL)?;
        let (runtime, options) = (process::runtime()?, options::first());
        let made = match domain {
            AF_SP => engine::make(kind, &runtime, options),
            _ => engine::make_raw(kind, &runtime, options),
        };
        let engine = made.map_err(|_| EINVAL)?;
        table::insert(Entry::new(engine, domain, protocol, options::defaults()))
    })
}

/// Closes a socket. Calls of other threads on it end.
#[unsafe(no_mangle)]
pub extern "C" fn nn_close(s: c_int) -> c_int {
    border(|| table::close(s).map(|()| 0))
}

/// Binds a socket to an address, and returns the number of the endpoint.
///
/// # Safety
///
/// `addr` is null, or points to a string with an end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_bind(s: c_int, addr: *const c_char) -> c_int {
    border(|| {
        let entry = table::get(s)?;
        // SAFETY: by the caller.
        let url = unsafe { address::read(addr) }?;
        add_endpoint(&entry, url, Use::Bind)
    })
}

/// Connects a socket to an address, in the background, and returns the number of the endpoint.
///
/// # Safety
///
/// `addr` is null, or points to a string with an end.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_connect(s: c_int, addr: *const c_char) -> c_int {
    border(|| {
        let entry = table::get(s)?;
        // SAFETY: by the caller.
        let url = unsafe { address::read(addr) }?;
        add_endpoint(&entry, url, Use::Connect)
    })
}

fn add_endpoint(entry: &InUse, url: &str, usage: Use) -> Result<c_int, Errno> {
    let mut settings = entry.settings();
    let url = address::translate(url, usage, settings.ipv4_only != 0)?;
    let socket = entry.engine.socket();
    let options = EndpointOptions::new();
    let endpoint = match usage {
        Use::Bind => socket.bind_with(&url, &options).map_err(|error| Errno::from(&error))?,
        Use::Connect => socket.connect_with(&url, &options).map_err(|error| Errno::from(&error))?,
    };
    settings.last_endpoint += 1;
    let number = settings.last_endpoint;
    settings.endpoints.insert(number, endpoint);
    Ok(number)
}

/// Closes an endpoint, with its connections.
#[unsafe(no_mangle)]
pub extern "C" fn nn_shutdown(s: c_int, how: c_int) -> c_int {
    border(|| {
        let entry = table::get(s)?;
        let endpoint = entry.settings().endpoints.remove(&how).ok_or(EINVAL)?;
        match endpoint.close() {
            Ok(()) => Ok(0),
            Err(_) if entry.is_inherited() => Err(EFORKED),
            Err(_) => Err(EBADF),
        }
    })
}

/// Closes all sockets, for good.
#[unsafe(no_mangle)]
pub extern "C" fn nn_term() {
    TERMINATED.store(true, Ordering::Release);
    border(|| {
        process::end(true);
        Ok(0)
    });
}

/// The number of the last error of the calling thread.
#[unsafe(no_mangle)]
pub extern "C" fn nn_errno() -> c_int {
    // SAFETY: the pointer is to the calling thread's own variable.
    unsafe { *libc::__errno_location() }
}

/// The text of an error number, which the program must not change.
#[unsafe(no_mangle)]
pub extern "C" fn nn_strerror(errnum: c_int) -> *const c_char {
    errno::text(errnum)
}
