//! Errors: one enum per kind of operation.
//!
//! Owns what a program is told when a call fails. A failed send gives the message back
//! ([`SendError::into_message`]). A fault of a peer is never an error of the program's call: it is counted, and
//! closes the pipe.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::detach::DetachReason;
use crate::message::{Message, PipeId};
use crate::protocol_id::ProtocolId;
use crate::tls_error::TlsError;
#[cfg(feature = "ws")]
pub use crate::websocket::WebSocketError;

mod debug;
mod situation;
#[cfg(feature = "tls")]
mod tls;

pub use situation::Situation;
pub(crate) use situation::{Call, Facts};
#[cfg(feature = "tls")]
pub use tls::TlsConfigError;

/// The object was closed before.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is closed already")]
pub struct Closed;

/// There is no such pipe, or no longer.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no pipe {0}")]
pub struct NoSuchPipe(pub PipeId);

/// A message could not be sent. It is inside, unchanged.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The socket or context is closed, or was closed while the call waited.
    #[error("cannot send: the socket is closed")]
    Closed(Message),
    /// Nobody took the message within the time the call had.
    #[error("{1}")]
    TimedOut(Message, Situation),
    /// Nobody can take the message now (only from the `try_` forms).
    #[error("cannot send: nobody can take the message now")]
    WouldBlock(Message),
    /// A signal handler has run while the call slept (only with `Options::interruptible`).
    #[error("cannot send: a signal has interrupted the wait")]
    Interrupted(Message),
    /// The context has nothing to answer, or has answered already.
    #[error("cannot send: there is no request to answer")]
    State(Message),
    /// The socket was made before a `fork`, in an ancestor of this process, and cannot be used in this one.
    #[error("cannot send: the socket belongs to the process that this one was forked from")]
    Forked(Message),
    /// An event loop of the socket's runtime has panicked, which is a fault of sinew's. All sockets of the runtime
    /// are closed; those of a new one work.
    #[error("cannot send: the event loop of the socket's runtime has panicked")]
    RuntimeLost(Message),
    /// The header of the message is not one that this raw socket can send.
    #[error("the socket cannot send a header of {} bytes: {:02x?}", .0.header().len(), &.0.header()[..])]
    Header(Message),
    /// The message is longer than [`Options::max_send_size`](crate::Options::max_send_size) allows.
    #[error("cannot send {}", Size { body: message.len(), header: *header, limit: *limit })]
    TooLarge {
        /// The message.
        message: Message,
        /// How many bytes the protocol header has, which counts too.
        header: u32,
        /// The limit in bytes.
        limit: usize,
    },
}

impl SendError {
    /// The message that was not sent.
    pub fn into_message(self) -> Message {
        match self {
            Self::Closed(message)
            | Self::TimedOut(message, _)
            | Self::WouldBlock(message)
            | Self::Interrupted(message)
            | Self::State(message)
            | Self::Forked(message)
            | Self::Header(message)
            | Self::RuntimeLost(message)
            | Self::TooLarge { message, .. } => message,
        }
    }

    pub(crate) fn too_large(message: Message, excess: Excess) -> Self {
        Self::TooLarge { message, header: excess.header_len(), limit: excess.limit }
    }

    /// The same error, of another call.
    pub(crate) fn of(self, call: Call) -> Self {
        match self {
            Self::TimedOut(message, situation) => Self::TimedOut(message, situation.of(call)),
            other => other,
        }
    }
}

/// A message is longer than the limit on sends, together with its header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Excess {
    pub(crate) header: usize,
    pub(crate) limit: usize,
}

impl Excess {
    fn header_len(self) -> u32 {
        u32::try_from(self.header).unwrap_or(u32::MAX)
    }
}

/// The text that says what is too large.
struct Size {
    body: usize,
    header: u32,
    limit: usize,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a message of {} bytes", self.body)?;
        if self.header > 0 {
            write!(f, " and {} of header", self.header)?;
        }
        write!(f, ": option max_send_size is {}", self.limit)
    }
}

