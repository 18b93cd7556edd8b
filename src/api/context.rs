//! Contexts: the classic calls, one conversation each.
//!
//! These are the calls of nanomsg and NNG: `send`, then `recv`, with the state errors of those libraries
//! where the order is wrong. A context is one conversation of its socket; contexts of one socket do not
//! disturb each other. The typed calls of the sockets (`request`, `reply`, `survey`) are the same
//! conversations, and rule out a wrong order.
//!
//! Owns what all contexts have in common. There are three kinds: contexts that ask (`asking.rs`), that answer
//! (`answering.rs`), and that filter, those of SUB (`filtering.rs`). `conversing.rs` has the conversation that
//! contexts and typed calls hold.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::{Duration, Instant};

use super::poller::WatchRecv;
use super::role::{Converses, Engine};
use super::socket::Socket;
#[cfg(feature = "futures")]
use super::stream::RecvStream;
use crate::error::{Closed, RecvError};
use crate::message::Message;
use crate::protocol::{Interest, Protocol, RecvRefusal};
use crate::socket::wait::{Operation, Patience};
use crate::socket::watch::{Beacon, Readiness, Watching};
use crate::socket::{Core, Handle, SocketPort, Timeout};
use crate::sync::{Arc, AtomicBool, Ordering};

mod answering;
mod asking;
mod conversing;
mod filtering;

pub use answering::{Answering, RepContext, RespondentContext, SendingAnswer};
pub use asking::{Asking, ReqContext, SurveyorContext};
pub use filtering::{Filtering, SubContext};

pub(crate) use conversing::{AskingProtocol, Conversing};

/// One conversation of a socket, with the classic calls; made by the socket's `context`.
///
/// Programs name contexts by aliases, one for each role: [`ReqContext`](crate::ReqContext),
/// [`RepContext`](crate::RepContext), [`SubContext`](crate::SubContext),
/// [`SurveyorContext`](crate::SurveyorContext), [`RespondentContext`](crate::RespondentContext). A function
/// over contexts of several roles takes a `Context<R>`: the parameter `K`, whether the context asks, answers or
/// filters, follows from the role; see [`role`](crate::role).
///
/// Keeps its socket open. Dropping it closes it, and not the socket.
#[expect(private_bounds, reason = "what a context keeps is nobody else's")]
pub struct Context<R: Converses, K: Keeps<R::Protocol> = <R as Converses>::Kind> {
    core: Handle<R::Protocol>,
    shared: Arc<Shared<K>>,
}

/// What a context shares with the futures and watches that may outlive it. It has no handle of the socket,
/// since a watch keeps no socket open.
#[derive(Debug)]
pub(crate) struct Shared<K> {
    /// What the kind of context keeps of its conversation.
    kept: K,
    closed: AtomicBool,
    receiving: AtomicBool,
    recv_timeout: Timeout,
}

/// How many calls may receive on a context at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receivers {
    /// One: there is one reply, or one request in hand.
    One,
    /// Any number, served in order: a survey has many answers.
    Many,
}

/// How a role begins a conversation.
pub(crate) trait Opens<K>: Engine {
    const RECEIVERS: Receivers;

    /// Opens a conversation, with the options in force.
    fn open(core: &Handle<Self::Protocol>) -> K;
}

/// How a role receives in a conversation.
pub(crate) trait TakesIn<K>: Opens<K> {
    /// Does what [`take`] does, compiled in this crate for the same reason as
    /// [`Takes`](super::recv::Takes).
    fn take(
        core: &Core<Self::Protocol>,
        shared: &Shared<K>,
        patience: Patience,
    ) -> Result<Message, RecvError>;
}

