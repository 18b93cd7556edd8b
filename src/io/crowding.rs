//! Crowding: the connections of a listener whose peers have not shown their header.
//!
//! Whoever connects costs a descriptor before it has shown anything. This file owns the order in which such
//! connections came, and closes the oldest when there are more than the endpoint may have. It closes none that was
//! sent our header: that peer may take it for a pipe and have put a message into it. So our header is withheld from
//! all but the first few (`Connection::greet`), which stay until their time is over.

use std::collections::{BTreeMap, VecDeque};

use mio::Token;

use super::Driver;
use crate::peer::EndpointId;

/// The crowd of each listener.
#[derive(Debug, Default)]
pub(super) struct Crowds(BTreeMap<EndpointId, Crowd>);

/// The connections that had neither shown their header nor been sent ours when they came here, the oldest first.
/// Those that have since are taken out before the list would grow.
#[derive(Debug, Default)]
struct Crowd(VecDeque<Token>);

impl Crowd {
    fn join(&mut self, token: Token, mut stays: impl FnMut(Token) -> bool) {
        let Self(tokens) = self;
        if tokens.len() == tokens.capacity() {
            tokens.retain(|&token| stays(token));
            // As many more can come before this looks at them all again.
            tokens.shrink_to(2 * tokens.len());
            tokens.reserve(tokens.len() + 4);
        }
        tokens.push_back(token);
    }
}

impl Crowds {
    pub(super) fn forget(&mut self, endpoint: EndpointId) {
        self.0.remove(&endpoint);
    }
}

impl Driver {
    /// Notes an accepted connection that may not have shown its header yet. If there are too many, ends the
    /// oldest.
    pub(super) fn join_crowd(&mut self, token: Token) {
        let Some(connection) = self.connections.get(token).filter(|it| it.may_be_evicted()) else {
            return;
        };
        let (endpoint, most, now) = connection.crowd();
        let connections = &mut self.connections;
        let crowd = self.crowds.0.entry(endpoint).or_default();
        crowd.join(token, |token| connections.get(token).is_some_and(|it| it.may_be_evicted()));
        if now > most {
            self.evict(endpoint, 1);
        }
    }

    /// Ends up to `count` connections of the endpoint that no header has passed either way, the oldest first but
    /// not the newest of all; how many.
    pub(super) fn evict(&mut self, endpoint: EndpointId, count: usize) -> usize {
        let mut evicted = 0;
        while evicted < count
            && let Some(Crowd(crowd)) = self.crowds.0.get_mut(&endpoint)
            && crowd.len() > 1
            && let Some(oldest) = crowd.pop_front()
        {
            if !self.connections.get(oldest).is_some_and(|it| it.may_be_evicted()) {
                continue;
            }
            // Its header may be there, and nobody has looked yet.
            self.drive(oldest, |connection, cx| connection.read(oldest, cx));
            if self.connections.get(oldest).is_some_and(|it| it.may_be_evicted()) {
                self.drive(oldest, |connection, _| connection.evict());
                evicted += 1;
            }
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_has_room_for_those_who_stay_and_not_for_all_who_came() {
        let mut crowd = Crowd::default();
        (0..100_000).for_each(|n| crowd.join(Token(n), |token| token.0 % 10_000 == 0));
        assert!((0..10).all(|n| crowd.0.contains(&Token(10_000 * n))), "{crowd:?}");
        assert!(crowd.0.iter().is_sorted() && crowd.0.capacity() < 64, "{crowd:?}");
        (0..1000).for_each(|n| crowd.join(Token(200_000 + n), |_| true));
        assert!((0..1000).all(|n| crowd.0.contains(&Token(200_000 + n))));
        (0..10_000).for_each(|n| crowd.join(Token(300_000 + n), |_| false));
        assert!(crowd.0.capacity() < 64, "it gives back what a large crowd took");
    }
}
