//! Sending: the forms of `send`, for all sockets that send.
//!
//! Owns those calls, the future of `send_async`, and how a [`Core`] sends. The future owns its message, so one
//! made from a `&str` does not borrow it; it allocates nothing and can be polled without pinning.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::poller::WatchSend;
use super::role::{CanSend, Engine, Sends};
use super::socket::Socket;
#[cfg(feature = "futures")]
use super::stream::SendSink;
use crate::error::{Call, SendError};
use crate::message::{Message, PipeId};
use crate::protocol::{Interest, Protocol, SendRefusal};
use crate::socket::wait::{Failure, Patience, TaskWait};
use crate::socket::watch::{Beacon, Readiness, Watching};
use crate::socket::{Core, SocketPort};

/// What a send waits for where there is only one thing to wait for.
const ONLY_SEND: Interest = Interest::SEND;

/// The calls of a socket that sends, to whomever its protocol chooses.
impl<R: Sends, V> Socket<R, CanSend, V> {
    /// Sends a message, waiting for room up to the send timeout. Success means that the socket has accepted
    /// the message, not that it arrives.
    ///
    /// # Errors
    ///
    /// `TimedOut`, `Closed` or `TooLarge`, and for a raw socket `Header`; each gives the message back.
    #[doc(alias("nn_send", "nn_sendmsg", "nng_send", "nng_sendmsg", "zmq_send", "zmq_msg_send"))]
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        R::give(&self.core, Patience::AsSet, message.into())
    }

    /// Sends a message if there is room now.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with `WouldBlock` in place of `TimedOut`.
    #[doc(alias("NN_DONTWAIT", "NNG_FLAG_NONBLOCK", "ZMQ_DONTWAIT"))]
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        R::give(&self.core, Patience::None, message.into())
    }

    /// Sends a message, waiting for room up to `timeout`. Zero: one attempt; `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<(), SendError> {
        R::give(&self.core, Patience::For(Some(timeout)), message.into())
    }

    /// Sends a message, waiting for room as a task. Has no timeout of its own.
    ///
    /// Sends nothing before the first poll. Cancel-safe: a future that is dropped before it is ready has not
    /// sent, and the message is dropped with it.
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

    /// Makes a sink for messages; a socket may have any number of them. Only with the feature `futures`.
    #[cfg(feature = "futures")]
    pub fn sink(&self) -> SendSink<Self> {
        SendSink::new(self.clone())
    }
}

/// Where a send of a role is compiled: in this crate, for the reason for which [`Takes`](super::recv::Takes)
/// is. `roles!` implements it for each role with the same line, [`give`].
pub(crate) trait Gives: Engine {
    fn give(
        core: &Core<Self::Protocol>,
        patience: Patience,
        message: Message,
    ) -> Result<(), SendError>;
}

/// What [`Gives`] does for each role.
#[inline(always)]
pub(super) fn give<R: Sends>(
    core: &Core<R::Protocol>,
    patience: Patience,
    message: Message,
) -> Result<(), SendError> {
    core.send(ONLY_SEND, patience, &PlainTo::of(&message), message)
}

impl<R: Sends, V> WatchSend for Socket<R, CanSend, V> {
    fn watch_send(&self, beacon: Beacon) -> Watching {
        self.core.watch_interest(ONLY_SEND, beacon)
    }
}

/// Where a plain `send` goes, as far as the message says.
pub(crate) trait PlainTo {
    fn of(message: &Message) -> Self;
}

/// The protocol chooses.
impl PlainTo for () {
    #[inline(always)]
    fn of(_: &Message) -> Self {}
}

/// The peer that has been connected longest.
impl PlainTo for Option<PipeId> {
    #[inline(always)]
    fn of(_: &Message) -> Self {
        None
    }
}

/// A raw socket sends where the header says.
impl PlainTo for Bytes {
    #[inline(always)]
    fn of(message: &Message) -> Self {
        message.header().clone()
    }
}

/// What a future sends on: a socket, or the right to answer. Made here only.
#[expect(private_bounds, reason = "made here only: how a task waits is nobody else's")]
pub trait SendsAsync: PollSending {}

