//! The typed sockets: one type per protocol role.
//!
//! Thin: each call names what it waits for, how long, and which verb of its protocol it repeats. What
//! sockets have in common stands once, here: [`socket_calls!`] for all, [`send_calls!`] and
//! [`recv_calls!`] for those that simply send and receive.

use std::future::Future;

use crate::error::{Call, RecvError, SendError, WaitError};
use crate::message::Message;
use crate::protocol::{Interest, Protocol, RecvRefusal, SendRefusal};
use crate::socket::wait::{Failure, Patience, Waiting};
use crate::socket::watch::{Beacon, Watching};
use crate::socket::{Core, Handle, SocketPort};

// These have macros that the others use.
#[macro_use]
pub(crate) mod iter;
#[macro_use]
mod observe;

use observe::sealed::Sealed;

/// What messages are received from: a socket, a context or a survey. For
/// [`Poller::add_recv`](crate::Poller::add_recv); made here only.
pub trait Receives: Sealed {
    /// Shows by `beacon` whether a `try_recv` would not have to wait.
    #[doc(hidden)]
    fn watch_recv(&self, beacon: Beacon) -> Watching;
}

/// What sends messages: a socket or a context. For [`Poller::add_send`](crate::Poller::add_send);
/// made here only.
pub trait Sends: Sealed {
    /// Shows by `beacon` whether a `try_send` would not have to wait.
    #[doc(hidden)]
    fn watch_send(&self, beacon: Beacon) -> Watching;
}

/// What the macros below need where they are used.
mod prelude {
    pub(super) use std::fmt;
    pub(super) use std::future::Future;
    pub(super) use std::task::{Context, Poll};
    pub(super) use std::time::Duration;

    pub(super) use super::future::{Replying, Sending, SendsAsync};
    #[cfg(feature = "futures")]
    pub(super) use super::stream::{RecvStream, SendSink};
    pub(super) use super::{Receives, Sends};
    pub(super) use crate::error::{
        BindError, Closed, ConnectError, NoSuchPipe, OptionError, RecvError, SendError, WaitError,
    };
    pub(super) use crate::message::{Message, PipeId};
    pub(super) use crate::options::{EndpointOptions, Options};
    pub(super) use crate::peer::PeerStatus;
    pub(super) use crate::pipe::endpoint::Endpoint;
    pub(super) use crate::protocol::{self, Protocol};
    pub(super) use crate::runtime::Runtime;
    pub(super) use crate::socket::establish::Dial;
    pub(super) use crate::socket::wait::{Patience, Spot};
    pub(super) use crate::socket::watch::{Beacon, Readiness, Watching};
    pub(super) use crate::socket::{Events, Handle, SocketPort};
    pub(super) use crate::stats::Stats;
}

/// The calls that every socket has.
///
/// `$new` makes the protocol from the options, `$apply` changes it by options that are set later.
macro_rules! socket_calls {
    ($socket:ident, $protocol:ty, $new:expr) => {
        socket_calls!($socket, $protocol, $new, |_, _, _| ());
    };
    ($socket:ident, $protocol:ty, $new:expr, $apply:expr) => {
        impl $socket {
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
                let new: fn(&Options) -> $protocol = $new;
                let protocol = new(&options);
                Ok(Self { core: Handle::new(protocol, options, runtime)? })
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
            ) -> impl Future<Output = Result<(), WaitError>> + Send + use<> {
                self.core.wait_for_peers_async(peers)
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
                let apply: fn(&mut $protocol, &Options, &mut SocketPort<'_>) = $apply;
                self.core.set_options(options, apply)
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
                <$protocol as crate::protocol::Protocol>::RAW
            }

            /// Whether the socket has been closed.
            pub fn is_closed(&self) -> bool {
                self.core.is_closed()
            }
        }

        observe_calls!($socket, $protocol);

        impl Default for $socket {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Debug for $socket {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($socket), "({})"), self.core.name)
            }
        }
    };
}

