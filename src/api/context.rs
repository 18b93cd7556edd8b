//! Contexts: the classic calls, one conversation each.
//!
//! Who comes from nanomsg or NNG finds here what they know: `send`, then `recv`, with the state errors
//! of those libraries where the order is wrong. A context is one conversation of its socket; contexts
//! of one socket do not disturb each other. The typed calls of the sockets (`request`, `reply`,
//! `survey`) are the same conversations with the wrong orders made impossible.
//!
//! Owns what contexts of all kinds have in common, and those of REQ, SURVEYOR and SUB; what they hold of
//! their sockets is in `conversing.rs`, the contexts of REP and RESPONDENT are in `answering.rs`.

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use super::iter::{IntoIter, Iter, Iterated, TryIter};
use super::observe::Sealed;
use super::poller::{WatchRecv, WatchSend};
use crate::error::Closed;
use crate::error::{OptionError, RecvError, SendError, UnsubscribeError};
use crate::message::Message;
use crate::options::{Conflate, Keep, Options, Resends};
use crate::protocol::{self, Conversation, Protocol, RecvRefusal};
use crate::socket::wait::{Patience, Waiting};
use crate::socket::watch::{Beacon, Readiness, Watching};
use crate::socket::{Core, Handle, SocketPort};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering};

mod conversing;

pub use answering::{RepContext, RespondentContext, SendingAnswer};
pub(crate) use conversing::{Asks, Conversing};

/// How many calls may receive on a context at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receivers {
    /// One: there is one reply, or one request in hand.
    One,
    /// Any number, served in order: a survey has many answers.
    Many,
}

/// What every context has: its timeouts, and who receives.
#[derive(Debug)]
struct Common {
    receivers: Receivers,
    closed: AtomicBool,
    receiving: AtomicBool,
    /// Somebody watches whether there is something to answer.
    watched: AtomicBool,
    send_timeout: Mutex<Option<Duration>>,
    recv_timeout: Mutex<Option<Duration>>,
}

