//! Transports: how two sockets are joined, and how to add a way of one's own.
//!
//! A stream transport moves bytes: it makes [`Listener`]s, which yield [`Stream`]s, and begins
//! connections, which are [`Stream`]s too. All the rest is done for it, and is the same on every
//! transport: the header exchange, framing, limits, queues, back-pressure, reconnecting, closing,
//! events and counters. tcp and ipc are made this way ([`Tcp`], [`Ipc`]), and a program can add
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
//! `examples/custom_transport` is a whole one, and `tests/wire/transports.rs` the list of cases that it
//! passes together with the built-in ones.
//!
//! inproc is not a stream: two sockets of one process share their queues. It cannot be replaced.
//!
//! # Who calls, and what may wait
//!
//! | call | in which thread | may wait |
//! |---|---|---|
//! | [`schemes`](StreamTransport::schemes), [`framing`](StreamTransport::framing) | in [`RuntimeBuilder::build`](crate::RuntimeBuilder::build), once | no |
//! | [`bind`](StreamTransport::bind), then [`Listener::url`] and [`Listener::file`] | the one that calls `bind` | yes, the caller waits with it |
//! | [`target`](StreamTransport::target) | the one that calls `connect` | no |
//! | [`connect`](StreamTransport::connect) | the I/O thread | no |
//! | [`Listener::source`], [`Listener::accept`] | the I/O thread | no |
//! | [`Stream::write`] | the I/O thread, or any that sends; one at a time for a stream | no |
//! | [`Stream::shutdown_write`] | the I/O thread, or the one that closes the endpoint or socket | no |
//! | everything else of a [`Stream`] | the I/O thread | no |
//! | deregistering and dropping a listener | the one that closes its endpoint or socket, after an `accept` under way | no |
//! | dropping a stream | any | no |
//!
//! The I/O thread serves all connections of its runtime: a call that waits there holds up all of
//! them. In a runtime without a thread it is whoever turns the loop. A write and a read of one stream
//! may happen at the same time. None of these calls may use a socket or an endpoint: locks are held.
//!
//! # Readiness
//!
//! Listeners and streams are watched with [mio](mio::Poll), which reports changes only. Whatever says
//! `WouldBlock` must be reported again once that is no longer true, and a source must be reported
//! once after it was registered if it is ready then. Reports that turn out to be wrong do no harm.
//! Sources are registered once and never re-registered. A listener's is deregistered before it is dropped,
//! in the thread that closes the endpoint, so that the poll does not keep the address a moment longer; it may
//! not have been registered by then. A stream's is not: dropping it must end the watch, as closing a
//! descriptor does.
//!
//! # When a transport misbehaves
//!
//! What a transport of the program's own returns is checked before it is used, and a panic is caught,
//! except in `bind`, `target`, `url` and `file`, where it reaches the program's own call. A stream that claims
//! to have read or written more than it was given, that writes nothing without an error or is
//! interrupted in every write, or that panics has failed: its connection ends as with any other error,
//! the socket and its other connections live on. What cannot be caught is a call that does not return
//! (whoever closes the endpoint waits for an `accept` as well), and a listener that never says `WouldBlock`: it has its turn among the others, but whatever it makes
//! up is held as a connection, for the handshake timeout at least.

use std::fmt;
use std::io::{self, IoSlice};
use std::sync::Arc;

pub use mio;
pub use mio::event::Source;

pub use crate::address::Address;
pub use crate::options::EndpointSettings;
pub use crate::peer::{PeerCredentials, StreamPeer};
pub use crate::wire::Framing;
#[cfg(unix)]
pub use ipc::Ipc;
pub use tcp::Tcp;

use crate::error::{AddressError, BindError, RuntimeError};

mod file;
mod foreign;
#[cfg(unix)]
mod ipc;
mod names;
mod tcp;

pub use file::BoundFile;
pub(crate) use names::look_up;

/// The scheme of addresses inside the process, which no transport may have.
pub(crate) const INPROC: &str = "inproc";