/// The calls of a socket that sends, to whomever its protocol chooses. `$to` says to which address of
/// the protocol a message goes.
macro_rules! send_calls {
    ($socket:ident) => {
        send_calls!($socket, |_: &Message| ());
    };
    ($socket:ident, $to:expr) => {
        impl $socket {
            /// Sends a message, waiting for room up to the send timeout. Once it has returned the message
            /// is the socket's; that it arrives is not said by that.
            ///
            /// # Errors
            ///
            /// `TimedOut`, `Closed` or `TooLarge`, of a raw socket also `Header`; with the message inside.
            #[doc(alias(
                "nn_send",
                "nn_sendmsg",
                "nng_send",
                "nng_sendmsg",
                "zmq_send",
                "zmq_msg_send"
            ))]
            pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
                let (message, patience) = (message.into(), Patience::For(self.core.send_timeout()));
                self.core.send(ONLY_SEND, patience, &$to(&message), message)
            }

            /// Sends a message if there is room now.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send), with `WouldBlock` in place of `TimedOut`.
            #[doc(alias("NN_DONTWAIT", "NNG_FLAG_NONBLOCK", "ZMQ_DONTWAIT"))]
            pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
                let message = message.into();
                self.core.send(ONLY_SEND, Patience::None, &$to(&message), message)
            }

            /// Sends a message, waiting for room up to `timeout`. Zero: one attempt; `Duration::MAX`: for
            /// ever.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            pub fn send_timeout(
                &self,
                message: impl Into<Message>,
                timeout: Duration,
            ) -> Result<(), SendError> {
                let (message, patience) = (message.into(), Patience::For(Some(timeout)));
                self.core.send(ONLY_SEND, patience, &$to(&message), message)
            }

            /// Sends a message, waiting for room as a task. Has no timeout of its own.
            ///
            /// Nothing is sent before the first poll. Cancel-safe: a future that is dropped before it is
            /// ready has not sent, and the message is dropped with it.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send), without `TimedOut`.
            #[doc(alias("nng_socket_send", "nng_send_aio"))]
            pub fn send_async(&self, message: impl Into<Message>) -> Sending<Self> {
                Sending::new(self.clone(), message.into())
            }

            /// Whether there is room to send, as a descriptor for event loops.
            ///
            /// # Errors
            ///
            /// The process has no descriptor left.
            #[doc(alias("SNDFD", "NN_SNDFD", "NNG_OPT_SENDFD", "ZMQ_FD"))]
            pub fn send_readiness(&self) -> std::io::Result<Readiness> {
                Readiness::new(|beacon| self.watch_send(beacon))
            }

            /// A sink for messages; any number of them may be in use. Only with the feature `futures`.
            #[cfg(feature = "futures")]
            pub fn sink(&self) -> SendSink<Self> {
                SendSink::new(self.clone())
            }
        }

        impl SendsAsync for $socket {
            fn poll_send(
                &self,
                message: &mut Option<Message>,
                spot: &mut Spot,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), SendError>> {
                self.core.poll_send(ONLY_SEND, $to, message, spot, cx)
            }

            fn leave(&self, spot: &mut Spot) {
                self.core.leave_spot(spot);
            }
        }

        impl Sends for $socket {
            fn watch_send(&self, beacon: Beacon) -> Watching {
                self.core.watch_interest(ONLY_SEND, beacon)
            }
        }
    };
}

