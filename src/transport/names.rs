//! Host names, looked up by the system's resolver.
//!
//! Owns the one call of the resolver, which may take arbitrarily long, and the classification of its errors,
//! for which std has no class.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};

/// The addresses of a host, or of an IPv6 address with the name of an interface behind a `%`.
///
/// # Errors
///
/// `NotFound` if there is no such name, `HostUnreachable` if no name server could be asked, or the error of
/// a system call, in the system's words.
pub(crate) fn look_up(host: &str, port: u16) -> io::Result<impl Iterator<Item = SocketAddr>> {
    (host, port).to_socket_addrs().map_err(|error| classified(host, error))
}

/// Gives an error of the resolver a kind. Std keeps only the resolver's words, unless a system call has
/// failed. An error that is not known to be temporary is taken for the answer that there is no such name.
fn classified(host: &str, error: io::Error) -> io::Error {
    let words = error.to_string();
    // `EAI_AGAIN` in the words of glibc, of the BSDs and macOS, and of musl.
    let may_pass =
        || ["emporary failure", "emporarily", "ry again"].iter().any(|&w| words.contains(w));
    let kind = match error.raw_os_error() {
        Some(code) => match windows_kind(code) {
            Some(kind) => kind,
            None => return error,
        },
        None if may_pass() => ErrorKind::HostUnreachable,
        None => ErrorKind::NotFound,
    };
    match host.split_once('%') {
        Some((_, zone)) => io::Error::new(
            kind,
            format!("no interface {zone:?}, or an address that has no zones: {words}"),
        ),
        None => io::Error::new(kind, words),
    }
}

/// The class of an error that Windows gives its resolver a number for.
fn windows_kind(code: i32) -> Option<ErrorKind> {
    /// `WSAHOST_NOT_FOUND` and `WSANO_DATA`.
    const NO_SUCH: [i32; 2] = [11_001, 11_004];
    /// `WSATRY_AGAIN`.
    const TRY_AGAIN: i32 = 11_002;
    match code {
        _ if cfg!(not(windows)) => None,
        TRY_AGAIN => Some(ErrorKind::HostUnreachable),
        _ => NO_SUCH.contains(&code).then_some(ErrorKind::NotFound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(words: &str) -> ErrorKind {
        let error = classified("host", io::Error::other(words));
        assert_eq!(error.to_string(), words);
        error.kind()
    }

    #[test]
    fn what_the_resolver_says_has_a_class() {
        assert_eq!(kind("Name or service not known"), ErrorKind::NotFound);
        assert_eq!(kind("No address associated with hostname"), ErrorKind::NotFound);
        assert_eq!(kind("Temporary failure in name resolution"), ErrorKind::HostUnreachable);
        assert_eq!(kind("Try again"), ErrorKind::HostUnreachable);
    }

    #[test]
    #[cfg(unix)]
    fn what_a_system_call_says_stays() {
        let error = classified("host", io::Error::from_raw_os_error(libc::EMFILE));
        assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    }

    /// An interface is found by its name, at every look-up.
    #[test]
    #[cfg(target_os = "linux")]
    fn an_interface_is_found_by_its_name() {
        let SocketAddr::V6(found) = look_up("fe80::1%lo", 80).unwrap().next().unwrap() else {
            panic!("an IPv6 address")
        };
        let index = std::fs::read_to_string("/sys/class/net/lo/ifindex").unwrap();
        assert_eq!(found.scope_id().to_string(), index.trim());

        let Err(missing) = look_up("fe80::1%no-such-if", 80) else { panic!("there is none") };
        assert_eq!(missing.kind(), ErrorKind::NotFound);
        assert!(missing.to_string().starts_with("no interface \"no-such-if\", "), "{missing}");
    }
}
