//! Conversations: what lets many threads ask through one socket without getting in each other's way.
//!
//! A REQ or SURVEYOR keeps a table of them, and each has its own request or survey, its own timer
//! and its own answers; with a SUB each has its own topics and messages. A receive names what it waits for by a [`Turn`], so that it cannot be
//! served with the answer to a question asked later.

use super::Interest;
use super::backtrace::RequestId;

/// One conversation of a REQ, SURVEYOR or SUB. Its number is used again after it has been closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Conversation(u32);

impl Conversation {
    /// The socket's own: the one that was opened first.
    pub(crate) const FIRST: Self = Self(0);

    pub(crate) fn from_index(index: usize) -> Self {
        let index = u32::try_from(index).expect("a table entry takes more than one byte of memory");
        Self(index)
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }

    /// What a receive in this conversation waits for.
    pub(crate) fn interest(self) -> Interest {
        Interest::Recv(self.0)
    }
}

/// One request or survey of a conversation: what a receive waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Turn {
    pub(super) conversation: Conversation,
    pub(super) id: RequestId,
}

impl Turn {
    /// What a receive of this turn waits for.
    pub(crate) fn interest(self) -> Interest {
        self.conversation.interest()
    }
}
