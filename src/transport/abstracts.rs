//! abstract: streams between processes of one host, by names that are no files. On Linux.
//!
//! Owns the meaning of `abstract://name`. The kernel keeps the names, each as long as somebody listens there, so nothing
//! is left behind and nothing is in the way. The streams are those of ipc, with the same bytes on them. The rules are in
//! `docs/spec/semantics.md`, section 14.4.2.

use std::ffi::OsStr;
#[cfg(target_os = "android")]
use std::os::android::net::SocketAddrExt;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::SocketAddr;
use std::{fmt::Write, io};

use socket2::{SockAddr, SockRef, Socket};

use super::ipc::{BACKLOG, IpcListener, IpcStream, bound_to};
use super::tcp::size_buffers;
use super::{Destination, Listener, Stream, StreamTransport, Target};
use crate::address::Address;
use crate::error::{AddressError, BindError};
use crate::options::EndpointSettings;
use crate::wire::Framing;

/// How many bytes a name may have: the size of `sun_path` less the zero in front.
const NAME_MAX: usize = 107;

/// abstract: `abstract://`, over Unix domain sockets whose names are no files. On Linux and Android.
///
/// Every runtime has it there. It is public for transports that wrap it.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Abstract;

impl Abstract {
    /// The transport; it has no settings of its own.
    pub const fn new() -> Self {
        Self
    }
}

impl StreamTransport for Abstract {
    fn schemes(&self) -> &[&str] {
        &["abstract"]
    }

    fn framing(&self) -> Framing {
        Framing::TypeAndLength
    }

    /// Binds to a name, or with an empty one to any that is free, which the URL of the listener then has.
    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let name = parse(address)?;
        let (socket, name) =
            listen(name, settings).map_err(|error| BindError::from_io(address.url(), error))?;
        let url = name.map_or_else(|| address.url().to_owned(), |name| url(&name));
        Ok(Box::new(IpcListener::without_file(socket.into(), url, settings)))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        match parse(address)?.is_empty() {
            true => Err(address.bad_path("", "there is no name")),
            false => Ok(Target::Known(Destination::Other(address.url().to_owned()))),
        }
    }

    /// Begins a connection. `WouldBlock` means that too many others wait to be accepted there.
    fn connect(
        &self,
        address: &Address,
        _: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        let name = parse(address).map_err(io::Error::other)?;
        let end = SocketAddr::from_abstract_name(name)?;
        let stream = mio::net::UnixStream::connect_addr(&end)?;
        size_buffers(&SockRef::from(&stream), settings)?;
        Ok(Box::new(IpcStream(stream)))
    }
}

/// The name in an address: bytes, of which each may be written as `%` and two hexadecimal digits.
fn parse(address: &Address) -> Result<Vec<u8>, AddressError> {
    let text = address.after_scheme();
    let (mut name, mut rest) = (Vec::new(), text.as_bytes().iter());
    while let Some(&byte) = rest.next() {
        let byte = match byte {
            b'%' => decode(rest.next().zip(rest.next())).ok_or_else(|| {
                address.bad_path(text, "behind a % there must be two hexadecimal digits")
            })?,
            0 => return Err(address.bad_path(text, "a zero byte is written as %00")),
            byte => byte,
        };
        name.push(byte);
    }
    if name.len() > NAME_MAX { Err(address.too_long(text, NAME_MAX)) } else { Ok(name) }
}