/// Nothing was received.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecvError {
    /// The socket or context is closed, or was closed while the call waited.
    #[error("cannot receive: the socket is closed")]
    Closed,
    /// Nothing came within the time the call had, or the survey has reached its deadline.
    #[error("{0}")]
    TimedOut(Situation),
    /// Nothing is there now (only from the `try_` forms).
    #[error("cannot receive: nothing is there now")]
    WouldBlock,
    /// A signal handler has run while the call slept (only with `Options::interruptible`).
    #[error("cannot receive: a signal has interrupted the wait")]
    Interrupted,
    /// The context has no request or survey to receive for, or another call is already receiving.
    #[error("cannot receive: the context has asked nothing, or another call receives already")]
    State,
    /// A newer request or survey of the same context replaced this one.
    #[error("cannot receive: a newer request took the place of this one")]
    Canceled,
    /// The peer that had the request is gone, and resending is switched off.
    #[error("the peer that had the request is gone")]
    ConnectionReset,
    /// See [`RequestError::BadReply`].
    #[error("no reply: {reason}")]
    BadReply {
        /// What was wrong: `Oversize` or `Malformed`.
        reason: DetachReason,
    },
    /// See [`RequestError::GivenUp`].
    #[error("no reply: the request was sent {sent} times, the last peer was lost: {reason}")]
    GivenUp {
        /// How often the request was sent.
        sent: u32,
        /// Why the last peer that had it is gone.
        reason: DetachReason,
    },
    /// The socket was made before a `fork`, in an ancestor of this process, and cannot be used in this one.
    #[error("cannot receive: the socket belongs to the process that this one was forked from")]
    Forked,
    /// An event loop of the socket's runtime has panicked, which is a fault of sinew's. All sockets of the runtime
    /// are closed; those of a new one work.
    #[error("cannot receive: the event loop of the socket's runtime has panicked")]
    RuntimeLost,
}

/// A request got no reply. The request is inside.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The socket is closed, or was closed while the call waited.
    #[error("no reply: the socket is closed")]
    Closed(Message),
    /// The socket was made before a `fork`, in an ancestor of this process, and cannot be used in this one.
    #[error("no reply: the socket belongs to the process that this one was forked from")]
    Forked(Message),
    /// An event loop of the socket's runtime has panicked, which is a fault of sinew's. All sockets of the runtime
    /// are closed; those of a new one work.
    #[error("no reply: the event loop of the socket's runtime has panicked")]
    RuntimeLost(Message),
    /// No reply came within the time the call had.
    #[error("{1}")]
    TimedOut(Message, Situation),
    /// A signal handler has run while the call slept (only with `Options::interruptible`). The request is given up.
    #[error("no reply: a signal has interrupted the wait")]
    Interrupted(Message),
    /// The peer that had the request is gone, and resending is switched off. It may or may not have
    /// acted on the request.
    #[error("the peer that had the request is gone")]
    ConnectionReset(Message),
    /// We disconnected a peer that had the request, since we cannot read what it sent: a message over
    /// `Options::max_recv_size`, most likely the reply, or broken framing. The request is not sent again to any
    /// peer, since the next reply would be the same. The peer may have acted on the request.
    #[error("no reply: {reason}")]
    BadReply {
        /// The request.
        message: Message,
        /// What was wrong: `Oversize` or `Malformed`.
        reason: DetachReason,
    },
    /// The request was sent again as often as `Options::max_resends` allows, and none of the peers that had it
    /// is left. Each may have acted on the request.
    #[error("no reply: the request was sent {sent} times, the last peer was lost: {reason}")]
    GivenUp {
        /// The request.
        message: Message,
        /// How often it was sent.
        sent: u32,
        /// Why the last peer that had it is gone.
        reason: DetachReason,
    },
    /// The request is longer than [`Options::max_send_size`](crate::Options::max_send_size) allows.
    #[error("cannot send {}", Size { body: message.len(), header: *header, limit: *limit })]
    TooLarge {
        /// The request.
        message: Message,
        /// How many bytes the protocol header has, which counts too.
        header: u32,
        /// The limit in bytes.
        limit: usize,
    },
}