/// A transport whose connections are streams of bytes.
///
/// The value is the transport: what it has to know beyond an address (keys, a device, a table of
/// names) it carries along. See the [module](self) for who calls and what may wait.
pub trait StreamTransport: Send + Sync + fmt::Debug {
    /// The schemes it answers to: what stands before `://`, compared byte for byte.
    ///
    /// At least one; each begins with a lower-case letter and has only lower-case letters, digits,
    /// `+`, `-` and `.`. Asked for once, when the runtime is built.
    fn schemes(&self) -> &[&str];

    /// How messages are framed on its connections. Asked for once, when the runtime is built.
    ///
    /// Both ends must agree. Default: [`Framing::Length`].
    fn framing(&self) -> Framing {
        Framing::Length
    }

    /// Binds and listens.
    ///
    /// When this returns, connections arrive and wait to be accepted. The address is free for others
    /// again as soon as the listener is dropped; accepted streams outlive it. Two listeners on one
    /// address at the same time are an error.
    ///
    /// # Errors
    ///
    /// [`BindError::Address`] for an address that makes no sense
    /// ([`Address::malformed`]); [`BindError::from_io`] finds the right name for an error of the
    /// operating system. Nothing is left behind.
    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError>;

    /// Checks an address for connecting, without asking anyone: the same every time.
    ///
    /// # Errors
    ///
    /// The address makes no sense. Whether somebody is there is another question, and that of
    /// [`connect`](Self::connect).
    fn target(&self, address: &Address) -> Result<Target, AddressError>;

    /// Begins a connection to one destination, without waiting for it.
    ///
    /// Called for every attempt, with what [`target`](Self::target) yielded, or with the addresses of a
    /// name: with the next one after 250 ms, or as soon as one has failed. The stream may be on its way
    /// only; [`Stream::established`] tells. The first that stands goes on, and all others of the attempt
    /// are dropped before a byte has passed, as all are when its time is over
    /// ([`Options::connect_timeout`](crate::Options::connect_timeout)). For a [`Destination::Inet`] that does
    /// not answer it is called again every second, while the first stream, and no other but the newest,
    /// goes on waiting; any other destination is asked once in an attempt.
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
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>>;
}

/// Where a connection may go: known, or a name that is resolved anew on every attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// One destination.
    Known(Destination),
    /// A host name. It is resolved for the transport, never on the I/O thread, and its addresses are tried
    /// as RFC 8305 says, each as a [`Destination::Inet`]: the families by turns, the next after 250 ms, and
    /// whichever stands first.
    Name {
        /// The host name, as the system's resolver takes it. That may be an IPv6 address with the name
        /// of an interface behind a `%`.
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

    /// Whether an address can be of both.
    fn fits(self, other: Self) -> bool {
        self == Self::Any || other == Self::Any || self == other
    }
}

/// One destination that a stream can be opened to.
///
/// A transport gets back what it made in [`StreamTransport::target`], and [`Inet`](Self::Inet) for
/// the addresses of a [`Target::Name`]; for all others, `InvalidInput` is a good answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// An internet address.
    Inet {
        /// Where to.
        remote: std::net::SocketAddr,
        /// Where from, if that matters.
        local: Option<std::net::IpAddr>,
    },
    /// A file.
    Path(std::path::PathBuf),
    /// Anything else, in the transport's own words.
    Other(String),
}

/// A bound, listening endpoint.
pub trait Listener: Send + Sync + fmt::Debug {
    /// What the poll watches. It is readable whenever there may be something to accept.
    fn source(&mut self) -> &mut dyn Source;

    /// The next connection.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none; the poll must report the next one that comes.
    /// `ConnectionAborted`, `ConnectionReset` and `Interrupted` concern one connection only, and the
    /// next is asked for at once. All others are taken for a shortage (of descriptors, of memory):
    /// accepting pauses for 100 ms. None ends the listener; all but `WouldBlock` are counted.
    fn accept(&self) -> io::Result<Box<dyn Stream>>;

    /// The address that others can connect to, with the real port or number where any was asked for.
    fn url(&self) -> String;

