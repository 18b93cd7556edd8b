//! Conversing: one conversation of a socket that asks or filters, from the opening to the close.
//!
//! Owns the rule that nobody touches a conversation that is closed: its number may belong to another one
//! by then. Contexts hold one each, and so do the typed `request` and `survey`.

use std::time::Instant;

use crate::message::Message;
use crate::protocol::{self, Conversation, Port, Protocol, RecvRefusal, Turn};
use crate::socket::{Handle, SocketPort};
use crate::sync::{AtomicBool, Ordering};

/// A protocol with a table of conversations.
pub(crate) trait Converses: Protocol<Received = Message> {
    fn close(&mut self, conversation: Conversation, io: &mut impl Port);
}

/// A protocol whose conversations ask.
pub(crate) trait Asks: Converses<To = Conversation, From = Turn> {
    fn turn(&self, conversation: Conversation) -> Result<Turn, RecvRefusal>;
}

impl Asks for protocol::Req {
    fn turn(&self, conversation: Conversation) -> Result<Turn, RecvRefusal> {
        Self::turn(self, conversation)
    }
}

impl Asks for protocol::Surveyor {
    fn turn(&self, conversation: Conversation) -> Result<Turn, RecvRefusal> {
        Self::turn(self, conversation)
    }
}

impl Converses for protocol::Req {
    fn close(&mut self, conversation: Conversation, io: &mut impl Port) {
        Self::close(self, conversation, io);
    }
}

impl Converses for protocol::Surveyor {
    fn close(&mut self, conversation: Conversation, io: &mut impl Port) {
        Self::close(self, conversation, io);
    }
}

impl Converses for protocol::Sub {
    fn close(&mut self, conversation: Conversation, io: &mut impl Port) {
        Self::close(self, conversation, io);
    }
}

/// An open conversation; closed when dropped.
pub(crate) struct Conversing<P: Converses> {
    pub(super) core: Handle<P>,
    pub(super) conversation: Conversation,
    open: AtomicBool,
}

impl<P: Converses> Conversing<P> {
    pub(crate) fn new(core: &Handle<P>, conversation: Conversation) -> Self {
        Self { core: core.clone(), conversation, open: AtomicBool::new(true) }
    }

    pub(crate) fn core(&self) -> &Handle<P> {
        &self.core
    }

    /// Receives what ends the conversation, and closes it in the same breath.
    pub(crate) fn last_recv(
        &self,
        turn: P::From,
    ) -> impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<Message, RecvRefusal> + use<P>
    {
        let conversation = self.conversation;
        move |protocol, io, now| {
            let message = protocol.recv(&turn, now, io)?;
            protocol.close(conversation, io);
            Ok(message)
        }
    }

    /// Says that `last_recv` has succeeded.
    pub(crate) fn is_over(&self) {
        self.open.store(false, Ordering::Release);
    }

    /// Changes how the conversation goes on. Nothing happens once it is closed: its number may belong
    /// to another one by then.
    pub(super) fn configure(&self, change: impl FnOnce(&mut P, Conversation, &mut SocketPort<'_>)) {
        self.core.enter(|entry| {
            if self.open.load(Ordering::Acquire) {
                let (protocol, mut io, _) = entry.parts();
                change(protocol, self.conversation, &mut io);
            }
        });
    }

    /// Gives up what was asked. From now on the number may belong to another conversation.
    pub(super) fn close(&self) {
        // Under the lock, so that nobody who has it meets the number of somebody else.
        if self.open.load(Ordering::Acquire) {
            let was_open = self.core.enter(|entry| {
                let was_open = self.open.swap(false, Ordering::AcqRel);
                if was_open {
                    let (protocol, mut io, _) = entry.parts();
                    protocol.close(self.conversation, &mut io);
                }
                was_open
            });
            // All of them: who is woken alone passes that on only as long as the number is nobody's.
            if was_open {
                self.wake_every();
            }
        }
    }

    /// Has every call that waits on the conversation look again.
    pub(super) fn wake_every(&self) {
        self.core.bell.signal.wake_every(self.conversation.interest());
    }
}

impl<P: Converses> Drop for Conversing<P> {
    fn drop(&mut self) {
        self.close();
    }
}
