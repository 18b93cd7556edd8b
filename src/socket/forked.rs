//! The results of calls on a socket in a child process that has inherited it by `fork`.
//!
//! The socket belongs to the parent: its locks may be held by threads that the child does not have, and the
//! child shares its descriptors with the parent. So no call gets as far as a lock: each has a result that it
//! returns without entering. Whatever the child drops is leaked, so that it closes, removes and waits for
//! nothing.

use super::wait::{Attempt, Failure};
use crate::detach::DetachReason;
use crate::error::{Closed, OptionError, UnsubscribeError};
use crate::pipe::Intake;
use crate::protocol::Conversation;

/// The result of an entry in a child that has inherited the socket.
pub(crate) trait InChild {
    fn in_child() -> Self;
}

impl InChild for () {
    fn in_child() {}
}

/// Nothing was found, and nothing was done.
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

/// Any number: no call with it enters the socket.
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