    /// The file through which others connect, if there is one and it can be removed or replaced.
    ///
    /// Asked for once, right after [`bind`](StreamTransport::bind). When the file is not there any more,
    /// [`Endpoint::status`](crate::Endpoint::status) says so. A transport over [`Ipc`] passes on what
    /// the listener inside says. Default: `None`.
    fn file(&self) -> Option<BoundFile> {
        None
    }
}

/// One connection: a stream of bytes in both directions that never waits.
///
/// Bytes arrive in order, unchanged, once, and without a cut at any particular place. Reading and
/// writing take `&self`, so that the thread that sends and the I/O thread can share it. Dropping it
/// closes both directions; what was written before still reaches the peer if that is possible.
pub trait Stream: Send + Sync + fmt::Debug {
    /// What the poll watches, for reading and for writing. Asked for once, before anything else.
    fn source(&mut self) -> &mut dyn Source;

    /// Whether a connection that was begun stands now. `Ok(false)` is a false alarm.
    ///
    /// Asked after the poll has reported a stream of [`StreamTransport::connect`], so a stream that
    /// stands from the beginning must be reported too. Streams that were accepted stand.
    ///
    /// # Errors
    ///
    /// The attempt has failed.
    fn established(&self) -> io::Result<bool>;

    /// Reads what is there. `Ok(0)` is the end of the stream, never "nothing yet".
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is nothing now; the poll must report when there is. `Interrupted` is
    /// tried again. `ConnectionReset`, `ConnectionAborted` and `BrokenPipe` mean that the peer has
    /// gone; all others end the connection too, and are reported in their own words.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Whether a read that does not fill the buffer has taken all there was, so that the poll will
    /// report whatever comes later, the end of the stream possibly excepted. Must not change.
    ///
    /// Saves a read that would only say `WouldBlock`. True for a bare socket; false for a stream
    /// that decodes what it reads, and may keep something back. Default false.
    fn short_read_is_last(&self) -> bool {
        false
    }

    /// Writes as much of `slices`, in order, as is taken without waiting; at least one byte. There are
    /// at most 64 slices.
    ///
    /// Must not raise SIGPIPE when the peer is gone, which by default ends the program: sockets are
    /// written to with `MSG_NOSIGNAL`, or have `SO_NOSIGPIPE` set where that exists. (Rust programs
    /// ignore the signal, but this crate may be part of a program of another kind.)
    ///
    /// # Errors
    ///
    /// `WouldBlock` when nothing is taken now; the poll must report the stream as writable when that
    /// changes. Others as for [`read`](Self::read).
    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Tells the peer that nothing more will come; what it sends can still be read.
    ///
    /// Where that cannot be said, do nothing: the stream is dropped a second later at most.
    ///
    /// # Errors
    ///
    /// Any; they make no difference.
    fn shutdown_write(&self) -> io::Result<()>;

    /// Our and the peer's address, and who the peer is where the system tells. Asked for once, when
    /// the peer's header was right.
    fn peer(&self) -> StreamPeer;
}

/// The stream transports a runtime knows.
#[derive(Clone, Debug)]
pub(crate) struct Transports(Vec<Entry>);

#[derive(Clone, Debug)]
struct Entry {
    schemes: Vec<String>,
    transport: Arc<dyn StreamTransport>,
}

impl Entry {
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

/// A scheme as RFC 3986, section 3.1, has it, in its canonical form: lower case.
fn is_scheme(scheme: &str) -> bool {
    let more =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte);
    scheme.starts_with(|first: char| first.is_ascii_lowercase()) && scheme.bytes().all(more)
}

impl Transports {
    /// tcp, and ipc where there are unix domain sockets.
    pub(crate) fn standard() -> Self {
        Self(vec![
            Entry::new(Arc::new(Tcp)),
            #[cfg(unix)]
            Entry::new(Arc::new(Ipc)),
        ])
    }

    /// Adds one of the program's own, which goes before all that were there.
    pub(crate) fn add(&mut self, transport: Arc<dyn StreamTransport>) -> Result<(), RuntimeError> {
        let entry = Entry::new(Arc::new(foreign::Transport::new(transport)));
        entry.check()?;
        self.0.push(entry);
        Ok(())
    }

    /// The transport for the scheme of `address`: of several, the last that was added.
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
