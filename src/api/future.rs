//! Futures with names: what the `_async` calls yield that take something to send.
//!
//! They hold the message itself, and nothing of what it was made from: a future made from a `&str` does not
//! borrow it. They take no memory of their own and can be polled without pinning.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::answer::ReplyError;
use crate::api::observe::sealed::Sealed;
use crate::error::SendError;
use crate::message::Message;
use crate::protocol::{Interest, Protocol};
use crate::socket::wait::Spot;
use crate::socket::{Core, SocketPort};

/// What messages are sent by as a task: a socket, or the right to answer. Made here only.
pub trait SendsAsync: Sealed + Unpin {
    /// Sends the message that is there, or leaves it there until it can.
    #[doc(hidden)]
    fn poll_send(
        &self,
        message: &mut Option<Message>,
        spot: &mut Spot,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>>;

    /// Waits no longer.
    #[doc(hidden)]
    fn leave(&self, spot: &mut Spot);
}

/// A message that is being sent: what `send_async` yields.
///
/// Dropped before it is ready it has not sent. Keeps the socket open.
#[must_use = "futures do nothing unless they are polled"]
pub struct Sending<S: SendsAsync> {
    socket: S,
    /// Until it is sent, or given back.
    message: Option<Message>,
    spot: Spot,
}

impl<S: SendsAsync> Sending<S> {
    pub(super) fn new(socket: S, message: Message) -> Self {
        Self { socket, message: Some(message), spot: Spot::default() }
    }
}

impl<S: SendsAsync> Future for Sending<S> {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { socket, message, spot } = &mut *self;
        socket.poll_send(message, spot, cx)
    }
}

impl<S: SendsAsync> Drop for Sending<S> {
    fn drop(&mut self) {
        self.socket.leave(&mut self.spot);
    }
}

impl<S: SendsAsync> fmt::Debug for Sending<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("message", &self.message).finish_non_exhaustive()
    }
}

/// An answer that is being sent: what `reply_async` yields.
///
/// Dropping it before it is ready gives the right to answer up. Keeps the socket open.
#[must_use = "futures do nothing unless they are polled"]
pub struct Replying<T: SendsAsync> {
    /// Until the answer is sent, or given back.
    asked: Option<T>,
    answer: Option<Message>,
    spot: Spot,
}

impl<T: SendsAsync> Replying<T> {
    pub(super) fn new(asked: T, answer: Message) -> Self {
        Self { asked: Some(asked), answer: Some(answer), spot: Spot::default() }
    }
}

impl<T: SendsAsync> Future for Replying<T> {
    type Output = Result<(), ReplyError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { asked, answer, spot } = &mut *self;
        let polled = asked.as_ref().expect(POLLED_TOO_OFTEN).poll_send(answer, spot, cx);
        polled.map(|sent| {
            let asked = asked.take().expect("it was there a moment ago");
            sent.map_err(|error| ReplyError::new(asked, error))
        })
    }
}

impl<T: SendsAsync> Drop for Replying<T> {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.leave(&mut self.spot);
        }
    }
}

impl<T: SendsAsync> fmt::Debug for Replying<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replying").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// What a future says that is polled when it has been ready.
pub(super) const POLLED_TOO_OFTEN: &str = "it is not polled any more once it was ready";

impl<P: Protocol> Core<P> {
    /// Sends the message that is there as soon as it can be, and takes it away then; a failure has it.
    pub(super) fn poll_send(
        &self,
        interest: Interest,
        to: impl FnOnce(&Message) -> P::To,
        message: &mut Option<Message>,
        spot: &mut Spot,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        let sending = message.as_ref().expect(POLLED_TOO_OFTEN);
        let (to, body) = (to(sending), sending.body());
        let polled = match self.outgoing(&to, body) {
            Err(excess) => Poll::Ready(Err(Err(excess))),
            Ok(outgoing) => {
                let attempt =
                    |p: &mut P, io: &mut SocketPort<'_>, now| outgoing.send(&to, p, io, now);
                self.poll_wait(interest, spot, cx, attempt).map_err(Ok)
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
