//! Visits: the sockets that a thread has rung and enters itself.
//!
//! Who rings a socket that is watched has it look at once, so that what is shown is never behind what is
//! there. The socket may ring another one meanwhile, and so on. That one is entered afterwards, not from
//! within: a long chain of sockets would take a deep stack.
//!
//! Owns the list of those that each thread has still to enter.

use std::cell::RefCell;
use std::collections::VecDeque;

use crate::pipe::Host;
use crate::sync::Arc;

/// How many sockets a thread enters for one that it has rung. More are left to the I/O thread: sockets
/// that ring each other without end must not keep a caller.
const MOST: usize = 64;

thread_local! {
    /// `None` while the thread visits nobody.
    static WAITING: RefCell<Option<VecDeque<Arc<dyn Host>>>> = const { RefCell::new(None) };
}

/// Has the calling thread enter the socket: now, or after those it is on its way to. Never called under a
/// socket's lock.
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

/// One round of visits. Who has not been visited when it ends is left to the I/O thread.
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
