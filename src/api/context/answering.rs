//! The contexts that answer: those of REP and RESPONDENT.
//!
//! Owns the request that such a context has received and not answered yet. A newer request replaces it, and a
//! send that was given up puts it back.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Instant;

use super::{Context, Keeps, Opens, Receivers, Shared};
use crate::api::answer::give_up;
use crate::api::poller::WatchSend;
use crate::api::recv::ONLY_RECV;
use crate::api::role::{self, AnsweringProtocol, Answers, Engine};
#[cfg(feature = "futures")]
use crate::api::stream::RecvStream;
use crate::error::SendError;
use crate::message::Message;
use crate::protocol::{Interest, RecvRefusal, Route, SendRefusal};
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
    current: Mutex<Current>,
    /// Whether anybody watches whether there is something to answer.
    watched: AtomicBool,
}

/// What a context has in hand.
#[derive(Debug, Default)]
struct Current {
    route: Option<Route>,
    /// Whether the context is closed: it takes nothing in hand any more.
    is_closed: bool,
}

impl<P: AnsweringProtocol> Keeps<P> for Answering {
    type Memo = ();

    fn interest(&self) -> Interest {
        ONLY_RECV
    }

    /// Receives unless the context has been closed. Replaces what was received before; a receive that fails changes
    /// nothing.
    fn attempt(
        shared: &Shared<Self>,
        (): &mut (),
        responder: &mut P,
        io: &mut SocketPort<'_>,
        now: Instant,
    ) -> Result<Message, RecvRefusal> {
        if shared.is_closed() {
            return Err(RecvRefusal::Closed);
        }
        let (route, message) = match responder.recv(&(), now, io) {
            Err(RecvRefusal::WouldBlock) => shared.kept.recv_instead(responder, io, now)?,
            received => received?,
        };
        if let Some(given_up) = shared.kept.replace(route) {
            responder.give_up(&given_up, io);
        }
        Ok(message)
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
        // A call checks whether the context is closed, and registers to sleep, under the socket's lock. Once
        // we have had the lock, each call has either seen that it is closed or can be woken.
        core.enter(|_| ());
        core.wake_all();
        let given_up = {
            let mut current = self.current.lock();
            current.is_closed = true;
            current.route.take()
        };
        if let Some(route) = given_up {
            give_up(core, &route);
        }
    }
}

impl Answering {
    /// Takes what was received in hand. Returns what is to be given up.
    #[inline]
    fn replace(&self, route: Route) -> Option<Route> {
        let mut current = self.current.lock();
        if current.is_closed { Some(route) } else { current.route.replace(route) }
    }

    /// Receives in the place of what is in hand, if that has the only place that its pipe has.
    #[cold]
    fn recv_instead<P: AnsweringProtocol>(
        &self,
        responder: &mut P,
        io: &mut SocketPort<'_>,
        now: Instant,
    ) -> Result<(Route, Message), RecvRefusal> {
        let mut current = self.current.lock();
        let Some(route) = &current.route else { return Err(RecvRefusal::WouldBlock) };
        let received = responder.recv_instead(route, now, io)?;
        current.route = None;
        Ok(received)
    }

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
        let current = Mutex::new(Rank::Answering, Current::default());
        Answering { current, watched: AtomicBool::new(false) }
    }
}

