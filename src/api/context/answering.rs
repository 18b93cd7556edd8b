//! The contexts that answer: those of REP and RESPONDENT.
//!
//! Owns the request that such a context has received and not answered yet. A newer request replaces it, and a
//! send that was given up puts it back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

use super::{Context, Keeps, Opens, Receivers, Shared};
use crate::api::poller::WatchSend;
use crate::api::recv::ONLY_RECV;
use crate::api::role::{self, AnsweringProtocol, Answers, Engine};
#[cfg(feature = "futures")]
use crate::api::stream::RecvStream;
use crate::error::SendError;
use crate::message::Message;
use crate::protocol::{Interest, Protocol, RecvRefusal, Route, SendRefusal};
use crate::socket::outgoing::Outgoing;
use crate::socket::wait::{Operation, Patience};
use crate::socket::watch::{Beacon, Readiness, Watching};
use crate::socket::{Core, Handle, SocketPort};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Rank};

/// One conversation of a [`Rep`](crate::Rep): `recv` a request, `send` its reply.
///
/// Another successful `recv` replaces a request that was not answered.
///
/// The rules in full: [semantics, 5.2](crate::spec::semantics#52-rep) and
/// [semantics, 12](crate::spec::semantics#12-contexts).
pub type RepContext = Context<role::Rep, Answering>;

/// One conversation of a [`Respondent`](crate::Respondent): `recv` a survey, `send` an answer.
///
/// Another successful `recv` replaces a survey that was not answered.
///
/// The rules in full: [semantics, 9.2](crate::spec::semantics#92-respondent) and
/// [semantics, 12](crate::spec::semantics#12-contexts).
pub type RespondentContext = Context<role::Respondent, Answering>;

/// The kind of a context that answers: it receives a request or survey, and sends the answer.
#[derive(Debug)]
pub struct Answering {
    /// The way back for what was received and has no answer yet.
    current: Mutex<Option<Route>>,
    /// Whether anybody watches whether there is something to answer.
    watched: AtomicBool,
}

impl<P: AnsweringProtocol> Keeps<P> for Answering {
    type Progress = ();

    fn interest(&self) -> Interest {
        ONLY_RECV
    }

    /// Receives unless the context has been closed.
    fn attempt(
        shared: &Shared<Self>,
        (): &mut (),
        responder: &mut P,
        io: &mut SocketPort<'_>,
        now: Instant,
    ) -> Result<(Route, Message), RecvRefusal> {
        if shared.is_closed() {
            return Err(RecvRefusal::Closed);
        }
        responder.recv(&(), now, io)
    }

    /// Replaces what was received before; a receive that fails changes nothing.
    fn keep(&self, core: &Core<P>, (route, message): (Route, Message)) -> Message {
        *self.current.lock() = Some(route);
        self.tell_watches(core);
        message
    }

    fn watch_recv(shared: &Arc<Shared<Self>>, core: &Core<P>, beacon: Beacon) -> Watching {
        let shared = Arc::clone(shared);
        core.watch(beacon, move |responder, io| {
            shared.is_closed() || responder.poll_ready(ONLY_RECV, io)
        })
    }

    /// Wakes the calls that wait, which find the context closed.
    fn close(&self, core: &Core<P>) {
        if core.is_forked() {
            return;
        }
        *self.current.lock() = None;
        // A call checks whether the context is closed, and registers to sleep, under the socket's lock. Once
        // we have had the lock, each call has either seen that it is closed or can be woken.
        core.enter(|_| ());
        core.wake_all();
    }
}

impl Answering {
    /// Tells watches that there is something to answer, or is no longer, which the socket does not know.
    fn tell_watches<P: AnsweringProtocol>(&self, core: &Core<P>) {
        // Sees every watch that began before the change, since both took the lock of `current`.
        if self.watched.load(Ordering::Acquire) {
            core.tell_watches();
        }
    }
}

impl<R: Engine<Protocol: AnsweringProtocol>> Opens<Answering> for R {
    const RECEIVERS: Receivers = Receivers::One;

    fn open(_: &Handle<Self::Protocol>) -> Answering {
        Answering { current: Mutex::new(Rank::Answering, None), watched: AtomicBool::new(false) }
    }
}

