//! Tables: what the driver owns, by token.
//!
//! A driver has one [`Table`] for each kind of thing: connections, listeners, dialers, races. A token names
//! one thing for good: it contains the kind, the slot in the table, and the generation, which tells the thing
//! from earlier ones in its slot. So a late event, timer or command finds its own thing or nothing.

use std::collections::BTreeSet;

use mio::Token;
use slab::Slab;

use crate::peer::EndpointId;
use crate::room::GiveBack;

/// The token of the mailbox's wake-up, which no thing can have: see [`Kind`].
pub(super) const WAKE: Token = Token(usize::MAX);

/// The parts of a token, from the lowest bit: slot, kind, generation.
const INDEX_BITS: u32 = usize::BITS / 2;
const KIND_BITS: u32 = 2;
/// The largest generation. On 32-bit machines it wraps around after 16,000 things; a stale event then has a
/// small chance to be mistaken for a fresh one, which is harmless: events are hints.
const GENERATIONS: usize = usize::MAX >> (INDEX_BITS + KIND_BITS);

/// The kind of thing that a token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Connection,
    Listener,
    Dialer,
    /// Last, since no race is registered with the poll, and so [`WAKE`] is never the token of one there.
    Race,
}

impl Kind {
    pub(super) fn of(token: Token) -> Self {
        match (token.0 >> INDEX_BITS) & ((1 << KIND_BITS) - 1) {
            0 => Self::Connection,
            1 => Self::Listener,
            2 => Self::Dialer,
            _ => Self::Race,
        }
    }
}

/// All things of one kind.
#[derive(Debug)]
pub(super) struct Table<T> {
    kind: Kind,
    /// Each with its token.
    things: Slab<(Token, T)>,
    generation: usize,
}

impl<T> Table<T> {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, things: Slab::new(), generation: 0 }
    }

    pub(super) fn insert(&mut self, thing: T) -> Token {
        self.generation = self.generation.wrapping_add(1) & GENERATIONS;
        let place = self.things.vacant_entry();
        let head = self.generation << KIND_BITS | self.kind as usize;
        let token = Token(head << INDEX_BITS | place.key());
        place.insert((token, thing));
        token
    }

    /// `None` if it is gone, or `token` is of another kind.
    pub(super) fn get(&mut self, token: Token) -> Option<&mut T> {
        let (its_token, thing) = self.things.get_mut(index(token))?;
        (*its_token == token).then_some(thing)
    }

    /// As [`get`](Self::get), where the thing is not changed.
    pub(super) fn peek(&self, token: Token) -> Option<&T> {
        let (its_token, thing) = self.things.get(index(token))?;
        (*its_token == token).then_some(thing)
    }

    pub(super) fn remove(&mut self, token: Token) -> Option<T> {
        self.get(token)?;
        let (_, thing) = self.things.remove(index(token));
        self.things.give_back();
        Some(thing)
    }
}

fn index(token: Token) -> usize {
    token.0 & ((1 << INDEX_BITS) - 1)
}

/// The things that end when their endpoint is closed, by endpoint, so that forgetting one endpoint takes no
/// walk over all. Pipes are not among them: the socket closes those.
#[derive(Debug, Default)]
pub(super) struct Members(BTreeSet<(EndpointId, Token)>);

impl Members {
    pub(super) fn add(&mut self, endpoint: EndpointId, token: Token) {
        self.0.insert((endpoint, token));
    }

    pub(super) fn remove(&mut self, endpoint: EndpointId, token: Token) {
        self.0.remove(&(endpoint, token));
    }

    pub(super) fn of(&self, endpoint: EndpointId) -> Vec<Token> {
        let all = (endpoint, Token(0))..=(endpoint, Token(usize::MAX));
        self.0.range(all).map(|&(_, token)| token).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 4] = [Kind::Connection, Kind::Listener, Kind::Dialer, Kind::Race];

    #[test]
    fn a_token_names_one_thing_for_good() {
        let mut table = Table::new(Kind::Listener);
        let first = table.insert('a');
        assert_eq!(table.remove(first), Some('a'));
        let second = table.insert('b');
        assert_eq!(index(first), index(second));
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some(&mut 'b'));
    }

    #[test]
    fn a_token_says_its_kind_and_is_found_in_no_other_table() {
        let mut tables = KINDS.map(Table::new);
        let tokens: Vec<_> =
            tables.iter_mut().zip(KINDS).map(|(table, kind)| table.insert(kind)).collect();
        for (&token, kind) in tokens.iter().zip(KINDS) {
            assert_eq!(Kind::of(token), kind);
            let found: Vec<_> = tables.iter_mut().filter_map(|table| table.get(token)).collect();
            assert_eq!(found, [&kind]);
        }
    }

    /// The generation wraps around, as it soon does on a 32-bit machine.
    #[test]
    fn a_generation_that_comes_round_is_found_as_well() {
        for kind in KINDS {
            let mut table = Table { generation: GENERATIONS - 1, ..Table::new(kind) };
            for _ in 0..3 {
                let token = table.insert(());
                assert_eq!((Kind::of(token), table.get(token).is_some()), (kind, true));
                assert_ne!(token, WAKE);
                table.remove(token);
            }
        }
    }

    #[test]
    fn members_are_those_of_one_endpoint() {
        let (mut members, ours, theirs) =
            (Members::default(), EndpointId::next(), EndpointId::next());
        for (endpoint, token) in [(ours, 3), (theirs, 1), (ours, 0), (ours, usize::MAX)] {
            members.add(endpoint, Token(token));
        }
        members.remove(ours, Token(3));
        assert_eq!(members.of(ours), [Token(0), Token(usize::MAX)]);
        assert_eq!(members.of(theirs), [Token(1)]);
    }
}