impl Common {
    /// Timeouts are copied from the socket; later changes of one do not reach the other.
    fn new<P: Protocol>(core: &Core<P>, receivers: Receivers) -> Arc<Self> {
        let options = core.options();
        Arc::new(Self {
            receivers,
            closed: AtomicBool::new(false),
            receiving: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            send_timeout: Mutex::new(options.send_timeout),
            recv_timeout: Mutex::new(options.recv_timeout),
        })
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Marks the context closed; `Err` if it was.
    fn close(&self) -> Result<(), Closed> {
        if self.closed.swap(true, Ordering::AcqRel) { Err(Closed) } else { Ok(()) }
    }

    /// The right to receive, unless only one call may and another does.
    fn receive(self: &Arc<Self>) -> Result<Receiving, RecvError> {
        if self.is_closed() {
            return Err(RecvError::Closed);
        }
        if self.receivers == Receivers::Many {
            return Ok(Receiving(None));
        }
        match self.receiving.swap(true, Ordering::AcqRel) {
            true => Err(RecvError::State),
            false => Ok(Receiving(Some(Arc::clone(self)))),
        }
    }

    /// What there is to answer has changed, which the socket does not know of.
    fn tell_watches<P: Protocol>(&self, core: &Core<P>) {
        // Who began to watch before we changed it is seen, by way of the lock on what has changed.
        if self.watched.load(Ordering::Acquire) {
            core.tell_watches();
        }
    }
}

/// A call that receives; on a context that allows one, the one.
struct Receiving(Option<Arc<Common>>);

impl Drop for Receiving {
    fn drop(&mut self) {
        if let Some(common) = &self.0 {
            common.receiving.store(false, Ordering::Release);
        }
    }
}

/// The calls that a context of any kind has.
macro_rules! context_calls {
    ($context:ident) => {
        impl $context {
            /// Receives, waiting up to the context's receive timeout.
            ///
            /// # Errors
            ///
            /// `State` when there is nothing to receive for, or another call is receiving already (not
            /// with SURVEYOR and SUB, where any number of calls may receive at once, nor is there ever
            /// nothing to receive for with SUB);
            /// `TimedOut`; `Closed`; for REQ and SURVEYOR `Canceled` when a newer send takes over, and
            /// for REQ `ConnectionReset` with resending switched off, `BadReply`, and `GivenUp` with a
            /// limit to resending.
            pub fn recv(&self) -> Result<Message, RecvError> {
                let timeout = *self.common.recv_timeout.lock();
                self.take(Patience::For(timeout))
            }

            /// Receives if something is there.
            ///
            /// # Errors
            ///
            /// As [`recv`](Self::recv), with `WouldBlock` in place of `TimedOut`.
            pub fn try_recv(&self) -> Result<Message, RecvError> {
                self.take(Patience::None)
            }

            /// Receives, waiting up to `timeout`. Zero: one attempt; `Duration::MAX`: for ever.
            ///
            /// # Errors
            ///
            /// As [`recv`](Self::recv).
            pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
                self.take(Patience::For(Some(timeout)))
            }

            /// How long a receive of this context may wait, for later calls; `None`: for ever; zero: one
            /// attempt. Default: what the socket had when the context was made.
            pub fn set_recv_timeout(&self, timeout: impl Into<Option<Duration>>) {
                *self.common.recv_timeout.lock() = timeout.into();
            }

            /// How long a receive of this context may wait.
            pub fn get_recv_timeout(&self) -> Option<Duration> {
                *self.common.recv_timeout.lock()
            }

            /// Whether a receive would not have to wait, as a descriptor for event loops.
            ///
            /// A context that has asked nothing is not ready, though a receive fails at once with `State`;
            /// a survey that has reached its deadline is, until that was told.
            ///
            /// # Errors
            ///
            /// The process has no descriptor left.
            #[doc(alias = "RCVFD")]
            pub fn recv_readiness(&self) -> std::io::Result<Readiness> {
                Readiness::new(|beacon| self.watch_recv(beacon))
            }
        }

        /// Ends the futures that outlive the context.
        impl Drop for $context {
            fn drop(&mut self) {
                // Closed by hand before, perhaps.
                let _ = self.close();
            }
        }

        impl fmt::Debug for $context {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut debug = f.debug_struct(stringify!($context));
                debug.field("closed", &self.common.is_closed());
                debug.field("recv_timeout", &self.get_recv_timeout()).finish_non_exhaustive()
            }
        }
    };
}

/// What is said of the readiness of contexts.
macro_rules! send_readiness {
    () => {
        /// Whether a send would not have to wait, as a descriptor for event loops.
        ///
        /// # Errors
        ///
        /// The process has no descriptor left.
        #[doc(alias = "SNDFD")]
        pub fn send_readiness(&self) -> std::io::Result<Readiness> {
            Readiness::new(|beacon| self.watch_send(beacon))
        }
    };
}

// Here, since it uses the macros above.
mod answering;

/// The calls of a context that is a conversation: `$attempt` makes what a receive tries.
macro_rules! conversation_calls {
    ($context:ident, $attempt:ident) => {
        impl $context {
            /// Receives as a task. Has no timeout of its own.
            ///
            /// Cancel-safe: a future that is dropped before it is ready has received nothing.
            ///
            /// # Errors
            ///
            /// As [`recv`](Self::recv), without `TimedOut` for a timeout.
            pub fn recv_async(
                &self,
            ) -> impl Future<Output = Result<Message, RecvError>> + Send + use<> {
                let core = self.conversing.core.clone();
                let conversation = self.conversing.conversation;
                let common = Arc::clone(&self.common);
                async move {
                    let _receiving = common.receive()?;
                    let waiting =
                        Waiting::new(&core, conversation.interest(), $attempt(conversation));
                    waiting.await.map_err(|failure| core.recv_error(failure))
                }
            }

            /// Closes the context: calls that wait end with `Closed`, what it sent is given up, and
            /// what it has not received dropped and counted. Other contexts go on. Dropping it does the
            /// same.
            ///
            /// # Errors
            ///
            /// [`Closed`] if it was closed before.
            pub fn close(&self) -> Result<(), Closed> {
                self.common.close()?;
                self.conversing.close();
                Ok(())
            }

            fn take(&self, patience: Patience) -> Result<Message, RecvError> {
                let _receiving = self.common.receive()?;
                let Conversing { core, conversation, .. } = &self.conversing;
                core.wait(conversation.interest(), patience, $attempt(*conversation))
                    .map_err(|failure| core.recv_error(failure))
            }
        }

        impl WatchRecv for $context {
            fn watch_recv(&self, beacon: Beacon) -> Watching {
                let Conversing { core, conversation, .. } = &self.conversing;
                core.watch_interest(conversation.interest(), beacon)
            }
        }
    };
}

