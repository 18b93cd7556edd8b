//! Conversing: one conversation of a socket that asks or filters, from the opening to the close.
//!
//! Each context holds one, and so do the typed `request` and `survey`. The number of a closed conversation
//! finds nothing (see `protocol/conversation.rs`), so calls need not check whether it is closed.

use std::time::Instant;

use crate::message::Message;
use crate::protocol::{self, Awaited, Conversation, Port, Protocol, RecvRefusal};
use crate::socket::{Core, Handle, SocketPort};

/// A protocol with a table of conversations.
pub(crate) trait ConversingProtocol: Protocol<Received = Message> {
    fn close(&mut self, conversation: Conversation, io: &mut impl Port);
}

/// A protocol whose conversations ask.
pub(crate) trait AskingProtocol:
    ConversingProtocol<To = Conversation, From = Awaited>
{
    fn awaited(&self, conversation: Conversation) -> Result<Awaited, RecvRefusal>;
}

impl AskingProtocol for protocol::Req {
    fn awaited(&self, conversation: Conversation) -> Result<Awaited, RecvRefusal> {
        Self::awaited(self, conversation)
    }
}

impl AskingProtocol for protocol::Surveyor {
    fn awaited(&self, conversation: Conversation) -> Result<Awaited, RecvRefusal> {
        Self::awaited(self, conversation)
    }
}

impl ConversingProtocol for protocol::Req {
    fn close(&mut self, conversation: Conversation, io: &mut impl Port) {
        Self::close(self, conversation, io);
    }
}

impl ConversingProtocol for protocol::Surveyor {
    fn close(&mut self, conversation: Conversation, io: &mut impl Port) {
        Self::close(self, conversation, io);
    }
}

impl ConversingProtocol for protocol::Sub {
    fn close(&mut self, conversation: Conversation, io: &mut impl Port) {
        Self::close(self, conversation, io);
    }
}

/// An open conversation; closed when dropped.
pub(crate) struct Conversing<P: ConversingProtocol> {
    core: Handle<P>,
    conversation: Conversation,
    /// Whether the conversation has closed itself.
    is_over: bool,
}

impl<P: ConversingProtocol> Conversing<P> {
    pub(crate) fn new(core: &Handle<P>, conversation: Conversation) -> Self {
        Self { core: core.clone(), conversation, is_over: false }
    }

    pub(crate) fn core(&self) -> &Handle<P> {
        &self.core
    }

    /// Receives the message that ends the conversation, and closes it in the same entry.
    pub(crate) fn last_recv(
        &self,
        awaited: P::From,
    ) -> impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<Message, RecvRefusal> + use<P>
    {
        let conversation = self.conversation;
        move |protocol, io, now| {
            let message = protocol.recv(&awaited, now, io)?;
            protocol.close(conversation, io);
            Ok(message)
        }
    }

    /// Notes that `last_recv` has succeeded.
    pub(crate) fn mark_over(&mut self) {
        self.is_over = true;
    }
}

impl<P: ConversingProtocol> Core<P> {
    /// Changes the options of a conversation. Does nothing if it is closed.
    pub(super) fn configure(
        &self,
        conversation: Conversation,
        change: impl FnOnce(&mut P, Conversation, &mut SocketPort<'_>),
    ) {
        self.enter(|entry| {
            let (protocol, mut io, _) = entry.parts();
            change(protocol, conversation, &mut io);
        });
    }

    /// Gives up what was asked, and ends the calls that wait for it. Does nothing the second time.
    pub(super) fn close_conversation(&self, conversation: Conversation) {
        self.configure(conversation, |protocol, conversation, io| protocol.close(conversation, io));
    }
}

impl<P: ConversingProtocol> Drop for Conversing<P> {
    fn drop(&mut self) {
        if !self.is_over {
            self.core.close_conversation(self.conversation);
        }
    }
}
