//! Addresses as nanomsg takes them, and as sinew does.

use std::ffi::{CStr, c_char};
use std::net::Ipv4Addr;

use crate::errno::{EINVAL, ENAMETOOLONG, ENODEV, EPROTONOSUPPORT, Errno};

/// The most bytes of an address, with its end.
const LONGEST: usize = 128;

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Bind,
    Connect,
}

/// Reads an address from C.
///
/// # Safety
///
/// The pointer is null, or to a string with an end.
pub(super) unsafe fn read<'a>(address: *const c_char) -> Result<&'a str, Errno> {
    if address.is_null() {
        return Err(EINVAL);
    }
    // SAFETY: by the caller.
    let address = unsafe { CStr::from_ptr(address) };
    if address.count_bytes() >= LONGEST {
        return Err(ENAMETOOLONG);
    }
    address.to_str().map_err(|_| EINVAL)
}

/// The address as sinew takes it. With `ipv4_only` names are looked up as IPv4 addresses only, and `*` is all of
/// these.
pub(super) fn translate(address: &str, usage: Use, ipv4_only: bool) -> Result<String, Errno> {
    let (scheme, rest) = address.split_once("://").ok_or(EINVAL)?;
    match scheme {
        "inproc" | "ipc" => Ok(address.to_owned()),
        "tcp" => {
            check_tcp(rest, usage, ipv4_only)?;
            Ok(format!("{}://{rest}", if ipv4_only { "tcp4" } else { "tcp" }))
        }
        _ => Err(EPROTONOSUPPORT),
    }
}

/// Finds what nanomsg refuses in another way than sinew, or sinew not at all.
fn check_tcp(rest: &str, usage: Use, ipv4_only: bool) -> Result<(), Errno> {
    let (local, server) = match rest.split_once(';') {
        Some((local, server)) => (Some(local), server),
        None => (None, rest),
    };
    let (host, port) = server.rsplit_once(':').ok_or(EINVAL)?;
    if !port.parse::<u16>().is_ok_and(|port| port > 0) || port.starts_with('+') {
        return Err(EINVAL);
    }
    match (usage, local) {
        (Use::Bind, Some(_)) => return Err(ENODEV),
        (Use::Bind, None) => is_local(host, ipv4_only).then_some(()).ok_or(ENODEV)?,
        (Use::Connect, Some(local)) => is_local(local, ipv4_only).then_some(()).ok_or(ENODEV)?,
        (Use::Connect, None) => {}
    }
    if usage == Use::Connect && !is_literal(host, ipv4_only) && !is_name(host) {
        return Err(EINVAL);
    }
    Ok(())
}

fn is_local(host: &str, ipv4_only: bool) -> bool {
    host == "*" || is_literal(host, ipv4_only)
}

fn is_literal(host: &str, ipv4_only: bool) -> bool {
    if host.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    !ipv4_only && host.starts_with('[') && host.ends_with(']')
}

/// Whether nanomsg takes this for the name of a host: letters, digits, dots and hyphens, in labels of up to 63
/// characters.
fn is_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    !host.is_empty()
        && !host.starts_with('-')
        && host.split('.').all(|label| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            (1..=63).contains(&label.len()) && label.bytes().all(plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sinew_would_take_and_nanomsg_does_not_is_refused() {
        let bind = |address| translate(address, Use::Bind, true);
        assert_eq!(bind("tcp://127.0.0.1:0"), Err(EINVAL));
        assert_eq!(bind("tcp://localhost:5555"), Err(ENODEV));
        assert_eq!(bind("tcp://*:5555").as_deref(), Ok("tcp4://*:5555"));
        assert_eq!(bind("tcp://[::1]:5555"), Err(ENODEV));
        assert_eq!(bind("ws://127.0.0.1:5555"), Err(EPROTONOSUPPORT));
        assert_eq!(bind("tcp4://127.0.0.1:5555"), Err(EPROTONOSUPPORT));
        let bind = |address| translate(address, Use::Bind, false);
        assert_eq!(bind("tcp://[::1]:5555").as_deref(), Ok("tcp://[::1]:5555"));
    }
}