/// The contexts that ask: REQ and SURVEYOR.
macro_rules! asking_context {
    ($(#[$doc:meta])* $context:ident, $protocol:ty, $receivers:expr, $open:expr) => {
        $(#[$doc])*
        pub struct $context {
            conversing: Conversing<$protocol>,
            common: Arc<Common>,
        }

        context_calls!($context);
        conversation_calls!($context, recv_turn);

        impl $context {
            pub(super) fn new(core: &Handle<$protocol>) -> Self {
                let options = core.options();
                let open: fn(&mut $protocol, &crate::options::Options) -> Conversation = $open;
                let conversation = core.enter(|entry| open(entry.parts().0, &options));
                let common = Common::new(core, $receivers);
                // A context of a closed socket is a closed context.
                common.closed.store(core.is_closed(), Ordering::Release);
                Self { conversing: Conversing::new(core, conversation), common }
            }

            /// Sends. Never waits. What the context sent before is given up: its answers are dropped,
            /// and a receive that waits for them is `Canceled`.
            ///
            /// # Errors
            ///
            /// `Closed` or `TooLarge`, with the message inside.
            pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
                let Conversing { core, conversation, .. } = &self.conversing;
                let interest = conversation.interest();
                core.send(interest, Patience::None, conversation, message.into())?;
                // All calls that wait, wait for what is given up now; there may be many.
                self.conversing.wake_every();
                Ok(())
            }

            send_readiness!();
        }

        /// It never has to wait.
        impl WatchSend for $context {
            fn watch_send(&self, beacon: Beacon) -> Watching {
                self.conversing.core.watch(beacon, |_, _| true)
            }
        }
    };
}

/// Receives for what the conversation has asked when the receive begins; a newer question cancels it.
fn recv_turn<P: Asks>(
    conversation: Conversation,
) -> impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<Message, RecvRefusal> {
    let mut turn = None;
    move |protocol, io, now| {
        let turn = match turn {
            Some(turn) => turn,
            None => *turn.insert(protocol.turn(conversation)?),
        };
        protocol.recv(&turn, now, io)
    }
}

asking_context! {
    /// One conversation of a [`Req`](crate::Req): `send` a request, `recv` its reply.
    ///
    /// A request that times out in `recv` stays: a later `recv` can still get its reply. Sending again
    /// gives it up. Source: semantics specification, sections 5.1 and 12.
    ///
    /// ```
    /// let req = sinew::Req::new();
    /// let context = req.context();
    /// assert_eq!(context.recv(), Err(sinew::RecvError::State)); // nothing asked yet
    /// context.send("held until a peer is there")?;
    /// assert_eq!(context.try_recv(), Err(sinew::RecvError::WouldBlock));
    /// # Ok::<(), sinew::SendError>(())
    /// ```
    ReqContext, protocol::Req, Receivers::One, |req, options| req.open(options.resends())
}

impl ReqContext {
    /// After how long without a reply later requests of this context are sent again; `None`: never.
    /// Without effect on one that is closed.
    ///
    /// # Errors
    ///
    /// [`OptionError::Invalid`]: zero.
    pub fn set_resend_interval(
        &self,
        interval: impl Into<Option<Duration>>,
    ) -> Result<(), OptionError> {
        let interval = interval.into();
        Options::new().resend_interval(interval).check(&protocol::Req::KIND)?;
        self.conversing.configure(|req, conversation, _| {
            req.change_resends(conversation, |resends| resends.interval = interval);
        });
        Ok(())
    }

    /// How often later requests of this context may be sent again; `None`: no limit; zero: never. See
    /// [`Options::max_resends`](crate::Options::max_resends). Without effect on one that is closed.
    pub fn set_max_resends(&self, times: impl Into<Option<u32>>) {
        let limit = times.into();
        self.conversing.configure(|req, conversation, _| {
            req.change_resends(conversation, |resends| {
                resends.limit = limit.unwrap_or(Resends::NO_LIMIT);
            });
        });
    }
}

asking_context! {
    /// One conversation of a [`Surveyor`](crate::Surveyor): `send` a survey, `recv` its answers.
    ///
    /// At the deadline `recv` is `TimedOut`, once; after that it is `State`. A receive timeout does not
    /// end the survey. Source: semantics specification, sections 9.1 and 12.
    SurveyorContext, protocol::Surveyor, Receivers::Many, |surveyor, options| {
        surveyor.open(options.get_survey_deadline(), options.get_survey_storage())
    }
}

impl SurveyorContext {
    /// The answers to the survey that was sent last before the first of them is asked for, as a stream.
    /// It ends as [`recv`](Self::recv) fails: at the deadline, which is told to nobody else then, when a
    /// newer survey takes over, or when the context is closed; at once where there is no survey.
    ///
    /// Dropping it ends neither the survey nor the context. Only with the feature `futures`.
    #[cfg(feature = "futures")]
    pub fn stream(&self) -> super::stream::RecvStream<Message> {
        let Conversing { core, conversation, .. } = &self.conversing;
        let attempt = recv_turn(*conversation);
        super::stream::RecvStream::new(core, conversation.interest(), attempt, |answer| answer)
    }

    /// How long later surveys of this context wait for answers; `None`: no end. Without effect on one that
    /// is closed.
    ///
    /// # Errors
    ///
    /// [`OptionError::Invalid`]: zero.
    pub fn set_survey_deadline(
        &self,
        deadline: impl Into<Option<Duration>>,
    ) -> Result<(), OptionError> {
        let deadline = deadline.into();
        Options::new().survey_deadline(deadline).check(&protocol::Surveyor::KIND)?;
        self.conversing.configure(|surveyor, conversation, _| {
            surveyor.set_deadline(conversation, deadline);
        });
        Ok(())
    }
}

/// Subscriptions of their own on a [`Sub`](crate::Sub), with their own queue of messages.
///
/// Begins without topics, and with the timeouts and queue of the socket as they are then; what is
/// changed later on either does not reach the other. Any number of threads may receive at once.
/// Source: semantics specification, sections 8.1 and 12.
///
/// ```
/// use std::time::Duration;
///
/// let (publisher, subscriber) = (sinew::Pub::new(), sinew::Sub::new());
/// let (weather, all) = (subscriber.context(), subscriber.context());
/// weather.subscribe("weather.")?;
/// all.subscribe("")?;
/// subscriber.bind("inproc://sub-context-doc")?;
/// publisher.connect("inproc://sub-context-doc")?;
/// publisher.wait_for_peers(1, Duration::from_secs(1))?;
/// publisher.send("traffic.quiet")?;
/// publisher.send("weather.sunny")?;
/// assert_eq!(weather.recv()?, "weather.sunny");
/// assert_eq!(all.recv()?, "traffic.quiet");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SubContext {
    conversing: Conversing<protocol::Sub>,
    common: Arc<Common>,
}

