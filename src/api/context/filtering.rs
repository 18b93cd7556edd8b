//! The context of SUB, which filters.
//!
//! Owns what it keeps: the number of its conversation, which has its topics and its queue of messages.

use std::time::Instant;

use super::{Context, Keeps, Opens, Receivers, Shared};
use crate::api::iter::{IntoIter, Iter, Iterated, TryIter};
use crate::api::observe::Sealed;
use crate::api::role;
#[cfg(feature = "futures")]
use crate::api::stream::RecvStream;
use crate::error::{Closed, OptionError, UnsubscribeError};
use crate::message::Message;
use crate::options::{Conflate, Keep, Options};
use crate::protocol::{self, Conversation, Interest, Protocol, RecvRefusal};
use crate::socket::wait::Patience;
use crate::socket::watch::{Beacon, Watching};
use crate::socket::{Core, Handle, SocketPort};
use crate::sync::Arc;

/// A set of subscriptions on a [`Sub`](crate::Sub), with a queue of messages of its own.
///
/// A new context has no topics, and copies the timeouts and queue options of the socket; later changes of one
/// do not reach the other. Any number of threads may receive at once.
///
/// The rules in full: [semantics, 8.1](crate::spec::semantics#81-sub) and
/// [semantics, 12](crate::spec::semantics#12-contexts).
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
pub type SubContext = Context<role::Sub, Filtering>;

/// The kind of a context that filters: it receives the messages that begin with its topics.
#[derive(Debug)]
pub struct Filtering {
    conversation: Conversation,
}

impl Keeps<protocol::Sub> for Filtering {
    type Memo = ();

    fn interest(&self) -> Interest {
        self.conversation.interest()
    }

    fn attempt(
        shared: &Shared<Self>,
        (): &mut (),
        sub: &mut protocol::Sub,
        io: &mut SocketPort<'_>,
        now: Instant,
    ) -> Result<Message, RecvRefusal> {
        sub.recv(&shared.kept.conversation, now, io)
    }

    fn watch_recv(
        shared: &Arc<Shared<Self>>,
        core: &Core<protocol::Sub>,
        beacon: Beacon,
    ) -> Watching {
        core.watch_interest(shared.kept.conversation.interest(), beacon)
    }

    fn close(&self, core: &Core<protocol::Sub>) {
        core.close_conversation(self.conversation);
    }
}

impl Opens<Filtering> for role::Sub {
    const RECEIVERS: Receivers = Receivers::Many;

    fn open(core: &Handle<protocol::Sub>) -> Filtering {
        let keep = core.with_options(Options::keep);
        Filtering { conversation: core.enter(|entry| entry.parts().0.open(keep)) }
    }
}

/// The calls of a context of a SUB only.
impl SubContext {
    /// As [`Sub::subscribe`](crate::Sub::subscribe), for this context.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn subscribe(&self, topic: impl AsRef<[u8]>) -> Result<(), Closed> {
        self.core.subscribe(self.shared.kept.conversation, topic.as_ref())
    }

    /// As [`Sub::unsubscribe`](crate::Sub::unsubscribe), for this context.
    ///
    /// # Errors
    ///
    /// [`UnsubscribeError::NotSubscribed`]: there is no such subscription, and nothing changes; or
    /// the context is closed.
    pub fn unsubscribe(&self, topic: impl AsRef<[u8]>) -> Result<(), UnsubscribeError> {
        self.core.unsubscribe(self.shared.kept.conversation, topic.as_ref())
    }

    /// Iterates over received messages, waiting for each, until the context or the socket is closed. The
    /// receive timeout has no effect.
    ///
    /// The iterator receives nothing ahead of `next`, so dropping it loses nothing.
    pub fn iter(&self) -> Iter<'_, Self> {
        Iter::of(self)
    }

    /// Iterates over the messages that are there now, without waiting: ends where `try_recv` fails.
    pub fn try_iter(&self) -> TryIter<'_, Self> {
        TryIter::of(self)
    }

    /// Makes a stream of received messages. Only with the feature `futures`.
    #[cfg(feature = "futures")]
    pub fn stream(&self) -> RecvStream<Message> {
        self.arrivals()
    }

    /// Sets how many messages of this context may wait to be received, 1 to 8192; see
    /// [`Options::sub_queue`](crate::Options::sub_queue). Has no effect on a closed context.
    ///
    /// # Errors
    ///
    /// [`OptionError::Invalid`]: the number is out of range.
    pub fn set_sub_queue(&self, messages: usize) -> Result<(), OptionError> {
        Options::new().sub_queue(messages).check(&protocol::Sub::KIND)?;
        self.keep(|keep| keep.queue = Some(messages));
        Ok(())
    }

    /// Sets how many bytes of this context may wait to be received, at least 1; see
    /// [`Options::sub_queue_bytes`](crate::Options::sub_queue_bytes). Without effect on one that is closed.
    ///
    /// # Errors
    ///
    /// [`OptionError::Invalid`]: the number is zero.
    pub fn set_sub_queue_bytes(&self, bytes: usize) -> Result<(), OptionError> {
        Options::new().sub_queue_bytes(bytes).check(&protocol::Sub::KIND)?;
        self.keep(|keep| keep.bytes = Some(bytes));
        Ok(())
    }

    /// Sets which message a full queue drops, and whether it may hold up the publishers first; see
    /// [`Options::prefer_new`](crate::Options::prefer_new).
    pub fn set_prefer_new(&self, yes: bool) {
        self.keep(|keep| keep.prefer_new = Some(yes));
    }

    /// Sets the key of which only the newest message is kept, also among those already queued; see
    /// [`Options::conflate`](crate::Options::conflate).
    pub fn set_conflate(&self, key: impl Into<Option<Conflate>>) {
        let key = key.into();
        self.keep(|keep| keep.conflate = key);
    }

    fn keep(&self, change: impl FnOnce(&mut Keep)) {
        let change = |sub: &mut protocol::Sub, conversation, io: &mut SocketPort<'_>| {
            sub.change(conversation, change, io);
        };
        self.core.configure(self.shared.kept.conversation, change);
    }
}

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