/// The calls of a context that answers.
impl<R: Answers> Context<R, Answering> {
    /// Answers what was received last, waiting for room up to the context's send timeout.
    ///
    /// Succeeds even if the peer that asked is gone. Whatever the outcome, there is nothing left to answer
    /// afterwards.
    ///
    /// # Errors
    ///
    /// `State` if there is nothing to answer; `TimedOut`, `Closed` or `TooLarge`. Each gives the message back.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.answer(message.into(), Patience::For(self.shared.send_timeout.get()))
    }

    /// Answers what was received last if there is room now; if not, it can still be answered.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), with `WouldBlock` in place of `TimedOut`.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.answer(message.into(), Patience::None)
    }

    /// Answers what was received last, waiting for room up to `timeout`. Zero: one attempt;
    /// `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.answer(message.into(), Patience::For(Some(timeout)))
    }

    /// Answers what was received last, waiting for room as a task. Has no timeout of its own.
    ///
    /// Answers what was received last before the first poll. Cancel-safe: see [`SendingAnswer`].
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), without `TimedOut`.
    pub fn send_async(&self, message: impl Into<Message>) -> SendingAnswer {
        let answering = answer::<R>(self.core.clone(), Arc::clone(&self.shared), message.into());
        SendingAnswer(Box::pin(answering))
    }

    /// Whether a send would not have to wait, as a descriptor for event loops.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    #[doc(alias = "SNDFD")]
    pub fn send_readiness(&self) -> std::io::Result<Readiness> {
        Readiness::new(|beacon| self.watch_send(beacon))
    }

    /// Sets how long later sends of this context may wait. `None`: forever; zero: one attempt. Default: the
    /// socket's timeout when the context was made.
    pub fn set_default_send_timeout(&self, timeout: impl Into<Option<Duration>>) {
        self.shared.send_timeout.set(timeout.into());
    }

    /// How long a send of this context may wait.
    pub fn default_send_timeout(&self) -> Option<Duration> {
        self.shared.send_timeout.get()
    }

    /// Makes a stream of what is received. Each item replaces the one before, and is what `send` answers. Ends
    /// when the context is closed.
    ///
    /// From its first poll until it ends or is dropped, the stream is the one call that may receive on this
    /// context: others fail with `State`. If another call is receiving at the first poll, the stream ends at
    /// once. Only with the feature `futures`.
    #[cfg(feature = "futures")]
    pub fn stream(&self) -> RecvStream<Message> {
        self.arrivals()
    }

    /// Answers. There is nothing left to answer afterwards, unless the outcome is `WouldBlock`.
    fn answer(&self, mut message: Message, patience: Patience) -> Result<(), SendError> {
        let mut in_hand = match InHand::take(&self.core, &self.shared) {
            Ok(in_hand) => in_hand,
            Err(refusal) => return Err(refusal(message)),
        };
        let sent = match self.core.outgoing(&in_hand.route, message.body_mut()) {
            Ok(outgoing) => {
                let sent =
                    self.core.wait(in_hand.route.interest(), patience, in_hand.attempt(outgoing));
                sent.map_err(|failure| self.core.send_error(&failure, message))
            }
            Err(excess) => Err(SendError::too_large(message, excess)),
        };
        in_hand.is_answered = !matches!(sent, Err(SendError::WouldBlock(_)));
        sent
    }
}

/// As [`Context::answer`], but if the future is dropped before it has answered, the request can still be
/// answered.
async fn answer<R: Answers>(
    core: Handle<R::Protocol>,
    shared: Arc<Shared<Answering>>,
    mut message: Message,
) -> Result<(), SendError> {
    let mut in_hand = match InHand::take(&core, &shared) {
        Ok(in_hand) => in_hand,
        Err(refusal) => return Err(refusal(message)),
    };
    let sent = match core.outgoing(&in_hand.route, message.body_mut()) {
        Ok(outgoing) => {
            let attempt = in_hand.attempt(outgoing);
            let sent = Operation::new(&core, in_hand.route.interest(), attempt).await;
            sent.map_err(|failure| core.send_error(&failure, message))
        }
        Err(excess) => Err(SendError::too_large(message, excess)),
    };
    in_hand.is_answered = true;
    sent
}

impl<R: Answers> WatchSend for Context<R, Answering> {
    /// Shows whether there is something to answer, and room for an answer.
    fn watch_send(&self, beacon: Beacon) -> Watching {
        self.shared.kept.watched.store(true, Ordering::Release);
        let shared = Arc::clone(&self.shared);
        self.core.watch(beacon, move |responder, io| {
            let interest = shared.kept.current.lock().as_ref().map(Route::interest);
            shared.is_closed()
                || interest.is_some_and(|interest| responder.poll_ready(interest, io))
        })
    }
}

/// What a context is answering. Put back if it was not answered, unless the context has received something
/// newer.
struct InHand<'a, P: AnsweringProtocol> {
    core: &'a Core<P>,
    shared: &'a Shared<Answering>,
    route: Route,
    is_answered: bool,
}

impl<'a, P: AnsweringProtocol> InHand<'a, P> {
    /// Takes what there is to answer. If there is nothing, returns the error that gives the answer back.
    fn take(
        core: &'a Core<P>,
        shared: &'a Shared<Answering>,
    ) -> Result<Self, fn(Message) -> SendError> {
        if core.is_forked() {
            return Err(SendError::Forked);
        }
        let current = shared.kept.current.lock().take();
        let Some(route) = current else {
            let is_closed = shared.is_closed() || core.is_closed();
            return Err(match is_closed {
                true if core.is_lost() => SendError::RuntimeLost,
                true => SendError::Closed,
                false => SendError::State,
            });
        };
        shared.kept.tell_watches(core);
        Ok(Self { core, shared, route, is_answered: false })
    }

    /// What a send of the answer tries: it answers unless the context has been closed.
    fn attempt(
        &self,
        mut answer: Outgoing<'_>,
    ) -> impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<(), SendRefusal> {
        move |responder, io, now| {
            if self.shared.is_closed() {
                return Err(SendRefusal::Closed);
            }
            answer.send(&self.route, responder, io, now)
        }
    }
}

impl<P: AnsweringProtocol> Drop for InHand<'_, P> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.shared.kept.current.lock().get_or_insert_with(|| self.route.clone());
            self.shared.kept.tell_watches(self.core);
        }
    }
}

/// An answer that a context is sending: the future of `send_async` of a [`RepContext`] or a
/// [`RespondentContext`].
///
/// Nothing happens before the first poll. Cancel-safe: a future that is dropped before it is ready has not
/// sent, and the request can still be answered, unless the context has received something newer meanwhile.
/// Keeps the socket open, but not the context.
#[must_use = "futures do nothing unless they are polled"]
pub struct SendingAnswer(Pin<Box<dyn Future<Output = Result<(), SendError>> + Send>>);

impl Future for SendingAnswer {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for SendingAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendingAnswer").finish_non_exhaustive()
    }
}
