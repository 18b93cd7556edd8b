//! The typed sockets: one type per protocol role.
//!
//! Thin: each call names what it waits for, how long, and which verb of its protocol it repeats. The calls
//! of all sockets are in `socket.rs`, the forms of `send` in `send.rs`; what is peculiar to one role is in
//! the file of that role.

use std::future::Future;

use crate::error::{Call, RecvError, WaitError};
use crate::message::Message;
use crate::protocol::{Interest, Protocol, RecvRefusal};
use crate::socket::wait::{Failure, Patience, Waiting};
use crate::socket::{Core, Handle, SocketPort};

// These have macros that the others use.
#[macro_use]
pub(crate) mod iter;
mod observe;
pub mod role;
mod send;
mod socket;

/// What the macros below need where they are used.
mod prelude {
    pub(super) use std::fmt;
    pub(super) use std::future::Future;
    pub(super) use std::task::{Context, Poll};
    pub(super) use std::time::Duration;

    pub(super) use super::future::Replying;
    pub(super) use super::poller::WatchRecv;
    pub(super) use super::role::{self, CanRecv, CanSend, Engine, NoRecv, NoSend, Role, Sends};
    pub(super) use super::send::{PollSending, Sending, SendsAsync};
    pub(super) use super::socket::Socket;
    #[cfg(feature = "futures")]
    pub(super) use super::stream::RecvStream;
    pub(super) use crate::error::{Closed, RecvError, SendError};
    pub(super) use crate::message::{Message, PipeId};
    pub(super) use crate::options::Options;
    pub(super) use crate::protocol::{self, Protocol};
    pub(super) use crate::socket::wait::{Patience, Spot};
    pub(super) use crate::socket::watch::{Beacon, Readiness, Watching};
    pub(super) use crate::socket::{Handle, SocketPort};
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

        impl WatchRecv for $socket {
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
pub use future::Replying;
pub use observe::{EndpointSnapshot, Observe, Snapshot};
pub use pair::Pair;
pub use pair1::{Pair1, PolyPair1, SendingTo};
pub use publish::Pub;
pub use pull::Pull;
pub use push::Push;
pub use req::{Req, Requesting};
pub use send::{Sending, SendsAsync};
pub use socket::Socket;
#[cfg(feature = "futures")]
pub use stream::{RecvStream, SendSink};
pub use subscribe::Sub;
pub use surveyor::{Survey, Surveyor};

/// What is waited for where there is only one thing to wait for.
const ONLY_RECV: Interest = Interest::RECV;

impl<P: Protocol> Core<P> {
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
