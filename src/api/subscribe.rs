//! SUB as a program sees it.
//!
//! Owns [`Sub`] and its calls for subscribing. The socket has a conversation of its own, as each context has.

use super::prelude::*;
use crate::api::context::{Context, SubContext};
use crate::error::UnsubscribeError;
use crate::protocol::Conversation;

/// SUB: receives the messages of its PUB peers that begin with a topic to which it has subscribed.
///
/// Without a subscription it receives nothing; every message begins with the empty topic. A message is
/// received once, however many topics it begins with. The socket receives from its peers in turn, and from
/// each in order. Unread messages wait in a queue of [`Options::sub_queue`]. To get only the newest, however
/// slow the program is, see [`Options::prefer_new`] and [`Options::conflate`].
///
/// The rules in full: [semantics, 3.2](crate::spec::semantics#32-fair-queue) and
/// [semantics, 8.1](crate::spec::semantics#81-sub).
///
/// ```
/// use std::time::Duration;
///
/// let (publisher, subscriber) = (sinew::Pub::new(), sinew::Sub::new());
/// publisher.bind("inproc://sub-doc")?;
/// subscriber.connect("inproc://sub-doc")?;
/// publisher.wait_for_peers(1, Duration::from_secs(1))?;
/// subscriber.subscribe("a")?;
/// subscriber.subscribe("b")?;
/// subscriber.unsubscribe("a")?;
/// publisher.send("apple")?;
/// publisher.send("banana")?;
/// assert_eq!(subscriber.recv()?, "banana");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot send:
///
/// ```compile_fail,E0277
/// # // C152.
/// sinew::Sub::new().send("banana");
/// ```
#[doc(alias("NN_SUB", "nng_sub0_open", "ZMQ_SUB", "subscriber"))]
pub type Sub = Socket<role::Sub, NoSend, CanRecv<Message>>;

/// The socket's own topics and messages.
const OWN: Conversation = Conversation::FIRST;

impl Configured for protocol::Sub {
    fn with_options(options: &Options) -> Self {
        let mut sub = Self::new();
        let own = sub.open(options.keep());
        debug_assert_eq!(own, OWN);
        sub
    }

    fn follow(&mut self, options: &Options, port: &mut SocketPort<'_>) {
        self.change(OWN, |keep| *keep = options.keep(), port);
    }
}

impl Sub {
    /// Subscribes to the messages that begin with `topic`: any bytes, of any length. Every message begins with
    /// the empty topic. Subscribing twice is the same as once. Never waits.
    ///
    /// Messages that arrived before and matched no topic are gone.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    #[doc(alias(
        "NN_SUB_SUBSCRIBE",
        "nng_sub0_socket_subscribe",
        "NNG_OPT_SUB_SUBSCRIBE",
        "ZMQ_SUBSCRIBE"
    ))]
    pub fn subscribe(&self, topic: impl AsRef<[u8]>) -> Result<(), Closed> {
        self.core.subscribe(OWN, topic.as_ref())
    }

    /// Ends a subscription. Queued messages that match no other topic are dropped and counted, and once this
    /// has returned no such message is received. Never waits.
    ///
    /// # Errors
    ///
    /// [`UnsubscribeError::NotSubscribed`]: there is no such subscription, and nothing changes;
    /// or the socket is closed.
    #[doc(alias(
        "NN_SUB_UNSUBSCRIBE",
        "nng_sub0_socket_unsubscribe",
        "NNG_OPT_SUB_UNSUBSCRIBE",
        "ZMQ_UNSUBSCRIBE"
    ))]
    pub fn unsubscribe(&self, topic: impl AsRef<[u8]>) -> Result<(), UnsubscribeError> {
        self.core.unsubscribe(OWN, topic.as_ref())
    }

    /// Makes a context: a set of subscriptions with its own queue of messages. It begins without topics.
    ///
    /// A message goes to each context that has a matching topic, without being copied. A context of a closed
    /// socket is closed.
    #[doc(alias("nng_ctx_open"))]
    pub fn context(&self) -> SubContext {
        Context::new(self)
    }
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