fn decode(digits: Option<(&u8, &u8)>) -> Option<u8> {
    let (high, low) = digits?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// The address of a name. Whatever is not visible ASCII is written with a `%`, so that no two names look alike.
pub(super) fn url(name: &[u8]) -> String {
    let mut url = "abstract://".to_owned();
    for &byte in name {
        match byte {
            b'!'..=b'~' if byte != b'%' => url.push(char::from(byte)),
            _ => write!(url, "%{byte:02X}").expect("a string takes everything"),
        }
    }
    url
}

/// Binds and listens. Returns the name that the system has chosen, if it has.
fn listen(name: Vec<u8>, settings: &EndpointSettings) -> io::Result<(Socket, Option<Vec<u8>>)> {
    if settings.restricts_file() {
        let reason =
            "an abstract name is no file: ipc_mode, ipc_owner and ipc_group must not be set";
        return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
    }
    if name.is_empty() {
        // A socket without a name that is bound has one chosen by the kernel.
        let socket = bound_to(&SockAddr::unix("")?, None)?;
        let chosen = socket.local_addr()?.as_abstract_namespace().map(<[u8]>::to_vec);
        socket.listen(BACKLOG)?;
        return Ok((socket, chosen));
    }
    let path = [&[0], &name[..]].concat();
    let socket = bound_to(&SockAddr::unix(OsStr::from_bytes(&path))?, None)?;
    socket.listen(BACKLOG)?;
    Ok((socket, None))
}

#[cfg(test)]
mod tests {
    use super::super::tcp::kit::{self, address, connect, exchange, join};
    use super::*;

    /// An address that no other test, in no other process, has.
    fn fresh(name: &str) -> String {
        format!("abstract://sinew-{}-{name}", std::process::id())
    }

    fn bind_to(url: &str) -> Result<Box<dyn Listener>, BindError> {
        kit::bind(&Abstract, url)
    }

    /// C612.
    #[test]
    fn two_ends_exchange_bytes_and_know_the_name() {
        let url = fresh("talk");
        let mut listener = bind_to(&url).unwrap();
        assert_eq!((listener.url(), listener.file()), (url.clone(), None));
        let (mut near, mut far) = join(&Abstract, &mut *listener, &url);
        exchange(&mut *near, &mut *far);
        assert_eq!((near.peer().local.as_str(), near.peer().remote.as_str()), ("", url.as_str()));
        assert_eq!((far.peer().local.as_str(), far.peer().remote.as_str()), (url.as_str(), ""));
        if cfg!(not(sinew_socketpair)) {
            let pid = |end: &dyn Stream| end.peer().credentials.unwrap().pid;
            let own = Some(std::process::id());
            assert_eq!((pid(&*near), pid(&*far)), (own, own));
        }
    }

    /// C613: every byte can be in a name.
    #[test]
    fn a_name_is_any_bytes() {
        let table = [
            ("abstract://a/b c?d#e", &b"a/b c?d#e"[..], "abstract://a/b%20c?d#e"),
            ("abstract://a%00b%25%ff", b"a\0b%\xff", "abstract://a%00b%25%FF"),
            ("abstract://\u{e9}", b"\xc3\xa9", "abstract://%C3%A9"),
        ];
        for (given, bytes, shown) in table {
            let name = parse(&address(given)).unwrap();
            assert_eq!((&name[..], url(&name).as_str()), (bytes, shown));
            assert_eq!(parse(&address(shown)).unwrap(), name);
        }
        let url = fresh("%00%ff%25");
        let mut listener = bind_to(&url).unwrap();
        let (mut near, mut far) = join(&Abstract, &mut *listener, &fresh("%00%FF%25"));
        exchange(&mut *near, &mut *far);
        assert_eq!(near.peer().remote, fresh("%00%FF%25"));
        // A zero byte at the end makes another name.
        let other = connect(&Abstract, &fresh("%00%FF%25%00")).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// C613.
    #[test]
    fn what_is_no_name_is_refused() {
        let escape = "behind a % there must be two hexadecimal digits";
        for text in ["%", "a%1", "%g0", "%+1", "%%00"] {
            let url = format!("abstract://{text}");
            let expected = address(&url).bad_path(text, escape);
            assert_eq!(Abstract.target(&address(&url)), Err(expected.clone()));
            let bound = bind_to(&url);
            assert!(matches!(&bound, Err(BindError::Address(error)) if *error == expected));
        }
        let zero = address("abstract://a\0b");
        let expected = zero.bad_path("a\0b", "a zero byte is written as %00");
        assert_eq!(Abstract.target(&zero), Err(expected));
        let nothing = address("abstract://");
        assert_eq!(Abstract.target(&nothing), Err(nothing.bad_path("", "there is no name")));
    }

    /// C613.
    #[test]
    fn a_name_may_be_as_long_as_the_system_allows() {
        let start = fresh("long-");
        let rest = NAME_MAX + "abstract://".len() - start.len();
        let url = format!("{start}{}", "%78".repeat(rest));
        let mut listener = bind_to(&url).unwrap();
        let (mut near, mut far) = join(&Abstract, &mut *listener, &url);
        exchange(&mut *near, &mut *far);

        let longer = address(&format!("{url}x"));
        let expected = longer.too_long(longer.after_scheme(), NAME_MAX);
        assert_eq!(Abstract.target(&longer), Err(expected));
    }

    /// C614.
    #[test]
    fn without_a_name_the_system_chooses_one() {
        let (mut one, mut other) =
            (bind_to("abstract://").unwrap(), bind_to("abstract://").unwrap());
        assert_ne!(one.url(), other.url());
        for listener in [&mut one, &mut other] {
            let url = listener.url();
            let (mut near, mut far) = join(&Abstract, &mut **listener, &url);
            exchange(&mut *near, &mut *far);
        }
    }

    /// C612.
    #[test]
    fn a_name_is_bound_once_and_free_at_once() {
        let url = fresh("twice");
        let mut connections = Vec::new();
        for _ in 0..20 {
            let mut listener = bind_to(&url).unwrap();
            assert!(matches!(bind_to(&url), Err(BindError::AddressInUse { .. })));
            connections.push(join(&Abstract, &mut *listener, &url));
        }
        for (near, far) in &mut connections {
            exchange(&mut **near, &mut **far);
        }
        let refused = connect(&Abstract, &url).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }

    /// C612: nothing that says who may connect is ignored.
    #[test]
    fn what_only_a_file_can_have_is_refused() {
        let none = EndpointSettings::default;
        for settings in [
            EndpointSettings { ipc_mode: Some(0o600), ..none() },
            EndpointSettings { ipc_owner: Some(0), ..none() },
            EndpointSettings { ipc_group: Some(0), ..none() },
        ] {
            let refused = Abstract.bind(&address(&fresh("file")), &settings);
            let Err(BindError::Io { source, .. }) = refused else { panic!("{refused:?}") };
            assert_eq!(source.kind(), io::ErrorKind::Unsupported);
        }
    }
}