impl RequestError {
    /// The request that was not answered.
    pub fn into_message(self) -> Message {
        match self {
            Self::Closed(message)
            | Self::TimedOut(message, _)
            | Self::Interrupted(message)
            | Self::ConnectionReset(message)
            | Self::BadReply { message, .. }
            | Self::GivenUp { message, .. }
            | Self::Forked(message)
            | Self::RuntimeLost(message)
            | Self::TooLarge { message, .. } => message,
        }
    }

    pub(crate) fn too_large(message: Message, excess: Excess) -> Self {
        Self::TooLarge { message, header: excess.header_len(), limit: excess.limit }
    }
}

/// An address is wrong: which piece of it, and why. [`BindError`] and [`ConnectError`] have it as their cause.
///
/// The piece is empty if it is missing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The address has no `://`.
    #[error("{url:?} has no scheme such as tcp://")]
    NoScheme {
        /// The address as given.
        url: String,
    },
    /// No transport of this runtime has the scheme.
    #[error("{url:?}: no transport is called {scheme:?}, there are {}", known.join(", "))]
    UnknownTransport {
        /// The address as given.
        url: String,
        /// The part before `://`.
        scheme: String,
        /// The schemes of this runtime's transports.
        known: Vec<String>,
    },
    /// No host can have this name. (Whether a possible name exists, only the system's resolver knows.)
    #[error("{url:?}: {reason}{}", Piece(host))]
    Host {
        /// The address as given.
        url: String,
        /// The host, or the local address before a `;`.
        host: String,
        /// What is wrong, as a phrase.
        reason: &'static str,
    },
    /// The port is missing, or is not a port number.
    #[error("{url:?}: {reason}{}", Piece(port))]
    Port {
        /// The address as given.
        url: String,
        /// The text in the position of the port.
        port: String,
        /// What is wrong, as a phrase.
        reason: &'static str,
    },
    /// The text behind the `%` of an IPv6 address is neither a number nor the name of an interface.
    #[error("{url:?}: {reason}{}", Piece(zone))]
    Zone {
        /// The address as given.
        url: String,
        /// The zone.
        zone: String,
        /// What is wrong, as a phrase.
        reason: &'static str,
    },
    /// The path or name is missing, is unusable, or is not allowed there.
    #[error("{url:?}: {reason}{}", Piece(path))]
    Path {
        /// The address as given.
        url: String,
        /// The path or name.
        path: String,
        /// What is wrong, as a phrase.
        reason: &'static str,
    },
    /// A transport of the program's own cannot make sense of the part after the scheme.
    #[error("{url:?}: {reason}")]
    Malformed {
        /// The address as given.
        url: String,
        /// What is wrong, as a phrase.
        reason: &'static str,
    },
    /// A host, path or name is longer than the transport allows.
    #[error("{url:?}: {piece:?} has {} bytes, the limit is {limit}", piece.len())]
    TooLong {
        /// The address as given.
        url: String,
        /// The piece that is too long.
        piece: String,
        /// The transport's limit in bytes.
        limit: usize,
    },
}

impl AddressError {
    /// The address as given.
    pub fn url(&self) -> &str {
        match self {
            Self::NoScheme { url }
            | Self::UnknownTransport { url, .. }
            | Self::Host { url, .. }
            | Self::Port { url, .. }
            | Self::Zone { url, .. }
            | Self::Path { url, .. }
            | Self::Malformed { url, .. }
            | Self::TooLong { url, .. } => url,
        }
    }
}

/// Writes the piece of an address that is wrong behind the reason, and nothing if the piece is missing.
struct Piece<'a>(&'a str);

impl fmt::Display for Piece<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            piece => write!(f, ": {piece:?}"),
        }
    }
}

