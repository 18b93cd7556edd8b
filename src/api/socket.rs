//! The socket, generic over its role, and the calls that every socket has.
//!
//! Owns [`Socket`]. Thin: each call goes to the [`Core`](crate::socket::Core) that the handles of a socket
//! share. The forms of `send` are in `send.rs`, those of `recv` in `recv.rs`, and calls that only one role has
//! in the file of that role.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use super::observe::{Observe, Sealed};
use super::role::{Configured, Role};
use crate::error::{BindError, Closed, ConnectError, NoSuchPipe, OptionError, WaitError};
use crate::message::PipeId;
use crate::options::{EndpointOptions, Options};
use crate::peer::PeerStatus;
use crate::pipe::endpoint::Endpoint;
use crate::protocol::{Interest, Protocol, RecvRefusal};
use crate::protocol_id::ProtocolId;
use crate::runtime::Runtime;
use crate::socket::establish::Dial;
use crate::socket::wait::{Failure, Operation};
use crate::socket::{Events, Handle, SocketPort};
use crate::stats::Stats;
use crate::transport::{GivenListener, GivenStream};

/// A socket: one end of a conversation pattern, with any number of endpoints and peers.
///
/// Programs name sockets by aliases, one for each role: [`Push`](crate::Push), [`Sub`](crate::Sub),
/// [`raw::Req`](crate::raw::Req). Functions over sockets of several roles name this type; see
/// [`role`](crate::role). Write `Socket<R>`: the parameters `S` and `V` follow from the role.
///
/// A socket is a handle: cloning it makes another handle of the same socket, every call takes `&self`, and
/// dropping the last handle closes the socket.
pub struct Socket<R: Role, S = <R as Role>::Send, V = <R as Role>::Recv> {
    pub(super) core: Handle<R::Protocol>,
    /// Which calls the socket has.
    pub(super) calls: PhantomData<fn() -> (S, V)>,
}

/// The calls of every socket.
impl<R: Role> Socket<R> {
    /// Makes a socket with default options, on the global runtime.
    ///
    /// Starts no thread and takes no descriptor: the first `bind` or `connect` does.
    pub fn new() -> Self {
        Self::with_options(Options::new()).expect("the defaults are in range")
    }

    /// Makes a socket with these options, on the global runtime.
    ///
    /// # Errors
    ///
    /// An option is out of range, or this kind of socket does not have it.
    #[doc(alias("nn_socket", "zmq_socket"))]
    pub fn with_options(options: Options) -> Result<Self, OptionError> {
        Self::make(options, None)
    }

    /// Makes a socket on a runtime of the program's own. The runtime lives at least as long as the socket.
    ///
    /// # Errors
    ///
    /// An option is out of range, or this kind of socket does not have it.
    pub fn on(runtime: &Runtime, options: Options) -> Result<Self, OptionError> {
        Self::make(options, Some(runtime.clone()))
    }

    fn make(options: Options, runtime: Option<Runtime>) -> Result<Self, OptionError> {
        let core = Handle::new(R::Protocol::with_options(&options), options, runtime)?;
        Ok(Self { core, calls: PhantomData })
    }

    /// Accepts connections at an address, such as `tcp://127.0.0.1:5555`, `tcp://*:0`, `ipc:///tmp/name`
    /// or `inproc://name`. Does not wait for peers, but for the lookup of a host name.
    ///
    /// # Errors
    ///
    /// The address cannot be used or is in use; see [`BindError`]. Nothing is left behind.
    #[doc(alias("listen", "nn_bind", "nng_listen", "nng_listener_create", "zmq_bind"))]
    pub fn bind(&self, url: impl AsRef<str>) -> Result<Endpoint, BindError> {
        self.bind_with(url, &EndpointOptions::new())
    }

    /// As [`bind`](Self::bind), with options for this endpoint.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind), or an option is out of range.
    pub fn bind_with(
        &self,
        url: impl AsRef<str>,
        options: &EndpointOptions,
    ) -> Result<Endpoint, BindError> {
        self.core.bind(url.as_ref(), options)
    }

