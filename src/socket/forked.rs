//! What calls on a socket come to in a child process that has inherited it by `fork`.
//!
//! Owns the answers. The socket is the parent's: its locks may be held by threads that the child does not
//! have, and its descriptors are the parent's too. So no call gets as far as a lock; each has an answer
//! that is given without, and what the child drops is let go, so that nothing is closed, removed or
//! waited for.

use super::wait::{Attempt, Failure};
use crate::detach::DetachReason;
use crate::error::{Closed, OptionError, UnsubscribeError};
use crate::pipe::Intake;
use crate::protocol::Conversation;

/// What an entry into a socket comes to in a child that has inherited the socket.
pub(crate) trait InChild {
    fn in_child() -> Self;
}

impl InChild for () {
    fn in_child() {}
}

/// Nothing was found, nothing was done.
impl InChild for bool {
    fn in_child() -> Self {
        false
    }
}

impl<T> InChild for Option<T> {
    fn in_child() -> Self {
        None
    }
}

impl<T, E: InChild> InChild for Result<T, E> {
    fn in_child() -> Self {
        Err(E::in_child())
    }
}

impl<T, E> InChild for Attempt<T, E> {
    fn in_child() -> Self {
        Self::Over(Err(Failure::Forked))
    }
}

/// Of no use: no call with it gets into the socket.
impl InChild for Conversation {
    fn in_child() -> Self {
        Self::FIRST
    }
}

impl InChild for Closed {
    fn in_child() -> Self {
        Self
    }
}

impl InChild for OptionError {
    fn in_child() -> Self {
        Self::Forked
    }
}

impl InChild for UnsubscribeError {
    fn in_child() -> Self {
        Self::Forked
    }
}

impl InChild for Intake {
    fn in_child() -> Self {
        Self::Free
    }
}

impl InChild for DetachReason {
    fn in_child() -> Self {
        Self::SocketClosed
    }
}