/// A `bind` failed, and left nothing behind.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be used.
    #[error("cannot bind: {0}")]
    Address(#[from] AddressError),
    /// A listener, perhaps of this very socket, has the address already. Over ipc also: the file at the path is
    /// not a socket; it was left alone.
    #[error("cannot bind {url:?}: the address is in use")]
    AddressInUse {
        /// The address as given.
        url: String,
    },
    /// The operating system forbids it.
    #[error("cannot bind {url:?}: permission denied")]
    PermissionDenied {
        /// The address as given.
        url: String,
    },
    /// An endpoint option has a value that cannot be used.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// There is no TLS to be offered there: most likely no certificate was given.
    #[cfg(feature = "tls")]
    #[error("cannot bind {url:?}: {source}")]
    Tls {
        /// The address as given.
        url: String,
        /// What is missing.
        source: TlsConfigError,
    },
    /// The socket is closed.
    #[error("cannot bind: the socket is closed")]
    Closed,
    /// The socket was made before a `fork`, in an ancestor of this process, and cannot be used in this one.
    #[error("cannot bind: the socket belongs to the process that this one was forked from")]
    Forked,
    /// The runtime could not be started.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// Any other error of the operating system.
    #[error("cannot bind {url:?}: {source}")]
    Io {
        /// The address as given.
        url: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl BindError {
    /// The error for a failed bind of `url`, by the kind of `source`: an address in use, a permission denied,
    /// or any other. For transports.
    pub fn from_io(url: impl Into<String>, source: io::Error) -> Self {
        let url = url.into();
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::AddressInUse { url },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied { url },
            _ => Self::Io { url, source },
        }
    }
}

/// A `connect` or `connect_now` failed, and no attempt goes on in the background.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address cannot be used.
    #[error("cannot connect: {0}")]
    Address(#[from] AddressError),
    /// An endpoint option has a value that cannot be used.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The socket is closed, or was closed during the attempt.
    #[error("cannot connect: the socket is closed")]
    Closed,
    /// The socket was made before a `fork`, in an ancestor of this process, and cannot be used in this one.
    #[error("cannot connect: the socket belongs to the process that this one was forked from")]
    Forked,
    /// The runtime could not be started.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The one attempt of `connect_now` failed.
    #[error("cannot connect to {url:?}: {source}")]
    Failed {
        /// The address as given.
        url: String,
        /// What went wrong.
        source: AttemptError,
    },
}

/// Why one attempt to connect failed.
///
/// This answers "why is it not connected?". It is in `endpoint.status()` for a connection that is made in the
/// background, and in [`ConnectError::Failed`] for `connect_now`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The address is that of a file, as for ipc, and the file or its directory does not exist: no
    /// listener was bound there yet, or it is closed.
    #[error("no such file")]
    NoSuchFile,
    /// The name could not be resolved.
    #[error("the name cannot be resolved: {message}")]
    Resolve {
        /// The class of the error: `NotFound` if there is no such name, `HostUnreachable` if no name server
        /// could be asked at the moment, `AddrNotAvailable` if the name has no address of the wanted family, or
        /// any other that the system returns.
        kind: io::ErrorKind,
        /// The system's words.
        message: String,
    },
    /// Nobody answered within this time, the [`connect_timeout`](crate::Options::connect_timeout).
    #[error("timed out: no answer within {0:?}")]
    TimedOut(Duration),
    /// The connection was established, but the peer's header did not come within this time, the
    /// [`handshake_timeout`](crate::Options::handshake_timeout).
    #[error("timed out: the peer has not said within {0:?} what it is")]
    HandshakeTimedOut(Duration),
    /// The connection was the oldest of more than this many without the peer's header, the
    /// [`max_handshakes`](crate::Options::max_handshakes) of its listener.
    #[error("more than {0} peers have not said yet what they are")]
    TooManyHandshakes(usize),
    /// The other side is not a peer that this socket can talk to.
    #[error("protocol error: {0}")]
    Protocol(HeaderError),
    /// TLS with the other side did not come about.
    #[error("{0}")]
    Tls(#[from] TlsError),
    /// The other side does not speak WebSocket as it should, or one of us refuses the other's request for it.
    #[cfg(feature = "ws")]
    #[error("{0}")]
    WebSocket(#[from] WebSocketError),
    /// Our own protocol, or the `admit` callback, turned the peer away.
    #[error("the peer was rejected")]
    Rejected,
    /// The peer seems to be of the right kind and did not want us: it closed the connection during or right
    /// after the header exchange, before it had sent a message. Nothing on the wire says why.
    #[error("{}", TurnedAway { peer: *peer, greeted: *greeted })]
    TurnedAway {
        /// The peer's protocol, which suggests a reason: a PAIR may have a peer already.
        peer: ProtocolId,
        /// Whether the peer's header had come, so that there was a pipe for a moment.
        greeted: bool,
    },
    /// The connection ended before the header exchange was over.
    #[error("the peer closed the connection before the header exchange was over")]
    Closed,
    /// The file through which others connect to a bound ipc endpoint was removed or replaced. The endpoint's
    /// connections go on. No new one can reach it, unless the file comes back: close the endpoint and bind
    /// again.
    #[error("the file {} {}", path.display(), lost(*replaced))]
    FileLost {
        /// The absolute path of the file.
        path: PathBuf,
        /// Whether another file is at the path.
        replaced: bool,
    },
    /// Any other error of the operating system.
    #[error("{message}")]
    Io {
        /// The class of the error.
        kind: io::ErrorKind,
        /// The operating system's words.
        message: String,
    },
}

/// The text that says what became of the file of a listener.
fn lost(replaced: bool) -> &'static str {
    if replaced {
        "was replaced by another: who connects there does not come here"
    } else {
        "was removed: nobody can connect any more"
    }
}

/// The text that says that a peer did not want us.
struct TurnedAway {
    peer: ProtocolId,
    greeted: bool,
}

impl fmt::Display for TurnedAway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.greeted {
            "right after the header exchange"
        } else {
            "before the header exchange was over"
        };
        let why = match self.peer.is_exclusive() {
            true => "have a peer already",
            false => "not admit us, or have as many peers as it takes",
        };
        write!(f, "the peer closed the connection {when}: it may {why}")
    }
}

