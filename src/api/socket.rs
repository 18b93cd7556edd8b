//! The socket, of whatever role, and the calls that every socket has.
//!
//! Owns [`Socket`]. Thin: each call goes to the [`Core`](crate::socket::Core) that the handles of a socket
//! share. The forms of `send` are in `send.rs`, those of `recv` in `recv.rs`, and what is peculiar to one role
//! is in the file of that role.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use super::observe::{Observe, Sealed};
use super::role::Role;
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

/// A socket: one end of a conversation pattern, with any number of endpoints and peers.
///
/// Programs name sockets by their role, each of which is a short name for a `Socket`: [`Push`](crate::Push),
/// [`Sub`](crate::Sub), [`raw::Req`](crate::raw::Req). This name is for functions over sockets of several
/// roles; see [`role`](crate::role). `Socket<R>` is all that has to be written: the parameters `S` and `V`
/// follow from the role.
///
/// It is a handle: cloning it makes another one of the same socket, every call takes `&self`, and dropping
/// the last one closes the socket.
pub struct Socket<R: Role, S = <R as Role>::Send, V = <R as Role>::Recv> {
    pub(super) core: Handle<R::Protocol>,
    /// Which calls there are.
    pub(super) calls: PhantomData<fn() -> (S, V)>,
}

/// The calls of every socket.
impl<R: Role> Socket<R> {
    /// A socket with default options, on the global runtime.
    ///
    /// Nothing is started and no descriptor is taken before the first `bind` or `connect`.
    pub fn new() -> Self {
        Self::with_options(Options::new()).expect("the defaults are in range")
    }

    /// A socket with options of its own, on the global runtime.
    ///
    /// # Errors
    ///
    /// An option is out of range, or this kind of socket does not have it.
    #[doc(alias("nn_socket", "zmq_socket"))]
    pub fn with_options(options: Options) -> Result<Self, OptionError> {
        Self::make(options, None)
    }

    /// A socket on a runtime made by hand, which lives at least as long as the socket.
    ///
    /// # Errors
    ///
    /// An option is out of range, or this kind of socket does not have it.
    pub fn on(runtime: &Runtime, options: Options) -> Result<Self, OptionError> {
        Self::make(options, Some(runtime.clone()))
    }

    fn make(options: Options, runtime: Option<Runtime>) -> Result<Self, OptionError> {
        let core = Handle::new(R::protocol(&options), options, runtime)?;
        Ok(Self { core, calls: PhantomData })
    }

    /// Accepts connections at an address, such as `tcp://127.0.0.1:5555`, `tcp://*:0`,
    /// `ipc:///tmp/name` or `inproc://name`. Does not wait for peers; a host name is looked up
    /// before this returns.
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

    /// Connects to an address in the background, for ever: returns at once, whether somebody
    /// listens there or not, and connects again when the connection is lost.
    ///
    /// Each call makes a connection of its own. Where two lead to one peer, since this is called twice
    /// or since both sides connect, each message that is meant for all peers (of BUS, PUB, SURVEYOR) is
    /// sent on both and arrives twice: let one side of each two connect, once. In [`peers`](Self::peers),
    /// two that are `outgoing` with the same `remote` lead to one address. Where both sides connect, each has
    /// one that is `outgoing` and one that is not; nothing on the wire tells that they are of one peer,
    /// though over ipc their `credentials` are those of one process.
    ///
    /// What goes wrong is told by [`Endpoint::status`]. Names are resolved for every attempt, in
    /// the background too. To wait for the peer: [`wait_for_peers`](Self::wait_for_peers).
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

    /// Makes one attempt to connect and waits for its outcome. Once connected, it connects
    /// again like [`connect`](Self::connect) when the connection is lost.
    ///
    /// Waits for up to [`connect_timeout`](crate::Options::connect_timeout) until a connection
    /// stands, or fails with [`TimedOut`](crate::AttemptError::TimedOut), and for the header exchange
    /// up to `handshake_timeout`. The latter takes that long, and fails with
    /// [`HandshakeTimedOut`](crate::AttemptError::HandshakeTimedOut), where the other socket lets nobody in until its
    /// program has received what peers that are gone have left there (see
    /// [`Options::recv_queue_bytes`](crate::Options::recv_queue_bytes)); on inproc as well. Must not be called from the
    /// `admit` callback where that runs in a thread that turns a loop. There is no `_async` form.
    ///
    /// A PAIR that has a peer already turns us away, which is an error here if the peer is one of
    /// this crate, or closes the connection within 10 ms, for which a PAIR waits. Other peers that
    /// turn us away, by an `admit` callback, close the connection a moment after this was a success:
    /// [`Endpoint::status`] has that as
    /// [`TurnedAway`](crate::AttemptError::TurnedAway).
    ///
    /// # Errors
    ///
    /// [`ConnectError::Failed`] with the reason, or as [`connect`](Self::connect); no attempt
    /// goes on then.
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

