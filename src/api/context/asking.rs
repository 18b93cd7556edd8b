//! The contexts that ask: those of REQ and SURVEYOR.
//!
//! Owns what such a context keeps, the number of its conversation.

use std::time::{Duration, Instant};

use super::conversing::AskingProtocol;
use super::{Context, Keeps, Opens, Receivers, Shared, take};
use crate::api::poller::WatchSend;
use crate::api::role::{self, Asks, Converses, NoRecv, NoSend};
use crate::api::socket::Socket;
#[cfg(feature = "futures")]
use crate::api::stream::RecvStream;
use crate::error::{OptionError, RecvError, SendError};
use crate::message::Message;
use crate::options::{Options, Resends};
use crate::protocol::{self, Conversation, Interest, Protocol, RecvRefusal};
use crate::socket::wait::Patience;
use crate::socket::watch::{Beacon, Readiness, Watching};
use crate::socket::{Core, Handle, SocketPort};
use crate::sync::Arc;

/// One conversation of a [`Req`](crate::Req): `send` a request, `recv` its reply.
///
/// A request that times out in `recv` stays: a later `recv` can still get its reply. Sending again
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
/// At the deadline `recv` is `TimedOut`, once; after that it is `State`. A receive timeout does not
/// end the survey.
///
/// The rules in full: [semantics, 9.1](crate::spec::semantics#91-surveyor) and
/// [semantics, 12](crate::spec::semantics#12-contexts).
pub type SurveyorContext = Context<role::Surveyor, Asking>;

/// A context asks: it sends a request or a survey, and receives what is answered.
#[derive(Debug)]
pub struct Asking {
    conversation: Conversation,
}

impl<P: AskingProtocol> Keeps<P> for Asking {
    fn interest(&self) -> Interest {
        self.conversation.interest()
    }

    /// Receives for what the conversation has asked when the receive begins; a newer question cancels it.
    fn attempt(
        shared: &Arc<Shared<Self>>,
    ) -> impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<Message, RecvRefusal>
    + Send
    + Unpin
    + 'static
    + use<P> {
        let conversation = shared.kept.conversation;
        let mut awaited = None;
        move |protocol, io, now| {
            let awaited = match awaited {
                Some(awaited) => awaited,
                None => *awaited.insert(protocol.awaited(conversation)?),
            };
            protocol.recv(&awaited, now, io)
        }
    }

    fn keep(&self, _: &Core<P>, received: Message) -> Message {
        received
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
    /// A conversation of its own, with the classic calls `send` and `recv`. Has the socket's options as they
    /// are now: timeouts, resend interval, deadline, storage. Of a closed socket it is closed.
    #[doc(alias("nng_ctx_open"))]
    pub fn context(&self) -> Context<R> {
        Context::new(&self.core)
    }
}

/// The calls of a context that asks.
impl<R: Asks> Context<R, Asking> {
    /// Sends. Never waits. What the context sent before is given up: its answers are dropped,
    /// and a receive that waits for them is `Canceled`.
    ///
    /// # Errors
    ///
    /// `Closed` or `TooLarge`, with the message inside.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let conversation = self.shared.kept.conversation;
        let interest = conversation.interest();
        self.core.send(interest, Patience::None, &conversation, message.into())?;
        // All calls that wait, wait for what is given up now; there may be many.
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

impl Asks for role::Req {}

impl Converses for role::Req {
    type Kind = Asking;
}

impl Opens<Asking> for role::Req {
    const RECEIVERS: Receivers = Receivers::One;

    fn open(core: &Handle<protocol::Req>) -> Asking {
        let resends = core.with_options(Options::resends);
        Asking { conversation: core.enter(|entry| entry.parts().0.open(resends)) }
    }

    fn take(
        core: &Core<Self::Protocol>,
        shared: &Arc<Shared<Asking>>,
        patience: Patience,
    ) -> Result<Message, RecvError> {
        take(core, shared, Self::RECEIVERS, patience)
    }
}

impl Asks for role::Surveyor {}

impl Converses for role::Surveyor {
    type Kind = Asking;
}

impl Opens<Asking> for role::Surveyor {
    const RECEIVERS: Receivers = Receivers::Many;

    fn open(core: &Handle<protocol::Surveyor>) -> Asking {
        let settings = core.options().settings();
        let (deadline, storage) = (settings.survey_deadline, settings.survey_storage);
        Asking { conversation: core.enter(|entry| entry.parts().0.open(deadline, storage)) }
    }

    fn take(
        core: &Core<Self::Protocol>,
        shared: &Arc<Shared<Asking>>,
        patience: Patience,
    ) -> Result<Message, RecvError> {
        take(core, shared, Self::RECEIVERS, patience)
    }
}

/// The calls of a context of a REQ only.
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
        self.configure(|req, conversation, _| {
            req.change_resends(conversation, |resends| resends.interval = interval);
        });
        Ok(())
    }

    /// How often later requests of this context may be sent again; `None`: no limit; zero: never. See
    /// [`Options::max_resends`](crate::Options::max_resends). Without effect on one that is closed.
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
    /// The answers to the survey that was sent last before the first of them is asked for, as a stream.
    /// It ends as [`recv`](Self::recv) fails: at the deadline, which is told to nobody else then, when a
    /// newer survey takes over, or when the context is closed; at once where there is no survey.
    ///
    /// Dropping it ends neither the survey nor the context. Only with the feature `futures`.
    #[cfg(feature = "futures")]
    pub fn stream(&self) -> RecvStream<Message> {
        self.arrivals()
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
        self.configure(|surveyor, conversation, _| {
            surveyor.set_deadline(conversation, deadline);
        });
        Ok(())
    }
}