context_calls!(SubContext);
conversation_calls!(SubContext, recv_matching);

impl Sealed for SubContext {}

impl Iterated for SubContext {
    type Item = Message;

    fn next(&self) -> Option<Message> {
        self.take(Patience::For(None)).ok()
    }

    fn try_next(&self) -> Option<Message> {
        self.take(Patience::None).ok()
    }
}

impl<'a> IntoIterator for &'a SubContext {
    type Item = Message;
    type IntoIter = Iter<'a, SubContext>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for SubContext {
    type Item = Message;
    type IntoIter = IntoIter<Self>;

    fn into_iter(self) -> IntoIter<Self> {
        IntoIter::of(self)
    }
}

impl SubContext {
    pub(super) fn new(core: &Handle<protocol::Sub>) -> Self {
        let keep = core.with_options(Options::keep);
        let conversation = core.enter(|entry| entry.parts().0.open(keep));
        let common = Common::new(core, Receivers::Many);
        // A context of a closed socket is a closed context.
        common.closed.store(core.is_closed(), Ordering::Release);
        Self { conversing: Conversing::new(core, conversation), common }
    }

    /// As [`Sub::subscribe`](crate::Sub::subscribe), for this context.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn subscribe(&self, topic: impl AsRef<[u8]>) -> Result<(), Closed> {
        let Conversing { core, conversation, .. } = &self.conversing;
        core.subscribe(*conversation, topic.as_ref())
    }

    /// As [`Sub::unsubscribe`](crate::Sub::unsubscribe), for this context.
    ///
    /// # Errors
    ///
    /// [`UnsubscribeError::NotSubscribed`]: there is no such subscription, and nothing changes; or
    /// the context is closed.
    pub fn unsubscribe(&self, topic: impl AsRef<[u8]>) -> Result<(), UnsubscribeError> {
        let Conversing { core, conversation, .. } = &self.conversing;
        core.unsubscribe(*conversation, topic.as_ref())
    }

    /// Iterates over what is received, waiting for each, until the context or the socket is closed. The
    /// receive timeout has no effect.
    ///
    /// What has been received is not given back when the iterator is dropped, and nothing is received
    /// ahead.
    pub fn iter(&self) -> Iter<'_, Self> {
        Iter::of(self)
    }

    /// Iterates over what is there now, without waiting: ends where `try_recv` fails.
    pub fn try_iter(&self) -> TryIter<'_, Self> {
        TryIter::of(self)
    }

    /// The messages that come, as a stream. Only with the feature `futures`.
    #[cfg(feature = "futures")]
    pub fn stream(&self) -> super::stream::RecvStream<Message> {
        let Conversing { core, conversation, .. } = &self.conversing;
        let attempt = recv_matching(*conversation);
        super::stream::RecvStream::new(core, conversation.interest(), attempt, |message| message)
    }

    /// How many messages of this context may wait to be received, 1 to 8192; see
    /// [`Options::sub_queue`](crate::Options::sub_queue). Without effect on one that is closed.
    ///
    /// # Errors
    ///
    /// [`OptionError::Invalid`]: the number is out of range.
    pub fn set_sub_queue(&self, messages: usize) -> Result<(), OptionError> {
        Options::new().sub_queue(messages).check(&protocol::Sub::KIND)?;
        self.keep(|keep| keep.queue = Some(messages));
        Ok(())
    }

    /// Which message a full queue drops, and whether it may hold up the publishers first; see
    /// [`Options::prefer_new`](crate::Options::prefer_new).
    pub fn set_prefer_new(&self, yes: bool) {
        self.keep(|keep| keep.prefer_new = Some(yes));
    }

    /// Of which messages only the newest is kept, also among those that wait; see
    /// [`Options::conflate`](crate::Options::conflate).
    pub fn set_conflate(&self, key: impl Into<Option<Conflate>>) {
        let key = key.into();
        self.keep(|keep| keep.conflate = key);
    }

    fn keep(&self, change: impl FnOnce(&mut Keep)) {
        self.conversing.configure(|sub, conversation, io| sub.change(conversation, change, io));
    }
}

/// Receives what the context has subscribed to.
fn recv_matching(
    conversation: Conversation,
) -> impl FnMut(&mut protocol::Sub, &mut SocketPort<'_>, Instant) -> Result<Message, RecvRefusal> {
    move |sub, io, now| sub.recv(&conversation, now, io)
}

impl Core<protocol::Sub> {
    pub(super) fn subscribe(&self, of: Conversation, topic: &[u8]) -> Result<(), Closed> {
        self.enter(|entry| {
            if entry.is_closed() {
                return Err(Closed);
            }
            entry.parts().0.subscribe(of, topic)
        })
    }

    pub(super) fn unsubscribe(
        &self,
        of: Conversation,
        topic: &[u8],
    ) -> Result<(), UnsubscribeError> {
        self.enter(|entry| {
            if entry.is_closed() {
                return Err(UnsubscribeError::Closed);
            }
            let (sub, mut io, _) = entry.parts();
            sub.unsubscribe(of, topic, &mut io)
        })
    }
}