    /// Waits until at least `peers` peers are connected. Zero peers: returns at once. Zero
    /// `timeout`: looks once; `Duration::MAX`: for ever.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] with the number that is connected, or the socket is closed.
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
            // There is no time to run out, and nothing to be refused: it has been closed.
            let operation = Operation::new(&core, Interest::Peers, attempt);
            operation.await.map_err(|failure| match failure {
                Failure::Forked => WaitError::Forked,
                _ => WaitError::Closed,
            })
        }
    }

    /// The peers that are connected now, in no particular order. None after close.
    ///
    /// Nobody comes or goes, and no call sends or receives, while the list is made; what the I/O
    /// thread moves meanwhile may show in one figure and not in another. The kernel's buffers
    /// are in none.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.core.peers()
    }

    /// Subscribes to pipe events from now on. Ends when the value is dropped.
    ///
    /// Each subscription gets every event, and keeps up to 1024 that are unread; newer ones are
    /// then missed and counted ([`Events::missed`]). Who is connected already raises no event:
    /// subscribe first, then look at [`peers`](Self::peers). On a closed socket it ends at
    /// once, or when the last peer that an `admit` callback had in hand at the close is gone.
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

    /// Waits until every message accepted so far has left the socket: handed to the kernel,
    /// or for inproc taken by the peer. Returns how many have not; 0 is success.
    ///
    /// Others may go on sending, and are waited for as well. Zero `timeout`: looks once;
    /// `Duration::MAX`: for ever. A closed socket has nothing left to wait for, `linger` or not,
    /// and returns 0. There is no `_async` form.
    pub fn drain(&self, timeout: Duration) -> usize {
        self.core.drain(timeout)
    }

    /// The options in force, with the defaults of this kind of socket for what was not set.
    /// [`Options::settings`] reads them.
    #[doc(alias("nn_getsockopt", "nng_socket_get", "zmq_getsockopt"))]
    pub fn options(&self) -> Options {
        self.core.options()
    }

    /// Puts other options in place of all that are in force: what `options` does not set has
    /// its default again. To change some, begin with those of [`options`](Self::options).
    /// Each says what it has effect on; a call that waits already keeps its timeout. Never waits.
    ///
    /// # Errors
    ///
    /// An option is out of range, this kind of socket does not have it, or the socket is
    /// closed; nothing changes.
    #[doc(alias("nn_setsockopt", "nng_socket_set", "zmq_setsockopt"))]
    pub fn set_options(&self, options: Options) -> Result<(), OptionError> {
        self.core.set_options(options, R::follow)
    }

    /// Closes one pipe. The peer sees its connection end; if we had connected, we do so again. Does
    /// not wait: what is queued for it has [`Options::linger`].
    ///
    /// # Errors
    ///
    /// There is no such pipe, or no longer.
    #[doc(alias("nng_pipe_close"))]
    pub fn disconnect(&self, pipe: PipeId) -> Result<(), NoSuchPipe> {
        self.core.disconnect(pipe)
    }

    /// Closes the socket for all its handles. Calls that wait end with `Closed`; addresses can
    /// be bound again when this returns.
    ///
    /// What is queued is written by this call while the kernel takes it, so that the program may
    /// exit right after: for up to 25 ms with all connections together, and 5 ms with one whose
    /// peer does not read. What is left then the I/O thread writes during
    /// [`Options::linger`], or it is dropped and counted. Dropping the last handle does the
    /// same. To wait for longer, and to know what is left: `drain`.
    ///
    /// # Errors
    ///
    /// [`Closed`] if it was closed before.
    #[doc(alias("nn_close", "nng_close", "nng_socket_close", "zmq_close"))]
    pub fn close(&self) -> Result<(), Closed> {
        self.core.close()
    }

    /// Whether it is a raw socket: one whose messages have headers, for devices.
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

    /// The endpoints, in the order in which they were made. None after close, nor one that was closed.
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

/// Its role and its name: `Push(push-1)`.
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
