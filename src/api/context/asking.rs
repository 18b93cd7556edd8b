//! The contexts that ask: those of REQ and SURVEYOR.
//!
//! Owns what such a context keeps: the number of its conversation.

use std::time::{Duration, Instant};

use super::conversing::AskingProtocol;
use super::{Context, Keeps, Opens, Receivers, Shared};
use crate::api::poller::WatchSend;
use crate::api::role::{self, Asks, NoRecv, NoSend};
use crate::api::socket::Socket;
#[cfg(feature = "futures")]
use crate::api::stream::RecvStream;
use crate::error::{OptionError, SendError};
use crate::message::Message;
use crate::options::{Options, Resends};
use crate::protocol::{self, Awaited, Conversation, Interest, Protocol, RecvRefusal};
use crate::socket::wait::Patience;
use crate::socket::watch::{Beacon, Readiness, Watching};
use crate::socket::{Core, Handle, SocketPort};
use crate::sync::Arc;

/// One conversation of a [`Req`](crate::Req): `send` a request, `recv` its reply.
///
/// A request stays under way when `recv` times out: a later `recv` can still get its reply. Sending again
/// gives it up.
///
/// The rules in full: [semantics, 5.1](crate::spec::semantics#51-req) and
/// [semantics, 12](crate::spec::semantics#12-contexts).
///
/// ```
/// let req = sinew::Req::new();
/// let context = req.context();
/// assert_eq!(context.recv(), Err(sinew::RecvError::State)); // nothing asked yet
/// context.send("held until a peer is there")?;
/// assert_eq!(context.try_recv(), Err(sinew::RecvError::WouldBlock));
/// # Ok::<(), sinew::SendError>(())
/// ```
pub type ReqContext = Context<role::Req, Asking>;

/// One conversation of a [`Surveyor`](crate::Surveyor): `send` a survey, `recv` its answers.
///
/// At the deadline `recv` fails once with `TimedOut`, and after that with `State`. A receive timeout does not
/// end the survey.
///
/// The rules in full: [semantics, 9.1](crate::spec::semantics#91-surveyor) and
/// [semantics, 12](crate::spec::semantics#12-contexts).
pub type SurveyorContext = Context<role::Surveyor, Asking>;

/// The kind of a context that asks: it sends a request or a survey, and receives what is answered.
#[derive(Debug)]
pub struct Asking {
    conversation: Conversation,
}

impl<P: AskingProtocol> Keeps<P> for Asking {
    /// What the receive waits for: what was asked last when it began.
    type Memo = Option<Awaited>;

    fn interest(&self) -> Interest {
        self.conversation.interest()
    }

    /// Receives the answer to what the conversation had asked when the receive began; a newer question cancels
    /// it.
    #[inline]
    fn attempt(
        shared: &Shared<Self>,
        awaited: &mut Option<Awaited>,
        protocol: &mut P,
        io: &mut SocketPort<'_>,
        now: Instant,
    ) -> Result<Message, RecvRefusal> {
        let awaited = match *awaited {
            Some(awaited) => awaited,
            None => *awaited.insert(protocol.awaited(shared.kept.conversation)?),
        };
        protocol.recv(&awaited, now, io)
    }

    fn watch_recv(shared: &Arc<Shared<Self>>, core: &Core<P>, beacon: Beacon) -> Watching {
        core.watch_interest(shared.kept.conversation.interest(), beacon)
    }

    fn close(&self, core: &Core<P>) {
        core.close_conversation(self.conversation);
    }
}

/// The calls of a socket that asks.
impl<R: Asks> Socket<R, NoSend, NoRecv> {
    /// Makes a context: a conversation of its own, with the classic calls `send` and `recv`. It copies the
    /// socket's options: timeouts, resend interval, deadline, storage. A context of a closed socket is closed.
    #[doc(alias("nng_ctx_open"))]
    pub fn context(&self) -> Context<R> {
        Context::new(self)
    }
}

/// The calls of a context that asks.
impl<R: Asks> Context<R, Asking> {
    /// Sends a request or survey. Never waits. Gives up what the context sent before: its answers are dropped,
    /// and a receive that waits for them fails with `Canceled`.
    ///
    /// # Errors
    ///
    /// `Closed` or `TooLarge`; each gives the message back.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let conversation = self.shared.kept.conversation;
        let interest = conversation.interest();
        self.core.send(interest, Patience::None, &conversation, message.into())?;
        // All calls that wait, perhaps many, wait for what is given up now.
        self.core.bell.signal.wake_every(interest);
        Ok(())
    }

    /// Whether a send would not have to wait, as a descriptor for event loops: it never has to.
    ///
    /// # Errors
    ///
    /// The process has no descriptor left.
    #[doc(alias = "SNDFD")]
    pub fn send_readiness(&self) -> std::io::Result<Readiness> {
        Readiness::new(|beacon| self.watch_send(beacon))
    }

    fn configure(&self, change: impl FnOnce(&mut R::Protocol, Conversation, &mut SocketPort<'_>)) {
        self.core.configure(self.shared.kept.conversation, change);
    }
}

impl<R: Asks> WatchSend for Context<R, Asking> {
    fn watch_send(&self, beacon: Beacon) -> Watching {
        self.core.watch(beacon, |_, _| true)
    }
}

impl Opens<Asking> for role::Req {
    const RECEIVERS: Receivers = Receivers::One;

    fn open(core: &Handle<protocol::Req>) -> Asking {
        let resends = core.with_options(Options::resends);
        Asking { conversation: core.enter(|entry| entry.parts().0.open(resends)) }
    }
}

impl Opens<Asking> for role::Surveyor {
    const RECEIVERS: Receivers = Receivers::Many;

    fn open(core: &Handle<protocol::Surveyor>) -> Asking {
        let settings = core.options().settings();
        let (deadline, storage) = (settings.survey_deadline, settings.survey_storage);
        Asking { conversation: core.enter(|entry| entry.parts().0.open(deadline, storage)) }
    }
}

/// The calls of a context of a REQ only.
impl ReqContext {
    /// Sets how long later requests of this context wait for a reply before they are sent again. `None`: they
    /// are never sent again. Has no effect on a closed context.
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
        self.configure(|req, conversation, _| {
            req.change_resends(conversation, |resends| resends.interval = interval);
        });
        Ok(())
    }

    /// Sets how often later requests of this context may be sent again. `None`: no limit; zero: never. See
    /// [`Options::max_resends`](crate::Options::max_resends). Has no effect on a closed context.
    pub fn set_max_resends(&self, times: impl Into<Option<u32>>) {
        let limit = times.into();
        self.configure(|req, conversation, _| {
            req.change_resends(conversation, |resends| {
                resends.limit = limit.unwrap_or(Resends::NO_LIMIT);
            });
        });
    }
}

/// The calls of a context of a SURVEYOR only.
impl SurveyorContext {
    /// Makes a stream of the answers to one survey: the last one sent before the first poll.
    ///
    /// The stream ends where [`recv`](Self::recv) would fail: at the deadline, which `recv` then no longer
    /// reports, when a newer survey takes over, or when the context is closed. Without a survey it ends at
    /// once. Dropping it ends neither the survey nor the context. Only with the feature `futures`.
    #[cfg(feature = "futures")]
    pub fn stream(&self) -> RecvStream<Message> {
        self.arrivals()
    }

    /// Sets how long later surveys of this context wait for answers. `None`: no end. Has no effect on a closed
    /// context.
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
        self.configure(|surveyor, conversation, _| {
            surveyor.set_deadline(conversation, deadline);
        });
        Ok(())
    }
}
