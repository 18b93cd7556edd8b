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
    use std::cell::Cell;
    use std::collections::HashSet;
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

    /// Case D12 of the list of attacks: most of very many are called off in any order. None of those comes, the others
    /// come in their order, and each step looks at few.
    #[test]
    fn a_hundred_thousand_timers_of_which_most_are_called_off() {
        const COUNT: usize = 100_000;
        let (mut timers, mut conversations) = (Timers::default(), Conversations::default());
        let mut seed = 12_u32;
        let mut dice = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as usize
        };
        let start = start();
        let all: Vec<_> = (0..COUNT)
            .map(|_| (start + dice() as u32 % 1000 * SECOND, conversations.open(())))
            .collect();
        all.iter().for_each(|&(at, conversation)| timers.set(at, conversation));
        let mut set: HashSet<_> = all.iter().map(|(_, conversation)| *conversation).collect();
        let looked_at = Cell::new(0);
        let mut order = all.clone();
        for n in (1..COUNT).rev() {
            order.swap(n, dice() % (n + 1));
        }
        for (open, (_, conversation)) in (0..COUNT).rev().zip(order).take(COUNT * 9 / 10) {
            set.remove(&conversation);
            timers.forget_unset(open, |_, conversation| {
                looked_at.set(looked_at.get() + 1);
                set.contains(&conversation)
            });
            assert!(!timers.outnumber(open), "{} timers of {open}", timers.heap.len());
        }
        assert!(looked_at.get() <= 4 * COUNT, "{} looks at {COUNT} timers", looked_at.get());
        let mut expected: Vec<_> = all.into_iter().filter(|(_, it)| set.contains(it)).collect();
        expected.sort_unstable();
        let due = std::iter::from_fn(|| timers.take_due(start + 1000 * SECOND));
        let come: Vec<_> = due.filter(|(_, conversation)| set.contains(conversation)).collect();
        assert_eq!(come, expected);
    }
}