/// How a future sends.
pub(crate) trait PollSending: Unpin {
    /// Sends the message if it can, and takes it out of `message` then.
    fn poll_send(
        &self,
        message: &mut Option<Message>,
        wait: &mut TaskWait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>>;

    /// Waits no longer.
    fn leave(&self, wait: &mut TaskWait);

    /// Notes that the message was sent.
    fn on_sent(self)
    where
        Self: Sized,
    {
    }
}

impl<R: Sends, V> SendsAsync for Socket<R, CanSend, V> {}

impl<R: Sends, V> PollSending for Socket<R, CanSend, V> {
    fn poll_send(
        &self,
        message: &mut Option<Message>,
        wait: &mut TaskWait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        self.core.poll_send(ONLY_SEND, PlainTo::of, message, wait, cx)
    }

    fn leave(&self, wait: &mut TaskWait) {
        self.core.cancel_wait(wait);
    }
}

/// A message that is being sent: the future of `send_async`.
///
/// A future that is dropped before it is ready has not sent. Keeps the socket open.
#[must_use = "futures do nothing unless they are polled"]
pub struct Sending<S: SendsAsync> {
    socket: S,
    /// Until it is sent, or given back.
    message: Option<Message>,
    wait: TaskWait,
}

impl<S: SendsAsync> Sending<S> {
    pub(super) fn new(socket: S, message: Message) -> Self {
        Self { socket, message: Some(message), wait: TaskWait::default() }
    }
}

impl<S: SendsAsync> Future for Sending<S> {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { socket, message, wait } = &mut *self;
        socket.poll_send(message, wait, cx)
    }
}

impl<S: SendsAsync> Drop for Sending<S> {
    fn drop(&mut self) {
        self.socket.leave(&mut self.wait);
    }
}

impl<S: SendsAsync> fmt::Debug for Sending<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("message", &self.message).finish_non_exhaustive()
    }
}

/// The panic of a future that is polled after it was ready.
pub(super) const POLLED_TOO_OFTEN: &str = "it is not polled any more once it was ready";

impl<P: Protocol> Core<P> {
    /// Sends a message, or gives it back.
    #[inline]
    pub(super) fn send(
        &self,
        interest: Interest,
        patience: Patience,
        to: &P::To,
        mut message: Message,
    ) -> Result<(), SendError> {
        let mut outgoing = match self.outgoing(to, message.body_mut()) {
            Ok(outgoing) => outgoing,
            Err(excess) => return Err(SendError::too_large(message, excess)),
        };
        let attempt = |p: &mut P, io: &mut SocketPort<'_>, now| outgoing.send(to, p, io, now);
        match self.wait(interest, patience, attempt) {
            Ok(()) => Ok(()),
            Err(failure) => Err(self.send_error(&failure, message)),
        }
    }

    pub(super) fn send_error(&self, failure: &Failure<SendRefusal>, message: Message) -> SendError {
        match *failure {
            Failure::Closed | Failure::Refused(SendRefusal::Closed) => SendError::Closed(message),
            Failure::Forked => SendError::Forked(message),
            Failure::Lost => SendError::RuntimeLost(message),
            Failure::TimedOut(waited) => {
                SendError::TimedOut(message, self.situation(Call::Send, Some(waited)))
            }
            Failure::Interrupted => SendError::Interrupted(message),
            Failure::WouldBlock | Failure::Refused(SendRefusal::WouldBlock) => {
                SendError::WouldBlock(message)
            }
            Failure::Refused(SendRefusal::State) => SendError::State(message),
            Failure::Refused(SendRefusal::Header) => SendError::Header(message),
        }
    }

    /// Sends the message as soon as it can, and takes it out of `message` then; a failure gives it back.
    pub(super) fn poll_send(
        &self,
        interest: Interest,
        to: impl FnOnce(&Message) -> P::To,
        message: &mut Option<Message>,
        wait: &mut TaskWait,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        let sending = message.as_mut().expect(POLLED_TOO_OFTEN);
        let to = to(sending);
        let polled = match self.outgoing(&to, sending.body_mut()) {
            Err(excess) => Poll::Ready(Err(Err(excess))),
            Ok(mut outgoing) => {
                let attempt =
                    |p: &mut P, io: &mut SocketPort<'_>, now| outgoing.send(&to, p, io, now);
                self.poll_wait(interest, wait, cx, attempt).map_err(Ok)
            }
        };
        polled.map(|sent| {
            let message = message.take().expect("it was there a moment ago");
            sent.map_err(|failure| match failure {
                Ok(failure) => self.send_error(&failure, message),
                Err(excess) => SendError::too_large(message, excess),
            })
        })
    }
}