/// What a kind of context keeps of its conversation, and how it receives in it.
pub(crate) trait Keeps<P: Protocol>: Send + Sync + Sized + 'static {
    /// What one receive remembers from one attempt to the next.
    type Memo: Default + Send + Unpin + 'static;

    /// What a receive waits for.
    fn interest(&self) -> Interest;

    /// One attempt to receive. Keeps the part of what is received that the program does not get.
    fn attempt(
        shared: &Shared<Self>,
        memo: &mut Self::Memo,
        protocol: &mut P,
        io: &mut SocketPort<'_>,
        now: Instant,
    ) -> Result<Message, RecvRefusal>;

    /// Shows by `beacon` whether a receive would not have to wait.
    fn watch_recv(shared: &Arc<Shared<Self>>, core: &Core<P>, beacon: Beacon) -> Watching;

    /// Ends the conversation, once the context is marked closed.
    fn close(&self, core: &Core<P>);
}

/// The calls of every context.
impl<R: Converses> Context<R> {
    /// Makes a context of a socket of any role that has them. Where the role is known, `socket.context()` is the
    /// same, and its documentation says what a context of that role copies.
    ///
    /// ```
    /// use sinew::role::Converses;
    /// use sinew::{Context, Rep, Req, Socket};
    ///
    /// fn workers<R: Converses>(socket: &Socket<R>) -> [Context<R>; 4] {
    ///     [(); 4].map(|()| Context::new(socket))
    /// }
    ///
    /// let (asking, answering) = (workers(&Req::new()), workers(&Rep::new()));
    /// # let _ = (asking, answering);
    /// ```
    pub fn new(socket: &Socket<R>) -> Self {
        let core = &socket.core;
        let kept = R::open(core);
        let options = core.options();
        let shared = Shared {
            kept,
            // A context of a closed socket is a closed context.
            closed: AtomicBool::new(core.is_closed()),
            receiving: AtomicBool::new(false),
            recv_timeout: Timeout::new(options.recv_timeout),
        };
        Self { core: core.clone(), shared: Arc::new(shared) }
    }

    /// Receives, waiting up to the context's receive timeout.
    ///
    /// # Errors
    ///
    /// * `State`: the context has asked nothing whose answer could come (not with SUB), or another call is
    ///   already receiving on it (not with SURVEYOR and SUB, on which any number of calls may receive at
    ///   once).
    /// * `TimedOut`, `Closed`.
    /// * REQ and SURVEYOR: `Canceled` when a newer send takes over.
    /// * REQ: `ConnectionReset` with resending switched off, `BadReply`, and `GivenUp` with a limit to
    ///   resending.
    pub fn recv(&self) -> Result<Message, RecvError> {
        self.take(Patience::For(self.shared.recv_timeout.get()))
    }

    /// Receives if there is something to receive now.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), with `WouldBlock` in place of `TimedOut`.
    pub fn try_recv(&self) -> Result<Message, RecvError> {
        self.take(Patience::None)
    }

    /// Receives, waiting up to `timeout`. Zero: one attempt; `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
        self.take(Patience::For(Some(timeout)))
    }

    /// Receives as a task. Has no timeout of its own.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has received nothing.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), without `TimedOut` for a timeout.
    pub fn recv_async(&self) -> impl Future<Output = Result<Message, RecvError>> + Send + use<R> {
        let (core, shared) = (self.core.clone(), Arc::clone(&self.shared));
        async move {
            let _receiving = Receiving::begin(Arc::clone(&shared), R::RECEIVERS)?;
            let attempt = attempt(Arc::clone(&shared));
            let received = Operation::new(&core, shared.kept.interest(), attempt).await;
            received.map_err(|failure| core.recv_error(failure))
        }
    }

    /// Sets how long later receives of this context may wait. `None`: forever; zero: one attempt. Default: the
    /// socket's timeout when the context was made.
    pub fn set_default_recv_timeout(&self, timeout: impl Into<Option<Duration>>) {
        self.shared.recv_timeout.set(timeout.into());
    }

    /// How long a receive of this context may wait.
    pub fn default_recv_timeout(&self) -> Option<Duration> {
        self.shared.recv_timeout.get()
    }

    /// Whether a receive would not have to wait, as a descriptor for event loops.
    ///
    /// A context that has asked nothing is not ready, though a receive fails at once with `State`. A survey
    /// that has reached its deadline is ready until a receive has reported that.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    #[doc(alias = "RCVFD")]
    pub fn recv_readiness(&self) -> std::io::Result<Readiness> {
        Readiness::new(|beacon| self.watch_recv(beacon))
    }

    /// Closes the context: calls that wait end with `Closed`, its request or survey is given up, and its unread
    /// messages are dropped and counted. Other contexts go on. Dropping it does the same.
    ///
    /// # Errors
    ///
    /// [`Closed`] if it was closed before.
    pub fn close(&self) -> Result<(), Closed> {
        self.shared.close(&self.core)
    }

    fn take(&self, patience: Patience) -> Result<Message, RecvError> {
        R::take(&self.core, &self.shared, patience)
    }

    /// A stream of what is received. If only one call may receive, the stream is that call from its first poll
    /// on.
    #[cfg(feature = "futures")]
    fn arrivals(&self) -> RecvStream<Message> {
        let shared = Arc::clone(&self.shared);
        let mut attempt = attempt(Arc::clone(&shared));
        let mut receiving = None;
        let receive = move |protocol: &mut R::Protocol, io: &mut SocketPort<'_>, now| {
            if receiving.is_none() {
                let right = Receiving::begin(Arc::clone(&shared), R::RECEIVERS);
                receiving = Some(right.map_err(|_| RecvRefusal::State)?);
            }
            attempt(protocol, io, now)
        };
        RecvStream::new(&self.core, self.shared.kept.interest(), receive, |message| message)
    }
}

