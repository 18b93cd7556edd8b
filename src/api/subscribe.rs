//! SUB as a program sees it.
//!
//! Owns [`Sub`] and its calls for subscribing. What it receives belongs to a conversation that is the
//! socket's own, as that of a context is the context's.

use super::prelude::*;
use crate::api::context::{Context, SubContext};
use crate::error::UnsubscribeError;
use crate::protocol::Conversation;

/// SUB: of all that the PUB peers send, the messages that begin with a topic it has subscribed to.
///
/// Without a subscription nothing is received; the empty topic is the beginning of every message. A
/// message is received once, however many topics it begins with. Messages that wait to be received
/// stand in a queue of [`Options::sub_queue`]; for the newest only, however slow the program is, see
/// [`Options::prefer_new`] and [`Options::conflate`]. Each peer in turn; in order per peer.
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

impl Role for role::Sub {
    type Send = NoSend;
    type Recv = CanRecv<Message>;
}

impl Receives for role::Sub {
    type Item = Message;
}

impl Takes<Message> for role::Sub {
    fn take(core: &Handle<Self::Protocol>, patience: Patience) -> Result<Message, RecvError> {
        recv::take::<Self>(core, patience)
    }
}

impl Engine for role::Sub {
    type Protocol = protocol::Sub;

    const NAME: &'static str = "Sub";

    fn protocol(options: &Options) -> Self::Protocol {
        let mut sub = protocol::Sub::new();
        let own = sub.open(options.keep());
        debug_assert_eq!(own, OWN);
        sub
    }

    fn follow(sub: &mut Self::Protocol, options: &Options, port: &mut SocketPort<'_>) {
        sub.change(OWN, |keep| *keep = options.keep(), port);
    }
}

impl Sub {
    /// From now on receives what begins with `topic`: any bytes, of any length; none at all is the
    /// beginning of every message. Twice is as good as once. Never waits.
    ///
    /// What was received before and not wanted by any topic is gone.
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

    /// Ends a subscription: once this has returned, nothing is received that only this topic had let
    /// in, and what of it waited to be received is dropped and counted. Never waits.
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

    /// A set of subscriptions of its own, with its own queue of messages. It begins without topics.
    ///
    /// A message goes to each context that has a topic for it, without being copied. Of a closed socket
    /// it is closed.
    #[doc(alias("nng_ctx_open"))]
    pub fn context(&self) -> SubContext {
        Context::new(&self.core)
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
