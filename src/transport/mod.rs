//! Transports: how two sockets are connected, and how a program adds a transport of its own.
//!
//! A stream transport moves bytes: it makes [`Listener`]s, which accept [`Stream`]s, and begins
//! connections, which are [`Stream`]s too. The crate does everything else, in the same way for each
//! transport: the header exchange, framing, limits, queues, back-pressure, reconnecting, closing,
//! events and counters. tcp and ipc are such transports ([`Tcp`], [`Ipc`]), and a program can add
//! others without any change to this crate:
//!
//! ```
//! # use sinew::transport::Tcp as Vsock;
//! use sinew::{Options, Pair, Runtime};
//!
//! let runtime = Runtime::builder().transport(Vsock::new()).build()?;
//! let pair = Pair::on(&runtime, Options::new())?; // knows the schemes of `Vsock` as well
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/custom_transport` is a whole transport. `tests/wire/transports.rs` has the cases that it and the
//! built-in transports pass.
//!
//! inproc is no stream transport: two sockets of one process share their queues. It cannot be replaced.
//!
//! # Who calls, and what may wait
//!
//! | call | in which thread | may wait |
//! |---|---|---|
//! | [`schemes`](StreamTransport::schemes), [`framing`](StreamTransport::framing) | in [`RuntimeBuilder::build`](crate::RuntimeBuilder::build), once | no |
//! | [`bind`](StreamTransport::bind), then [`Listener::url`] and [`Listener::file`] | the thread that calls `bind` | yes, the caller waits with it |
//! | [`target`](StreamTransport::target) | the thread that calls `connect` | no |
//! | [`connect`](StreamTransport::connect) | the one that turns the event loop | no |
//! | [`Listener::source`], [`Listener::accept`] | the same | no |
//! | [`Stream::write`] | the same, or any thread that sends; one at a time for a stream | no |
//! | [`Stream::flush`] | the one that turns the event loop, perhaps while another thread writes | no |
//! | [`Stream::reregister`] | the one that turns the event loop, or the thread that writes | no |
//! | [`Stream::shutdown_write`] | the same, or the thread that closes the endpoint or socket | no |
//! | everything else of a [`Stream`] | the one that turns the event loop | no |
//! | deregistering and dropping a listener | the thread that closes its endpoint or socket, after an `accept` under way | no |
//! | dropping a stream | any thread | no |
//!
//! One thread at a time turns an event loop: its I/O thread, a thread of the program that waits for a message, or, in
//! a runtime without I/O threads, whoever turns it. It serves all connections of the loop, so a call that waits there
//! holds up all of them. One thread
//! may read a stream while another writes it. None of these calls may use a socket or an endpoint: the
//! crate holds no lock, but is in the middle of a turn of the event loop, or of a write.
//!
//! # Readiness
//!
//! The crate watches listeners and streams with [mio](mio::Poll), which reports changes only. A source that
//! has returned `WouldBlock` must be reported again once the call can succeed, and a source that is ready
//! when it is registered must be reported once after that. Reports that turn out to be wrong do no harm. The
//! crate registers a source once, and registers only a stream anew that [wants that](Stream::reregister). It
//! deregisters a listener's source before it drops the listener, in the thread that closes the endpoint (or in the
//! one that turns the loop, if a logger closes it during an `accept`), so that the poll does not keep the address any longer;
//! the source may not have been registered by then. It does not deregister a stream's source, unless it
//! [passes the stream on](Stream::pass_on): dropping the stream must end the watch, as closing a descriptor does.
//!
//! # When a transport misbehaves
//!
//! The crate checks what a program's own transport returns before it uses it, and catches panics, except in
//! `bind`, `target`, `url` and `file`, where a panic reaches the program's own call. A stream has failed when
//! it claims to have read or written more than it was given, when it writes nothing without an error, when each
//! of its writes is interrupted, or when it panics. Its connection then ends as with any other error; the
//! socket and its other connections live on. Two faults cannot be caught: a call that does not return (the
//! thread that closes the endpoint waits for an `accept` as well), and a listener that never returns
//! `WouldBlock`. The other listeners are served beside such a one, but each stream that it makes up is
//! held as a connection, at least for the handshake timeout.

use std::fmt;
use std::io::{self, IoSlice};
use std::time::Duration;

use mio::{Interest, Registry, Token};

pub use mio;
pub use mio::event::Source;

pub use crate::address::Address;
pub use crate::options::EndpointSettings;
pub use crate::peer::{PeerCredentials, PeerIdentity, StreamPeer};
pub use crate::wire::Framing;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub use abstracts::Abstract;
#[cfg(unix)]
pub use given::inherited_listeners;
pub use given::{GivenListener, GivenStream};
pub use tcp::Tcp;
#[cfg(feature = "tls")]
pub use tls::TlsTcp;
#[cfg(feature = "ws")]
pub use ws::Ws;

use crate::error::{AddressError, BindError, RuntimeError};
use crate::sync::Arc;

#[cfg(any(target_os = "linux", target_os = "android"))]
mod abstracts;
#[cfg(feature = "ws")]
mod doors;
mod file;
mod foreign;
mod given;
#[cfg(unix)]
mod ipc;
mod names;
mod tcp;
#[cfg(feature = "tls")]
mod tls;
#[cfg(windows)]
mod winpipe;
#[cfg(feature = "ws")]
mod ws;

pub use file::BoundFile;
pub(crate) use names::look_up;

/// The scheme of addresses inside the process, which no stream transport may have.
pub(crate) const INPROC: &str = "inproc";

/// A transport whose connections are streams of bytes.
///
/// The value carries what the transport needs beyond an address: keys, a device, a table of names. The
/// [module](self) says which thread makes which call, and which calls may wait.
pub trait StreamTransport: Send + Sync + fmt::Debug {
    /// The schemes of its addresses: the parts before `://`, compared byte for byte.
    ///
    /// There must be at least one. Each begins with a lower-case letter and has only lower-case letters,
    /// digits, `+`, `-` and `.`. Called once, when the runtime is built.
    fn schemes(&self) -> &[&str];

    /// How messages are framed on its connections. Called once, when the runtime is built.
    ///
    /// Both ends must use the same framing. Default: [`Framing::Length`].
    fn framing(&self) -> Framing {
        Framing::Length
    }

    /// Binds and listens.
    ///
    /// When this returns, connections can arrive and wait to be accepted. The address must be free again as
    /// soon as the listener is dropped; accepted streams outlive it. A second listener on an address that
    /// has one must be an error.
    ///
    /// # Errors
    ///
    /// [`BindError::Address`] for an address that makes no sense ([`Address::malformed`]).
    /// [`BindError::from_io`] finds the right variant for an error of the operating system. After an error
    /// nothing is left behind.
    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError>;

    /// Says where a connection to an address goes, from the address alone.
    ///
    /// # Errors
    ///
    /// The address makes no sense. Whether somebody listens there, only [`connect`](Self::connect) finds out.
    fn target(&self, address: &Address) -> Result<Target, AddressError>;

    /// Begins a connection to one destination, without waiting for it. `address` is what the program connects to, of
    /// which `destination` may keep only a part: a transport that asks its peer by name finds the name there.
    ///
    /// Called in every attempt, with what [`target`](Self::target) returned, or with the addresses of a
    /// name one after the other: the next after 250 ms, or as soon as one has failed. The connection need not
    /// be complete when this returns; [`Stream::established`] tells when it is. The first stream that is
    /// established is used, and the others of the attempt are dropped before a byte has passed. All are dropped
    /// when the time of the attempt is over ([`Options::connect_timeout`](crate::Options::connect_timeout)).
    /// For a [`Destination::Inet`] that does not answer, this is called again every second; of its streams the
    /// first and the newest are kept. For any other destination this is called once in an attempt.
    ///
    /// # Errors
    ///
    /// Any. `ConnectionRefused` reaches the program as
    /// [`AttemptError::Refused`](crate::AttemptError::Refused), `NotFound` as
    /// [`AttemptError::NoSuchFile`](crate::AttemptError::NoSuchFile), and all others as
    /// [`AttemptError::Io`](crate::AttemptError::Io). A `connect` in the background tries again after
    /// the reconnect interval.
    fn connect(
        &self,
        address: &Address,
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>>;
}

