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

/// The connections of each listener that had neither shown their header nor been sent ours when they came here, the
/// oldest first. Those that have since are taken out when others come.
#[derive(Debug, Default)]
pub(super) struct Crowds(BTreeMap<EndpointId, VecDeque<Token>>);

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
        let crowd = self.crowds.0.entry(endpoint).or_default();
        crowd.push_back(token);
        if crowd.len() > 2 * most.min(usize::MAX / 2) {
            let connections = &mut self.connections;
            crowd.retain(|&token| connections.get(token).is_some_and(|it| it.may_be_evicted()));
        }
        if now > most {
            self.evict(endpoint, 1);
        }
    }

    /// Ends up to `count` connections of the endpoint that no header has passed either way, the oldest first but
    /// not the newest of all; how many.
    pub(super) fn evict(&mut self, endpoint: EndpointId, count: usize) -> usize {
        let mut evicted = 0;
        while evicted < count
            && let Some(crowd) = self.crowds.0.get_mut(&endpoint)
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
