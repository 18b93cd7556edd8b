//! Interests: what calls wait for.
//!
//! Owns the names of what a call may wait for, and the numbers of conversations. Plain data: the protocols say
//! what has become possible, a bell collects it, and the socket's signal wakes whoever waits for it.

use crate::message::PipeId;

/// What a waiting call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Interest {
    /// Room to send in this pipe, or with `None` in any pipe.
    Send(Option<PipeId>),
    /// Something to receive in this conversation. A socket that has only one uses the first.
    Recv(Conversation),
    /// A change in the number of peers. Not used by protocols.
    Peers,
    /// A send queue that has run empty. Not used by protocols.
    Drained,
}

impl Interest {
    /// Room to send, where there is only one thing to wait for.
    pub(crate) const SEND: Self = Self::Send(None);
    /// Something to receive, where there is only one thing to wait for.
    pub(crate) const RECV: Self = Self::Recv(Conversation::FIRST);
}

/// The number of one conversation of a REQ, SURVEYOR or SUB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Conversation {
    pub(crate) index: u32,
    /// How many conversations were opened before it, modulo 2^32.
    pub(crate) generation: u32,
}

impl Conversation {
    /// The socket's own: the one that was opened first.
    pub(crate) const FIRST: Self = Self { index: 0, generation: 0 };

    pub(crate) fn new(index: usize, generation: u32) -> Self {
        let index = u32::try_from(index).expect("a table entry takes more than one byte of memory");
        Self { index, generation }
    }

    /// What a receive in this conversation waits for.
    pub(crate) const fn interest(self) -> Interest {
        Interest::Recv(self)
    }
}
