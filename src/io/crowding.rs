//! Crowding: the connections of a listener whose peers have not shown their header.
//!
//! Whoever connects costs a descriptor before it has shown anything. This file owns the order in which such
//! connections came, which is also that of their deadlines, so one timer serves them all. It ends those whose time is
//! over, and the oldest when there are more than the endpoint may have. But for that it ends none that was sent our
//! header: that peer may take it for a pipe and have put a message into it. So our header is withheld from all but the
//! first few (`Connection::greet`), which stay until their time is over.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use mio::Token;

use super::connection::Connection;
use super::table::Table;
use super::timers::{TimerKey, after};
use super::{Driver, Due};
use crate::peer::EndpointId;
use crate::time;

/// Keep memory for this many in a crowd that nobody is in: most listeners never have more at once.
const FEW: usize = 4;

/// The crowd of each listener.
#[derive(Debug, Default)]
pub(super) struct Crowds(BTreeMap<EndpointId, Crowd>);

/// A connection that was without the peer's header when it came here, and when its time is over.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    token: Token,
    until: Instant,
}

/// How a connection stands that was in a crowd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Its header has come, or it is gone.
    Left,
    /// It is without a header, and was sent ours.
    Greeted,
    /// No header has passed either way.
    Silent,
}

/// The connections of a listener that are without the peer's header, the oldest first. Those that have left are taken
/// out when they come to the front, and all of them before the list would grow.
#[derive(Debug, Default)]
struct Crowd {
    waiting: VecDeque<Waiting>,
    /// For the first, or for one that was.
    timer: Option<TimerKey>,
}

impl Crowd {
    fn join(&mut self, newcomer: Waiting, place: impl Fn(Token) -> Place) {
        let Self { waiting, .. } = self;
        if waiting.len() == waiting.capacity() {
            waiting.retain(|it| place(it.token) != Place::Left);
            // As many more can come before this looks at them all again.
            waiting.shrink_to(2 * waiting.len());
            waiting.reserve(waiting.len() + 4);
        }
        waiting.push_back(newcomer);
    }

    /// The first of those that wait.
    fn first(&mut self, place: impl Fn(Token) -> Place) -> Option<Waiting> {
        while let Some(first) = self.waiting.front()
            && place(first.token) == Place::Left
        {
            self.waiting.pop_front();
        }
        self.waiting.front().copied()
    }

    /// The oldest of those that no header has passed either way, but not the newest of all.
    fn oldest_silent(&mut self, place: impl Fn(Token) -> Place) -> Option<Token> {
        let mut at = 0;
        while let Some(Waiting { token, .. }) = self.waiting.get(at).copied()
            && at + 1 < self.waiting.len()
        {
            match place(token) {
                Place::Left => drop(self.waiting.remove(at)),
                Place::Greeted => at += 1, // they are few
                Place::Silent => return Some(token),
            }
        }
        None
    }
}

impl Driver {
    /// Notes an accepted connection that may not have shown its header yet. If there are too many, ends the
    /// oldest.
    pub(super) fn join_crowd(&mut self, token: Token) {
        let Some(connection) = self.connections.get(token) else { return };
        if connection.place() == Place::Left {
            return;
        }
        let (endpoint, limit) = (connection.endpoint.id, connection.handshake_timeout());
        let (most, now) = connection.crowd();
        let newcomer = Waiting { token, until: after(time::now(), limit) };
        let Self { crowds, connections, .. } = self;
        crowds.0.entry(endpoint).or_default().join(newcomer, |token| place(connections, token));
        self.set_crowd_timer(endpoint);
        if now > most {
            self.evict(endpoint, 1);
        }
    }

    /// Sets the timer of a crowd if somebody is in it, and cancels it if nobody is.
    pub(super) fn set_crowd_timer(&mut self, endpoint: EndpointId) {
        let Self { crowds, connections, cx, .. } = self;
        let Some(crowd) = crowds.0.get_mut(&endpoint) else { return };
        if let Some(first) = crowd.first(|token| place(connections, token)) {
            // One that is set comes in time, and early if it is for one that has left.
            crowd.timer.get_or_insert_with(|| cx.timers.set(first.until, Due::Crowd(endpoint)));
            return;
        }
        crowd.waiting.shrink_to(FEW);
        if let Some(timer) = crowd.timer.take() {
            cx.timers.cancel(timer);
        }
    }

