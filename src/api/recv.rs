//! Receiving: the forms of `recv`, for all sockets that receive.
//!
//! Owns those calls and what they yield: a message, or a message with the right to answer it.

use std::future::Future;
use std::time::{Duration, Instant};

use super::iter::{IntoIter, Iter, Iterated, TryIter};
use super::poller::WatchRecv;
use super::role::{CanRecv, Engine, Receives};
use super::socket::Socket;
#[cfg(feature = "futures")]
use super::stream::RecvStream;
use crate::error::{Call, RecvError};
use crate::message::Message;
use crate::protocol::{Conversation, Interest, Protocol, RecvRefusal};
use crate::socket::wait::{Failure, Operation, Outcome, Patience};
use crate::socket::watch::{Beacon, Readiness, Watching};
use crate::socket::{Core, Handle, SocketPort};

/// The calls of a socket that receives, from whomever its protocol chooses.
///
/// They yield an `R::Item`: a [`Message`], or from a [`Rep`](crate::Rep) a [`Request`](crate::Request) and
/// from a [`Respondent`](crate::Respondent) a [`Question`](crate::Question), which are messages with the
/// right to answer them.
impl<R: Receives, S> Socket<R, S, CanRecv<R::Item>> {
    /// Receives the next message, waiting up to the receive timeout. Any number of threads and tasks may
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
    pub fn recv(&self) -> Result<R::Item, RecvError> {
        self.take(Patience::AsSet)
    }

    /// Receives the next message if there is one now.
    ///
    /// # Errors
    ///
    /// `WouldBlock` or `Closed`.
    #[doc(alias("NN_DONTWAIT", "NNG_FLAG_NONBLOCK", "ZMQ_DONTWAIT"))]
    pub fn try_recv(&self) -> Result<R::Item, RecvError> {
        self.take(Patience::None)
    }

    /// Receives the next message, waiting up to `timeout`. Zero: one attempt; `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// `TimedOut` or `Closed`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<R::Item, RecvError> {
        self.take(Patience::For(Some(timeout)))
    }

    /// Receives the next message, waiting as a task. Has no timeout of its own.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has received nothing.
    ///
    /// # Errors
    ///
    /// `Closed`.
    #[doc(alias("nng_socket_recv", "nng_recv_aio"))]
    pub fn recv_async(
        &self,
    ) -> impl Future<Output = Result<R::Item, RecvError>> + Send + use<R, S> {
        let core = self.core.clone();
        async move {
            let received = Operation::new(&core, interest::<R>(), attempt::<R>()).await;
            received
                .map(|received| R::Item::of(&core, received))
                .map_err(|failure| core.recv_error(failure))
        }
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

    /// Makes a stream of received messages, which ends when the socket is closed. Only with the feature
    /// `futures`.
    #[cfg(feature = "futures")]
    pub fn stream(&self) -> RecvStream<R::Item> {
        let core = self.core.clone();
        let wrap = move |received| R::Item::of(&core, received);
        RecvStream::new(&self.core, interest::<R>(), attempt::<R>(), wrap)
    }

    /// Iterates over received messages, waiting for each, until the socket is closed. The receive timeout has
    /// no effect.
    ///
    /// The iterator receives nothing ahead of `next`, so dropping it loses nothing.
    pub fn iter(&self) -> Iter<'_, Self> {
        Iter::of(self)
    }

    /// Iterates over the messages that are there now, without waiting: ends where `try_recv` fails.
    pub fn try_iter(&self) -> TryIter<'_, Self> {
        TryIter::of(self)
    }

    #[inline]
    fn take(&self, patience: Patience) -> Result<R::Item, RecvError> {
        R::take(&self.core, patience)
    }
}

/// Compiles the whole receive of a role in this crate, together with the rings.
///
/// `roles!` implements it for each role with the same line, [`take`]. A generic function would be compiled in
/// the crate that calls it, where none of its callees can be inlined, and where the message would be moved once
/// more.
pub(crate) trait Takes<T>: Engine {
    fn take(core: &Handle<Self::Protocol>, patience: Patience) -> Result<T, RecvError>;
}

/// What [`Takes`] does for each role.
#[inline(always)]
pub(super) fn take<R: Receives>(
    core: &Handle<R::Protocol>,
    patience: Patience,
) -> Result<R::Item, RecvError> {
    core.take(patience).map(|received| R::Item::of(core, received))
}

impl<P: Protocol<From: PlainFrom, Received: Outcome>> Core<P> {
    /// Receives on the socket itself.
    #[inline]
    fn take(&self, patience: Patience) -> Result<P::Received, RecvError> {
        let from = P::From::of_socket();
        let attempt =
            |protocol: &mut P, io: &mut SocketPort<'_>, now| protocol.recv(&from, now, io);
        self.wait_or(from.interest(), patience, attempt, |failure| self.recv_error(failure))
    }
}

/// What a receive on a socket waits for.
fn interest<R: Receives>() -> Interest {
    <R::Protocol as Protocol>::From::of_socket().interest()
}