/// Receives in the conversation of a context.
pub(super) fn take<P, K>(
    core: &Core<P>,
    shared: &Shared<K>,
    receivers: Receivers,
    patience: Patience,
) -> Result<Message, RecvError>
where
    P: Protocol,
    K: Keeps<P>,
{
    let _receiving = Receiving::begin(shared, receivers)?;
    let fail = |failure| core.recv_error(failure);
    core.wait_or(shared.kept.interest(), patience, attempt(shared), fail)
}

/// What a receive in the conversation of a context tries.
#[inline(always)]
fn attempt<P: Protocol, K: Keeps<P>>(
    shared: impl Deref<Target = Shared<K>>,
) -> impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<Message, RecvRefusal> {
    let mut memo = K::Memo::default();
    move |protocol, io, now| K::attempt(&shared, &mut memo, protocol, io, now)
}

impl<K> Shared<K> {
    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn close<P: Protocol>(&self, core: &Core<P>) -> Result<(), Closed>
    where
        K: Keeps<P>,
    {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Err(Closed);
        }
        self.kept.close(core);
        Ok(())
    }
}

/// A call that receives: the only one, if the context allows but one.
struct Receiving<K, S: Deref<Target = Shared<K>>>(Option<S>, PhantomData<fn() -> K>);

impl<K, S: Deref<Target = Shared<K>>> Receiving<K, S> {
    /// Begins to receive, unless only one call may and another does.
    #[inline]
    fn begin(shared: S, receivers: Receivers) -> Result<Self, RecvError> {
        if shared.is_closed() {
            return Err(RecvError::Closed);
        }
        if receivers == Receivers::Many {
            return Ok(Self(None, PhantomData));
        }
        if shared.receiving.swap(true, Ordering::AcqRel) {
            Err(RecvError::State)
        } else {
            Ok(Self(Some(shared), PhantomData))
        }
    }
}

impl<K, S: Deref<Target = Shared<K>>> Drop for Receiving<K, S> {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.receiving.store(false, Ordering::Release);
        }
    }
}

impl<R: Converses> WatchRecv for Context<R> {
    fn watch_recv(&self, beacon: Beacon) -> Watching {
        R::Kind::watch_recv(&self.shared, &self.core, beacon)
    }
}

/// Ends the futures that outlive the context.
impl<R: Converses, K: Keeps<R::Protocol>> Drop for Context<R, K> {
    fn drop(&mut self) {
        // The program may have closed it already.
        let _ = self.shared.close(&self.core);
    }
}

impl<R: Converses, K: Keeps<R::Protocol>> fmt::Debug for Context<R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct(&format!("{}Context", R::NAME));
        debug.field("closed", &self.shared.is_closed());
        debug.field("recv_timeout", &self.shared.recv_timeout.get()).finish_non_exhaustive()
    }
}