    /// Accepts connections from a listener that is there already: one of the standard library, one that was inherited
    /// (`transport::inherited_listeners`), or one of the program's own.
    ///
    /// Over tcp and Unix domain sockets peers connect as to one that [`bind`](Self::bind) has made. The socket becomes
    /// non-blocking, for all who share it. It is closed with the endpoint; the file of a Unix domain socket stays.
    ///
    /// ```
    /// use sinew::{Pull, Push};
    ///
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let (pull, push) = (Pull::new(), Push::new());
    /// push.connect(pull.bind_listener(listener)?.url())?;
    /// push.send("hello")?;
    /// assert_eq!(pull.recv()?, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// See [section 14.7](crate::spec::semantics#147-listeners-and-connections-that-are-there-already).
    ///
    /// # Errors
    ///
    /// It is no listener over tcp or a Unix domain socket ([`BindError::Io`]), or the socket is closed. It is closed
    /// then.
    pub fn bind_listener(&self, listener: impl Into<GivenListener>) -> Result<Endpoint, BindError> {
        self.bind_listener_with(listener, &EndpointOptions::new())
    }

    /// As [`bind_listener`](Self::bind_listener), with options for this endpoint.
    ///
    /// # Errors
    ///
    /// As [`bind_listener`](Self::bind_listener), or an option is out of range.
    pub fn bind_listener_with(
        &self,
        listener: impl Into<GivenListener>,
        options: &EndpointOptions,
    ) -> Result<Endpoint, BindError> {
        self.core.bind_listener(listener.into(), options)
    }

    /// Takes over a connection that is there already, such as one end of a pair, one that was inherited, or one that
    /// another process has passed on. Does not wait for the peer, which must be a socket of this or another library:
    /// both sides begin with their header.
    ///
    /// The endpoint is there for this connection alone: it closes when the connection ends, and nothing connects again.
    /// Its status then has the reason if there never was a pipe. The descriptor becomes non-blocking, for all who share
    /// it.
    ///
    /// ```
    /// # #[cfg(unix)] {
    /// use sinew::Pair;
    ///
    /// let (one, other) = std::os::unix::net::UnixStream::pair()?;
    /// let (near, far) = (Pair::new(), Pair::new());
    /// near.adopt(one)?;
    /// far.adopt(other)?;
    /// near.send("hello")?;
    /// assert_eq!(far.recv()?, "hello");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// See [section 14.7](crate::spec::semantics#147-listeners-and-connections-that-are-there-already).
    ///
    /// # Errors
    ///
    /// It is no connection over tcp or a Unix domain socket ([`ConnectError::Failed`]), or the socket is closed. It is
    /// closed then.
    #[doc(alias("NNG_OPT_SOCKET_FD"))]
    pub fn adopt(&self, stream: impl Into<GivenStream>) -> Result<Endpoint, ConnectError> {
        self.adopt_with(stream, &EndpointOptions::new())
    }

    /// As [`adopt`](Self::adopt), with options for this endpoint.
    ///
    /// # Errors
    ///
    /// As [`adopt`](Self::adopt), or an option is out of range.
    pub fn adopt_with(
        &self,
        stream: impl Into<GivenStream>,
        options: &EndpointOptions,
    ) -> Result<Endpoint, ConnectError> {
        self.core.adopt(stream.into(), options)
    }

    /// Connects to an address in the background: returns at once, whether anybody listens there or not,
    /// retries until it is connected, and reconnects when the connection is lost.
    ///
    /// Each attempt resolves the name anew, in the background too. [`Endpoint::status`] says what went wrong.
    /// To wait for the peer, call [`wait_for_peers`](Self::wait_for_peers).
    ///
    /// Each call makes a connection of its own. If two connections lead to one peer, because a program
    /// connects twice or because both sides connect, BUS, PUB and SURVEYOR send each message on both and it
    /// arrives twice: let only one side connect, once. [`peers`](Self::peers) shows it: two connections that
    /// are `outgoing` with the same `remote` lead to one address. If both sides connect, each has one
    /// connection that is `outgoing` and one that is not. Nothing on the wire tells that they lead to the same
    /// peer; over ipc their `credentials` name the same process.
    ///
    /// # Errors
    ///
    /// The address makes no sense, or the socket is closed; see [`ConnectError`].
    #[doc(alias("dial", "nn_connect", "nng_dial", "nng_dialer_create", "zmq_connect"))]
    pub fn connect(&self, url: impl AsRef<str>) -> Result<Endpoint, ConnectError> {
        self.connect_with(url, &EndpointOptions::new())
    }

