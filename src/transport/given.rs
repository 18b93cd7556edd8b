//! Listeners and connections that are there already: made by the program, inherited, or passed by another process.
//!
//! Owns what such a descriptor turns out to be, and which bytes go over it. The rules are in `docs/spec/semantics.md`,
//! section 14.7.

use std::io::{self, ErrorKind};
use std::net;
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::os::unix::net as unix;

#[cfg(unix)]
use socket2::{Domain, Socket};
use socket2::{SockRef, Type};

use super::foreign;
#[cfg(unix)]
use super::ipc::{IpcListener, IpcStream};
use super::tcp::{TcpListener, TcpStream};
use super::{Listener, Stream};
use crate::options::EndpointSettings;
use crate::wire::Framing;

/// The address of a connection whose ends have none, as NNG calls it.
const SOCKET: &str = "socket://";

/// A listener that is there already, for [`Socket::bind_listener`](crate::Socket::bind_listener).
///
/// Made by `From` from a listening tcp or Unix domain socket of the standard library, on Unix also from an `OwnedFd`
/// that is either; and from a [`Listener`] of the program's own.
#[derive(Debug)]
pub struct GivenListener(Listening);

#[derive(Debug)]
enum Listening {
    Tcp(net::TcpListener),
    #[cfg(unix)]
    Unix(unix::UnixListener),
    #[cfg(unix)]
    Any(OwnedFd),
    Own(Box<dyn Listener>, Framing),
}

/// A connection that is there already, for [`Socket::adopt`](crate::Socket::adopt).
///
/// Made by `From` from a connected tcp or Unix domain socket of the standard library, on Unix also from an `OwnedFd`
/// that is either; and from a [`Stream`] of the program's own.
///
/// Which bytes frame a message follows from what it is: on tcp those of tcp, on a Unix domain socket of which one end
/// has a name those of ipc, and on a pair without names those of tcp, as for `socket://` of NNG.
/// [`framed`](Self::framed) says otherwise.
#[derive(Debug)]
pub struct GivenStream {
    what: Connected,
    framing: Option<Framing>,
}

#[derive(Debug)]
enum Connected {
    Tcp(net::TcpStream),
    #[cfg(unix)]
    Unix(unix::UnixStream),
    #[cfg(unix)]
    Any(OwnedFd),
    Own(Box<dyn Stream>),
}

impl GivenListener {
    /// A listener of the program's own, which need not belong to a transport.
    pub fn new(listener: Box<dyn Listener>, framing: Framing) -> Self {
        Self(Listening::Own(listener, framing))
    }

    /// Makes sure that it is one.
    pub(crate) fn open(
        self,
        settings: &EndpointSettings,
    ) -> io::Result<(Box<dyn Listener>, Framing)> {
        match self.0 {
            Listening::Tcp(socket) => {
                check_listens(&SockRef::from(&socket))?;
                Ok((Box::new(TcpListener::over(socket, settings)?), Framing::Length))
            }
            #[cfg(unix)]
            Listening::Unix(socket) => {
                check_listens(&SockRef::from(&socket))?;
                Ok((Box::new(IpcListener::over(socket, settings)?), Framing::TypeAndLength))
            }
            #[cfg(unix)]
            Listening::Any(descriptor) => {
                let socket = Socket::from(descriptor);
                let is_unix = is_unix(&socket)?;
                let known = if is_unix {
                    Listening::Unix(socket.into())
                } else {
                    Listening::Tcp(socket.into())
                };
                Self(known).open(settings)
            }
            Listening::Own(listener, framing) => Ok((foreign::listener(listener), framing)),
        }
    }
}

impl GivenStream {
    /// A connection of the program's own, which need not belong to a transport. It is established.
    pub fn new(stream: Box<dyn Stream>, framing: Framing) -> Self {
        Self { what: Connected::Own(stream), framing: Some(framing) }
    }

    /// Sets which bytes frame a message: whatever the peer at the other end speaks.
    pub fn framed(mut self, framing: Framing) -> Self {
        self.framing = Some(framing);
        self
    }