/// Where a connection goes: to a known destination, or to a name that is resolved anew in every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// A destination that is known.
    Known(Destination),
    /// A host name. The crate resolves it, never in the event loop, and tries its addresses as RFC 8305
    /// says, each as a [`Destination::Inet`]: IPv6 and IPv4 alternate, the next attempt begins after 250 ms,
    /// and the first connection that is established is used.
    Name {
        /// The host name, as the system's resolver takes it. It may be an IPv6 address with the name of
        /// an interface behind a `%`.
        host: String,
        /// The port.
        port: u16,
        /// The local address to connect from, if one was given.
        local: Option<std::net::IpAddr>,
        /// Which of its addresses to try.
        family: Family,
    },
}

/// Which addresses of a name to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Both (as for `tcp://`).
    Any,
    /// IPv4 only (as for `tcp4://`).
    V4,
    /// IPv6 only (as for `tcp6://`).
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

    /// Whether there are addresses that both allow.
    fn fits(self, other: Self) -> bool {
        self == Self::Any || other == Self::Any || self == other
    }
}

/// Where one stream goes.
///
/// [`StreamTransport::connect`] receives the destinations that [`StreamTransport::target`] has made, and
/// [`Inet`](Self::Inet) for the addresses of a [`Target::Name`]. For all others it should return
/// `InvalidInput`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// An internet address.
    Inet {
        /// The address to connect to.
        remote: std::net::SocketAddr,
        /// The local address to connect from; `None` leaves the choice to the system.
        local: Option<std::net::IpAddr>,
    },
    /// The path of a file.
    Path(std::path::PathBuf),
    /// Anything else, in a form that the transport chooses.
    Other(String),
}

