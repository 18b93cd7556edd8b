//! The contexts that answer: those of REP and RESPONDENT.
//!
//! Owns what such a context has received and not answered yet. A newer request takes the place of one that
//! was not answered, and a send that was given up puts it back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::{Common, Receivers};
use crate::api::poller::{WatchRecv, WatchSend};
use crate::api::recv::ONLY_RECV;
use crate::error::Closed;
use crate::error::{RecvError, SendError};
use crate::message::Message;
use crate::protocol::{self, Answerer, Protocol, RecvRefusal, Role, Route, SendRefusal};
use crate::socket::wait::{Patience, Waiting};
use crate::socket::watch::{Beacon, Readiness, Watching};
use crate::socket::{Handle, SocketPort};
use crate::sync::{Arc, Mutex, Ordering};

/// A conversation of a socket that answers: what it has received and not answered yet.
struct Answering<R: Role> {
    core: Handle<Answerer<R>>,
    common: Arc<Common>,
    current: Arc<Mutex<Option<Route>>>,
}

impl<R: Role> Answering<R> {
    fn new(core: &Handle<Answerer<R>>) -> Self {
        let common = Common::new(core, Receivers::One);
        common.closed.store(core.is_closed(), Ordering::Release);
        Self { core: core.clone(), common, current: Arc::default() }
    }

    /// What is received takes the place of what was; a receive that fails changes nothing.
    fn take(&self, patience: Patience) -> Result<Message, RecvError> {
        let _receiving = self.common.receive()?;
        let attempt = recv_open::<R>(Arc::clone(&self.common));
        let (route, message) = self
            .core
            .wait(ONLY_RECV, patience, attempt)
            .map_err(|failure| self.core.recv_error(failure))?;
        *self.current.lock() = Some(route);
        self.common.tell_watches(&self.core);
        Ok(message)
    }

    fn recv_async(&self) -> impl Future<Output = Result<Message, RecvError>> + Send + use<R> {
        let core = self.core.clone();
        let common = Arc::clone(&self.common);
        let current = Arc::clone(&self.current);
        async move {
            let _receiving = common.receive()?;
            let attempt = recv_open::<R>(Arc::clone(&common));
            let waiting = Waiting::new(&core, ONLY_RECV, attempt);
            let received = waiting.await;
            let (route, message) = received.map_err(|failure| core.recv_error(failure))?;
            *current.lock() = Some(route);
            common.tell_watches(&core);
            Ok(message)
        }
    }