/// The calls of a socket that receives, from whomever its protocol chooses.
macro_rules! recv_calls {
    ($socket:ident) => {
        recv_calls!($socket, ONLY_RECV, ());
    };
    ($socket:ident, $interest:expr, $from:expr) => {
        impl $socket {
            /// Receives a message, waiting up to the receive timeout. Any number of threads and tasks may
            /// do so at once; each message goes to one of them.
            ///
            /// # Errors
            ///
            /// `TimedOut` or `Closed`.
            #[doc(alias(
                "receive",
                "nn_recv",
                "nn_recvmsg",
                "nng_recv",
                "nng_recvmsg",
                "zmq_recv",
                "zmq_msg_recv"
            ))]
            pub fn recv(&self) -> Result<Message, RecvError> {
                self.core.recv($interest, Patience::For(self.core.recv_timeout()), &$from)
            }

            /// Receives a message if one is there.
            ///
            /// # Errors
            ///
            /// `WouldBlock` or `Closed`.
            #[doc(alias("NN_DONTWAIT", "NNG_FLAG_NONBLOCK", "ZMQ_DONTWAIT"))]
            pub fn try_recv(&self) -> Result<Message, RecvError> {
                self.core.recv($interest, Patience::None, &$from)
            }

            /// Receives a message, waiting up to `timeout`. Zero: one attempt; `Duration::MAX`: for ever.
            ///
            /// # Errors
            ///
            /// `TimedOut` or `Closed`.
            pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
                self.core.recv($interest, Patience::For(Some(timeout)), &$from)
            }

            /// Receives a message, waiting as a task. Has no timeout of its own.
            ///
            /// Cancel-safe: a future that is dropped before it is ready has received nothing.
            ///
            /// # Errors
            ///
            /// `Closed`.
            #[doc(alias("nng_socket_recv", "nng_recv_aio"))]
            pub fn recv_async(
                &self,
            ) -> impl Future<Output = Result<Message, RecvError>> + Send + use<> {
                self.core.recv_async($interest, $from)
            }

            /// Whether there is something to receive, as a descriptor for event loops.
            ///
            /// # Errors
            ///
            /// The process has no descriptor left.
            #[doc(alias("RCVFD", "NN_RCVFD", "NNG_OPT_RECVFD", "ZMQ_FD"))]
            pub fn recv_readiness(&self) -> std::io::Result<Readiness> {
                Readiness::new(|beacon| self.watch_recv(beacon))
            }

            /// The messages that come, as a stream that ends when the socket is closed. Only with the
            /// feature `futures`.
            #[cfg(feature = "futures")]
            pub fn stream(&self) -> RecvStream<Message> {
                self.core.stream($interest, $from)
            }
        }

        impl Receives for $socket {
            fn watch_recv(&self, beacon: Beacon) -> Watching {
                self.core.watch_interest($interest, beacon)
            }
        }

        iter_calls!($socket, Message, |socket| {
            socket.core.recv($interest, Patience::For(None), &$from).ok()
        });
    };
}

// After the macros, which they use.
mod answer;
mod bus;
mod context;
pub mod device;
mod future;
pub mod metrics;
mod missing;
mod pair;
mod pair1;
pub(crate) mod poller;
mod publish;
mod pull;
mod push;
pub mod raw;
mod req;
#[cfg(feature = "futures")]
mod stream;
mod subscribe;
mod surveyor;

pub use answer::{Question, Rep, ReplyError, Request, Respondent};
pub use bus::Bus;
pub use context::{
    RepContext, ReqContext, RespondentContext, SendingAnswer, SubContext, SurveyorContext,
};
pub use future::{Replying, Sending, SendsAsync};
pub use observe::{EndpointSnapshot, Observe, Snapshot};
pub use pair::Pair;
pub use pair1::{Pair1, PolyPair1, SendingTo};
pub use publish::Pub;
pub use pull::Pull;
pub use push::Push;
pub use req::{Req, Requesting};
#[cfg(feature = "futures")]
pub use stream::{RecvStream, SendSink};
pub use subscribe::Sub;
pub use surveyor::{Survey, Surveyor};

/// What is waited for where there is only one thing to wait for.
const ONLY_SEND: Interest = Interest::SEND;
const ONLY_RECV: Interest = Interest::RECV;

impl<P: Protocol> Core<P> {
    /// Sends a message, or gives it back.
    pub(in crate::api) fn send(
        &self,
        interest: Interest,
        patience: Patience,
        to: &P::To,
        message: Message,
    ) -> Result<(), SendError> {
        let outgoing = match self.outgoing(to, message.body()) {
            Ok(outgoing) => outgoing,
            Err(excess) => return Err(SendError::too_large(message, excess)),
        };
        let attempt = |p: &mut P, io: &mut SocketPort<'_>, now| outgoing.send(to, p, io, now);
        self.wait(interest, patience, attempt).map_err(|failure| self.send_error(&failure, message))
    }