    /// As [`connect`](Self::connect), with options for this endpoint.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), or an option is out of range.
    pub fn connect_with(
        &self,
        url: impl AsRef<str>,
        options: &EndpointOptions,
    ) -> Result<Endpoint, ConnectError> {
        self.core.connect(url.as_ref(), options, Dial::Background)
    }

    /// Makes one attempt to connect and waits for its outcome. Once connected, it reconnects like
    /// [`connect`](Self::connect) when the connection is lost.
    ///
    /// Waits up to [`connect_timeout`](crate::Options::connect_timeout) for the connection, and fails with
    /// [`TimedOut`](crate::AttemptError::TimedOut) after that. Then waits up to `handshake_timeout` for the
    /// exchange of headers, and fails with
    /// [`HandshakeTimedOut`](crate::AttemptError::HandshakeTimedOut). That happens, on inproc too, if the peer
    /// lets nobody in until its program has received what peers that are gone left there (see
    /// [`Options::recv_queue_bytes`](crate::Options::recv_queue_bytes)). Must not be called from an `admit`
    /// callback that runs in a thread that turns a loop. There is no `_async` form.
    ///
    /// A PAIR that already has a peer turns us away. This call reports that as an error if the peer is a sinew
    /// socket, or if it closes the connection within 10 ms, for which a PAIR waits. Any other peer that turns
    /// us away, such as by an `admit` callback, closes the connection a moment after this call has succeeded:
    /// [`Endpoint::status`] reports that as [`TurnedAway`](crate::AttemptError::TurnedAway).
    ///
    /// # Errors
    ///
    /// [`ConnectError::Failed`] with the reason, or as [`connect`](Self::connect). After an error no further
    /// attempt is made.
    pub fn connect_now(&self, url: impl AsRef<str>) -> Result<Endpoint, ConnectError> {
        self.connect_now_with(url, &EndpointOptions::new())
    }

    /// As [`connect_now`](Self::connect_now), with options for this endpoint.
    ///
    /// # Errors
    ///
    /// As [`connect_now`](Self::connect_now), or an option is out of range.
    pub fn connect_now_with(
        &self,
        url: impl AsRef<str>,
        options: &EndpointOptions,
    ) -> Result<Endpoint, ConnectError> {
        self.core.connect(url.as_ref(), options, Dial::Now)
    }

    /// Waits until at least `peers` peers are connected. Zero peers: returns at once. Zero `timeout`: checks
    /// once; `Duration::MAX`: waits forever.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] with the number of connected peers, or the socket is closed.
    pub fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError> {
        self.core.wait_for_peers(peers, timeout)
    }