    /// Answers. Whatever comes of it there is nothing to answer any more, unless it would only have
    /// had to wait and must not.
    fn send(&self, message: Message, patience: Patience) -> Result<(), SendError> {
        if self.core.is_forked() {
            return Err(SendError::Forked(message));
        }
        if self.common.is_closed() || self.core.is_closed() {
            return Err(SendError::Closed(message));
        }
        let Some(route) = self.current.lock().take() else {
            return Err(SendError::State(message));
        };
        let sent = match self.core.outgoing(&route, message.body()) {
            Ok(outgoing) => {
                let attempt = |answerer: &mut Answerer<R>, io: &mut SocketPort<'_>, now| {
                    if self.common.is_closed() {
                        return Err(SendRefusal::Closed);
                    }
                    outgoing.send(&route, answerer, io, now)
                };
                let sent = self.core.wait(route.interest(), patience, attempt);
                sent.map_err(|failure| self.core.send_error(&failure, message))
            }
            Err(excess) => Err(SendError::too_large(message, excess)),
        };
        if let Err(SendError::WouldBlock(_)) = &sent {
            self.current.lock().get_or_insert(route);
        }
        self.common.tell_watches(&self.core);
        sent
    }

    /// As `send`, but what a future that is dropped has not answered can still be answered.
    fn send_async(
        &self,
        message: Message,
    ) -> impl Future<Output = Result<(), SendError>> + Send + use<R> {
        let core = self.core.clone();
        let (common, current) = (Arc::clone(&self.common), Arc::clone(&self.current));
        async move {
            if core.is_forked() {
                return Err(SendError::Forked(message));
            }
            if common.is_closed() || core.is_closed() {
                return Err(SendError::Closed(message));
            }
            let Some(mut in_hand) = InHand::take(&core, &common, &current) else {
                return Err(SendError::State(message));
            };
            let sent = match core.outgoing(&in_hand.route, message.body()) {
                Ok(outgoing) => {
                    let attempt = |answerer: &mut Answerer<R>, io: &mut SocketPort<'_>, now| {
                        if common.is_closed() {
                            return Err(SendRefusal::Closed);
                        }
                        outgoing.send(&in_hand.route, answerer, io, now)
                    };
                    let sent = Waiting::new(&core, in_hand.route.interest(), attempt).await;
                    sent.map_err(|failure| core.send_error(&failure, message))
                }
                Err(excess) => Err(SendError::too_large(message, excess)),
            };
            in_hand.is_answered = true;
            sent
        }
    }

    /// What comes, each in the place of what was before. The one that receives, from its first poll on.
    #[cfg(feature = "futures")]
    fn stream(&self) -> crate::api::RecvStream<Message> {
        let (core, common) = (self.core.clone(), Arc::clone(&self.common));
        let current = Arc::clone(&self.current);
        let mut attempt = recv_open::<R>(Arc::clone(&common));
        let mut receiving = None;
        let receive = {
            let common = Arc::clone(&common);
            move |answerer: &mut Answerer<R>, io: &mut SocketPort<'_>, now| {
                if receiving.is_none() {
                    receiving = Some(common.receive().map_err(|_| RecvRefusal::State)?);
                }
                attempt(answerer, io, now)
            }
        };
        let wrap = move |(route, message)| {
            *current.lock() = Some(route);
            common.tell_watches(&core);
            message
        };
        crate::api::RecvStream::new(&self.core, ONLY_RECV, receive, wrap)
    }

    /// Shows whether there is something to answer, and room for an answer.
    fn watch_send(&self, beacon: Beacon) -> Watching {
        self.common.watched.store(true, Ordering::Release);
        let (common, current) = (Arc::clone(&self.common), Arc::clone(&self.current));
        self.core.watch(beacon, move |answerer, io| {
            let interest = current.lock().as_ref().map(Route::interest);
            common.is_closed() || interest.is_some_and(|interest| answerer.settle(interest, io))
        })
    }

    /// Shows whether there is something to receive.
    fn watch_recv(&self, beacon: Beacon) -> Watching {
        let common = Arc::clone(&self.common);
        self.core
            .watch(beacon, move |answerer, io| common.is_closed() || answerer.settle(ONLY_RECV, io))
    }

    /// Calls that wait look again, and see that the context is closed.
    fn close(&self) -> Result<(), Closed> {
        self.common.close()?;
        if self.core.is_forked() {
            return Ok(());
        }
        *self.current.lock() = None;
        // A call looks whether the context is closed, and goes to sleep, under the socket's lock:
        // once we have had the lock it has either seen that we are or can be woken.
        self.core.enter(|_| ());
        self.core.wake_all();
        Ok(())
    }
}

/// What a context is answering. Put back when that is given up, unless there is something newer.
struct InHand<'a, R: Role> {
    core: &'a Handle<Answerer<R>>,
    common: &'a Common,
    current: &'a Mutex<Option<Route>>,
    route: Route,
    is_answered: bool,
}

impl<'a, R: Role> InHand<'a, R> {
    fn take(
        core: &'a Handle<Answerer<R>>,
        common: &'a Common,
        current: &'a Mutex<Option<Route>>,
    ) -> Option<Self> {
        let route = current.lock().take()?;
        common.tell_watches(core);
        Some(Self { core, common, current, route, is_answered: false })
    }
}

impl<R: Role> Drop for InHand<'_, R> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.current.lock().get_or_insert_with(|| self.route.clone());
            self.common.tell_watches(self.core);
        }
    }
}

/// An answer that a context is sending: what `send_async` of a [`RepContext`] or a
/// [`RespondentContext`] yields.
///
/// Nothing happens before it is polled. Cancel-safe: dropped before it is ready it has not sent, and
/// what was to be answered can still be, unless the context has received something newer meanwhile.
/// Keeps the socket open, but not the context.
#[must_use = "futures do nothing unless they are polled"]
pub struct SendingAnswer(Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>);

impl Future for SendingAnswer {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for SendingAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendingAnswer").finish_non_exhaustive()
    }
}