/// The calls of a context that answers.
impl<R: Answers> Context<R, Answering> {
    /// Answers what was received last. Does not wait: there is a place for the answer, whatever its length.
    ///
    /// Succeeds even if the peer that asked is gone. Whatever the outcome, there is nothing left to answer
    /// afterwards.
    ///
    /// # Errors
    ///
    /// `State` if there is nothing to answer; `Closed`, `TooLarge` or `Forked`. Each gives the message back.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.answer(message.into())
    }

    /// As [`send`](Self::send), which does not wait either.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.answer(message.into())
    }

    /// As [`send`](Self::send), when the future is first polled, which it need not be again.
    ///
    /// Answers what was received last before the first poll. Cancel-safe: see [`SendingAnswer`].
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_async(&self, message: impl Into<Message>) -> SendingAnswer {
        let answering = answer::<R>(self.core.clone(), Arc::clone(&self.shared), message.into());
        SendingAnswer(Box::pin(answering))
    }

    /// Whether there is something to answer, as a descriptor for event loops.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    #[doc(alias = "SNDFD")]
    pub fn send_readiness(&self) -> std::io::Result<Readiness> {
        Readiness::new(|beacon| self.watch_send(beacon))
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

    /// Answers. There is nothing left to answer afterwards, whatever the outcome.
    fn answer(&self, mut message: Message) -> Result<(), SendError> {
        let (core, shared) = (&*self.core, &*self.shared);
        let Some(route) = take_in_hand(core, shared) else {
            return Err(refusal(core, shared, message));
        };
        let sent = match core.outgoing(&route, message.body_mut()) {
            Ok(outgoing) => {
                let attempt = attempt(shared, &route, outgoing);
                let sent = core.wait(Interest::SEND, Patience::None, attempt);
                sent.map_err(|failure| core.send_error(&failure, message))
            }
            Err(excess) => Err(SendError::too_large(message, excess)),
        };
        if sent.is_err() {
            give_up(core, &route);
        }
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
    let Some(route) = take_in_hand(&core, &shared) else {
        return Err(refusal(&core, &shared, message));
    };
    let in_hand = InHand { core: &core, shared: &shared, route, is_over: false };
    let sent = match core.outgoing(&in_hand.route, message.body_mut()) {
        Ok(outgoing) => {
            let attempt = attempt(&shared, &in_hand.route, outgoing);
            let sent = Operation::new(&core, Interest::SEND, attempt).await;
            sent.map_err(|failure| core.send_error(&failure, message))
        }
        Err(excess) => Err(SendError::too_large(message, excess)),
    };
    in_hand.end(sent.is_ok());
    sent
}

/// Takes what there is to answer; `None` if there is nothing.
#[inline]
fn take_in_hand<P: AnsweringProtocol>(core: &Core<P>, shared: &Shared<Answering>) -> Option<Route> {
    if core.is_forked() {
        return None;
    }
    let route = shared.kept.current.lock().route.take()?;
    shared.kept.tell_watches(core);
    Some(route)
}

/// The error that gives the answer back when there is nothing to answer.
#[cold]
fn refusal<P: AnsweringProtocol>(
    core: &Core<P>,
    shared: &Shared<Answering>,
    message: Message,
) -> SendError {
    let is_closed = shared.is_closed() || core.is_closed();
    match is_closed {
        _ if core.is_forked() => SendError::Forked(message),
        true if core.is_lost() => SendError::RuntimeLost(message),
        true => SendError::Closed(message),
        false => SendError::State(message),
    }
}

/// What a send of the answer tries: it answers unless the context has been closed.
#[inline(always)]
fn attempt<P: AnsweringProtocol>(
    shared: &Shared<Answering>,
    route: &Route,
    mut answer: Outgoing<'_>,
) -> impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<(), SendRefusal> {
    move |responder, io, now| {
        if shared.is_closed() {
            return Err(SendRefusal::Closed);
        }
        answer.send(route, responder, io, now)
    }
}

impl<R: Answers> WatchSend for Context<R, Answering> {
    /// Shows whether there is something to answer.
    fn watch_send(&self, beacon: Beacon) -> Watching {
        self.shared.kept.watched.store(true, Ordering::Release);
        let shared = Arc::clone(&self.shared);
        self.core.watch(beacon, move |_, _| {
            shared.is_closed() || shared.kept.current.lock().route.is_some()
        })
    }
}

/// What a future is answering. Put back if it was not answered, unless the context has received something
/// newer.
struct InHand<'a, P: AnsweringProtocol> {
    core: &'a Core<P>,
    shared: &'a Shared<Answering>,
    route: Route,
    is_over: bool,
}

impl<P: AnsweringProtocol> InHand<'_, P> {
    /// Notes that it was answered, or gives it up.
    fn end(mut self, is_answered: bool) {
        self.is_over = true;
        if !is_answered {
            give_up(self.core, &self.route);
        }
    }
}

impl<P: AnsweringProtocol> Drop for InHand<'_, P> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let is_put_back = {
            let mut current = self.shared.kept.current.lock();
            let is_free = current.route.is_none() && !current.is_closed;
            if is_free {
                current.route = Some(self.route.clone());
            }
            is_free
        };
        if !is_put_back {
            give_up(self.core, &self.route);
        }
        self.shared.kept.tell_watches(self.core);
    }
}

/// An answer that a context is sending: the future of `send_async` of a [`RepContext`] or a
/// [`RespondentContext`].
///
/// Nothing happens before the first poll, at which it is ready. A future that is dropped before has not sent, and
/// the request can still be answered.
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
