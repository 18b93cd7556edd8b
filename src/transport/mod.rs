//! Transports: how two sockets are joined.
//!
//! Owns the two shapes of transport and the list of those known. A [`StreamTransport`] moves bytes
//! between processes: it makes listeners and connected streams, and the reactor does the rest (the
//! header exchange, framing, queues, reconnecting). A rendezvous joins two sockets of one process
//! without any stream: `inproc` is the only one.
//!
//! A new stream transport is one file here and its entry in [`Transports::standard`].

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

use crate::address::Address;
use crate::error::{AddressError, BindError};
use crate::options::EndpointSettings;
use crate::wire::Framing;

pub(crate) mod inproc;
#[cfg(unix)]
pub(crate) mod ipc;
pub(crate) mod tcp;

/// A transport whose connections are streams of bytes.
///
/// Only `bind` and `resolve` may wait for anything, and `resolve` alone for the network; it is
/// called on a thread of its own. Everything else returns at once.
pub(crate) trait StreamTransport: Send + Sync + fmt::Debug {
    /// The schemes this transport answers to.
    fn schemes(&self) -> &'static [&'static str];

    /// How messages are framed on its connections.
    fn framing(&self) -> Framing;

    /// Binds and listens. The address is free for others again when the listener is dropped.
    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError>;

    /// Checks an address for connecting, without any I/O.
    fn target(&self, address: &Address) -> Result<Target, AddressError>;

    /// Begins a connection to one place, without waiting for it.
    fn connect(&self, place: &Place, settings: &EndpointSettings) -> io::Result<Box<dyn Stream>>;
}

/// Where a connection may go: known, or a name that is resolved anew on every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// One place.
    Known(Place),
    /// A host name: resolved off the I/O thread, all its addresses are tried in order.
    Name {
        /// The host name.
        host: String,
        /// The port.
        port: u16,
        /// The local address to connect from, if one was given.
        local: Option<std::net::IpAddr>,
        /// Which addresses are wanted.
        family: Family,
    },
}

/// Which addresses of a name are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Both (`tcp://`).
    Any,
    /// IPv4 only (`tcp4://`).
    V4,
    /// IPv6 only (`tcp6://`).
    V6,
}

impl Family {
    pub(crate) fn allows(self, address: &std::net::IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// One place a stream can be opened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An internet address.
    Inet {
        /// Where to.
        remote: std::net::SocketAddr,
        /// Where from, if that matters.
        local: Option<std::net::IpAddr>,
    },
    /// A file.
    Path(std::path::PathBuf),
}

/// A bound, listening endpoint.
pub(crate) trait Listener: Send + Sync + fmt::Debug {
    /// For registering with the poll.
    fn source(&mut self) -> &mut dyn mio::event::Source;

    /// The next connection; `WouldBlock` when there is none.
    fn accept(&self) -> io::Result<Box<dyn Stream>>;

    /// The address that others can connect to, with the real port.
    fn url(&self) -> String;
}

/// One connection: a stream of bytes in both directions, non-blocking.
///
/// Reading and writing take `&self`, so that the thread that sends and the I/O thread can share it.
pub(crate) trait Stream: Send + Sync + fmt::Debug {
    /// For registering with the poll.
    fn source(&mut self) -> &mut dyn mio::event::Source;

    /// After the poll said that a begun connection is writable: whether it now stands.
    /// `Ok(false)` is a false alarm.
    fn established(&self) -> io::Result<bool>;

    /// Reads what is there; `Ok(0)` is the end of the stream, never "nothing yet".
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes as much as the kernel takes. Never raises SIGPIPE.
    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Tells the peer that nothing more will come; what it sends can still be read.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Our and the peer's address, and who the peer is where the system tells.
    fn peer(&self) -> StreamPeer;
}

/// What is known of the two ends of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StreamPeer {
    /// Our end, as a URL; empty when the system does not tell.
    pub(crate) local: String,
    /// The peer's end, as a URL; empty when the system does not tell.
    pub(crate) remote: String,
    /// For ipc: the process at the other end.
    pub(crate) credentials: Option<PeerCredentials>,
}

/// The process at the other end of an ipc connection, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCredentials {
    /// Process id; `None` where the system does not tell. Advisory: the process may be gone and the
    /// number in use again.
    pub pid: Option<u32>,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The stream transports a runtime knows.
#[derive(Clone, Debug)]
pub(crate) struct Transports(Vec<Arc<dyn StreamTransport>>);

impl Transports {
    /// tcp, and ipc where there are unix domain sockets.
    pub(crate) fn standard() -> Self {
        Self(vec![
            Arc::new(tcp::Tcp),
            #[cfg(unix)]
            Arc::new(ipc::Ipc),
        ])
    }

    /// The transport for the scheme of `address`.
    pub(crate) fn find(
        &self,
        address: &Address,
    ) -> Result<&Arc<dyn StreamTransport>, AddressError> {
        self.0
            .iter()
            .find(|transport| transport.schemes().contains(&address.scheme()))
            .ok_or_else(|| address.unknown_transport())
    }
}

/// The most slices handed to the kernel at once: systems take at least 16 and commonly 1024, and
/// far fewer fill a socket's buffer.
const SLICES: usize = 64;

/// What keeps a write to a lost peer from raising SIGPIPE. Apple and Windows have no such flag; on
/// Apple the sockets are made with `SO_NOSIGPIPE`.
#[cfg(all(unix, not(target_vendor = "apple")))]
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(not(all(unix, not(target_vendor = "apple"))))]
const SEND_FLAGS: i32 = 0;

/// Writes as much of `slices` as the kernel takes, without raising SIGPIPE.
fn send(socket: &socket2::Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    socket.send_vectored_with_flags(&slices[..slices.len().min(SLICES)], SEND_FLAGS)
}

/// What a failed bind of `address` is called.
fn bind_error(address: &Address, source: io::Error) -> BindError {
    let url = address.url().to_owned();
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::AddressInUse { url },
        io::ErrorKind::PermissionDenied => BindError::PermissionDenied { url },
        _ => BindError::Io { url, source },
    }
}