/// Receives unless the context has been closed.
fn recv_open<R: Role>(
    common: Arc<Common>,
) -> impl FnMut(&mut Answerer<R>, &mut SocketPort<'_>, Instant) -> Result<(Route, Message), RecvRefusal>
{
    move |answerer, io, now| {
        if common.is_closed() {
            return Err(RecvRefusal::Closed);
        }
        answerer.recv(&(), now, io)
    }
}

/// The contexts that answer: REP and RESPONDENT.
macro_rules! answering_context {
    ($(#[$doc:meta])* $context:ident, $role:ty) => {
        $(#[$doc])*
        pub struct $context {
            answering: Answering<$role>,
            common: Arc<Common>,
        }

        context_calls!($context);

        impl $context {
            pub(in crate::api) fn new(core: &Handle<Answerer<$role>>) -> Self {
                let answering = Answering::new(core);
                let common = Arc::clone(&answering.common);
                Self { answering, common }
            }

            /// Answers what was received last, waiting for room up to the context's send timeout.
            ///
            /// Succeeds too when whoever asked has gone. Whatever the outcome, there is nothing to
            /// answer afterwards.
            ///
            /// # Errors
            ///
            /// `State` when there is nothing to answer; `TimedOut`, `Closed` or `TooLarge`; each with
            /// the message inside.
            pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
                let timeout = *self.common.send_timeout.lock();
                self.answering.send(message.into(), Patience::For(timeout))
            }

            /// Answers what was received last if there is room now; if not, it can still be answered.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send), with `WouldBlock` in place of `TimedOut`.
            pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
                self.answering.send(message.into(), Patience::None)
            }

            /// Answers what was received last, waiting for room up to `timeout`. Zero: one attempt;
            /// `Duration::MAX`: for ever.
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send).
            pub fn send_timeout(
                &self,
                message: impl Into<Message>,
                timeout: Duration,
            ) -> Result<(), SendError> {
                self.answering.send(message.into(), Patience::For(Some(timeout)))
            }

            /// Answers what was received last, waiting for room as a task. Has no timeout of its own.
            ///
            /// What is answered is what was received last when this is first polled. Cancel-safe: see
            /// [`SendingAnswer`].
            ///
            /// # Errors
            ///
            /// As [`send`](Self::send), without `TimedOut`.
            pub fn send_async(&self, message: impl Into<Message>) -> SendingAnswer {
                SendingAnswer(Box::pin(self.answering.send_async(message.into())))
            }

            /// Receives as a task. Has no timeout of its own.
            ///
            /// Cancel-safe: a future that is dropped before it is ready has received nothing.
            ///
            /// # Errors
            ///
            /// As [`recv`](Self::recv), without `TimedOut`.
            pub fn recv_async(
                &self,
            ) -> impl Future<Output = Result<Message, RecvError>> + Send + use<> {
                self.answering.recv_async()
            }

            /// What comes, as a stream: each item takes the place of the one before, and is what `send`
            /// answers. Ends when the context is closed.
            ///
            /// From its first poll until it ends or is dropped it is the one call that may receive on this
            /// context: others fail with `State`, and where another one was first, the stream ends at
            /// once. Only with the feature `futures`.
            #[cfg(feature = "futures")]
            pub fn stream(&self) -> crate::api::RecvStream<Message> {
                self.answering.stream()
            }

            /// How long a send of this context may wait, for later calls; `None`: for ever; zero: one
            /// attempt. Default: what the socket had when the context was made.
            pub fn set_send_timeout(&self, timeout: impl Into<Option<Duration>>) {
                *self.common.send_timeout.lock() = timeout.into();
            }

            /// How long a send of this context may wait.
            pub fn get_send_timeout(&self) -> Option<Duration> {
                *self.common.send_timeout.lock()
            }

            /// Closes the context: calls that wait end with `Closed`. Other contexts go on. Dropping it
            /// does the same.
            ///
            /// # Errors
            ///
            /// [`Closed`] if it was closed before.
            pub fn close(&self) -> Result<(), Closed> {
                self.answering.close()
            }

            send_readiness!();

            fn take(&self, patience: Patience) -> Result<Message, RecvError> {
                self.answering.take(patience)
            }
        }

        impl WatchRecv for $context {
            fn watch_recv(&self, beacon: Beacon) -> Watching {
                self.answering.watch_recv(beacon)
            }
        }

        impl WatchSend for $context {
            fn watch_send(&self, beacon: Beacon) -> Watching {
                self.answering.watch_send(beacon)
            }
        }
    };
}

answering_context! {
    /// One conversation of a [`Rep`](crate::Rep): `recv` a request, `send` its reply.
    ///
    /// Another successful `recv` takes the place of a request that was not answered. Source: semantics
    /// specification, sections 5.2 and 12.
    RepContext, protocol::ToRequests
}

answering_context! {
    /// One conversation of a [`Respondent`](crate::Respondent): `recv` a survey, `send` an answer.
    ///
    /// Another successful `recv` takes the place of a survey that was not answered. Source: semantics
    /// specification, sections 9.2 and 12.
    RespondentContext, protocol::ToSurveys
}