/// A bound, listening endpoint.
pub trait Listener: Send + Sync + fmt::Debug {
    /// The source that the poll watches. It must be readable whenever there may be a connection to accept.
    fn source(&mut self) -> &mut dyn Source;

    /// Accepts the next connection.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none; the poll must report the next one that comes.
    /// `ConnectionAborted`, `ConnectionReset` and `Interrupted` concern one connection only, and
    /// `accept` is called again at once. Any other error is taken for a shortage (of descriptors, of
    /// memory), and accepting pauses for 50 ms. No error ends the listener; all but `WouldBlock` are counted.
    fn accept(&self) -> io::Result<Box<dyn Stream>>;

    /// The address that others can connect to, with the real port or number where any was asked for.
    fn url(&self) -> String;

    /// The file through which others connect, if there is one and it can be removed or replaced.
    ///
    /// Called once, right after [`bind`](StreamTransport::bind). When the file is no longer there,
    /// [`Endpoint::status`](crate::Endpoint::status) says so. A transport over [`Ipc`] should return what
    /// the listener inside returns. Default: `None`.
    fn file(&self) -> Option<BoundFile> {
        None
    }
}

/// One connection: a stream of bytes in both directions that never waits.
///
/// Bytes arrive once, unchanged and in order; where a read ends says nothing. Reading and writing take
/// `&self`, so that a thread that sends and the event loop can share the stream. Dropping it closes both
/// directions; bytes that were written before still reach the peer if that is possible.
pub trait Stream: Send + Sync + fmt::Debug {
    /// The source that the poll watches, for reading and for writing. Called before anything else, and once more before
    /// the stream is [passed on](Self::pass_on).
    fn source(&mut self) -> &mut dyn Source;

    /// Registers the source anew, with the same token and for other interests: for reading only, or for both again.
    /// `Ok(false)` leaves it registered for both, as by default.
    ///
    /// For a stream that the poll may report as writable although no write was refused. A Unix domain socket on
    /// Linux is reported so whenever the peer has read something, which would wake the event loop for each message.
    /// The crate calls this after such a report, and again when a write has returned `WouldBlock`, in the thread that
    /// writes. A transport over [`Ipc`] should pass the call on to the stream inside, unless its streams
    /// [keep bytes back](Self::flush): only a write that is refused has room reported again.
    ///
    /// # Errors
    ///
    /// Any. It ends the connection.
    fn reregister(
        &self,
        _registry: &Registry,
        _token: Token,
        _interests: Interest,
    ) -> io::Result<bool> {
        Ok(false)
    }

    /// Whether a connection that was begun is established now. `Ok(false)` is a false alarm.
    ///
    /// Called after the poll has reported a stream of [`StreamTransport::connect`], so the poll must also
    /// report a stream that was established from the beginning. Accepted streams are established.
    ///
    /// # Errors
    ///
    /// The attempt has failed.
    fn established(&self) -> io::Result<bool>;

