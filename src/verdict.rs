//! Verdicts on messages that are inspected in a pipe, before they are taken.

use crate::message::Frame;
use crate::stats::DropReason;

/// What to do with a message that was inspected in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Take it out of the pipe.
    Take,
    /// Drop it, without having copied it.
    Skip(DropReason),
    /// Leave it in the pipe.
    Leave,
}

/// The outcome of inspecting the messages in a pipe.
#[derive(Debug)]
pub(crate) enum Picked {
    /// The first message that was not skipped was taken.
    Taken(Frame),
    /// The first message that was not skipped was left in the pipe.
    Left,
    /// All messages were skipped, or there were none.
    Nothing,
}
