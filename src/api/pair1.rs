//! PAIR v1 as a program sees it, with one peer and with many.
//!
//! Owns [`Pair1`], and [`PolyPair1`] with the calls that name a peer.

use std::pin::Pin;

use super::prelude::*;
use crate::protocol::Polyamorous;

/// PAIR v1: as [`Pair`](crate::Pair), with a count of hops that ends loops of devices.
///
/// It does not talk to [`Pair`](crate::Pair), which is PAIR v0, the only PAIR of nanomsg. A message that has
/// come over more than [`Options::ttl`] hops is dropped and counted.
///
/// The rules in full: [semantics, 4](crate::spec::semantics#4-pair).
///
/// ```
/// let (left, right) = (sinew::Pair1::new(), sinew::Pair1::new());
/// left.bind("inproc://pair1-doc")?;
/// right.connect("inproc://pair1-doc")?;
/// left.send("ping")?;
/// assert_eq!(right.recv()?, "ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It has no contexts:
///
/// ```compile_fail,E0599
/// # // C192.
/// sinew::Pair1::new().context();
/// ```
#[doc(alias("nng_pair1_open"))]
pub type Pair1 = Socket<role::Pair1, CanSend, CanRecv<Message>>;

/// PAIR v1 in polyamorous mode: any number of peers, each addressed by its pipe.
///
/// The peers are ordinary [`Pair1`] sockets. A received message says on which pipe it came, and
/// [`send_to`](Self::send_to) sends there. A plain `send` goes to the peer that has been connected longest. A
/// send waits until the first peer has connected. After that, a message whose peer is gone or has a full queue
/// is dropped and counted, and the send succeeds. With [`Overflow::Wait`](crate::Overflow::Wait) the send waits
/// for room instead, as long as its peer is there.
///
/// The rules in full: [semantics, 4.3](crate::spec::semantics#43-v1-polyamorous).
///
/// ```
/// let (hub, spoke) = (sinew::PolyPair1::new(), sinew::Pair1::new());
/// hub.bind("inproc://poly-doc")?;
/// spoke.connect("inproc://poly-doc")?;
/// spoke.send("hello")?;
/// let hello = hub.recv()?;
/// hub.send_to(hello.pipe().unwrap(), "hello yourself")?;
/// assert_eq!(spoke.recv()?, "hello yourself");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("nng_pair1_open_poly"))]
pub type PolyPair1 = Socket<role::PolyPair1, CanSend, CanRecv<Message>>;

impl Configured for Polyamorous {
    fn with_options(options: &Options) -> Self {
        Self::new(options.settings().ttl, options.overflow_of(&Self::KIND))
    }

    fn follow(&mut self, options: &Options, port: &mut SocketPort<'_>) {
        self.set_ttl(options.settings().ttl);
        self.set_overflow(options.overflow_of(&Self::KIND), port);
    }
}

impl PolyPair1 {
    /// Sends to the peer on `pipe`. If the peer has no room, the message is dropped and counted; with
    /// [`Overflow::Wait`](crate::Overflow::Wait) the send waits, up to the send timeout.
    ///
    /// Succeeds even if the peer is gone, or goes meanwhile: the message is then dropped and counted as
    /// [`PeerGone`](crate::DropReason::PeerGone). A send that waits for one peer does not hold up sends to
    /// another.
    ///
    /// # Errors
    ///
    /// `TimedOut`, `Closed` or `TooLarge`; each gives the message back.
    ///
    /// ```
    /// use sinew::{Options, Overflow, Pair1, PolyPair1, SendError};
    ///
    /// let waits = Options::new().overflow(Overflow::Wait).send_queue(1);
    /// let (hub, spoke) = (PolyPair1::with_options(waits)?, Pair1::new());
    /// hub.bind("inproc://poly-wait-doc")?;
    /// spoke.connect_now("inproc://poly-wait-doc")?;
    /// let pipe = hub.peers()[0].pipe;
    /// while hub.try_send_to(pipe, "news").is_ok() {}
    /// spoke.recv()?;
    /// hub.send_to(pipe, "there is room again")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn send_to(&self, pipe: PipeId, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_by(pipe, Patience::AsSet, message.into())
    }

    /// As [`send_to`](Self::send_to), but never waits.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to), with `WouldBlock` in place of `TimedOut`.
    pub fn try_send_to(&self, pipe: PipeId, message: impl Into<Message>) -> Result<(), SendError> {
        self.send_by(pipe, Patience::None, message.into())
    }

    /// As [`send_to`](Self::send_to), waiting up to `timeout`. Zero: one attempt; `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to).
    pub fn send_to_timeout(
        &self,
        pipe: PipeId,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.send_by(pipe, Patience::For(Some(timeout)), message.into())
    }

    /// As [`send_to`](Self::send_to), waiting as a task. Has no timeout of its own.
    ///
    /// Sends nothing before the first poll. Cancel-safe: a future that is dropped before it is ready has not
    /// sent, and the message is dropped with it.
    ///
    /// # Errors
    ///
    /// As [`send_to`](Self::send_to), without `TimedOut`.
    pub fn send_to_async(&self, pipe: PipeId, message: impl Into<Message>) -> SendingTo {
        SendingTo(Sending::new(Named { core: self.core.clone(), pipe }, message.into()))
    }

    fn send_by(&self, pipe: PipeId, patience: Patience, message: Message) -> Result<(), SendError> {
        let to = Some(pipe);
        self.core.send(Polyamorous::interest(to), patience, &to, message)
    }
}

/// A message that is being sent to a named peer: the future of [`PolyPair1::send_to_async`].
///
/// A future that is dropped before it is ready has not sent. Keeps the socket open.
#[must_use = "futures do nothing unless they are polled"]
pub struct SendingTo(Sending<Named>);

impl Future for SendingTo {
    type Output = Result<(), SendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl fmt::Debug for SendingTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendingTo").finish_non_exhaustive()
    }
}

/// One of the peers, by name.
struct Named {
    core: Handle<Polyamorous>,
    pipe: PipeId,
}

impl SendsAsync for Named {}

impl PollSending for Named {
    fn poll_send(
        &self,
        message: &mut Option<Message>,
        wait: &mut TaskWait,
        cx: &mut task::Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        let to = Some(self.pipe);
        self.core.poll_send(Polyamorous::interest(to), |_| to, message, wait, cx)
    }

    fn leave(&self, wait: &mut TaskWait) {
        self.core.cancel_wait(wait);
    }
}