    /// Reads the bytes that are there. `Ok(0)` is the end of the stream, never "nothing yet".
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is nothing now; the poll must report when there is. After `Interrupted` the
    /// read is repeated. `ConnectionReset`, `ConnectionAborted` and `BrokenPipe` mean that the peer is
    /// gone; any other error ends the connection too, and is reported in its own words.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Whether a read that does not fill the buffer has taken all that was there, so that the poll will
    /// report whatever comes later, except perhaps the end of the stream. The answer must not change.
    ///
    /// Saves a read that would only return `WouldBlock`. True for a bare socket, but not on Windows, where the
    /// poll reports a socket again only after that; false for a stream that decodes what it reads and may keep
    /// bytes back. Default: false.
    fn short_read_is_last(&self) -> bool {
        false
    }

    /// Writes as many bytes of `slices`, in order, as the stream takes without waiting; at least one. There
    /// are at most 64 slices.
    ///
    /// What it has not taken comes again: the next write begins with the byte at which this one has ended, or at
    /// which it was refused, if there is a next write. A stream that has to hear from its peer before it takes
    /// anything, as in a handshake of its own, may return `WouldBlock` until then: until the connection is a pipe,
    /// the crate writes again after each read, whether that has brought anything or not.
    ///
    /// Must not raise SIGPIPE when the peer is gone, which by default ends the program: write to a socket
    /// with `MSG_NOSIGNAL`, or set `SO_NOSIGPIPE` where that exists. (Rust programs ignore the signal, but
    /// this crate may be part of a program of another kind.)
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the stream takes nothing now; the poll must report it as writable when that
    /// changes. Other errors mean what they mean for [`read`](Self::read).
    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes what the stream keeps back: bytes of its own for which there was no room, such as an answer to what it
    /// has read, or the words with which it ends.
    ///
    /// Called when the poll has reported the stream as writable, and after
    /// [`shutdown_write`](Self::shutdown_write); perhaps while another thread writes. A connection that is closed
    /// waits up to 10 s for it. What a [`write`](Self::write) has taken may be among those bytes, except for the last
    /// byte: only when that is taken too, the crate counts a message as written. Default: there is nothing.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is more, and the poll will report room for it. Other errors mean what they mean for
    /// [`read`](Self::read).
    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    /// Tells the peer that nothing more will come. What the peer sends can still be read.
    ///
    /// A transport that has no way to tell does nothing: the stream is dropped a moment later.
    ///
    /// # Errors
    ///
    /// Any; they make no difference.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Whether the stream has turned out to be for another listener of its transport, as the first bytes of a peer
    /// may say. Asked when a read has failed before the peer's header was there. If so, the stream is taken off the
    /// poll and [passed on](Self::pass_on). Default: no.
    fn is_elsewhere(&self) -> bool {
        false
    }

    /// Gives the stream to the listener that it is for, whose [`accept`](Listener::accept) then returns it. What was
    /// written to it so far, the crate's header, is void: it is written again. Default: drops it.
    fn pass_on(self: Box<Self>) {}

    /// The addresses of both ends, and who the peer is where the system tells. Called once, when the peer
    /// has sent a good header.
    fn peer(&self) -> StreamPeer;

    /// How long the peer has not answered, if it owes an answer to what was written. `None`: it owes none.
    ///
    /// Asked now and then while there is traffic, if [`EndpointSettings::tcp_keepalive`] sets a limit; a
    /// stream whose answer is at the limit is lost. An answer is whatever proves that the peer's machine is
    /// there. Zero if it is merely not due yet. A transport over [`Tcp`] should return what the stream inside
    /// returns.
    ///
    /// # Errors
    ///
    /// The transport cannot tell, as by default; it is not asked again for this stream.
    fn silence(&self) -> io::Result<Option<Duration>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The stream transports of a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Transports(Vec<Registered>);

#[derive(Clone, Debug)]
struct Registered {
    schemes: Vec<String>,
    transport: Arc<dyn StreamTransport>,
}

impl Registered {
    fn new(transport: Arc<dyn StreamTransport>) -> Self {
        let schemes = transport.schemes().iter().copied().map(str::to_owned).collect();
        Self { schemes, transport }
    }