    /// Waits as a task until at least `peers` peers are connected. Has no timeout of its own.
    ///
    /// Cancel-safe: dropping the future changes nothing.
    ///
    /// # Errors
    ///
    /// [`WaitError::Closed`].
    pub fn wait_for_peers_async(
        &self,
        peers: usize,
    ) -> impl Future<Output = Result<(), WaitError>> + Send + use<R> {
        let core = self.core.clone();
        async move {
            let attempt =
                move |_: &mut R::Protocol, port: &mut SocketPort<'_>, _| match port.peer_count() {
                    there if there >= peers => Ok(()),
                    _ => Err(RecvRefusal::WouldBlock),
                };
            // Without a timeout, and with nothing to refuse, any other failure means that it was closed.
            let operation = Operation::new(&core, Interest::Peers, attempt);
            operation.await.map_err(|failure| match failure {
                Failure::Forked => WaitError::Forked,
                Failure::Lost => WaitError::RuntimeLost,
                _ => WaitError::Closed,
            })
        }
    }

    /// The peers that are connected now, in no particular order. None after close.
    ///
    /// The list is made under the socket's lock: no peer comes or goes, and no call sends or receives,
    /// meanwhile. The event loop moves on, so its latest messages may show in one figure and not in another.
    /// No figure contains messages in the kernel's buffers.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.core.peers()
    }

    /// Subscribes to pipe events from now on. Dropping the value ends the subscription.
    ///
    /// Each subscription gets every event, and keeps up to 1024 unread ones; it misses and counts newer ones
    /// ([`Events::missed`]). Peers that are already connected raise no event: subscribe first, then call
    /// [`peers`](Self::peers). On a closed socket the subscription ends at once, or when the last peer is gone
    /// about which an `admit` callback was deciding at the close.
    #[doc(alias("monitor", "nng_pipe_notify", "zmq_socket_monitor"))]
    pub fn events(&self) -> Events {
        self.core.events()
    }

    /// What the socket has done so far. Also after close.
    ///
    /// Takes the socket's lock for a moment, as a send does. [`metrics`](crate::metrics) has the
    /// same figures as text.
    #[doc(alias("nn_get_statistic", "nng_stats_get"))]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Waits until every accepted message has left the socket: handed to the kernel, or over inproc taken by
    /// the peer. Returns how many have not; 0 is success.
    ///
    /// Messages that other threads send meanwhile are waited for as well. Zero `timeout`: checks once;
    /// `Duration::MAX`: waits forever. A closed socket returns 0 at once, whatever its `linger`. There is no
    /// `_async` form.
    pub fn drain(&self, timeout: Duration) -> usize {
        self.core.drain(timeout)
    }

    /// The options in force, with the defaults of this kind of socket for what was not set.
    /// [`Options::settings`] reads them.
    #[doc(alias("nn_getsockopt", "nng_socket_get", "zmq_getsockopt"))]
    pub fn options(&self) -> Options {
        self.core.options()
    }

    /// Replaces all options: an option that `options` does not set has its default again. To change one, begin
    /// with the value of [`options`](Self::options). The documentation of each option says what it affects; a
    /// call that already waits keeps its timeout. Never waits.
    ///
    /// # Errors
    ///
    /// An option is out of range, this kind of socket does not have it, or the socket is
    /// closed; nothing changes.
    #[doc(alias("nn_setsockopt", "nng_socket_set", "zmq_setsockopt"))]
    pub fn set_options(&self, options: Options) -> Result<(), OptionError> {
        self.core.set_options(options, R::Protocol::follow)
    }

    /// Closes one pipe. The peer sees its connection end; if we had connected, we reconnect. Does not wait:
    /// what is queued for the peer has [`Options::linger`].
    ///
    /// # Errors
    ///
    /// There is no such pipe, or no longer.
    #[doc(alias("nng_pipe_close"))]
    pub fn disconnect(&self, pipe: PipeId) -> Result<(), NoSuchPipe> {
        self.core.disconnect(pipe)
    }

    /// Closes the socket for all its handles. Calls that wait end with `Closed`; its addresses can be bound
    /// again when this returns. Dropping the last handle does the same.
    ///
    /// This call writes what is queued while the kernel takes it, so that the program may exit right after: up
    /// to 25 ms for all connections together, and 5 ms for one whose peer does not read. The event loop writes
    /// the remainder during [`Options::linger`]; what is left then is dropped and counted. To wait longer, and
    /// to know what is left, call [`drain`](Self::drain) first.
    ///
    /// # Errors
    ///
    /// [`Closed`] if it was closed before.
    #[doc(alias("nn_close", "nng_close", "nng_socket_close", "zmq_close"))]
    pub fn close(&self) -> Result<(), Closed> {
        self.core.close()
    }

    /// Whether this is a raw socket: one whose messages have headers, for devices.
    pub fn is_raw(&self) -> bool {
        R::Protocol::RAW
    }

    /// Whether the socket has been closed.
    pub fn is_closed(&self) -> bool {
        self.core.is_closed()
    }

    /// The name in log records, metrics and `Debug`: [`Options::name`], or the kind of socket and a
    /// number.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// The open endpoints, in the order in which they were made. None after close.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.core.endpoints()
    }
}

impl<R: Role, S, V> Clone for Socket<R, S, V> {
    fn clone(&self) -> Self {
        Self { core: self.core.clone(), calls: PhantomData }
    }
}

impl<R: Role> Default for Socket<R> {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes its role and its name: `Push(push-1)`.
impl<R: Role, S, V> fmt::Debug for Socket<R, S, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", R::NAME, self.core.name)
    }
}

impl<R: Role, S, V> Sealed for Socket<R, S, V> {}

impl<R: Role> Observe for Socket<R> {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn protocol(&self) -> ProtocolId {
        R::Protocol::ID
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    fn peers(&self) -> Vec<PeerStatus> {
        Self::peers(self)
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        Self::endpoints(self)
    }

    fn is_closed(&self) -> bool {
        Self::is_closed(self)
    }
}