    /// Ends the first of a crowd if its time is over. The timer of the next may be due at once.
    pub(super) fn check_crowd(&mut self, endpoint: EndpointId) {
        let Self { crowds, connections, .. } = self;
        let Some(crowd) = crowds.0.get_mut(&endpoint) else { return };
        crowd.timer = None;
        let first = crowd.first(|token| place(connections, token));
        if let Some(Waiting { token, .. }) = first.filter(|first| first.until <= time::now()) {
            crowd.waiting.pop_front();
            self.drive(token, |connection, _| connection.on_handshake_timeout());
            // If its socket has no room now for what its peer has left, it goes on.
            self.join_crowd(token);
        }
        self.set_crowd_timer(endpoint);
    }

    /// Forgets the crowd of an endpoint that is closed.
    pub(super) fn forget_crowd(&mut self, endpoint: EndpointId) {
        if let Some(timer) = self.crowds.0.remove(&endpoint).and_then(|crowd| crowd.timer) {
            self.cx.timers.cancel(timer);
        }
    }

    /// Ends up to `count` connections of the endpoint that no header has passed either way, the oldest first but
    /// not the newest of all; how many.
    pub(super) fn evict(&mut self, endpoint: EndpointId, count: usize) -> usize {
        let mut evicted = 0;
        while evicted < count {
            let Self { crowds, connections, .. } = self;
            let Some(crowd) = crowds.0.get_mut(&endpoint) else { break };
            let oldest = crowd.oldest_silent(|token| place(connections, token));
            let Some(oldest) = oldest else { break };
            // Its header may be there, and nobody has looked yet.
            self.drive(oldest, |connection, cx| connection.read(oldest, cx));
            if place(&self.connections, oldest) == Place::Silent {
                self.drive(oldest, |connection, _| connection.evict());
                evicted += 1;
            }
        }
        evicted
    }
}

fn place(connections: &Table<Box<Connection>>, token: Token) -> Place {
    connections.peek(token).map_or(Place::Left, |connection| connection.place())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn came(n: usize) -> Waiting {
        Waiting { token: Token(n), until: Instant::now() }
    }

    #[test]
    fn a_crowd_has_room_for_those_who_stay_and_not_for_all_who_came() {
        let mut crowd = Crowd::default();
        let stays = |token: Token| match token.0 % 10_000 {
            0 => Place::Silent,
            _ => Place::Left,
        };
        (0..100_000).for_each(|n| crowd.join(came(n), stays));
        let tokens = |crowd: &Crowd| crowd.waiting.iter().map(|it| it.token).collect::<Vec<_>>();
        assert!((0..10).all(|n| tokens(&crowd).contains(&Token(10_000 * n))), "{crowd:?}");
        assert!(tokens(&crowd).is_sorted() && crowd.waiting.capacity() < 64, "{crowd:?}");
        (0..1000).for_each(|n| crowd.join(came(200_000 + n), |_| Place::Greeted));
        assert!((0..1000).all(|n| tokens(&crowd).contains(&Token(200_000 + n))));
        (0..10_000).for_each(|n| crowd.join(came(300_000 + n), |_| Place::Left));
        assert!(crowd.waiting.capacity() < 64, "it gives back what a large crowd took");
    }

    #[test]
    fn the_oldest_is_one_that_has_not_left_nor_was_greeted() {
        let mut crowd = Crowd::default();
        (0..9).for_each(|n| crowd.join(came(n), |_| Place::Silent));
        let place = |token: Token| match token.0 {
            0 | 3 => Place::Greeted,
            1 | 2 => Place::Left,
            _ => Place::Silent,
        };
        assert_eq!(crowd.oldest_silent(place), Some(Token(4)));
        assert_eq!(crowd.waiting.len(), 7, "those who have left are out");
        assert_eq!(crowd.first(place).map(|it| it.token), Some(Token(0)));
        let last = |token: Token| if token.0 < 8 { Place::Left } else { Place::Silent };
        assert_eq!(crowd.oldest_silent(last), None, "not the newest of all");
        assert_eq!(crowd.first(last).map(|it| it.token), Some(Token(8)));
        assert_eq!(crowd.first(|_| Place::Left).map(|it| it.token), None);
    }
}
