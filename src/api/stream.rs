//! Streams of received messages and sinks for messages to send, as the crates around `futures` use them.
//!
//! Only with the feature `futures`. A socket is shared by many tasks and its calls take `&self`, whereas
//! polling a stream or a sink takes `&mut`, and each must remember its waker. Therefore a socket is neither,
//! but makes any number of both.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_core::Stream;
use futures_sink::Sink;

use super::send::SendsAsync;
use crate::error::SendError;
use crate::message::Message;
use crate::protocol::{Interest, Protocol, RecvRefusal};
use crate::socket::wait::{Operation, Outcome, TaskWait};
use crate::socket::{Handle, SocketPort};

/// A stream of received messages, made by `stream`.
///
/// Ends when the socket or context is closed, or the survey is over, and not before. So an item is the message
/// (or request, or question) itself, not a `Result`. Any number of streams and calls may receive at once,
/// except on a context that answers; each message goes to one of them. Cancel-safe: a message that a dropped
/// `next()` has not yielded stays queued. Keeps the socket open until the stream has ended or is dropped. Only
/// with the feature `futures`.
#[must_use = "streams do nothing unless they are polled"]
pub struct RecvStream<T>(Pin<Box<dyn Stream<Item = T> + Send>>);

impl<T> RecvStream<T> {
    /// A stream of what `attempt` receives, converted by `wrap`.
    pub(in crate::api) fn new<P, R, F, W>(
        core: &Handle<P>,
        interest: Interest,
        attempt: F,
        wrap: W,
    ) -> Self
    where
        P: Protocol,
        R: Outcome + 'static,
        F: FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<R, RecvRefusal>
            + Send
            + Unpin
            + 'static,
        W: FnMut(R) -> T + Send + Unpin + 'static,
    {
        let receiving = Operation::new(core, interest, attempt);
        Self(Box::pin(Arrivals { under_way: Some((receiving, wrap)) }))
    }

    /// A stream of something else than what a socket receives.
    #[cfg(feature = "discovery")]
    pub(crate) fn of(stream: impl Stream<Item = T> + Send + 'static) -> Self {
        Self(Box::pin(stream))
    }
}

impl<T> Stream for RecvStream<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl<T> fmt::Debug for RecvStream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvStream").finish_non_exhaustive()
    }
}

/// A receive that starts again whenever it was ready, until it fails.
struct Arrivals<P: Protocol, F, W> {
    /// `None` once it has ended: it keeps nothing open then.
    under_way: Option<(Operation<P, F>, W)>,
}

impl<P, R, F, W, T> Stream for Arrivals<P, F, W>
where
    P: Protocol,
    R: Outcome,
    F: FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<R, RecvRefusal> + Unpin,
    W: FnMut(R) -> T + Unpin,
{
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let Some((receiving, wrap)) = &mut self.under_way else { return Poll::Ready(None) };
        match ready!(Pin::new(receiving).poll(cx)) {
            Ok(received) => Poll::Ready(Some(wrap(received))),
            Err(_) => {
                self.under_way = None;
                Poll::Ready(None)
            }
        }
    }
}

/// A sink that sends messages, made by `sink`.
///
/// Holds at most one message, from `start_send` (`feed`) to the next flush; `send` flushes. Until then the
/// socket has not accepted the message: dropping the sink drops it. Dropping a `send` that waits leaves the
/// message in the sink, which sends it before the next one. A message that cannot be sent comes back in the
/// error, and the sink can still be used unless the error was `Closed`. Closing the sink flushes it and leaves
/// the socket open. Only with the feature `futures`.
#[must_use = "sinks do nothing unless they are polled"]
pub struct SendSink<S: SendsAsync> {
    socket: S,
    message: Option<Message>,
    wait: TaskWait,
}

impl<S: SendsAsync> SendSink<S> {
    pub(super) fn new(socket: S) -> Self {
        Self { socket, message: None, wait: TaskWait::default() }
    }
}

impl<S: SendsAsync> Sink<Message> for SendSink<S> {
    type Error = SendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_flush(cx)
    }

    /// # Panics
    ///
    /// If `poll_ready` was not called, and ready, before: see the trait.
    fn start_send(mut self: Pin<&mut Self>, message: Message) -> Result<(), SendError> {
        assert!(self.message.is_none(), "poll_ready comes first");
        self.message = Some(message);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let Self { socket, message, wait } = &mut *self;
        match message {
            Some(_) => socket.poll_send(message, wait, cx),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.poll_flush(cx)
    }
}

impl<S: SendsAsync> Drop for SendSink<S> {
    fn drop(&mut self) {
        self.socket.leave(&mut self.wait);
    }
}

impl<S: SendsAsync> fmt::Debug for SendSink<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendSink").field("message", &self.message).finish_non_exhaustive()
    }
}