/// One attempt to receive on a socket.
fn attempt<R: Receives>()
-> impl FnMut(&mut R::Protocol, &mut SocketPort<'_>, Instant) -> Result<Received<R>, RecvRefusal> {
    let from = PlainFrom::of_socket();
    move |protocol, io, now| protocol.recv(&from, now, io)
}

/// What a protocol yields when a socket of this role receives.
pub(crate) type Received<R> = <<R as Engine>::Protocol as Protocol>::Received;

/// What a receive on the socket itself asks for.
pub(crate) trait PlainFrom: Send + Unpin + 'static {
    fn of_socket() -> Self;

    fn interest(&self) -> Interest;
}

/// Whatever comes.
impl PlainFrom for () {
    #[inline(always)]
    fn of_socket() -> Self {}

    #[inline(always)]
    fn interest(&self) -> Interest {
        ONLY_RECV
    }
}

/// The subscriptions of the socket itself.
impl PlainFrom for Conversation {
    #[inline(always)]
    fn of_socket() -> Self {
        Self::FIRST
    }

    #[inline(always)]
    fn interest(&self) -> Interest {
        (*self).interest()
    }
}

/// What a receive waits for where there is only one thing to wait for.
pub(super) const ONLY_RECV: Interest = Interest::RECV;

/// What a program gets for what a protocol yields.
pub(crate) trait Yields<R: Engine>: Send + Sized + 'static {
    fn of(core: &Handle<R::Protocol>, received: Received<R>) -> Self;
}

/// The message itself.
impl<R: Engine<Protocol: Protocol<Received = Self>>> Yields<R> for Message {
    #[inline(always)]
    fn of(_: &Handle<R::Protocol>, received: Self) -> Self {
        received
    }
}

impl<R: Receives, S> WatchRecv for Socket<R, S, CanRecv<R::Item>> {
    fn watch_recv(&self, beacon: Beacon) -> Watching {
        self.core.watch_interest(interest::<R>(), beacon)
    }
}

impl<R: Receives, S> Iterated for Socket<R, S, CanRecv<R::Item>> {
    type Item = R::Item;

    fn next(&self) -> Option<R::Item> {
        self.take(Patience::For(None)).ok()
    }

    fn try_next(&self) -> Option<R::Item> {
        self.take(Patience::None).ok()
    }
}

impl<'a, R: Receives<Item = T>, S: 'static, T: Yields<R>> IntoIterator
    for &'a Socket<R, S, CanRecv<R::Item>>
{
    type Item = R::Item;
    type IntoIter = Iter<'a, Socket<R, S, CanRecv<R::Item>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<R: Receives, S> IntoIterator for Socket<R, S, CanRecv<R::Item>> {
    type Item = R::Item;
    type IntoIter = IntoIter<Self>;

    fn into_iter(self) -> IntoIter<Self> {
        IntoIter::of(self)
    }
}

impl<P: Protocol> Core<P> {
    pub(in crate::api) fn recv_error(&self, failure: Failure<RecvRefusal>) -> RecvError {
        let waited = match failure {
            Failure::Closed | Failure::Refused(RecvRefusal::Closed) => return RecvError::Closed,
            Failure::Forked => return RecvError::Forked,
            Failure::Lost => return RecvError::RuntimeLost,
            Failure::Interrupted => return RecvError::Interrupted,
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

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::thread;
    use std::time::Duration;

    use crate::{Message, Options, Pull, Push, RecvError};

    /// How long the call waits that is not woken.
    const WAIT: Duration = Duration::from_millis(100);
    /// The call may see the message right before it sleeps. Try again then, at most this often.
    const TRIES: usize = 50;

    /// Lets a message come to a call that waits for `WAIT`; `forgotten`: without waking it.
    fn receive(forgotten: bool) -> thread::Result<Result<Message, RecvError>> {
        let pull = Pull::with_options(Options::new().name("sleeper")).unwrap();
        let (push, name) = (Push::new(), format!("inproc://overslept-{forgotten}"));
        pull.bind(&name).unwrap();
        push.connect(&name).unwrap();
        let bell = &pull.core.bell;
        thread::scope(|scope| {
            let call = || catch_unwind(AssertUnwindSafe(|| pull.recv_timeout(WAIT)));
            let call = scope.spawn(call);
            while !bell.signal.is_awaited() && !call.is_finished() {
                thread::yield_now();
            }
            if forgotten {
                bell.duties.lose_next_wake();
            }
            push.send("message").unwrap();
            call.join().unwrap()
        })
    }

    /// g08.
    #[test]
    fn a_call_that_nobody_wakes_for_its_message_panics_when_its_time_is_over() {
        let panic = (0..TRIES).find_map(|_| receive(true).err()).expect("nobody has noticed");
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.starts_with("sleeper has overslept: a call that waited for Recv("), "{text}");
    }

    #[test]
    fn a_call_that_is_woken_or_times_out_does_not_panic() {
        for _ in 0..TRIES {
            let outcome = receive(false).expect("it was woken, or its time was over before");
            assert!(matches!(outcome, Ok(_) | Err(RecvError::TimedOut(_))));
        }
    }
}
