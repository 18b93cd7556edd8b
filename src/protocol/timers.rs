//! Timers: when conversations have something to do.
//!
//! Owns their order. Nearly every request or survey sets a timer, and nearly none runs out. So a timer that
//! is no longer set is not searched for: it is passed over when it is due, or forgotten together with all
//! others when they outnumber those that are set.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::conversation::Conversation;

/// Keep at least this many timers that are no longer set.
const SLACK: usize = 64;

/// The timers of all conversations of a socket, of which at most one for each conversation is set.
///
/// Whoever stops waiting for a timer calls [`forget_unset`](Self::forget_unset), so that the first one is set;
/// or only if they [`outnumber`](Self::outnumber) the conversations: then the first one may come in vain.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, Conversation)>>,
}

impl Timers {
    pub(super) fn set(&mut self, at: Instant, conversation: Conversation) {
        self.heap.push(Reverse((at, conversation)));
    }

    /// The time of the first.
    pub(super) fn first(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes out the first timer, if it is due. It may be one that is no longer set.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<(Instant, Conversation)> {
        self.first().filter(|&at| at <= now)?;
        self.heap.pop().map(|Reverse(timer)| timer)
    }

    /// Whether they far outnumber the `conversations`.
    #[inline]
    pub(super) fn outnumber(&self, conversations: usize) -> bool {
        self.heap.len() > 2 * conversations + SLACK
    }

    /// Forgets timers that are no longer set, as `is_set` says: those before the first that is set, and all
    /// if they far outnumber the `conversations`.
    pub(super) fn forget_unset(
        &mut self,
        conversations: usize,
        is_set: impl Fn(Instant, Conversation) -> bool,
    ) {
        if self.outnumber(conversations) {
            self.heap.retain(|&Reverse((at, conversation))| is_set(at, conversation));
        }
        while let Some(&Reverse((at, conversation))) = self.heap.peek()
            && !is_set(at, conversation)
        {
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::conversation::Conversations;
    use super::super::testing::start;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn timers_are_due_in_their_order_and_those_not_set_are_passed_over() {
        let (mut timers, mut conversations) = (Timers::default(), Conversations::default());
        let [a, b, c] = [(); 3].map(|()| conversations.open(()));
        let start = start();
        for (seconds, conversation) in [(3, a), (1, b), (2, c)] {
            timers.set(start + seconds * SECOND, conversation);
        }
        assert_eq!(timers.first(), Some(start + SECOND));
        timers.forget_unset(3, |_, conversation| conversation != b);
        assert_eq!(timers.first(), Some(start + 2 * SECOND));
        assert_eq!(timers.take_due(start + SECOND), None);
        assert_eq!(timers.take_due(start + 2 * SECOND), Some((start + 2 * SECOND, c)));
        timers.forget_unset(3, |_, _| false);
        assert_eq!(timers.first(), None);
    }

    /// A conversation that asks again and again, behind one whose timer stays the first.
    #[test]
    fn timers_that_are_not_set_do_not_gather() {
        let (mut timers, mut conversations) = (Timers::default(), Conversations::default());
        let [waits, asks] = [(); 2].map(|()| conversations.open(()));
        let start = start();
        timers.set(start, waits);
        for n in 1..10_000 {
            timers.set(start + n * SECOND, asks);
            timers.forget_unset(2, |_, conversation| conversation == waits);
            assert!(timers.heap.len() <= SLACK + 5);
        }
        assert_eq!(timers.first(), Some(start));
    }
}