impl From<io::Error> for AttemptError {
    fn from(error: io::Error) -> Self {
        Self::from(&error)
    }
}

/// What goes wrong with TLS becomes `Tls`, `ConnectionRefused` becomes `Refused`, `NotFound` becomes `NoSuchFile`, and
/// all others become `Io`.
impl From<&io::Error> for AttemptError {
    fn from(error: &io::Error) -> Self {
        if let Some(error) = TlsError::of(error) {
            return Self::Tls(error.clone());
        }
        #[cfg(feature = "ws")]
        if let Some(error) = WebSocketError::of(error) {
            return Self::WebSocket(error.clone());
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::NotFound => Self::NoSuchFile,
            kind => Self::Io { kind, message: error.to_string() },
        }
    }
}

/// What is wrong with the eight bytes that a peer sends first.
///
/// They must be `00 53 50 00`, the number of a protocol that ours talks to, and `00 00`; anything else ends the
/// connection ([wire, section 3](crate::spec::wire#3-the-connection-header)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// They do not begin with the bytes 00 53 50.
    #[error("the peer does not speak a scalability protocol")]
    Magic,
    /// The version is not 0.
    #[error("the peer speaks version {0} of the connection header")]
    Version(u8),
    /// The reserved bytes are not zero.
    #[error("the reserved bytes of the peer's header are not zero")]
    Reserved,
    /// Our protocol does not talk to that of the peer.
    #[error("the peer is a {announced} socket, ours needs {expected}")]
    Peer {
        /// What the peer must be.
        expected: ProtocolId,
        /// What it says that it is.
        announced: ProtocolId,
    },
}