    fn check(&self) -> Result<(), RuntimeError> {
        let refused = |scheme: &str, reason| {
            Err(RuntimeError::Transport { scheme: scheme.to_owned(), reason })
        };
        if self.schemes.is_empty() {
            return refused("", "it has no scheme");
        }
        match self.schemes.iter().find(|scheme| !is_scheme(scheme)) {
            Some(scheme) => refused(scheme, "that is not a scheme in lower case"),
            None if self.schemes.iter().any(|scheme| scheme == INPROC) => {
                refused(INPROC, "inproc cannot be replaced")
            }
            None => Ok(()),
        }
    }
}

/// ipc: `ipc://` and `unix://` over Unix domain sockets; on Windows `ipc://` and `winpipe://` over named pipes.
///
/// Every runtime has it. It is public for transports that wrap it: that change the bytes on the way, or do
/// something before a connection is established, and leave everything else to it.
#[cfg(any(unix, windows))]
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Ipc;

#[cfg(any(unix, windows))]
impl Ipc {
    /// The transport; it has no settings of its own.
    pub const fn new() -> Self {
        Self
    }
}

/// Records that an accepted connection has not got its options. This may happen to one that is already lost (on macOS
/// it does). That is no error of the listener; the next read of the stream will report it.
fn record_failed_options(url: &str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        crate::contain::record!(
            Debug,
            { endpoint: url, reason: error },
            "{url}: options of an accepted connection: {error}"
        );
    }
}

/// Whether this is a scheme by RFC 3986, section 3.1, in its canonical form: lower case.
fn is_scheme(scheme: &str) -> bool {
    let more =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_lowercase()) && scheme.bytes().all(more)
}

impl Transports {
    /// The built-in transports: tcp, ipc where there are Unix domain sockets or named pipes, and those of features.
    pub(crate) fn standard() -> Self {
        Self(vec![
            Registered::new(Arc::new(Tcp)),
            #[cfg(any(unix, windows))]
            Registered::new(Arc::new(Ipc)),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Registered::new(Arc::new(Abstract)),
            #[cfg(feature = "tls")]
            Registered::new(Arc::new(TlsTcp)),
            #[cfg(feature = "ws")]
            Registered::new(Arc::new(Ws)),
        ])
    }

    /// Adds a transport of the program's own, which goes before those that are there.
    pub(crate) fn add(&mut self, transport: Arc<dyn StreamTransport>) -> Result<(), RuntimeError> {
        let registered = Registered::new(Arc::new(foreign::Transport::new(transport)));
        registered.check()?;
        self.0.push(registered);
        Ok(())
    }

    /// The transport for the scheme of `address`; of several, the one that was added last.
    pub(crate) fn find(
        &self,
        address: &Address,
    ) -> Result<&Arc<dyn StreamTransport>, AddressError> {
        self.0
            .iter()
            .rev()
            .find(|entry| entry.schemes.iter().any(|scheme| scheme == address.scheme()))
            .map(|entry| &entry.transport)
            .ok_or_else(|| address.unknown_transport(self.schemes()))
    }

    /// The schemes of all transports, each once.
    fn schemes(&self) -> Vec<String> {
        let mut schemes: Vec<String> = vec![INPROC.to_owned()];
        for scheme in self.0.iter().flat_map(|entry| &entry.schemes) {
            if !schemes.contains(scheme) {
                schemes.push(scheme.clone());
            }
        }
        schemes
    }
}

/// At most how many slices go to the kernel at once. Systems take at least 16 and commonly 1024, and far
/// fewer fill a socket's buffer.
const SLICES: usize = 64;

/// The flag that keeps a write to a lost peer from raising SIGPIPE. Apple and Windows have no such flag; on
/// Apple, sockets have `SO_NOSIGPIPE` set instead. With `--cfg sinew_socketpair` Linux goes without both.
#[cfg(all(unix, not(target_vendor = "apple"), not(sinew_socketpair)))]
const SEND_FLAGS: libc::c_int = libc::MSG_NOSIGNAL;
#[cfg(not(all(unix, not(target_vendor = "apple"), not(sinew_socketpair))))]
const SEND_FLAGS: i32 = 0;

/// Writes as many bytes of `slices` as the kernel takes, without raising SIGPIPE.
fn send(socket: &socket2::Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    match slices {
        // Takes the kernel less than a list of one.
        [only] => socket.send_with_flags(only, SEND_FLAGS),
        _ => socket.send_vectored_with_flags(&slices[..slices.len().min(SLICES)], SEND_FLAGS),
    }
}