    pub(in crate::api) fn send_error(
        &self,
        failure: &Failure<SendRefusal>,
        message: Message,
    ) -> SendError {
        match *failure {
            Failure::Closed | Failure::Refused(SendRefusal::Closed) => SendError::Closed(message),
            Failure::Forked => SendError::Forked(message),
            Failure::TimedOut(waited) => {
                SendError::TimedOut(message, self.situation(Call::Send, Some(waited)))
            }
            Failure::WouldBlock | Failure::Refused(SendRefusal::WouldBlock) => {
                SendError::WouldBlock(message)
            }
            Failure::Refused(SendRefusal::State) => SendError::State(message),
            Failure::Refused(SendRefusal::Header) => SendError::Header(message),
        }
    }

    pub(in crate::api) fn recv_error(&self, failure: Failure<RecvRefusal>) -> RecvError {
        let waited = match failure {
            Failure::Closed | Failure::Refused(RecvRefusal::Closed) => return RecvError::Closed,
            Failure::Forked => return RecvError::Forked,
            Failure::WouldBlock | Failure::Refused(RecvRefusal::WouldBlock) => {
                return RecvError::WouldBlock;
            }
            Failure::Refused(RecvRefusal::State) => return RecvError::State,
            Failure::Refused(RecvRefusal::Canceled) => return RecvError::Canceled,
            Failure::Refused(RecvRefusal::ConnectionReset) => return RecvError::ConnectionReset,
            Failure::Refused(RecvRefusal::BadReply(reason)) => {
                return RecvError::BadReply { reason };
            }
            Failure::Refused(RecvRefusal::GivenUp { sent, reason }) => {
                return RecvError::GivenUp { sent, reason };
            }
            Failure::Refused(RecvRefusal::Expired) => None,
            Failure::TimedOut(waited) => Some(waited),
        };
        RecvError::TimedOut(self.situation(Call::Recv, waited))
    }
}

impl<P: Protocol<Received = Message>> Core<P> {
    /// Receives a message.
    fn recv(
        &self,
        interest: Interest,
        patience: Patience,
        from: &P::From,
    ) -> Result<Message, RecvError> {
        let attempt = |p: &mut P, io: &mut SocketPort<'_>, now| p.recv(from, now, io);
        self.wait(interest, patience, attempt).map_err(|failure| self.recv_error(failure))
    }
}

impl<P: Protocol<Received = Message>> Handle<P> {
    /// Receives a message as a task.
    fn recv_async(
        &self,
        interest: Interest,
        from: P::From,
    ) -> impl Future<Output = Result<Message, RecvError>> + Send + use<P>
    where
        P::From: Send + Unpin,
    {
        let core = self.clone();
        async move {
            let attempt = move |p: &mut P, io: &mut SocketPort<'_>, now| p.recv(&from, now, io);
            let received = Waiting::new(&core, interest, attempt).await;
            received.map_err(|failure| core.recv_error(failure))
        }
    }
}

impl<P: Protocol> Handle<P> {
    /// Waits for peers as a task.
    fn wait_for_peers_async(
        &self,
        wanted: usize,
    ) -> impl Future<Output = Result<(), WaitError>> + Send + use<P> {
        let core = self.clone();
        async move {
            let attempt = |_: &mut P, port: &mut SocketPort<'_>, _| match port.peer_count() {
                there if there >= wanted => Ok(()),
                _ => Err(RecvRefusal::WouldBlock),
            };
            // There is no time to run out, and nothing to be refused: it has been closed.
            let waiting = Waiting::new(&core, Interest::Peers, attempt);
            waiting.await.map_err(|failure| match failure {
                Failure::Forked => WaitError::Forked,
                _ => WaitError::Closed,
            })
        }
    }
}

#[cfg(feature = "futures")]
impl<P: Protocol<Received = Message>> Handle<P> {
    /// Receives messages as a task, one after the other.
    fn stream(&self, interest: Interest, from: P::From) -> RecvStream<Message>
    where
        P::From: Send + Unpin + 'static,
    {
        let attempt = move |p: &mut P, io: &mut SocketPort<'_>, now| p.recv(&from, now, io);
        RecvStream::new(self, interest, attempt, |message| message)
    }
}
