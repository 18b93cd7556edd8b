//! Visits: entries into sockets by the thread that has rung them.
//!
//! A thread that rings a watched socket enters it at once, so that the readiness it shows is never out of
//! date. The socket may ring another one meanwhile, and so on. The thread enters that one afterwards, not
//! from within: a long chain of sockets would take a deep stack.
//!
//! Owns the list of sockets that each thread has yet to enter.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::pipe::Host;
use crate::sync::{Arc, thread_local};

/// Enter at most this many sockets for one that was rung, and leave more to the event loop: sockets that ring
/// each other without end must not hold up a caller.
const MOST: usize = 64;

thread_local! {
    /// `None` while the thread makes no visit.
    static WAITING: RefCell<Option<VecDeque<Arc<dyn Host>>>> = const { RefCell::new(None) };
}

/// Enters the socket: now, or after those that the thread is already visiting. Never called under a socket's
/// lock.
pub(crate) fn visit(host: Arc<dyn Host>) {
    let Ok(on_the_way) = WAITING.try_with(|waiting| waiting.borrow().is_some()) else {
        // The thread is about to end.
        return host.visit_later();
    };
    if on_the_way {
        return WAITING
            .with(|waiting| waiting.borrow_mut().get_or_insert_default().push_back(host));
    }
    let round = Round::begin();
    host.visit();
    for _ in 1..MOST {
        match round.next() {
            Some(host) => host.visit(),
            None => return,
        }
    }
}

/// One round of visits. Sockets that are left when it ends are left to the event loop.
struct Round;

impl Round {
    fn begin() -> Self {
        WAITING.with(|waiting| waiting.replace(Some(VecDeque::new())));
        Self
    }

    fn next(&self) -> Option<Arc<dyn Host>> {
        WAITING.with(|waiting| waiting.borrow_mut().as_mut()?.pop_front())
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        let left = WAITING.with(RefCell::take);
        left.into_iter().flatten().for_each(|host| host.visit_later());
    }
}
