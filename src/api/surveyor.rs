//! SURVEYOR as a program sees it.
//!
//! Owns [`Surveyor`] and the [`Survey`], which is a conversation that ends when it is dropped.

use std::time::Instant;

use super::iter::{Iterated, TryIter};
use super::observe::Sealed;
use super::prelude::*;
use crate::api::context::Conversing;
use crate::protocol::{Awaited, Conversation, RecvRefusal};
use crate::random;
use crate::socket::wait::{Failure, Operation};

/// SURVEYOR: asks all peers, and collects answers until a deadline.
///
/// A survey goes to every respondent that is connected when it is sent; sending never waits. Any
/// number of surveys may run at once, from any threads; each gets its own answers.
///
/// The rules in full: [semantics, 9.1](crate::spec::semantics#91-surveyor).
///
/// ```
/// use std::time::Duration;
///
/// let options = sinew::Options::new().survey_deadline(Duration::from_millis(50));
/// let surveyor = sinew::Surveyor::with_options(options)?;
/// surveyor.bind("inproc://surveyor-doc")?;
/// let answers: Vec<_> = surveyor.survey("who is there?")?.collect();
/// assert!(answers.is_empty()); // nobody is
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It asks with `survey`, and the [`Survey`] receives the answers:
///
/// ```compile_fail,E0277
/// sinew::Surveyor::new().send("who is there?");
/// ```
/// ```compile_fail,E0277
/// sinew::Surveyor::new().recv();
/// ```
#[doc(alias("NN_SURVEYOR", "nng_surveyor0_open"))]
pub type Surveyor = Socket<role::Surveyor, NoSend, NoRecv>;

impl Configured for protocol::Surveyor {
    fn with_options(options: &Options) -> Self {
        let overflow = options.overflow_of(&Self::KIND);
        Self::new(random::number(), overflow)
    }

    fn follow(&mut self, options: &Options, port: &mut SocketPort<'_>) {
        self.set_overflow(options.overflow_of(&Self::KIND), port);
    }
}

impl Surveyor {
    /// Sends a survey to all connected peers. Never waits, and succeeds without a peer. The survey has the
    /// deadline and the storage of the [`Options`] in force.
    ///
    /// # Errors
    ///
    /// `Closed` or `TooLarge`; each gives the message back.
    #[doc(alias("ask", "nn_send", "nng_send"))]
    pub fn survey(&self, message: impl Into<Message>) -> Result<Survey, SendError> {
        let mut message = message.into();
        let mut outgoing = match self.core.outgoing(&Conversation::FIRST, message.body_mut()) {
            Ok(outgoing) => outgoing,
            Err(excess) => return Err(SendError::too_large(message, excess)),
        };
        let settings = self.core.options().settings();
        let opened = self.core.enter(|entry| {
            if entry.is_closed() {
                return None;
            }
            let (surveyor, mut io, now) = entry.parts();
            let conversation = surveyor.open(settings.survey_deadline, settings.survey_storage);
            // A SURVEYOR accepts every survey: peers that it cannot reach do not get it.
            outgoing.send(&conversation, surveyor, &mut io, now).ok()?;
            let ends = settings.survey_deadline.and_then(|deadline| now.checked_add(deadline));
            Some((conversation, surveyor.awaited(conversation).ok()?, ends))
        });
        let Some((conversation, awaited, deadline)) = opened else {
            return Err(if self.core.is_forked() {
                SendError::Forked(message)
            } else if self.core.is_lost() {
                SendError::RuntimeLost(message)
            } else {
                SendError::Closed(message)
            });
        };
        let conversing = Conversing::new(&self.core, conversation);
        Ok(Survey { conversing, awaited, deadline })
    }
}

/// A survey under way: yields answers until its deadline.
///
/// As an iterator it ends at the deadline, or when the socket is closed. Dropping it ends the survey;
/// answers that come later are dropped and counted. Keeps the socket open.
#[must_use = "the survey ends when this is dropped"]
pub struct Survey {
    conversing: Conversing<protocol::Surveyor>,
    awaited: Awaited,
    deadline: Option<Instant>,
}

