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
mod observe;
pub mod role;
mod socket;

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
    pub(super) use super::role::{self, CanRecv, CanSend, Engine, NoRecv, NoSend, Role};
    pub(super) use super::socket::Socket;
    #[cfg(feature = "futures")]
    pub(super) use super::stream::{RecvStream, SendSink};
    pub(super) use super::{Receives, Sends};
    pub(super) use crate::error::{Closed, RecvError, SendError};
    pub(super) use crate::message::{Message, PipeId};
    pub(super) use crate::options::Options;
    pub(super) use crate::protocol::{self, Protocol};
    pub(super) use crate::socket::wait::{Patience, Spot};
    pub(super) use crate::socket::watch::{Beacon, Readiness, Watching};
    pub(super) use crate::socket::{Handle, SocketPort};
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
pub use socket::Socket;
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