/// An option has a value outside its range, or does not belong to this kind of socket.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// The value is out of range.
    #[error("option {option} is {value}, allowed is {allowed}")]
    Invalid {
        /// The option's name.
        option: &'static str,
        /// The value that was set.
        value: String,
        /// The allowed values, in words.
        allowed: &'static str,
    },
    /// The socket is closed.
    #[error("the socket is closed")]
    Closed,
    /// The socket was made before a `fork`, in an ancestor of this process, and cannot be used in this one.
    #[error("cannot set options: the socket belongs to the process that this one was forked from")]
    Forked,
    /// This kind of socket has no such option.
    #[error("a {socket} socket has no option {option}")]
    NoSuchOption {
        /// The option's name.
        option: &'static str,
        /// The kind of socket.
        socket: ProtocolId,
    },
}

/// A SUB socket or context could not end a subscription.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnsubscribeError {
    /// There is no such subscription; the others stay as they are.
    #[error("not subscribed to that")]
    NotSubscribed,
    /// The socket or context is closed.
    #[error("the socket is closed")]
    Closed,
    /// The socket was made before a `fork`, in an ancestor of this process, and cannot be used in this one.
    #[error("cannot unsubscribe: the socket belongs to the process that this one was forked from")]
    Forked,
}

/// A runtime could not be started, or its event loop not be turned.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The event loop or its thread could not be started.
    #[error("the runtime cannot be started: {source}")]
    Start {
        /// The error of the operating system.
        #[from]
        source: io::Error,
    },
    /// A transport that was added cannot be used.
    #[error("the transport for {scheme:?} cannot be added: {reason}")]
    Transport {
        /// The scheme that is wrong; empty if the transport has none.
        scheme: String,
        /// What is wrong, as a phrase.
        reason: &'static str,
    },
    /// The I/O threads cannot have that name, because it has a zero byte.
    #[error("a thread cannot be called {name:?}: there is a zero byte in the name")]
    ThreadName {
        /// The name that was given.
        name: String,
    },
    /// A runtime cannot have that number of I/O threads.
    #[error("a runtime has from 1 to {most} I/O threads, not {threads}")]
    IoThreads {
        /// How many were asked for.
        threads: usize,
        /// How many there may be.
        most: usize,
    },
    /// The runtime was made before a `fork`, in an ancestor of this process, where its threads are.
    #[error("the runtime belongs to the process that this one was forked from")]
    Forked,
    /// An event loop of the runtime has panicked, which is a fault of sinew's. All its sockets are closed.
    #[error("an event loop of the runtime has panicked")]
    Lost,
    /// The event loop cannot be polled, or its descriptor not be watched.
    #[error("the event loop cannot be polled: {source}")]
    Poll {
        /// The error of the operating system, or of the executor.
        source: io::Error,
    },
    /// The runtime has I/O threads, and no event loop for a task to turn.
    #[error(
        "the runtime has I/O threads, which turn its event loops; only a manual one leaves that to a task"
    )]
    NotManual,
    /// A future turns the event loop already, and one at a time can.
    #[error("another future turns the event loop")]
    Driven,
    /// The program asked for I/O threads in a manual runtime, which has none.
    #[error("a manual runtime has no I/O threads, but {threads} were asked for")]
    ManualIoThreads {
        /// How many were asked for.
        threads: usize,
    },
}

/// A wait for peers ended before they were there.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The socket is closed, or was closed while the call waited.
    #[error("cannot wait for peers: the socket is closed")]
    Closed,
    /// The socket was made before a `fork`, in an ancestor of this process, and cannot be used in this one.
    #[error(
        "cannot wait for peers: the socket belongs to the process that this one was forked from"
    )]
    Forked,
    /// An event loop of the socket's runtime has panicked, which is a fault of sinew's. All sockets of the runtime
    /// are closed; those of a new one work.
    #[error("cannot wait for peers: the event loop of the socket's runtime has panicked")]
    RuntimeLost,
    /// The time is over; [`Situation::peers`] is how many were there at that moment.
    #[error("{0}")]
    TimedOut(Situation),
}