impl Survey {
    /// When the survey ends; `None`: it has no end.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Receives the next answer, waiting up to the receive timeout, at most until the deadline.
    ///
    /// # Errors
    ///
    /// `TimedOut` after either; `Closed`. A receive timeout does not end the survey.
    pub fn recv(&self) -> Result<Message, RecvError> {
        self.receive(Patience::AsSet)
    }

    /// Receives the next answer if there is one now.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut` after the deadline, or `Closed`.
    pub fn try_recv(&self) -> Result<Message, RecvError> {
        self.receive(Patience::None)
    }

    /// Receives the next answer, waiting up to `timeout`, at most until the deadline. Zero: one attempt.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
        self.receive(Patience::For(Some(timeout)))
    }

    /// Receives the next answer as a task, waiting until the deadline.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has received nothing.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the deadline, or `Closed`.
    pub fn recv_async(&self) -> impl Future<Output = Result<Message, RecvError>> + Send + use<> {
        let (core, awaited) = (self.conversing.core().clone(), self.awaited);
        async move {
            let attempt = move |p: &mut protocol::Surveyor, io: &mut SocketPort<'_>, now| {
                p.recv(&awaited, now, io)
            };
            let received = Operation::new(&core, awaited.interest(), attempt).await;
            received.map_err(|failure| survey_error(&core, failure))
        }
    }

    /// Whether there is an answer, or the survey is over, as a descriptor for event loops.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    #[doc(alias = "RCVFD")]
    pub fn recv_readiness(&self) -> std::io::Result<Readiness> {
        Readiness::new(|beacon| self.watch_recv(beacon))
    }

    /// Turns the survey into a stream of its answers, which ends with the survey. Dropping it ends the survey.
    /// Only with the feature `futures`.
    #[cfg(feature = "futures")]
    pub fn into_stream(self) -> RecvStream<Message> {
        let (core, awaited) = (self.conversing.core().clone(), self.awaited);
        let attempt = move |p: &mut protocol::Surveyor, io: &mut SocketPort<'_>, now| {
            p.recv(&awaited, now, io)
        };
        let wrap = move |answer| {
            // Keeps the survey going for as long as the stream lives.
            let _under_way = &self;
            answer
        };
        RecvStream::new(&core, awaited.interest(), attempt, wrap)
    }

    /// Iterates over the answers that are there now, without waiting: ends where `try_recv` fails.
    pub fn try_iter(&self) -> TryIter<'_, Self> {
        TryIter::of(self)
    }

    fn receive(&self, patience: Patience) -> Result<Message, RecvError> {
        let (core, awaited) = (self.conversing.core(), self.awaited);
        let attempt =
            |p: &mut protocol::Surveyor, io: &mut SocketPort<'_>, now| p.recv(&awaited, now, io);
        core.wait(awaited.interest(), patience, attempt)
            .map_err(|failure| survey_error(core, failure))
    }
}

impl Sealed for Survey {}

impl Iterated for Survey {
    type Item = Message;

    fn next(&self) -> Option<Message> {
        self.receive(Patience::For(None)).ok()
    }

    fn try_next(&self) -> Option<Message> {
        self.receive(Patience::None).ok()
    }
}

impl WatchRecv for Survey {
    fn watch_recv(&self, beacon: Beacon) -> Watching {
        let awaited = self.awaited;
        self.conversing.core().watch(beacon, move |surveyor, _| surveyor.has_news(&awaited))
    }
}

impl Iterator for Survey {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.receive(Patience::For(None)).ok()
    }
}

impl fmt::Debug for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Survey").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// A survey that is over, in whatever way, has timed out.
fn survey_error(core: &Core<protocol::Surveyor>, failure: Failure<RecvRefusal>) -> RecvError {
    core.recv_error(match failure {
        Failure::Refused(_) => Failure::Refused(RecvRefusal::Expired),
        failure => failure,
    })
}