    /// Makes sure that it is one. Returns its address as well.
    pub(crate) fn open(
        self,
        settings: &EndpointSettings,
    ) -> io::Result<(Box<dyn Stream>, Framing, String)> {
        let Self { what, framing } = self;
        match what {
            Connected::Tcp(socket) => {
                check_is_stream(&SockRef::from(&socket))?;
                let (stream, url) = TcpStream::over(socket, settings)?;
                Ok((Box::new(stream), framing.unwrap_or(Framing::Length), url))
            }
            #[cfg(unix)]
            Connected::Unix(socket) => {
                check_is_stream(&SockRef::from(&socket))?;
                let (stream, url) = IpcStream::over(socket, settings)?;
                let (usual, url) = match url.is_empty() {
                    true => (Framing::Length, SOCKET.to_owned()),
                    false => (Framing::TypeAndLength, url),
                };
                Ok((Box::new(stream), framing.unwrap_or(usual), url))
            }
            #[cfg(unix)]
            Connected::Any(descriptor) => {
                let socket = Socket::from(descriptor);
                let what = match is_unix(&socket)? {
                    true => Connected::Unix(socket.into()),
                    false => Connected::Tcp(socket.into()),
                };
                Self { what, framing }.open(settings)
            }
            Connected::Own(stream) => {
                let framing = framing.unwrap_or(Framing::Length);
                Ok((foreign::stream(stream), framing, SOCKET.to_owned()))
            }
        }
    }
}

/// Tells a Unix domain socket from one of tcp.
#[cfg(unix)]
fn is_unix(socket: &Socket) -> io::Result<bool> {
    match socket.local_addr()?.domain() {
        Domain::UNIX => Ok(true),
        Domain::IPV4 | Domain::IPV6 => Ok(false),
        _ => Err(unfit("it is neither a tcp nor a Unix domain socket")),
    }
}

fn check_is_stream(socket: &SockRef<'_>) -> io::Result<()> {
    match socket.r#type()? == Type::STREAM {
        true => Ok(()),
        false => Err(unfit("it is a socket for datagrams, not for a stream")),
    }
}

fn check_listens(socket: &SockRef<'_>) -> io::Result<()> {
    check_is_stream(socket)?;
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    if !socket.is_listener()? {
        return Err(unfit("it does not listen"));
    }
    Ok(())
}

fn unfit(reason: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, reason)
}

impl From<net::TcpListener> for GivenListener {
    fn from(listener: net::TcpListener) -> Self {
        Self(Listening::Tcp(listener))
    }
}

#[cfg(unix)]
impl From<unix::UnixListener> for GivenListener {
    fn from(listener: unix::UnixListener) -> Self {
        Self(Listening::Unix(listener))
    }
}

#[cfg(unix)]
impl From<OwnedFd> for GivenListener {
    fn from(descriptor: OwnedFd) -> Self {
        Self(Listening::Any(descriptor))
    }
}

impl From<net::TcpStream> for GivenStream {
    fn from(stream: net::TcpStream) -> Self {
        Self { what: Connected::Tcp(stream), framing: None }
    }
}

#[cfg(unix)]
impl From<unix::UnixStream> for GivenStream {
    fn from(stream: unix::UnixStream) -> Self {
        Self { what: Connected::Unix(stream), framing: None }
    }
}

#[cfg(unix)]
impl From<OwnedFd> for GivenStream {
    fn from(descriptor: OwnedFd) -> Self {
        Self { what: Connected::Any(descriptor), framing: None }
    }
}

/// The listeners that a service manager has opened for this process, each with the name that it has there: those of
/// systemd's socket activation (`LISTEN_FDS`). None if there are none. They are handed out once: later calls return
/// none.
///
/// The descriptors become this call's, and are not inherited by children from then on. A program that also takes them by
/// other means must not call it. The environment stays as it is.
///
/// ```
/// use sinew::{Pull, transport};
///
/// let pull = Pull::new();
/// for (_, listener) in transport::inherited_listeners()? {
///     pull.bind_listener(listener)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// What the environment says makes no sense, or a descriptor that it names is not open. Whether each is a listener,
/// [`bind_listener`](crate::Socket::bind_listener) finds out.
#[cfg(unix)]
pub fn inherited_listeners() -> io::Result<Vec<(String, GivenListener)>> {
    let wrong = |what| Err(io::Error::new(ErrorKind::InvalidData, what));
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u32>());
    match (number("LISTEN_PID"), number("LISTEN_FDS")) {
        (Some(Ok(process)), Some(Ok(count))) if process == std::process::id() => {
            let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
            let mut names = names.split(':').map(str::to_owned);
            let listeners = crate::sys::take_inherited(count)?.into_iter();
            Ok(listeners
                .map(|listener| (names.next().unwrap_or_default(), listener.into()))
                .collect())
        }
        // For the parent, which has not cleared its environment.
        (Some(Ok(_)), Some(Ok(_))) | (None, _) | (_, None) => Ok(Vec::new()),
        _ => wrong("LISTEN_PID or LISTEN_FDS is no number"),
    }
}
