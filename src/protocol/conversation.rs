//! Conversations: they let many threads ask through one socket without disturbing each other.
//!
//! A REQ or SURVEYOR has a table of them, and each has its own request or survey, timer and answers; in a SUB
//! each has its own topics and messages. A receive names the request or survey for which it waits by an
//! [`Awaited`], so that it cannot get the answer to a later question.
//!
//! Owns the numbering. A slot of the table is reused, but a number has a generation beside the slot: a handle
//! that outlives its conversation finds nothing, never the successor.

use std::ops::{Index, IndexMut};

use slab::Slab;

use super::Interest;
use super::backtrace::RequestId;
pub(super) use crate::interest::Conversation;

/// The open conversations of a socket, each with its state.
///
/// A conversation that is closed is no longer in the table, whatever has its slot now.
#[derive(Debug)]
pub(super) struct Conversations<S> {
    /// Each with its generation.
    places: Slab<(u32, S)>,
    /// The number of conversations ever opened, modulo 2^32.
    opened: u32,
}

impl<S> Default for Conversations<S> {
    fn default() -> Self {
        Self { places: Slab::new(), opened: 0 }
    }
}

impl<S> Conversations<S> {
    pub(super) fn open(&mut self, state: S) -> Conversation {
        let generation = self.opened;
        self.opened = generation.wrapping_add(1);
        Conversation::new(self.places.insert((generation, state)), generation)
    }

    pub(super) fn close(&mut self, conversation: Conversation) -> Option<S> {
        self.get(conversation)?;
        Some(self.places.remove(conversation.index as usize).1)
    }

    #[inline]
    pub(super) fn get(&self, Conversation { index, generation }: Conversation) -> Option<&S> {
        let (current, state) = self.places.get(index as usize)?;
        (*current == generation).then_some(state)
    }

    #[inline]
    pub(super) fn get_mut(
        &mut self,
        Conversation { index, generation }: Conversation,
    ) -> Option<&mut S> {
        let (current, state) = self.places.get_mut(index as usize)?;
        (*current == generation).then_some(state)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Conversation, &S)> {
        let number = |index, generation: &u32| Conversation::new(index, *generation);
        self.places
            .iter()
            .map(move |(index, (generation, state))| (number(index, generation), state))
    }

    pub(super) fn states(&self) -> impl Iterator<Item = &S> {
        self.places.iter().map(|(_, (_, state))| state)
    }

    pub(super) fn states_mut(&mut self) -> impl Iterator<Item = &mut S> {
        self.places.iter_mut().map(|(_, (_, state))| state)
    }
}

/// For the number of an open conversation.
impl<S> Index<Conversation> for Conversations<S> {
    type Output = S;

    #[inline]
    fn index(&self, conversation: Conversation) -> &S {
        self.get(conversation).expect(OPEN)
    }
}

impl<S> IndexMut<Conversation> for Conversations<S> {
    #[inline]
    fn index_mut(&mut self, conversation: Conversation) -> &mut S {
        self.get_mut(conversation).expect(OPEN)
    }
}

const OPEN: &str = "whoever indexes has seen that the conversation is open";

/// One request or survey of a conversation: what a receive awaits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Awaited {
    pub(super) conversation: Conversation,
    pub(super) id: RequestId,
}

impl Awaited {
    /// The interest of a receive that waits for it.
    pub(crate) fn interest(self) -> Interest {
        self.conversation.interest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_the_sockets_own() {
        assert_eq!(Conversations::default().open(()), Conversation::FIRST);
    }

    #[test]
    fn a_number_outlives_its_conversation_and_finds_nothing() {
        let mut conversations = Conversations::default();
        let old = conversations.open("old");
        assert_eq!(conversations.close(old), Some("old"));
        let new = conversations.open("new");
        assert_eq!(new.index, old.index, "the place is used again");
        assert_eq!(conversations.get(old), None);
        assert_eq!(conversations.get_mut(old), None);
        assert_eq!(conversations.close(old), None);
        assert_eq!(conversations.get(new), Some(&"new"));
        assert_eq!(conversations.iter().collect::<Vec<_>>(), [(new, &"new")]);
    }

    #[test]
    fn generations_go_on_from_the_last_to_the_first() {
        let mut conversations = Conversations { places: Slab::new(), opened: u32::MAX };
        let last = conversations.open(());
        conversations.close(last);
        let next = conversations.open(());
        assert_eq!((last.generation, next.generation), (u32::MAX, 0));
        assert_eq!(conversations.get(last), None);
    }
}
